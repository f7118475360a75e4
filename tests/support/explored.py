"""Explorations of the faulty layers."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from normgauge.conformance.exploration.budget import BUDGETS
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.subject import Launch
from normgauge.results.records import Counterexample, Record

FAULTY: Final = "faulty.adapter:FaultyAdapter"
#: A layer whose defect no experiment covers.
ODD_SIZES: Final = "rare.ThreeChannelsAGroupAtOddSizes"


def explore(
    *identifiers: str,
    seed: int = 0,
    budget: str = "default",
    dtype: str = "float32",
    store: Path | None = None,
    in_process: bool = True,
) -> list[Record]:
    """The records of a run. A layer that ends its process must not run in this one."""
    wanted = Wanted(
        dtypes=(dtype,),
        implementations=identifiers,
        in_process=in_process,
        budget=BUDGETS[budget],
        seed=seed,
        store=store,
    )
    return list(run_framework(Launch(framework=FAULTY), wanted))


def counterexamples(records: list[Record]) -> list[Counterexample]:
    return [one for one in records if isinstance(one, Counterexample)]
