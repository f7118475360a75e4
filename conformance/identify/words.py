"""From an explanation to an answer in plain words."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from normgauge.conformance.identify import answer
from normgauge.conformance.identify.answer import Departure, Difference, Identified, Setting
from normgauge.conformance.identify.explain import Explanation
from normgauge.conformance.identify.fits import Fit
from normgauge.conformance.identify.known import OBSERVED, Known, as_given, layouts
from normgauge.conformance.identify.trials import EPS, MOMENTUM, Trial, simplest
from normgauge.conformance.identify.whole import Held
from normgauge.conformance.layers.registry import kind_of
from normgauge.conformance.verdicts.evidence import WRITE
from normgauge.oracle import Axis, Semantics
from normgauge.results.rounding import word_for

#: Values of a setting beyond which nothing was looked for.
_LEAST: Final = 1e-15
_LARGEST: Final = {"eps": 9.9}
#: The meaning of a setting that is a constant; one pair of arrays shows its value, and not that it never changes.
_CONSTANT: Final = re.compile(r"^(eps|momentum) is always ([\d.e-]+), whatever is given")
_NAME_OF: Final = {quantity: name for name, quantity in OBSERVED.items()}


def answered(known: Known, found: Explanation, *, not_told: Sequence[str], causes: Sequence[str]) -> Identified:
    """The answer: ``not_told`` is what these arrays cannot tell apart, ``causes`` what was found where nothing fits."""
    best = found.fits[0] if found.fits else None
    trial = best.trial if best else found.trial
    shown = [one for one in found.fits if one.departs == (best is not None and best.departs)]
    alternatives = tuple(departures_of(one.semantics) for one in shown if one.semantics.departures())
    own = [one.other for one in shown[:1] if one.other]
    own += [one.recovered.words for one in shown[:1] if one.recovered is not None and not one.other]
    return Identified(
        verdict=_verdict(found),
        title=title_of(trial) + _provided(found, trial, best),
        arrays=_arrays(known, trial),
        alternatives=alternatives,
        causes=(*own, *causes),
        remedies=tuple(dict.fromkeys(_remedies(alternatives, best))),
        settings=tuple(_settings(known, found, best, trial)),
        differences=tuple(_differences(found, best, trial)),
        not_told_apart=tuple(not_told),
        notes=(*known.notes, *_notes(trial, best)),
    )


def _verdict(found: Explanation) -> str:
    if not found.fits:
        return answer.UNKNOWN
    if not found.fits[0].departs:
        return answer.CANONICAL
    return answer.LIKELY if found.canonical.fits else answer.DEPARTS


def title_of(trial: Trial) -> str:
    """The layer with its settings and its mode."""
    question, settings = trial.question, trial.question.settings
    said = [f"num_groups={settings['num_groups']}"] if "num_groups" in settings else []
    said.append(f"eps={settings['eps']:.6g}")
    if question.kind.tracks:
        said.append("training" if question.training else "eval")
    return f"{question.kind.title}({', '.join(said)})"


def _provided(found: Explanation, trial: Trial, best: Fit | None) -> str:
    """What a canonical result rests on that was not given: nobody must take a guess for a proof."""
    if best is None or best.departs:
        return ""
    said = []
    if "layout" in trial.open and trial.question.x.ndim > 2 and len({one.layout for one in found.alike}) == 1:
        place = trial.layout.removeprefix("channels_")
        said.append(f", if the channels stand {place} ({trial.question.channels} channels)")
    if best.recovered is not None:
        said.append(", and if the layer has the weight and bias that are found: a factor common to all does not show")
    return "".join(said)


def _arrays(known: Known, trial: Trial) -> str:
    shape = ", ".join(map(str, known.x.shape))
    layout = "" if known.x.ndim == 2 else f", {trial.layout.replace('_', ' ')}"
    given = ", ".join(known.arrays)
    return f"x ({shape}){layout}; results of {trial.question.dtype}; given: {given}"


def departures_of(semantics: Semantics) -> tuple[Departure, ...]:
    """The departures of a semantics in words."""
    kind = kind_of(semantics.layer)
    found = []
    for name, value in semantics.departures().items():
        axis = kind.axis(name)
        own, right = axis.value(value), axis.value(axis.canonical)
        found.append(
            Departure(
                question=axis.question,
                meaning=_CONSTANT.sub(r"\1 is \2 here, not the \1 that is given", own.meaning),
                canonical=right.meaning,
                source=own.source,
                remedy=_remedy(semantics.layer, axis, value),
            )
        )
    return tuple(found)


def _remedy(layer: str, axis: Axis, value: str) -> str:
    """The canonical step in NumPy, or formula, and what helps with a layer that is not one's own."""
    constant = _CONSTANT.match(axis.value(value).meaning)
    if constant:
        name, number = constant.groups()
        return (
            f"compare it with {name}={number} if that is meant; else use the {name} that is given. These arrays do not "
            f"show whether the layer always takes {number}: make a second output with another {name}"
        )
    advice = [one for one in kind_of(layer).advice if one.key == f"{axis.name}={value}"]
    limits = ("packages", "classes", "backends", "modes", "options", "dtypes")
    general = [one.sentence for one in advice if not any(getattr(one, limit) for limit in limits)]
    own = f"{WRITE} {axis.code or axis.value(axis.canonical).meaning}"
    return f"{own}; around a layer that you cannot change: {'; or '.join(general)}" if general else own


