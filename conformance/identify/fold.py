"""A BatchNorm folded into the convolution or linear layer before it: is it right, and if not, which mistake is it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from normgauge.conformance.identify.answer import CANONICAL, DEPARTS, UNKNOWN, Difference, Identified, Setting
from normgauge.conformance.identify.arrays import CannotIdentify, Given, given
from normgauge.oracle import Arithmetic, Reference, fold_batch_norm, wrong_folds
from normgauge.results.rounding import NOT_ROUNDING, ROUNDING

#: The names of the arrays of a fold: of the layer before, of BatchNorm, and of what came out.
ARRAYS: Final = (
    "folded_weight", "folded_bias", "conv_weight", "conv_bias", "running_mean", "running_var", "weight", "bias",
)  # fmt: skip
_NEEDED: Final = ("conv_weight", "running_mean", "running_var")
_REMEDY: Final = (
    "scale = weight / sqrt(running_var + eps); folded_weight = conv_weight * scale of each output channel; "
    "folded_bias = (conv_bias - running_mean) * scale + bias"
)


def identify_fold(  # noqa: PLR0913 - the arrays of two layers, by their usual names
    folded_weight: Any = None,
    folded_bias: Any = None,
    *,
    conv_weight: Any = None,
    running_mean: Any = None,
    running_var: Any = None,
    conv_bias: Any = None,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    axis: int = 0,
) -> Identified:
    """Whether the weight and the bias of a folded layer are right; if not, which mistake gives them.

    Args:
        folded_weight: weight of the folded layer, of the shape of ``conv_weight``.
        folded_bias: bias of the folded layer, of shape (C,); one of the two may be left out.
        conv_weight: weight of the convolution or linear layer before, C along ``axis``.
        running_mean: of BatchNorm, shape (C,).
        running_var: of BatchNorm, shape (C,).
        conv_bias: of the layer before, shape (C,); None where it has none.
        weight: of BatchNorm, shape (C,); None for ones.
        bias: of BatchNorm, shape (C,); None for zeros.
        eps: of BatchNorm.
        axis: the axis of the output channels: 0 in torch, -1 in Keras.

    Raises:
        CannotIdentify: arrays that make no sense, a ``ValueError`` of one sentence.
    """
    arguments = dict(locals())
    arrays = {name: given(name, arguments[name]) for name in ARRAYS if arguments[name] is not None}
    folded: dict[str, Given] = {name: arrays[name] for name in ARRAYS[:2] if name in arrays}
    missing = [name for name in _NEEDED if name not in arrays]
    if missing or not folded:
        name = (missing or ["folded_weight"])[0]
        raise CannotIdentify(f"{name} is missing; a fold needs folded_weight or folded_bias, {', '.join(_NEEDED)}")
    own: dict[str, Any] = {name: arrays[name].values if name in arrays else None for name in ARRAYS[2:]}
    own |= {"eps": eps, "axis": axis}
    try:
        right = fold_batch_norm(**own, arithmetic=_arithmetic(folded))
    except ValueError as error:
        raise CannotIdentify(str(error)) from None
    expected = {"folded_weight": right.weight, "folded_bias": right.bias}
    for name, one in folded.items():
        if one.values.shape != expected[name].value.shape:
            raise CannotIdentify(f"{name} has shape {one.values.shape}; allowed: {expected[name].value.shape}")
    differences = tuple(_difference(name, one, expected[name]) for name, one in folded.items())
    fits = all(one.of_bound <= 1 for one in differences)
    causes = [] if fits else _causes(folded, expected, wrong_folds(**own))
    return Identified(
        verdict=CANONICAL if fits else DEPARTS if causes else UNKNOWN,
        title=f"BatchNorm(eps={eps:g}) folded into the layer before it",
        arrays=f"conv_weight {own['conv_weight'].shape}; given: {', '.join(arrays)}",
        causes=tuple(causes),
        remedies=() if fits else (_REMEDY,),
        settings=(Setting(name="eps", value=f"{eps:g}", known="given or the default"),),
        differences=differences,
    )


def _arithmetic(folded: dict[str, Given]) -> Arithmetic:
    dtype = next(iter(folded.values())).dtype
    return Arithmetic(dtype)


def _difference(name: str, one: Given, expected: Reference) -> Difference:
    ratio, actual = expected.ratio(one.values), one.values.astype(np.float64)
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(ratio)), ratio.shape))
    return Difference(
        beside=name.replace("_", " "),
        words=ROUNDING if ratio[index] <= 1 else NOT_ROUNDING,
        of_bound=float(ratio[index]),
        of_typical=np.inf,
        largest=float(np.abs(actual - expected.value).max()),
        quantity=name,
        index=index,
        observed=float(actual[index]),
        expected=float(expected.value[index]),
        bound=float(expected.bound[index]),
    )


def _causes(folded: dict[str, Given], expected: dict[str, Reference], wrong: dict[str, Any]) -> list[str]:
    """The mistakes that give everything within the bound."""
    found = []
    for name, pair in wrong.items():
        made = dict(zip(("folded_weight", "folded_bias"), pair, strict=True))
        near = (
            not Reference(value=made[quantity], bound=_grown(expected[quantity], made[quantity])).excludes(one.values)
            for quantity, one in folded.items()
        )
        if all(np.isfinite(made[quantity]).all() for quantity in folded) and all(near):
            found.append(name)
    return found


def _grown(expected: Reference, made: Any) -> Any:
    """The bound of a fold whose numbers are larger than the right ones: in proportion."""
    size = np.abs(made) / np.maximum(np.abs(expected.value), np.finfo(np.float64).tiny)
    return expected.bound * np.maximum(1.0, np.minimum(size, 1e6))
