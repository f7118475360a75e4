"""Correct layers through the whole engine: nothing but ``conforms`` and what is declared ``unsupported``.

``nox -s correct`` runs it: GroupNorm and BatchNorm in the six styles of ``tests/correct``, in every type, on arrays in
every layout, explored at the budget ``default`` from three seeds. It prints a table, and fails on anything else.
``--keep`` adds the number of cases to those that the report page names (reports/correct_layers.json).
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import itertools
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from normgauge.adapters.dtypes import DTYPES
from normgauge.conformance.exploration.budget import BUDGETS, Budget
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.subject import Launch
from normgauge.reports.page.suite import CorrectLayers, CorrectRun, correct_layers
from normgauge.results.records import Counterexample, Explored, Judgement, NotRun, Record

TESTS: Final = Path(__file__).parents[1]
#: What the report page says of these runs.
FIGURES: Final = TESTS.parent / "reports" / "correct_layers.json"
CORRECT: Final = "correct.adapter:CorrectAdapter"
LAYERS: Final = ("GroupNorm", "BatchNorm")
#: What a correct layer is judged, or found to do, though it should conform, by implementation, dtype and requirement
#: (or the kind of a counterexample), with the reason. Everything here must be found, and nothing else.
KNOWN: Final[Mapping[tuple[str, str, str], str]] = {}


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a run told of one layer in one type: verdicts, what else than ``conforms`` there was, what was explored."""

    verdicts: collections.Counter[str] = field(default_factory=collections.Counter)
    others: dict[str, str] = field(default_factory=dict)  # by requirement, or kind of a counterexample
    explored: collections.Counter[str] = field(default_factory=collections.Counter)

    @classmethod
    def by(cls, records: Iterable[Record]) -> Told:
        own = cls()
        for record in records:
            if isinstance(record, Judgement):
                own.verdicts[record.verdict] += 1
                if record.verdict not in {"conforms", "unsupported"}:
                    own.others[record.requirement] = f"{record.verdict}: {record.sentence}"
            elif isinstance(record, Counterexample):
                own.others[record.kind] = f"counterexample: {record.sentence} {record.measured}"
            elif isinstance(record, NotRun):
                own.others["not run"] = record.reason
            elif isinstance(record, Explored):
                own.explored.update(cases=record.cases, calls=record.steps, refused=record.refused)
        return own

    def __add__(self, other: Told) -> Told:
        return Told(
            verdicts=self.verdicts + other.verdicts,
            others=self.others | other.others,
            explored=self.explored + other.explored,
        )

    def shown(self) -> str:
        counts = ", ".join(f"{count:,} {word}" for word, count in sorted(self.verdicts.items()))
        searched = ", ".join(f"{count:,} {word}" for word, count in self.explored.items() if word != "refused")
        return f"{counts}; {searched}" if searched else counts


def told_of(implementation: str, dtype: str, *, budget: Budget = BUDGETS["default"], seed: int = 0) -> Told:
    """What a run tells of one of the correct layers, in this process."""
    wanted = Wanted(dtypes=(dtype,), implementations=(implementation,), in_process=True, budget=budget, seed=seed)
    return Told.by(run_framework(Launch(framework=CORRECT), wanted))


def unlike(found: Mapping[tuple[str, str, str], str], known: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    """What is found and not known, and what is known and not found, a sentence each."""
    for place, what in found.items():
        if place not in known:
            yield f"{' '.join(place)}: {what}"
    for place in known:
        if place not in found:
            yield f"{' '.join(place)}: conforms; take its line out of KNOWN"


def table(cells: Mapping[tuple[str, str], Told], dtypes: Sequence[str]) -> str:
    """As Markdown: a row for each implementation, a column for each type."""
    rows = [["layer", *dtypes]]
    for implementation in dict.fromkeys(one for one, _ in cells):
        rows.append([implementation, *(cells[implementation, dtype].shown() for dtype in dtypes)])
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def with_run(before: CorrectLayers, cells: Mapping[tuple[str, str], Told], seeds: Sequence[int]) -> bytes:
    """The figures with those of one more run, as they stand in their file."""
    run = CorrectRun(seeds=[*seeds], cases=sum(told.explored["cases"] for told in cells.values()))
    after = CorrectLayers(runs=[*before.runs, run])
    return msgspec.json.format(msgspec.json.encode(after), indent=2) + b"\n"


def main() -> int:
    sys.path.insert(0, str(TESTS))
    from correct.styles import STYLES

    parser = argparse.ArgumentParser(description="Explore correct layers; nothing but `conforms` may come of it.")
    parser.add_argument("--budget", choices=list(BUDGETS), default="default")
    parser.add_argument("--cases", type=int, help="explored of each layer in each type from each seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--styles", nargs="+", choices=list(STYLES), default=list(STYLES))
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--keep", action="store_true", help="add the cases to those that the report page names")
    options = parser.parse_args()
    budget = BUDGETS[options.budget]
    if options.cases:
        budget = dataclasses.replace(budget, cases=options.cases)
    cells: dict[tuple[str, str], Told] = {}
    for seed, style, layer, dtype in itertools.product(options.seeds, options.styles, LAYERS, options.dtypes):
        begun, implementation = time.monotonic(), f"{style}.{layer}"
        told = told_of(implementation, dtype, budget=budget, seed=seed)
        cells[implementation, dtype] = cells.get((implementation, dtype), Told()) + told
        print(f"seed {seed} {implementation} {dtype}: {told.shown()}; {time.monotonic() - begun:.0f} s", flush=True)
        for requirement, what in told.others.items():
            print(f"    {requirement}: {what}", flush=True)
    found = {(*cell, name): what for cell, told in cells.items() for name, what in told.others.items()}
    wrong = list(unlike(found, [place for place in KNOWN if place[:2] in cells]))
    print(table(cells, options.dtypes), *wrong, sep="\n")
    if options.keep and not wrong:
        FIGURES.write_bytes(with_run(correct_layers(), cells, options.seeds))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
