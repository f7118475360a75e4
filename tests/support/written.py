"""Functions as a framework's folder has them, for tests of the scripts that are written from their source."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from normgauge.adapters.functions import channels_first

SCALE: Final = 2.0


def halved(value: Any) -> Any:
    """Half of it."""
    return value / SCALE


def doubled(value: Any) -> Any:
    return value + value


def set_scale(layer: Any, name: str, value: Any) -> None:
    setattr(layer, name, value)


def in_context(layer: Any, x: Any) -> Any:
    with np.errstate(all="ignore"):
        return layer(x)


def call(layer: Any, x: Any, **arguments: Any) -> Any:
    return layer(x, **arguments)


def rooted(x: Any) -> Callable[[], Any]:
    def inner(y: float = 1.0) -> Any:  # kept
        return math.sqrt(x) * y

    return inner


@functools.cache
def cached(x: float) -> float:
    return x


def turned(value: Any) -> Any:
    plain = channels_first(value)
    return plain
