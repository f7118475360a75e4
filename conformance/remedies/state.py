"""Remedies for what is done to a layer between two calls: another momentum, freezing."""

from __future__ import annotations

from dataclasses import replace

from normgauge.adapters.case import Action, Case, Observation, Step
from normgauge.conformance.remedies.calls import step_by_step
from normgauge.conformance.remedies.remedy import Layer


def given_anew(case: Case, layer: Layer) -> Observation:
    """For another momentum construct a new layer with it, which gets the old one's parameters and statistics."""
    return step_by_step(case, layer, lambda one, layer: layer.run(one))


def unfrozen_twice(case: Case, layer: Layer) -> Observation:
    """Set trainable of the model to False before it is set to True."""

    def frozen_first(step: Step) -> Step:
        before: list[Action] = []
        for action in step.before:
            before += [Action("freeze_model")] if action.name == "unfreeze_model" else []
            before.append(action)
        return replace(step, before=tuple(before))

    return layer.run(replace(case, steps=tuple(map(frozen_first, case.steps))))
