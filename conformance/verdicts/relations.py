"""Relations: what two calls of one framework have in common, whatever a formula says of either.

A relation transforms a case and says which output the transformed case must then have. Two honest outputs
of the same exact result differ by at most the sum of their bounds (the triangle inequality), so that sum is
the bound of a relation; each is evaluated at its own input.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from normgauge.adapters.case import Array, Case, Observation
from normgauge.adapters.dtypes import KNOWN_DTYPES
from normgauge.conformance.diagnosis.candidates import Deviation
from normgauge.conformance.diagnosis.predictions import Prediction
from normgauge.conformance.requirements.inputs import cast
from normgauge.oracle.moments import two_sum

_SCALE: Final = 32.0
_SHIFT: Final = 16.0


def _whole(output: Array) -> Array:
    return output


@dataclass(frozen=True, kw_only=True)
class Relation:
    """``statement`` holds between every case that it ``applies`` to and what ``transformed`` makes of that.

    It does so for the kinds of layer whose record names it.

    ``shown`` is the part of the case's output that is compared, ``restored`` the same part of the other's.
    ``kin`` names the layer that the transformed case goes to, where that is another one of the framework.
    """

    name: str
    statement: str
    applies: Callable[[Case], bool]
    transformed: Callable[[Case], Case]
    restored: Callable[[Array], Array] = _whole
    shown: Callable[[Array], Array] = _whole
    kin: str | None = None


def held_against(
    relation: Relation,
    observed: tuple[Observation, Observation],
    predicted: tuple[Prediction, Prediction],
) -> Deviation:
    """How far the outputs of a case and of its transformed form are from what the relation says.

    A ratio above 1 breaks it. Steps that either call did not reach say nothing.
    """
    worst = Deviation(ratio=0.0)
    steps = zip(observed[0].steps, observed[1].steps, predicted[0].steps, predicted[1].steps, strict=False)
    for number, (seen, other, expected, expected_other) in enumerate(steps, start=1):
        here = relation.shown(seen.output).astype(np.float64)
        there = relation.restored(other.output).astype(np.float64)
        if here.shape != there.shape:
            return Deviation(
                ratio=math.inf, step=number, quantity="output", what=f"shapes {here.shape} and {there.shape}"
            )
        bound = relation.shown(expected["output"].bound) + relation.restored(expected_other["output"].bound)
        worst = max(worst, _apart(number, here, there, bound), key=lambda d: d.ratio)
    return worst


def _apart(step: int, here: Array, there: Array, bound: Array) -> Deviation:
    if here.size == 0:
        return Deviation(ratio=0.0)
    with np.errstate(all="ignore"):
        ratios = np.abs(here - there) / bound
    if not np.isfinite(np.max(ratios)):  # 0 / 0, a NaN, or an infinite bound
        same = (here == there) | (np.isnan(here) & np.isnan(there)) | np.isposinf(bound)
        ratios = np.where(same, 0.0, np.where(np.isnan(ratios), np.inf, ratios))
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(ratios)), ratios.shape))
    return Deviation(
        ratio=float(ratios[index]),
        step=step,
        quantity="output",
        index=index,
        observed=float(here[index]),
        expected=float(there[index]),
        bound=float(bound[index]),
    )


def _with_inputs(case: Case, change: Callable[[Array], Array], **settings: Any) -> Case:
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        steps = tuple(replace(step, x=cast(np.ascontiguousarray(change(step.x)), case.dtype)) for step in case.steps)
    return replace(case, settings={**case.settings, **settings}, steps=steps)


def _normalises_with_the_batch(case: Case) -> bool:
    return all(step.mode == "train" for step in case.steps)


def _scaled(x: Array) -> Array:
    return np.asarray(x * x.dtype.type(_SCALE))


def _shifted(x: Array) -> Array:
    return np.asarray(x + x.dtype.type(_SHIFT))


def _scales_exactly(case: Case) -> bool:
    """Whether no number leaves the normal range of its type when it is multiplied by a power of two."""
    with np.errstate(over="ignore"):
        return _normalises_with_the_batch(case) and all(
            bool(np.isfinite(cast(_scaled(step.x), case.dtype)).all())
            and bool((np.abs(step.x[step.x != 0]) >= 2.0 ** KNOWN_DTYPES[case.dtype].least_exponent).all())
            for step in case.steps
        )


def _shifts_exactly(case: Case) -> bool:
    """Whether the sums have no error in the type of x, by Knuth's TwoSum."""
    with np.errstate(over="ignore", invalid="ignore"):
        sums = [two_sum(step.x, np.full_like(step.x, _SHIFT)) for step in case.steps]
        return _normalises_with_the_batch(case) and all(
            bool((error == 0).all()) and bool((cast(total, case.dtype) == total).all()) for total, error in sums
        )


