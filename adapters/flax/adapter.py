"""flax.nnx and flax.linen GroupNorm and BatchNorm, JAX's layer library, in the modes that users switch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any, Final

from normgauge.adapters.case import Array, Case, Implementation
from normgauge.adapters.flax.modes import MODES, REDUCTION_AXES
from normgauge.adapters.flax.writing import writing
from normgauge.adapters.functions import channels_first
from normgauge.adapters.implementations import EVERY_RANK, Row, implementations_of
from normgauge.adapters.jax_cache import OnJax
from normgauge.adapters.lacks import NEITHER, Lack, without
from normgauge.adapters.layout import CHANNELS_LAST
from normgauge.adapters.mode import PLAIN, Mode
from normgauge.adapters.operations import SWITCH, Name, Operation, Operations, ScriptedAdapter, Steps, actions_of, do
from normgauge.adapters.writing import Writing

_DOCS = "https://flax.readthedocs.io/en/stable/api_reference"
_NAMES = {"weight": "scale", "bias": "bias", "eps": "epsilon"}
_GROUP_NAMES = _NAMES | {"num_groups": "num_groups", "num_channels": "num_features"}
_KIN_NAMES = _NAMES | {"num_channels": "num_features"}
_BATCH_NAMES = _NAMES | {
    "momentum": "momentum",
    "running_mean": "mean",
    "running_var": "var",
    "num_channels": "num_features",
}
_LAYERS = (
    ("GroupNorm", "group_norm", _GROUP_NAMES, EVERY_RANK),
    ("BatchNorm", "batch_norm", _BATCH_NAMES, EVERY_RANK),
)
_KIN = (
    ("InstanceNorm", "instance_norm", _KIN_NAMES, EVERY_RANK),
    ("LayerNorm", "layer_norm", _KIN_NAMES, EVERY_RANK),
)
#: The page of all layers, by package.
_PAGES = {"flax.nnx": f"{_DOCS}/flax.nnx/nn/normalization.html", "flax.linen": f"{_DOCS}/flax.linen/layers.html"}
_FLAGS = {"weight": "use_scale", "bias": "use_bias"}
#: The ways in which users switch a layer: the mode, what else it is constructed with, the dtypes if not the mode's.
_VARIANTS: Final[tuple[tuple[Mode, Mapping[str, Any], tuple[str, ...]], ...]] = (
    (PLAIN, {}, ()),
    (PLAIN, {"use_fast_variance": False}, ("float32",)),
    *((mode, {}, ()) for mode in MODES),
)


def _of_both(rows: Iterable[Row]) -> tuple[Implementation, ...]:
    """The layers of both packages, as they are by themselves."""
    return tuple(
        one for package, page in _PAGES.items() for one in implementations_of(rows, package, CHANNELS_LAST, page)
    )


class FlaxAdapter(OnJax, ScriptedAdapter):
    framework = "flax"
    distribution = "flax"
    compiles = True
    dtypes_together = True
    implementations = tuple(
        replace(one, way=mode, options=options, dtypes=dtypes)
        for one in _of_both(_LAYERS)
        for mode, options, dtypes in _VARIANTS
        if mode != REDUCTION_AXES or one.layer == "group_norm"
    )
    kin = _of_both(_KIN)

    @classmethod
    def writing(cls, implementation: Implementation) -> Writing | None:
        return writing(implementation)

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype)
        from normgauge.adapters.flax import functions, linen_functions, nnx_functions

        self.module = functions
        self._of_nnx, self._of_linen = nnx_functions, linen_functions

    def functions(self, implementation: Implementation) -> ModuleType:
        return self._of_linen if _is_linen(implementation) else self._of_nnx

    def versions(self) -> dict[str, str]:
        return super().versions() | {"jax": self.jax.__version__}

    def lacks(self, implementation: Implementation) -> tuple[Lack, ...]:
        found, source = super().lacks(implementation), implementation.documentation
        if implementation.layer == "batch_norm":
            return (
                *found,
                *without("the layer always tracks statistics", source, {"track": False}),
                *without("momentum is a number", source, {"momentum": None}),
            )
        if _is_linen(implementation):
            why = "a module without scale and bias takes no channel count"
            bare = Lack(why=why, source=source, settings=NEITHER, shapes=("other channels",))
            return (*found, bare)
        return found

    def _settings(self, implementation: Implementation, case: Case) -> dict[str, Any]:
        given = dict(case.settings)
        given.pop("track", True)
        flags = {_FLAGS[name]: False for name in ("weight", "bias") if not given.get(name, True)}
        if _is_linen(implementation):
            given.pop("num_channels")  # taken from the shape it is initialised on
        hyper: dict[str, Any] = {name: value for name, value in given.items() if name not in _FLAGS}
        axes: dict[str, Any] = {}
        if implementation in self.kin:
            hyper.pop("num_groups")
        if implementation.layer == "layer_norm" or implementation.mode == "reduction_axes":
            # LayerNorm by itself normalises over the channels alone.
            axes["reduction_axes"] = tuple(range(1, case.steps[0].x.ndim))
        if implementation.mode == "vmap" and implementation.layer == "batch_norm":
            axes["axis_name"] = self.module.AXIS_NAME
        return implementation.named(hyper) | dict(implementation.options) | axes | flags

    def _types(self, implementation: Implementation, case: Case) -> dict[str, str]:
        """The layer's types: by themselves its parameters have that of the input, from which follows the output's."""
        if implementation.mode == "mixed":
            return {"dtype": case.dtype, "param_dtype": "float32"}
        return {"param_dtype": case.dtype}

    def _stored_as(self, parameter: str, implementation: Implementation, case: Case) -> str:
        """The type of a parameter or running statistic. Running statistics are never of a half type."""
        param_dtype = self._types(implementation, case)["param_dtype"]
        half = param_dtype in {"float16", "bfloat16"}
        return "float32" if half and parameter.startswith("running") else param_dtype

    def construction(self, implementation: Implementation, case: Case) -> Iterator[Operation]:
        settings: dict[str, Any] = self._settings(implementation, case)
        settings |= {name: Name(f"jnp.{dtype}") for name, dtype in self._types(implementation, case).items()}
        is_linen, f = _is_linen(implementation), self.functions(implementation)
        layer_class = Name(implementation.class_path.removeprefix("flax."))
        if is_linen:
            flag = {"use_running_average": True} if implementation.layer == "batch_norm" else {}
            yield do(layer_class, "layer", **settings)
            typed = Name(f"jnp.{self.dtype}")
            yield do(f.initial, "variables", shape=_initial_shape(case), dtype=typed, **flag)
        else:
            yield do(layer_class, "layer", **settings, rngs=do(f.new_rngs))
        for name, value in case.parameters.items():
            yield self.parameter(implementation, case, name, value)

    def parameter(self, implementation: Implementation, case: Case, name: str, value: Array) -> Operation:
        place = {"collection": _collection(name)} if _is_linen(implementation) else {}
        typed = Name(f"jnp.{case.dtypes.get(name) or self._stored_as(name, implementation, case)}")
        array = do(self.module.to_array, value=value, dtype=typed)
        native = implementation.names[name]
        return do(self.functions(implementation).set_parameter, **place, name=native, value=array)

    def native(self, implementation: Implementation, x: Array) -> Operation:
        return do(self.module.to_array, value=self.laid_out(implementation, x), dtype=Name(f"jnp.{self.dtype}"))

    def operations(self, implementation: Implementation) -> Operations:
        f, is_linen, to_numpy = self.functions(implementation), _is_linen(implementation), self.numpy_of_value()
        calls, gradients = {}, {}
        for mode in SWITCH:
            steps = self._linen_steps if is_linen else self._nnx_steps
            calls[mode], gradients[mode] = steps(implementation, mode)
        changed = {"momentum": (do(f.set_momentum, "layer"),)} if is_linen else {}
        return Operations(
            canonical=do(channels_first, value=to_numpy),
            vector=to_numpy,
            call=calls,
            gradients=gradients,
            derivatives=self._derivatives(implementation) if implementation.mode == "eager" else {},
            read={
                name: do(f.read, **({"collection": _collection(name)} if is_linen else {}), name=native)
                for name, native in implementation.names.items()
            },
            actions=actions_of(f) | changed | {"load": (do(f.load, "variables" if is_linen else "layer"),)},
            trainable=do(f.trained),
        )

    def _derivatives(self, implementation: Implementation) -> dict[str, dict[str, Steps]]:
        f, found = self.functions(implementation), dict[str, dict[str, Steps]]()
        for name, function in (("second", f.differentiate_twice), ("forward", f.differentiate_forward)):
            found[name] = {}
            for mode, switch in SWITCH.items():
                flags = {"use_running_average": mode == "eval", "mutable": "batch_stats"}
                tracks = _is_linen(implementation) and implementation.layer == "batch_norm"
                derive = do(function, "y, gradients", **(flags if tracks else {}))
                found[name][mode] = (derive,) if _is_linen(implementation) else (switch, derive)
        return found

    def _nnx_steps(self, implementation: Implementation, mode: str) -> tuple[Steps, Steps]:
        """What calls an nnx module, and what differentiates it."""
        f, way = self._of_nnx, _way(implementation)
        function = {"eager": "call", "mask": "masked", "vmap": "mapped", "jit": "compiled"}[way]
        names = "y, dx, own"
        compiled = do(f.compiled_gradients, names)
        differentiate = compiled if way == "jit" else do(f.gradients_of, names, function=Name(function))
        named = do(self.module.named, "gradients", own=do(f.values_of))
        return (SWITCH[mode], do(getattr(f, function), "y")), (SWITCH[mode], differentiate, named)

    def _linen_steps(self, implementation: Implementation, mode: str) -> tuple[Steps, Steps]:
        """The same for a linen module. GroupNorm knows neither training nor statistics."""
        f, way, arguments = self._of_linen, _way(implementation), dict[str, Any]()
        tracks = implementation.layer == "batch_norm"
        if tracks:
            arguments = {"use_running_average": mode == "eval", "mutable": "batch_stats"}
        if way == "mask":
            arguments["mask"] = do(self.module.full_mask)
        suffix, changed = ("_with_statistics", ", changed") if tracks else ("", "")
        update = (do(f.update),) if tracks else ()
        function = {"vmap": f"mapped{suffix}", "jit": "compiled"}.get(way, "call")
        given = {} if way == "jit" else {"function": Name(function)}
        gradients_of = getattr(f, f"{'compiled_' if way == 'jit' else ''}gradients{suffix or '_of'}")
        differentiate = do(gradients_of, f"y, dx, own{changed}", **given, **arguments)
        call = do(getattr(f, function), f"y{changed}", **arguments)
        return (call, *update), (differentiate, *update, do(self.module.named, "gradients"))


def _collection(parameter: str) -> str:
    """Where a linen module's variables have a parameter or running statistic."""
    return "batch_stats" if parameter.startswith("running") else "params"


def _initial_shape(case: Case) -> tuple[int, ...]:
    """An input's shape for a linen module to be initialised on, which tells it the channel count."""
    return (1,) * (case.steps[0].x.ndim - 1) + (case.settings["num_channels"],)


def _is_linen(implementation: Implementation) -> bool:
    return implementation.identity.module == "flax.linen"


def _way(implementation: Implementation) -> str:
    """How the layer is called; the other modes are about how it is constructed."""
    return implementation.mode if implementation.mode in {"jit", "vmap", "mask"} else "eager"
