"""Every pair of frameworks from the shipped profiles, as the tables of docs/compare.md.

`python tests/support/pairwise.py --write docs/compare.md` writes them between the marks of the page.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from normgauge.adapters.dtypes import DTYPES
from normgauge.adapters.implementation_id import EAGER
from normgauge.conformance.comparison.against import gate_against
from normgauge.conformance.comparison.changes import compare_pair
from normgauge.conformance.comparison.pairing import Pair, counterpart
from normgauge.conformance.comparison.profiles import records_of, shipped
from normgauge.conformance.comparison.sides import Side, side_of
from normgauge.conformance.layers.registry import layer_kinds
from normgauge.results.file import ResultsWriter
from normgauge.results.profiles import FrameworkProfile
from normgauge.results.records import Footer, Record

BEGIN: Final = "<!-- pairs -->"
END: Final = "<!-- end of pairs -->"


def plain(profile: FrameworkProfile) -> list[Record]:
    """The records of a profile's layers as they are constructed and called by default, in float32."""
    own = {name for name, one in profile.implementations.items() if one.mode == EAGER and not one.options}
    return [
        record
        for record in records_of(profile)
        if getattr(record, "dtype", DTYPES[0]) == DTYPES[0] and getattr(record, "implementation", None) in {None, *own}
    ]


def sides() -> dict[str, Side]:
    """Every shipped profile as a side, by its name."""
    return {name: side_of(name, "", plain(profile)) for name, profile in shipped().items()}


def axes_that_differ(layer: str, everything: dict[str, Side]) -> Iterator[list[str]]:
    """A row a framework: the axes and measured defaults on which its layer differs from that of each column."""
    for name, a in everything.items():
        row = [name]
        for other, b in everything.items():
            if name == other:
                row.append("–")
                continue
            own, _ = counterpart(None, a, layer)
            against, _ = counterpart(own, b)
            found = compare_pair(Pair(a=own, b=against, why="")).differences
            subjects = [one.subject for one in found if one.kind == "semantics"]
            subjects += [one.subject.removeprefix("measured ") for one in found if one.subject.startswith("measured")]
            row.append(", ".join(dict.fromkeys(subjects)) or "same")
        yield row


def gates(everything: dict[str, Side], folder: Path) -> Iterator[list[str]]:
    """A row a framework, as if it were a port: what the gate against each column says."""
    for name in everything:
        path = folder / f"{name}.jsonl"
        with ResultsWriter(path) as writer:
            for record in (*plain(shipped()[name]), Footer(counts={}, seconds=0.0)):
                writer.write(record)
    for name in everything:
        row = [name]
        for other, reference in everything.items():
            found = gate_against([folder / f"{name}.jsonl"], reference, None)
            failed = sum(one.judgements for one in found.surprises)
            row.append("–" if name == other else "passes" if not failed else f"{failed} new")
        yield row


def table(rows: Iterable[Sequence[str]], heads: Sequence[str]) -> str:
    lines = [f"| A | {' | '.join(heads)} |", f"| --- |{' --- |' * len(heads)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def tables() -> str:
    """The three tables, in Markdown."""
    everything = sides()
    heads = list(everything)
    parts = []
    for kind in layer_kinds().values():
        if any(side.of_layer(kind.name) for side in everything.values()):
            parts.append(f"{kind.title}, axes and measured defaults that differ:\n")
            parts.append(table(axes_that_differ(kind.name, everything), heads) + "\n")
    with tempfile.TemporaryDirectory() as folder:
        parts.append("Each row as a port, gated `--against` each column, in float32:\n")
        parts.append(table(gates(everything, Path(folder)), heads) + "\n")
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path)
    page = parser.parse_args().write
    if page is None:
        print(tables())
        return
    text = page.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    page.write_text(pattern.sub(lambda _: f"{BEGIN}\n\n{tables()}\n{END}", text), encoding="utf-8")


if __name__ == "__main__":
    main()
