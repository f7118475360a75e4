"""What a wrong form of a backward pass is, and what the tables of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from normgauge.oracle.backward_pass import BackwardPass, Normalized
from normgauge.oracle.moments import Float

Gradient = Mapping[str, Float]
Of = Callable[[BackwardPass], Gradient]


@dataclass(frozen=True, kw_only=True)
class WrongForm:
    """A wrong form: the gradients that it gives a pass, what to check, and its source, a report or a reason.

    What ``of`` leaves out the form leaves right. Where a form does not apply it gives what is right, or nothing. One
    mistake may be in one gradient alone, unless the form is ``joint``: an exchange is seen in both or is none.
    """

    of: Of
    check: str
    source: str
    joint: bool = False


def only_dx(dx: Callable[[BackwardPass], Float]) -> Of:
    """A form that is wrong in dx alone."""
    return lambda p: {"dx": dx(p)}


def normalized_by(p: BackwardPass, used: Normalized) -> dict[str, Float]:
    """dx and dweight of another normalised input."""
    return {"dx": p.dx(used), "dweight": p.sums(p.dy * used.x_hat)["dweight"]}
