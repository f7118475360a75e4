"""What a user does with a layer in the same words in several frameworks, for scripts (``operations.py``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from normgauge.adapters.case import Array

#: More values than this nobody reads: of such an array the first few are shown.
LARGE = 4096
FIRST = 64


def shown(values: Any, digits: str = ".9g") -> str:
    return " ".join(format(float(value), digits) for value in np.asarray(values).ravel()) or "(empty)"


def shown_in_part(values: Any, digits: str = ".9g") -> str:
    flat = np.asarray(values).ravel()
    return shown(flat, digits) if flat.size <= LARGE else f"{shown(flat[:FIRST], digits)} ... ({flat.size} values)"


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
