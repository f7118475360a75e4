"""A departure, and how Hypothesis finds the first one that is news and shrinks it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeVar

from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.errors import Flaky

from normgauge.adapters.case import Case, Observation
from normgauge.conformance.diagnosis.candidates import Deviation
from normgauge.conformance.requirements.signature import Kind, Signature
from normgauge.conformance.verdicts.relations import Relation
from normgauge.oracle import Semantics

T = TypeVar("T")
#: What a signature says of a case: the kind of its numbers, and what is done between its calls.
Data = tuple[str, tuple[str, ...]]
#: From the seed of one search for a departure to that of the next.
SEED_STEP: Final = 1_000_003


@dataclass(frozen=True, kw_only=True)
class Departure:
    """A case on which an implementation lies outside what its own profile allows.

    ``kin`` is the framework's own other layer that was observed, where a relation is with that.
    """

    signature: Signature
    plan: str
    case: Case
    observation: Observation
    deviation: Deviation
    measured: str
    followed: Semantics
    regime: str = ""
    relation: Relation | None = None
    kin: str | None = None

    @property
    def kind(self) -> Kind:
        return self.signature.kind

    def is_like(self, other: Departure) -> bool:
        """Whether the same kind of departure shows in the same quantity."""
        return (self.kind, self.deviation.quantity) == (other.kind, other.deviation.quantity)


class Stop(BaseException):
    """Ends a search without shrinking; no mere Exception, which Hypothesis would shrink."""


class _Departed(Exception):
    """Tells Hypothesis that a draw shows something new; it shrinks the draw while that stays so."""


def first_departure(
    draws: st.SearchStrategy[T],
    most: int,
    seed: int,
    shown: Callable[[T, Departure | None], Sequence[Departure]],
    is_known: Callable[[Signature], bool],
) -> Departure | None:
    """The first departure that is news in ``most`` draws, shrunk by Hypothesis; None when there is none.

    ``shown`` gives the departures of a draw, or raises ``Stop``. Its second argument is None until something departs;
    then it is the last departure, and Hypothesis shrinks.
    """
    last: Departure | None = None

    @seeded(seed)
    @settings(
        max_examples=most,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    @given(draws)
    def look(drawn: T) -> None:
        nonlocal last
        found = [one for one in shown(drawn, last) if last is None or one.is_like(last)]
        # A death that is known ends this search too: the next one leaves out what it came from.
        news = [one for one in found if one.observation.died or not is_known(one.signature)]
        if news:
            last = max(news, key=lambda one: one.deviation.ratio)
            raise Stop if last.observation.died else _Departed  # a death is not repeated for a smaller case

    with suppress(_Departed, Stop, Flaky):  # flaky: it departed, if not every time
        look()
    return last
