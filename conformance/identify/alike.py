"""What these arrays cannot tell apart: other values of an axis that explain them to rounding as well."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from normgauge.conformance.diagnosis.predictions import Prediction, predict
from normgauge.conformance.identify.fits import Fit
from normgauge.conformance.identify.parts import Needs, Place, needs, part_for
from normgauge.conformance.identify.question import Question
from normgauge.oracle import Axis, Semantics

#: Elements up to which all values are tried on everything; and up to which mistakes are tried at all.
_EVERYTHING: Final = 2**13
_MISTAKES: Final = 2**16
#: Axes whose mistakes cost little more than the canonical formula.
_CHEAP: Final = ("eps_value",)
#: What an input needs to tell the values of an axis apart.
_ADVICE: Final = {
    "eps_placement": "use an input whose standard deviation is about {deviation:.1g}",
    "eps_value": "use an input whose standard deviation is about {deviation:.1g}",
    "variance": "use 4 to 16 values per set",
    "grouping": "use channels with different means and deviations",
    "normalized_together": "use samples and positions with different means and deviations",
    "affine_shape": "use a weight and a bias that differ in every channel",
    "affine": "use a weight and a bias that differ in every channel, in size and in sign",
    "centre": "use an input whose mean is about as large as its deviation",
    "followed_by": "use a bias with which many outputs are below 0",
    "running_var": "use a batch of few values per channel, such as 4",
    "momentum_weighs": "use a momentum that is not 0.5",
    "momentum_value": "use a momentum such as 0.3",
    "eval_reads": "use running statistics that are not 0 and 1",
    "updates": "use running statistics that are not 0 and 1, and several samples",
    "bootstrap": "use running statistics that are not 0 and 1",
    "training_normalizes_with": "use running statistics far from those of the batch",
}
#: How far apart equal numbers may lie that are computed in two ways in float64, as a part of the largest.
_SAME: Final = 1e-12
_OTHER_ADVICE: Final = "use a small input, of 4 to 16 values per set"


def not_told_apart(fit: Fit, place: Place) -> Iterator[str]:
    """For each axis the values that fit as well, and which input would tell them apart.

    Values with which every number is the same are another word for the same thing, and are left out.
    """
    whole = fit.trial.question
    part = whole if whole.x.size <= _EVERYTHING else part_for(whole, place, Needs.OWN_SET, small=_EVERYTHING)
    usual = replace(fit.held.arithmetic, typical=True)
    own = predict(part.case(), fit.semantics, usual)
    free = {f"{name}_value" for name in fit.trial.open}
    for axis in part.kind.axes:
        if axis.name in free or fit.semantics.choices[axis.name] != axis.canonical:
            continue
        others = [
            axis.value(value).meaning
            for value in _values(axis, part, whole)
            if _explains(part, own, predict(part.case(), _with(fit.semantics, axis.name, value), usual))
        ]
        if others:
            advice = _ADVICE.get(axis.name, _OTHER_ADVICE).format(deviation=math.sqrt(abs(part.settings["eps"])) or 1)
            known = axis.value(axis.canonical).meaning
            yield f"{axis.question}: {known}; or {'; or '.join(others)}; to tell them apart {advice}"


def _values(axis: Axis, part: Question, whole: Question) -> Iterator[str]:
    """The values that are tried on this part; rare mistakes are not."""
    for number, value in enumerate((axis.values + axis.mistakes)[1:], start=1):
        is_mistake = number >= len(axis.values)
        if is_mistake and part.x.size > _MISTAKES and axis.name not in _CHEAP:
            continue
        interleaved = (axis.name, value.name) == ("grouping", "interleaved")
        if part is whole or (needs(axis.name, value.name) is Needs.OWN_SET and not interleaved):
            yield value.name


def _with(semantics: Semantics, axis: str, value: str) -> Semantics:
    return Semantics(layer=semantics.layer, choices={**semantics.choices, axis: value})


def _explains(part: Question, own: Prediction, other: Prediction) -> bool:
    """Whether the other prediction explains everything to rounding, and is not the same."""
    if other.refused is not None or not other.steps:
        return False
    same = True
    for quantity, reference in other.steps[0].items():
        if quantity not in part.observed:
            continue
        if np.any(reference.ratio(part.observed[quantity]) > 1) or not np.isfinite(reference.bound).any():
            return False
        right = own.steps[0][quantity].value
        same = same and bool(np.all(np.abs(reference.value - right) <= _SAME * np.abs(right).max(initial=0.0)))
    return not same
