"""The ground of a requirement (the reason for it), and the word for a difference from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Literal

#: ``formula``: the papers' equations, the chain rule, exact arithmetic. ``robustness``: what any user expects, such as
#: no NaN from ordinary data. ``convention``: a choice that frameworks make differently. ``documentation``: the
#: framework's own text says so; what only the text of others says is a convention to it.
Ground = Literal["formula", "robustness", "convention", "documentation"]
#: What a difference counts as. A ``departure`` is a difference in a file that is older than the grounds.
Sort = Literal["error", "difference", "documentation", "departure"]

SORTS: Final[dict[Ground, Sort]] = {
    "formula": "error",
    "robustness": "error",
    "convention": "difference",
    "documentation": "documentation",
}


def sort_of(verdict: str, ground: Ground | None) -> Sort:
    """What a judgement with this divergent verdict counts as. A crash is always an error."""
    if verdict == "crashes":
        return "error"
    return SORTS[ground] if ground else "departure"


def word_for(verdict: str, ground: Ground | None) -> str:
    """The word for a verdict: ``differs`` for a difference from a convention, ``wrong`` for any other difference."""
    if verdict == "diverges" and ground:
        return "differs" if ground == "convention" else "wrong"
    return "differs" if verdict == "raises" and ground == "convention" else verdict


#: The words for each sort, singular and plural, in the order of a summary. A hazard is not a difference.
_WORDS: Final = {
    "error": ("error", "errors"),
    "difference": ("difference of convention", "differences of convention"),
    "documentation": ("contradiction of documentation", "contradictions of documentation"),
    "departure": ("difference without a ground", "differences without a ground"),
    "hazard": ("hazard", "hazards"),
}
#: The sorts of differences, the most serious first; several differences together count as the first of their sorts.
GRAVEST_FIRST: Final[tuple[Sort, ...]] = ("error", "documentation", "departure", "difference")
#: The sorts of differences in the order of a summary.
SORTS_TOLD: Final[tuple[Sort, ...]] = ("error", "difference", "documentation", "departure")
#: The sorts that a summary always has, also with a count of 0.
ALWAYS_COUNTED: Final = ("error", "difference", "documentation", "hazard")


def in_words(counts: Mapping[str, int], always: Collection[str] = ()) -> str:
    """The counts in words, such as "2 errors, 1 difference of convention"; ``always`` have a count of 0, too."""
    told = [name for name in _WORDS if counts.get(name) or name in always]
    return ", ".join(f"{(count := counts.get(name, 0)):,} {_WORDS[name][count != 1]}" for name in told)
