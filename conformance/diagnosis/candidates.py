"""Which semantics an implementation follows: every candidate against every observation.

A candidate is excluded when any element of any observation lies outside value ± bound of the widest
accuracy class. All points of the product of the axes are candidates, so one choice never hides another.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from normgauge.adapters.case import PARAMETERS, Case, Observation
from normgauge.conformance.diagnosis.predictions import Prediction, predict_as_given
from normgauge.conformance.diagnosis.references import References
from normgauge.conformance.layers.registry import kind_of
from normgauge.conformance.requirements.probe import QUANTITIES, Probe
from normgauge.oracle import Arithmetic, Reference, Semantics, fewer_digits, precisions

Scores = NDArray[np.float64]
NO_MISTAKES: Final[Mapping[str, str]] = {}

#: A margin in bounds that leaves no doubt to a reader either; exclusion itself needs more than 1.
CLEAR: Final = 10.0
#: What a setting shows in; what else went wrong belongs to other requirements.
SHOWN_IN: Final[Mapping[str, tuple[str, ...]]] = {"eps": ("output",), "momentum": ("running_mean", "running_var")}


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """The element of an observation that lies furthest from a prediction, in units of the bound.

    ``of_rounded`` is as in the prediction.
    """

    ratio: float
    step: int = 0
    quantity: str = ""
    index: tuple[int, ...] = ()
    observed: float = math.nan
    expected: float = math.nan
    bound: float = math.nan
    what: str = ""
    of_rounded: tuple[Semantics, Arithmetic] | None = None


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A probe with what was observed on it."""

    probe: Probe
    observation: Observation


def compare(observation: Observation, prediction: Prediction, quantities: Sequence[str] = QUANTITIES) -> Deviation:
    """The worst deviation of ``observation`` from ``prediction``; a ratio above 1 excludes it.

    An observation that ended in an exception is compared up to there; one that ended the process,
    or says that the framework cannot be asked, excludes nothing.
    """
    if observation.died or observation.unsupported:
        return Deviation(ratio=0.0)
    worst = Deviation(ratio=0.0)
    for number, (seen, expected) in enumerate(zip(observation.steps, prediction.steps, strict=False), start=1):
        shown = seen.quantities
        for quantity, reference in expected.items():
            if quantity in quantities and (actual := shown.get(quantity)) is not None:
                worst = _worse(worst, number, quantity, actual, reference)
    if prediction.refused is not None and observation.raised is None:
        what = "accepted; a refusal was expected"
        return Deviation(ratio=math.inf, step=len(prediction.steps) + 1, quantity="output", what=what)
    return worst if prediction.of_rounded is None else replace(worst, of_rounded=prediction.of_rounded)


def as_given(deviation: Deviation, case: Case) -> Deviation:
    """The deviation of the element from the exact value at the inputs of ``case`` as they are.

    A layer that computes in a narrower type is held to its inputs rounded to that type. The bound becomes larger by
    what the rounding moves the exact value, so that whatever lay within it still does. What would then be excluded no
    more stays as it is, with its ``of_rounded``.
    """
    if deviation.of_rounded is None:
        return deviation
    if deviation.what or not deviation.step or not math.isfinite(deviation.expected):
        return replace(deviation, of_rounded=None)
    exact = predict_as_given(case, *deviation.of_rounded)
    if len(exact.steps) < deviation.step:
        return deviation
    expected = float(exact.steps[deviation.step - 1][deviation.quantity].value[deviation.index])
    bound = deviation.bound + abs(expected - deviation.expected)
    apart = abs(deviation.observed - expected)
    ratio = apart / bound if bound and math.isfinite(apart) else deviation.ratio
    if not math.isfinite(expected) or (ratio <= 1 < deviation.ratio):
        return deviation
    return replace(deviation, ratio=ratio, expected=expected, bound=bound, of_rounded=None)


def _worse(worst: Deviation, step: int, quantity: str, actual: NDArray[Any], reference: Reference) -> Deviation:
    """The largest deviation of ``actual`` where it is larger than ``worst``, else that."""
    if actual.shape != reference.value.shape:
        what = f"has shape {actual.shape}, expected {reference.value.shape}"
        other_shape = Deviation(ratio=math.inf, step=step, quantity=quantity, what=what)
        return max(worst, other_shape, key=lambda one: one.ratio)
    if actual.size == 0:
        return worst
    ratios = reference.ratio(actual)
    place = int(ratios.argmax())
    if ratios.flat[place] <= worst.ratio:  # most: nothing is told of them
        return worst
    index = tuple(int(i) for i in np.unravel_index(place, ratios.shape))
    trained = quantity == "trainable"
    return Deviation(
        ratio=float(ratios[index]),
        step=step,
        quantity=quantity,
        index=index,
        observed=float(actual[index]),
        expected=float(reference.value[index]),
        bound=float(reference.bound[index]),
        what=_TRAINED[bool(actual[index])].format(PARAMETERS[index[0]]) if trained else "",
    )


