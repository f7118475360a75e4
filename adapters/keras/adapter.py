"""keras.layers.GroupNormalization and BatchNormalization on each backend, channel axis last and first."""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, ClassVar

from normgauge.adapters.case import Array, Case, Implementation
from normgauge.adapters.functions import channels_first, read
from normgauge.adapters.jax_cache import OnJax
from normgauge.adapters.keras.modes import COMPILED, MASK, MODES
from normgauge.adapters.keras.writing import writing
from normgauge.adapters.lacks import PARTS, Lack, without
from normgauge.adapters.layout import CHANNELS_FIRST, CHANNELS_LAST
from normgauge.adapters.memory import elements_of, storage_of
from normgauge.adapters.mode import PLAIN, Mode
from normgauge.adapters.operations import Name, Operation, Operations, ScriptedAdapter, Steps, actions_of, do
from normgauge.adapters.writing import Writing

_POLICY = "https://keras.io/api/mixed_precision/policy/"
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
            class_path=f"keras.layers.{name}",
            layer=layer,
            layout=layout,
            names=names,
            documentation=f"{_DOCS}/{page}/",
            options=options,
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
            class_path="keras.layers.LayerNormalization",
            layer="layer_norm",
            layout=CHANNELS_LAST,
            names={"eps": "epsilon"},
            documentation=f"{_DOCS}/layer_normalization/",
            backend=backend,
        ),
    )


class KerasAdapter(ScriptedAdapter):
    """What all backends share. Keras reads which one to use from the environment, once a process."""

    distribution = "keras"
    slow = True
    dtypes_together = True
    backend: ClassVar[str]

    @classmethod
    def writing(cls, implementation: Implementation) -> Writing | None:
        return writing(implementation)

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype)
        import keras

        from normgauge.adapters.keras import functions

        self.keras, self.module = keras, functions

    @functools.cached_property
    def on_backend(self) -> ModuleType:
        """What a user does on this backend alone; of NumPy there is no such module."""
        return importlib.import_module(f"normgauge.adapters.keras.on_{self.backend}")

    @classmethod
    def environment(cls, dtype: str) -> Mapping[str, str]:
        return {"KERAS_BACKEND": cls.backend}

    def versions(self) -> dict[str, str]:
        return {"keras": self.keras.__version__, self.backend: importlib.import_module(self.backend).__version__}

    def lacks(self, implementation: Implementation) -> tuple[Lack, ...]:
        found, source = super().lacks(implementation), implementation.documentation
        why = "all variables of a layer have the type of its dtype policy"
        found = (*found, Lack(why=why, source=_POLICY, actions=("parameter_dtypes",)))
        if implementation in self.kin:
            return (*found, *without("gamma and beta hold one value for each element", source, *PARTS))
        if implementation.layer == "batch_norm":
            return (
                *found,
                *without("the layer always tracks statistics", source, {"track": False}),
                *without("momentum is a number", source, {"momentum": None}),
            )
        return found

    def _settings(self, implementation: Implementation, case: Case) -> dict[str, Any]:
        given = dict(case.settings)
        given.pop("track", True)
        given.pop("num_channels")  # taken from the shape it is built on
        if implementation in self.kin:
            given.pop("num_groups")
        settings: dict[str, Any] = {}
        if not given.pop("weight", True):
            settings["scale"] = False
        if not given.pop("bias", True):
            settings["center"] = False
        if implementation in self.kin:
            settings["axis"] = list(range(1, case.steps[0].x.ndim))
        settings |= implementation.named(given)
        policy = f"mixed_{case.dtype}" if implementation.mode == "mixed" else case.dtype
        return settings | dict(implementation.options) | {"dtype": policy}

    def construction(self, implementation: Implementation, case: Case) -> Iterator[Operation]:
        name, f = implementation.class_name, self.module
        # The name that a first layer gets: Keras counts, and its messages must not depend on what ran before.
        first = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
        yield do(Name(f"keras.layers.{name}"), "layer", **self._settings(implementation, case), name=first)
        yield do(f.build, shape=_built_shape(implementation, case))
        for parameter, value in case.parameters.items():
            yield self.parameter(implementation, case, parameter, value)

    def parameter(self, implementation: Implementation, case: Case, name: str, value: Array) -> Operation:
        return do(self.module.set_parameter, name=implementation.names[name], value=value)

    def native(self, implementation: Implementation, x: Array) -> Operation:
        return do(self.module.to_tensor, value=self.laid_out(implementation, x), dtype=self.dtype)

    def operations(self, implementation: Implementation) -> Operations:
        f, to_numpy = self.module, self.numpy_of_value()
        last = implementation.layout == CHANNELS_LAST
        calls, gradients, derivatives = {}, {}, dict[str, dict[str, Steps]]()
        for mode in ("train", "eval"):
            # Only BatchNormalization tells training from inference.
            arguments: dict[str, Any] = {"training": mode == "train"} if implementation.layer == "batch_norm" else {}
            if implementation.mode == "mask":
                arguments["mask"] = do(f.full_mask)
            calls[mode] = self._call(implementation.mode, arguments)
            gradients[mode] = self._gradients(implementation.mode, arguments)
            if implementation.mode == "eager":
                for name, steps in self._derivatives(arguments).items():
                    derivatives.setdefault(name, {})[mode] = steps
        return Operations(
            canonical=do(channels_first, value=to_numpy) if last else to_numpy,
            vector=to_numpy,
            call=calls,
            gradients={mode: steps for mode, steps in gradients.items() if steps},
            derivatives=derivatives,
            read={name: do(read, name=native) for name, native in implementation.names.items()},
            actions=actions_of(f),
            trainable=do(f.trained),
        )

    def _call(self, mode: str, arguments: Mapping[str, Any]) -> Steps:
        return (do(self.module.call, "y", **arguments),)

    def _gradients(self, mode: str, arguments: Mapping[str, Any]) -> Steps:
        return ()

    def _derivatives(self, arguments: Mapping[str, Any]) -> dict[str, Steps]:
        return {}

    def native_dtype(self, value: Any) -> str:
        return str(self.keras.backend.standardize_dtype(value.dtype))


