"""From a case to the oracle's references, one for each thing a step can show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from normgauge.adapters.case import Array, Case, Observation, Step
from normgauge.conformance.layers.registry import kind_of
from normgauge.oracle import ACCURACY_CLASSES, Arithmetic, Reference, Refusal, Semantics, WrongGradients, precisions


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a semantics predicts: for each step its quantities, up to a refusal if there is one.

    ``of_rounded`` has the semantics and the arithmetic where the inputs were rounded to a narrower type first.
    """

    steps: tuple[Mapping[str, Reference], ...]
    refused: str | None = None
    of_rounded: tuple[Semantics, Arithmetic] | None = None


def predict(case: Case, semantics: Semantics, arithmetic: Arithmetic) -> Prediction:
    """The references for every step of ``case``, which gives every setting, under ``semantics``.

    Quantities are ``output`` (shape of x), where statistics are tracked ``running_mean`` and
    ``running_var`` (shape (C,)) after the step, and of a step with ``dy`` the gradients ``dx`` (shape of x),
    ``dweight`` and ``dbias`` (shape (C,)). An implementation that computes in another type than
    the case's rounds its inputs to it first, and so does the prediction. A step with ``inspect`` has ``weight`` and
    ``bias``, too, as far as the layer has them, and ``trainable``, 1 or 0 for each of ``PARAMETERS``.
    """
    if not rounds(case, arithmetic):
        return predict_as_given(case, semantics, arithmetic)
    found = predict_as_given(_rounded(case, arithmetic.result.name), semantics, arithmetic)
    return replace(found, of_rounded=(semantics, arithmetic))


def rounds(case: Case, arithmetic: Arithmetic) -> bool:
    """Whether an implementation that computes in ``arithmetic`` rounds the inputs of ``case`` first."""
    return arithmetic.result.name != case.dtype


def predict_as_given(case: Case, semantics: Semantics, arithmetic: Arithmetic) -> Prediction:
    """:func:`predict` from the inputs as they are, whatever the type that is computed in."""
    if any(step.x.ndim == 1 for step in case.steps):
        return _without_samples(predict_as_given(_as_one_sample(case), semantics, arithmetic))
    steps: list[Mapping[str, Reference]] = []
    try:
        for quantities in kind_of(case.layer).steps(case, semantics, arithmetic):
            steps.append(quantities)
    except Refusal as refusal:
        return Prediction(steps=tuple(steps), refused=str(refusal))
    return Prediction(steps=tuple(steps))


@dataclass(frozen=True, kw_only=True)
class Together:
    """The predictions for several cases, their arrays side by side along ``along``, an axis of the input."""

    prediction: Prediction
    count: int
    along: int

    def holds(self, observations: Sequence[Observation]) -> bool:
        """Whether every observation is complete and within the bounds; if not, one may be all the same."""
        steps = self.prediction.steps
        complete = all(
            len(one.steps) == len(steps) and not (one.died or one.raised or one.unsupported) for one in observations
        )
        if self.prediction.refused is not None or not complete:
            return False
        for number, step in enumerate(steps):
            shown = [one.steps[number].quantities for one in observations]
            for quantity, reference in step.items():
                found = [own[quantity] for own in shown if quantity in own]
                if not found:
                    continue
                actual = np.concatenate(found, self.axis(quantity))
                if actual.shape != reference.value.shape or reference.excludes(actual):
                    return False
        return True

    def apart(self) -> list[Prediction]:
        """The prediction of each case."""
        found: list[list[dict[str, Reference]]] = [[{} for _ in self.prediction.steps] for _ in range(self.count)]
        for number, step in enumerate(self.prediction.steps):
            for quantity, reference in step.items():
                parts = (_cut(part, self.count, self.axis(quantity)) for part in (reference.value, reference.bound))
                for own, value, bound in zip(found, *parts, strict=True):
                    own[number][quantity] = Reference(value=value, bound=bound)
        return [Prediction(steps=tuple(own), refused=self.prediction.refused) for own in found]

    def axis(self, quantity: str) -> int:
        """The axis along which the cases' arrays of a quantity lie side by side."""
        return self.along if quantity in {"output", "dx"} else 0


