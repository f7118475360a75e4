"""keras.layers.GroupNormalization and BatchNormalization on each backend, channel axis last and first."""

from __future__ import annotations

import importlib
import re
import weakref
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from normgauge.adapters.base import Recipe
from normgauge.adapters.case import Array, Case, Implementation, Unsupported
from normgauge.adapters.jax_cache import OnJax
from normgauge.adapters.keras.actions import KerasState
from normgauge.adapters.keras.backends import Backend, Jax, Tensorflow, Torch
from normgauge.adapters.keras.modes import MASK, MODES
from normgauge.adapters.layout import (
    CHANNELS_FIRST,
    CHANNELS_LAST,
    from_layout,
    from_layout_text,
    to_layout,
    to_layout_text,
)
from normgauge.adapters.memory import buffer_of, storage_of
from normgauge.adapters.mode import PLAIN, Mode
from normgauge.adapters.script import arguments, literal

_DOCS = "https://keras.io/api/layers/normalization_layers"
_NAMES = {"weight": "gamma", "bias": "beta", "eps": "epsilon"}
_GROUP_NAMES = _NAMES | {"num_groups": "groups"}
_BATCH_NAMES = _NAMES | {
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
    "momentum": "momentum",
}


_LAYERS = (
    ("GroupNormalization", "group_norm", _GROUP_NAMES, "group_normalization"),
    ("BatchNormalization", "batch_norm", _BATCH_NAMES, "batch_normalization"),
)


def _implementations(backend: str) -> tuple[Implementation, ...]:
    """Both layers with either channel axis; with the last one, which is the default, in every mode, too."""
    variants: list[tuple[str, Mapping[str, Any], Mode, tuple[str, ...]]] = [
        (CHANNELS_LAST, {}, PLAIN, ()),
        (CHANNELS_FIRST, {"axis": 1}, PLAIN, ("float32",)),
        *((CHANNELS_LAST, {}, mode, ()) for mode in MODES[backend]),
    ]
    return tuple(
        Implementation(
            f"keras.layers.{name}",
            layer,
            layout,
            names,
            f"{_DOCS}/{page}/",
            options=options,
            remedies={"accuracy=one_pass": "use the jax or tensorflow backend"},
            backend=backend,
            way=mode,
            dtypes=dtypes,
        )
        for name, layer, names, page in _LAYERS
        for layout, options, mode, dtypes in variants
        if mode.name != MASK.name or layer == "batch_norm"
    )


def _kin(backend: str) -> tuple[Implementation, ...]:
    """LayerNormalization over all axes but that of the samples. Keras has no InstanceNorm of its own."""
    return (
        Implementation(
            "keras.layers.LayerNormalization",
            "layer_norm",
            CHANNELS_LAST,
            {"eps": "epsilon"},
            f"{_DOCS}/layer_normalization/",
            backend=backend,
        ),
    )


