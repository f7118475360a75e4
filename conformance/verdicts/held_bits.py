"""How many bits hold of results that depart, and the step whose rounding explains them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from normgauge.conformance.diagnosis.candidates import Seen, compare
from normgauge.conformance.verdicts.evidence import Evidence
from normgauge.conformance.verdicts.in_common import ordinary_cases
from normgauge.oracle import Arithmetic, RoundedStep

#: What a rounded step is looked for in: gradients follow from these.
FORWARD: Final = ("output", "running_mean", "running_var")
#: The formats that a step may be rounded to, by the type of the layer, and how a format is told.
_FORMATS: Final = {"float32": ("tf32", "bfloat16", "float16"), "float64": ("float32",)}
_TOLD: Final = {
    "tf32": "11 bits, as TF32 and float16 have",
    "float16": "11 bits and the range of float16",
    "bfloat16": "8 bits, as bfloat16 has",
    "float32": "24 bits, as float32 has",
}
#: A step as the object of "rounds".
_STEPS: Final = {
    "x": "x",
    "terms": "the terms of the mean",
    "mean": "the mean",
    "mean_alone": "the mean",
    "squares": "the terms of the variance",
    "var": "the variance",
    "statistics": "mean and variance",
    "reciprocal": "the reciprocal deviation",
    "x_hat": "the normalised value",
    "affine": "weight and bias",
    "output": "the output",
}
#: More steps than that, each of which explains as much, explain nothing.
_MOST_STEPS: Final = 2
#: Of cases that do not depart, the size up to which they must be explained, too.
LARGE: Final = 2**12


@dataclass(frozen=True, kw_only=True)
class Bits:
    """The bits that hold in calls that depart: in the worst call, and in half of the calls."""

    least: int
    median: int
    calls: int

    def __str__(self) -> str:
        if self.calls == 1:
            return f"{self.median} bits hold in the call that departs"
        return f"{self.median} bits hold in half of the {self.calls} calls that depart, {self.least} in the worst"


def rounded_step(evidence: Evidence) -> str:
    """What one step does that explains every departure of output and running statistics; empty where none does.

    As in "rounds the mean to 11 bits, as TF32 and float16 have". Two steps that explain as much are both named.
    """
    if "rounded_step" not in evidence.found:
        evidence.found["rounded_step"] = _rounded_step(evidence)
    return evidence.found["rounded_step"]


def bits_that_hold(evidence: Evidence, quantity: str, arithmetic: Arithmetic) -> Bits | None:
    """Those of ``quantity`` where it departs from ``arithmetic``; None where that is nowhere, or half have no bit."""
    held = [bits for one in ordinary_cases(evidence) for bits in _of_case(one, quantity, evidence, arithmetic)]
    if not held or np.median(held) < 1:
        return None
    return Bits(least=max(math.floor(min(held)), 0), median=math.floor(float(np.median(held))), calls=len(held))


def _of_case(one: Seen, quantity: str, evidence: Evidence, arithmetic: Arithmetic) -> Iterator[float]:
    """-log2 of the largest error of each call that departs, as a part of its largest value."""
    expected = evidence.expected(one.probe.case, evidence.followed[0], arithmetic)
    for seen, step in zip(one.observation.steps, expected.steps, strict=False):
        actual, reference = seen.quantities.get(quantity), step.get(quantity)
        if actual is None or reference is None or actual.shape != reference.value.shape:
            continue
        if not reference.excludes(actual):
            continue
        told = reference.says_something() & np.isfinite(reference.value)
        with np.errstate(all="ignore"):
            size = float(np.max(np.abs(reference.value[told]), initial=0.0))
            error = float(np.max(np.abs(actual[told] - reference.value[told]), initial=0.0))
            yield -math.log2(error / size) if 0 < error < math.inf and size else 0.0


def _rounded_step(evidence: Evidence) -> str:
    formats = _FORMATS.get(evidence.dtype)
    if formats is None or not evidence.diagnosis.known:
        return ""
    departing, holding = _sorted_cases(evidence)
    if not departing:
        return ""
    found: dict[str, dict[str, None]] = {}
    for step in _STEPS:
        for form in formats:
            arithmetic = Arithmetic(evidence.dtype, rounded_step=RoundedStep(step=step, form=form))
            if _explains(arithmetic, departing, holding, evidence):
                found.setdefault(form, {})[_STEPS[step]] = None
                break  # float16 has the digits of TF32, and less range
    if not 0 < sum(map(len, found.values())) <= _MOST_STEPS:
        return ""
    return " or ".join(f"rounds {' or '.join(own)} to {_TOLD[form]}" for form, own in found.items())


def _sorted_cases(evidence: Evidence) -> tuple[list[Seen], list[Seen]]:
    """The cases that depart from what is followed, and those of no great size that do not; without gradients."""
    honoured, departing, holding = Arithmetic(evidence.dtype), list[Seen](), list[Seen]()
    for one in sorted(map(_forward, ordinary_cases(evidence)), key=_size):
        if _ratio(one, honoured, evidence) > 1:
            departing.append(one)
        elif _size(one) <= LARGE:
            holding.append(one)
    return departing, holding


def _forward(one: Seen) -> Seen:
    """Without gradients, which a reference of a rounded step does not have."""
    steps = tuple(replace(step, dy=None) for step in one.probe.case.steps)
    return Seen(probe=replace(one.probe, case=replace(one.probe.case, steps=steps)), observation=one.observation)


def _size(one: Seen) -> int:
    return sum(step.x.size for step in one.probe.case.steps)


def _ratio(one: Seen, arithmetic: Arithmetic, evidence: Evidence) -> float:
    prediction = evidence.expected(one.probe.case, evidence.followed[0], arithmetic)
    return compare(one.observation, prediction, FORWARD).ratio


def _explains(arithmetic: Arithmetic, departing: Sequence[Seen], holding: Sequence[Seen], evidence: Evidence) -> bool:
    """Whether all cases lie within the bounds, and most that depart where these say something of every element."""
    small = [one for one in departing if _size(one) <= LARGE]  # the cheapest that may exclude it come first
    if any(_ratio(one, arithmetic, evidence) > 1 for one in (*small, *holding, *departing[len(small) :])):
        return False
    telling = 0
    for one in departing:
        steps = evidence.expected(one.probe.case, evidence.followed[0], arithmetic).steps
        telling += all(reference.says_something().all() for step in steps for reference in step.values())
    return 2 * telling > len(departing)
