"""What a user does with a layer in the same words in several frameworks, for scripts (``operations.py``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from normgauge.adapters.case import Array


def channels_last(value: Array) -> Array:
    return np.ascontiguousarray(np.moveaxis(value, 1, -1))


def channels_first(value: Array) -> Array:
    return np.moveaxis(value, -1, 1)


def read(layer: Any, name: str) -> Any:
    return getattr(layer, name)


def set_parameter(layer: Any, name: str, value: Any) -> None:
    setattr(layer, name, value)


def train(layer: Any) -> None:
    layer.train()


def evaluate(layer: Any) -> None:
    layer.eval()


def call(layer: Any, x: Any) -> Any:
    return layer(x)


def call_function(x: Any, function: Any) -> Any:
    return function(x)


def set_momentum(layer: Any, momentum: float | None) -> None:
    layer.momentum = momentum
