"""The combinations of open settings, that which explains most first."""

from __future__ import annotations

from typing import Final

from normgauge.conformance.diagnosis.measured_setting import measured_setting
from normgauge.conformance.diagnosis.references import References
from normgauge.conformance.identify.known import Known
from normgauge.conformance.identify.parts import Needs, Place, part_for
from normgauge.conformance.identify.question import Question
from normgauge.conformance.identify.search import Search
from normgauge.conformance.identify.trials import USUAL, Trial, readings, simplest
from normgauge.conformance.identify.whole import Held, held
from normgauge.oracle import Semantics, precisions

#: Trials whose open eps or momentum is looked for: those that lie nearest.
_NEAREST: Final = 3


def ranked(known: Known, every: list[Trial], references: References) -> tuple[tuple[Trial, ...], tuple[Trial, ...]]:
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
