"""Remedies for what a layer does with eps, weight and bias, and with the order of its channels."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from normgauge.adapters.case import Case, Observation, Step, StepResult
from normgauge.conformance.remedies.calls import cast, channels, over, parameter, step_by_step, with_results
from normgauge.conformance.remedies.remedy import Layer, settings_changed

#: Far below the last digit of every variance that is not zero, in every type.
TINY: Final = 1e-300


def tiny_eps(case: Case, layer: Layer) -> Observation:
    """Pass an eps of 1e-300 in place of 0."""
    eps = TINY if case.settings["eps"] == 0 else case.settings["eps"]
    return layer.run(replace(case, settings=settings_changed(case, eps=eps)))


def permuted(case: Case, layer: Layer) -> Observation:
    """Permute the channels of x, weight and bias, and those of the output back."""
    groups = int(case.settings["num_groups"])
    order = np.arange(channels(case)).reshape(groups, -1).T.ravel()
    back = np.argsort(order)

    def given(step: Step) -> Step:
        dy = None if step.dy is None else step.dy[:, order]
        return replace(step, x=step.x[:, order], dy=dy)

    parameters = {name: value[order] for name, value in case.parameters.items()}
    seen = layer.run(replace(case, parameters=parameters, steps=tuple(map(given, case.steps))))

    def returned(_: int, result: StepResult) -> StepResult:
        gradients = {name: value[:, back] if name == "dx" else value[back] for name, value in result.gradients.items()}
        state = {name: value[back] for name, value in result.state.items()}
        return replace(result, output=result.output[:, back], gradients=gradients, state=state)

    return with_results(seen, returned)


def own_affine(case: Case, layer: Layer) -> Observation:
    """Construct the layer without weight and bias, and apply both to its output, one of each per channel."""
    has = {name: case.settings.get(name, True) for name in ("weight", "bias")}
    weight, bias = (parameter(case, name) * (1.0 if has[name] else 0.0) for name in has)
    weight = weight if has["weight"] else np.ones_like(weight)
    without = {name: value for name, value in case.parameters.items() if name not in has}

    def scaled(step: Step) -> Step:
        return step if step.dy is None else replace(step, dy=cast(step.dy * over(weight, step.x), case.dtype))

    plain = replace(case, settings=settings_changed(case, weight=False, bias=False), parameters=without)
    seen = layer.run(replace(plain, steps=tuple(map(scaled, plain.steps))))

    def finished(number: int, result: StepResult) -> StepResult:
        step, normalised = case.steps[number], result.output.astype(np.float64)
        output = cast(normalised * over(weight, step.x) + over(bias, step.x), case.dtype)
        if step.dy is None:
            return replace(result, output=output)
        axes = tuple(axis for axis in range(step.x.ndim) if axis != 1)
        dy = step.dy.astype(np.float64)
        own = {"dweight": np.sum(dy * normalised, axes), "dbias": np.sum(dy, axes)}
        kept = {f"d{name}": cast(own[f"d{name}"], case.dtype) for name in has if has[name]}
        return replace(result, output=output, gradients={**result.gradients, **kept})

    return with_results(seen, finished)


def divisor_made_up_for(case: Case, layer: Layer) -> Observation:
    """With n values in a set give the layer eps * n/(n - 1) and weight * sqrt(n/(n - 1)), in training alone."""

    def call(one: Case, layer: Layer) -> Observation:
        (step,) = one.steps
        n = _values_per_set(one, step)
        if n < 2 or (step.mode == "eval" and _tracks(one)):
            return layer.run(one)
        has, factor = one.settings.get("weight", True), np.sqrt(n / (n - 1))
        weight = cast((parameter(one, "weight") if has else np.ones(channels(one))) * factor, one.dtype)
        settings = settings_changed(one, eps=one.settings["eps"] * n / (n - 1), weight=True)
        seen = layer.run(replace(one, settings=settings, parameters={**one.parameters, "weight": weight}))

        def back(_: int, result: StepResult) -> StepResult:
            gradients = dict(result.gradients)
            if "dweight" in gradients:
                gradients["dweight"] = cast(gradients["dweight"].astype(np.float64) * factor, one.dtype)
            if not has:
                gradients.pop("dweight", None)
            return replace(result, gradients=gradients)

        return with_results(seen, back)

    return step_by_step(case, layer, call)


def _values_per_set(case: Case, step: Step) -> int:
    if "num_groups" in case.settings:
        return int(np.prod(step.x.shape[1:])) // int(case.settings["num_groups"])
    return int(step.x.size // channels(case))


def _tracks(case: Case) -> bool:
    return "num_groups" not in case.settings and bool(case.settings.get("track", True))
