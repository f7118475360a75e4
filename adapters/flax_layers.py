"""flax.nnx and flax.linen GroupNorm and BatchNorm, JAX's layer library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from normgauge.adapters.base import Array, Case, Implementation, Recipe, Unsupported
from normgauge.adapters.flax_state import FlaxState
from normgauge.adapters.layout import CHANNELS_LAST, from_layout, from_layout_text, to_layout, to_layout_text
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


def _implementation(api: str, name: str, layer: str, names: Mapping[str, str]) -> Implementation:
    page = f"{_DOCS}/{'flax.linen/layers' if api == 'linen' else 'flax.nnx/nn/normalization'}.html"
    return Implementation(f"flax.{api}.{name}", layer, CHANNELS_LAST, names, page, remedies=_REMEDIES)


class _LinenLayer:
    """A linen module with its variables, so that it lives from call to call as other layers do."""

    def __init__(self, module: Any, variables: dict[str, Any]) -> None:
        self.module, self.variables = module, variables


class FlaxAdapter(FlaxState):
    framework = "flax"
    distribution = "flax"
    compiles = True
    implementations = (
        _implementation("nnx", "GroupNorm", "group_norm", _GROUP_NAMES),
        _implementation("nnx", "BatchNorm", "batch_norm", _BATCH_NAMES),
        _implementation("linen", "GroupNorm", "group_norm", _GROUP_NAMES),
        _implementation("linen", "BatchNorm", "batch_norm", _BATCH_NAMES),
    )
    kin = tuple(
        _implementation(api, name, layer, _KIN_NAMES)
        for api in ("nnx", "linen")
        for name, layer in (("InstanceNorm", "instance_norm"), ("LayerNorm", "layer_norm"))
    )

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype)
        import jax
        import jax.numpy as jnp
        from flax import linen, nnx

        self.jax, self.jnp, self.nnx, self.linen = jax, jnp, nnx, linen

    @classmethod
    def environment(cls, dtype: str) -> Mapping[str, str]:
        return {"JAX_ENABLE_X64": "1"} if dtype == "float64" else {}

    def device(self) -> str:
        return str(self.jax.devices()[0].platform)

    def versions(self) -> dict[str, str]:
        return super().versions() | {"jax": self.jax.__version__}

    def layer_class(self, implementation: Implementation) -> Any:
        _, api, name = implementation.id.split(".")
        return getattr(getattr(self, api), name)

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
        if implementation.layer == "layer_norm":  # by itself it normalises over the channels alone
            axes["reduction_axes"] = tuple(range(1, case.steps[0].x.ndim))
        return {implementation.names[name]: value for name, value in hyper.items()} | axes | flags

    def construct(self, implementation: Implementation, case: Case) -> Any:
        settings = self._settings(implementation, case) | {"param_dtype": getattr(self.jnp, case.dtype)}
        values = {name: self.jnp.asarray(value) for name, value in case.parameters.items()}
        layer_class = self.layer_class(implementation)
        if _is_linen(implementation):
            module = layer_class(**settings)
            flag = {"use_running_average": True} if implementation.layer == "batch_norm" else {}
            variables = dict(
                module.init(self.jax.random.key(0), self.jnp.zeros(_initial_shape(case), case.dtype), **flag)
            )
            for name, value in values.items():
                collection = "batch_stats" if name.startswith("running") else "params"
                variables[collection] = {**variables[collection], implementation.names[name]: value}
            return _LinenLayer(module, variables)
        layer = layer_class(**settings, rngs=self.nnx.Rngs(0))
        for name, value in values.items():
            getattr(layer, implementation.names[name]).set_value(value)
        return layer

    def forward(self, layer: Any, x: Any, *, training: bool) -> Any:
        if not isinstance(layer, _LinenLayer):
            layer.train() if training else layer.eval()
            return layer(x)
        if "batch_stats" not in layer.variables:
            return layer.module.apply(layer.variables, x)
        y, changed = layer.module.apply(layer.variables, x, use_running_average=not training, mutable=["batch_stats"])
        layer.variables.update(changed)
        return y

    def state(self, layer: Any) -> Mapping[str, Any]:
        names = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
        if isinstance(layer, _LinenLayer):
            flat = {**layer.variables.get("params", {}), **layer.variables.get("batch_stats", {})}
            return {name: flat[native] for name, native in names.items() if native in flat}
        found = {name: getattr(layer, native, None) for name, native in names.items()}
        return {name: value[...] for name, value in found.items() if value is not None}

    def to_native(self, implementation: Implementation, x: Array) -> Any:
        return self.jnp.asarray(to_layout(x, implementation.layout))

    def to_numpy(self, implementation: Implementation, value: Any) -> Array:
        return from_layout(np.asarray(value), implementation.layout)

    def recipe(self, implementation: Implementation, case: Case) -> Recipe:
        write = self._linen_recipe if _is_linen(implementation) else self._nnx_recipe
        return write(implementation, case)

    def _nnx_recipe(self, implementation: Implementation, case: Case) -> Recipe:
        name = implementation.id.partition(".")[2]
        settings = arguments(self._settings(implementation, case))
        construct = [f"layer = {name}({settings}, param_dtype=jnp.{case.dtype}, rngs=nnx.Rngs(0))"]
        for parameter, value in case.parameters.items():
            native = implementation.names[parameter]
            construct.append(f"layer.{native}.set_value(jnp.asarray({literal(value, case.dtype)}))")
        is_batch = implementation.layer == "batch_norm"
        y = from_layout_text(f"np.asarray(layer(jnp.asarray({to_layout_text('x', CHANNELS_LAST)})))", CHANNELS_LAST)
        call = {mode: (*((f"layer.{mode}()",) if is_batch else ()), f"y = {y}") for mode in ("train", "eval")}
        state = {"running_mean": "layer.mean[...]", "running_var": "layer.var[...]"}
        return Recipe(
            ("import jax.numpy as jnp", "from flax import nnx"),
            tuple(construct),
            call,
            state if is_batch else {},
        )

    def _linen_recipe(self, implementation: Implementation, case: Case) -> Recipe:
        name = implementation.id.partition(".")[2]
        is_batch = implementation.layer == "batch_norm"
        settings = self._settings(implementation, case)
        given = arguments(settings)
        flag = ", use_running_average=True" if is_batch else ""
        construct = [
            f"layer = {name}({given}{', ' if given else ''}param_dtype=jnp.{case.dtype})",
            f"x = jnp.zeros({_initial_shape(case)}, jnp.{case.dtype})",
            f"variables = layer.init(jax.random.key(0), x{flag})",
        ]
        for parameter, value in case.parameters.items():
            collection = "batch_stats" if parameter.startswith("running") else "params"
            place = f"variables[{collection!r}][{implementation.names[parameter]!r}]"
            construct.append(f"{place} = jnp.asarray({literal(value, case.dtype)})")
        x = f"jnp.asarray({to_layout_text('x', CHANNELS_LAST)})"
        call = {}
        for mode in ("train", "eval"):
            flags = f", use_running_average={mode == 'eval'}, mutable=['batch_stats']" if is_batch else ""
            changed = ("y, changed = y", "variables.update(changed)") if is_batch else ()
            y = from_layout_text("np.asarray(y)", CHANNELS_LAST)
            call[mode] = (f"y = layer.apply(variables, {x}{flags})", *changed, f"y = {y}")
        state = {
            "running_mean": "variables['batch_stats']['mean']",
            "running_var": "variables['batch_stats']['var']",
        }
        return Recipe(
            ("import jax", "import jax.numpy as jnp", "from flax import linen"),
            tuple(construct),
            call,
            state if is_batch else {},
        )


def _initial_shape(case: Case) -> tuple[int, ...]:
    """An input's shape for a linen module to be initialised on, which tells it the channel count."""
    return (1,) * (case.steps[0].x.ndim - 1) + (case.settings["num_channels"],)


def _is_linen(implementation: Implementation) -> bool:
    return implementation.id.startswith("flax.linen.")
