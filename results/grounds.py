"""On what a requirement rests, and what a departure from it is called."""

from __future__ import annotations

from typing import Final, Literal

#: ``formula``: the papers' equations, the chain rule, exact arithmetic. ``robustness``: what any user expects, such as
#: no NaN from ordinary data. ``convention``: a choice that frameworks make differently. ``documentation``: the
#: frameworks' own text says so.
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
    """The word for a verdict beside this ground: only what departs from a convention is not wrong but different."""
    if sort_of(verdict, ground) == "difference":
        return "differs"
    return "wrong" if verdict == "diverges" and ground else verdict
