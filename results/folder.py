"""A folder of result files, with a manifest of what was asked for: framework name to the reason it is absent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from normgauge.results.file import BrokenResults, read_records
from normgauge.results.records import Header, NotRun, Profile, Record
from normgauge.results.releases import release_of

#: A folder may hold this list; a name that has a result file is present all the same.
MANIFEST: Final = "manifest.json"


def read_folder(results: Path) -> tuple[dict[Path, list[Record]], list[NotRun]]:
    """The records of every result file in a folder, and what its manifest says was asked for and has none.

    Raises:
        BrokenResults: a file that is no result file, a folder without any, or two runs of one implementation.
    """
    files = sorted(results.glob("*.jsonl"))
    absent = _absent(results, files)
    if not files and not absent:
        raise BrokenResults(_nothing_in(results))
    records = {path: _named_like(path, read_records(path)) for path in files}
    _refuse_two_runs(records)
    return records, absent


@dataclass(frozen=True, kw_only=True)
class Folder:
    """What can be read of a folder: records by file, what is absent, and by file why it is left out."""

    records: dict[Path, list[Record]]
    absent: list[NotRun]
    broken: dict[str, str]


def read_what_can_be_read(results: Path) -> Folder:
    """As :func:`read_folder`, but with the reason for each file that cannot be read, or repeats another one."""
    files = sorted(results.glob("*.jsonl"))
    records: dict[Path, list[Record]] = {}
    broken: dict[str, str] = {}
    absent: list[NotRun] = []
    try:
        absent = _absent(results, files)
    except BrokenResults as error:
        broken[MANIFEST] = str(error)
    for path in files:
        try:
            records[path] = _named_like(path, read_records(path))
            _refuse_two_runs(records)
        except BrokenResults as error:
            records.pop(path, None)
            broken[path.name] = str(error)
    if not files and not absent and not broken:
        broken[results.name] = _nothing_in(results)
    return Folder(records=records, absent=absent, broken=broken)


def _nothing_in(results: Path) -> str:
    return f"{results} holds no result file (*.jsonl); make one with: normgauge run FRAMEWORK --out {results}"


def _named_like(path: Path, records: list[Record]) -> list[Record]:
    """The records; what never started, and so has no version, is called as its file is."""
    if any(isinstance(one, Header) and one.versions for one in records):
        return records
    return [msgspec.structs.replace(one, framework=path.stem) if isinstance(one, NotRun) else one for one in records]


def _absent(results: Path, files: Sequence[Path]) -> list[NotRun]:
    """What the manifest says was asked for and has no result file."""
    manifest = results / MANIFEST
    if not manifest.is_file():
        return []
    try:
        asked = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BrokenResults(f"{manifest} is no JSON: {error}; remove it") from None
    if not isinstance(asked, dict):
        raise BrokenResults(f"{manifest} is no object of framework names and reasons; remove it")
    present = {path.stem for path in files}
    return [
        NotRun(framework=str(name), reason=str(reason)) for name, reason in sorted(asked.items()) if name not in present
    ]


def _refuse_two_runs(records: dict[Path, list[Record]]) -> None:
    """Releases of one framework may stand side by side; one release was measured twice by mistake."""
    headers = {path: next(one for one in own if isinstance(one, Header)) for path, own in records.items()}
    seen: dict[tuple[str, str, str], Path] = {}
    for path, own in records.items():
        siblings = [one for one in headers.values() if one.framework == headers[path].framework]
        release = release_of(headers[path], siblings)
        for one in own:
            if not isinstance(one, Profile):
                continue
            first = seen.setdefault((release, one.implementation, one.dtype), path)
            if first != path:
                raise BrokenResults(
                    f"{first} and {path} both hold {one.implementation} at {one.dtype}, of the same release; "
                    "a report shows one run of each: move one file to a folder of its own"
                )
