"""What the kinds of layer have in common: weight and bias at a step, and what of its gradients a layer shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from normgauge.adapters.case import Array, Case, Step, derivatives_of
from normgauge.oracle import Gradients, Reference, Semantics


def affine(case: Case, semantics: Semantics) -> dict[str, Any]:
    """Weight and bias, None where the layer has none.

    Initial ones are None, too, but where a mistake uses them as they are not meant.
    """
    initial: dict[str, Array | None] = dict.fromkeys(_INITIAL)
    if any(axis in semantics.choices and otherwise(semantics.choice(axis)) for axis, otherwise in _OTHERWISE.items()):
        initial = {name: np.full(case.settings["num_channels"], value) for name, value in _INITIAL.items()}
    has = (name for name in _INITIAL if case.settings.get(name, True))
    return dict.fromkeys(_INITIAL) | {name: case.parameters.get(name, initial[name]) for name in has}


_INITIAL: Final = {"weight": 1.0, "bias": 0.0}
#: The axes by which weight and bias may be used as they are not meant, and with which values they are.
_OTHERWISE: Final[Mapping[str, Callable[[str], bool]]] = {
    "affine": lambda value: value != "scale_then_shift",
    "updates": lambda value: value == "overwrites",
}


def with_those_set(case: Case, step: Step) -> Case:
    """``case`` with the weight and the bias that are set before ``step``, where some are."""
    new = {name: value for action in step.before for name, value in action.parameters.items()}
    new = {name: value for name, value in new.items() if name in {"weight", "bias"}}
    return replace(case, parameters={**case.parameters, **new}) if new else case


def shown(gradients: Gradients, case: Case) -> dict[str, Reference]:
    """The gradients by name, of the parameters that the layer has."""
    found = {"dx": gradients.dx, "dweight": gradients.dweight, "dbias": gradients.dbias}
    return {name: one for name, one in found.items() if case.settings.get(name[1:], True)}


def higher(derive: Callable[..., dict[str, Reference]], step: Step, case: Case, *given: Any, **common: Any) -> Any:
    """What the step's ``derivative`` asks for, of the parameters that the layer has; dy is the direction, too."""
    upstream = {"dy": step.dy} if step.derivative == "second" else {}
    found = derive(step.x, step.dy, *given, **upstream, **common)
    has = [name for name in ("weight", "bias") if case.settings.get(name, True)]
    return {name: found[name] for name in derivatives_of(step, has)}
