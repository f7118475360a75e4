"""What another value of an axis does to numbers: the same input through both semantics, by the oracle.

The inputs are a few stated cases for each kind of layer, whose numbers are small and whose eps is large, so that every
axis shows. The first case on which the two semantics differ by more than their error bounds is taken.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from normgauge.adapters.case import Case, Step
from normgauge.conformance.layers.kind import LayerKind
from normgauge.conformance.layers.registry import kind_of
from normgauge.oracle import Arithmetic, Reference, Refusal, Semantics

_EPS: Final = 0.25
_GROUPS: Final = 2
_CHANNELS: Final = 4
_MOMENTUM: Final = 0.25
_DTYPE: Final = "float64"
_REFUSED: Final = "refused"


@dataclass(frozen=True, eq=False, kw_only=True)
class StatedCase:
    """A case, and its words."""

    words: str
    case: Case


@dataclass(frozen=True, kw_only=True)
class Effect:
    """The element that differs most: ``where`` it is, and its value, or ``refused``, in the two semantics."""

    case: StatedCase
    where: str
    a: str
    b: str


def stated_cases(layer: str) -> list[StatedCase]:
    """The cases of a kind of layer, the general one first."""
    return list(_cases(kind_of(layer)))


def _cases(kind: LayerKind) -> Iterator[StatedCase]:
    x = (np.arange(24.0) * 7 % 11 - 5).reshape(2, _CHANNELS, 3)
    settings: dict[str, Any] = {"num_channels": _CHANNELS, "eps": _EPS}
    said = "weight 1, 2, -1, 0.5; bias 0, 1, 0, -1; eps 0.25"
    inputs = "x[n, c, p] = (12n + 3c + p) · 7 mod 11 - 5, shape (2, 4, 3)"
    if kind.grouped:
        settings["num_groups"], said = _GROUPS, f"2 groups; {said}"
    if not kind.tracks:
        yield StatedCase(words=f"{inputs}; {said}", case=_case(kind, settings, ("train", x)))
        return
    settings["momentum"] = _MOMENTUM
    steps = ("train", x), ("eval", x)
    called = f"{inputs}, in training, then in eval; {said}"
    yield StatedCase(words=f"{called}; momentum 0.25", case=_case(kind, settings, *steps))
    yield StatedCase(
        words=f"{called}; momentum None, training twice, the second time on 2x",
        case=_case(kind, settings | {"momentum": None}, ("train", x), ("train", 2 * x), ("eval", x)),
    )
    yield StatedCase(
        words="one sample without positions, x = 1, 2, 3, 4, in training", case=_case(kind, settings, ("train", _ONE))
    )
    yield StatedCase(words=f"{called}; no running statistics", case=_case(kind, settings | {"track": False}, *steps))


_ONE: Final = np.arange(1.0, _CHANNELS + 1).reshape(1, _CHANNELS)


def _case(kind: LayerKind, settings: Mapping[str, Any], *steps: tuple[str, Any]) -> Case:
    parameters = {"weight": np.array([1, 2, -1, 0.5]), "bias": np.array([0.0, 1, 0, -1])}
    made = tuple(Step(mode, x) for mode, x in steps)
    return Case(layer=kind.name, dtype=_DTYPE, settings=dict(settings), parameters=parameters, steps=made)


def effect_of(layer: str, choices: Mapping[str, str], axis: str, b: str, a: str | None = None) -> Effect | None:
    """What the value ``b`` of an axis gives beside ``a``, in semantics with these other ``choices``.

    None where the oracle has no such value, or no stated case shows the difference.
    """
    return _effect_of(layer, tuple(sorted(choices.items())), axis, b, choices[axis] if a is None else a)


@functools.lru_cache(maxsize=4096)  # a report compares every pair of layers
def _effect_of(layer: str, choices: tuple[tuple[str, str], ...], axis: str, b: str, a: str) -> Effect | None:
    kind = kind_of(layer)
    known = {one.name for own in kind.axes if own.name == axis for one in own.every}
    if not {a, b} <= known:
        return None
    one, other = (Semantics(layer=layer, choices={**dict(choices), axis: value}) for value in (a, b))
    for stated in stated_cases(layer):
        found = _largest(_evaluated(kind, stated.case, one), _evaluated(kind, stated.case, other))
        if found is not None:
            return replace(found, case=stated)
    return None


@dataclass(frozen=True, kw_only=True)
class _Run:
    """The quantities of each step, and whether a step was refused after them."""

    steps: tuple[Mapping[str, Reference], ...]
    refused: bool


def _evaluated(kind: LayerKind, case: Case, semantics: Semantics) -> _Run:
    steps: list[Mapping[str, Reference]] = []
    try:
        for step in kind.steps(case, semantics, Arithmetic(_DTYPE)):
            steps.append(step)
    except Refusal:
        return _Run(steps=tuple(steps), refused=True)
    return _Run(steps=tuple(steps), refused=False)


def _largest(one: _Run, other: _Run) -> Effect | None:
    """The first quantity that differs beyond the bounds, at its element that differs most."""
    for number, (before, after) in enumerate(zip(one.steps, other.steps, strict=False), start=1):
        for name in before:
            if (place := _apart(before[name], after[name])) is not None:
                at = ", ".join(map(str, place))
                a, b = (format(float(run[name].value[place]), ".6g") for run in (before, after))
                return Effect(case=_NO_CASE, where=f"call {number}, {name}[{at}]", a=a, b=b)
    if one.refused != other.refused:
        number = 1 + min(len(one.steps), len(other.steps))
        shown = next(iter((other if one.refused else one).steps[number - 1].values()))
        value = " ".join(format(float(v), ".6g") for v in shown.value.ravel()[:4])
        a, b = (_REFUSED, value) if one.refused else (value, _REFUSED)
        return Effect(case=_NO_CASE, where=f"call {number}, output", a=a, b=b)
    return None


def _apart(one: Reference, other: Reference) -> tuple[int, ...] | None:
    """The index of the element that differs most, where any lies beyond both bounds."""
    with np.errstate(all="ignore"):
        far = np.abs(one.value - other.value)
        beyond = (far > one.bound + other.bound) | (np.isnan(one.value) != np.isnan(other.value))
    if not np.any(beyond):
        return None
    worst = int(np.argmax(np.where(beyond, np.where(np.isnan(far), np.inf, far), -1.0)))
    return tuple(int(i) for i in np.unravel_index(worst, far.shape))


_NO_CASE: Final = StatedCase(words="", case=Case(layer="", dtype="", settings={}, parameters={}, steps=()))
