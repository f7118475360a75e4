"""On what a requirement rests, and what a departure from it is called."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Literal

#: ``formula``: the papers' equations, the chain rule, exact arithmetic. ``robustness``: what any user expects, such as
#: no NaN from ordinary data. ``convention``: a choice that frameworks make differently. ``documentation``: the
#: framework's own text says so; what only the text of others says is a convention to it.
Ground = Literal["formula", "robustness", "convention", "documentation"]
#: What a departure counts as. A ``departure`` is one in a file that is older than the grounds.
Sort = Literal["error", "difference", "documentation", "departure"]

SORTS: Final[dict[Ground, Sort]] = {
    "formula": "error",
    "robustness": "error",
    "convention": "difference",
    "documentation": "documentation",
}


def sort_of(verdict: str, ground: Ground | None) -> Sort:
    """What a judgement with this divergent verdict counts as. A crash is an error, whatever was asked."""
    if verdict == "crashes":
        return "error"
    return SORTS[ground] if ground else "departure"


def word_for(verdict: str, ground: Ground | None) -> str:
    """The word for a verdict beside this ground: only what departs from a convention is not wrong but differs."""
    if verdict == "diverges" and ground:
        return "differs" if ground == "convention" else "wrong"
    return "differs" if verdict == "raises" and ground == "convention" else verdict


#: Each sort in words, one of it and several, in the order in which they are told; a hazard is no departure.
_WORDS: Final = {
    "error": ("error", "errors"),
    "difference": ("difference of convention", "differences of convention"),
    "documentation": ("departure from documentation", "departures from documentation"),
    "departure": ("departure of unknown ground", "departures of unknown ground"),
    "hazard": ("hazard", "hazards"),
}
#: The sorts of departures, the gravest first: what several departures count as together is the first of theirs.
GRAVEST_FIRST: Final[tuple[Sort, ...]] = ("error", "documentation", "departure", "difference")
#: The sorts of departures in the order in which they are told.
SORTS_TOLD: Final[tuple[Sort, ...]] = ("error", "difference", "documentation", "departure")
#: What a summary counts, also where there is none.
ALWAYS_COUNTED: Final = ("error", "difference", "documentation", "hazard")


def in_words(counts: Mapping[str, int], always: Collection[str] = ()) -> str:
    """How many of each sort, such as "2 errors, 1 difference of convention"; of ``always`` none are told, too."""
    told = [name for name in _WORDS if counts.get(name) or name in always]
    return ", ".join(f"{(count := counts.get(name, 0)):,} {_WORDS[name][count != 1]}" for name in told)
