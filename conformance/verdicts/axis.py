"""The rule for axis requirements: what survived on the axis, and nothing else (docs/verdicts.md)."""

from __future__ import annotations

from typing import Final

from normgauge.conformance.diagnosis.candidates import Seen, compare
from normgauge.conformance.layers.registry import kind_of
from normgauge.conformance.requirements.requirement import Requirement
from normgauge.conformance.verdicts.evidence import (
    Evidence,
    Judged,
    Sentence,
    crashed,
    excuse,
    refused,
    told,
    witness,
)
from normgauge.conformance.verdicts.in_common import what_they_share
from normgauge.oracle import Axis, Semantics
from normgauge.results.records import Witness


def departs_on(axis: str, evidence: Evidence) -> bool:
    """Whether the semantics that fit have another value on this axis than the canonical one."""
    kind = kind_of(evidence.diagnosis.layer)
    return evidence.diagnosis.known and kind.axis(axis).canonical not in evidence.diagnosis.values[axis]


def judge_axis(requirement: Requirement, evidence: Evidence) -> Judged:
    axis = kind_of(requirement.layer).axis(str(requirement.axis))
    own = evidence.of(requirement.id)
    died = [one for one in own if one.observation.died]
    if died:
        return crashed(died)
    diagnosis = evidence.diagnosis
    if any(one.probe.requirement == requirement.id for one in diagnosis.misfits):
        return _misfit(requirement, evidence)
    values = diagnosis.values[axis.name]
    if not diagnosis.known:
        return _no_survivor(requirement, axis, values, evidence)
    witnesses = (_against(axis, value, evidence) for value in axis.names if value not in values)
    shown = tuple(one for one in witnesses if one is not None)
    if values == (axis.canonical,):
        return _canonical(axis, evidence, shown)
    if axis.canonical not in values:
        return _departs(requirement, values, evidence, shown)
    return _undecided(axis, values, own or list(diagnosis.seen), evidence, shown)


def _canonical(axis: Axis, evidence: Evidence, shown: tuple[Witness, ...]) -> Judged:
    """It is the canonical value, with what speaks against the others, and which mistakes are excluded."""
    excluded = [one.meaning for one in axis.mistakes if _is_excluded(axis, one.name, evidence)]
    if axis.mistakes and not excluded and len(axis.values) == 1:
        sentence = evidence.note(f"{axis.question}? No case shows it")
        return Judged(verdict="cannot tell", sentence=sentence)
    open_ones = [one.meaning for one in axis.mistakes if one.meaning not in excluded]
    if not shown:  # nothing is shipped beside it: the first mistake that is excluded speaks
        against = (_against(axis, one.name, evidence) for one in axis.mistakes)
        shown = tuple(one for one in against if one is not None)[:1]
    notes = [("also excluded", excluded), ("not distinguished by these cases", open_ones)]
    return Judged(
        verdict="conforms",
        measured=axis.canonical,
        sentence=_axis_sentence(evidence, axis, (axis.canonical,)),
        notes=tuple(f"{what}: {'; '.join(meanings)}" for what, meanings in notes if meanings),
        witnesses=shown,
    )


def _is_excluded(axis: Axis, value: str, evidence: Evidence) -> bool:
    """Whether some case of the diagnosis excludes a mistake, all else as followed."""
    return evidence.diagnosis.against(axis.name, value, evidence.references) is not None


def _undecided(
    axis: Axis, values: tuple[str, ...], deciding: list[Seen], evidence: Evidence, shown: tuple[Witness, ...]
) -> Judged:
    """The cases that decide it could not be run, or they say too little."""
    if any(one.observation.died for one in deciding):
        return crashed([one for one in deciding if one.observation.died])
    excused = [one.observation.unsupported for one in deciding if one.observation.unsupported]
    if excused:
        return Judged(verdict="unsupported", measured="", sentence=evidence.note(excused[0]), notes=tuple(excused))
    left = ", ".join(values)
    return Judged(
        verdict="cannot tell",
        measured=left,
        sentence=Sentence(text=f"{axis.question}? The cases do not distinguish {left}"),
        notes=(),
        witnesses=shown,
    )


