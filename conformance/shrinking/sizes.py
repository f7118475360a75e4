"""From a large case to the smallest size that still shows what it shows, one dimension after the other.

Each is halved between a size that shows it and one that does not, so that a case of a million elements takes a dozen
runs a dimension. What stays are the last positions, channels and samples: a kernel loses those.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from normgauge.adapters.case import Array, Case, Observation
from normgauge.conformance.layers.registry import kind_of
from normgauge.conformance.subjects.subject import Target

#: Elements of a case from which on its size is searched; the fixed steps of shrinking do for smaller ones.
_LARGE: Final = 128
#: Elements of all cases that may be run for it.
_MOST_ELEMENTS: Final = 2**24

Shows = Callable[[Case, Observation], bool]


@dataclass(kw_only=True)
class _Search:
    case: Case
    observation: Observation
    shows: Shows
    target: Target
    left: int = _MOST_ELEMENTS

    def shown_by(self, smaller: Case) -> bool:
        """Whether the smaller case shows it, too; then it is the one from here on."""
        size = sum(step.x.size for step in smaller.steps)
        if size > self.left:
            return False
        self.left -= size
        seen = self.target.run(smaller)
        if not self.shows(smaller, seen):
            return False
        self.case, self.observation = smaller, seen
        return True


def smallest_size(case: Case, observation: Observation, shows: Shows, target: Target) -> tuple[Case, Observation]:
    """The case with the least positions, samples, channels a group and groups that a search by halves finds.

    A case whose steps have unlike shapes, of rank 1, or of few elements, stays as it is.
    """
    shapes = {step.x.shape for step in case.steps}
    shape = min(shapes)
    if len(shapes) > 1 or len(shape) < 2 or math.prod(shape) < _LARGE or case.settings["num_channels"] != shape[1]:
        return case, observation
    search = _Search(case=case, observation=observation, shows=shows, target=target)
    for cut in _DIMENSIONS:
        _halve(search, cut)
    return search.case, search.observation


def _halve(search: _Search, cut: Cut) -> None:
    shows, fails = cut.size(search.case), 0
    while shows - fails > 1:
        middle = (shows + fails) // 2
        smaller = cut.to(search.case, middle)
        if _is_possible(smaller, search.case) and search.shown_by(smaller):
            shows = middle
        else:
            fails = middle


def _is_possible(smaller: Case, case: Case) -> bool:
    """One value a set is a question of its own."""
    return _values(smaller) > 1 or _values(case) == 1


def _values(case: Case) -> int:
    return kind_of(case.layer).values_per_set(case.steps[0].x.shape, case.settings.get("num_groups", 1))


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A dimension: its ``size`` in a case, and the case cut ``to`` a smaller one."""

    size: Callable[[Case], int]
    to: Callable[[Case, int], Case]


def _positions(case: Case) -> int:
    return math.prod(case.steps[0].x.shape[2:])


def _last_positions(case: Case, count: int) -> Case:
    def cut(x: Array) -> Array:
        flat = x.reshape(*x.shape[:2], -1)[:, :, -count:]
        return flat.reshape(*flat.shape[:2], *(1,) * (x.ndim - 3), count)

    return _mapped(case, cut)


def _last_samples(case: Case, count: int) -> Case:
    return _mapped(case, lambda x: x[-count:])


def _groups(case: Case) -> int:
    return int(case.settings.get("num_groups", 1))


def _channels_a_group(case: Case) -> int:
    return int(case.steps[0].x.shape[1] // _groups(case))


def _last_groups(case: Case, count: int) -> Case:
    channels = count * _channels_a_group(case)
    changed = _with_channels(case, lambda values, axis: _last(values, channels, axis), channels)
    return replace(changed, settings={**changed.settings, "num_groups": count})


def _last_of_groups(case: Case, count: int) -> Case:
    """The last channels of each group."""
    groups, channels = _groups(case), count * _groups(case)

    def cut(values: Array, axis: int) -> Array:
        parts = values.reshape(*values.shape[:axis], groups, -1, *values.shape[axis + 1 :])
        kept = _last(parts, count, axis + 1)
        return kept.reshape(*values.shape[:axis], channels, *values.shape[axis + 1 :])

    return _with_channels(case, cut, channels)


def _last(values: Array, count: int, axis: int) -> Array:
    index: tuple[Any, ...] = (slice(None),) * axis
    return values[(*index, slice(values.shape[axis] - count, None))]


def _with_channels(case: Case, cut: Callable[[Array, int], Array], channels: int) -> Case:
    changed = _mapped(case, lambda x: cut(x, 1)).with_parameters(lambda name, value: cut(value, 0))
    return replace(changed, settings={**changed.settings, "num_channels": channels})


def _mapped(case: Case, cut: Callable[[Array], Array]) -> Case:
    def step_cut() -> Iterator[Any]:
        for step in case.steps:
            yield replace(step, x=cut(step.x).copy(), dy=None if step.dy is None else cut(step.dy).copy())

    return replace(case, steps=tuple(step_cut()))


#: The dimensions in the order in which they are searched.
_DIMENSIONS: Final = (
    Cut(size=_positions, to=_last_positions),
    Cut(size=lambda case: len(case.steps[0].x), to=_last_samples),
    Cut(size=_groups, to=_last_groups),
    Cut(size=_channels_a_group, to=_last_of_groups),
)
