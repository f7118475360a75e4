"""Result files written and read: one record a line, each flushed as it comes."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO

import msgspec

from normgauge.results.records import FORMAT, Footer, Header, Record


class BrokenResults(ValueError):
    """A result file that cannot be read; the message names the file, the line and the remedy."""


class ResultsWriter:
    """Appends records as they come, each flushed, so that an interrupted run loses nothing.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] = path.open("wb")
        self._encode = msgspec.json.Encoder(order="deterministic").encode

    def write(self, record: Record) -> None:
        """Append one record, and flush it."""
        self._file.write(self._encode(record) + b"\n")
        self._file.flush()

    def __enter__(self) -> ResultsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def read_records(path: Path) -> list[Record]:
    """Every record of a result file, validated.

    A last line without its line break is what an interruption left, and is not a record.

    Raises:
        BrokenResults: a line that is no valid record, or a file without a header.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BrokenResults(f"{path} cannot be read: {error.strerror}; give a result file of `normgauge run`") from None
    lines = data.split(b"\n")
    return list(_validated(path, lines[:-1]))


def is_complete(path: Path) -> bool:
    """Whether a result file ends with its footer; a run that was interrupted has left none."""
    with path.open("rb") as file:
        *_, last = b"", *collections.deque(file, maxlen=1)
    try:
        return last.endswith(b"\n") and isinstance(msgspec.json.decode(last, type=Record), Footer)
    except msgspec.DecodeError:
        return False


def _validated(path: Path, lines: Iterable[bytes]) -> Iterator[Record]:
    decoder = msgspec.json.Decoder(Record)
    number = 0
    for number, line in enumerate(lines, start=1):
        if number == 1:
            _check_format(path, line)
        try:
            record = decoder.decode(line)
        except msgspec.DecodeError as error:  # a ValidationError is one too
            raise BrokenResults(
                f"{path}, line {number}: {error}; run the framework again, or remove the file"
            ) from None
        if (number == 1) != isinstance(record, Header):
            raise BrokenResults(
                f"{path}, line {number}: a result file has one header, in its first line; run the framework again"
            )
        yield record
    if number == 0:
        raise BrokenResults(f"{path} is empty: the run was interrupted before its header; run the framework again")


def _check_format(path: Path, line: bytes) -> None:
    """Reject a header of another format, before its fields are compared with this one."""
    try:
        header = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return
    found = header.get("format") if isinstance(header, dict) else None
    if isinstance(found, int) and found != FORMAT:
        raise BrokenResults(
            f"{path}, line 1: format {found} is not known, this release reads {FORMAT}; "
            "read it with the release that wrote it, or run the framework again"
        )
