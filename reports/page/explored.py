"""What exploration tried and found, as the page tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from normgauge.reports.grouping import Anchors, grouped
from normgauge.reports.implementation_names import Names, Told
from normgauge.reports.page.divergences import Numbers, numbers_of
from normgauge.reports.page.section import PageData, Section
from normgauge.results.records import Counterexample, Explored

KINDS: Final = {
    "values": "outside every error bound of its measured semantics",
    "accuracy": "less accurate than its measured accuracy class",
    "relation": "two calls that must agree differ",
    "raises": "raises an exception",
    "crash": "crashes",
}


@dataclass(frozen=True, kw_only=True)
class Found:
    """One cause that was come upon, in the words and numbers of one of those that have it."""

    anchor: str
    counterexample: Counterexample
    members: list[Told]
    others: tuple[Counterexample, ...]
    numbers: tuple[Numbers, ...]

    @property
    def sentence(self) -> str:
        return self.counterexample.nameless or self.counterexample.sentence


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What was tried on implementations for which the counts are the same."""

    members: list[Told]
    explored: Explored


def found_of(counterexamples: Sequence[Counterexample], names: Names, anchors: Anchors) -> list[Found]:
    """One for each signature of a framework, in the order of discovery."""
    found = []
    same = grouped(counterexamples, lambda one: (names.framework(one.framework), one.kind, one.signature))
    for own in same.values():
        first = own[0]
        by_name = grouped(own, lambda one: one.implementation)
        members = names.told((name, ", ".join(one.dtype for one in at)) for name, at in by_name.items())
        anchor = anchors.new(f"counterexample-{first.implementation}-{first.kind}")
        others, numbers = tuple(own[1:]), numbers_of(first.example)
        found.append(Found(anchor=anchor, counterexample=first, members=members, others=others, numbers=numbers))
    return found


def tried_of(explored: Sequence[Explored], names: Names) -> list[Tried]:
    alike = grouped(explored, lambda one: msgspec.structs.replace(one, implementation="", framework=""))
    return [
        Tried(members=names.told((one.implementation, "") for one in own), explored=own[0]) for own in alike.values()
    ]


def _content(page: PageData) -> Mapping[str, Any] | None:
    tried = tried_of(page.all(Explored), page.names)
    return {"tried": tried, "kinds": KINDS} if tried or page.found else None


SECTION: Final = Section(
    id="counterexamples", title="Beyond the experiments", template="counterexamples.html", content=_content
)
