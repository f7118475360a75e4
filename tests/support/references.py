"""The oracle's references for all tests of a process, in the place of the store on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from normgauge.conformance.diagnosis.reference_store import Entry, default_store


class InMemory:
    """A store that keeps everything, and reads what the store on disk has when it is first asked for.

    It has the methods of :class:`normgauge.conformance.diagnosis.reference_store.ReferenceStore`.
    """

    def __init__(self) -> None:
        self._entries: dict[bytes, list[Entry]] = {}
        self._disk = default_store()

    def entries(self, key: bytes) -> list[Entry]:
        if key not in self._entries:
            self._entries[key] = [] if self._disk is None else self._disk.entries(key)
        return list(self._entries[key])

    def add(self, entries: Mapping[bytes, Sequence[Entry]]) -> None:
        for key, fresh in entries.items():
            known = self._entries.setdefault(key, [])
            known += [one for one in fresh if one.choices not in [other.choices for other in known]]
        if self._disk is not None and entries:
            self._disk.add(entries)

    def close(self) -> None:
        """Nothing: the next run goes on with it."""
