"""From a case to the oracle's references, one for each thing a step can show."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from normgauge.adapters.case import Action, Array, Case, Observation, Step
from normgauge.oracle import (
    Arithmetic,
    Gradients,
    LayerState,
    Reference,
    Refusal,
    RunningStatistics,
    Semantics,
    batch_norm,
    batch_norm_backward,
    batch_norm_gradient_errors,
    exactly,
    group_norm,
    group_norm_backward,
    group_norm_gradient_errors,
    initial_statistics,
)


@dataclass(frozen=True)
class Prediction:
    """What a semantics predicts: for each step its quantities, up to a refusal if there is one."""

    steps: tuple[Mapping[str, Reference], ...]
    refused: str | None = None


def predict(case: Case, semantics: Semantics, arithmetic: Arithmetic) -> Prediction:
    """The references for every step of ``case``, which gives every setting, under ``semantics``.

    Quantities are ``output`` (shape of x), where statistics are tracked ``running_mean`` and
    ``running_var`` (shape (C,)) after the step, and of a step with ``dy`` the gradients ``dx`` (shape of x),
    ``dweight`` and ``dbias`` (shape (C,)). An implementation that computes in another type than
    the case's rounds its inputs to it first, and so does the prediction. A step with ``inspect`` has ``weight`` and
    ``bias``, too, as far as the layer has them, and ``trainable``, 1 or 0 for each of ``PARAMETERS``.
    """
    if any(step.x.ndim == 1 for step in case.steps):
        return _without_samples(predict(_as_one_sample(case), semantics, arithmetic))
    if arithmetic.result.name != case.dtype:
        case = _rounded(case, arithmetic.result.name)
    walk = _group_norm_steps if case.layer == "group_norm" else _batch_norm_steps
    steps: list[Mapping[str, Reference]] = []
    try:
        for quantities in walk(case, case.settings, semantics, arithmetic):
            steps.append(quantities)
    except Refusal as refusal:
        return Prediction(tuple(steps), str(refusal))
    return Prediction(tuple(steps))


@dataclass(frozen=True)
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
                    own[number][quantity] = Reference(value, bound)
        return [Prediction(tuple(own), self.prediction.refused) for own in found]

    def axis(self, quantity: str) -> int:
        """The axis along which the cases' arrays of a quantity lie side by side."""
        return self.along if quantity in {"output", "dx"} else 0


def predict_together(cases: Sequence[Case], semantics: Semantics, arithmetic: Arithmetic) -> Together:
    """:func:`predict` for cases that differ in their inputs' values alone, at the cost of little more than one.

    GroupNorm treats samples apart and BatchNorm channels, so the cases are laid side by side along that axis.
    GroupNorm's dweight and dbias sum over samples, those of the other cases, too, and are left out.
    """
    along = 0 if cases[0].layer == "group_norm" else 1
    found = predict(_side_by_side(cases, along), semantics, arithmetic)
    if along == 0:
        steps = ({name: one for name, one in step.items() if name not in {"dweight", "dbias"}} for step in found.steps)
        found = Prediction(tuple(steps), found.refused)
    return Together(found, len(cases), along)