_TRAINED: Final = {True: "{} is trainable", False: "{} is not trainable"}


def score(
    seen: Seen,
    arithmetic: Arithmetic,
    references: References,
    excluded: NDArray[np.bool_] | None = None,
    mistakes: Mapping[str, str] = NO_MISTAKES,
    quantities: Sequence[str] = QUANTITIES,
) -> Scores:
    """The worst ratio of every candidate on one probe: an array over the product of the axes.

    The oracle runs once for each combination of the choices that it really read; all candidates that
    agree on those share the result. What is ``excluded`` already need not be evaluated, and is infinite then.
    All candidates have the ``mistakes``, whatever the product says on these axes.
    """
    kind = kind_of(seen.probe.case.layer)
    ratios = np.full(kind.sizes, np.inf)
    left = np.ones(kind.sizes, dtype=bool) if excluded is None else ~excluded
    refusals = np.zeros(ratios.shape, dtype=bool)
    while left.flat[place := int(left.argmax())]:
        first = tuple(int(i) for i in np.unravel_index(place, kind.sizes))
        read: set[str] = set()
        candidate = replace(kind.at(first, mistakes), read=read)
        prediction = references.predict(seen.probe.case, candidate, arithmetic)
        deviation = compare(seen.observation, prediction, quantities)
        alike = tuple(i if axis.name in read else slice(None) for axis, i in zip(kind.axes, first, strict=True))
        ratios[alike], left[alike] = deviation.ratio, False
        refusals[alike] = prediction.refused is not None
    if seen.observation.raised is not None and refusals.any():
        # Some candidate foresees a refusal here, so an exception speaks against those that do not.
        ratios = np.where(refusals, ratios, np.inf)
    return ratios


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What survived. ``scores`` has one array for each diagnosing probe, over the product of the axes.

    ``misfits`` are special cases (one value per channel, momentum None, ...) that no candidate explains
    beside the others; they were left out, so that they put nothing in doubt but their own requirement.
    All survivors have the ``mistakes``; ``also`` has semantics with other mistakes, no more of them, that fit as well.
    """

    layer: str
    seen: tuple[Seen, ...]
    scores: tuple[Scores, ...]
    survivors: NDArray[np.bool_]
    arithmetic: Arithmetic
    misfits: tuple[Seen, ...] = ()
    mistakes: Mapping[str, str] = field(default_factory=dict)
    also: tuple[Semantics, ...] = ()

    @property
    def values(self) -> dict[str, tuple[str, ...]]:
        """For every axis the values that some survivor has (of the nearest candidate if none survived)."""
        index = np.argwhere(self.survivors) if self.survivors.any() else [self._nearest_index()]
        found = {
            axis.name: tuple(axis.names[i] for i in sorted({int(point[position]) for point in index}))
            for position, axis in enumerate(kind_of(self.layer).axes)
        }
        found |= {axis: (value,) for axis, value in self.mistakes.items()}
        for other in self.also:
            found |= {axis: tuple(dict.fromkeys((*own, other.choices[axis]))) for axis, own in found.items()}
        return found

    @property
    def known(self) -> bool:
        """Whether any candidate survived."""
        return bool(self.survivors.any())

    def _nearest_index(self) -> tuple[int, ...]:
        """The candidate excluded by the fewest probes, then by the smallest margins."""
        stack = np.stack(self.scores)
        excluded = (stack > 1).sum(axis=0).astype(float)
        margin = np.log10(np.minimum(np.maximum(stack, 1e-300), 1e300)).sum(axis=0)
        order = np.lexsort([margin.ravel(), excluded.ravel()])
        return tuple(int(i) for i in np.unravel_index(int(order[0]), excluded.shape))

    def followed(self) -> list[Semantics]:
        """The surviving candidates that tell apart what can be told apart; the nearest if none survived.

        Survivors differ only where nothing was observed, so one of each axis's values is enough: the
        first survivor, and each variation of it along one axis.
        """
        kind = kind_of(self.layer)
        if not self.known:
            points = [self._nearest_index()]
        else:
            points = [tuple(int(i) for i in np.argwhere(self.survivors)[0])]
            for position, axis in enumerate(kind.axes):
                for i in range(len(axis.values)):
                    varied = (*points[0][:position], i, *points[0][position + 1 :])
                    if self.survivors[varied] and varied not in points:
                        points.append(varied)
        return [*(kind.at(point, self.mistakes) for point in points), *self.also]

    def against(self, axis_name: str, value: str, references: References) -> tuple[Seen, float] | None:
        """The first probe that speaks clearly against ``value`` on an axis, all else as followed, and its ratio.

        Probes stand in order, the plain ones before the degenerate ones; the loudest speaks if none is clear.
        """
        followed, kind = self.followed()[0], kind_of(self.layer)
        other = Semantics(layer=self.layer, choices={**followed.choices, axis_name: value})
        if self.mistakes or value not in kind.axis(axis_name).names:
            best: tuple[Seen, float] | None = None
            for one in self.seen:
                ratio = compare(one.observation, references.predict(one.probe.case, other, self.arithmetic)).ratio
                if ratio > 1 and (best is None or ratio > best[1]):
                    best = (one, ratio)
                if ratio > CLEAR:
                    break
            return best
        ratios = [scores[kind.point_of(other)] for scores in self.scores]
        found = next((i for i, ratio in enumerate(ratios) if ratio > CLEAR), int(np.argmax(ratios)))
        return (self.seen[found], float(ratios[found])) if ratios[found] > 1 else None


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Which candidates are looked at: all with these ``mistakes``, without those ``excluded``.

    Special probes that fit none of them may be left out, or not.
    """

    mistakes: Mapping[str, str] = field(default_factory=dict)
    excluded: NDArray[np.bool_] | None = None
    leave_out: bool = True