class KerasAdapter(KerasState):
    """What all backends share. Keras reads which one to use from the environment, once a process."""

    distribution = "keras"
    slow = True
    dtypes_together = True
    backend: ClassVar[str]
    calls: ClassVar[Backend]

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype)
        import keras

        self.keras = keras
        self._modes: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()

    @classmethod
    def dtypes(cls) -> tuple[str, ...]:
        return ("float16", "bfloat16", "float32", "float64")

    @classmethod
    def environment(cls, dtype: str) -> Mapping[str, str]:
        return {"KERAS_BACKEND": cls.backend}

    def versions(self) -> dict[str, str]:
        return {"keras": self.keras.__version__, self.backend: importlib.import_module(self.backend).__version__}

    def layer_class(self, implementation: Implementation) -> Any:
        return getattr(self.keras.layers, implementation.class_name)

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
        policy = f"mixed_{case.dtype}" if implementation.mode == "mixed" else case.dtype
        return settings | dict(implementation.options) | {"dtype": policy}

    def construct(self, implementation: Implementation, case: Case) -> Any:
        # The name that a first layer gets: Keras counts, and its messages must not depend on what ran before.
        first = re.sub(r"(?<!^)(?=[A-Z])", "_", implementation.class_name).lower()
        layer = self.layer_class(implementation)(**self._settings(implementation, case), name=first)
        layer.build(_built_shape(implementation, case))
        for name, value in case.parameters.items():
            getattr(layer, implementation.names[name]).assign(value)
        self._modes[layer] = implementation.mode
        return layer

    def _arguments(self, layer: Any, x: Any, training: bool) -> dict[str, Any]:
        """What a call is given beside its input; only BatchNormalization tells training from inference."""
        if not isinstance(layer, self.keras.layers.BatchNormalization):
            return {}
        masked = self._modes[layer] == "mask"
        mask = {"mask": self.keras.ops.ones(x.shape[:-1], dtype="bool")} if masked else {}
        return {"training": training, **mask}

    def forward(self, layer: Any, x: Any, *, training: bool) -> Any:
        return self.calls.call(layer, x, self._modes[layer], self._arguments(layer, x, training))

    def backward(self, layer: Any, x: Any, dy: Any, *, training: bool) -> tuple[Any, Mapping[str, Any]]:
        return self.calls.gradients(layer, x, dy, self._modes[layer], self._arguments(layer, x, training))

    def state(self, layer: Any) -> Mapping[str, Any]:
        found = {name: getattr(layer, native, None) for name, native in _BATCH_NAMES.items()}
        return {
            name: found[name] for name in ("weight", "bias", "running_mean", "running_var") if found[name] is not None
        }

    def vector(self, value: Any) -> Array:
        plain = np.asarray(self.keras.ops.convert_to_numpy(value))
        return plain.astype(np.float32) if plain.dtype.name == "bfloat16" else plain

    def native_dtype(self, value: Any) -> str:
        return str(self.keras.backend.standardize_dtype(value.dtype))

    def to_native(self, implementation: Implementation, x: Array) -> Any:
        return self.keras.ops.convert_to_tensor(to_layout(x, implementation.layout), dtype=self.dtype)

    def to_numpy(self, implementation: Implementation, value: Any) -> Array:
        return from_layout(self.vector(value), implementation.layout)

    def recipe(self, implementation: Implementation, case: Case) -> Recipe:
        layout = implementation.layout
        construct = [
            f"layer = keras.layers.{implementation.class_name}({arguments(self._settings(implementation, case))})",
            f"layer.build({_built_shape(implementation, case)})",
        ]
        for name, value in case.parameters.items():
            construct.append(f"layer.{implementation.names[name]}.assign({literal(value, case.dtype)})")
        is_batch, written = implementation.layer == "batch_norm", type(self).calls
        call, backward = {}, {}
        for mode in ("train", "eval"):
            layer_call = _call_text(implementation, training=mode == "train")
            call[mode] = (
                _given_text("given", "x", layout, case.dtype),
                *written.call_text(implementation.mode, layer_call),
                _shown_text("y", layout),
            )
            backward[mode] = (
                _given_text("given", "x", layout, case.dtype),
                _given_text("dy", "dy", layout, case.dtype),
                *written.gradients_text(implementation.mode, layer_call),
                _shown_text("y", layout),
                _shown_text("dx", layout),
            )
        state = {
            name: f"keras.ops.convert_to_numpy(layer.{implementation.names[name]})"
            for name in ("running_mean", "running_var")
            if is_batch
        }
        gradients = {
            f"d{name}": f"keras.ops.convert_to_numpy({written.gradient_text(implementation.names[name])})"
            for name in ("weight", "bias")
            if case.settings.get(name, True)
        }
        needed = any(step.dy is not None for step in case.steps) or implementation.mode in written.compilers
        imports = ("import keras", *(written.imports if needed else ()))
        return Recipe(imports, tuple(construct), call, state, backward, gradients)


class KerasOnJaxAdapter(OnJax, KerasAdapter):
    framework = "keras-jax"
    backend = "jax"
    calls = Jax()
    compiles = calls.compiles
    implementations = _implementations("jax")
    kin = _kin("jax")


class KerasOnTorchAdapter(KerasAdapter):
    framework = "keras-torch"
    backend = "torch"
    calls = Torch()
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
    calls = Tensorflow()
    implementations = _implementations("tensorflow")
    kin = _kin("tensorflow")

    def device(self) -> str:
        return str(self.keras.ops.zeros(1).device).rpartition("device:")[2].partition(":")[0].lower()


class KerasOnNumpyAdapter(KerasAdapter):
    framework = "keras-numpy"
    backend = "numpy"
    calls = Backend()
    implementations = _implementations("numpy")
    kin = _kin("numpy")

    def memory(self, value: Any) -> Array | None:
        return buffer_of(value.value if isinstance(value, self.keras.Variable) else value)


def _call_text(implementation: Implementation, *, training: bool) -> str:
    arguments = ["given"]
    if implementation.layer == "batch_norm":
        arguments.append(f"training={training}")
    if implementation.mode == "mask":
        arguments.append("mask=keras.ops.ones(given.shape[:-1], dtype='bool')")
    return f"layer({', '.join(arguments)})"


def _given_text(name: str, value: str, layout: str, dtype: str) -> str:
    return f"{name} = keras.ops.convert_to_tensor({to_layout_text(value, layout)}, dtype={dtype!r})"


def _shown_text(name: str, layout: str) -> str:
    return f"{name} = {from_layout_text(f'keras.ops.convert_to_numpy({name})', layout)}"


def _built_shape(implementation: Implementation, case: Case) -> tuple[int | None, ...]:
    """The shape a model gives at build time: batch and spatial sizes open, the channel count fixed.

    LayerNormalization asks for every size that it normalises over.
    """
    sizes = case.steps[0].x.shape[2:]
    spatial = sizes if implementation.layer == "layer_norm" else (None,) * len(sizes)
    channels = (case.settings["num_channels"],)
    return (None, *spatial, *channels) if implementation.layout == CHANNELS_LAST else (None, *channels, *spatial)
