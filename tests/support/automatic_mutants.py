"""Automatic mutants: the results of the suite for every mutant that cosmic-ray makes of two plain layers in NumPy.

`nox -s mutants -- --automatic` runs them and prints the totals; ``--write docs/automatic-mutants.md`` writes the page.
A mutant is *killed* if a requirement falls or nothing can be measured, at float32, or else at float64. The survivors
must be the mutants in the table of ``correct.equivalent_mutants``.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from correct.equivalent_mutants import EQUIVALENT
from correct.mutants import SOURCES, Mutant
from digests import CURRENT
from references import InMemory

from normgauge.conformance.diagnosis import diagnose
from normgauge.conformance.run import parallel
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.subject import Launch
from normgauge.results.records import DIVERGENT, Judgement, NotRun

ADAPTER: Final = "correct.made_mutants:MadeAdapter"
#: The stages that run until a mutant is killed: the dtype, and whether only the cases of the diagnosis run.
STAGES: Final = (("float32", True), ("float32", False), ("float64", False))
NOTHING_MEASURED: Final = "nothing measured"
PAGE: Final = """# Automatic mutants

<!-- asked: {digest} -->

`nox -s mutants -- --automatic --write docs/automatic-mutants.md` wrote this page. [cosmic-ray](https://cosmic-ray.readthedocs.io)
makes every mutant of two plain NumPy layers, `tests/correct/plain_group_norm.py` and `plain_batch_norm.py`: forward,
backward, running statistics, eval and state. All its operators are used except the two that need names of variables.
Two mutations that make the same source count once.

A mutant is *killed* if a requirement falls or if nothing can be measured. Each run stops at the first requirement that
falls. A mutant that survives float32 also runs at float64. The search for names of mistakes is left out: it only
changes the name of a difference, and finds no more differences.

{totals}

## Killed by

The first requirement that fell, with the number of mutants.

{killers}

## Equivalent

No result of these mutants differs from the result of the layer. A test asserts that none of them is killed.

{equivalent}
{surviving}"""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A mutant, and the first requirement that fell; empty for a survivor."""

    mutant: Mutant
    killed_by: str

    @property
    def fate(self) -> str:
        if self.killed_by:
            return "killed"
        return "equivalent" if self.mutant in EQUIVALENT else "surviving"


def killed_by(framework: str, identifier: str) -> str:
    """The first requirement that falls, with its dtype if that is not float32; empty for a survivor."""
    for dtype, diagnosing in STAGES:
        wanted = Wanted(dtypes=(dtype,), implementations=(identifier,), in_process=True, diagnosis_only=diagnosing)
        with contextlib.closing(iter(run_framework(Launch(framework=framework), wanted))) as records:  # type: ignore[type-var]
            for record in records:
                if isinstance(record, NotRun):
                    return NOTHING_MEASURED
                if isinstance(record, Judgement) and record.verdict in DIVERGENT:
                    return record.requirement if dtype == "float32" else f"{record.requirement} {dtype}"
    return ""


# --- showing ----------------------------------------------------------------------------------------------


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def totals(found: Sequence[Outcome]) -> str:
    rows = []
    for kind in (*SOURCES, ""):
        fates = Counter(one.fate for one in found if one.mutant.kind.startswith(kind))
        rows.append([kind or "both", fates.total(), fates["killed"], fates["equivalent"], fates["surviving"]])
    return table(["layer", "made", "killed", "equivalent", "surviving"], rows)


def listed(found: Iterable[Outcome]) -> list[list[str]]:
    lines = [one.mutant for one in found]
    return [[one.kind, one.method, f"`{one.line}`", f"`{one.becomes}`", EQUIVALENT.get(one, "")] for one in lines]


def page(found: Sequence[Outcome], digest: str) -> str:
    by = Counter(one.killed_by for one in found if one.fate == "killed")
    killers = sorted(by.items(), key=lambda one: (-one[1], one[0]))
    columns = ["layer", "method", "line", "becomes"]
    surviving = listed(one for one in found if one.fate == "surviving")
    return PAGE.format(
        digest=digest,
        totals=totals(found),
        killers=table(["requirement", "mutants"], killers),
        equivalent=table([*columns, "why"], listed(one for one in found if one.fate == "equivalent")),
        surviving=f"\n## Surviving\n\n{table(columns, (row[:4] for row in surviving))}\n" if surviving else "",
    )


def mistakes(found: Sequence[Outcome]) -> list[str]:
    """The errors of a run: a survivor without an argument, or an argument for a mutant that is killed."""
    said = [f"{one.mutant} survives" for one in found if one.fate == "surviving"]
    return said + [f"{one.mutant} is argued to be equivalent; {one.killed_by} falls" for one in found
                   if one.killed_by and one.mutant in EQUIVALENT]  # fmt: skip


def main(words: list[str] | None = None) -> int:
    from correct.made_mutants import MADE

    parser = argparse.ArgumentParser(description="Run every mutant that cosmic-ray makes of two plain layers.")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write the totals to this file")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="run mutants with this text in layer, method or line"
    )
    options = parser.parse_args(words)
    chosen = {
        name: one
        for name, one in MADE.items()
        if options.only in f"{one.kind}.{one.method}: {one.line} -> {one.becomes}"
    }
    if not chosen:
        parser.error(f"--only {options.only}: no mutant has this text; group_norm.normalised has")
    store = InMemory()
    vars(parallel)["default_store"] = lambda: store
    vars(diagnose)["with_mistakes"] = lambda *_, **__: None
    found = []
    for name, mutant in chosen.items():
        found.append(Outcome(mutant=mutant, killed_by=killed_by(ADAPTER, name)))
        print(f"{mutant.kind}.{mutant.method}: {mutant.line} -> {mutant.becomes}: "
              f"{found[-1].killed_by or found[-1].fate}", file=sys.stderr, flush=True)  # fmt: skip
    print(totals(found))
    wrong = mistakes(found) + [f"{one} is not made" for one in EQUIVALENT if one not in MADE.values()]
    print("\n".join(wrong))
    if options.write is not None:
        options.write.write_text(page(found, CURRENT["docs/automatic-mutants.md"]()), encoding="utf-8")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
