"""Curves and groups of the choices that runs measured, by the oracle, and the implementations that made each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from normgauge.oracle import AXES, CANONICAL, Axis, Semantics, batch_norm, group_norm, initial_statistics, semantics
from normgauge.oracle.pools import group_norm_pool
from normgauge.results.illustrations import (
    Curve,
    EpsPlacements,
    Grouping,
    Groupings,
    Illustrations,
    RunningStatistics,
)
from normgauge.results.records import Header, Profile, Record

#: The name of an implementation of a run on the page.
Named = Callable[[Header, str], str]
Followers = dict[str, list[str]]
#: The default of most layers.
EPS: Final = 1e-5
RATIOS: Final = tuple(float(one) for one in 10.0 ** np.linspace(-8, 4, 49))
#: A size of the groups that is not their number.
CHANNELS: Final = 12
GROUPS: Final = 3
#: Few values, so that n and n - 1 differ much; neither their mean nor their variance is that of a new layer.
BATCH: Final = (-1.0, 1.0, 3.0, 5.0)
MOMENTUM: Final = 0.1
CALLS: Final = 12


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """One implementation at one type, with the single value that was measured on each axis that the oracle has."""

    name: str
    dtype: str
    kind: str
    choices: Mapping[str, str]


def illustrations_of(runs: Sequence[Sequence[Record]], named: Named) -> Illustrations:
    """What can be drawn of these runs; ``named`` gives the name of an implementation on the page.

    Layers that no known semantics explain are left out.
    """
    layers = [one for records in runs for one in _layers(records, named)]
    group_norms, batch_norms = ([one for one in layers if one.kind == kind] for kind in ("group_norm", "batch_norm"))
    return Illustrations(
        eps=_placements(layers) if layers else None,
        groupings=_groupings(group_norms) if group_norms else None,
        running=_running(batch_norms) if batch_norms else None,
    )


def _layers(records: Sequence[Record], named: Named) -> Iterator[_Layer]:
    header = next(one for one in records if isinstance(one, Header))
    for one in records:
        if not isinstance(one, Profile) or not one.known or one.layer not in AXES:
            continue
        measured = {axis.axis: axis.measured[0] for axis in one.axes if len(axis.measured) == 1}
        choices = {
            axis.name: measured[axis.name]
            for axis in AXES[one.layer]
            if measured.get(axis.name) in {value.name for value in axis.every}
        }
        yield _Layer(name=named(header, one.implementation), dtype=one.dtype, kind=one.layer, choices=choices)


def _followers(layers: Iterable[_Layer]) -> Followers:
    found: Followers = {}
    for one in layers:
        found.setdefault(one.name, []).append(one.dtype)
    return found


def _axis(kind: str, name: str) -> Axis:
    return next(one for one in AXES[kind] if one.name == name)


def _by_value(axis: Axis, layers: Sequence[_Layer]) -> dict[str, Followers]:
    """Who follows each value of an axis, the canonical one first, in the order of the axis."""
    by_value = {value.name: [one for one in layers if one.choices.get(axis.name) == value.name] for value in axis.every}
    return {name: _followers(own) for name, own in by_value.items()}


def _placements(layers: Sequence[_Layer]) -> EpsPlacements:
    axis = _axis("group_norm", "eps_placement")
    followers = _by_value(axis, layers)
    return EpsPlacements(
        eps=EPS,
        ratios=[*RATIOS],
        curves=[
            Curve(
                name=name,
                meaning=axis.value(name).meaning,
                canonical=name == axis.canonical,
                followers=own,
                values={"output": [_output(ratio, semantics("group_norm", eps_placement=name)) for ratio in RATIOS]},
            )
            for name, own in followers.items()
            if own or name in axis.names
        ],
    )


def _output(ratio: float, choice: Semantics) -> float:
    """The output at the larger of two values whose variance is ``ratio`` times eps."""
    deviation = np.sqrt(ratio * EPS)
    return float(group_norm(np.array([[[-deviation, deviation]]]), 1, eps=EPS, semantics=choice).value.max())


def _groupings(layers: Sequence[_Layer]) -> Groupings:
    axis = _axis("group_norm", "grouping")
    rows = [
        Grouping(
            name=name,
            meaning=axis.value(name).meaning,
            canonical=name == axis.canonical,
            followers=own,
            group_of=_group_of(semantics("group_norm", grouping=name)),
        )
        for name, own in _by_value(axis, layers).items()
        if own or name == axis.canonical
    ]
    return Groupings(channels=CHANNELS, groups=GROUPS, rows=rows)


def _group_of(choice: Semantics) -> list[int]:
    pool = group_norm_pool((1, CHANNELS, 1), GROUPS, choice)
    found = np.empty(CHANNELS, dtype=np.intp)
    found[pool.destination] = pool.statistics_of[:, None]
    return [int(one) for one in found]


# --- running statistics -------------------------------------------------------------------------


def _running(layers: Sequence[_Layer]) -> RunningStatistics:
    """A curve for the canonical semantics, and one for each other that was measured."""
    by_curve: dict[str, tuple[dict[str, list[float]], list[_Layer]]] = {}
    canonical = _tracked({})
    by_curve[repr(canonical)] = canonical, []
    for choices, own in _by_choices(layers).items():
        values = _tracked(dict(choices))
        by_curve.setdefault(repr(values), (values, []))[1].extend(own)
    curves = []
    for values, own in by_curve.values():
        departures = {} if values == canonical else _departures(own[0].choices, values)
        axes = {axis.name: axis for axis in AXES["batch_norm"]}
        told = [axes[axis].value(value).meaning for axis, value in departures.items()]
        curves.append(
            Curve(
                name=", ".join(f"{axis} {value}" for axis, value in departures.items()) or "canonical",
                meaning="; ".join(told or (axes[one].values[0].meaning for one in ("running_var", "momentum_weighs"))),
                canonical=values == canonical,
                followers=_followers(own),
                values=values,
            )
        )
    return RunningStatistics(batch=[*BATCH], momentum=MOMENTUM, curves=curves)


def _by_choices(layers: Sequence[_Layer]) -> dict[tuple[tuple[str, str], ...], list[_Layer]]:
    found: dict[tuple[tuple[str, str], ...], list[_Layer]] = {}
    for one in layers:
        found.setdefault(tuple(one.choices.items()), []).append(one)
    return found


def _tracked(choices: Mapping[str, str]) -> dict[str, list[float]]:
    """Running mean and variance of a new layer before the first call in training, and after each."""
    running = initial_statistics([0.0], [1.0])
    means, variances = [0.0], [1.0]
    x = np.array(BATCH)[:, None]
    for _ in range(CALLS):
        after = batch_norm(
            x, running, training=True, momentum=MOMENTUM, semantics=semantics("batch_norm", **choices)
        ).running
        assert after is not None
        running = after
        means.append(float(running.mean.value[0]))
        variances.append(float(running.var.value[0]))
    return {"running_mean": means, "running_var": variances}


def _departures(choices: Mapping[str, str], values: Mapping[str, list[float]]) -> dict[str, str]:
    """The choices without which the curve is another one."""
    canonical = CANONICAL["batch_norm"].choices
    return {
        axis: value
        for axis, value in choices.items()
        if value != canonical[axis] and _tracked({**choices, axis: canonical[axis]}) != values
    }
