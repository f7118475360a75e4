"""Special values: what must stay where it is, what has no variance, and the ends of the range."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from normgauge.adapters.case import Array
from normgauge.conformance.requirements.gradients import along, upstream
from normgauge.conformance.requirements.inputs import scrambled
from normgauge.conformance.requirements.magnitudes import MAGNITUDES
from normgauge.conformance.requirements.probe import GRADIENTS, QUANTITIES, Probe
from normgauge.conformance.requirements.requirement import (
    Asked,
    Both,
    Layer,
    Requirement,
    twins,
)
from normgauge.conformance.requirements.sources import (
    BATCH_NORM_PAPER,
    FLOAT_FOR_HALF,
    GROUP_NORM_PAPER,
    IEEE,
    ONNX_BATCH_NORM,
    ONNX_GROUP_NORM,
)

#: Constants of every magnitude that every type holds, exactly.
CONSTANTS: Final = (0.0, -0.0, 1.0, -3.0, 2.0**-14, 100.0, 2.0**12)
POISONS: Final = (np.nan, np.inf, -np.inf)


def _poisoned(x: Array, poison: float) -> Array:
    """``x`` with one element of the first sample's second channel replaced."""
    x = x.copy()
    x[(0, 1, *(0,) * (x.ndim - 2))] = poison
    return x


def _constants(dtype: str) -> tuple[float, ...]:
    return CONSTANTS + MAGNITUDES[dtype].large_constants


def _contained_in_group_norm(layer: Layer, asked: Asked) -> Iterator[Probe]:
    x = scrambled(asked.shape, 3)
    dy = along(x)
    for poison in POISONS:
        yield layer.probe(asked, f"one {poison}", [("train", _poisoned(x, poison))])
        case = layer.case(asked, [("train", _poisoned(x, poison), dy)])
        yield Probe(label=f"gradients of one {poison}", case=case, quantities=GRADIENTS)
    yield layer.probe(asked, "gradients, one nan in dy", [("train", x, _poisoned(dy, np.nan))], quantities=GRADIENTS)


def _contained_in_batch_norm(layer: Layer, asked: Asked) -> Iterator[Probe]:
    x = scrambled(asked.shape, 3)
    dy = along(x)
    for poison in POISONS:
        for mode in ("train", "eval"):
            shown = QUANTITIES if mode == "train" else ("output",)
            yield layer.probe(asked, f"{mode}, one {poison}", [(mode, _poisoned(x, poison))], quantities=shown)
            case = layer.case(asked, [(mode, _poisoned(x, poison), dy)])
            yield Probe(label=f"{mode}, gradients of one {poison}", case=case, quantities=GRADIENTS)
    for mode in ("train", "eval"):
        case = layer.case(asked, [(mode, x, _poisoned(dy, np.nan))])
        yield Probe(label=f"{mode}, gradients, one nan in dy", case=case, quantities=GRADIENTS)
    yield layer.probe(asked, "a batch with one nan, then another", [("train", _poisoned(x, np.nan)), ("train", x)])


def _constant(layer: Layer, asked: Asked) -> Iterator[Probe]:
    for value in _constants(asked.dtype):
        yield layer.probe(asked, f"all {value:g}", [("train", np.full(asked.shape, value))])
    case = layer.case(asked, [("train", np.full(asked.shape, 3.0), upstream(asked.shape))])
    yield Probe(label="gradients, all 3", case=case, quantities=GRADIENTS)


def _ends_of_the_range(layer: Layer, asked: Asked) -> Iterator[Probe]:
    x, own = scrambled(asked.shape, 3), MAGNITUDES[asked.dtype]
    for label, power in (("large", own.large), ("below the normal numbers", own.subnormal)):
        yield layer.probe(asked, f"{label}, times 2^{power}", [("train", x * 2.0**power)])
    case = layer.case(asked, [("train", x * 2.0 ** (own.large // 2), along(x))])
    yield Probe(label=f"gradients, times 2^{own.large // 2}", case=case, quantities=GRADIENTS)


SPECIAL_VALUES: Final[tuple[Requirement, ...]] = (
    *twins(
        "GN-28", "BN-37", ground="robustness", title="NaN and infinity contained",
        statement=Both(
            "A NaN or an infinity in x, or a NaN in dy, changes only the results of its own group and the gradients "
            "of its own parameters. A NaN must reach them.",
            "A NaN or an infinity in x, or a NaN in dy, changes only results, statistics and gradients of its own "
            "channel; in eval, of its own element. A NaN must reach them.",
        ),
        source=Both(*(
            (
                IEEE.says(
                    "if a floating-point result is to be delivered the result shall be a quiet NaN",
                    at="section 6.2, of an operation with quiet NaN inputs",
                ),
                own,
            )
            for own in (
                GROUP_NORM_PAPER.implies("no set holds a value of another one", at="equation 7"),
                BATCH_NORM_PAPER.says("the normalization is applied to each activation independently", at="section 3"),
            )
        )),
        probes=Both(_contained_in_group_norm, _contained_in_batch_norm),
    ),
    *twins(
        "GN-29", "BN-38", ground="robustness", rule="constant", title="constant input",
        statement=Both(*(
            f"A constant {what} of any magnitude gives the bias, and the gradients of a variance of 0."
            for what in ("input", "batch")
        )),
        source=Both(
            (GROUP_NORM_PAPER.implies("x - mu is 0, and sigma is sqrt(epsilon), not 0", at="equations 1, 2 and 6"),),
            (BATCH_NORM_PAPER.implies("x - mu is 0, and the root that divides is sqrt(epsilon)", at="algorithm 1"),),
        ),
        probes=_constant,
    ),
    *twins(
        "GN-30", "BN-39", ground="robustness", rule="range", title="magnitudes at the ends of the range",
        statement=(
            "Output, statistics and gradients are in bounds as long as the squares fit the type that sums them, "
            "float32 at least, and for subnormal numbers."
        ),
        source=Both(
            (
                GROUP_NORM_PAPER.implies("they hold for numbers of any size", at="equations 1, 2 and 6"),
                ONNX_GROUP_NORM.says(
                    "the operator casts all input variables to 32-bit float", at="of stash_type, whose default is 1"
                ),
            ),
            (
                BATCH_NORM_PAPER.implies("it holds for numbers of any size", at="algorithm 1"),
                ONNX_BATCH_NORM.says(FLOAT_FOR_HALF),
            ),
        ),
        probes=_ends_of_the_range,
    ),
)  # fmt: skip
