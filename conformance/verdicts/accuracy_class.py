"""How accurate an implementation is: its class, its error curves, and what a user must beware of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from normgauge.adapters.case import Array, Case, Step
from normgauge.conformance.diagnosis.candidates import Seen, compare
from normgauge.conformance.layers.registry import kind_of, requirements
from normgauge.conformance.remedies.remedy import Remedy
from normgauge.conformance.requirements.accuracy_curves import LENGTH, RATIO
from normgauge.conformance.verdicts.evidence import Evidence
from normgauge.conformance.verdicts.rounding import typical_errors
from normgauge.oracle import ACCURACY_CLASSES, Arithmetic, Reference
from normgauge.oracle.moments import moments
from normgauge.results.facts import in_two_digits
from normgauge.results.records import Series, SeriesPoint

#: The quantities that curves are drawn of: what a layer gives forward and backward.
DRAWN: Final = ("output", "dx")


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """What was measured: ``name`` is the class, None outside every one; ``computes_in`` names the type.

    ``arithmetic`` is the tightest whose bounds hold, the widest outside every class.
    ``typical`` has the largest error of an output in units of the typical error, by the number of values.
    """

    name: str | None
    arithmetic: Arithmetic
    computes_in: str
    hazards: list[str]
    curves: list[Series]
    typical: dict[str, float]


def accuracy_of(evidence: Evidence, framework: str) -> Accuracy:
    """The accuracy of an implementation, as far as it follows known semantics."""
    measured = accuracy_class(evidence) if evidence.diagnosis.known else None
    arithmetic = measured or evidence.arithmetic
    curves = series_of(evidence, arithmetic, framework) if evidence.diagnosis.known else []
    hazards = hazards_of(measured, curves, evidence) if evidence.diagnosis.known else []
    return Accuracy(
        name=measured.accuracy if measured else None,
        arithmetic=arithmetic,
        computes_in=computes_in(arithmetic),
        hazards=hazards,
        curves=curves,
        typical=typical_errors(evidence, arithmetic) if evidence.diagnosis.known else {},
    )


def computes_in(arithmetic: Arithmetic) -> str:
    return f"{arithmetic.dtype}, held in {arithmetic.held.name}" if arithmetic.stored else arithmetic.dtype


def accuracy_class(evidence: Evidence) -> Arithmetic | None:
    """The tightest arithmetic whose bounds hold on every case: first the precision, then the accuracy class.

    None when not even the widest holds on the diagnosing cases and those of large means and long reductions. Any
    other case that is outside the widest is a divergence of its own, and the class of all the others is still worth
    knowing.
    """
    asked = _classifying(evidence)
    if not any(map(_about_statistics, asked)):
        return None
    widest = evidence.precisions[-1]
    for precision in evidence.precisions:
        for accuracy in ACCURACY_CLASSES:
            arithmetic = replace(precision, accuracy=accuracy)
            if all(
                _holds(one, arithmetic, evidence) or not (_about_statistics(one) or _holds(one, widest, evidence))
                for one in asked
            ):
                return arithmetic
    return None


def _classifying(evidence: Evidence) -> list[Seen]:
    """The cases that a class is found by."""
    misfits = evidence.diagnosis.misfits
    unexplained = {one.probe.requirement for one in misfits}
    kept = [
        one
        for one in evidence.seen
        if one.observation.steps
        and not one.observation.raised
        and not one.probe.measures
        and requirements()[one.probe.requirement].about != "range"
        and one.probe.needs not in unexplained
        and not any(one is misfit for misfit in misfits)
    ]
    return [left for one in kept if (left := evidence.without_known_departures(one)) is not None]


def wider_than(measured: Arithmetic, evidence: Evidence) -> tuple[Arithmetic, ...]:
    """What allows for more than ``measured``, tight to wide; the widest of all where nothing does."""
    precisions = [replace(one, accuracy=measured.accuracy) for one in evidence.precisions]
    rest = evidence.precisions[precisions.index(measured) :]
    every = [replace(one, accuracy=accuracy) for one in rest for accuracy in ACCURACY_CLASSES]
    return tuple(every[every.index(measured) + 1 :]) or (every[-1],)


def _about_statistics(one: Seen) -> bool:
    """Whether the classes are about it: a case of these outside the widest is outside every class."""
    return one.probe.diagnoses or requirements()[one.probe.requirement].about == "statistics"


def _holds(one: Seen, arithmetic: Arithmetic, evidence: Evidence) -> bool:
    prediction = evidence.expected(one.probe.case, evidence.followed[0], arithmetic)
    return compare(one.observation, prediction, one.probe.quantities).ratio <= 1


def hazards_of(measured: Arithmetic | None, found: Sequence[Series], evidence: Evidence) -> list[str]:
    """What costs digits, within the bounds or outside them; ``measured`` is None outside every class."""
    curve = next((one for one in found if (one.axis, one.quantity) == ("ratio", "output")), None)
    if measured is None:
        return [_outside(curve)] if any(map(_about_statistics, _classifying(evidence))) else []
    hazards = []
    if measured.computing.is_half:
        hazards.append(f"sums in {measured.dtype}: the error grows with the number of values")
    if measured.accuracy == "one_pass":
        known = [one.sentence for one in evidence.advice("accuracy=one_pass") if isinstance(one, Remedy)]
        own = evidence.remedies.get("accuracy=one_pass") or "; or ".join(known)
        hazards.append(f"one-pass statistics: {_digits_lost(curve, measured)}{f' ({own})' if own else ''}")
    return hazards


def _digits_lost(curve: Series | None, arithmetic: Arithmetic) -> str:
    """Where half of the digits are lost: as measured, else as the rounding of E[x²] lets expect.

    Inputs of few values in a short type have exact sums. They lose nothing where other inputs of the same mean and
    deviation do.
    """
    estimate = f"{arithmetic.one_pass_limit:,.0f}"
    if curve is None:
        return f"by estimate, inputs can lose half of the digits where |mean| exceeds {estimate} deviations"
    if curve.half_gone_at is not None:
        return (
            f"half of the digits are lost from |mean| = {in_two_digits(curve.half_gone_at)} deviations on, as measured"
        )
    return (
        f"by estimate, inputs can lose half of the digits where |mean| exceeds {estimate} deviations; "
        f"the measured inputs did not, up to {in_two_digits(curve.points[-1].at)}"
    )


def _outside(curve: Series | None) -> str:
    """What an implementation outside every class does to outputs, as measured."""
    said = ["outside every accuracy class: some errors exceed the bound of one-pass statistics"]
    if curve and curve.half_gone_at is not None:
        said.append(f"half of the digits are lost from |mean| = {in_two_digits(curve.half_gone_at)} deviations on")
    lost = next((point.at for point in curve.points if point.error is None), None) if curve else None
    if lost is not None:
        said.append(f"outputs are NaN or infinite at {in_two_digits(lost)} deviations")
    return "; ".join(said)


def series_of(evidence: Evidence, arithmetic: Arithmetic, framework: str) -> list[Series]:
    """A curve for each axis and quantity that something was observed on, beside the bounds of ``arithmetic``."""
    found = []
    for axis in (RATIO, LENGTH):
        points = [
            pair
            for one in evidence.seen
            if one.probe.curve == axis
            for pair in _points(one, axis, evidence, arithmetic)
        ]
        for quantity in DRAWN:
            own = sorted((point for name, point in points if name == quantity), key=lambda point: point.at)
            if own:
                found.append(_series(own, axis, quantity, evidence, arithmetic, framework))
    return found


def _series(
    own: Sequence[SeriesPoint], axis: str, quantity: str, evidence: Evidence, arithmetic: Arithmetic, framework: str
) -> Series:
    half = arithmetic.half_of_digits
    gone = (point.at for point in own if point.error is None or point.error >= half)
    return Series(
        implementation=evidence.implementation,
        framework=framework,
        dtype=evidence.dtype,
        computes_in=computes_in(arithmetic),
        quantity=quantity,
        axis="ratio" if axis == RATIO else "n",
        classes=list(ACCURACY_CLASSES),
        half=half,
        half_gone_at=next(gone, None),
        points=list(own),
    )


def _points(one: Seen, axis: str, evidence: Evidence, arithmetic: Arithmetic) -> Iterator[tuple[str, SeriesPoint]]:
    """For each step of a case and each quantity drawn, the point; where nothing was observed, none."""
    case = one.probe.case
    if not one.observation.steps:
        return
    classes = [replace(arithmetic, accuracy=accuracy) for accuracy in ACCURACY_CLASSES]
    ways = [*classes, replace(arithmetic, typical=True)]
    in_class = [evidence.expected(case, evidence.followed[0], own).steps for own in ways]
    for step, seen, *expected in zip(case.steps, one.observation.steps, *in_class, strict=False):
        at = _place(case, step, axis)
        for quantity in DRAWN:
            actual = seen.quantities.get(quantity)
            if at <= 0 or actual is None or quantity not in one.probe.quantities:
                continue
            references = [own[quantity] for own in expected]
            if actual.shape == references[0].value.shape and np.any(references[0].value):
                yield quantity, _point(at, actual, references)


def _point(at: float, actual: Array, beside: Sequence[Reference]) -> SeriesPoint:
    """The point for what came out ``beside`` the references of each class and, last, the typical one."""
    *references, typical = beside
    exact = references[0].value
    unit = np.max(np.abs(exact))
    with np.errstate(all="ignore"):
        error = np.max(np.abs(actual.astype(np.float64) - exact)) / unit
        bounds = [np.max(reference.bound) / unit for reference in references]
    held = (name for name, own in zip(ACCURACY_CLASSES, references, strict=True) if not own.excludes(actual))
    return SeriesPoint(
        at=at,
        error=_number(error),
        bounds=[_number(bound) for bound in bounds],
        holds=next(held, None),
        typical=_number(float(typical.ratio(actual).max())),
    )


def _number(value: float) -> float | None:
    """``value`` with as many digits as a curve can show; None for what is not finite."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _place(case: Case, step: Step, axis: str) -> float:
    if axis == LENGTH:
        return kind_of(case.layer).values_per_set(step.x.shape, case.settings.get("num_groups", 1))
    whole = moments(step.x.astype(np.float64).reshape(1, -1), compensated=True)
    mean, deviation = abs(whole.mean.item() + whole.mean_tail.item()), math.sqrt(whole.var.item())
    return float(f"{mean / deviation:.4g}") if deviation else 0.0
