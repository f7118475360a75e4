"""The answer to a user: a record, and how it prints on a terminal, in a notebook and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from normgauge.conformance.identify.table import as_html, as_text

#: What an answer may be. ``canonical``: within the bound of the canonical semantics. ``departs``: another semantics,
#: or other settings than those given, explain it. ``likely departs``: within the bound of the canonical semantics, and
#: another one explains it to rounding. ``unknown``: nothing that is known does.
CANONICAL: Final = "canonical"
DEPARTS: Final = "departs"
LIKELY: Final = "likely departs"
UNKNOWN: Final = "unknown"


@dataclass(frozen=True, kw_only=True)
class Departure:
    """What is done in place of the canonical way, in words, who does it, and what to write instead."""

    question: str
    meaning: str
    canonical: str
    source: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A setting: its value in words, and how it is known."""

    name: str
    value: str
    known: str


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The errors beside a semantics, in units of the proven bound and of the typical error, and the worst element.

    ``index`` is that of the array that was given; numbers are NaN where they were not evaluated.
    """

    beside: str
    words: str
    of_bound: float
    of_typical: float
    largest: float
    quantity: str = ""
    index: tuple[int, ...] = ()
    observed: float = math.nan
    expected: float = math.nan
    bound: float = math.nan
    typical: float = math.nan

    def __str__(self) -> str:
        typical = "" if math.isinf(self.of_typical) else f"{self.of_typical:.2g} typical errors, "
        return f"{self.words}: at most {typical}{self.of_bound:.2g} bounds ({self.largest:.2g})"

    @property
    def worst(self) -> str:
        if not self.quantity:
            return ""
        place = f"{self.quantity}[{', '.join(map(str, self.index))}]"
        typical = "" if math.isnan(self.typical) else f", typical error {self.typical:.2g}"
        return f"{place} is {self.observed:.9g}; expected {self.expected:.9g} ± {self.bound:.2g}{typical}"


@dataclass(frozen=True, kw_only=True)
class Identified:
    """What made the arrays.

    ``verdict`` is ``canonical``, ``departs``, ``likely departs`` or ``unknown``. ``alternatives`` has for each
    semantics that explains everything its departures; several are not told apart by these arrays. ``differences`` has
    the errors beside what fits and, where that is not canonical, beside the canonical semantics.
    """

    verdict: str
    title: str
    arrays: str
    alternatives: tuple[tuple[Departure, ...], ...] = ()
    causes: tuple[str, ...] = ()
    remedies: tuple[str, ...] = ()
    settings: tuple[Setting, ...] = ()
    differences: tuple[Difference, ...] = ()
    not_told_apart: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 where everything is canonical, else 1."""
        return 0 if self.verdict == CANONICAL else 1

    @property
    def headline(self) -> str:
        """The answer in one sentence."""
        return _HEADLINES[self.verdict].format(title=self.title)

    def as_dict(self) -> dict[str, Any]:
        """The answer as JSON has it; a number that is none is null."""
        return {"headline": self.headline, **plain(asdict(self))}

    def __str__(self) -> str:
        return as_text(self.headline, self.rows())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return as_html(self.headline, self.rows())

    def rows(self) -> Iterator[tuple[str, str]]:
        """What is said beside the headline: names and texts."""
        yield "arrays", self.arrays
        several = len(self.alternatives) > 1
        for number, departures in enumerate(self.alternatives):
            for place, one in enumerate(departures):
                yield _link(number, place, several=several), one.meaning
                yield "", f"canonical: {one.canonical}"
                yield "", f"as in: {one.source}"
        for cause in self.causes:
            yield "cause", cause
        for remedy in self.remedies:
            yield "remedy", remedy
        for setting in self.settings:
            yield setting.name, f"{setting.value} ({setting.known})"
        for difference in self.differences:
            yield difference.beside, str(difference)
            if difference.worst:
                yield "", f"worst: {difference.worst}"
        for text in self.not_told_apart:
            yield "not told apart", text
        for note in self.notes:
            yield "note", note


def _link(number: int, place: int, *, several: bool) -> str:
    """The word before a departure: of several alternatives, and of several departures of one."""
    if place:
        return "and"
    return ("or" if number else "either") if several else "what"


_HEADLINES: Final = {
    CANONICAL: "canonical: {title}",
    DEPARTS: "departs from canonical: {title}",
    LIKELY: "likely departs from canonical, whose bound holds, but not its typical error: {title}",
    UNKNOWN: "no semantics that is known gives these numbers: {title}",
}


def plain(value: Any) -> Any:
    """A record as JSON has it: tuples are lists, a number that is none is None."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
