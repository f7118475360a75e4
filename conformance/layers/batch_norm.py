"""BatchNorm: a channel of all samples normalised together, with running statistics that eval uses."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from normgauge.adapters.case import Action, Case
from normgauge.conformance.layers.kind import LayerKind
from normgauge.conformance.layers.parameters import affine, higher, shown, with_those_set
from normgauge.conformance.remedies import catalogue as remedies
from normgauge.conformance.requirements.catalogue import of_layer
from normgauge.oracle import (
    AXES,
    Arithmetic,
    LayerState,
    Reference,
    Refusal,
    RunningStatistics,
    Semantics,
    WrongGradients,
    batch_norm,
    batch_norm_backward,
    batch_norm_gradient_errors,
    batch_norm_higher,
    exactly,
    initial_statistics,
)


def _steps(case: Case, semantics: Semantics, arithmetic: Arithmetic) -> Iterator[Mapping[str, Reference]]:
    settings = case.settings
    channels = settings["num_channels"]
    state = LayerState(running=_initial(case), momentum=settings["momentum"])
    for step in case.steps:
        for action in step.before:
            state = _AFTER[action.name](state, action, settings)
        case = with_those_set(case, step)
        given = affine(case, semantics)
        if step.x.shape[1] != channels:
            raise Refusal(f"the layer has {channels} channels, the input {step.x.shape[1]}")
        common: dict[str, Any] = {"training": step.mode == "train", "momentum": state.momentum}
        common |= {"eps": settings["eps"], "semantics": semantics, "arithmetic": arithmetic}
        if step.dy is not None and step.derivative:
            del common["momentum"]
            yield higher(batch_norm_higher, step, case, state.running, given["weight"], **common)
            continue  # what it makes of the running statistics is asked elsewhere: such a step is the last
        result = batch_norm(step.x, state.running, **given, **common)
        quantities = {"output": result.output}
        if step.dy is not None:
            quantities |= shown(batch_norm_backward(step.x, step.dy, state.running, **given, **common), case)
        state = replace(state, running=result.running)
        if state.running is not None:
            quantities |= {"running_mean": state.running.mean, "running_var": state.running.var}
        if step.inspect:
            quantities |= _inspected(case, state)
        yield quantities


def _initial(case: Case) -> RunningStatistics | None:
    channels = case.settings["num_channels"]
    if not case.settings.get("track", True):
        return None
    mean, var = (
        case.parameters.get(name, np.full(channels, value))
        for name, value in (("running_mean", 0.0), ("running_var", 1.0))
    )
    held = {case.dtypes.get(name) for name in ("running_mean", "running_var")}
    return initial_statistics(mean, var, dtype=held.pop() if len(held) == 1 else None)


def _inspected(case: Case, state: LayerState) -> dict[str, Reference]:
    has = {name: bool(case.settings.get(name, True)) for name in _INITIAL}
    initial = {name: np.full(case.settings["num_channels"], value) for name, value in _INITIAL.items()}
    values = {name: case.parameters.get(name, initial[name]) for name in has}
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
    "another_layer": lambda state, action, settings: state,
    "set_parameters": lambda state, action, settings: state.given(
        action.parameters.get("running_mean"), action.parameters.get("running_var")
    ),
}


def _wrong_gradients(case: Case, step: int, semantics: Semantics) -> WrongGradients | None:
    own, running = case.steps[step], _initial(case)
    assert own.dy is not None
    if running is not None:
        with contextlib.suppress(Refusal):
            for before in _steps(replace(case, steps=case.steps[:step]), semantics, Arithmetic("float64")):
                running = RunningStatistics(mean=before["running_mean"], var=before["running_var"], steps=step)
    state = LayerState(running=running, momentum=case.settings["momentum"])
    for action in own.before:
        state = _AFTER[action.name](state, action, case.settings)
    for one in case.steps[: step + 1]:
        case = with_those_set(case, one)
    weight, training = affine(case, semantics)["weight"], own.mode == "train"
    common: dict[str, Any] = {"momentum": state.momentum, "eps": case.settings["eps"], "semantics": semantics}
    return batch_norm_gradient_errors(own.x, own.dy, state.running, weight, training=training, **common)


BATCH_NORM: Final = LayerKind(
    name="batch_norm",
    title="BatchNorm",
    axes=AXES["batch_norm"],
    requirements=of_layer("batch_norm"),
    steps=_steps,
    wrong_gradients=_wrong_gradients,
    advice=remedies.BATCH_NORM,
    relations=("scale", "shift", "sample order", "channel order", "momentum and history"),
    running_axes=("running_var", "momentum_weighs", "momentum_none", "momentum_value", "bootstrap", "updates"),
    training_statistics="training_normalizes_with",
    across_samples=True,
    tracks=True,
)
