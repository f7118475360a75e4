"""What an error is in units of the typical error of honest arithmetic, in words; no verdict depends on it."""

from __future__ import annotations

from typing import Final

ROUNDING: Final = "rounding"
POOR_ORDER: Final = "only a poor order of summation explains it"
NOT_ROUNDING: Final = "not rounding"
#: Nothing is said of an error where the arithmetic may leave the range.
OUT_OF_RANGE: Final = "out of range, nothing is said"


def word_for(of_typical: float, *, within_bound: bool) -> str:
    """The words for an error of ``of_typical`` typical errors, within the proven bound or not."""
    if not within_bound:
        return NOT_ROUNDING
    return ROUNDING if of_typical <= 1 else POOR_ORDER
