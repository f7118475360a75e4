"""A Keras layer on JAX: ``stateless_call``, compiled or differentiated; its variables get their new values then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from normgauge.adapters.jax_derivatives import forward_of, named_second, second_of
from normgauge.adapters.keras.functions import named


def variables_of(layer: Any) -> Any:
    return [v.value for v in layer.trainable_variables], [v.value for v in layer.non_trainable_variables]


def update(layer: Any, changed: Any) -> None:
    for variable, value in zip(layer.non_trainable_variables, changed, strict=True):
        variable.assign(value)


def call_compiled(layer: Any, x: Any, **arguments: Any) -> Any:
    compiled = jax.jit(layer.stateless_call, static_argnames="training")
    y, changed = compiled(*variables_of(layer), x, **arguments)
    update(layer, changed)
    return y


def gradients_of(layer: Any, **arguments: Any) -> Callable[..., Any]:
    def loss(trainable: Any, x: Any, others: Any, dy: Any) -> Any:
        y, changed = layer.stateless_call(trainable, others, x, **arguments)
        return (y * dy).sum(), (y, changed)

    return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)  # type: ignore[no-any-return]


def differentiate_twice(layer: Any, x: Any, dy: Any, **arguments: Any) -> Any:
    trainable, others = variables_of(layer)
    by_x, by_dy, own = second_of(lambda own, x: layer.stateless_call(own, others, x, **arguments)[0], trainable, x, dy)
    y, changed = layer.stateless_call(trainable, others, x, **arguments)
    update(layer, changed)
    return y, named_second(by_x, by_dy, named(layer, own).get("dweight"))


def differentiate_forward(layer: Any, x: Any, dy: Any, **arguments: Any) -> Any:
    trainable, others = variables_of(layer)
    return forward_of(lambda x: layer.stateless_call(trainable, others, x, **arguments)[0], x, dy)


def compile_function(function: Any) -> Any:
    return jax.jit(function)


def differentiate(layer: Any, x: Any, dy: Any, function: Any) -> Any:
    trainable, others = variables_of(layer)
    (_, (y, changed)), (own, dx) = function(trainable, x, others, dy)
    update(layer, changed)
    return y, {"dx": dx, **named(layer, own)}
