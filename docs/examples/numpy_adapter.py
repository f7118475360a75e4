"""A GroupNorm and a BatchNorm in NumPy, and their adapter. Replace the two layers with those of your framework.

    normgauge check numpy_adapter:NumpyAdapter
    normgauge diagnose numpy_adapter.GroupNorm --framework numpy_adapter:NumpyAdapter
    normgauge run numpy_adapter:NumpyAdapter

Run the commands in the folder of this file. `check` lists mistakes of form in the adapter's answers. `diagnose` prints
what one layer computes. `run` checks all requirements of both layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from normgauge.adapters.base import Adapter
from normgauge.adapters.case import Array, Case, Implementation
from normgauge.adapters.lacks import Lack, without

# --- The layers. A real adapter imports them instead. -----------------------------------------------------------------


class GroupNorm:
    """GroupNorm for inputs (N, C, *spatial). A half-precision input is computed in float32."""

    def __init__(
        self, num_groups: int, num_channels: int, *, eps: float = 1e-5, affine: bool = True, dtype: str = "float32"
    ) -> None:
        if num_channels % num_groups:
            raise ValueError(f"num_channels={num_channels} must be divisible by num_groups={num_groups}")
        self.groups, self.channels, self.eps = num_groups, num_channels, eps
        self.weight: Array | None = np.ones(num_channels, dtype) if affine else None
        self.bias: Array | None = np.zeros(num_channels, dtype) if affine else None

    def __call__(self, x: Array) -> Array:
        """The normalized input, in the shape and dtype of ``x``."""
        _check_channels(x, self.channels)
        if x.size == 0:
            return x.copy()
        sets = x.astype(np.result_type(x, np.float32)).reshape(len(x), self.groups, -1)
        mean, variance = sets.mean(axis=-1, keepdims=True), sets.var(axis=-1, keepdims=True)
        normalized = (sets - mean) / np.sqrt(variance + sets.dtype.type(self.eps))
        return _scaled(normalized.reshape(x.shape), self.weight, self.bias).astype(x.dtype)


class BatchNorm:
    """BatchNorm for inputs (N, C, *spatial); ``momentum`` weighs the new value, None means a plain average."""

    def __init__(
        self,
        num_channels: int,
        *,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track: bool = True,
        dtype: str = "float32",
    ) -> None:
        self.channels, self.eps, self.momentum, self.training = num_channels, eps, momentum, True
        self.weight: Array | None = np.ones(num_channels, dtype) if affine else None
        self.bias: Array | None = np.zeros(num_channels, dtype) if affine else None
        self.running_mean: Array | None = np.zeros(num_channels, dtype) if track else None
        self.running_var: Array | None = np.ones(num_channels, dtype) if track else None
        self.steps = 0

    def reset(self) -> None:
        """Set the running statistics to those of a new layer."""
        if self.running_mean is not None and self.running_var is not None:
            self.running_mean, self.running_var = np.zeros_like(self.running_mean), np.ones_like(self.running_var)
            self.steps = 0

    def __call__(self, x: Array) -> Array:
        """The normalized input, in the shape and dtype of ``x``; in training, the running statistics move."""
        _check_channels(x, self.channels)
        if self.training and x.size == self.channels:
            raise ValueError(f"training needs more than one value per channel, the input has shape {x.shape}")
        if x.size == 0:
            return x.copy()
        wide = x.astype(np.result_type(x, np.float32))
        axes = (0, *range(2, x.ndim))
        if self.training or self.running_mean is None or self.running_var is None:
            mean, variance = wide.mean(axis=axes), wide.var(axis=axes)
            if self.training:
                self._update(mean, variance, x.size // self.channels)
        else:
            mean, variance = self.running_mean.astype(wide.dtype), self.running_var.astype(wide.dtype)
        shape = (1, -1, *(1,) * (x.ndim - 2))
        normalized = (wide - mean.reshape(shape)) / np.sqrt(variance + wide.dtype.type(self.eps)).reshape(shape)
        return _scaled(normalized, self.weight, self.bias).astype(x.dtype)

    def _update(self, mean: Array, variance: Array, count: int) -> None:
        """Move the running statistics towards those of a batch with ``count`` values per channel."""
        if self.running_mean is None or self.running_var is None:
            return
        self.steps += 1
        weight = mean.dtype.type(1 / self.steps if self.momentum is None else self.momentum)
        unbiased = variance * mean.dtype.type(count / (count - 1))
        self.running_mean = _blended(self.running_mean, mean, weight)
        self.running_var = _blended(self.running_var, unbiased, weight)


def _blended(old: Array, new: Array, weight: Any) -> Array:
    return ((1 - weight) * old + weight * new).astype(old.dtype)


def _scaled(normalized: Array, weight: Array | None, bias: Array | None) -> Array:
    if weight is None or bias is None:
        return normalized
    shape = (1, -1, *(1,) * (normalized.ndim - 2))
    return normalized * weight.astype(normalized.dtype).reshape(shape) + bias.astype(normalized.dtype).reshape(shape)


def _check_channels(x: Array, channels: int) -> None:
    if x.shape[1] != channels:
        raise ValueError(f"the layer has {channels} channels, the input {x.shape[1]}")


# --- The adapter. -----------------------------------------------------------------------------------------------------

#: This file: where the report says that it found what a layer lacks. A real adapter gives the page of the layer.
SOURCE = "docs/examples/numpy_adapter.py"
#: The layer's own name for each setting and parameter, by normgauge's name for it.
NAMES = {"num_channels": "num_channels", "eps": "eps", "weight": "weight", "bias": "bias"}
STATISTICS = {
    "momentum": "momentum",
    "track": "track",
    "running_mean": "running_mean",
    "running_var": "running_var",
}


class NumpyAdapter(Adapter):
    """Renames settings and parameters. It computes nothing, and it changes no value."""

    #: The name of the framework in commands and reports.
    framework = "numpy"
    #: The installed package whose version the report prints: a name as in `pip show NAME`.
    distribution = "numpy"
    #: True: one worker process can run all dtypes. Leave it out if the framework is configured once per process.
    dtypes_together = True
    #: One entry per layer: its id, its kind, its layout, and its names.
    implementations = (
        Implementation(
            class_path="numpy_adapter.GroupNorm",
            layer="group_norm",
            layout="N, C, *",
            names=NAMES | {"num_groups": "num_groups"},
            documentation=SOURCE,
        ),
        Implementation(
            class_path="numpy_adapter.BatchNorm",
            layer="batch_norm",
            layout="N, C, *",
            names=NAMES | STATISTICS,
            documentation=SOURCE,
        ),
    )

    @classmethod
    def dtypes(cls) -> tuple[str, ...]:
        """The dtypes that the layers take. The default of normgauge is float32 and float64.

        NumPy has no bfloat16, so it is not in the list. A framework with bfloat16 converts such an input in `to_native`
        and in `construct`: normgauge gives it as float32 values that bfloat16 has, too.
        """
        return ("float32", "float64", "float16")

    def layer_class(self, implementation: Implementation) -> Any:
        """The class that a user constructs."""
        return {"group_norm": GroupNorm, "batch_norm": BatchNorm}[implementation.layer]

    def lacks(self, implementation: Implementation) -> tuple[Lack, ...]:
        """What a layer does not have. Cases that need it are skipped, and the report prints the reason.

        Delete an entry when you have written the method that it stands for: `backward`, or `freeze` and `model`.
        """
        one_alone = ({"weight": True, "bias": False}, {"weight": False, "bias": True})
        freezing = ("freeze", "unfreeze", "freeze_model", "unfreeze_model")
        return (
            Lack(why="it has no backward pass", source=SOURCE, gradients=True),
            Lack(why="it has no trainable parameters that can be frozen", source=SOURCE, actions=freezing),
            *without("affine switches both", SOURCE, *one_alone),
        )

    def construct(self, implementation: Implementation, case: Case) -> Any:
        """A layer with the settings and parameters of the case. A setting that is not there keeps its default."""
        settings = dict(case.settings)
        affine = all([settings.pop("weight", True), settings.pop("bias", True)])
        layer = self.layer_class(implementation)(**implementation.named(settings), affine=affine, dtype=case.dtype)
        self.set_parameters(implementation, case, layer, case.parameters)
        return layer

    def forward(self, layer: Any, x: Any, *, training: bool) -> Any:
        """The layer's output.

        One layer lives through all steps of a case. normgauge says before each step whether it is one of training.
        The adapter switches the layer into that mode and calls it once. In training, the layer itself moves its running
        statistics; afterwards normgauge reads them with `state`. GroupNorm is the same in both modes.
        """
        layer.training = training
        return layer(x)

    def state(self, layer: Any) -> Mapping[str, Any]:
        """The parameters and running statistics that the layer has, by normgauge's names."""
        names = NAMES | STATISTICS
        values = {name: getattr(layer, names[name], None) for name in ("weight", "bias", "running_mean", "running_var")}
        return {name: value for name, value in values.items() if value is not None}

    def to_native(self, implementation: Implementation, x: Array) -> Any:
        """An input in the framework's own type and layout. normgauge's layout is (N, C, *spatial)."""
        return x

    def to_numpy(self, implementation: Implementation, value: Any) -> Array:
        """An output as a NumPy array of normgauge's layout."""
        return np.asarray(value)

    def elements(self, value: Any) -> Array | None:
        """The same memory as a NumPy array, to see whether a call changes its input. Leave it out if there is none."""
        return np.asarray(value)

    # What a user does with a layer between two calls.

    def set_parameters(
        self, implementation: Implementation, case: Case, layer: Any, parameters: Mapping[str, Array]
    ) -> None:
        """Give a layer other parameters or running statistics, as an optimizer or a loaded file does."""
        for name, value in parameters.items():
            setattr(layer, implementation.names[name], value)

    def trainable(self, layer: Any) -> Iterable[str]:
        """The names of the parameters that an optimizer gets."""
        return [name for name in ("weight", "bias") if getattr(layer, NAMES[name]) is not None]

    def set_momentum(self, layer: Any, momentum: float | None) -> Any:
        """The layer, with another momentum from now on."""
        layer.momentum = momentum
        return layer

    def reset(self, layer: Any) -> None:
        """Set the running statistics to those of a new layer."""
        layer.reset()

    def save_load(self, implementation: Implementation, case: Case, layer: Any) -> Any:
        """A new layer that has read everything that the old one has to save."""
        new = self.construct(implementation, case)
        for name, value in self.state(layer).items():
            setattr(new, implementation.names[name], value.copy())
        if implementation.layer == "batch_norm":
            new.steps = layer.steps
        return new