def _channels_reversed(case: Case) -> Case:
    """Groups in reverse, and each one's channels: adjacent or interleaved, groups stay groups."""
    turned = _with_inputs(case, lambda x: x[:, ::-1])
    return replace(turned, parameters={name: value[::-1].copy() for name, value in case.parameters.items()})


def _neighbours_replaced(case: Case) -> Case:
    return _with_inputs(case, lambda x: np.concatenate([x[:1], np.ones_like(x[1:])]))


def _other_history(case: Case) -> Case:
    channels = case.settings["num_channels"]
    history = {
        "running_mean": cast(np.full(channels, 3.0), case.dtype),
        "running_var": cast(np.full(channels, 7.0), case.dtype),
    }
    return replace(case, settings={**case.settings, "momentum": 0.375}, parameters={**case.parameters, **history})


def _bare(case: Case) -> bool:
    return not case.settings["weight"] and not case.settings["bias"]


RELATIONS: Final[tuple[Relation, ...]] = (
    Relation(
        name="scale",
        statement=f"{_SCALE:g} times the input and {_SCALE**2:g} times eps give the same output.",
        applies=_scales_exactly,
        transformed=lambda case: _with_inputs(case, _scaled, eps=case.settings["eps"] * _SCALE**2),
    ),
    Relation(
        name="shift",
        statement=f"{_SHIFT:g} added to the input gives the same output.",
        applies=_shifts_exactly,
        transformed=lambda case: _with_inputs(case, _shifted),
    ),
    Relation(
        name="sample order",
        statement="Samples in another order give the same outputs in that order.",
        applies=lambda case: all(len(step.x) > 1 for step in case.steps),
        transformed=lambda case: _with_inputs(case, lambda x: x[::-1]),
        restored=lambda output: output[::-1],
    ),
    Relation(
        name="channel order",
        statement="Channels in an order that keeps the groups give the same outputs in that order.",
        applies=lambda case: case.settings["num_channels"] > 1,
        transformed=_channels_reversed,
        restored=lambda output: output[:, ::-1],
    ),
    Relation(
        name="other samples",
        statement="A sample's output does not depend on the other samples.",
        applies=lambda case: all(len(step.x) > 1 for step in case.steps),
        transformed=_neighbours_replaced,
        restored=lambda output: output[:1],
        shown=lambda output: output[:1],
    ),
    Relation(
        name="momentum and history",
        statement="The training output depends neither on momentum nor on earlier state.",
        applies=lambda case: _normalises_with_the_batch(case) and bool(case.settings["track"]),
        transformed=_other_history,
    ),
    Relation(
        name="groups = C",
        statement="With a group a channel, GroupNorm is the framework's own InstanceNorm.",
        applies=lambda case: case.settings["num_groups"] == case.settings["num_channels"],
        transformed=lambda case: case,
        kin="instance_norm",
    ),
    Relation(
        name="groups = 1",
        statement="With one group and no affine parts, GroupNorm is the framework's own LayerNorm.",
        applies=lambda case: case.settings["num_groups"] == 1 and _bare(case),
        transformed=lambda case: case,
        kin="layer_norm",
    ),
)
