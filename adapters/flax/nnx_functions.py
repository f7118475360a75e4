"""What a user does with a flax.nnx layer; its state is saved by Orbax, as Flax's guides do."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from normgauge.adapters.flax.functions import AXIS_NAME, CANONICAL, full_mask
from normgauge.adapters.jax_derivatives import forward_of, named_second, second_of


def new_rngs() -> Any:
    return nnx.Rngs(0)


def set_parameter(layer: Any, name: str, value: Any) -> None:
    getattr(layer, name).set_value(value)


def read(layer: Any, name: str) -> Any:
    return getattr(layer, name)[...]


def call(layer: Any, x: Any) -> Any:
    return layer(x)


def masked(layer: Any, x: Any) -> Any:
    return layer(x, mask=full_mask(x))


def mapped(layer: Any, x: Any) -> Any:
    return nnx.vmap(call, in_axes=(None, 0), axis_name=AXIS_NAME)(layer, x[:, None])[:, 0]


@nnx.jit  # type: ignore[untyped-decorator]
def compiled(layer: Any, x: Any) -> Any:
    return layer(x)


def gradients_of(layer: Any, x: Any, dy: Any, function: Callable[[Any, Any], Any]) -> Any:
    def loss(layer: Any, x: Any, dy: Any) -> Any:
        y = function(layer, x)
        return (y * dy).sum(), y

    (_, y), (own, dx) = nnx.value_and_grad(loss, argnums=(0, 1), has_aux=True)(layer, x, dy)
    return y, dx, own


@nnx.jit  # type: ignore[untyped-decorator]
def compiled_gradients(layer: Any, x: Any, dy: Any) -> Any:
    return gradients_of(layer, x, dy, call)


def parts_of(layer: Any) -> Any:
    """A function of the parameters and x, and the parameters; nothing of the layer itself changes."""
    graph, parameters, rest = nnx.split(layer, nnx.Param, ...)

    def function(parameters: Any, x: Any) -> Any:
        return nnx.merge(graph, parameters, jax.tree.map(jnp.asarray, rest))(x)

    return function, parameters


def differentiate_twice(layer: Any, x: Any, dy: Any) -> Any:
    function, parameters = parts_of(layer)
    by_x, by_dy, own = second_of(function, parameters, x, dy)
    return layer(x), named_second(by_x, by_dy, own["scale"][...] if "scale" in own else None)


def differentiate_forward(layer: Any, x: Any, dy: Any) -> Any:
    function, parameters = parts_of(layer)
    return forward_of(lambda x: function(parameters, x), x, dy)


def values_of(own: Any) -> dict[str, Any]:
    return {name: own[name][...] for name in CANONICAL if name in own}


def save(layer: Any) -> Any:
    import orbax.checkpoint

    folder = tempfile.TemporaryDirectory()
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(os.path.join(folder.name, "layer"), nnx.state(layer))
    return folder


def load(layer: Any, saved: Any) -> Any:
    import orbax.checkpoint

    graph, state = nnx.split(layer)
    with saved as folder, orbax.checkpoint.StandardCheckpointer() as checkpointer:
        return nnx.merge(graph, checkpointer.restore(os.path.join(folder, "layer"), state))


def trained(layer: Any) -> list[str]:
    return [CANONICAL[name] for name in nnx.state(layer, nnx.Param)]