class _CompilingAdapter(KerasAdapter):
    """What the backends share that compile functions: a layer's gradients are such a function."""

    def _flag(self, mode: str) -> dict[str, bool]:
        """What the compiler is given."""
        return {}

    def _call(self, mode: str, arguments: Mapping[str, Any]) -> Steps:
        if mode not in COMPILED:
            return super()._call(mode, arguments)
        return (do(self.on_backend.call_compiled, "y", **self._flag(mode), **arguments),)

    def _gradients(self, mode: str, arguments: Mapping[str, Any]) -> Steps:
        backend = self.on_backend
        compiled = (do(backend.compile_function, "function", **self._flag(mode)),) if mode in COMPILED else ()
        function = do(backend.gradients_of, "function", **arguments)
        return function, *compiled, do(backend.differentiate, "y, gradients")

    def _derivatives(self, arguments: Mapping[str, Any]) -> dict[str, Steps]:
        twice, forward = self.on_backend.differentiate_twice, self.on_backend.differentiate_forward
        return {
            "second": (do(twice, "y, gradients", **arguments),),
            "forward": (do(forward, "y, gradients", **arguments),),
        }


class KerasOnJaxAdapter(OnJax, _CompilingAdapter):
    framework = "keras-jax"
    backend = "jax"
    compiles = True
    implementations = _implementations("jax")
    kin = _kin("jax")


class KerasOnTorchAdapter(KerasAdapter):
    framework = "keras-torch"
    backend = "torch"
    implementations = _implementations("torch")
    kin = _kin("torch")

    def _gradients(self, mode: str, arguments: Mapping[str, Any]) -> Steps:
        return (do(self.on_backend.differentiate, "y, gradients", **arguments),)

    def device(self) -> str:
        return str(self.keras.ops.zeros(1).device.type)

    def elements(self, value: Any) -> Array | None:
        tensor = self._tensor(value)
        return elements_of(tensor) if tensor.device.type == "cpu" else None

    def memory(self, value: Any) -> Array | None:
        tensor = self._tensor(value)
        return storage_of(tensor) if tensor.device.type == "cpu" else None

    def _tensor(self, value: Any) -> Any:
        return value.value if isinstance(value, self.keras.Variable) else value


class KerasOnTensorflowAdapter(_CompilingAdapter):
    framework = "keras-tensorflow"
    backend = "tensorflow"
    implementations = _implementations("tensorflow")
    kin = _kin("tensorflow")

    def _flag(self, mode: str) -> dict[str, bool]:
        return {"jit_compile": mode == "jit_compile"}

    def device(self) -> str:
        return str(self.keras.ops.zeros(1).device).rpartition("device:")[2].partition(":")[0].lower()


class KerasOnNumpyAdapter(KerasAdapter):
    framework = "keras-numpy"
    backend = "numpy"
    implementations = _implementations("numpy")
    kin = _kin("numpy")

    def elements(self, value: Any) -> Array | None:
        return value.value if isinstance(value, self.keras.Variable) else value  # type: ignore[no-any-return]


def _built_shape(implementation: Implementation, case: Case) -> tuple[int | None, ...]:
    """The shape a model gives at build time: batch and spatial sizes open, the channel count fixed.

    LayerNormalization asks for every size that it normalises over.
    """
    sizes = case.steps[0].x.shape[2:]
    spatial = sizes if implementation.layer == "layer_norm" else (None,) * len(sizes)
    channels = (case.settings["num_channels"],)
    return (None, *spatial, *channels) if implementation.layout == CHANNELS_LAST else (None, *channels, *spatial)
