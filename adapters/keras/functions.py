"""What a user does with a Keras layer. Scripts are written from the source of these functions.

``arguments`` are those of the layer's call beside its input. Keras has no gradients of its own: a user takes the
backend's, which are in ``on_jax.py`` and the like.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

import keras
import numpy as np

from normgauge.adapters.case import Array

#: The canonical name of each of Keras' variables.
CANONICAL = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


def to_tensor(value: Array, dtype: str) -> Any:
    return keras.ops.convert_to_tensor(value, dtype=dtype)


def to_numpy(value: Any) -> Array:
    return keras.ops.convert_to_numpy(value)  # type: ignore[no-any-return]


def bfloat16_to_numpy(value: Any) -> Array:
    return np.asarray(keras.ops.convert_to_numpy(value)).astype(np.float32)


def build(layer: Any, shape: tuple[int | None, ...]) -> None:
    layer.build(shape)


def set_parameter(layer: Any, name: str, value: Array) -> None:
    getattr(layer, name).assign(value)


def call(layer: Any, x: Any, **arguments: Any) -> Any:
    return layer(x, **arguments)


def full_mask(x: Any) -> Any:
    return keras.ops.ones(x.shape[:-1], dtype="bool")


def named(layer: Any, gradients: Any) -> dict[str, Any]:
    """Gradients of the variables that the layer trains, in their order, by canonical name."""
    return {f"d{CANONICAL[v.name]}": one for v, one in zip(layer.trainable_variables, gradients, strict=True)}


def built_model(layer: Any) -> Any:
    model = keras.Sequential([layer])
    model.build(layer.get_build_config()["input_shape"])
    return model


def save(layer: Any) -> Any:
    folder = tempfile.TemporaryDirectory()
    built_model(layer).save_weights(os.path.join(folder.name, "model.weights.h5"))
    return folder


def load(layer: Any, saved: Any) -> None:
    built_model(layer).load_weights(os.path.join(saved.name, "model.weights.h5"))
    saved.cleanup()


def freeze(layer: Any) -> None:
    layer.trainable = False


def unfreeze(layer: Any) -> None:
    layer.trainable = True


def model_of(layer: Any) -> Any:
    return keras.Sequential([layer])


def trained(layer: Any) -> list[str]:
    return [CANONICAL[variable.name] for variable in layer.trainable_variables]