def _cut(values: Array, count: int, axis: int) -> Array:
    """``count`` equal parts along an axis, side by side along a new first one."""
    before, length, after = values.shape[:axis], values.shape[axis], values.shape[axis + 1 :]
    return np.moveaxis(values.reshape(*before, count, length // count, *after), axis, 0)


def _side_by_side(cases: Sequence[Case], along: int) -> Case:
    first, count = cases[0], len(cases)
    if along == 0:
        settings, parameters = first.settings, first.parameters
    else:
        settings = {**first.settings, "num_channels": first.settings["num_channels"] * count}
        parameters = {name: np.tile(value, count) for name, value in first.parameters.items()}
    steps = tuple(
        _with_arrays(
            step, [np.concatenate(alike, along) for alike in zip(*(_arrays(c, i) for c in cases), strict=True)]
        )
        for i, step in enumerate(first.steps)
    )
    return replace(first, settings=settings, parameters=parameters, steps=steps)


def _arrays(case: Case, step: int) -> list[Array]:
    own = case.steps[step]
    return [own.x] if own.dy is None else [own.x, own.dy]


def _with_arrays(step: Step, arrays: Sequence[Array]) -> Step:
    return replace(step, x=arrays[0], dy=arrays[1] if len(arrays) > 1 else None)


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


def _without_samples(prediction: Prediction) -> Prediction:
    steps = (
        {name: Reference(one.value[0], one.bound[0]) if name == "output" else one for name, one in step.items()}
        for step in prediction.steps
    )
    return Prediction(tuple(steps), prediction.refused)


def _rounded(case: Case, dtype: str) -> Case:
    with np.errstate(over="ignore"):
        return replace(
            case,
            parameters={name: value.astype(dtype) for name, value in case.parameters.items()},
            steps=tuple(
                _with_arrays(step, [values.astype(dtype) for values in _arrays(case, i)])
                for i, step in enumerate(case.steps)
            ),
        )


def _affine(case: Case, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: case.parameters.get(name) if settings.get(name, True) else None for name in ("weight", "bias")}


def _group_norm_steps(case: Case, settings: Mapping[str, Any], semantics: Semantics, arithmetic: Arithmetic) -> Any:
    affine, groups = _affine(case, settings), settings["num_groups"]
    common: dict[str, Any] = {"eps": settings["eps"], "semantics": semantics, "arithmetic": arithmetic}
    for step in case.steps:
        output = group_norm(step.x, groups, **affine, num_channels=settings["num_channels"], **common)
        gradients: dict[str, Reference] = {}
        if step.dy is not None:
            found = group_norm_backward(step.x, step.dy, groups, affine["weight"], **common)
            gradients = _shown(found, settings)
        yield {"output": output} | gradients


def known_gradient_errors(case: Case, step: int, semantics: Semantics) -> dict[str, dict[str, Array]]:
    """The classic wrong gradients at ``step`` (from 0) of ``case``: what is forgotten, then the quantity's name."""
    own, settings = case.steps[step], case.settings
    if own.dy is None:
        return {}
    weight = _affine(case, settings)["weight"]
    if case.layer == "group_norm":
        return group_norm_gradient_errors(
            own.x, own.dy, settings["num_groups"], weight, eps=settings["eps"], semantics=semantics
        )
    before = predict(replace(case, steps=case.steps[:step]), semantics, Arithmetic("float64"))
    running = _initial(case)
    if before.steps and running is not None:
        last = before.steps[-1]
        running = RunningStatistics(last["running_mean"], last["running_var"], step)
    return batch_norm_gradient_errors(
        own.x, own.dy, running, weight, training=own.mode == "train", eps=settings["eps"], semantics=semantics
    )


def _initial(case: Case) -> RunningStatistics | None:
    channels = case.settings["num_channels"]
    if not case.settings.get("track", True):
        return None
    return initial_statistics(
        case.parameters.get("running_mean", np.zeros(channels)), case.parameters.get("running_var", np.ones(channels))
    )


def _shown(gradients: Gradients, settings: Mapping[str, Any]) -> dict[str, Reference]:
    """The gradients by name, of the parameters that the layer has."""
    found = {"dx": gradients.dx, "dweight": gradients.dweight, "dbias": gradients.dbias}
    return {name: one for name, one in found.items() if settings.get(name[1:], True)}


def _batch_norm_steps(case: Case, settings: Mapping[str, Any], semantics: Semantics, arithmetic: Arithmetic) -> Any:
    channels, affine = settings["num_channels"], _affine(case, settings)
    state = LayerState(_initial(case), settings["momentum"])
    for step in case.steps:
        for action in step.before:
            state = _AFTER[action.name](state, action, settings)
        if step.x.shape[1] != channels:
            raise Refusal(f"the layer has {channels} channels, the input {step.x.shape[1]}")
        common: dict[str, Any] = {"training": step.mode == "train", "momentum": state.momentum}
        common |= {"eps": settings["eps"], "semantics": semantics, "arithmetic": arithmetic}
        result = batch_norm(step.x, state.running, **affine, **common)
        quantities = {"output": result.output}
        if step.dy is not None:
            quantities |= _shown(
                batch_norm_backward(step.x, step.dy, state.running, affine["weight"], **common), settings
            )
        state = replace(state, running=result.running)
        if state.running is not None:
            quantities |= {"running_mean": state.running.mean, "running_var": state.running.var}
        if step.inspect:
            quantities |= _inspected(case, settings, state)
        yield quantities


def _inspected(case: Case, settings: Mapping[str, Any], state: LayerState) -> dict[str, Reference]:
    has = {name: bool(settings.get(name, True)) for name in _INITIAL}
    values = {name: case.parameters.get(name, np.full(settings["num_channels"], _INITIAL[name])) for name in has}
    found = {name: exactly(values[name].astype(np.float64)) for name in has if has[name]}
    return found | {"trainable": state.trainable(**has)}


_INITIAL: Final = {"weight": 1.0, "bias": 0.0}

#: What an action makes of the state that the oracle keeps.
_AFTER: Final[Mapping[str, Callable[[LayerState, Action, Mapping[str, Any]], LayerState]]] = {
    "reset": lambda state, action, settings: state.reset(),
    "save_load": lambda state, action, settings: state.saved_and_loaded(settings["momentum"]),
    "freeze": lambda state, action, settings: replace(state, frozen=True),
    "unfreeze": lambda state, action, settings: replace(state, frozen=False),
    "freeze_model": lambda state, action, settings: replace(state, frozen=True),
    "unfreeze_model": lambda state, action, settings: replace(state, frozen=False),
    "momentum": lambda state, action, settings: replace(state, momentum=action.value),
}
