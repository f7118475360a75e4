"""Whether two folders of result files say the same, byte for byte but for times: the proof of a change inside.

    python tests/support/same_results.py BEFORE AFTER [--without FIELD ...] [--any-order]

``--without`` leaves out a field that a change is about, at whatever depth. With ``--any-order`` records may
stand in another order. Ends with 1 where anything differs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

#: What differs between two runs that measured the same: when they began and how long they took.
TIMES: Final = frozenset({"started", "seconds", "explored_seconds", "worker_seconds"})
#: How many characters of a value are printed.
_SHOWN: Final = 120


def differences(before: Path, after: Path, without: Sequence[str] = (), *, any_order: bool = False) -> list[str]:
    """One line for each file and each record that is not the same in both folders."""
    found = []
    for name in sorted({path.name for folder in (before, after) for path in folder.glob("*.jsonl")}):
        both = [folder / name for folder in (before, after)]
        if missing := [path for path in both if not path.exists()]:
            found.append(f"{name}: not in {missing[0].parent}")
            continue
        old, new = (_records(path, TIMES.union(without)) for path in both)
        if any_order:
            old, new = (sorted(records, key=_place) for records in (old, new))
        found += [f"{name}, {line}" for line in _between(old, new)]
    return found


def _records(path: Path, without: frozenset[str]) -> list[Any]:
    return [_left(json.loads(line), without) for line in path.read_text(encoding="utf-8").splitlines()]


def _place(record: Any) -> list[str]:
    """What a record is about: where it stands where the order is open."""
    return [str(record.get(name, "")) for name in ("record", "implementation", "dtype", "requirement", "signature")]


def _left(value: Any, without: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {name: _left(own, without) for name, own in value.items() if name not in without}
    return [_left(own, without) for own in value] if isinstance(value, list) else value


def _between(old: Sequence[Any], new: Sequence[Any]) -> Iterator[str]:
    if len(old) != len(new):
        yield f"{len(old)} records before, {len(new)} after"
    for number, (one, other) in enumerate(zip(old, new, strict=False), start=1):
        if json.dumps(one) == json.dumps(other):
            continue
        names = [one.get(name) for name in ("record", "requirement", "implementation", "dtype")]
        fields = [name for name in {**one, **other} if one.get(name) != other.get(name)] or ["the order of the fields"]
        shown = "; ".join(f"{name}: {_short(one.get(name))} -> {_short(other.get(name))}" for name in fields)
        yield f"line {number} ({' '.join(name for name in names if name)}): {shown}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--without", metavar="FIELD", nargs="+", default=[])
    parser.add_argument("--any-order", action="store_true")
    given = parser.parse_args()
    found = differences(given.before, given.after, given.without, any_order=given.any_order)
    for line in found:
        print(line)
    files = len(list(given.after.glob("*.jsonl")))
    print(f"{files} result files, {len(found)} differences")
    return 1 if found or not files else 0


if __name__ == "__main__":
    sys.exit(main())
