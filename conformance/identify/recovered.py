"""The weight and the bias that an output shows: where they are not those that were given, how they are related."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from normgauge.conformance.diagnosis.predictions import predict
from normgauge.conformance.identify.question import Array, Question
from normgauge.oracle import Arithmetic, Semantics

Float = NDArray[np.float64]
#: The parameters that a layer begins with.
_INITIAL: Final = {"weight": 1.0, "bias": 0.0}
#: What shows in eval as another weight or bias does.
_OF_EVAL: Final = {"weight": "running variance", "bias": "running mean"}
#: Values of a channel from which a weight and a bias are told apart from chance.
_ENOUGH: Final = 4
#: Elements from which one sample is enough, if it has so many values in each channel.
_LARGE: Final = 2**20
_MANY: Final = 256
#: Numbers that are listed.
_LISTED: Final = 8


@dataclass(frozen=True, kw_only=True)
class Recovered:
    """The call with the weight and the bias that the output shows, and how they are related to those given.

    ``unknown``: none was given, and nothing contradicts them. ``related``: they are made from those given.
    """

    question: Question
    words: str
    remedy: str
    unknown: bool
    related: bool


def recovered(question: Question, semantics: Semantics, arithmetic: Arithmetic) -> Recovered | None:
    """The weight and the bias with which ``semantics`` come nearest to the output; None where it does not show them.

    By least squares in each channel, of the output over the normalised input.
    """
    output = question.observed.get("output")
    if output is None or output.size < _ENOUGH * question.channels:
        return None
    running = {name: one for name, one in question.parameters.items() if name not in _INITIAL}
    plain = _with_enough(replace(question, parameters=running, observed={"output": output}, dy=None))
    output = plain.observed["output"]
    expected = predict(plain.case(), semantics, arithmetic)
    if expected.refused is not None:
        return None
    rows, seen = _by_channel(expected.steps[0]["output"].value), _by_channel(output.astype(np.float64))
    middle = rows.mean(axis=1, keepdims=True)
    squares = ((rows - middle) ** 2).sum(axis=1)
    if not (squares > 0).all():
        return None
    weight = ((rows - middle) * seen).sum(axis=1) / squares
    bias = seen.mean(axis=1) - weight * middle[:, 0]
    there = replace(plain, parameters={**running, "weight": weight, "bias": bias})
    off = _uncertainty(there, semantics, arithmetic)
    spread = np.sqrt(squares / rows.shape[1])
    found = {
        "weight": _Shown(values=weight, off=off / spread),
        "bias": _Shown(values=bias, off=off * (1 + np.abs(middle[:, 0]) / spread)),
    }
    if any(_is_one_number(name, one, question) for name, one in found.items()):
        return None
    related = {name: _related(name, one, question) for name, one in found.items()}
    parameters = {name: one.values for name, one in related.items()}
    words = "; ".join(one.words for one in related.values() if one.words)
    remedy = "; ".join(one.remedy for one in related.values() if one.remedy)
    there = replace(question, parameters={**running, **parameters})
    known = [one for name, one in related.items() if one.words and name in question.parameters]
    return Recovered(
        question=there, words=words, remedy=remedy, unknown=not known, related=all(one.related for one in known)
    )


def _with_enough(question: Question) -> Question:
    """The call, or its first sample where that has enough values and needs no other ones."""
    per_sample = question.x[0, 0].size
    independent = not (question.kind.across_samples and question.training)
    if question.x.size <= _LARGE or per_sample < _MANY or not independent:
        return question
    return question.restricted(slice(0, 1), np.arange(question.channels), question.groups)


def _by_channel(values: Array) -> Float:
    """(C, N * positions)."""
    return np.asarray(np.moveaxis(values, 1, 0).reshape(values.shape[1], -1))


def _uncertainty(question: Question, semantics: Semantics, arithmetic: Arithmetic) -> Float:
    """The largest typical error of each channel."""
    usual = predict(question.case(), semantics, replace(arithmetic, typical=True)).steps[0]["output"]
    return np.asarray(_by_channel(usual.bound).max(axis=1))


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """A parameter as the output shows it, each number within ``off``."""

    values: Float
    off: Float

    def is_(self, values: Float) -> bool:
        return bool(np.all(np.abs(self.values - values) <= self.off))


@dataclass(frozen=True, kw_only=True)
class _Related:
    """A parameter with what is said of it; ``values`` are exact where they are made from those given."""

    values: Float
    words: str = ""
    remedy: str = ""
    related: bool = True


def _is_one_number(name: str, shown: _Shown, question: Question) -> bool:
    """Whether a parameter that was not given is one number everywhere: other statistics, and no parameter, show so."""
    if name in question.parameters or question.channels == 1 or shown.is_(np.full(question.channels, _INITIAL[name])):
        return False
    return shown.is_(np.full(question.channels, float(shown.values.mean())))


def _related(name: str, shown: _Shown, question: Question) -> _Related:
    """How a parameter that the output shows is related to the one that was given."""
    initial = np.full(question.channels, _INITIAL[name])
    own = question.parameters.get(name)
    given = initial if own is None else own.astype(np.float64)
    if shown.is_(given):
        return _Related(values=given)
    if own is None:
        low, high = float(shown.values.min()), float(shown.values.max())
        words = (
            f"the layer has a {name}, which was not given: between {low:.4g} and {high:.4g}, {_listed(shown.values)}"
        )
        return _Related(values=shown.values, words=words, remedy=f"pass the {name} to identify")
    if shown.is_(initial):
        return _Related(
            values=initial, words=f"the {name} is {_INITIAL[name]:g} everywhere, not the one that was given"
        )
    order = np.empty(len(given), dtype=np.intp)
    order[np.argsort(shown.values, kind="stable")] = np.argsort(given, kind="stable")
    if shown.is_(given[order]):
        return _Related(
            values=given[order],
            words=f"the {name} is in another order: channel c uses {name}[p[c]], p = {_order(order, question.groups)}",
            remedy=f"load {name}[argsort(p)], or find out who permuted the {name}",
        )
    return _by_a_number(name, shown, given, question)


def _by_a_number(name: str, shown: _Shown, given: Float, question: Question) -> _Related:
    """One that is a multiple of the one given, or differs by a constant; else what differs is listed."""
    factor = float((shown.values * given).sum() / (given**2).sum()) if given.any() else 0.0
    if shown.is_(factor * given):
        words = f"the {name} is {factor:.6g} times the one that was given"
        return _Related(values=factor * given, words=words, remedy=f"look for a factor of {factor:.6g} on the {name}")
    apart = shown.values - given
    if shown.is_(given + float(apart.mean())):
        words = f"the {name} is {apart.mean():+.6g} beside the one that was given, in every channel"
        return _Related(values=given + float(apart.mean()), words=words)
    other = np.flatnonzero(np.abs(apart) > shown.off)
    count = f"{len(other)} of {len(given)} channels" if len(other) < len(given) else "every channel"
    numbers = ", ".join(f"{name}[{c}] is {shown.values[c]:.6g}, not {given[c]:.6g}" for c in other[:3])
    values = np.where(np.abs(apart) > shown.off, shown.values, given)
    beside = "" if question.training else f" (or the {_OF_EVAL[name]})"
    words = f"the {name}{beside} is another one in {count}: {numbers}"
    return _Related(values=values, words=words, related=2 * len(other) <= len(given))


def _order(order: NDArray[np.intp], groups: int) -> str:
    """A permutation in words where it is a known one, else its first numbers."""
    channels = np.arange(len(order))
    known = {"arange(C)[::-1]": channels[::-1]}
    if 1 < groups < len(order):
        known |= {
            f"arange(C).reshape({groups}, -1).T.ravel()": channels.reshape(groups, -1).T.ravel(),
            f"arange(C).reshape(-1, {groups}).T.ravel()": channels.reshape(-1, groups).T.ravel(),
        }
    known |= {f"roll(arange(C), {shift})": np.roll(channels, shift) for shift in (int(-order[0]) % len(order),)}
    return next((words for words, one in known.items() if np.array_equal(order, one)), _listed(order))


def _listed(values: NDArray[np.generic]) -> str:
    shown = ", ".join(f"{one:.4g}" if values.dtype.kind == "f" else str(one) for one in values[:_LISTED])
    return f"[{shown}{', ...' if len(values) > _LISTED else ''}]"
