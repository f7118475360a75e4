"""Two outputs beside each other, neither of which claims to be canonical: are they the same, or is one wrong?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np

from normgauge.conformance.diagnosis.located import located
from normgauge.conformance.diagnosis.predictions import predict
from normgauge.conformance.identify.answer import CANONICAL, Identified, plain
from normgauge.conformance.identify.arrays import DIGITS, Array, CannotIdentify, Given
from normgauge.conformance.identify.explain import Explanation
from normgauge.conformance.identify.known import as_given, channels_first
from normgauge.conformance.identify.parts import in_chunks
from normgauge.conformance.identify.table import as_html, as_text
from normgauge.conformance.identify.whole import CHUNK
from normgauge.oracle import Reference

#: Units of the last place of the largest number up to which two outputs are called the same where x is not known.
_FEW: Final = 4.0
#: Elements up to which it is said where two outputs differ, and by what.
_LOCATED: Final = 2**20
EQUAL: Final = "equal"
ROUNDING: Final = "the same to rounding"
POOR: Final = "the same but for a poor order of summation"
DIFFERENT: Final = "not the same"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Two outputs: ``verdict`` is one of the four above; ``first`` and ``second`` are what made each, where x is known.

    ``of_bound`` and ``of_typical`` are the largest difference in units of what two honest layers may differ, at most
    and usually; ``last_places`` in units of the last place of the largest number.
    """

    verdict: str
    largest: float
    index: tuple[int, ...]
    values: tuple[float, float]
    last_places: float
    of_bound: float = math.nan
    of_typical: float = math.nan
    where: str = ""
    first: Identified | None = None
    second: Identified | None = None

    @property
    def exit_code(self) -> int:
        """0 where the two are the same, and canonical if that is known; else 1."""
        sides = [one.exit_code for one in (self.first, self.second) if one is not None]
        return int(self.verdict == DIFFERENT or any(sides))

    @property
    def headline(self) -> str:
        """The answer in one sentence."""
        return f"{self.verdict}: {self._who}" if self._who else self.verdict

    @property
    def _who(self) -> str:
        if self.first is None or self.second is None:
            return "" if self.verdict in {EQUAL, ROUNDING} else "give x to find out which of the two is wrong"
        right = [name for name, one in (("y", self.first), ("other", self.second)) if one.verdict == CANONICAL]
        words = {0: "neither is canonical", 2: "both are canonical"}
        return words.get(len(right), f"{''.join(right)} is canonical, {'other' if right == ['y'] else 'y'} is not")

    def as_dict(self) -> dict[str, Any]:
        """The answer as JSON has it; a number that is none is null."""
        sides = {"first": self.first, "second": self.second}
        own = {name: value for name, value in asdict(self).items() if name not in sides}
        found = {name: None if one is None else one.as_dict() for name, one in sides.items()}
        return {"headline": self.headline, **plain(own), **found}

    def __str__(self) -> str:
        return as_text(self.headline, self.rows())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return as_html(self.headline, self.rows())

    def rows(self) -> Iterator[tuple[str, str]]:
        """What is said beside the headline: names and texts."""
        if self.verdict == EQUAL:
            yield "difference", "none: every element is equal"
        else:
            place = ", ".join(map(str, self.index))
            yield "difference", f"at most {self.largest:.2g}, {self.last_places:.2g} last places of the largest number"
            if not math.isnan(self.of_bound):
                typical = f"{self.of_typical:.2g} times the typical difference of two honest layers"
                yield "", f"{typical}, {self.of_bound:.2g} times the largest that is proven"
            yield "worst", f"y[{place}] is {self.values[0]:.9g}, other[{place}] is {self.values[1]:.9g}"
        if self.where:
            yield "where", f"y differs {self.where}"
        for name, one in (("y", self.first), ("other", self.second)):
            if one is not None:
                yield name, one.headline
                yield from (("", f"{words}: {text}" if words else text) for words, text in one.rows())


def compared(first: Given, second: Given) -> Compared:
    """Two outputs of which nothing else is known.

    Raises:
        CannotIdentify: they are of different shapes.
    """
    if first.values.shape != second.values.shape:
        raise CannotIdentify(
            f"y has shape {first.values.shape}, other has {second.values.shape}; allowed: the same; "
            "transpose one of them, such as with np.moveaxis(other, -1, 1)"
        )
    if not first.values.size:
        raise CannotIdentify("y is empty; give outputs that have elements")
    one, other = first.values.astype(np.float64), second.values.astype(np.float64)
    apart = np.abs(one - other)
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(apart)), apart.shape))
    unit = 2.0 ** (1 - min(DIGITS[first.dtype], DIGITS[second.dtype])) * max(float(np.abs(other).max()), 1e-300)
    largest = float(apart[index])
    where = ""
    if largest > _FEW * unit and one.size <= _LOCATED:
        where = located(one, Reference(value=other, bound=np.full(one.shape, _FEW * unit)), 1e-3)
    verdict = EQUAL if largest == 0 else ROUNDING if largest <= _FEW * unit else DIFFERENT
    return Compared(
        verdict=verdict,
        largest=largest,
        index=index,
        values=(float(one[index]), float(other[index])),
        last_places=largest / unit,
        where=where,
    )


@dataclass(frozen=True, kw_only=True)
class Side:
    """What is known of one of the two outputs."""

    array: Array
    found: Explanation
    answer: Identified


def beside(plain_difference: Compared, first: Side, second: Side) -> Compared:
    """The two with what made each, and their difference in units of bounds and of typical errors."""
    trial = first.found.trial
    bounds, index = {True: 0.0, False: -1.0}, plain_difference.index
    arrays = [channels_first(one.array.astype(np.float64, copy=False), trial.layout) for one in (first, second)]
    semantics, arithmetic = first.found.canonical.semantics, first.found.canonical.arithmetic
    for chunk in in_chunks(trial.question, semantics, CHUNK):
        own = [one[chunk.sample : chunk.sample + len(chunk.question.x)][:, chunk.channels] for one in arrays]
        apart = np.abs(own[0] - own[1])
        for typical, so_far in bounds.items():
            expected = predict(chunk.question.case(), semantics, replace(arithmetic, typical=typical)).steps
            if not expected:
                return plain_difference
            with np.errstate(all="ignore"):
                ratio = np.nan_to_num(apart / (2 * expected[0]["output"].bound), posinf=np.inf)
            bounds[typical] = max(so_far, float(ratio.max()))
            if not typical and bounds[typical] > so_far:
                place = tuple(int(i) for i in np.unravel_index(int(np.argmax(ratio)), ratio.shape))
                index = as_given("output", chunk.place_of("output", place), trial.layout)
    verdict = plain_difference.verdict
    if verdict != EQUAL:
        verdict = ROUNDING if bounds[True] <= 1 else POOR if bounds[False] <= 1 else DIFFERENT
    return Compared(
        verdict=verdict,
        largest=plain_difference.largest,
        index=index,
        values=(float(first.array[index]), float(second.array[index])),
        last_places=plain_difference.last_places,
        of_bound=bounds[False],
        of_typical=bounds[True],
        where=plain_difference.where if verdict == DIFFERENT else "",
        first=first.answer,
        second=second.answer,
    )
