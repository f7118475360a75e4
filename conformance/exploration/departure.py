"""A departure, and how Hypothesis finds the first one that is news and shrinks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.errors import Flaky

from normgauge.adapters.case import Case, Observation
from normgauge.conformance.diagnosis.candidates import Deviation
from normgauge.conformance.requirements.signature import Kind, Signature
from normgauge.conformance.verdicts.relations import Relation
from normgauge.oracle import Semantics

try:
    from hypothesis.internal.conjecture import providers
except ImportError:  # before 6.124
    from types import ModuleType

    providers = ModuleType("providers")

T = TypeVar("T")
#: What a signature says of a case: the kind of its numbers, and what is done between its calls.
Data = tuple[str, tuple[str, ...]]
#: From the seed of one search for a departure to that of the next.
SEED_STEP: Final = 1_000_003
#: What stands in Hypothesis for the constants of modules and for what it remembers of them, in releases with both.
_WITHOUT_MODULES: Final[Mapping[str, Any]] = (
    {"_get_local_constants": vars(providers)["Constants"], "CONSTANTS_CACHE": type(providers.CONSTANTS_CACHE)(1024)}
    if {"_get_local_constants", "Constants", "CONSTANTS_CACHE"} <= vars(providers).keys()
    else {}
)


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

    with suppress(_Departed, Stop, Flaky), _no_constants_of_modules():  # flaky: it departed, if not every time
        look()
    return last


@contextmanager
def _no_constants_of_modules() -> Iterator[None]:
    """Draw no constants from the source of the modules that this process has imported.

    Hypothesis draws them since 6.131.1 where a module lies outside site-packages, as in a checkout, and has no setting
    for it (https://github.com/HypothesisWorks/hypothesis/pull/4356). What a seed draws must not depend on what else
    a program has imported.
    """
    given = {name: getattr(providers, name) for name in _WITHOUT_MODULES}
    try:
        vars(providers).update(_WITHOUT_MODULES)
        yield
    finally:
        vars(providers).update(given)
