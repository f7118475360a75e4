"""Large inputs in parts: sets are independent, and a few of them at a time stay in the processor's cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from normgauge.oracle.moments import Float
from normgauge.oracle.reference import Reference

#: Elements of a part: half a megabyte in float64. One set is never divided, however long it is.
BLOCK: Final = 2**16

Order = np.ndarray[tuple[int], np.dtype[np.intp]]


def blocks(samples: int, sets: int, n: int) -> Iterator[tuple[slice, slice]]:
    """Ranges of samples and of each one's sets, of ``n`` elements, that together are all of them."""
    some = max(1, min(sets, BLOCK // n))
    several = max(1, BLOCK // (sets * n))
    for first in range(0, samples, several):
        for start in range(0, sets, some):
            yield slice(first, min(first + several, samples)), slice(start, min(start + some, sets))


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How an input of shape (N, C, *spatial) splits into sets: each sample's channels in ``groups`` equal parts.

    ``order`` makes the channels of a set adjacent; None where they are. Of ``samples_together`` all samples are one:
    a set is some channels of all of them.
    """

    shape: tuple[int, ...]
    groups: int
    order: Order | None = None
    samples_together: bool = False

    @property
    def samples(self) -> int:
        return 1 if self.samples_together else self.shape[0]

    @property
    def channels(self) -> int:
        """Of a set."""
        return self.shape[1] // self.groups

    @property
    def n(self) -> int:
        """The elements of a set."""
        return prod(self.shape) // (self.samples * self.groups)

    def view(self, array: NDArray[Any]) -> NDArray[Any]:
        """``array`` of the input's shape, with the samples of the layout and the channels first."""
        return array.swapaxes(0, 1)[None] if self.samples_together else array

    def whole(self) -> Block:
        """All sets at once."""
        return Block(layout=self, samples=slice(0, self.samples), sets=slice(0, self.groups))

    def blocks(self) -> Iterator[Block]:
        """All sets, in parts."""
        for samples, sets in blocks(self.samples, self.groups, self.n):
            yield Block(layout=self, samples=samples, sets=sets)


@dataclass(frozen=True, kw_only=True)
class Block:
    """Some sets of some samples."""

    layout: Layout
    samples: slice
    sets: slice

    @property
    def channels(self) -> slice | Order:
        """The channels of the sets: a slice, which copies nothing, where they lie together."""
        size, order = self.layout.channels, self.layout.order
        places = slice(self.sets.start * size, self.sets.stop * size)
        return places if order is None else order[places]

    def of(self, array: NDArray[Any]) -> Float:
        """The sets as float64 of shape (N, S, n), from an array of the input's shape."""
        part = self.layout.view(array)[self.samples, self.channels]
        return part.astype(np.float64).reshape(len(part), -1, self.layout.n)

    def restore(self, sets: Float, array: Float) -> None:
        """Writes the sets, or rows of them, to where they lie in an array of the input's shape."""
        view = self.layout.view(array)
        view[self.samples, self.channels] = sets.reshape(self.samples.stop - self.samples.start, -1, *view.shape[2:])

    def put(self, part: Reference, whole: Reference) -> None:
        """Writes a reference for the sets into one of the input's shape."""
        self.restore(part.value, whole.value)
        self.restore(part.bound, whole.bound)
