"""The oracle's references for all tests of a process, in the place of the store on disk."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

from normgauge.conformance.diagnosis.reference_store import Entry, default_store

#: Bytes of references that a process holds: those of every case of both layers in two dtypes.
MOST: Final = 2**29


class InMemory:
    """A store that reads what the store on disk has when it is first asked for; beyond ``most`` bytes it forgets.

    It has the methods of :class:`normgauge.conformance.diagnosis.reference_store.ReferenceStore`.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most, self.size = most, 0
        self._entries: OrderedDict[bytes, list[Entry]] = OrderedDict()
        self._disk = default_store()

    def entries(self, key: bytes) -> list[Entry]:
        if key not in self._entries:
            self._entries[key] = []
            self._keep(key, [] if self._disk is None else self._disk.entries(key))
        self._entries.move_to_end(key)
        return list(self._entries[key])

    def add(self, entries: Mapping[bytes, Sequence[Entry]]) -> None:
        for key, fresh in entries.items():
            known = [one.choices for one in self._entries.setdefault(key, [])]
            self._keep(key, [one for one in fresh if one.choices not in known])
        if self._disk is not None and entries:
            self._disk.add(entries)

    def _keep(self, key: bytes, fresh: Sequence[Entry]) -> None:
        """Hold more entries of a key, and let go of the keys that were used longest ago."""
        self._entries[key] += fresh
        self._entries.move_to_end(key)
        self.size += sum(one.size for one in fresh)
        while self.size > self._most and len(self._entries) > 1:
            _, oldest = self._entries.popitem(last=False)
            self.size -= sum(one.size for one in oldest)

    def close(self) -> None:
        """Nothing: the next run goes on with it."""
