"""keras.layers.GroupNormalization and BatchNormalization on each backend, channel axis last and first."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from normgauge.adapters.base import Array, Case, Implementation, Recipe, Unsupported, buffer_of
from normgauge.adapters.keras_state import KerasState
from normgauge.adapters.layout import (
    CHANNELS_FIRST,
    CHANNELS_LAST,
    from_layout,
    from_layout_text,
    to_layout,
    to_layout_text,
)
from normgauge.adapters.script import arguments, literal
from normgauge.adapters.torch_layers import storage_of

_DOCS = "https://keras.io/api/layers/normalization_layers"
_NAMES = {"weight": "gamma", "bias": "beta", "eps": "epsilon"}
_GROUP_NAMES = _NAMES | {"num_groups": "groups"}
_BATCH_NAMES = _NAMES | {
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
    "momentum": "momentum",
}


def _implementations(backend: str) -> tuple[Implementation, ...]:
    return tuple(
        Implementation(
            f"keras.layers.{name}{suffix}[{backend}]",
            layer,
            layout,
            names,
            f"{_DOCS}/{page}/",
            options=options,
            remedies={"accuracy=one_pass": "use the jax or tensorflow backend"},
        )
        for name, layer, names, page in (
            ("GroupNormalization", "group_norm", _GROUP_NAMES, "group_normalization"),
            ("BatchNormalization", "batch_norm", _BATCH_NAMES, "batch_normalization"),
        )
        for suffix, layout, options in (
            ("", CHANNELS_LAST, {}),
            ("(axis=1)", CHANNELS_FIRST, {"axis": 1}),
        )
    )


def _kin(backend: str) -> tuple[Implementation, ...]:
    """LayerNormalization over all axes but that of the samples. Keras has no InstanceNorm of its own."""
    return (
        Implementation(
            f"keras.layers.LayerNormalization[{backend}]",
            "layer_norm",
            CHANNELS_LAST,
            {"eps": "epsilon"},
            f"{_DOCS}/layer_normalization/",
        ),
    )


class KerasAdapter(KerasState):
    """What all backends share. Keras reads which one to use from the environment, once a process."""

    distribution = "keras"
    slow = True
    backend: ClassVar[str]

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype)
        import keras

        self.keras = keras

    @classmethod
    def environment(cls, dtype: str) -> Mapping[str, str]:
        return {"KERAS_BACKEND": cls.backend}

    def versions(self) -> dict[str, str]:
        return {"keras": self.keras.__version__, self.backend: importlib.import_module(self.backend).__version__}

    def layer_class(self, implementation: Implementation) -> Any:
        return getattr(self.keras.layers, _class_name(implementation))

    def _settings(self, implementation: Implementation, case: Case) -> dict[str, Any]:
        given, names = dict(case.settings), implementation.names
        if not given.pop("track", True):
            raise Unsupported("the layer always tracks statistics")
        given.pop("num_channels")  # taken from the shape it is built on
        if implementation in self.kin:
            given.pop("num_groups")
            if given.get("weight", True) or given.get("bias", True):
                raise Unsupported("gamma and beta hold one value for each element, not for each channel")
        settings: dict[str, Any] = {}
        if not given.pop("weight", True):
            settings["scale"] = False
        if not given.pop("bias", True):
            settings["center"] = False
        if implementation in self.kin:
            settings["axis"] = list(range(1, case.steps[0].x.ndim))
        settings |= {names[name]: value for name, value in given.items()}
        return settings | dict(implementation.options) | {"dtype": case.dtype}

    def construct(self, implementation: Implementation, case: Case) -> Any:
        layer = self.layer_class(implementation)(**self._settings(implementation, case))
        layer.build(_built_shape(implementation, case))
        for name, value in case.parameters.items():
            getattr(layer, implementation.names[name]).assign(value)
        return layer

    def forward(self, layer: Any, x: Any, *, training: bool) -> Any:
        if isinstance(layer, self.keras.layers.BatchNormalization):
            return layer(x, training=training)
        return layer(x)  # the others have no training argument

    def state(self, layer: Any) -> Mapping[str, Any]:
        found = {name: getattr(layer, native, None) for name, native in _BATCH_NAMES.items()}
        return {
            name: found[name] for name in ("weight", "bias", "running_mean", "running_var") if found[name] is not None
        }

    def vector(self, value: Any) -> Array:
        return np.asarray(self.keras.ops.convert_to_numpy(value))

    def native_dtype(self, value: Any) -> str:
        return str(self.keras.backend.standardize_dtype(value.dtype))

    def to_native(self, implementation: Implementation, x: Array) -> Any:
        return self.keras.ops.convert_to_tensor(to_layout(x, implementation.layout), dtype=self.dtype)

    def to_numpy(self, implementation: Implementation, value: Any) -> Array:
        return from_layout(np.asarray(self.keras.ops.convert_to_numpy(value)), implementation.layout)

    def recipe(self, implementation: Implementation, case: Case) -> Recipe:
        layout = implementation.layout
        construct = [
            f"layer = keras.layers.{_class_name(implementation)}({arguments(self._settings(implementation, case))})",
            f"layer.build({_built_shape(implementation, case)})",
        ]
        for name, value in case.parameters.items():
            construct.append(f"layer.{implementation.names[name]}.assign({literal(value, case.dtype)})")
        x = to_layout_text("x", layout)
        is_batch = implementation.layer == "batch_norm"
        extra = {mode: f", training={mode == 'train'}" if is_batch else "" for mode in ("train", "eval")}
        call = {
            mode: ("y = " + from_layout_text(f"keras.ops.convert_to_numpy(layer({x}{extra[mode]}))", layout),)
            for mode in ("train", "eval")
        }
        state = {
            name: f"keras.ops.convert_to_numpy(layer.{implementation.names[name]})"
            for name in ("running_mean", "running_var")
            if is_batch
        }
        return Recipe(("import keras",), tuple(construct), call, state)


class KerasOnJaxAdapter(KerasAdapter):
    framework = "keras-jax"
    backend = "jax"
    compiles = True
    implementations = _implementations("jax")
    kin = _kin("jax")

    @classmethod
    def environment(cls, dtype: str) -> Mapping[str, str]:
        return {**super().environment(dtype), **({"JAX_ENABLE_X64": "1"} if dtype == "float64" else {})}

    def device(self) -> str:
        return str(importlib.import_module("jax").devices()[0].platform)


class KerasOnTorchAdapter(KerasAdapter):
    framework = "keras-torch"
    backend = "torch"
    implementations = _implementations("torch")
    kin = _kin("torch")

    def device(self) -> str:
        return str(self.keras.ops.zeros(1).device.type)

    def memory(self, value: Any) -> Array | None:
        tensor = value.value if isinstance(value, self.keras.Variable) else value
        return storage_of(tensor) if tensor.device.type == "cpu" else None


class KerasOnTensorflowAdapter(KerasAdapter):
    framework = "keras-tensorflow"
    backend = "tensorflow"
    implementations = _implementations("tensorflow")
    kin = _kin("tensorflow")

    def device(self) -> str:
        return str(self.keras.ops.zeros(1).device).rpartition("device:")[2].partition(":")[0].lower()


class KerasOnNumpyAdapter(KerasAdapter):
    framework = "keras-numpy"
    backend = "numpy"
    implementations = _implementations("numpy")
    kin = _kin("numpy")

    def memory(self, value: Any) -> Array | None:
        return buffer_of(value.value if isinstance(value, self.keras.Variable) else value)


def _class_name(implementation: Implementation) -> str:
    return implementation.id.partition("[")[0].partition("(")[0].rpartition(".")[2]


def _built_shape(implementation: Implementation, case: Case) -> tuple[int | None, ...]:
    """The shape a model gives at build time: batch and spatial sizes open, the channel count fixed.

    LayerNormalization asks for every size that it normalises over.
    """
    sizes = case.steps[0].x.shape[2:]
    spatial = sizes if implementation.layer == "layer_norm" else (None,) * len(sizes)
    channels = (case.settings["num_channels"],)
    return (None, *spatial, *channels) if implementation.layout == CHANNELS_LAST else (None, *channels, *spatial)