def _departs(
    requirement: Requirement, values: tuple[str, ...], evidence: Evidence, shown: tuple[Witness, ...]
) -> Judged:
    axis = kind_of(requirement.layer).axis(str(requirement.axis))
    measured = ", ".join(values)
    sentence = _axis_sentence(evidence, axis, values)
    canonical = _against(axis, axis.canonical, evidence)
    loudest = evidence.diagnosis.against(axis.name, axis.canonical, evidence.references)
    notes: tuple[str, ...] = ()
    if loudest and loudest[0].observation.raised:  # it refuses what must be taken
        notes = (excuse(loudest[0].observation) or "",)
    witnesses = ((canonical,) if canonical else ()) + tuple(w for w in shown if w is not canonical and w != canonical)
    return Judged(
        verdict="raises" if notes else "diverges",
        measured=measured,
        sentence=sentence,
        notes=notes,
        witnesses=witnesses,
        shows=loudest[0] if loudest else None,
        departs={axis.name: axis.canonical},
    )


def _misfit(requirement: Requirement, evidence: Evidence) -> Judged:
    """The requirement's own case follows no known alternative, while all the others fit."""
    found = []
    for one in evidence.diagnosis.misfits:
        if one.probe.requirement == requirement.id:
            deviation, _ = evidence.best(one.probe.case, one.observation)
            if deviation.ratio <= 1 and one.observation.raised is not None:
                deviation = refused(one.observation)
            found.append((one, deviation))
    one, deviation = max(found, key=lambda pair: pair[1].ratio)
    sentence = evidence.does(f"follows no known alternative here: {told(deviation, one)}")
    witnesses = tuple(witness(o, d, "the nearest alternative", evidence.dtype) for o, d in found)
    return Judged(
        verdict="diverges",
        measured="no known alternative",
        sentence=sentence,
        notes=(),
        witnesses=witnesses,
        shows=one,
    )


#: Where nothing fits, the axis that a departing quantity puts in doubt first.
_SHOWN_BY: Final = {"output": "eps_placement", "running_mean": "momentum_weighs", "running_var": "running_var"}


def _no_survivor(requirement: Requirement, axis: Axis, values: tuple[str, ...], evidence: Evidence) -> Judged:
    """Rule 3: no known alternative fits; the axes whose own cases depart from the nearest one diverge."""
    measured = "no known alternative"
    departing = []
    for one in evidence.diagnosis.seen:
        deviation, nearest = evidence.best(one.probe.case, one.observation)
        if deviation.ratio > 1:
            departing.append((one, deviation, nearest))
    own = [found for found in departing if _SHOWN_BY.get(found[1].quantity) == axis.name]
    nearest_text = ", ".join(f"{name}={value}" for name, value in evidence.followed[0].choices.items())
    if not own:
        sentence = evidence.does(f"follows no known alternative; nearest is {nearest_text}")
        return Judged(verdict="cannot tell", measured=f"nearest: {', '.join(values)}", sentence=sentence)
    witnesses = tuple(witness(one, deviation, "the nearest alternative", evidence.dtype) for one, deviation, _ in own)
    shown = told(own[0][1], own[0][0])
    told_in_order = filter(None, (shown, what_they_share(evidence), f"nearest is {nearest_text}"))
    sentence = evidence.does(f"follows no known alternative: {'; '.join(told_in_order)}")
    return Judged(
        verdict="diverges",
        measured=measured,
        sentence=sentence,
        notes=(),
        witnesses=witnesses,
        shows=own[0][0],
    )


def _axis_sentence(evidence: Evidence, axis: Axis, values: tuple[str, ...]) -> Sentence:
    measured = " or ".join(axis.value(value).meaning for value in values)
    canonical = f"; canonical: {axis.value(axis.canonical).meaning} ({axis.canonical})"
    return evidence.note(
        f"{measured} ({axis.name}: {', '.join(values)}){'' if values == (axis.canonical,) else canonical}"
    )


def _against(axis: Axis, value: str, evidence: Evidence) -> Witness | None:
    """The witness that excludes ``value``, everything else as followed."""
    loudest = evidence.diagnosis.against(axis.name, value, evidence.references)
    if loudest is None:
        return None
    seen, _ = loudest
    other = Semantics(layer=evidence.diagnosis.layer, choices={**evidence.followed[0].choices, axis.name: value})
    prediction = evidence.expected(seen.probe.case, other)
    deviation = compare(seen.observation, prediction)
    if seen.observation.raised is not None and prediction.refused is None:
        deviation = refused(seen.observation)
    return witness(seen, deviation, f"{axis.name}={value}", evidence.dtype, axis=axis.name, value=value)
