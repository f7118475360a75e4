"""Which values of a setting an observation allows."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from normgauge.conformance.diagnosis.candidates import SHOWN_IN, Seen, compare
from normgauge.conformance.diagnosis.predictions import Prediction
from normgauge.conformance.diagnosis.references import References
from normgauge.oracle import Arithmetic, Semantics


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