def predict_together(cases: Sequence[Case], semantics: Semantics, arithmetic: Arithmetic) -> Together:
    """:func:`predict` for cases that differ in their inputs' values alone, at the cost of little more than one.

    The cases are laid side by side along the axis whose values do not affect each other: samples, or channels. Where
    it is samples, dweight and dbias sum over those of the other cases, too, and are left out.
    """
    along = kind_of(cases[0].layer).apart_along
    found = predict(_side_by_side(cases, along), semantics, arithmetic)
    if along == 0:
        steps = ({name: one for name, one in step.items() if name not in {"dweight", "dbias"}} for step in found.steps)
        found = Prediction(steps=tuple(steps), refused=found.refused)
    return Together(prediction=found, count=len(cases), along=along)


def _cut(values: Array, count: int, axis: int) -> Array:
    """``count`` equal parts along an axis, side by side along a new first one."""
    before, length, after = values.shape[:axis], values.shape[axis], values.shape[axis + 1 :]
    return np.moveaxis(values.reshape(*before, count, length // count, *after), axis, 0)


def _side_by_side(cases: Sequence[Case], along: int) -> Case:
    first, count = cases[0], len(cases)
    steps = []
    for alike in zip(*(case.steps for case in cases), strict=True):
        upstream = [step.dy for step in alike if step.dy is not None]
        dy = np.concatenate(upstream, along) if upstream else None
        steps.append(replace(alike[0], x=np.concatenate([step.x for step in alike], along), dy=dy))
    together = replace(first, steps=tuple(steps))
    if along == 0:
        return together
    settings = {**first.settings, "num_channels": first.settings["num_channels"] * count}
    return replace(together.with_parameters(lambda name, value: np.tile(value, count)), settings=settings)


def made_small(case: Case) -> Case:
    """The case with x divided by a power of two that leaves it below 1, and eps by its square."""
    largest = max((float(np.max(np.abs(step.x), initial=0.0)) for step in case.steps), default=0.0)
    if not 1 < largest < np.inf:
        return case
    factor = 2.0 ** -math.ceil(math.log2(largest))
    steps = tuple(replace(step, x=step.x * step.x.dtype.type(factor)) for step in case.steps)
    return replace(case, settings={**case.settings, "eps": case.settings["eps"] * factor**2}, steps=steps)


def _as_one_sample(case: Case) -> Case:
    """An input of the channel axis alone is one sample, if it is anything."""
    return replace(case, steps=tuple(replace(step, x=step.x[None]) for step in case.steps))


def exact(case: Case, semantics: Semantics) -> Prediction:
    """What ``semantics`` gives at the inputs as they are, with the bound of the most accurate layer of their type."""
    return predict_as_given(case, semantics, precisions(case.dtype, ACCURACY_CLASSES[0])[0])


def _without_samples(prediction: Prediction) -> Prediction:
    def without(name: str, one: Reference) -> Reference:
        return Reference(value=one.value[0], bound=one.bound[0]) if name == "output" else one

    steps = ({name: without(name, one) for name, one in step.items()} for step in prediction.steps)
    return Prediction(steps=tuple(steps), refused=prediction.refused)


def _rounded(case: Case, dtype: str) -> Case:
    def converted(step: Step) -> Step:
        return replace(step, x=step.x.astype(dtype), dy=None if step.dy is None else step.dy.astype(dtype))

    with np.errstate(over="ignore"):
        case = case.with_parameters(lambda name, value: value.astype(dtype))
        return replace(case, steps=tuple(map(converted, case.steps)))


def known_gradient_errors(case: Case, step: int, semantics: Semantics) -> WrongGradients | None:
    """The known wrong gradients at ``step`` (from 0) of ``case``; None where it has none."""
    own = case.steps[step]
    return None if own.dy is None or own.x.ndim < 2 else kind_of(case.layer).wrong_gradients(case, step, semantics)
