"""Remedies for running statistics, and for statistics that a large mean spoils."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from normgauge.adapters.case import Action, Array, Case, Observation, Step, StepResult
from normgauge.adapters.implementation_id import EAGER
from normgauge.conformance.remedies.calls import (
    cast,
    channels,
    failed,
    over,
    parameter,
    step_by_step,
    with_results,
)
from normgauge.conformance.remedies.remedy import Layer, settings_changed


def one_minus_momentum(case: Case, layer: Layer) -> Observation:
    """Give the layer 1 - momentum, at its construction and whenever momentum is set."""
    momentum = case.settings.get("momentum")
    if momentum is None:
        return layer.run(case)

    def changed(step: Step) -> Step:
        before = (
            replace(action, value=1 - action.value)
            if action.name == "momentum" and action.value is not None
            else action
            for action in step.before
        )
        return replace(step, before=tuple(before))

    steps = tuple(map(changed, case.steps))
    return layer.run(replace(case, settings=settings_changed(case, momentum=1 - momentum), steps=steps))


def average_of_all(case: Case, layer: Layer) -> Observation:
    """In place of momentum None, set momentum to 1/t before training step t."""
    if case.settings.get("momentum", 0.0) is not None:
        return layer.run(case)
    batches, averaging, steps = 0, True, []
    for step in case.steps:
        names = [action.name for action in step.before]
        averaging = averaging and "momentum" not in names
        batches = (0 if "reset" in names else batches) + (step.mode == "train")
        counted = (Action("momentum", 1 / batches),) if averaging and step.mode == "train" else ()
        steps.append(replace(step, before=(*step.before, *counted)))
    return layer.run(replace(case, settings=settings_changed(case, momentum=1.0), steps=tuple(steps)))


def variance_rescaled(case: Case, layer: Layer) -> Observation:
    """After every training step multiply what the batch has added to running_var by n/(n - 1)."""

    def call(one: Case, layer: Layer) -> Observation:
        seen, step, momentum = layer.run(one), one.steps[0], one.settings.get("momentum")
        n = step.x.size // max(step.x.shape[1], 1)
        if step.mode == "eval" or n < 2 or momentum is None:
            return seen
        carried = (1 - momentum) * parameter(one, "running_var")

        def rescaled(_: int, result: StepResult) -> StepResult:
            if "running_var" not in result.state:
                return result
            own = result.state["running_var"]
            wanted = carried + (own.astype(np.float64) - carried) * n / (n - 1)
            return replace(result, state={**result.state, "running_var": wanted.astype(own.dtype)})

        return with_results(seen, rescaled)

    return step_by_step(case, layer, call)


def variance_rescaled_at_the_end(case: Case, layer: Layer) -> Observation:
    """Start from running_var * (n - 1)/n and multiply by n/(n - 1) at the end, n the values per channel of a batch."""
    n = case.steps[0].x.size // channels(case)
    started = cast(parameter(case, "running_var") * (n - 1) / n, case.dtype)

    def rescaled(_: int, result: StepResult) -> StepResult:
        own = result.state["running_var"]
        wanted = (own.astype(np.float64) * n / (n - 1)).astype(own.dtype)
        return replace(result, state={**result.state, "running_var": wanted})

    return with_results(layer.run(replace(case, parameters={**case.parameters, "running_var": started})), rescaled)


def shifted_channels(case: Case, layer: Layer) -> Observation:
    """In training call the layer on x - s, with running_mean - s before and s added to it after the call."""

    def call(one: Case, layer: Layer) -> Observation:
        (step,) = one.steps
        if step.mode == "eval" or not step.x.size:
            return layer.run(one)
        axes = tuple(axis for axis in range(step.x.ndim) if axis != 1)
        near = _near(step.x, axes, one.dtype)
        s = near.ravel().astype(np.float64)
        moved = cast(parameter(one, "running_mean") - s, one.dtype)
        parameters = {**one.parameters, "running_mean": moved} if one.settings.get("track", True) else one.parameters
        x = cast(step.x.astype(np.float64) - near, one.dtype)

        def back(_: int, result: StepResult) -> StepResult:
            if "running_mean" not in result.state:
                return result
            own = result.state["running_mean"]
            mean = (own.astype(np.float64) + s).astype(own.dtype)
            return replace(result, state={**result.state, "running_mean": mean})

        return with_results(layer.run(replace(one, parameters=parameters, steps=(replace(step, x=x),))), back)

    return step_by_step(case, layer, call)


def kept_and_shifted_channels(case: Case, layer: Layer) -> Observation:
    """Give the positions that the mask keeps, which are all of them in a case, without a mask, and shift them."""
    return shifted_channels(case, layer.other(mode=EAGER))


def shifted_once(case: Case, layer: Layer) -> Observation:
    """Call the layer on x - s, one s near the mean of each channel; start from running_mean - s, add s at the end."""
    first = case.steps[0].x
    near = _near(first, tuple(axis for axis in range(first.ndim) if axis != 1), case.dtype)
    s = near.ravel()

    def moved(step: Step) -> Step:
        return replace(step, x=cast(step.x.astype(np.float64) - over(s, step.x), case.dtype))

    started = cast(parameter(case, "running_mean") - s, case.dtype)
    parameters = {**case.parameters, "running_mean": started}

    def back(_: int, result: StepResult) -> StepResult:
        own = result.state["running_mean"]
        return replace(result, state={**result.state, "running_mean": (own.astype(np.float64) + s).astype(own.dtype)})

    return with_results(layer.run(replace(case, parameters=parameters, steps=tuple(map(moved, case.steps)))), back)


def moved_as_it_is(case: Case, layer: Layer) -> Observation:
    """Give the layer the running statistics of another as they are."""
    return layer.run(case)


def shifted_groups(case: Case, layer: Layer) -> Observation:
    """Call the layer on x - s, s a number near the mean of each group of each sample."""

    def moved(step: Step) -> Step:
        groups = int(case.settings["num_groups"])
        sets = step.x.reshape(step.x.shape[0], groups, -1)
        x = sets.astype(np.float64) - _near(sets, (2,), case.dtype)
        return replace(step, x=cast(x.reshape(step.x.shape), case.dtype))

    return layer.run(replace(case, steps=tuple(map(moved, case.steps))))


def _near(x: Array, axes: tuple[int, ...], dtype: str) -> Array:
    """A number of the type near the mean over ``axes``: any will do that is nearer to it than to 0."""
    with np.errstate(all="ignore"):
        mean = np.mean(x.astype(np.float64), axis=axes, keepdims=True)
    return cast(np.where(np.isfinite(mean), mean, 0.0), dtype).astype(np.float64)


def untracked_in_training(case: Case, layer: Layer) -> Observation:
    """Call the layer in training mode where nothing is tracked."""
    if case.settings.get("track", True):
        return layer.run(case)
    return layer.run(replace(case, steps=tuple(replace(step, mode="train") for step in case.steps)))


def start_given_back(case: Case, layer: Layer) -> Observation:
    """After T training steps of weight w add (1 - w)^T * (initial - first), first the statistics after one step."""
    seen, momentum = layer.run(case), case.settings["momentum"]
    if failed(seen) or not seen.steps or not case.settings.get("track", True):
        return seen
    first = seen.steps[0].state

    def corrected(number: int, result: StepResult) -> StepResult:
        left = (1 - momentum) ** (number + 1)
        state = {
            name: (value.astype(np.float64) + left * (parameter(case, name) - first[name])).astype(value.dtype)
            for name, value in result.state.items()
        }
        return replace(result, state=state)

    return with_results(seen, corrected)


def debiasing_undone(case: Case, layer: Layer) -> Observation:
    """After T training steps of weight w multiply by 1 - (1 - w)^T and add (1 - w)^T * initial."""
    seen, momentum = layer.run(case), case.settings["momentum"]

    def corrected(number: int, result: StepResult) -> StepResult:
        left = (1 - momentum) ** (number + 1)
        state = {
            name: (value.astype(np.float64) * (1 - left) + left * parameter(case, name)).astype(value.dtype)
            for name, value in result.state.items()
        }
        return replace(result, state=state)

    return with_results(seen, corrected)


def given_statistics(case: Case, layer: Layer) -> Observation:
    """Give the layer its initial running statistics as arrays of the case's type."""
    initial = {name: cast(parameter(case, name), case.dtype) for name in ("running_mean", "running_var")}
    return layer.run(replace(case, parameters={**initial, **case.parameters}))