def _remedies(alternatives: Sequence[Sequence[Departure]], best: Fit | None) -> Iterator[str]:
    for departures in alternatives:
        for one in departures:
            yield one.remedy
    if best is not None and best.remedy:
        yield best.remedy


# --- settings ------------------------------------------------------------------------------------------------------


def _settings(known: Known, found: Explanation, best: Fit | None, trial: Trial) -> Iterator[Setting]:
    settings, guessed = trial.question.settings, trial.open
    fit = "fits" if best is not None else "the nearest one"
    if "layer" in guessed:
        kinds = dict.fromkeys(one.question.kind.title for one in found.alike)
        yield Setting(name="layer", value=" or ".join(kinds), known=f"not given; {fit}")
    if "layout" in guessed:
        every = dict.fromkeys(one.layout for one in found.alike)
        others = [one.replace("_", " ") for one in layouts(known) if one not in every]
        worse = f"; {others[0]} does not fit as well" if others and best is not None else ""
        said = " or ".join(one.replace("_", " ") for one in every)
        yield Setting(name="layout", value=said, known=f"not given; {fit}{worse}")
    if "mode" in guessed:
        every = dict.fromkeys("training" if one.question.training else "eval" for one in found.alike)
        yield Setting(name="mode", value=" or ".join(every), known=f"not given; {fit}")
    if "num_groups" in settings:
        if "num_groups" in guessed:
            fitting = sorted({one.question.groups for one in found.alike if "num_groups" in one.question.settings})
            divisors = f"not given; all divisors of {trial.question.channels} channels were tried"
            yield Setting(name="num_groups", value=" or ".join(map(str, fitting)), known=divisors)
        else:
            yield Setting(name="num_groups", value=str(settings["num_groups"]), known="given")
    yield _number("eps", EPS, known.settings.eps, best, trial)
    if "momentum" in settings and known.has("running_mean_after", "running_var_after"):
        yield _number("momentum", MOMENTUM, known.settings.momentum, best, trial)


def _number(name: str, values: tuple[float, ...], given: float | None, best: Fit | None, trial: Trial) -> Setting:
    interval = None if best is None else best.measured.get(name)
    if interval is not None and interval.low < _LEAST and interval.high >= _LARGEST.get(name, math.inf):
        return Setting(name=name, value="any", known="not given; it does not show in what was given")
    if interval is None:
        return Setting(
            name=name,
            value=f"{trial.question.settings[name]:.6g}",
            known="given" if given is not None else "not given; assumed",
        )
    said = f"{simplest(values, interval):g}"
    low = "0" if interval.low < _LEAST else f"{interval.low:.4g}"
    known = "not given; measured" if given is None else f"measured; {given:g} was given"
    return Setting(name=name, value=f"{said}: {low} to {interval.high:.4g} fit", known=known)


# --- differences ---------------------------------------------------------------------------------------------------


def _differences(found: Explanation, best: Fit | None, trial: Trial) -> Iterator[Difference]:
    if best is not None:
        yield _difference("difference", best.held, trial)
    if best is None or best.departs:
        yield _difference("to canonical", found.canonical, found.trial if best is None else trial)


def _difference(beside: str, one: Held, trial: Trial) -> Difference:
    found = Difference(
        beside=beside,
        words=one.refused or word_for(one.of_typical, within_bound=one.fits),
        of_bound=one.of_bound,
        of_typical=one.of_typical,
        largest=one.largest,
    )
    worst = one.worst
    if worst is None:
        return found
    return replace(
        found,
        quantity=_NAME_OF[worst.quantity],
        index=as_given(worst.quantity, worst.index, trial.layout),
        observed=worst.observed,
        expected=worst.expected,
        bound=worst.bound,
        typical=worst.typical,
    )


def _notes(trial: Trial, best: Fit | None) -> Iterator[str]:
    if trial.reading:
        yield trial.reading
    if best is None:
        return
    arithmetic = best.held.arithmetic
    if arithmetic.intermediates is None and arithmetic.dtype != trial.question.dtype:
        yield f"statistics in {arithmetic.dtype}" + (", then rounded to the narrow type" if arithmetic.stored else "")
    elif arithmetic.computing.is_half:
        yield f"sums in {arithmetic.dtype}: computing in float32 would keep more digits"
    if not math.isfinite(best.held.of_bound):
        yield "the arithmetic may leave its range here"
