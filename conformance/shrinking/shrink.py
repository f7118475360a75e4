"""From the case that shows a divergence to the smallest one that still does, by fixed steps.

Greedy and deterministic: a step is taken when the simpler case, really run, still shows it.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from normgauge.adapters.case import Array, Case, Observation, Step
from normgauge.adapters.dtypes import KNOWN_DTYPES
from normgauge.adapters.functions import LARGE
from normgauge.adapters.script import PERIODS
from normgauge.conformance.layers.registry import kind_of
from normgauge.conformance.shrinking.sizes import smallest_size
from normgauge.conformance.subjects.subject import Target
from normgauge.oracle import rounded

#: Runs that one divergence may cost; frameworks that compile pay for each new shape.
MOST_RUNS: Final = 60
#: Elements of all the cases of these runs, and the runs that even the largest case has.
_MOST_ELEMENTS: Final = 2**23
_FEW_RUNS: Final = 4
#: More calls than a question about their order has: such a case is one input after another.
_FEW_CALLS: Final = 4

Shows = Callable[[Case, Observation], bool]


def shrink(
    case: Case,
    observation: Observation,
    shows: Shows,
    target: Target,
    *,
    keep_form: bool,
) -> tuple[Case, Observation]:
    """The simplest case found for which ``shows`` holds, with its observation.

    With ``keep_form`` the case keeps its rank and its steps, because they are part of the question. Steps that are one
    input after another are none: of these those stay that are needed.
    """
    case, observation = smallest_size(case, observation, shows, target)
    case, observation = _simplest(case, observation, shows, target, keep_form=keep_form)
    if len(case.steps) > _FEW_CALLS and not any(step.before for step in case.steps):
        fewer = _fewest_calls(case, observation, shows, target)
        if len(fewer[0].steps) < len(case.steps):
            case, observation = _simplest(*fewer, shows, target, keep_form=keep_form)
    return case, observation


def _simplest(
    case: Case, observation: Observation, shows: Shows, target: Target, *, keep_form: bool
) -> tuple[Case, Observation]:
    """The case after as many simplifications as still show it."""
    ranks = [max(step.x.ndim for step in case.steps)] if keep_form else target.ranks
    runs, most = 0, max(_FEW_RUNS, min(MOST_RUNS, _MOST_ELEMENTS // max(1, sum(step.x.size for step in case.steps))))
    moved = True
    while moved and runs < most:
        moved = False
        for simpler in map(_held, _simplifications(case, ranks, keep_form=keep_form)):
            if _size(simpler) >= _size(case):
                continue
            runs += 1
            seen = target.run(simpler)
            if shows(simpler, seen):
                case, observation, moved = simpler, seen, True
                break
            if runs >= most:
                break
    return case, observation


def _fewest_calls(case: Case, observation: Observation, shows: Shows, target: Target) -> tuple[Case, Observation]:
    """The case with one half of its calls after another, as long as that shows it, or with one call that does."""
    while (number := len(case.steps)) > 1:
        parts = [case.steps[number // 2 :], case.steps[: number // 2]]
        for steps in [*parts, *((step,) for step in case.steps[::-1])]:
            fewer = replace(case, steps=steps)
            seen = target.run(fewer)
            if shows(fewer, seen):
                case, observation = fewer, seen
                break
        else:
            break
    return case, observation


def _held(case: Case) -> Case:
    """The case with numbers of its type, where NumPy does not have that and they travel in a wider one."""
    carrier = KNOWN_DTYPES[case.dtype].carrier
    if carrier == case.dtype:
        return case

    def held(values: Array) -> Array:
        return rounded(values, case.dtype).astype(carrier)

    parameters = {name: held(values) for name, values in case.parameters.items()}
    return replace(case, parameters=parameters, steps=tuple(_mapped(step, held) for step in case.steps))


def _size(case: Case) -> tuple[float, ...]:
    """What makes a case hard to check by hand, the gravest first."""
    arrays = [step.x for step in case.steps] + [value for _, value in case.parameter_arrays()]
    arrays += [step.dy for step in case.steps if step.dy is not None]
    digits = sum(len(format(float(v), "g")) for array in arrays for v in _told(array))
    elements = sum(array.size for array in arrays)
    actions = sum(len(step.before) for step in case.steps)
    layouts = sum(bool(step.layout) + bool(step.dy_layout) for step in case.steps)
    return (len(case.steps) + actions + layouts, elements, max(step.x.ndim for step in case.steps), digits)


def _told(array: Array) -> Array:
    """The numbers that a person reads of an array: of a large one each once."""
    return np.unique(array) if array.size > LARGE else array.ravel()


def _simplifications(case: Case, ranks: Sequence[int], *, keep_form: bool) -> Iterator[Case]:
    """Simpler cases, the boldest first."""
    if len(case.steps) > 1 and not keep_form:
        for step in case.steps:
            yield replace(case, steps=(step,))
        yield replace(case, steps=case.steps[1:])
        yield replace(case, steps=case.steps[:-1])
        for number, (step, after) in enumerate(itertools.pairwise(case.steps)):
            kept = replace(after, before=(*step.before, *after.before))  # a call less, with what is done before it
            yield replace(case, steps=(*case.steps[:number], kept, *case.steps[number + 2 :]))
    if not keep_form:
        yield from _plainer_memory(case)
        for number, step in enumerate(case.steps):
            for place in range(len(step.before)):
                fewer = replace(step, before=(*step.before[:place], *step.before[place + 1 :]))
                yield replace(case, steps=(*case.steps[:number], fewer, *case.steps[number + 1 :]))
    if max(step.x.size for step in case.steps) > LARGE:
        yield from _less_of_much(case)
    yield from _smaller_shapes(case, ranks)
    yield from _without_parameters(case)
    yield from _plainer_numbers(case)


def _plainer_memory(case: Case) -> Iterator[Case]:
    """All arrays in the order of their indices; those of one name alone."""
    yield replace(case, steps=tuple(replace(step, layout="", dy_layout="") for step in case.steps))
    yield replace(case, steps=tuple(replace(step, layout="") for step in case.steps))
    yield replace(case, steps=tuple(replace(step, dy_layout="") for step in case.steps))


def _less_of_much(case: Case) -> Iterator[Case]:
    """Half of the positions along one axis; a few values over and over again."""
    shape = max((step.x.shape for step in case.steps), key=math.prod)
    for axis in range(2, len(shape)):
        if shape[axis] > 1:
            yield _cut(case, (*shape[:axis], shape[axis] // 2, *shape[axis + 1 :]))
    for period in PERIODS[::-1]:
        yield replace(case, steps=tuple(_mapped(step, functools.partial(_repeated, period)) for step in case.steps))


def _repeated(period: int, values: Array) -> Array:
    return np.resize(values.ravel()[:period], values.shape)


def _smaller_shapes(case: Case, ranks: Sequence[int]) -> Iterator[Case]:
    shape = max((step.x.shape for step in case.steps), key=math.prod)
    if len(shape) < 2:  # the question is the rank
        return
    kind, groups = kind_of(case.layer), case.settings.get("num_groups", 1)
    channels = sorted({c for c in (2, 4, shape[1] // 2) if c % min(groups, 2) == 0 and 0 < c <= shape[1]} | {shape[1]})
    targets = []
    for count in channels:
        for rank in sorted(ranks):
            for samples in (1, 2, shape[0]):
                for extent in (1, 2):
                    if samples <= shape[0] and rank <= len(shape) and _droppable(case, rank):
                        spatial = tuple(min(extent if i == 0 else 1, n) for i, n in enumerate(shape[2:rank]))
                        targets.append((samples, count, *spatial))
    targets = [
        target for target in dict.fromkeys(targets) if math.prod(target) < math.prod(shape) or len(target) < len(shape)
    ]
    for target in sorted(targets, key=lambda t: (math.prod(t), len(t))):
        if kind.across_samples and kind.values_per_set(target) == 1 < kind.values_per_set(shape):
            continue  # one value a channel is a question of its own
        yield _cut(case, target)


def _droppable(case: Case, rank: int) -> bool:
    """Whether the positions beyond ``rank`` exist, so that the first of them can stand for all."""
    return all(0 not in step.x.shape[rank:] for step in case.steps)


def _cut(case: Case, shape: tuple[int, ...]) -> Case:
    channels = shape[1]
    settings = dict(case.settings)
    if settings["num_channels"] == case.steps[0].x.shape[1]:
        settings["num_channels"] = channels
    if "num_groups" in settings:
        whole = settings["num_groups"] == case.steps[0].x.shape[1]  # one channel a group stays so
        settings["num_groups"] = channels if whole else math.gcd(settings["num_groups"], max(channels // 2, 1))
    steps = tuple(_mapped(step, lambda values: _corner(values, shape)) for step in case.steps)
    smaller = replace(case, settings=settings, steps=steps)
    return smaller.with_parameters(lambda name, value: value[: settings["num_channels"]])


def _corner(x: Array, shape: tuple[int, ...]) -> Array:
    index: tuple[Any, ...] = tuple(slice(0, n) for n in shape) + (0,) * (x.ndim - len(shape))
    return np.ascontiguousarray(x[index])


def _without_parameters(case: Case) -> Iterator[Case]:
    kept = {name: value for name, value in case.parameters.items() if name.startswith("running")}
    if len(kept) < len(case.parameters):
        yield replace(case, parameters=kept)
    if kept:
        yield replace(case, parameters={n: v for n, v in case.parameters.items() if n not in kept})


def _plainer_numbers(case: Case) -> Iterator[Case]:
    large = max(step.x.size for step in case.steps) > LARGE
    for plain in (_rounded,) if large else (_counted, _counted_apart, _rounded):
        yield replace(case, steps=tuple(replace(step, x=plain(step.x)) for step in case.steps))
    if any(step.dy is not None for step in case.steps):
        for plain in (_one_hot, _counted, _rounded):
            yield replace(case, steps=tuple(_mapped(step, plain, only="dy") for step in case.steps))
    small = {name: np.arange(1, value.size + 1).astype(value.dtype) for name, value in case.parameters.items()}
    if small:
        yield replace(case, parameters=small)


def _mapped(step: Step, change: Callable[[Array], Array], only: str | None = None) -> Step:
    """The step with its arrays changed."""
    x = change(step.x) if only in {None, "x"} else step.x
    dy = step.dy if step.dy is None or only == "x" else change(step.dy)
    return replace(step, x=x, dy=dy)


def _one_hot(x: Array) -> Array:
    """1, 0, 0, ..."""
    hot = np.zeros_like(x)
    hot.flat[:1] = 1
    return hot


def _counted(x: Array) -> Array:
    """0, 1, 2, ..."""
    return np.arange(x.size).reshape(x.shape).astype(x.dtype)


def _counted_apart(x: Array) -> Array:
    """0, 1, 10, 11, 20, ...: differences that no permutation of them repeats."""
    index = np.arange(x.size)
    return (index // 2 * 10 + index % 2).reshape(x.shape).astype(x.dtype)


def _rounded(x: Array) -> Array:
    """One significant digit."""
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = 10.0 ** np.floor(np.log10(np.abs(x.astype(np.float64))))
        rounded = np.where(x == 0, 0.0, np.round(x / unit) * unit)
    return np.where(np.isfinite(x), rounded, x).astype(x.dtype)
