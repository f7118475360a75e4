"""The oracle's references, each evaluated once: shared by the implementations of a run, and kept between runs.

A reference depends on case, semantics and arithmetic alone, and of the semantics on those choices only that the oracle
read. The modes of a layer and the next framework ask for the same ones.
"""

from __future__ import annotations

import functools
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from normgauge.adapters.case import Case
from normgauge.conformance.diagnosis.predictions import Prediction, predict, rounds
from normgauge.conformance.diagnosis.reference_store import Entry, ReferenceStore
from normgauge.oracle import Arithmetic, Semantics

#: Bytes of references that one process holds; those used longest ago are evaluated again.
MEMORY: Final = 2**28


@dataclass(kw_only=True)
class _Group:
    """What is known of one case in one arithmetic: an entry for each combination of choices that was read.

    The entries are found by the axes that were read, of which there are few combinations, and by the choices on them.
    """

    size: int
    fresh: list[Entry] = field(default_factory=list)
    _found: dict[tuple[str, ...], dict[tuple[str | None, ...], Entry]] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        axes = tuple(entry.choices)
        self._found.setdefault(axes, {}).setdefault(tuple(entry.choices.values()), entry)

    def agreeing(self, choices: Mapping[str, str]) -> Entry | None:
        """The entry whose choices are all among ``choices``.

        There is one at most: which choice is read next depends on those that were read before.
        """
        for axes, entries in self._found.items():
            entry = entries.get(tuple(map(choices.get, axes)))
            if entry is not None:
                return entry
        return None


class References:
    """Predictions by case, semantics and arithmetic, the same as :func:`predict` gives them.

    ``store`` keeps them between runs; ``memory`` bounds, in bytes, what this process holds of them.
    """

    def __init__(self, store: ReferenceStore | None = None, memory: int = MEMORY) -> None:
        self._store, self._memory = store, memory
        self._groups: OrderedDict[bytes, _Group] = OrderedDict()
        self._size = 0
        #: How many were asked for, and how many of these had to be evaluated.
        self.asked = self.evaluated = 0

    def predict(self, case: Case, semantics: Semantics, arithmetic: Arithmetic) -> Prediction:
        """As :func:`~normgauge.conformance.diagnosis.predictions.predict`; ``semantics.read`` gets what was read."""
        self.asked += 1
        key = _key(case, arithmetic)
        group = self._group(key)
        entry = group.agreeing(semantics.choices)
        if entry is None:
            self.evaluated += 1
            read: set[str] = set()
            prediction = predict(case, replace(semantics, read=read), arithmetic)
            entry = Entry({axis: semantics.choices[axis] for axis in sorted(read)}, prediction)
            group.add(entry)
            group.fresh.append(entry)
            self._grow(group, entry.size)
        if semantics.read is not None:
            semantics.read.update(entry.choices)
        if rounds(case, arithmetic):  # an entry is of all semantics that agree on what was read
            return replace(entry.prediction, of_rounded=(semantics, arithmetic))
        return entry.prediction

    def flush(self) -> None:
        """Give what is new to the store."""
        if self._store is not None:
            self._store.add({key: group.fresh for key, group in self._groups.items() if group.fresh})
        for group in self._groups.values():
            group.fresh = []

    def close(self) -> None:
        """Give what is new to the store and close it."""
        self.flush()
        if self._store is not None:
            self._store.close()

    def _group(self, key: bytes) -> _Group:
        group = self._groups.get(key)
        if group is None:
            entries = [] if self._store is None else self._store.entries(key)
            group = self._groups[key] = _Group(size=0)
            for entry in entries:
                group.add(entry)
            self._grow(group, sum(entry.size for entry in entries))
        else:
            self._groups.move_to_end(key)
        return group

    def _grow(self, group: _Group, size: int) -> None:
        group.size += size
        self._size += size
        if self._size > self._memory:
            self._shrink()

    def _shrink(self) -> None:
        """Leave half of what may be held, that used last: the store is written once for many that go."""
        going: dict[bytes, list[Entry]] = {}
        while self._size > self._memory // 2 and len(self._groups) > 1:
            key, oldest = self._groups.popitem(last=False)
            self._size -= oldest.size
            if oldest.fresh:
                going[key] = oldest.fresh
        if self._store is not None and going:
            self._store.add(going)


def _key(case: Case, arithmetic: Arithmetic) -> bytes:
    return hashlib.blake2b(case.digest + _written(arithmetic), digest_size=16).digest()


@functools.lru_cache(maxsize=256)
def _written(arithmetic: Arithmetic) -> bytes:
    return repr(arithmetic).encode()
