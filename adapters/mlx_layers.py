"""mlx.nn.GroupNorm, with and without pytorch_compatible, and mlx.nn.BatchNorm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from normgauge.adapters.base import Adapter, Array, Case, Implementation, Recipe, Unsupported
from normgauge.adapters.layout import CHANNELS_LAST, from_layout, from_layout_text, to_layout, to_layout_text
from normgauge.adapters.script import arguments, literal

_DOCS = "https://ml-explore.github.io/mlx/build/html/python/nn/_autosummary/mlx.nn"
_GROUP_NAMES = {
    "weight": "weight",
    "bias": "bias",
    "eps": "eps",
    "num_channels": "dims",
    "num_groups": "num_groups",
}
_KIN_NAMES = {name: native for name, native in _GROUP_NAMES.items() if name != "num_groups"}
_BATCH_NAMES = {
    "weight": "weight",
    "bias": "bias",
    "running_mean": "running_mean",
    "running_var": "running_var",
    "eps": "eps",
    "momentum": "momentum",
    "num_channels": "num_features",
    "track": "track_running_stats",
}


class MlxAdapter(Adapter):
    framework = "mlx"
    distribution = "mlx"
    implementations = (
        Implementation(
            "mlx.nn.GroupNorm",
            "group_norm",
            CHANNELS_LAST,
            _GROUP_NAMES,
            f"{_DOCS}.GroupNorm.html",
            remedies={"grouping=interleaved": "pass pytorch_compatible=True"},
        ),
        Implementation(
            "mlx.nn.GroupNorm(pytorch_compatible=True)",
            "group_norm",
            CHANNELS_LAST,
            _GROUP_NAMES,
            f"{_DOCS}.GroupNorm.html",
            options={"pytorch_compatible": True},
        ),
        Implementation(
            "mlx.nn.BatchNorm",
            "batch_norm",
            CHANNELS_LAST,
            _BATCH_NAMES,
            f"{_DOCS}.BatchNorm.html",
            ranks=(2, 3, 4),
        ),
    )
    kin = (
        Implementation(
            "mlx.nn.InstanceNorm",
            "instance_norm",
            CHANNELS_LAST,
            _KIN_NAMES,
            f"{_DOCS}.InstanceNorm.html",
            ranks=(3, 4, 5),
        ),
        Implementation(  # over the last axis alone, which holds a whole group where there are no positions
            "mlx.nn.LayerNorm",
            "layer_norm",
            CHANNELS_LAST,
            _KIN_NAMES,
            f"{_DOCS}.LayerNorm.html",
            ranks=(2,),
        ),
    )

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype)
        import mlx.core as mx
        from mlx import nn

        self.mx, self.nn = mx, nn
        if dtype == "float64":  # the GPU has none
            mx.set_default_device(mx.cpu)

    def device(self) -> str:
        return str(self.mx.default_device())

    def layer_class(self, implementation: Implementation) -> Any:
        return getattr(self.nn, implementation.id.partition("(")[0].rpartition(".")[2])

    def _settings(self, implementation: Implementation, case: Case) -> dict[str, Any]:
        given, names = dict(case.settings), implementation.names
        weight, bias = given.pop("weight", True), given.pop("bias", True)
        if weight != bias:
            raise Unsupported("affine leaves out both parameters or none")
        if implementation in self.kin:
            given.pop("num_groups")
            return {names[name]: value for name, value in given.items()} | {"affine": weight}
        settings = {names[name]: value for name, value in given.items()} | dict(implementation.options)
        return settings if weight else settings | {"affine": False}

    def construct(self, implementation: Implementation, case: Case) -> Any:
        layer = self.layer_class(implementation)(**self._settings(implementation, case))
        if self.dtype != "float32":
            layer.set_dtype(getattr(self.mx, self.dtype))
        for name, value in case.parameters.items():
            setattr(layer, implementation.names[name], self._array(value))
        return layer

    def _array(self, value: Array) -> Any:
        dtype = getattr(self.mx, self.dtype)
        # A reduction over an empty array that came from NumPy may never return; over MLX's own it does.
        return self.mx.array(value, dtype=dtype) if value.size else self.mx.zeros(value.shape, dtype=dtype)

    def forward(self, layer: Any, x: Any, *, training: bool) -> Any:
        layer.train(training)
        y = layer(x)
        self.mx.eval(y, layer.state)
        return y

    def state(self, layer: Any) -> Mapping[str, Any]:
        names = ("weight", "bias", "running_mean", "running_var")
        return {name: layer[name] for name in names if name in layer}

    def vector(self, value: Any) -> Array:
        return np.array(value)

    def to_native(self, implementation: Implementation, x: Array) -> Any:
        return self._array(to_layout(x, implementation.layout))

    def to_numpy(self, implementation: Implementation, value: Any) -> Array:
        return from_layout(np.array(value), implementation.layout)

    def recipe(self, implementation: Implementation, case: Case) -> Recipe:
        name = implementation.id.partition("(")[0].rpartition(".")[2]
        construct = ["mx.set_default_device(mx.cpu)"] if case.dtype == "float64" else []
        construct.append(f"layer = nn.{name}({arguments(self._settings(implementation, case))})")
        if case.dtype != "float32":
            construct.append(f"layer.set_dtype(mx.{case.dtype})")
        for parameter, value in case.parameters.items():
            native = implementation.names[parameter]
            construct.append(f"layer.{native} = mx.array({literal(value, case.dtype)}, dtype=mx.{case.dtype})")
        native = to_layout_text("x", CHANNELS_LAST)
        x = f"mx.array({native}, dtype=mx.{case.dtype})"
        if any(step.x.size == 0 for step in case.steps):  # see _array
            x = f"{x} if x.size else mx.zeros({native}.shape, dtype=mx.{case.dtype})"
        y = from_layout_text(f"np.array(layer({x}))", CHANNELS_LAST)
        call = {mode: (f"layer.{mode}()", f"y = {y}") for mode in ("train", "eval")}
        track = implementation.layer == "batch_norm" and case.settings.get("track", True)
        state = {name: f"np.array(layer.{name})" for name in ("running_mean", "running_var") if track}
        return Recipe(("import mlx.core as mx", "import mlx.nn as nn"), tuple(construct), call, state)
