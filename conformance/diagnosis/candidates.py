"""Which semantics an implementation follows: every candidate against every observation.

A candidate is excluded when any element of any observation lies outside value ± bound of the widest
accuracy class. All points of the product of the axes are candidates, so one choice never hides another.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from normgauge.adapters.case import PARAMETERS, Case, Observation
from normgauge.conformance.diagnosis.predictions import Prediction, predict_as_given
from normgauge.conformance.diagnosis.references import References
from normgauge.conformance.layers.registry import kind_of
from normgauge.conformance.requirements.probe import QUANTITIES, Probe
from normgauge.oracle import Arithmetic, Reference, Semantics, precisions

Scores = NDArray[np.float64]

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
    place = int(np.argmax(ratios))
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
    seen: Seen, arithmetic: Arithmetic, references: References, excluded: NDArray[np.bool_] | None = None
) -> Scores:
    """The worst ratio of every candidate on one probe: an array over the product of the axes.

    The oracle runs once for each combination of the choices that it really read; all candidates that
    agree on those share the result. What is ``excluded`` already need not be evaluated, and is infinite then.
    """
    kind = kind_of(seen.probe.case.layer)
    ratios = np.full(kind.sizes, np.nan)
    if excluded is not None:
        ratios[excluded] = np.inf
    refusals = np.zeros(ratios.shape, dtype=bool)
    while np.isnan(ratios).any():
        first = tuple(int(i) for i in np.argwhere(np.isnan(ratios))[0])
        read: set[str] = set()
        candidate = replace(kind.at(first), read=read)
        prediction = references.predict(seen.probe.case, candidate, arithmetic)
        deviation = compare(seen.observation, prediction)
        alike = tuple(i if axis.name in read else slice(None) for axis, i in zip(kind.axes, first, strict=True))
        ratios[alike] = deviation.ratio
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
    """

    layer: str
    seen: tuple[Seen, ...]
    scores: tuple[Scores, ...]
    survivors: NDArray[np.bool_]
    arithmetic: Arithmetic
    misfits: tuple[Seen, ...] = ()

    @property
    def values(self) -> dict[str, tuple[str, ...]]:
        """For every axis the values that some survivor has (of the nearest candidate if none survived)."""
        index = np.argwhere(self.survivors) if self.survivors.any() else [self._nearest_index()]
        return {
            axis.name: tuple(axis.names[i] for i in sorted({int(point[position]) for point in index}))
            for position, axis in enumerate(kind_of(self.layer).axes)
        }

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
        return [kind.at(point) for point in points]

    def against(self, axis_name: str, value: str) -> tuple[Seen, float] | None:
        """The first probe that speaks clearly against ``value`` on an axis, all else as followed, and its ratio.

        Probes stand in order, the plain ones before the degenerate ones; the loudest speaks if none is clear.
        """
        followed = self.followed()[0]
        other = Semantics(layer=self.layer, choices={**followed.choices, axis_name: value})
        ratios = [scores[kind_of(self.layer).point_of(other)] for scores in self.scores]
        best = next((i for i, ratio in enumerate(ratios) if ratio > CLEAR), int(np.argmax(ratios)))
        return (self.seen[best], float(ratios[best])) if ratios[best] > 1 else None


def diagnose(layer: str, seen: Sequence[Seen], dtype: str, references: References) -> Diagnosis:
    """The joint diagnosis of all diagnosing probes in ``seen``.

    Where nothing survives the bounds of float64, those of float32 are tried: an implementation that
    takes float64 and computes in float32 follows its semantics all the same. So with half precision, which may
    be summed in float32 or in itself.
    """
    asked = tuple(one for one in seen if one.probe.diagnoses)
    if found := explained(layer, asked, dtype, references):
        return found
    arithmetic, shape = Arithmetic(dtype), kind_of(layer).sizes
    scores = tuple(score(one, arithmetic, references) for one in asked)
    return Diagnosis(layer=layer, seen=asked, scores=scores, survivors=np.zeros(shape, bool), arithmetic=arithmetic)


def explained(layer: str, asked: Sequence[Seen], dtype: str, references: References) -> Diagnosis | None:
    """The diagnosis of these probes where a candidate survives, special ones left out if need be; else None."""
    special = [number for number, one in enumerate(asked) if one.probe.special]
    shape = kind_of(layer).sizes
    for arithmetic in precisions(dtype):
        scores = _scores(layer, asked, arithmetic, references)
        for count in range(len(special) + 1):
            for left_out in itertools.combinations(special, count):
                kept = [own for number, own in enumerate(scores) if number not in left_out]
                survivors = functools.reduce(np.maximum, kept, np.zeros(shape)) <= 1
                if survivors.any():
                    misfits = tuple(asked[number] for number in left_out)
                    used = tuple(one for one in asked if one not in misfits)
                    return Diagnosis(
                        layer=layer,
                        seen=used,
                        scores=tuple(kept),
                        survivors=survivors,
                        arithmetic=arithmetic,
                        misfits=misfits,
                    )
    return None


