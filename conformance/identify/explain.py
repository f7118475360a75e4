"""The way from what is known to what fits: open settings first, then what gives the numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from normgauge.conformance.diagnosis.measured_setting import Interval, measured_setting
from normgauge.conformance.diagnosis.references import References
from normgauge.conformance.identify.fits import Fit, Level, fits_at, with_recovered
from normgauge.conformance.identify.known import FIRST, LAST, Known, layouts
from normgauge.conformance.identify.parts import Needs, Place, part_for
from normgauge.conformance.identify.question import LIKE_X
from normgauge.conformance.identify.ranking import ranked
from normgauge.conformance.identify.search import Search
from normgauge.conformance.identify.trials import USUAL, Trial, trials
from normgauge.conformance.identify.whole import Held, held
from normgauge.oracle import Semantics, precisions

#: Trials that are looked into at most, and the elements up to which several are.
_TRIED: Final = 4
_FOR_SEVERAL: Final = 2**17
#: What a weight or a bias that have nothing to do with those given count as, in departures.
_UNRELATED: Final = 5


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
    references, every = References(), trials(known)
    may_be_other = known.settings.layout is not None and known.x.ndim > 2
    if may_be_other and not _is_canonical(every[0]) and (there := _in_other_layout(known, references)) is not None:
        canonical = _Looked.into(every[0], references).canonical
        return replace(there, canonical=canonical)
    return _explained(known, every, references)


def _is_canonical(trial: Trial) -> bool:
    """Whether a part of the call is canonical."""
    part = part_for(trial.question, Place(), Needs.OWN_SET)
    return any(held(part, part.kind.canonical, one, typical=False).fits for one in precisions(part.dtype))


def _in_other_layout(known: Known, references: References) -> Explanation | None:
    """The explanation in the layout that was not given, if the layer is canonical there."""
    other = FIRST if known.settings.layout == LAST else LAST
    free = replace(known, settings=replace(known.settings, layout=None))
    if other not in layouts(free):
        return None
    every = trials(known, other)
    if not any(map(_is_canonical, every)):
        return None
    there = _explained(known, every, references)
    if not there.fits or there.fits[0].semantics.departures():
        return None
    words = f"the channels stand {'last' if other == LAST else 'first'}, not {'first' if other == LAST else 'last'}"
    axes = "-1, 1" if other == FIRST else "1, -1"
    remedy = f"transpose x before the layer, np.moveaxis(x, {axes}), or tell the layer where its channels stand"
    fits = tuple(replace(one, other=words, remedy=remedy) for one in there.fits)
    return replace(there, fits=fits)


def _explained(known: Known, every: list[Trial], references: References) -> Explanation:
    in_order, alike = ranked(known, every, references)
    several = in_order[:_TRIED] if known.x.size <= _FOR_SEVERAL else _first_of_each_mode(in_order)
    looked = [_Looked.into(trial, references) for trial in several]
    for level in Level:
        found = [one.at(level, references) for one in looked]
        best = min(found, key=lambda one: one.departures)
        poor = level is Level.SHIPPED and bool(best.fits) and best.fits[0].held.of_typical > 1
        if best.fits and not poor:
            return replace(best, alike=alike if best is found[0] else (best.trial,))
        free = in_order[0].open & {"num_groups", "layout", "layer"}
        if level is Level.SHIPPED and free and not known.has("weight"):
            shown = _with_unknown_weight(every, references)
            if shown is not None:
                return shown
    return found[0]


def _first_of_each_mode(in_order: Sequence[Trial]) -> Sequence[Trial]:
    """The first trial of each layer and mode."""
    found: dict[tuple[str, bool], Trial] = {}
    for one in in_order:
        found.setdefault((one.question.layer, one.question.training), one)
    return list(found.values())


@dataclass(frozen=True, kw_only=True, eq=False)
class _Looked:
    """A trial with what is evaluated once for all levels."""

    trial: Trial
    canonical: Held
    search: Search

    @classmethod
    def into(cls, trial: Trial, references: References) -> _Looked:
        question = trial.question
        canonical = held(question, question.kind.canonical, precisions(question.dtype)[0])
        search = Search(question=question, place=place_of(canonical), references=references, without=_free(trial))
        return cls(trial=trial, canonical=canonical, search=search)

    def at(self, level: Level, references: References) -> Explanation:
        """What is found at one level."""
        place = self.search.place
        fits = fits_at(level, self.search, self.trial, self.canonical)
        measured = _measured(fits[0], place, references) if fits else {}
        fits = tuple(replace(one, measured={**one.measured, **measured}) for one in fits)
        nearest = fits[0].semantics if fits else self.canonical.semantics
        if not fits and level is Level.TWO_MISTAKES:
            nearest = self.search.nearest(precisions(self.trial.question.dtype)[0])[1]
        return Explanation(
            canonical=self.canonical, trial=self.trial, fits=fits, alike=(), nearest=nearest, place=place
        )


def _free(trial: Trial) -> frozenset[str]:
    """The axes that say nothing where a setting is open: another value of it explains as much."""
    return frozenset(f"{name}_value" for name in ("eps", "momentum") if name in trial.open)


def _with_unknown_weight(every: Sequence[Trial], references: References) -> Explanation | None:
    """The trials that fit with a weight and a bias that were not given; None where none does."""
    found = []
    for trial in every:
        search = Search(question=trial.question, references=references)
        found += [(trial, one) for one in with_recovered(search, trial, precisions(trial.question.dtype)[0])]
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


def _measured(fit: Fit, place: Place, references: References) -> dict[str, Interval]:
    """The interval of each setting that is open and shows in what was observed."""
    found: dict[str, Interval] = {}
    for name in fit.trial.open & USUAL.keys():
        part = part_for(fit.trial.question, place, Needs.OWN_SET)
        interval = measured_setting(part.seen(), fit.semantics, name, fit.held.arithmetic, references)
        if interval is not None:
            found[name] = interval
    return found
