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


def compile_function(function: Any, jit_compile: bool) -> Any:
    return tf.function(function, jit_compile=jit_compile)


def differentiate(layer: Any, x: Any, dy: Any, function: Any) -> Any:
    y, (dx, *own) = function(x, dy)
    return y, {"dx": dx, **named(layer, own)}
