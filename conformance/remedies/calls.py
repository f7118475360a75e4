"""What remedies have in common: calls one by one, refusals, and results put back together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from normgauge.adapters.case import Array, Case, Observation, Raised, Step, StepResult
from normgauge.adapters.dtypes import KNOWN_DTYPES
from normgauge.conformance.remedies.remedy import Layer
from normgauge.oracle import rounded

#: The running statistics of a new layer.
NEW: dict[str, float] = {"running_mean": 0.0, "running_var": 1.0}
#: What is done by constructing the layer of the next step with other settings or parameters.
_BY_A_NEW_LAYER = frozenset({"momentum", "reset", "set_parameters"})


def cast(values: Any, dtype: str) -> Array:
    """``values`` rounded to ``dtype``, in the NumPy type that carries it."""
    with np.errstate(invalid="ignore", over="ignore"):
        return rounded(values, dtype).astype(KNOWN_DTYPES[dtype].carrier)


def over(values: Array, x: Array) -> Array:
    """``values`` of shape (C,), to broadcast over ``x`` of shape (N, C, *spatial)."""
    return values.reshape(1, -1, *(1,) * (x.ndim - 2))


def channels(case: Case) -> int:
    return int(case.settings["num_channels"])


def parameter(case: Case, name: str) -> Array:
    """A parameter or running statistic that the case starts with, in float64, of shape (C,)."""
    initial = {"weight": 1.0, "bias": 0.0, **NEW}[name]
    return np.asarray(case.parameters.get(name, np.full(channels(case), initial)), dtype=np.float64)


def failed(observation: Observation) -> bool:
    return bool(observation.raised or observation.died or observation.unsupported)


def refused(number: int, message: str, steps: tuple[StepResult, ...] = ()) -> Observation:
    """The observation of a port that raises in step ``number``, from 1."""
    return Observation(steps=steps, raised=Raised(where=f"step {number}", type="ValueError", message=message))


def step_by_step(case: Case, layer: Layer, call: Callable[[Case, Layer], Observation]) -> Observation:
    """Each step as a case of its own, with the running statistics that the last one has left.

    A momentum and parameters that are set between two calls are those of the cases that follow; after a reset the
    statistics are those of a new layer.
    """
    done: list[StepResult] = []
    settings, parameters = dict(case.settings), dict(case.parameters)
    for step in case.steps:
        for action in step.before:
            if action.name == "momentum":
                settings["momentum"] = action.value
            elif action.name == "set_parameters":
                parameters = {**parameters, **action.parameters}
            elif action.name == "reset":
                parameters = {name: value for name, value in parameters.items() if name not in NEW}
        left = tuple(action for action in step.before if action.name not in _BY_A_NEW_LAYER)
        one = replace(case, settings=settings, parameters=parameters, steps=(replace(step, before=left),))
        seen = call(one, layer)
        done += seen.steps
        if failed(seen) or not seen.steps:
            return replace(seen, steps=tuple(done))
        state = {name: cast(value, case.dtype) for name, value in seen.steps[0].state.items() if name in NEW}
        parameters = {**parameters, **state}
    return Observation(steps=tuple(done))


def with_results(observation: Observation, change: Callable[[int, StepResult], StepResult]) -> Observation:
    """The observation with every step's result changed; ``change`` gets its number, from 0."""
    return replace(observation, steps=tuple(change(number, one) for number, one in enumerate(observation.steps)))


def with_steps(case: Case, change: Callable[[Step], Step]) -> Case:
    return replace(case, steps=tuple(map(change, case.steps)))
