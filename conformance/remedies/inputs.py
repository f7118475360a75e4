"""Remedies for inputs that a layer refuses, must refuse, or spoils its statistics with."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from normgauge.adapters.case import Action, Array, Case, Observation, Step, StepResult
from normgauge.conformance.remedies.calls import channels, failed, refused, with_results
from normgauge.conformance.remedies.remedy import Layer


def _refusing(case: Case, layer: Layer, bad: Callable[[Step], bool], message: str) -> Observation:
    """The steps before the first bad one, and then a refusal."""
    number = next((number for number, step in enumerate(case.steps) if bad(step)), None)
    if number is None:
        return layer.run(case)
    before = layer.run(replace(case, steps=case.steps[:number])) if number else Observation()
    return before if failed(before) else refused(number + 1, message, before.steps)


def single_values_refused(case: Case, layer: Layer) -> Observation:
    """Raise before a training call where N * positions is 1."""
    return _refusing(
        case,
        layer,
        lambda step: step.mode == "train" and step.x.shape[0] * math.prod(step.x.shape[2:]) == 1,
        "training needs more than one value per channel",
    )


def other_channels_refused(case: Case, layer: Layer) -> Observation:
    """Raise before a call where the channel count of the input is not the layer's."""
    own = channels(case)
    return _refusing(case, layer, lambda step: step.x.shape[1] != own, f"the layer has {own} channels")


def empty_skipped(case: Case, layer: Layer) -> Observation:
    """Call the layer only on inputs that have values; of an empty one the output and dx are empty, the rest 0."""
    kept: list[Step] = []
    waiting: tuple[Action, ...] = ()
    for step in case.steps:
        waiting = (*waiting, *step.before)
        if step.x.size:
            kept.append(replace(step, before=waiting))
            waiting = ()
    seen = layer.run(replace(case, steps=tuple(kept))) if kept else Observation()
    results, done = list(seen.steps), list[StepResult]()
    state = {name: value for name, value in case.parameters.items() if name.startswith("running_")}
    for step in case.steps:
        if step.x.size:
            if not results:
                break
            done.append(results.pop(0))
            state = {**state, **{n: v for n, v in done[-1].state.items() if n.startswith("running_")}}
        else:
            done.append(_of_nothing(case, step, state))
    return replace(seen, steps=tuple(done))


def _of_nothing(case: Case, step: Step, state: dict[str, Array]) -> StepResult:
    gradients = {}
    if step.dy is not None:
        gradients = {"dx": np.zeros_like(step.x)}
        for name in ("weight", "bias"):
            if case.settings.get(name, True):
                gradients[f"d{name}"] = np.zeros(channels(case), dtype=step.x.dtype)
    return StepResult(output=np.zeros_like(step.x), dtype=case.dtype, state=state, gradients=gradients)


def twice(case: Case, layer: Layer) -> Observation:
    """Give a batch of one sample twice, with a dy of zeros for the second, and keep the first of the two."""

    def doubled(step: Step) -> Step:
        if len(step.x) != 1:
            return step
        dy = None if step.dy is None else np.concatenate([step.dy, np.zeros_like(step.dy)])
        return replace(step, x=np.concatenate([step.x, step.x]), dy=dy)

    seen = layer.run(replace(case, steps=tuple(map(doubled, case.steps))))

    def halved(number: int, result: StepResult) -> StepResult:
        if len(case.steps[number].x) != 1:
            return result
        gradients = {name: value[:1] if name == "dx" else value for name, value in result.gradients.items()}
        return replace(result, output=result.output[:1], gradients=gradients)

    return with_results(seen, halved)


def with_a_position(case: Case, layer: Layer) -> Observation:
    """Give an input of shape (N, C) as (N, C, 1), and drop that axis of the output."""

    def added(step: Step) -> Step:
        if step.x.ndim != _FLAT:
            return step
        return replace(step, x=step.x[:, :, None], dy=None if step.dy is None else step.dy[:, :, None])

    seen = layer.run(replace(case, steps=tuple(map(added, case.steps))))

    def dropped(number: int, result: StepResult) -> StepResult:
        if case.steps[number].x.ndim != _FLAT:
            return result
        gradients = {name: value[:, :, 0] if name == "dx" else value for name, value in result.gradients.items()}
        return replace(result, output=result.output[:, :, 0], gradients=gradients)

    return with_results(seen, dropped)


_FLAT: Final = 2
