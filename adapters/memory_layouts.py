"""Arrays of NumPy that lie in memory in other ways, for inputs. Scripts are written from the source of these functions.

A framework that takes a NumPy array as it lies gets a view like it; one that copies its inputs makes them dense.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from normgauge.adapters.case import Array


def every_second(value: Array) -> Array:
    """A view of every second element, along each axis, of a buffer whose other elements are NaN."""
    buffer = np.full([2 * n for n in value.shape], np.nan, value.dtype)
    view = buffer[(slice(1, None, 2),) * value.ndim]
    view[...] = value
    return view


def behind_an_offset(value: Array) -> Array:
    """A dense view that begins three elements behind the start of its buffer."""
    buffer = np.full(value.size + 3, np.nan, value.dtype)
    view = buffer[3:].reshape(value.shape)
    view[...] = value
    return view


def channels_innermost(value: Array) -> Array:
    """A view of (N, C, *spatial) whose channels lie beside each other."""
    return np.moveaxis(np.moveaxis(value, 1, -1).copy(), -1, 1)


def one_for_all(value: Array) -> Array:
    """One sample in memory that is all samples of the batch."""
    if not np.array_equal(value, np.broadcast_to(value[:1], value.shape), equal_nan=True):
        raise ValueError("an expanded batch holds one sample N times; the samples of this one differ")
    sample = value[:1].copy()
    return np.ndarray(value.shape, value.dtype, sample, strides=(0, *sample.strides[1:]))


#: How an input may lie in memory beside in the order of its indices, by the name that a step has for it.
LAYOUTS: Final[Mapping[str, Callable[[Array], Array]]] = {
    "strided": every_second,
    "offset": behind_an_offset,
    "channels_last": channels_innermost,
    "expanded": one_for_all,
}


def laid_out(value: Array, layout: str) -> Array:
    """A copy of ``value`` that lies in memory as ``layout`` says."""
    return LAYOUTS[layout](value) if layout else value.copy()
