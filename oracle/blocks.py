"""Large inputs in parts: sets are independent, and a few of them at a time stay in the processor's cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from normgauge.oracle.moments import Float

#: Elements of a part: half a megabyte in float64. One set is never divided, however long it is.
BLOCK: Final = 2**16

#: Elements of what is evaluated element by element at once: a dozen arrays of so many stay in the processor's cache.
TILE: Final = 2**14


def blocks(samples: int, sets: int, n: int) -> Iterator[tuple[slice, slice]]:
    """Ranges of samples and of each one's sets, of ``n`` elements, that together are all of them."""
    some = max(1, min(sets, BLOCK // n))
    several = max(1, BLOCK // (sets * n))
    for first in range(0, samples, several):
        for start in range(0, sets, some):
            yield slice(first, min(first + several, samples)), slice(start, min(start + some, sets))


def tiles(
    wholes: Sequence[Float], rows: Sequence[Float | float]
) -> Iterator[tuple[Sequence[Float], Sequence[Float | float]]]:
    """Parts of ``wholes``, arrays of one shape (..., n), and of ``rows``, which have one column or are numbers."""
    first, n = wholes[0], wholes[0].shape[-1]
    if first.size <= TILE or not all(one.flags.c_contiguous for one in wholes):
        yield wholes, rows
        return
    outer = (*first.shape[:-1], 1)
    wholes = [one.reshape(-1, n) for one in wholes]
    rows = [one if isinstance(one, float) else _spread(one, outer).reshape(-1, 1) for one in rows]
    step = max(1, TILE // n)
    for start in range(0, len(wholes[0]), step):
        part = slice(start, start + step)
        own = [one if isinstance(one, float) else one[part] for one in rows]
        for column in range(0, n, TILE):
            yield [one[part, column : column + TILE] for one in wholes], own


def _spread(values: Float, shape: tuple[int, ...]) -> Float:
    return values if values.shape == shape else np.broadcast_to(values, shape)
