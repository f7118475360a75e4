"""The space of semantics: axes, their values, and the canonical point.

An *axis* is one independent, exclusive choice that an implementation makes. Every value has a real
or historical implementation behind it (``seen_in``); a value nobody ever built does not exist here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

LAYER_KINDS: Final = ("group_norm", "batch_norm")


@dataclass(frozen=True)
class AxisValue:
    """One way of choosing on an axis: its name, what it means in words, and who does it."""

    name: str
    meaning: str
    seen_in: str


@dataclass(frozen=True)
class Axis:
    """One choice with its exclusive values; the first value is the canonical one."""

    name: str
    question: str
    values: tuple[AxisValue, ...]

    @property
    def canonical(self) -> str:
        return self.values[0].name

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(value.name for value in self.values)

    def value(self, name: str) -> AxisValue:
        for value in self.values:
            if value.name == name:
                return value
        raise ValueError(f"axis {self.name} has no value {name!r}; allowed: {', '.join(self.names)}")


_EPS_PLACEMENT = Axis(
    "eps_placement",
    "where does eps stand",
    (
        AxisValue("inside_sqrt", "y = (x - mean) / sqrt(var + eps)", "torch.nn.GroupNorm"),
        AxisValue(
            "outside_sqrt",
            "y = (x - mean) / (sqrt(var) + eps)",
            "taokong/group_normalization (issue #1); documented by mlx.nn up to 0.31.2",
        ),
        AxisValue(
            "max_with_variance",
            "y = (x - mean) / sqrt(max(var, eps))",
            "vacancy/Synchronized-BatchNorm-PyTorch, _compute_mean_std",
        ),
    ),
)

_VARIANCE = Axis(
    "variance",
    "which variance normalises",
    (
        AxisValue("biased", "the sum of squares is divided by n", "torch.nn.BatchNorm2d"),
        AxisValue(
            "unbiased",
            "the sum of squares is divided by n - 1",
            "taokong/group_normalization: x.std(dim=2)",
        ),
    ),
)

GROUP_NORM_AXES: Final[tuple[Axis, ...]] = (
    _EPS_PLACEMENT,
    Axis(
        "grouping",
        "which channels form a group",
        (
            AxisValue("contiguous", "channel c belongs to group c // (C / G)", "torch.nn.GroupNorm"),
            AxisValue(
                "interleaved",
                "channel c belongs to group c mod G",
                "mlx.nn.GroupNorm with pytorch_compatible=False",
            ),
        ),
    ),
    _VARIANCE,
    Axis(
        "affine_shape",
        "what the affine parameters are indexed by",
        (
            AxisValue("per_channel", "channel c uses weight[c] and bias[c]", "torch.nn.GroupNorm"),
            AxisValue(
                "per_group",
                "channel c uses weight[g] and bias[g] of its group g",
                "ONNX GroupNormalization-18 (onnx/onnx #5466)",
            ),
        ),
    ),
)

BATCH_NORM_AXES: Final[tuple[Axis, ...]] = (
    _EPS_PLACEMENT,
    _VARIANCE,
    Axis(
        "running_var",
        "which variance the running variance tracks",
        (
            AxisValue("unbiased", "the variance with divisor n - 1", "torch.nn.BatchNorm2d"),
            AxisValue("biased", "the variance with divisor n", "keras.layers.BatchNormalization"),
        ),
    ),
    Axis(
        "momentum_weighs",
        "what momentum weighs",
        (
            AxisValue("new", "running = (1 - momentum) * running + momentum * batch", "torch.nn.BatchNorm2d"),
            AxisValue(
                "old",
                "running = momentum * running + (1 - momentum) * batch",
                "keras.layers.BatchNormalization",
            ),
        ),
    ),
    Axis(
        "momentum_none",
        "what momentum=None means",
        (
            AxisValue(
                "cumulative",
                "the running statistics are plain averages of all batches",
                "torch.nn.BatchNorm2d",
            ),
            AxisValue("fixed", "the new value weighs 0.1", "lucid.nn.BatchNorm2d 2.12.8"),
            AxisValue("refused", "None is refused", "keras.layers.BatchNormalization"),
        ),
    ),
    Axis(
        "single_value",
        "what training does with one value per channel",
        (
            AxisValue("refused", "the call is refused", "torch.nn.BatchNorm2d"),
            AxisValue("shift", "the output is the bias: x - mean is zero", "keras.layers.BatchNormalization"),
            AxisValue("nan", "the output is NaN: zero divided by zero", "karpathy/nn-zero-to-hero, BatchNorm1d"),
            AxisValue(
                "identity",
                "the input passes unchanged, without weight and bias",
                "Paddle, batch_norm_kernel.cc (PaddlePaddle/Paddle #11445)",
            ),
        ),
    ),
    Axis(
        "training_normalizes_with",
        "which statistics normalise in training",
        (
            AxisValue("batch", "the mean and variance of the batch", "torch.nn.BatchNorm2d"),
            AxisValue(
                "blended",
                "the running statistics after this batch has entered them",
                "equinox.nn.BatchNorm with mode='ema'",
            ),
            AxisValue(
                "running",
                "the running statistics, which the batch leaves as they are",
                "MXNet, batch_norm.cc with use_global_stats; keras with trainable=False",
            ),
        ),
    ),
    Axis(
        "untracked_eval_uses",
        "what eval uses when no statistics are tracked",
        (
            AxisValue("batch", "the mean and variance of the batch", "torch.nn.BatchNorm2d"),
            AxisValue("initial", "mean 0 and variance 1", "tinygrad.nn.BatchNorm before tinygrad/tinygrad #6200"),
        ),
    ),
    Axis(
        "bootstrap",
        "how the running statistics start",
        (
            AxisValue("plain", "from their initial values", "torch.nn.BatchNorm2d"),
            AxisValue(
                "zero_debiased",
                "from zero, divided by 1 - (1 - weight)^t",
                "haiku.BatchNorm (ExponentialMovingAverage with zero_debias)",
            ),
            AxisValue("first_batch", "from the first batch", "equinox.nn.BatchNorm with mode='ema'"),
        ),
    ),
)

AXES: Final[Mapping[str, tuple[Axis, ...]]] = {
    "group_norm": GROUP_NORM_AXES,
    "batch_norm": BATCH_NORM_AXES,
}


@dataclass(frozen=True)
class Semantics:
    """One point in the space of semantics of a layer kind.

    ``choices`` maps every axis name to one of its values. Reading a choice through
    :meth:`choice` is recorded in ``read``, so a caller learns on which axes a result depended.
    """

    layer: str
    choices: Mapping[str, str]
    read: set[str] = field(default_factory=set, compare=False, repr=False)

    def choice(self, axis: str) -> str:
        self.read.add(axis)
        return self.choices[axis]

    def departures(self) -> dict[str, str]:
        """The choices that differ from the canonical ones."""
        return {
            axis.name: self.choices[axis.name] for axis in AXES[self.layer] if self.choices[axis.name] != axis.canonical
        }


def semantics(layer: str, **choices: str) -> Semantics:
    """The canonical semantics of ``layer`` with the named choices replaced.

    Raises:
        ValueError: unknown layer kind, axis or value.

    >>> semantics("group_norm", grouping="interleaved").departures()
    {'grouping': 'interleaved'}
    """
    if layer not in AXES:
        raise ValueError(f"layer kind {layer!r} is not known; allowed: {', '.join(LAYER_KINDS)}")
    axes = {axis.name: axis for axis in AXES[layer]}
    for name, chosen in choices.items():
        if name not in axes:
            raise ValueError(f"{layer} has no axis {name!r}; allowed: {', '.join(axes)}")
        axes[name].value(chosen)
    return Semantics(layer, {name: choices.get(name, axis.canonical) for name, axis in axes.items()})


CANONICAL: Final[Mapping[str, Semantics]] = {layer: semantics(layer) for layer in LAYER_KINDS}


def candidates(layer: str) -> Iterator[Semantics]:
    """Every point of the product of the axes, the canonical one first."""
    axes = AXES[layer]
    for names in itertools.product(*(axis.names for axis in axes)):
        chosen: dict[str, Any] = dict(zip((axis.name for axis in axes), names, strict=True))
        yield Semantics(layer, chosen)
