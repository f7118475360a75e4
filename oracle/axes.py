"""The axes of semantics and their values.

An *axis* is one independent, exclusive choice that an implementation makes. Every value has a real
or historical implementation behind it (``source``); a value nobody ever built does not exist here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class AxisValue:
    """One way of choosing on an axis: its name, what it means in words, and who does it."""

    name: str
    meaning: str
    source: str


@dataclass(frozen=True, kw_only=True)
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


_EPS_PLACEMENT: Final = Axis(
    name="eps_placement",
    question="where does eps stand",
    values=(
        AxisValue(name="inside_sqrt", meaning="y = (x - mean) / sqrt(var + eps)", source="torch.nn.GroupNorm"),
        AxisValue(
            name="outside_sqrt",
            meaning="y = (x - mean) / (sqrt(var) + eps)",
            source="taokong/group_normalization (issue #1); documented by mlx.nn up to 0.31.2",
        ),
        AxisValue(
            name="max_with_variance",
            meaning="y = (x - mean) / sqrt(max(var, eps))",
            source="vacancy/Synchronized-BatchNorm-PyTorch, _compute_mean_std",
        ),
    ),
)

_VARIANCE: Final = Axis(
    name="variance",
    question="which variance normalises",
    values=(
        AxisValue(name="biased", meaning="the sum of squares is divided by n", source="torch.nn.BatchNorm2d"),
        AxisValue(
            name="unbiased",
            meaning="the sum of squares is divided by n - 1",
            source="taokong/group_normalization: x.std(dim=2)",
        ),
    ),
)

_GROUP_NORM: Final = (
    _EPS_PLACEMENT,
    Axis(
        name="grouping",
        question="which channels form a group",
        values=(
            AxisValue(
                name="contiguous", meaning="channel c belongs to group c // (C / G)", source="torch.nn.GroupNorm"
            ),
            AxisValue(
                name="interleaved",
                meaning="channel c belongs to group c mod G",
                source="mlx.nn.GroupNorm with pytorch_compatible=False",
            ),
        ),
    ),
    _VARIANCE,
    Axis(
        name="affine_shape",
        question="what the affine parameters are indexed by",
        values=(
            AxisValue(name="per_channel", meaning="channel c uses weight[c] and bias[c]", source="torch.nn.GroupNorm"),
            AxisValue(
                name="per_group",
                meaning="channel c uses weight[g] and bias[g] of its group g",
                source="ONNX GroupNormalization-18 (onnx/onnx #5466)",
            ),
        ),
    ),
)

_BATCH_NORM: Final = (
    _EPS_PLACEMENT,
    _VARIANCE,
    Axis(
        name="running_var",
        question="which variance the running variance tracks",
        values=(
            AxisValue(name="unbiased", meaning="the variance with divisor n - 1", source="torch.nn.BatchNorm2d"),
            AxisValue(
                name="biased",
                meaning="the variance with divisor n",
                source="keras.layers.BatchNormalization",
            ),
        ),
    ),
    Axis(
        name="momentum_weighs",
        question="what momentum weighs",
        values=(
            AxisValue(
                name="new",
                meaning="running = (1 - momentum) * running + momentum * batch",
                source="torch.nn.BatchNorm2d",
            ),
            AxisValue(
                name="old",
                meaning="running = momentum * running + (1 - momentum) * batch",
                source="keras.layers.BatchNormalization",
            ),
        ),
    ),
    Axis(
        name="momentum_none",
        question="what momentum=None means",
        values=(
            AxisValue(
                name="cumulative",
                meaning="the running statistics are plain averages of all batches",
                source="torch.nn.BatchNorm2d",
            ),
            AxisValue(
                name="fixed",
                meaning="the new value weighs 0.1",
                source="lucid.nn.BatchNorm2d 2.12.8",
            ),
            AxisValue(
                name="refused",
                meaning="None is refused",
                source="keras.layers.BatchNormalization",
            ),
        ),
    ),
    Axis(
        name="single_value",
        question="what training does with one value per channel",
        values=(
            AxisValue(name="refused", meaning="the call is refused", source="torch.nn.BatchNorm2d"),
            AxisValue(
                name="shift",
                meaning="the output is the bias: x - mean is zero",
                source="keras.layers.BatchNormalization",
            ),
            AxisValue(
                name="nan",
                meaning="the output is NaN: zero divided by zero",
                source="karpathy/nn-zero-to-hero, BatchNorm1d",
            ),
            AxisValue(
                name="identity",
                meaning="the input passes unchanged, without weight and bias",
                source="Paddle, batch_norm_kernel.cc (PaddlePaddle/Paddle #11445)",
            ),
        ),
    ),
    Axis(
        name="training_normalizes_with",
        question="which statistics normalise in training",
        values=(
            AxisValue(name="batch", meaning="the mean and variance of the batch", source="torch.nn.BatchNorm2d"),
            AxisValue(
                name="blended",
                meaning="the running statistics after this batch has entered them",
                source="equinox.nn.BatchNorm with mode='ema'",
            ),
            AxisValue(
                name="running",
                meaning="the running statistics, which the batch leaves as they are",
                source="MXNet, batch_norm.cc with use_global_stats; keras with trainable=False",
            ),
        ),
    ),
    Axis(
        name="untracked_eval_uses",
        question="what eval uses when no statistics are tracked",
        values=(
            AxisValue(name="batch", meaning="the mean and variance of the batch", source="torch.nn.BatchNorm2d"),
            AxisValue(
                name="initial",
                meaning="mean 0 and variance 1",
                source="tinygrad.nn.BatchNorm before tinygrad/tinygrad #6200",
            ),
        ),
    ),
    Axis(
        name="bootstrap",
        question="how the running statistics start",
        values=(
            AxisValue(name="plain", meaning="from their initial values", source="torch.nn.BatchNorm2d"),
            AxisValue(
                name="zero_debiased",
                meaning="from zero, divided by 1 - (1 - weight)^t",
                source="haiku.BatchNorm (ExponentialMovingAverage with zero_debias)",
            ),
            AxisValue(
                name="first_batch",
                meaning="from the first batch",
                source="equinox.nn.BatchNorm with mode='ema'",
            ),
        ),
    ),
)

AXES: Final[Mapping[str, tuple[Axis, ...]]] = {"group_norm": _GROUP_NORM, "batch_norm": _BATCH_NORM}
LAYER_KINDS: Final = tuple(AXES)
