"""Derivatives above the first, and in forward mode. They are asked of implementations whose hello declares them.

The upstream gradient is the direction as well: dy has a constant part, one along x and one of neither.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np

from normgauge.adapters.case import Array, Case
from normgauge.conformance.requirements.gradients import along
from normgauge.conformance.requirements.inputs import scrambled
from normgauge.conformance.requirements.probe import Probe
from normgauge.conformance.requirements.requirement import Asked, Both, Layer, Requirement, twins
from normgauge.conformance.requirements.sources import BATCH_NORM_PAPER, GROUP_NORM_PAPER

_SECOND: Final = ("second_x", "second_dy", "second_weight")
_FORWARD: Final = ("jvp", "jvp_of_jvp")
#: Half types leave no digits of a second derivative.
_DTYPES: Final = ("float32", "float64")


def _cases(derivative: str, layer: Layer, asked: Asked) -> Iterator[Probe]:
    quantities = _SECOND if derivative == "second" else _FORWARD
    for mode in ("train", "eval") if layer.statistics else ("train",):
        neither: dict[str, Any] = {"weight": False, "bias": False}
        for seed, changes in ((60, dict[str, Any]()), (61, neither)):
            x = scrambled(asked.shape, seed)
            case = layer.case(asked, [(mode, x, _direction(x))], **changes)
            what = "neither weight nor bias" if changes else "weight and bias"
            label = f"{mode}, {what}" if layer.statistics else what
            yield Probe(label=label, case=_of(case, derivative), quantities=quantities)


def _direction(x: Array) -> Array:
    return np.asarray(along(x, 3) + 0.5)


def _of(case: Case, derivative: str) -> Case:
    return replace(case, steps=tuple(replace(step, derivative=derivative) for step in case.steps))


def _requirements(*ids: str, derivative: str, title: str, statement: str) -> tuple[Requirement, ...]:
    return twins(
        *ids, ground="formula", title=title, dtypes=_DTYPES, statement=statement, derivative=derivative,
        source=Both(
            (GROUP_NORM_PAPER.implies("the chain rule, twice, goes through mu and sigma", at="equations 1 and 2"),),
            (BATCH_NORM_PAPER.implies("the chain rule, twice, goes through mean and variance", at="algorithm 1"),),
        ),
        probes=functools.partial(_cases, derivative),
    )  # fmt: skip


HIGHER_DERIVATIVES: Final[tuple[Requirement, ...]] = (
    *_requirements(
        "GN-47", "BN-58", derivative="second", title="gradients of the gradient",
        statement="The gradients of <dx, u>, u a constant, by x, dy and the weight are those of the formula.",
    ),
    *_requirements(
        "GN-48", "BN-59", derivative="forward", title="forward mode",
        statement=(
            "The derivative of the output along a direction of x, and the derivative of this derivative, are "
            "those of the formula."
        ),
    ),
)  # fmt: skip
