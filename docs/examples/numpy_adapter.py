"""A GroupNorm in NumPy and its adapter: the smallest example of how a framework is added.

    normgauge check numpy_adapter:NumpyAdapter
    normgauge diagnose numpy_adapter.GroupNorm --framework numpy_adapter:NumpyAdapter

Run the commands in the folder of this file. `check` lists mistakes of form in what the adapter returns, `diagnose` says
what the layer computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from normgauge.adapters.base import Adapter
from normgauge.adapters.case import Array, Case, Implementation
from normgauge.adapters.lacks import Lack, without


class GroupNorm:
    """The layer of the framework. A real adapter imports it instead."""

    def __init__(self, num_groups: int, num_channels: int, *, eps: float = 1e-5, affine: bool = True) -> None:
        if num_channels % num_groups:
            raise ValueError(f"num_channels={num_channels} must be divisible by num_groups={num_groups}")
        self.groups, self.channels, self.eps = num_groups, num_channels, eps
        self.weight: Array | None = np.ones(num_channels) if affine else None
        self.bias: Array | None = np.zeros(num_channels) if affine else None

    def __call__(self, x: Array) -> Array:
        """The normalized input of shape (N, C, *spatial), in the dtype of ``x``."""
        if x.shape[1] != self.channels:
            raise ValueError(f"the layer has {self.channels} channels, the input {x.shape[1]}")
        sets = x.reshape(len(x), self.groups, -1) if x.size else x
        mean, variance = sets.mean(axis=-1, keepdims=True), sets.var(axis=-1, keepdims=True)
        normalized = ((sets - mean) / np.sqrt(variance + x.dtype.type(self.eps))).reshape(x.shape)
        if self.weight is None or self.bias is None:
            return normalized
        shape = (1, -1, *(1,) * (x.ndim - 2))
        return normalized * self.weight.astype(x.dtype).reshape(shape) + self.bias.astype(x.dtype).reshape(shape)


class NumpyAdapter(Adapter):
    """Renames settings and parameters. It computes nothing, and it changes no value."""

    framework, distribution = "numpy-example", "numpy"
    #: One entry per layer: its id, its kind, its layout, and the layer's own name for each setting and parameter.
    implementations = (
        Implementation(
            class_path="numpy_adapter.GroupNorm",
            layer="group_norm",
            layout="N, C, *",
            names={
                "num_groups": "num_groups",
                "num_channels": "num_channels",
                "eps": "eps",
                "weight": "weight",
                "bias": "bias",
            },
            documentation="docs/examples/numpy_adapter.py",
        ),
    )

    def layer_class(self, implementation: Implementation) -> Any:
        """The class that a user constructs."""
        return GroupNorm

    def lacks(self, implementation: Implementation) -> tuple[Lack, ...]:
        """What the layer does not have: such cases are not run, and the report says why."""
        here = implementation.documentation
        one_alone = ({"weight": True, "bias": False}, {"weight": False, "bias": True})
        return (
            Lack(why="it has no backward pass", source=here, gradients=True),
            *without("affine switches both", here, *one_alone),
        )

    def construct(self, implementation: Implementation, case: Case) -> Any:
        """A layer with the settings and parameters of the case."""
        settings = dict(case.settings)
        affine = all([settings.pop("weight", True), settings.pop("bias", True)])
        layer = GroupNorm(**settings, affine=affine)
        for name, value in case.parameters.items():
            setattr(layer, name, value)
        return layer

    def forward(self, layer: Any, x: Any, *, training: bool) -> Any:
        """The layer's output; GroupNorm is the same in training and in eval."""
        return layer(x)

    def set_parameters(
        self, implementation: Implementation, case: Case, layer: Any, parameters: Mapping[str, Array]
    ) -> None:
        """Give a layer that lives other parameters, as an optimizer does."""
        for name, value in parameters.items():
            setattr(layer, name, value)

    def state(self, layer: Any) -> Mapping[str, Any]:
        """The parameters by their canonical names."""
        return {name: value for name in ("weight", "bias") if (value := getattr(layer, name)) is not None}

    def to_native(self, implementation: Implementation, x: Array) -> Any:
        """The input in the framework's own type and layout."""
        return x

    def to_numpy(self, implementation: Implementation, value: Any) -> Array:
        """The output in NumPy, with channels second."""
        return np.asarray(value)
