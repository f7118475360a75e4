"""References on disk, in SQLite: by the digest of the oracle's code, bounded in size, shared by several processes.

What is damaged is thrown away, and where nothing can be written nothing is kept: a store makes a run faster and changes
no result.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import platform
import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from normgauge.adapters.cache_folder import cache_folder
from normgauge.conformance.diagnosis.predictions import Prediction
from normgauge.conformance.layers.registry import layer_kinds
from normgauge.oracle import Reference

#: Bytes of references that are kept; beyond them the ones used longest ago go.
MOST: Final = 2**29
#: What is larger costs more to read than to evaluate: 2^16 elements with their bounds.
LARGEST: Final = 2**20
#: Seconds that a process waits for another one that writes.
_PATIENCE: Final = 5.0
#: Seconds within which a use is not noted again: SQLite writes the entries anew with it.
_DAY: Final = 86_400.0
#: What SQLite says of its size, without reading what it has.
_PAGES: Final = ("page_count", "freelist_count", "page_size")
#: Rows have some ten kilobytes: in a tree by key, or in pages of 4 KiB, they take ten times as long to read.
_PAGE: Final = 2**14
_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS reference "
    "(key BLOB PRIMARY KEY, checksum INTEGER NOT NULL, used REAL NOT NULL, entries BLOB NOT NULL)"
)


class _Array(msgspec.Struct, array_like=True, kw_only=True):
    """A reference by its name: shape, and value and bound as float64 in C order."""

    name: str
    shape: list[int]
    value: bytes
    bound: bytes


class _Row(msgspec.Struct, array_like=True, kw_only=True):
    """An entry as it is stored; its steps are decoded for those few of a key that are asked for."""

    choices: dict[str, str]
    refused: str | None
    steps: msgspec.Raw


_ENCODER: Final = msgspec.msgpack.Encoder()
_ROWS: Final = msgspec.msgpack.Decoder(list[_Row])
_STEPS: Final = msgspec.msgpack.Decoder(list[list[_Array]])


class Entry:
    """A prediction, and the choices on which it depends. ``size`` is that of its arrays, in bytes."""

    def __init__(self, choices: Mapping[str, str], made: Prediction | _Row) -> None:
        self.choices, self._made = choices, made
        self.size = len(memoryview(made.steps)) if isinstance(made, _Row) else _size(made)

    @property
    def prediction(self) -> Prediction:
        """The prediction; one that was stored is decoded when it is first asked for."""
        if isinstance(self._made, _Row):
            stored = _STEPS.decode(self._made.steps)
            steps = tuple({one.name: _reference(one) for one in step} for step in stored)
            self._made = Prediction(steps=steps, refused=self._made.refused)
        return self._made

    def row(self) -> _Row:
        """As it is stored."""
        if isinstance(self._made, _Row):
            return self._made
        steps = [[_array(name, reference) for name, reference in step.items()] for step in self._made.steps]
        return _Row(choices=dict(self.choices), refused=self._made.refused, steps=msgspec.Raw(_ENCODER.encode(steps)))


def default_store() -> ReferenceStore | None:
    """The user's store for the oracle as it is installed; None where none can be had."""
    folder = cache_folder("references")
    return None if folder is None else ReferenceStore.at(folder)


