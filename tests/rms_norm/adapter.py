"""Layers of root-mean-square norm in NumPy, right and wrong, and their adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from normgauge.adapters.base import Adapter
from normgauge.adapters.case import Array, Case, Implementation


class RmsNorm:
    def __init__(self, num_channels: int, eps: float = 1e-5) -> None:
        self.eps, self.weight = eps, np.ones(num_channels)

    def root(self, x: Array) -> Array:
        mean = np.mean(x**2, axis=tuple(range(1, x.ndim)), keepdims=True)
        return np.asarray(np.sqrt(mean + x.dtype.type(self.eps)))

    def __call__(self, x: Array) -> Array:
        weight = self.weight.astype(x.dtype).reshape(1, -1, *(1,) * (x.ndim - 2))
        return np.asarray(x / self.root(x) * weight)


class EpsOutside(RmsNorm):
    def root(self, x: Array) -> Array:
        mean = np.mean(x**2, axis=tuple(range(1, x.ndim)), keepdims=True)
        return np.asarray(np.sqrt(mean) + x.dtype.type(self.eps))


class FirstPositionsInRankFive(RmsNorm):
    def root(self, x: Array) -> Array:
        return super().root(x[..., :1] if x.ndim == 5 else x)


class KeepsItsFirstWeight(RmsNorm):
    def __call__(self, x: Array) -> Array:
        now, self.weight = self.weight, vars(self).setdefault("first", self.weight)
        try:
            return super().__call__(x)
        finally:
            self.weight = now


def _implementation(layer: type[RmsNorm]) -> Implementation:
    names = {"weight": "weight", "eps": "eps", "num_channels": "num_channels"}
    return Implementation(
        class_path=f"rms_norm.{layer.__name__}",
        layer="rms_norm",
        layout="N, C, *",
        names=names,
        documentation="tests/rms_norm/adapter.py",
    )


class RmsAdapter(Adapter):
    framework, distribution = "rms", "numpy"
    layers: ClassVar = {
        one.__name__: one for one in (RmsNorm, EpsOutside, FirstPositionsInRankFive, KeepsItsFirstWeight)
    }
    implementations = tuple(_implementation(one) for one in layers.values())

    def layer_class(self, implementation: Implementation) -> Any:
        return self.layers[implementation.id.partition(".")[2]]

    def construct(self, implementation: Implementation, case: Case) -> Any:
        given = {name: value for name, value in case.settings.items() if name in implementation.names}
        given.pop("weight", None)
        layer = self.layer_class(implementation)(**given)
        layer.weight = case.parameters.get("weight", layer.weight)
        return layer

    def forward(self, layer: Any, x: Any, *, training: bool) -> Any:
        return layer(x)

    def set_parameters(
        self, implementation: Implementation, case: Case, layer: Any, parameters: Mapping[str, Array]
    ) -> None:
        layer.weight = parameters["weight"]

    def state(self, layer: Any) -> Mapping[str, Any]:
        return {"weight": layer.weight}

    def to_native(self, implementation: Implementation, x: Array) -> Any:
        return x

    def to_numpy(self, implementation: Implementation, value: Any) -> Array:
        return np.asarray(value)
