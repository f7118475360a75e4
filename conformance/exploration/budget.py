"""The budgets: how much a run explores, and what it leaves out to take less time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from normgauge.conformance.exploration.plans import CASES_A_PLAN, MANY_CASES_A_PLAN


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a run of one size does.

    ``cases`` is the most that is explored of one implementation at one dtype; 0 explores nothing. Where calls are slow,
    where the framework compiles, in half precision, and in a mode of a layer that is explored without it, the number of
    cases is divided by ``small_share``. A sequence of calls gets a step for each case, there for
    each ``steps_share`` cases.

    A plan has ``plan`` cases, and ``cheap_plan`` where a call is cheap: more cases for as many plans. A framework that
    compiles is given ``shapes`` shapes. ``thorough`` runs the implementations that take long. ``compiles_half`` runs
    a framework that compiles in half precision; without it, only where the dtype was named.
    """

    name: str
    cases: int
    thorough: bool = False
    compiles_half: bool = True
    small_share: int = 4
    steps_share: int = 2
    plan: int = CASES_A_PLAN
    cheap_plan: int = MANY_CASES_A_PLAN
    shapes: int = 8

    def shared(self, *, small: bool) -> int:
        """The cases of an implementation, of which a ``small`` one gets a part."""
        return self.cases // (self.small_share if small else 1)

    def steps(self, *, small: bool) -> int:
        """The steps of all sequences of calls together."""
        return self.shared(small=small) // (self.steps_share if small else 1)


#: Every budget by its name, in the order of the command line's choice.
BUDGETS: Final[Mapping[str, Budget]] = {
    one.name: one
    for one in (
        Budget(name="none", cases=0),
        Budget(name="quick", cases=256, compiles_half=False),
        Budget(name="default", cases=2048),
        Budget(name="thorough", cases=65536, thorough=True),
    )
}
