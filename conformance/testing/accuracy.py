"""How accurate a result must be: the classes that a user may ask for, and what was found beside the one asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from normgauge.conformance.identify.arrays import DIGITS, CannotIdentify
from normgauge.conformance.identify.question import Question
from normgauge.conformance.identify.whole import Held, held
from normgauge.oracle import ACCURACY_CLASSES, Arithmetic, precisions
from normgauge.results.rounding import ROUNDING

WIDEST: Final = ACCURACY_CLASSES[-1]

#: What may be asked for, strict to wide: at most the typical error, then the proven bounds.
ALLOWED: Final = (ROUNDING, *ACCURACY_CLASSES)
_MEANINGS: Final = {
    "two_pass": "for a variance from two passes",
    "welford": "for a variance by Welford's recursion",
    "one_pass": "the widest class",
}


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """What a result is held to: ``name`` is one of :data:`ALLOWED`, ``sums`` the type that sums may have.

    Without ``sums``, that of a result of float64 is float64, and that of a half type any from float32 to the half type.
    """

    name: str = WIDEST
    sums: str | None = None

    def ladder(self, dtype: str) -> tuple[Arithmetic, ...]:
        """The arithmetics allowed for a result of this type, tight to wide.

        Raises:
            CannotIdentify: a class or a type of sums that is not known for this type.
        """
        if self.name not in ALLOWED:
            raise CannotIdentify(f"accuracy is {self.name!r}; allowed: {', '.join(ALLOWED)}")
        every = precisions(dtype, WIDEST if self.name == ROUNDING else self.name)
        types = list(dict.fromkeys(one.dtype for one in every))
        if self.sums is None:
            return every[:1] if dtype == "float64" else every
        if self.sums not in types:
            raise CannotIdentify(f"sums is {self.sums!r}; allowed for a result of {dtype}: {', '.join(types)}")
        last = max(number for number, one in enumerate(every) if one.dtype == self.sums)
        return every[: last + 1]

    @property
    def meaning(self) -> str:
        """The words for what was asked for."""
        if self.name == ROUNDING:
            return "the typical error of honest arithmetic"
        return f"the proven bound of accuracy={self.name!r}, {_MEANINGS[self.name]}"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A result beside the canonical semantics, in the arithmetic that it fits, or in the widest one allowed."""

    accuracy: Accuracy
    beside: Held

    @property
    def passes(self) -> bool:
        return self.beside.explains and (self.accuracy.name != ROUNDING or self.beside.of_typical <= 1)

    @property
    def undecided(self) -> bool:
        """Whether it is within bounds that are as wide as the numbers themselves: they exclude nothing."""
        inside = self.beside.of_bound <= 1 and not self.beside.refused
        return inside and not self.beside.explains


def verdict_of(question: Question, accuracy: Accuracy) -> Verdict:
    """What ``question`` is beside the canonical semantics.

    In the tightest arithmetic that passes, else in the widest whose bounds say something.
    """
    typical = accuracy.name == ROUNDING
    found = []
    for arithmetic in accuracy.ladder(question.dtype):
        one = held(question, question.kind.canonical, arithmetic, typical=typical)
        found.append(Verdict(accuracy=accuracy, beside=one))
        if found[-1].passes:
            return found[-1]
    return next((one for one in reversed(found) if not one.undecided), found[0])


def wider(question: Question, accuracy: Accuracy) -> Accuracy | None:
    """The strictest class and type of sums beyond those asked for that pass; None where none does."""
    later = ALLOWED[ALLOWED.index(accuracy.name) + 1 :]
    least = DIGITS[accuracy.ladder(question.dtype)[-1].dtype]
    fewer = dict.fromkeys(one.dtype for one in precisions(question.dtype) if DIGITS[one.dtype] < least)
    candidates = [*(replace(accuracy, name=name) for name in later), *(Accuracy(sums=one) for one in fewer)]
    return next((one for one in candidates if verdict_of(question, one).passes), None)
