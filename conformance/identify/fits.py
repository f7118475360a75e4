"""What explains a call: from what is shipped to what may have gone wrong, a level after the other."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from normgauge.conformance.diagnosis.common_features import CHANCE
from normgauge.conformance.diagnosis.measured_setting import Interval, measured_setting
from normgauge.conformance.identify.parts import SMALL, Needs, Place, part_for
from normgauge.conformance.identify.recovered import Recovered, recovered
from normgauge.conformance.identify.search import Search
from normgauge.conformance.identify.trials import USUAL, Trial, simplest
from normgauge.conformance.identify.whole import Held, held
from normgauge.oracle import Arithmetic, Semantics, fewer_digits, precisions

#: Typical errors up to which fitted numbers, or fewer digits, explain a result: they adapt to errors, or are wide.
_WELL: Final = 4.0
#: How much better than canonical, in typical errors, something must explain what the bound of canonical allows, too.
_LIKELY: Final = 8.0
#: Candidates that are held to everything at most.
_MOST: Final = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """What explains everything: a trial and a semantics; ``eps`` and ``momentum`` are measured where they were open.

    ``other`` says what beside the semantics is not as it was given, such as the layout, eps or the weight, and
    ``remedy`` what mends that.
    """

    trial: Trial
    held: Held
    measured: Mapping[str, Interval]
    other: str = ""
    remedy: str = ""
    recovered: Recovered | None = None

    @property
    def semantics(self) -> Semantics:
        return self.held.semantics

    @property
    def departs(self) -> bool:
        return bool(self.semantics.departures() or self.other)


class Level(enum.IntEnum):
    """How far is looked: each level costs more than the one before.

    Of a large input the third level has what needs other sets than a value's own.
    """

    SHIPPED = 0
    ONE_MISTAKE = 1
    OTHER_SETS = 2
    TWO_MISTAKES = 3


def fits_at(level: Level, search: Search, trial: Trial, canonical: Held) -> tuple[Fit, ...]:
    """What explains everything at this level, the fewest departures and the least errors first."""
    own = (Fit(trial=trial, held=canonical, measured={}),) if canonical.fits else ()
    if canonical.fits and canonical.of_typical <= 1:
        return own
    most = min(1.0, canonical.of_typical / _better(trial)) if own else math.inf
    for found in _found(level, search, trial, within=canonical.fits):
        if not own and (right := tuple(one for one in found if not one.departs)):
            return right
        if well := tuple(one for one in found if one.departs and one.held.explains and one.held.of_typical <= most):
            return (*well, *own)
    return own


def _better(trial: Trial) -> float:
    """How much better something must explain what the bound of canonical allows, so that chance does not.

    A poor order of summation leaves each set an error of its own. That one of many candidates comes nearer to all of
    them by a factor is as likely as the candidates are many, by the factor to the power of the sets less.
    """
    question = trial.question
    candidates = sum(len(axis.values + axis.mistakes) - 1 for axis in question.kind.axes)
    sets = max(1, question.kind.sets(question.x.shape, question.groups))
    return float(max(_LIKELY, (candidates / CHANCE) ** (1 / sets)))


def _found(level: Level, search: Search, trial: Trial, *, within: bool) -> Iterable[tuple[Fit, ...]]:
    """What each step of a level gives; what is ``within`` its bound needs no explanation but another semantics."""
    ladder = precisions(trial.question.dtype)
    first = ladder[0]
    if level is Level.SHIPPED:
        yield from (_of_semantics(search, trial, _shipped(search, a), a) for a in ladder)
    elif level is Level.ONE_MISTAKE:
        yield from (_of_semantics(search, trial, search.with_a_mistake(a), a) for a in ladder)
        if not within:
            yield with_recovered(search, trial, first, related=True)
            yield _with_other_settings(search, trial, first)
            yield from (_few_digits(search, trial, a) for a in fewer_digits(trial.question.dtype))
    elif level is Level.OTHER_SETS:
        yield from (_of_semantics(search, trial, search.shipped(a, expensive=True), a) for a in ladder)
        yield from (_of_semantics(search, trial, search.with_a_mistake(a, expensive=True), a) for a in ladder)
    elif not within:
        yield _of_semantics(search, trial, search.with_two_mistakes(first), first)
        yield with_recovered(search, trial, first)


def _shipped(search: Search, arithmetic: Arithmetic) -> list[Semantics]:
    """What is shipped and fits; where it has one departure, the mistakes that do the same beside it."""
    found = search.shipped(arithmetic)
    if not found or len(found[0].departures()) != 1 or search.question.x.size > SMALL:
        return found
    return [*found, *search.with_a_mistake(arithmetic, most=0)]


def _of_semantics(
    search: Search, trial: Trial, candidates: Sequence[Semantics], arithmetic: Arithmetic
) -> tuple[Fit, ...]:
    """Those of the candidates that hold everywhere."""
    few = [one for one in candidates if len(one.departures()) == len(candidates[0].departures())]
    found = [held(search.question, one, arithmetic) for one in few[:_MOST]]
    fits = sorted((one for one in found if one.fits), key=lambda one: one.of_typical)
    rounding = [one for one in fits if one.of_typical <= 1]
    return tuple(Fit(trial=trial, held=one, measured={}) for one in rounding or fits)


def _few_digits(search: Search, trial: Trial, arithmetic: Arithmetic) -> tuple[Fit, ...]:
    found = _of_semantics(search, trial, search.shipped(arithmetic), arithmetic)
    form = arithmetic.held
    words = f"{form.digits} bits are kept in intermediate results, as by {form.name}, not the 24 of float32"
    return tuple(replace(one, other=words) for one in found if one.held.of_typical <= _WELL)


def _with_other_settings(search: Search, trial: Trial, arithmetic: Arithmetic) -> tuple[Fit, ...]:
    """The canonical or the nearest semantics with another eps, momentum or number of groups than the one given."""
    others = _with_other_groups(trial, arithmetic)
    if others:
        return others
    _, nearest = search.nearest(arithmetic)
    part = part_for(search.question, search.place, Needs.OWN_SET)
    for semantics in dict.fromkeys((_Key(search.question.kind.canonical), _Key(nearest))):
        for name, values in USUAL.items():
            if name in trial.open or name not in trial.question.settings:
                continue
            interval = measured_setting(part.seen(), semantics.semantics, name, arithmetic, search.references)
            if interval is None:
                continue
            value = simplest(values, interval)
            there = trial.at(**{name: value})
            found = held(there.question, semantics.semantics, arithmetic)
            if found.fits and found.of_typical <= _WELL:
                words = f"{name} is {value:g}, not {trial.question.settings[name]:g}"
                remedy = f"give the layer {name}={trial.question.settings[name]:g}"
                return (Fit(trial=there, held=found, measured={name: interval}, other=words, remedy=remedy),)
    return ()


def _with_other_groups(trial: Trial, arithmetic: Arithmetic) -> tuple[Fit, ...]:
    """The canonical semantics with another number of groups than the one that is given."""
    question = trial.question
    if "num_groups" not in question.settings or "num_groups" in trial.open:
        return ()
    every = range(question.channels, 0, -1)  # the smallest sets first
    divisors = (n for n in every if question.channels % n == 0 and n != question.groups)
    for groups in divisors:
        there = trial.at(num_groups=groups)
        part = part_for(there.question, Place(), Needs.OWN_SET)
        if held(part, question.kind.canonical, arithmetic).fits:
            found = held(there.question, question.kind.canonical, arithmetic)
            if found.fits and found.of_typical <= _WELL:
                words = f"num_groups is {groups}, not {question.groups}"
                remedy = f"give the layer num_groups={question.groups}"
                return (Fit(trial=there, held=found, measured={}, other=words, remedy=remedy),)
    return ()


@dataclass(frozen=True)
class _Key:
    """A semantics as a key: two of the same choices are one."""

    semantics: Semantics

    def __hash__(self) -> int:
        return hash(tuple(self.semantics.choices.items()))


def with_recovered(search: Search, trial: Trial, arithmetic: Arithmetic, *, related: bool = False) -> tuple[Fit, ...]:
    """The canonical semantics, or one departure of a small input, with the weight and the bias that the output shows.

    With ``related`` only where these are made from those given.
    """
    kind = search.question.kind
    candidates = [kind.canonical]
    if search.question.x.size <= SMALL:
        candidates += [
            Semantics(layer=kind.name, choices={**kind.canonical.choices, axis.name: name})
            for axis in kind.axes
            for name in axis.names[1:]
        ]
    for semantics in candidates:
        found = recovered(trial.question, semantics, arithmetic)
        if found is None or not found.words or (related and not found.related):
            continue
        there = replace(trial, question=found.question)
        kept = held(there.question, semantics, arithmetic)
        if kept.fits and kept.of_typical <= _WELL:
            other = "" if found.unknown else found.words
            return (Fit(trial=there, held=kept, measured={}, other=other, remedy=found.remedy, recovered=found),)
    return ()
