"""The way from what is known to what fits: open settings, then semantics, then what else may have gone wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from normgauge.conformance.diagnosis.measured_setting import Interval, measured_setting
from normgauge.conformance.diagnosis.references import References
from normgauge.conformance.identify.known import FIRST, LAST, Known, layouts
from normgauge.conformance.identify.parts import SMALL, Needs, Place, part_for
from normgauge.conformance.identify.question import LIKE_X, Question
from normgauge.conformance.identify.recovered import Recovered, recovered
from normgauge.conformance.identify.search import Search
from normgauge.conformance.identify.trials import USUAL, Trial, readings, simplest, trials
from normgauge.conformance.identify.whole import Held, held
from normgauge.oracle import Arithmetic, Semantics, fewer_digits, precisions

#: Trials whose open eps or momentum is looked for: those that lie nearest; and those that are looked into at most.
_NEAREST: Final = 3
_TRIED: Final = 4
#: Elements up to which several trials are looked into.
_FOR_SEVERAL: Final = 2**17
#: What a weight or a bias that have nothing to do with those given count as, in departures.
_UNRELATED: Final = 5
#: Typical errors up to which fitted numbers, or fewer digits, explain a result: they adapt to errors, or are wide.
_WELL: Final = 4.0
#: How much better than canonical, in typical errors, something must explain what the bound of canonical allows, too.
_LIKELY: Final = 8.0
#: Candidates that are held to everything at most.
_MOST: Final = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """What explains everything: a trial and a semantics; ``eps`` and ``momentum`` are measured where they were open.

    ``other`` says what beside the semantics is not as it was given, such as the layout, eps or the weight.
    """

    trial: Trial
    held: Held
    measured: dict[str, Interval]
    other: str = ""
    recovered: Recovered | None = None

    @property
    def semantics(self) -> Semantics:
        return self.held.semantics

    @property
    def departs(self) -> bool:
        return bool(self.semantics.departures() or self.other)


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """What fits, the best first, and the canonical semantics beside it; ``nearest`` where nothing fits."""

    canonical: Held
    trial: Trial
    fits: tuple[Fit, ...]
    #: Every number of groups, and every trial, that fits as well as the first.
    alike: tuple[Trial, ...]
    nearest: Semantics
    place: Place

    @property
    def departures(self) -> float:
        """In how much the best fit departs from canonical and from what was given; infinite where nothing fits."""
        if not self.fits:
            return math.inf
        best = self.fits[0]
        of_other = 1 if best.recovered is None or best.recovered.related else _UNRELATED
        return len(best.semantics.departures()) + bool(best.other) * of_other


def explained(known: Known) -> Explanation:
    """What gives the arrays that are known."""
    references = References()
    found = _explained(known, trials(known), references)
    if found.fits or known.settings.layout is None or known.x.ndim < 3:
        return found
    return _in_other_layout(known, found, references)


def _in_other_layout(known: Known, found: Explanation, references: References) -> Explanation:
    """The explanation in the layout that was not given, if there is one; else ``found``."""
    other = FIRST if known.settings.layout == LAST else LAST
    free = replace(known, settings=replace(known.settings, layout=None))
    if other not in layouts(free):
        return found
    there = _explained(known, trials(known, other), references)
    if not there.fits or there.fits[0].semantics.departures():
        return found
    words = f"the channels stand {'last' if other == LAST else 'first'}, not {'first' if other == LAST else 'last'}"
    fits = tuple(replace(one, other=words) for one in there.fits)
    return replace(there, fits=fits, canonical=found.canonical)


def _explained(known: Known, every: list[Trial], references: References) -> Explanation:
    ranked, alike = _ranked(known, every, references)
    if ranked[0].open & {"num_groups", "layout", "layer"} and not known.has("weight"):
        shallow = _of_trial(ranked[0], references, deep=False)
        found = shallow if shallow.fits else _with_unknown_weight(every, references)
        if found is not None:
            return replace(found, alike=found.alike or alike)
    several = ranked[: _TRIED if known.x.size <= _FOR_SEVERAL else 1]
    best = _of_trial(several[0], references)
    best = replace(best, alike=alike if best.fits else ())
    for trial in several[1:]:
        if best.departures <= 1:
            break
        other = _of_trial(trial, references)
        best = replace(other, alike=(trial,)) if other.departures < best.departures else best
    return best


def _of_trial(trial: Trial, references: References, *, deep: bool = True) -> Explanation:
    question, ladder = trial.question, precisions(trial.question.dtype)
    canonical = held(question, question.kind.canonical, ladder[0])
    place = place_of(canonical)
    search = Search(question=question, place=place, references=references, without=_free(trial))
    fits = _fits(search, trial, canonical, ladder, deep=deep)
    measured = _measured(fits[0], place, references) if fits else {}
    fits = tuple(replace(one, measured={**one.measured, **measured}) for one in fits)
    nearest = fits[0].semantics if fits else search.nearest(ladder[0])[1]
    return Explanation(canonical=canonical, trial=trial, fits=fits, alike=(), nearest=nearest, place=place)


def _free(trial: Trial) -> frozenset[str]:
    """The axes that say nothing where a setting is open: another value of it explains as much."""
    return frozenset(f"{name}_value" for name in ("eps", "momentum") if name in trial.open)


def _with_unknown_weight(every: Sequence[Trial], references: References) -> Explanation | None:
    """The trials that fit with a weight and a bias that were not given; None where none does."""
    found = []
    for trial in every:
        search = Search(question=trial.question, references=references)
        found += [(trial, one) for one in _recovered(search, trial, precisions(trial.question.dtype)[0])]
    if not found:
        return None
    fewest = min(len(one.semantics.departures()) for _, one in found)
    left = [pair for pair in found if len(pair[1].semantics.departures()) == fewest]
    trial, fit = left[0]
    fit = replace(fit, measured=_measured(fit, Place(), references))
    canonical = held(trial.question, trial.question.kind.canonical, precisions(trial.question.dtype)[0])
    return Explanation(
        canonical=canonical,
        trial=trial,
        fits=(fit,),
        alike=tuple(trial for trial, _ in left),
        nearest=fit.semantics,
        place=place_of(canonical),
    )


def place_of(one: Held) -> Place:
    """The sample and the channel of the worst element."""
    worst = one.worst
    if worst is None:
        return Place()
    if worst.quantity in LIKE_X:
        return Place(sample=worst.index[0], channel=worst.index[1])
    return Place(channel=worst.index[0])


# --- open settings -------------------------------------------------------------------------------------------------


def _ranked(known: Known, every: list[Trial], references: References) -> tuple[tuple[Trial, ...], tuple[Trial, ...]]:
    """The trials, that which explains most first, with eps and momentum where these are open; and all that are alike.

    On a part of a large input.
    """
    read = [reading for trial in every for reading in readings(known, trial)]
    if len(read) == 1 and not {"eps", "momentum"} & read[0].open:
        return (read[0],), (read[0],)
    canonical = [(_canonical_on_a_part(trial), trial) for trial in read]
    fitting = [trial for one, trial in canonical if one.fits and one.of_typical <= 1]
    fitting = fitting or [trial for one, trial in canonical if one.fits]
    if fitting:
        return tuple(fitting), tuple(fitting)
    nearest = [(*_nearest(trial, references), trial) for trial in read]
    ranked = sorted(nearest, key=lambda one: float(f"{one[0]:.1e}"))  # the first one of those that are as near
    adjusted = [found for _, one, trial in ranked[:_NEAREST] if (found := _adjusted(trial, one, references))]
    rest = tuple(trial for _, _, trial in ranked)
    return (*adjusted, *rest), tuple(adjusted) or rest[:1]


def _part(trial: Trial) -> Question:
    return part_for(trial.question, Place(), Needs.OWN_SET)


def _canonical_on_a_part(trial: Trial) -> Held:
    question = _part(trial)
    return held(question, question.kind.canonical, precisions(question.dtype)[0])


def _nearest(trial: Trial, references: References) -> tuple[float, Semantics]:
    search = Search(question=trial.question, references=references)
    return search.nearest(precisions(trial.question.dtype)[0])


def _adjusted(trial: Trial, nearest: Semantics, references: References) -> Trial | None:
    """The trial with the eps or the momentum with which canonical or the nearest semantics fit; else None."""
    arithmetic, part = precisions(trial.question.dtype)[0], _part(trial)
    for semantics in (part.kind.canonical, nearest):
        for name, values in USUAL.items():
            if name not in trial.open:
                continue
            for value in values:
                if held(_part(trial.at(**{name: value})), semantics, arithmetic).fits:
                    return trial.at(**{name: value})
            interval = measured_setting(part.seen(), semantics, name, arithmetic, references)
            if interval is not None:
                return trial.at(**{name: simplest(values, interval)})
    return None


def _measured(fit: Fit, place: Place, references: References) -> dict[str, Interval]:
    """The interval of each setting that is open and shows in what was observed."""
    found: dict[str, Interval] = {}
    for name in fit.trial.open & USUAL.keys():
        part = part_for(fit.trial.question, place, Needs.OWN_SET)
        interval = measured_setting(part.seen(), fit.semantics, name, fit.held.arithmetic, references)
        if interval is not None:
            found[name] = interval
    return found


# --- semantics -----------------------------------------------------------------------------------------------------


def _fits(
    search: Search, trial: Trial, canonical: Held, ladder: Sequence[Arithmetic], *, deep: bool
) -> tuple[Fit, ...]:
    """What explains everything, the fewest departures and the least errors first; not ``deep``, what is shipped."""
    if canonical.fits and canonical.of_typical <= 1:
        return (Fit(trial=trial, held=canonical, measured={}),)
    steps: list[Callable[[], Iterable[tuple[Fit, ...]]]] = [
        lambda: (_of_semantics(search, trial, _shipped(search, a), a) for a in ladder),
    ]
    if deep:
        steps.append(lambda: (_of_semantics(search, trial, search.with_a_mistake(a), a) for a in ladder))
    if deep and not canonical.fits:  # what is within its bound needs no other explanation of this kind
        steps += [
            lambda: [_with_other_settings(search, trial, ladder[0])],
            lambda: [_recovered(search, trial, ladder[0], related=True)],
            lambda: (_few_digits(search, trial, a) for a in fewer_digits(trial.question.dtype)),
            lambda: [_of_semantics(search, trial, search.with_two_mistakes(ladder[0]), ladder[0])],
            lambda: [_recovered(search, trial, ladder[0])],
        ]
    own = (Fit(trial=trial, held=canonical, measured={}),) if canonical.fits else ()
    most = min(1.0, canonical.of_typical / _LIKELY) if own else math.inf
    for step in steps:
        for found in step():
            well = tuple(one for one in found if one.departs and one.held.of_typical <= most)
            canonical_too = [one for one in found if not one.departs]
            if canonical_too and not own:
                return tuple(canonical_too)
            if well:
                return (*well, *own)
    return own


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
                return (Fit(trial=there, held=found, measured={name: interval}, other=words),)
    return ()


def _with_other_groups(trial: Trial, arithmetic: Arithmetic) -> tuple[Fit, ...]:
    """The canonical semantics with another number of groups than the one that is given."""
    question = trial.question
    if "num_groups" not in question.settings or "num_groups" in trial.open:
        return ()
    divisors = (n for n in range(1, question.channels + 1) if question.channels % n == 0 and n != question.groups)
    for groups in divisors:
        there = trial.at(num_groups=groups)
        part = part_for(there.question, Place(), Needs.OWN_SET)
        if held(part, question.kind.canonical, arithmetic).fits:
            found = held(there.question, question.kind.canonical, arithmetic)
            if found.fits and found.of_typical <= _WELL:
                words = f"num_groups is {groups}, not {question.groups}"
                return (Fit(trial=there, held=found, measured={}, other=words),)
    return ()


@dataclass(frozen=True)
class _Key:
    """A semantics as a key: two of the same choices are one."""

    semantics: Semantics

    def __hash__(self) -> int:
        return hash(tuple(self.semantics.choices.items()))


def _recovered(search: Search, trial: Trial, arithmetic: Arithmetic, *, related: bool = False) -> tuple[Fit, ...]:
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
            return (Fit(trial=there, held=kept, measured={}, other=other, recovered=found),)
    return ()
