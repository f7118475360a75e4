"""A Keras layer on TensorFlow, compiled or differentiated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from normgauge.adapters.keras.functions import named


def call_compiled(layer: Any, x: Any, jit_compile: bool, **arguments: Any) -> Any:
    return tf.function(lambda x: layer(x, **arguments), jit_compile=jit_compile)(x)


def gradients_of(layer: Any, **arguments: Any) -> Callable[..., Any]:
    variables = [variable.value for variable in layer.trainable_variables]

    def function(x: Any, dy: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, **arguments)
            loss = tf.reduce_sum(y * dy)
        return y, tape.gradient(loss, [x, *variables])

    return function


def differentiate_twice(layer: Any, x: Any, dy: Any, **arguments: Any) -> Any:
    """The gradients of <dx, direction>, whose direction is dy as a constant."""
    variables = [variable.value for variable in layer.trainable_variables]
    with tf.GradientTape() as outer:
        outer.watch([x, dy])
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = layer(x, **arguments)
        dx = inner.gradient(y, x, output_gradients=dy)
        moved = tf.reduce_sum(dx * tf.stop_gradient(dy))
    zero = tf.UnconnectedGradients.ZERO
    by_x, by_dy, *own = outer.gradient(moved, [x, dy, *variables], unconnected_gradients=zero)
    found = {"second_x": by_x, "second_dy": by_dy, "second_weight": named(layer, own).get("dweight")}
    return y, {name: value for name, value in found.items() if value is not None}


def differentiate_forward(layer: Any, x: Any, dy: Any, **arguments: Any) -> Any:
    """The derivative of y along dy, and the derivative of that along dy."""
    zero = tf.UnconnectedGradients.ZERO
    with tf.autodiff.ForwardAccumulator(x, dy) as outer:
        with tf.autodiff.ForwardAccumulator(x, dy) as inner:
            y = layer(x, **arguments)
        jvp = inner.jvp(y)
    return y, {"jvp": jvp, "jvp_of_jvp": outer.jvp(jvp, unconnected_gradients=zero)}


def compile_function(function: Any, jit_compile: bool) -> Any:
    return tf.function(function, jit_compile=jit_compile)


def differentiate(layer: Any, x: Any, dy: Any, function: Any) -> Any:
    y, (dx, *own) = function(x, dy)
    return y, {"dx": dx, **named(layer, own)}