class ReferenceStore:
    """The entries of each key. ``at`` opens one; ``most`` bounds, in bytes, what is kept of all releases together."""

    def __init__(self, path: Path, most: int = MOST) -> None:
        self._path, self._most = path, most
        self._used: set[bytes] = set()
        self._connection: sqlite3.Connection | None = _opened(path)

    @classmethod
    def at(cls, folder: Path, most: int = MOST) -> ReferenceStore:
        """The store of this oracle's code in ``folder``; those of other code go where all are larger than ``most``."""
        path = folder / f"{code_digest()}.sqlite"
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            others = sorted((p for p in folder.glob("*.sqlite") if p != path), key=lambda p: p.stat().st_mtime)
            sizes = [other.stat().st_size for other in others]
            for number, other in enumerate(others):
                if sum(sizes[number:]) > most // 2:
                    _remove(other)
        return cls(path, most)

    def entries(self, key: bytes) -> list[Entry]:
        """What is kept for ``key``; nothing where it is damaged."""
        with self._trying() as connection:
            row = connection.execute("SELECT entries, checksum, used FROM reference WHERE key = ?", (key,)).fetchone()
            if row is not None:
                *stored, used = row
                if time.time() - used > _DAY:
                    self._used.add(key)
                return _decoded(*stored)
        return []

    def add(self, entries: Mapping[bytes, Sequence[Entry]]) -> None:
        """Keep more entries, and note which were used."""
        if not entries and not self._used:
            return
        now = time.time()
        with self._trying() as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            for key, fresh in entries.items():
                row = connection.execute("SELECT entries, checksum FROM reference WHERE key = ?", (key,)).fetchone()
                kept = _decoded(*row) if row is not None else []
                known = [one.choices for one in kept]
                kept += [one for one in fresh if one.choices not in known]
                if sum(one.size for one in kept) > LARGEST:
                    continue
                data = _ENCODER.encode([one.row() for one in kept])
                if len(data) <= LARGEST:
                    values = (key, zlib.crc32(data), now, data)
                    connection.execute("INSERT OR REPLACE INTO reference VALUES (?, ?, ?, ?)", values)
            connection.executemany("UPDATE reference SET used = ? WHERE key = ?", [(now, key) for key in self._used])
            self._used.clear()
            _cut(connection, self._most)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextlib.contextmanager
    def _trying(self) -> Iterator[sqlite3.Connection]:
        """The connection; a store that fails is left, and thrown away where it is damaged."""
        try:
            yield self._connection or sqlite3.connect(":memory:")
        except sqlite3.OperationalError:  # locked for long, read-only, a full disk, no table
            self.close()
        except sqlite3.DatabaseError:  # no database, or a malformed one
            self.close()
            _remove(self._path)


def code_digest() -> str:
    """A digest of the store's form, and of what decides the bits of a reference: the oracle's code and NumPy here."""
    digest = hashlib.blake2b(digest_size=16)
    sources = [one for one in files("normgauge.oracle").iterdir() if one.name.endswith(".py")]
    sources += [files("normgauge.conformance.diagnosis") / "predictions.py", files("normgauge.adapters") / "case.py"]
    sources += [one for one in files("normgauge.conformance.layers").iterdir() if one.name.endswith(".py")]
    sources += [Path(__file__)]
    sources += [Path(inspect.getfile(kind.steps)) for kind in layer_kinds().values()]
    for source in sorted(sources, key=lambda one: one.name):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    configuration = np.show_config(mode="dicts")
    simd = configuration.get("SIMD Extensions") if isinstance(configuration, dict) else None
    digest.update(repr((np.__version__, platform.machine(), platform.python_version(), simd)).encode())
    return digest.hexdigest()


def _opened(path: Path) -> sqlite3.Connection | None:
    for _ in range(2):
        try:
            connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
            connection.execute(f"PRAGMA page_size = {_PAGE}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")  # what a power cut damages is thrown away
            connection.execute(_TABLE)
            return connection
        except sqlite3.OperationalError:
            return None
        except sqlite3.DatabaseError:  # another file of that name, or a damaged one
            connection.close()
            _remove(path)
    return None


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(OSError):
            path.with_name(path.name + suffix).unlink()


def _cut(connection: sqlite3.Connection, most: int) -> None:
    """Leave four fifths of ``most`` where there is more, those used last."""
    (pages,), (free,), (page,) = (connection.execute(f"PRAGMA {name}").fetchone() for name in _PAGES)
    size = (pages - free) * page
    if size <= most:
        return
    (held,) = connection.execute("SELECT total(length(entries)) FROM reference").fetchone()
    excess = held * (1 - 0.8 * most / size)
    for key, length in connection.execute("SELECT key, length(entries) FROM reference ORDER BY used").fetchall():
        if excess <= 0:
            return
        connection.execute("DELETE FROM reference WHERE key = ?", (key,))
        excess -= length


def _size(prediction: Prediction) -> int:
    return sum(one.value.nbytes + one.bound.nbytes for step in prediction.steps for one in step.values())


def _array(name: str, reference: Reference) -> _Array:
    value, bound = reference.value, reference.bound
    return _Array(name=name, shape=list(value.shape), value=value.tobytes(), bound=bound.tobytes())


def _decoded(data: bytes, checksum: int) -> list[Entry]:
    if zlib.crc32(data) != checksum:
        return []
    try:
        return [Entry(row.choices, row) for row in _ROWS.decode(data)]
    except msgspec.DecodeError:
        return []


def _reference(stored: _Array) -> Reference:
    value, bound = (np.ndarray(stored.shape, np.float64, data) for data in (stored.value, stored.bound))
    return Reference(value=value, bound=bound)
