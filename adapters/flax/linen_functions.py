"""What a user does with a flax.linen layer and its ``variables``, which are beside it."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import (
    linen,  # noqa: F401 (scripts name its layers)
    serialization,
)

from normgauge.adapters.flax.functions import AXIS_NAME, CANONICAL
from normgauge.adapters.jax_derivatives import forward_of, named_second, second_of


def initial(layer: Any, shape: tuple[int, ...], dtype: Any, **arguments: Any) -> Any:
    return dict(layer.init(jax.random.key(0), jnp.zeros(shape, dtype), **arguments))


def set_parameter(variables: Any, collection: str, name: str, value: Any) -> None:
    variables[collection] = {**variables[collection], name: value}


def read(variables: Any, collection: str, name: str) -> Any:
    return variables[collection][name]


def call(layer: Any, variables: Any, x: Any, **arguments: Any) -> Any:
    return layer.apply(variables, x, **arguments)


def mapped(layer: Any, variables: Any, x: Any, **arguments: Any) -> Any:
    call_one = jax.vmap(lambda one: layer.apply(variables, one, **arguments), axis_name=AXIS_NAME)
    return call_one(x[:, None])[:, 0]


def mapped_with_statistics(layer: Any, variables: Any, x: Any, **arguments: Any) -> Any:
    def call_one(one: Any) -> Any:
        return layer.apply(variables, one, **arguments)

    y, changed = jax.vmap(call_one, out_axes=(0, None), axis_name=AXIS_NAME)(x[:, None])
    return y[:, 0], changed


@functools.partial(jax.jit, static_argnames=("layer", "use_running_average", "mutable"))
def compiled(layer: Any, variables: Any, x: Any, **arguments: Any) -> Any:
    return layer.apply(variables, x, **arguments)


def update(variables: Any, changed: Any) -> None:
    variables.update(changed)


def gradients_of(layer: Any, variables: Any, x: Any, dy: Any, function: Any, **arguments: Any) -> Any:
    def loss(params: Any, x: Any) -> Any:
        y = function(layer, {**variables, "params": params}, x, **arguments)
        return (y * dy).sum(), y

    (_, y), (own, dx) = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(variables.get("params", {}), x)
    return y, dx, own


def gradients_with_statistics(layer: Any, variables: Any, x: Any, dy: Any, function: Any, **arguments: Any) -> Any:
    def loss(params: Any, x: Any) -> Any:
        y, changed = function(layer, {**variables, "params": params}, x, **arguments)
        return (y * dy).sum(), (y, changed)

    differentiate = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    (_, (y, changed)), (own, dx) = differentiate(variables.get("params", {}), x)
    return y, dx, own, changed


def output_of(layer: Any, variables: Any, params: Any, x: Any, arguments: Any) -> Any:
    """The output alone, where the layer gives changed statistics beside it as well."""
    found = layer.apply({**variables, "params": params}, x, **arguments)
    return found[0] if "mutable" in arguments else found


def differentiate_twice(layer: Any, variables: Any, x: Any, dy: Any, **arguments: Any) -> Any:
    params = variables.get("params", {})
    by_x, by_dy, own = second_of(lambda p, x: output_of(layer, variables, p, x, arguments), params, x, dy)
    return output_of(layer, variables, params, x, arguments), named_second(by_x, by_dy, own.get("scale"))


def differentiate_forward(layer: Any, variables: Any, x: Any, dy: Any, **arguments: Any) -> Any:
    params = variables.get("params", {})
    return forward_of(lambda x: output_of(layer, variables, params, x, arguments), x, dy)


@functools.partial(jax.jit, static_argnames="layer")
def compiled_gradients_of(layer: Any, variables: Any, x: Any, dy: Any) -> Any:
    return gradients_of(layer, variables, x, dy, call)


@functools.partial(jax.jit, static_argnames=("layer", "use_running_average", "mutable"))
def compiled_gradients_with_statistics(layer: Any, variables: Any, x: Any, dy: Any, **arguments: Any) -> Any:
    return gradients_with_statistics(layer, variables, x, dy, call, **arguments)


def set_momentum(layer: Any, momentum: float | None) -> Any:
    return layer.clone(momentum=momentum)


def save(variables: Any) -> bytes:
    return serialization.to_bytes(variables)  # type: ignore[no-any-return]


def load(variables: Any, saved: bytes) -> Any:
    return serialization.from_bytes(variables, saved)


def trained(variables: Any) -> list[str]:
    return [CANONICAL[name] for name in variables.get("params", {})]
