"""flax.nnx and flax.linen GroupNorm and BatchNorm, JAX's layer library, in the modes that users switch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from normgauge.adapters.base import Recipe
from normgauge.adapters.case import Array, Case, Implementation, Unsupported
from normgauge.adapters.flax.actions import FlaxState
from normgauge.adapters.flax.modes import MODES, REDUCTION_AXES
from normgauge.adapters.flax.scripts import AXIS_NAME, WAYS, LinenTexts, NnxTexts
from normgauge.adapters.jax_cache import OnJax
from normgauge.adapters.layout import CHANNELS_LAST, from_layout, to_layout
from normgauge.adapters.mode import PLAIN, Mode
from normgauge.adapters.script import arguments, literal

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
_FLAGS = {"weight": "use_scale", "bias": "use_bias"}
_REMEDIES = {"accuracy=one_pass": "pass use_fast_variance=False"}
#: A way in which users switch the layer: the mode, what else it is constructed with, the dtypes if not the mode's.
Variant = tuple[Mode, Mapping[str, Any], tuple[str, ...]]
_PLAIN: Final[Variant] = (PLAIN, {}, ())
_VARIANTS: Final[tuple[Variant, ...]] = (
    _PLAIN,
    (PLAIN, {"use_fast_variance": False}, ("float32",)),
    *((mode, {}, ()) for mode in MODES),
)


def _implementations(api: str, name: str, layer: str, names: Mapping[str, str]) -> tuple[Implementation, ...]:
    """The layer in every mode."""
    return tuple(
        _implementation(api, name, layer, names, variant)
        for variant in _VARIANTS
        if variant[0] != REDUCTION_AXES or layer == "group_norm"
    )


def _implementation(
    api: str, name: str, layer: str, names: Mapping[str, str], variant: Variant = _PLAIN
) -> Implementation:
    mode, options, dtypes = variant
    page = f"{_DOCS}/{'flax.linen/layers' if api == 'linen' else 'flax.nnx/nn/normalization'}.html"
    return Implementation(
        f"flax.{api}.{name}",
        layer,
        CHANNELS_LAST,
        names,
        page,
        options=options,
        remedies={} if "use_fast_variance" in options else _REMEDIES,
        way=mode,
        dtypes=dtypes,
    )


class FlaxAdapter(OnJax, FlaxState):
    framework = "flax"
    distribution = "flax"
    compiles = True
    dtypes_together = True
    implementations = tuple(
        implementation
        for api in ("nnx", "linen")
        for name, layer, names in (("GroupNorm", "group_norm", _GROUP_NAMES), ("BatchNorm", "batch_norm", _BATCH_NAMES))
        for implementation in _implementations(api, name, layer, names)
    )
    kin = tuple(
        _implementation(api, name, layer, _KIN_NAMES)
        for api in ("nnx", "linen")
        for name, layer in (("InstanceNorm", "instance_norm"), ("LayerNorm", "layer_norm"))
    )

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype)
        import jax.numpy as jnp
        from flax import linen, nnx

        from normgauge.adapters.flax import calls

        self.jnp, self.nnx, self.linen, self.calls = jnp, nnx, linen, calls

    @classmethod
    def dtypes(cls) -> tuple[str, ...]:
        return ("float16", "bfloat16", "float32", "float64")

    def versions(self) -> dict[str, str]:
        return super().versions() | {"jax": self.jax.__version__}

    def layer_class(self, implementation: Implementation) -> Any:
        return getattr(self.linen if _is_linen(implementation) else self.nnx, implementation.class_name)

    def _settings(self, implementation: Implementation, case: Case) -> dict[str, Any]:
        given = dict(case.settings)
        if not given.pop("track", True):
            raise Unsupported("the layer always tracks statistics")
        flags = {_FLAGS[name]: False for name in ("weight", "bias") if not given.get(name, True)}
        if _is_linen(implementation):
            told = implementation.layer == "batch_norm" or given.get("weight", True) or given.get("bias", True)
            if not told and case.steps[0].x.shape[1] != given["num_channels"]:
                raise Unsupported("a module without scale and bias is told no channel count")
            given.pop("num_channels")  # taken from the shape it is initialised on
        hyper: dict[str, Any] = {name: value for name, value in given.items() if name not in _FLAGS}
        axes: dict[str, Any] = {}
        if implementation in self.kin:
            hyper.pop("num_groups")
        if implementation.layer == "layer_norm" or implementation.mode == "reduction_axes":
            # LayerNorm by itself normalises over the channels alone.
            axes["reduction_axes"] = tuple(range(1, case.steps[0].x.ndim))
        if implementation.mode == "vmap" and implementation.layer == "batch_norm":
            axes["axis_name"] = AXIS_NAME
        named = {implementation.names[name]: value for name, value in hyper.items()}
        return named | dict(implementation.options) | axes | flags

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

    def construct(self, implementation: Implementation, case: Case) -> Any:
        types = {name: getattr(self.jnp, dtype) for name, dtype in self._types(implementation, case).items()}
        settings = self._settings(implementation, case) | types
        values = {
            name: self.jnp.asarray(value, getattr(self.jnp, self._stored_as(name, implementation, case)))
            for name, value in case.parameters.items()
        }
        layer_class, mode = self.layer_class(implementation), _way(implementation)
        if _is_linen(implementation):
            module = layer_class(**settings)
            flag = {"use_running_average": True} if implementation.layer == "batch_norm" else {}
            variables = dict(
                module.init(self.jax.random.key(0), self.jnp.zeros(_initial_shape(case), case.dtype), **flag)
            )
            for name, value in values.items():
                collection = "batch_stats" if name.startswith("running") else "params"
                variables[collection] = {**variables[collection], implementation.names[name]: value}
            return self.calls.LinenLayer(module, variables, mode)
        module = layer_class(**settings, rngs=self.nnx.Rngs(0))
        for name, value in values.items():
            getattr(module, implementation.names[name]).set_value(value)
        return self.calls.NnxLayer(module, mode)

    def forward(self, layer: Any, x: Any, *, training: bool) -> Any:
        return layer(x, training=training)

    def backward(self, layer: Any, x: Any, dy: Any, *, training: bool) -> tuple[Any, Mapping[str, Any]]:
        return layer.gradients(x, dy, training=training)  # type: ignore[no-any-return]

    def state(self, layer: Any) -> Mapping[str, Any]:
        return layer.state()  # type: ignore[no-any-return]

    def to_native(self, implementation: Implementation, x: Array) -> Any:
        return self.jnp.asarray(to_layout(x, implementation.layout), getattr(self.jnp, self.dtype))

    def to_numpy(self, implementation: Implementation, value: Any) -> Array:
        return from_layout(self.vector(value), implementation.layout)

    def vector(self, value: Any) -> Array:
        plain = np.asarray(value)
        return plain.astype(np.float32) if plain.dtype.name == "bfloat16" else plain

    def recipe(self, implementation: Implementation, case: Case) -> Recipe:
        is_linen = _is_linen(implementation)
        construct = self._linen_construction if is_linen else self._nnx_construction
        texts = LinenTexts if is_linen else NnxTexts
        written = texts(_way(implementation), implementation.layer == "batch_norm", case.dtype)
        return Recipe(
            ("import jax", "import jax.numpy as jnp", f"from flax import {'linen' if is_linen else 'nnx'}"),
            construct(implementation, case),
            {mode: written.call(mode) for mode in ("train", "eval")},
            written.state(),
            {mode: written.backward(mode) for mode in ("train", "eval")},
            {f"d{name}": written.gradient(name) for name in ("weight", "bias") if case.settings.get(name, True)},
        )

    def _construction(self, implementation: Implementation, case: Case) -> str:
        types = {name: f"jnp.{dtype}" for name, dtype in self._types(implementation, case).items()}
        settings = arguments(self._settings(implementation, case))
        typed = ", ".join(f"{name}={dtype}" for name, dtype in types.items())
        api = "linen" if _is_linen(implementation) else "nnx"
        return f"{api}.{implementation.class_name}({settings}{', ' if settings else ''}{typed}"

    def _values(self, implementation: Implementation, case: Case) -> Iterator[tuple[str, str, str]]:
        """Every parameter of the case: its name, the native name, and its value as an expression."""
        for name, value in case.parameters.items():
            stored_as = self._stored_as(name, implementation, case)
            given_type = "" if value.dtype == stored_as else f", jnp.{stored_as}"
            yield name, implementation.names[name], f"jnp.asarray({literal(value, case.dtype)}{given_type})"

    def _nnx_construction(self, implementation: Implementation, case: Case) -> tuple[str, ...]:
        values = self._values(implementation, case)
        return (
            f"layer = {self._construction(implementation, case)}, rngs=nnx.Rngs(0))",
            *(f"layer.{native}.set_value({value})" for _, native, value in values),
        )

    def _linen_construction(self, implementation: Implementation, case: Case) -> tuple[str, ...]:
        flag = ", use_running_average=True" if implementation.layer == "batch_norm" else ""
        lines = [
            f"layer = {self._construction(implementation, case)})",
            f"x = jnp.zeros({_initial_shape(case)}, jnp.{case.dtype})",
            f"variables = layer.init(jax.random.key(0), x{flag})",
        ]
        for name, native, value in self._values(implementation, case):
            collection = "batch_stats" if name.startswith("running") else "params"
            lines.append(f"variables[{collection!r}][{native!r}] = {value}")
        return tuple(lines)


def _initial_shape(case: Case) -> tuple[int, ...]:
    """An input's shape for a linen module to be initialised on, which tells it the channel count."""
    return (1,) * (case.steps[0].x.ndim - 1) + (case.settings["num_channels"],)


def _is_linen(implementation: Implementation) -> bool:
    return implementation.identity.module == "flax.linen"


def _way(implementation: Implementation) -> str:
    """How the layer is called; the other modes are about how it is constructed."""
    return implementation.mode if implementation.mode in WAYS else "eager"
