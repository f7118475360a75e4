"""What a user does with an MLX layer. Scripts are written from the source of these functions.

A compiled function keeps to the mode that it was traced in, whatever ``layer.eval()`` says later, and so does what
``mx.compile`` makes of the same function again. So a user has one for training and one for evaluation.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn

from normgauge.adapters.case import Array


def use_cpu() -> None:
    mx.set_default_device(mx.cpu)


def to_array(value: Array, dtype: Any) -> Any:
    return mx.array(value, dtype=dtype)


def to_empty_array(value: Array, dtype: Any) -> Any:
    """A reduction over an empty array that came from NumPy may never return; over MLX's own it does."""
    return mx.zeros(value.shape, dtype=dtype)


def to_numpy(value: Any) -> Array:
    return np.array(value)


def bfloat16_to_numpy(value: Any) -> Array:
    return np.array(value.astype(mx.float32))


def set_dtype(layer: Any, dtype: Any) -> None:
    layer.set_dtype(dtype)


def compiled_call(layer: Any) -> Any:
    return mx.compile(lambda x: layer(x), inputs=layer.state, outputs=layer.state)  # noqa: PLW0108 (another function)


def compute(layer: Any, y: Any) -> None:
    mx.eval(y, layer.state)


def differentiate(layer: Any, x: Any, dy: Any) -> Any:
    def weighted(x: Any, parameters: Any) -> Any:
        layer.update(parameters)
        y = layer(x)
        return (y * dy).sum(), y

    (_, y), (dx, found) = mx.value_and_grad(weighted, argnums=(0, 1))(x, layer.trainable_parameters())
    return y, {"dx": dx} | {f"d{name}": gradient for name, gradient in found.items()}


def differentiate_twice(layer: Any, x: Any, dy: Any) -> Any:
    """The gradients of <dx, direction>, whose direction is dy as a constant."""
    kept, direction = layer.parameters(), dy

    def moved(x: Any, dy: Any, parameters: Any) -> Any:
        layer.update(parameters)
        dx = mx.grad(lambda x: (layer(x) * dy).sum())(x)
        return (dx * direction).sum()

    by_x, by_dy, found = mx.grad(moved, argnums=(0, 1, 2))(x, dy, layer.trainable_parameters())
    layer.update(kept)
    of_weight = {f"second_{name}": gradient for name, gradient in found.items() if name == "weight"}
    return layer(x), {"second_x": by_x, "second_dy": by_dy} | of_weight


def differentiate_forward(layer: Any, x: Any, dy: Any) -> Any:
    """The derivative of y along dy, and the derivative of that along dy."""
    kept = layer.parameters()
    _, (jvp,) = mx.jvp(lambda x: layer(x), [x], [dy])  # noqa: PLW0108 (a function, no module)
    _, (jvp_of_jvp,) = mx.jvp(lambda x: mx.jvp(lambda x: layer(x), [x], [dy])[1][0], [x], [dy])  # noqa: PLW0108
    layer.update(kept)
    return layer(x), {"jvp": jvp, "jvp_of_jvp": jvp_of_jvp}


def compiled_gradients(layer: Any) -> Any:
    return mx.compile(lambda x, dy: differentiate(layer, x, dy), inputs=layer.state, outputs=layer.state)


def call_compiled(x: Any, dy: Any, compiled: Any) -> Any:
    return compiled(x, dy)


def compute_gradients(layer: Any, y: Any, gradients: Any) -> None:
    mx.eval(y, gradients, layer.state)


def save(layer: Any) -> Any:
    folder = tempfile.TemporaryDirectory()
    layer.save_weights(os.path.join(folder.name, "layer.safetensors"))
    return folder


def load(layer: Any, saved: Any) -> None:
    layer.load_weights(os.path.join(saved.name, "layer.safetensors"))
    mx.eval(layer.state)  # before the file is gone
    saved.cleanup()


def freeze(layer: Any) -> None:
    layer.freeze()


def unfreeze(layer: Any) -> None:
    layer.unfreeze()


def model_of(layer: Any) -> Any:
    return nn.Sequential(layer)


def trained(layer: Any) -> list[str]:
    return list(layer.trainable_parameters())
