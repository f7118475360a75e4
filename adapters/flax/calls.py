"""flax.nnx and flax.linen layers with one face, and the ways of calling them: eager, jit, vmap, mask.

With ``vmap`` every sample is mapped over by itself, as a batch of one. BatchNorm is told the mapped axis by its
``axis_name`` and averages the statistics over it, as users do over devices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
from flax import nnx

from normgauge.adapters.flax.scripts import AXIS_NAME

NATIVE: Final = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}


class NnxLayer:
    """An nnx module, which keeps its own state."""

    def __init__(self, module: Any, mode: str) -> None:
        self.module, self.mode = module, mode

    def __call__(self, x: Any, *, training: bool) -> Any:
        self.module.train() if training else self.module.eval()
        return _NNX_CALLS[self.mode](self.module, x)

    def gradients(self, x: Any, dy: Any, *, training: bool) -> tuple[Any, Mapping[str, Any]]:
        self.module.train() if training else self.module.eval()
        own, dx, y = _NNX_GRADIENTS[self.mode](self.module, x, dy)
        return y, {"dx": dx} | {f"d{n}": own[NATIVE[n]][...] for n in ("weight", "bias") if NATIVE[n] in own}

    def state(self) -> Mapping[str, Any]:
        found = {name: getattr(self.module, native, None) for name, native in NATIVE.items()}
        return {name: value[...] for name, value in found.items() if value is not None}


def _nnx_call(module: Any, x: Any) -> Any:
    return module(x)


def _nnx_masked(module: Any, x: Any) -> Any:
    return module(x, mask=jnp.ones(x.shape, bool))


def _nnx_mapped(module: Any, x: Any) -> Any:
    return nnx.vmap(_nnx_call, in_axes=(None, 0), axis_name=AXIS_NAME)(module, x[:, None])[:, 0]


def _nnx_gradients(call: Callable[[Any, Any], Any]) -> Callable[[Any, Any, Any], tuple[Any, Any, Any]]:
    def loss(module: Any, x: Any, dy: Any) -> tuple[Any, Any]:
        y = call(module, x)
        return (y * dy).sum(), y

    def gradients(module: Any, x: Any, dy: Any) -> tuple[Any, Any, Any]:
        (_, y), (own, dx) = nnx.value_and_grad(loss, argnums=(0, 1), has_aux=True)(module, x, dy)
        return own, dx, y

    return gradients


_NNX_CALLS: Final = {"eager": _nnx_call, "mask": _nnx_masked, "vmap": _nnx_mapped, "jit": nnx.jit(_nnx_call)}
_NNX_GRADIENTS: Final = {
    "eager": _nnx_gradients(_nnx_call),
    "mask": _nnx_gradients(_nnx_masked),
    "vmap": _nnx_gradients(_nnx_mapped),
    "jit": nnx.jit(_nnx_gradients(_nnx_call)),
}


class LinenLayer:
    """A linen module with its variables, so that it lives from call to call as other layers do."""

    def __init__(self, module: Any, variables: dict[str, Any], mode: str) -> None:
        self.module, self.variables, self.mode = module, variables, mode

    def __call__(self, x: Any, *, training: bool) -> Any:
        y, changed = _LINEN_CALLS[self.mode](self.module, training, self.variables, x)
        self.variables.update(changed)
        return y

    def gradients(self, x: Any, dy: Any, *, training: bool) -> tuple[Any, Mapping[str, Any]]:
        gradients = _LINEN_GRADIENTS[self.mode]
        own, dx, y, changed = gradients(self.module, training, self.variables, x, dy)
        self.variables.update(changed)
        return y, {"dx": dx} | {f"d{n}": own[NATIVE[n]] for n in ("weight", "bias") if NATIVE[n] in own}

    def state(self) -> Mapping[str, Any]:
        flat = {**self.variables.get("params", {}), **self.variables.get("batch_stats", {})}
        return {name: flat[native] for name, native in NATIVE.items() if native in flat}


def _linen_call(module: Any, training: bool, variables: Any, x: Any, **given: Any) -> tuple[Any, Any]:
    """The output and the variables that changed. GroupNorm knows neither training nor statistics."""
    if "batch_stats" not in variables:
        return module.apply(variables, x, **given), {}
    changed: tuple[Any, Any] = module.apply(
        variables, x, use_running_average=not training, mutable=["batch_stats"], **given
    )
    return changed


def _linen_masked(module: Any, training: bool, variables: Any, x: Any) -> tuple[Any, Any]:
    return _linen_call(module, training, variables, x, mask=jnp.ones(x.shape, bool))


def _linen_mapped(module: Any, training: bool, variables: Any, x: Any) -> tuple[Any, Any]:
    def one(sample: Any) -> tuple[Any, Any]:
        return _linen_call(module, training, variables, sample)

    y, changed = jax.vmap(one, out_axes=(0, None), axis_name=AXIS_NAME)(x[:, None])
    return y[:, 0], changed


def _linen_gradients(call: Callable[..., tuple[Any, Any]]) -> Callable[..., tuple[Any, Any, Any, Any]]:
    def gradients(module: Any, training: bool, variables: Any, x: Any, dy: Any) -> tuple[Any, Any, Any, Any]:
        def loss(params: Any, x: Any) -> tuple[Any, tuple[Any, Any]]:
            y, changed = call(module, training, {**variables, "params": params}, x)
            return (y * dy).sum(), (y, changed)

        differentiate = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
        (_, (y, changed)), (own, dx) = differentiate(variables.get("params", {}), x)
        return own, dx, y, changed

    return gradients


_LINEN_CALLS: Final = {
    "eager": _linen_call,
    "mask": _linen_masked,
    "vmap": _linen_mapped,
    "jit": jax.jit(_linen_call, static_argnums=(0, 1)),
}
_LINEN_GRADIENTS: Final = {
    "eager": _linen_gradients(_linen_call),
    "mask": _linen_gradients(_linen_masked),
    "vmap": _linen_gradients(_linen_mapped),
    "jit": jax.jit(_linen_gradients(_linen_call), static_argnums=(0, 1)),
}
