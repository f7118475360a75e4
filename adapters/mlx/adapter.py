"""mlx.nn.GroupNorm, with and without pytorch_compatible, and mlx.nn.BatchNorm.

Each also through ``mx.compile``, and ``mixed``: with parameters of float32 and inputs of half precision.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from normgauge.adapters.base import Recipe
from normgauge.adapters.case import Array, Case, Implementation, Observation, Unsupported
from normgauge.adapters.layout import CHANNELS_LAST, from_layout, from_layout_text, to_layout, to_layout_text
from normgauge.adapters.mlx.actions import MlxState
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


_EAGER = (
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
#: On the CPU, a C++ compiler is called for every new kernel, which takes seconds.
_COMPILED = tuple(replace(one, id=f"{one.id}[compile]", mode="compile", thorough=True, compiles=True) for one in _EAGER)
_MIXED = tuple(replace(one, id=f"{one.id}[mixed]", mode="mixed", dtypes=("float16", "bfloat16")) for one in _EAGER)


@dataclass
class _Compiled:
    """A layer's compiled functions, by what they do and the layer's mode.

    A compiled function keeps to the mode that it was traced in, whatever ``layer.eval()`` says later, and so does
    what ``mx.compile`` makes of the same function again. So a user has one for training and one for evaluation.
    """

    functions: dict[tuple[str, bool], Callable[..., Any]] = field(default_factory=dict)


class MlxAdapter(MlxState):
    framework = "mlx"
    distribution = "mlx"
    dtypes_together = True
    implementations = (*_EAGER, *_COMPILED, *_MIXED)
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

    @classmethod
    def dtypes(cls) -> tuple[str, ...]:
        return ("float16", "bfloat16", "float32", "float64")

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype)
        import mlx.core as mx
        from mlx import nn

        self.mx, self.nn = mx, nn
        self._device = mx.Device(mx.cpu) if dtype == "float64" else mx.default_device()  # the GPU has no float64

    def device(self) -> str:
        return str(self._device)

    def run(self, identifier: str, case: Case) -> Observation:
        with self.mx.stream(self._device):  # adapters of other dtypes may be in this process
            return super().run(identifier, case)

    def layer_class(self, implementation: Implementation) -> Any:
        return getattr(self.nn, _class_name(implementation))

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
        dtype = _parameter_dtype(implementation, self.dtype)
        if dtype != "float32":
            layer.set_dtype(getattr(self.mx, dtype))
        for name, value in case.parameters.items():
            setattr(layer, implementation.names[name], self._array(value, dtype))
        if implementation.mode == "compile":
            layer.compiled = _Compiled()
        return layer

    def _array(self, value: Array, dtype: str) -> Any:
        kind = getattr(self.mx, dtype)
        # A reduction over an empty array that came from NumPy may never return; over MLX's own it does.
        return self.mx.array(value, dtype=kind) if value.size else self.mx.zeros(value.shape, dtype=kind)

    def forward(self, layer: Any, x: Any, *, training: bool) -> Any:
        def call(x: Any) -> Any:
            return layer(x)

        layer.train(training)
        y = self._compiled(layer, "forward", call)(x)
        self.mx.eval(y, layer.state)
        return y

    def backward(self, layer: Any, x: Any, dy: Any, *, training: bool) -> tuple[Any, Mapping[str, Any]]:
        def differentiate(x: Any, dy: Any) -> Any:
            def weighted(x: Any, parameters: Any) -> Any:
                layer.update(parameters)
                y = layer(x)
                return (y * dy).sum(), y

            (_, y), (dx, found) = self.mx.value_and_grad(weighted, argnums=(0, 1))(x, layer.trainable_parameters())
            return y, {"dx": dx} | {f"d{name}": one for name, one in found.items()}

        layer.train(training)
        y, gradients = self._compiled(layer, "backward", differentiate)(x, dy)
        self.mx.eval(y, gradients, layer.state)
        return y, gradients

    def _compiled(self, layer: Any, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, or in mode ``compile`` what mx.compile makes of it, in the way that is documented."""
        if not hasattr(layer, "compiled"):
            return function
        known, key = layer.compiled.functions, (name, layer.training)
        if key not in known:
            known[key] = self.mx.compile(function, inputs=layer.state, outputs=layer.state)
        return known[key]  # type: ignore[no-any-return]

    def state(self, layer: Any) -> Mapping[str, Any]:
        names = ("weight", "bias", "running_mean", "running_var")
        return {name: layer[name] for name in names if name in layer}

    def vector(self, value: Any) -> Array:
        return np.array(value.astype(self.mx.float32) if value.dtype == self.mx.bfloat16 else value)

    def to_native(self, implementation: Implementation, x: Array) -> Any:
        return self._array(to_layout(x, implementation.layout), self.dtype)

    def to_numpy(self, implementation: Implementation, value: Any) -> Array:
        return from_layout(self.vector(value), implementation.layout)

    def recipe(self, implementation: Implementation, case: Case) -> Recipe:
        construct = ["mx.set_default_device(mx.cpu)"] if case.dtype == "float64" else []
        construct.append(f"layer = nn.{_class_name(implementation)}({arguments(self._settings(implementation, case))})")
        dtype = _parameter_dtype(implementation, case.dtype)
        if dtype != "float32":
            construct.append(f"layer.set_dtype(mx.{dtype})")
        for parameter, value in case.parameters.items():
            native = implementation.names[parameter]
            construct.append(f"layer.{native} = mx.array({literal(value, case.dtype)}, dtype=mx.{dtype})")

        def array(name: str) -> str:
            native = to_layout_text(name, CHANNELS_LAST)
            text = f"mx.array({native}, dtype=mx.{case.dtype})"
            empty = any(step.x.size == 0 for step in case.steps)  # see _array
            return f"{text} if {name}.size else mx.zeros({native}.shape, dtype=mx.{case.dtype})" if empty else text

        cast = ".astype(mx.float32)" if case.dtype == "bfloat16" else ""
        y, dx = (from_layout_text(f"np.array({name}{cast})", CHANNELS_LAST) for name in ("y", "dx"))
        compiled = implementation.mode == "compile"
        state = "inputs=layer.state, outputs=layer.state"
        function = [f"call = mx.compile(lambda x: layer(x), {state})"] if compiled else []
        differentiate = [f"differentiate = mx.compile(differentiate, {state})"] if compiled else []
        modes = ("train", "eval")
        track = implementation.layer == "batch_norm" and case.settings.get("track", True)
        affine = [name for name in ("weight", "bias") if case.settings.get(name, True)]
        return Recipe(
            ("import mlx.core as mx", "import mlx.nn as nn"),
            tuple(construct),
            {
                mode: (f"layer.{mode}()", *function, f"y = {'call' if compiled else 'layer'}({array('x')})", f"y = {y}")
                for mode in modes
            },
            {name: f"np.array(layer.{name}{cast})" for name in ("running_mean", "running_var") if track},
            {
                mode: (
                    f"layer.{mode}()",
                    *_DIFFERENTIATE,
                    *differentiate,
                    f"y, (dx, gradients) = differentiate({array('x')}, {array('dy')})",
                    f"y, dx = {y}, {dx}",
                )
                for mode in modes
            },
            {f"d{name}": f"np.array(gradients[{name!r}]{cast})" for name in affine},
        )


#: The function of :meth:`MlxAdapter.backward` as a user writes it.
_DIFFERENTIATE = (
    "def differentiate(x, dy):",
    "    def weighted(x, parameters):",
    "        layer.update(parameters)",
    "        y = layer(x)",
    "        return (y * dy).sum(), y",
    "    (_, y), gradients = mx.value_and_grad(weighted, argnums=(0, 1))(x, layer.trainable_parameters())",
    "    return y, gradients",
)


def _parameter_dtype(implementation: Implementation, dtype: str) -> str:
    return "float32" if implementation.mode == "mixed" else dtype


def _class_name(implementation: Implementation) -> str:
    return re.split(r"[(\[]", implementation.id)[0].rpartition(".")[2]
