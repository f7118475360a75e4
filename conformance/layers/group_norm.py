"""GroupNorm: a sample's channels in groups, each normalised by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from normgauge.adapters.case import Case
from normgauge.conformance.layers.kind import LayerKind
from normgauge.conformance.layers.parameters import affine, higher, shown, with_those_set
from normgauge.conformance.remedies import catalogue as remedies
from normgauge.conformance.requirements.catalogue import of_layer
from normgauge.oracle import (
    AXES,
    Arithmetic,
    Reference,
    Semantics,
    WrongGradients,
    group_norm,
    group_norm_backward,
    group_norm_gradient_errors,
    group_norm_higher,
)


def _steps(case: Case, semantics: Semantics, arithmetic: Arithmetic) -> Iterator[Mapping[str, Reference]]:
    settings = case.settings
    common: dict[str, Any] = {"eps": settings["eps"], "semantics": semantics, "arithmetic": arithmetic}
    for step in case.steps:
        case = with_those_set(case, step)
        given = affine(case, semantics)
        if step.dy is not None and step.derivative:
            yield higher(group_norm_higher, step, case, settings["num_groups"], given["weight"], **common)
            continue
        output = group_norm(step.x, settings["num_groups"], **given, num_channels=settings["num_channels"], **common)
        gradients: dict[str, Reference] = {}
        if step.dy is not None:
            found = group_norm_backward(step.x, step.dy, settings["num_groups"], **given, **common)
            gradients = shown(found, case)
        yield {"output": output} | gradients


def _wrong_gradients(case: Case, step: int, semantics: Semantics) -> WrongGradients | None:
    own, settings = case.steps[step], case.settings
    assert own.dy is not None
    for one in case.steps[: step + 1]:
        case = with_those_set(case, one)
    return group_norm_gradient_errors(
        own.x,
        own.dy,
        settings["num_groups"],
        affine(case, semantics)["weight"],
        eps=settings["eps"],
        semantics=semantics,
    )


GROUP_NORM: Final = LayerKind(
    name="group_norm",
    title="GroupNorm",
    axes=AXES["group_norm"],
    requirements=of_layer("group_norm"),
    steps=_steps,
    wrong_gradients=_wrong_gradients,
    advice=remedies.GROUP_NORM,
    relations=("scale", "shift", "sample order", "channel order", "other samples", "groups = C", "groups = 1"),
    grouped=True,
)
