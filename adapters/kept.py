"""What a user still holds while a layer goes on: results of earlier calls, arrays that were loaded, layers saved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from normgauge.adapters.case import Array, Case

#: How ``modified`` names the result of an earlier call: an output, a gradient.
OUTPUT: Final = "the output of an earlier call"
GRADIENT: Final = "a gradient of an earlier call"
#: How it names an array that was given to a new layer, by the parameter, and the layer whose state was saved.
LOADED: Final = "the array loaded as {}"
SAVED: Final = "the layer that was saved"


@dataclass(frozen=True, kw_only=True)
class Kept:
    """An array that no later call may change: the ``name`` of it, what ``value`` it had, and how it is read again."""

    name: str
    value: Array
    read: Callable[[], Array]

    def has_changed(self) -> bool:
        try:
            return not same(self.read(), self.value)
        except Exception:  # whatever a framework raises where an array is there no more
            return True


def changed(kept: Iterable[Kept]) -> Iterator[str]:
    """The names of those that have changed, each once, in their order."""
    return iter(dict.fromkeys(one.name for one in kept if one.has_changed()))


def loaded(own: Case, given: Case) -> list[Kept]:
    """The arrays that a layer is given in a case and between its calls: those of ``own``, copies of those ``given``."""
    arrays = zip(own.parameter_arrays(), given.parameter_arrays(), strict=True)
    return [Kept(name=LOADED.format(name), value=value, read=copy.view) for (name, copy), (_, value) in arrays]


def state_of(read: Callable[[], Mapping[str, Any]], vector: Callable[[Any], Array]) -> list[Kept]:
    """The state of a layer that a user goes on with after having saved it."""

    def again(name: str) -> Callable[[], Array]:
        return lambda: vector(read()[name])

    return [Kept(name=SAVED, value=vector(value).copy(), read=again(name)) for name, value in read().items()]


def same(a: Array, b: Array) -> bool:
    """Whether the values are equal, NaN to NaN; the same bytes, which is the usual case, are found out faster."""
    if a.shape != b.shape:
        return False
    return (a.dtype == b.dtype and a.tobytes() == b.tobytes()) or np.array_equal(a, b, equal_nan=True)