def _scores(layer: str, asked: Sequence[Seen], arithmetic: Arithmetic, references: References) -> list[Scores]:
    """Those of every probe, without the candidates that a plain probe before it has clearly excluded."""
    scores: list[Scores] = []
    excluded: NDArray[np.bool_] = np.zeros(kind_of(layer).sizes, dtype=bool)
    for one in asked:
        scores.append(score(one, arithmetic, references, excluded))
        if not one.probe.special:
            excluded |= scores[-1] > CLEAR
    return scores


@dataclass(frozen=True, kw_only=True)
class Interval:
    """The values of a setting that the observation allows; ``best`` explains it most closely."""

    low: float
    best: float
    high: float


#: Where a setting is looked for, as a decimal logarithm.
_SEARCH: Final = {"eps": (-16.0, 1.0), "momentum": (-6.0, 0.0)}


def measured_setting(
    seen: Seen, followed: Semantics, setting: str, arithmetic: Arithmetic, references: References
) -> Interval | None:
    """The interval of ``setting`` within which the observation agrees with the followed semantics.

    A scan over the logarithm finds the neighbourhood, golden-section search a value within the bounds, regula falsi
    where the ratio crosses 1 on either side, and golden-section search between them the closest value. None when no
    value agrees, or when the bounds of one that does are infinite: then nothing was measured.
    """
    if not seen.observation.steps or seen.observation.raised:
        return None
    case = seen.probe.case
    bare = {name: value for name, value in case.settings.items() if name != setting}

    def predicted(exponent: float) -> Prediction:
        trial = replace(case, settings=bare | {setting: 10.0**exponent})
        return references.predict(trial, followed, arithmetic)

    @functools.cache
    def ratio(exponent: float) -> float:
        return compare(seen.observation, predicted(exponent), SHOWN_IN[setting]).ratio

    def unbounded(exponent: float) -> bool:
        shown = (step[name] for step in predicted(exponent).steps for name in SHOWN_IN[setting] if name in step)
        return not any(reference.says_something().any() for reference in shown)

    grid = [float(point) for point in np.linspace(*_SEARCH[setting], 43)]
    nearest = min(grid, key=ratio)
    left = max((point for point in grid if point < nearest and ratio(point) > 1), default=grid[0])
    right = min((point for point in grid if point > nearest and ratio(point) > 1), default=grid[-1])
    inside = _golden(ratio, left, right, steps=70, enough=1.0)
    if ratio(inside) > 1:
        return None
    left, right = (_crossing(ratio, inside, end) for end in (left, right))
    best = _golden(ratio, left, right, steps=20)
    if any(unbounded(exponent) for exponent in (left, best, right)):
        return None
    return Interval(low=10.0**left, best=10.0**best, high=10.0**right)


def _golden(function: Callable[[float], float], left: float, right: float, *, steps: int, enough: float = 0.0) -> float:
    """The minimum of a unimodal function (golden-section search), or the first place where it is low enough."""
    share = (math.sqrt(5) - 1) / 2
    inner_left, inner_right = right - share * (right - left), left + share * (right - left)
    for _ in range(steps):
        at_left, at_right = function(inner_left), function(inner_right)
        if min(at_left, at_right) <= enough:
            break
        if at_left <= at_right:
            right, inner_right = inner_right, inner_left
            inner_left = right - share * (right - left)
        else:
            left, inner_left = inner_left, inner_right
            inner_right = left + share * (right - left)
    return min(inner_left, inner_right, key=function)


def _crossing(function: Callable[[float], float], inside: float, outside: float, steps: int = 60) -> float:
    """Where the function passes 1, to a thousandth, between a point with at most 1 and one above (or the end).

    Regula falsi (Illinois: the end that stays has its value halved), as the function is nearly linear there.
    """
    at_inside, at_outside = function(inside) - 1, function(outside) - 1
    if at_outside <= 0:
        return outside
    stayed = ""
    for _ in range(steps):
        if at_inside > -1e-3:
            break
        share = at_inside / (at_inside - at_outside) if math.isfinite(at_outside) else 0.5
        middle = inside + share * (outside - inside)
        value = function(middle) - 1
        if value <= 0:
            inside, at_inside = middle, value
            at_outside /= 2 if stayed == "outside" else 1
            stayed = "outside"
        else:
            outside, at_outside = middle, value
            at_inside /= 2 if stayed == "inside" else 1
            stayed = "inside"
    return inside


def allowed(arithmetic: Arithmetic, dtype: str) -> tuple[Arithmetic, ...]:
    """What an implementation found to compute in ``arithmetic`` may compute in elsewhere, tight to wide.

    In half precision it is free to sum in its own type; float64 computed in float32 is another matter.
    """
    ladder = precisions(dtype)
    return ladder[ladder.index(arithmetic) :] if arithmetic.result.is_half else (arithmetic,)
