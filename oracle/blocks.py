"""Large inputs in parts: sets are independent, and a few of them at a time stay in the processor's cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

#: Elements of a part: half a megabyte in float64. One set is never divided, however long it is.
BLOCK: Final = 2**16


def blocks(samples: int, sets: int, n: int) -> Iterator[tuple[slice, slice]]:
    """Ranges of samples and of each one's sets, of ``n`` elements, that together are all of them."""
    some = max(1, min(sets, BLOCK // n))
    several = max(1, BLOCK // (sets * n))
    for first in range(0, samples, several):
        for start in range(0, sets, some):
            yield slice(first, min(first + several, samples)), slice(start, min(start + some, sets))