ALL_SHIPPED: Final = Candidates()


def fitting(
    layer: str, asked: Sequence[Seen], arithmetic: Arithmetic, references: References, among: Candidates = ALL_SHIPPED
) -> Diagnosis | None:
    """The diagnosis where a candidate survives, with as few special probes left out as can be; else None."""
    special = [number for number, one in enumerate(asked) if one.probe.special] if among.leave_out else []
    scores = _scores(layer, asked, arithmetic, references, among)
    if scores is None:
        return None
    for count in range(len(special) + 1):
        for left_out in itertools.combinations(special, count):
            kept = [own for number, own in enumerate(scores) if number not in left_out]
            survivors = functools.reduce(np.maximum, kept, np.zeros(kind_of(layer).sizes)) <= 1
            if among.excluded is not None:
                survivors &= ~among.excluded
            if survivors.any():
                misfits = tuple(asked[number] for number in left_out)
                return Diagnosis(
                    layer=layer,
                    seen=tuple(one for one in asked if one not in misfits),
                    scores=tuple(kept),
                    survivors=survivors,
                    arithmetic=arithmetic,
                    misfits=misfits,
                    mistakes=among.mistakes,
                )
    return None


def _scores(
    layer: str, asked: Sequence[Seen], arithmetic: Arithmetic, references: References, among: Candidates
) -> list[Scores] | None:
    """Those of every probe, without the candidates that a probe that counts before it has clearly excluded.

    None as soon as probes that count have excluded all.
    """
    scores: list[Scores] = []
    excluded = np.zeros(kind_of(layer).sizes, dtype=bool) if among.excluded is None else among.excluded.copy()
    fits = ~excluded
    for one in asked:
        scores.append(score(one, arithmetic, references, excluded, among.mistakes))
        if not (one.probe.special and among.leave_out):
            excluded |= scores[-1] > CLEAR
            fits &= scores[-1] <= 1
            if not fits.any():
                return None
    return scores


def allowed(arithmetic: Arithmetic, dtype: str) -> tuple[Arithmetic, ...]:
    """What an implementation found to compute in ``arithmetic`` may compute in elsewhere, tight to wide.

    In half precision it is free to sum in its own type; float64 computed in float32 is another matter. What has fewer
    digits on the way than float32 may have less range, too.
    """
    if arithmetic.intermediates is not None:
        ladder = fewer_digits(dtype)
        found = ladder.index(arithmetic)
        return tuple(one for one in ladder[found:] if one.held.digits == arithmetic.held.digits)
    ladder = precisions(dtype)
    return ladder[ladder.index(arithmetic) :] if arithmetic.result.is_half else (arithmetic,)
