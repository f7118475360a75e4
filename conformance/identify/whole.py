"""A semantics against everything that was given: the worst element, in bounds and in typical errors."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from normgauge.conformance.diagnosis.predictions import predict
from normgauge.conformance.identify.parts import in_chunks
from normgauge.conformance.identify.question import Question
from normgauge.oracle import Arithmetic, Reference, Semantics

#: Elements of a part: a few megabytes in float64.
CHUNK: Final = 2**19


@dataclass(frozen=True, kw_only=True)
class Element:
    """An element of what was observed, beside what is expected; ``of_bound`` and ``of_typical`` are ratios."""

    quantity: str
    index: tuple[int, ...]
    observed: float
    expected: float
    bound: float
    of_bound: float
    typical: float = math.nan


@dataclass(frozen=True, kw_only=True)
class Held:
    """Everything that was observed against one semantics.

    ``of_bound`` is the largest error in units of the bound, ``of_typical`` in units of the typical error; ``worst`` is
    the element of the first, None where all are exact. ``refused`` says why the call should have been refused.
    ``silent`` is the number of elements of which nothing is expected, ``wide`` that of those whose bound is larger than
    every number of the result, ``count`` that of all.
    """

    semantics: Semantics
    arithmetic: Arithmetic
    of_bound: float
    of_typical: float
    largest: float
    worst: Element | None = None
    refused: str = ""
    silent: int = 0
    wide: int = 0
    count: int = 0

    @property
    def fits(self) -> bool:
        """Whether no element lies outside; what says nothing of most elements explains nothing."""
        return self.of_bound <= 1 and not self.refused and 2 * self.silent <= self.count

    @property
    def explains(self) -> bool:
        """Whether it fits and says something: within bounds as wide as the numbers themselves lies anything."""
        return self.fits and 2 * self.wide <= self.count


def held(question: Question, semantics: Semantics, arithmetic: Arithmetic, *, typical: bool = True) -> Held:
    """All of ``question`` against ``semantics``.

    Typical errors are not asked once an element lies outside its bound, nor without ``typical``: the largest ratio is
    infinite then.
    """
    found = _nothing(semantics, arithmetic)
    for chunk in in_chunks(question, semantics, CHUNK):
        own = _held(chunk.question, semantics, arithmetic, typical=typical and found.fits)
        if own.worst is not None:
            index = chunk.place_of(own.worst.quantity, own.worst.index)
            own = replace(own, worst=replace(own.worst, index=index))
        found = _joined(found, own)
        if found.refused:
            break
    return found


def _nothing(semantics: Semantics, arithmetic: Arithmetic) -> Held:
    return Held(semantics=semantics, arithmetic=arithmetic, of_bound=0.0, of_typical=0.0, largest=0.0)


def _joined(one: Held, other: Held) -> Held:
    worse = other.of_bound > one.of_bound or one.worst is None
    return replace(
        one,
        of_bound=max(one.of_bound, other.of_bound),
        of_typical=max(one.of_typical, other.of_typical),
        largest=max(one.largest, other.largest),
        worst=other.worst if worse else one.worst,
        refused=one.refused or other.refused,
        silent=one.silent + other.silent,
        wide=one.wide + other.wide,
        count=one.count + other.count,
    )


def _held(part: Question, semantics: Semantics, arithmetic: Arithmetic, *, typical: bool) -> Held:
    case, found = part.case(), _nothing(semantics, arithmetic)
    expected = predict(case, semantics, arithmetic)
    if expected.refused is not None:
        return replace(found, refused=expected.refused)
    errors = {
        quantity: np.abs(part.observed[quantity] - reference.value)
        for quantity, reference in expected.steps[0].items()
        if quantity in part.observed
    }
    for quantity, error in errors.items():
        own = _of_quantity(found, quantity, part.observed[quantity], expected.steps[0][quantity], error)
        found = _joined(found, own)
    if not (typical and found.fits):
        return replace(found, of_typical=np.inf)
    usual = predict(case, semantics, replace(arithmetic, typical=True)).steps[0]
    of_typical = max(
        (float(_ratio(error, usual[name].bound).max(initial=0.0)) for name, error in errors.items()), default=0.0
    )
    if found.worst is not None:
        bound = usual[found.worst.quantity].bound[found.worst.index]
        found = replace(found, worst=replace(found.worst, typical=float(bound)))
    return replace(found, of_typical=of_typical)


def _of_quantity(
    empty: Held, quantity: str, actual: NDArray[Any], expected: Reference, error: NDArray[np.float64]
) -> Held:
    ratio = _ratio(error, expected.bound)
    if not ratio.size:
        return empty
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(ratio)), error.shape))
    worst = Element(
        quantity=quantity,
        index=index,
        observed=float(actual[index]),
        expected=float(expected.value[index]),
        bound=float(expected.bound[index]),
        of_bound=float(ratio[index]),
    )
    return replace(
        empty,
        of_bound=float(ratio[index]),
        largest=float(error.max()),
        worst=worst,
        silent=int(error.size - np.count_nonzero(np.isfinite(expected.bound))),
        wide=int(np.count_nonzero(~(expected.bound <= np.abs(actual).max()))),
        count=int(error.size),
    )


def _ratio(error: NDArray[np.float64], bound: NDArray[np.float64]) -> NDArray[np.float64]:
    """error / bound; 0 where there is no error or nothing is said, infinite where the expected value is none."""
    with np.errstate(all="ignore"):
        ratio = error / bound
    if np.isfinite(ratio.max(initial=0.0)):  # no NaN either
        return ratio
    ratio = np.where((error == 0) | np.isposinf(bound), 0.0, ratio)
    return np.where(np.isnan(ratio), np.inf, ratio)
