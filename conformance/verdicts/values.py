"""Rules ``values``, ``constant``, ``answer`` and ``parameter_types``: within the bound of what is followed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from normgauge.adapters.case import Observation
from normgauge.conformance.diagnosis.candidates import Deviation, Seen, as_given
from normgauge.conformance.diagnosis.diagnose import shipped
from normgauge.conformance.layers.registry import kind_of, requirements
from normgauge.conformance.requirements.inputs import per_channel
from normgauge.conformance.requirements.probe import GRADIENTS, Probe
from normgauge.conformance.requirements.requirement import Requirement
from normgauge.conformance.verdicts.evidence import (
    Evidence,
    Judged,
    crashed,
    excuse,
    foreseen,
    instead,
    refused,
    told,
    witness,
)
from normgauge.conformance.verdicts.explained_values import explained_values
from normgauge.conformance.verdicts.gradients import Explained, departs_forward, explained_gradients
from normgauge.conformance.verdicts.held_bits import FORWARD, bits_that_hold, rounded_step
from normgauge.conformance.verdicts.in_common import notes_on
from normgauge.conformance.verdicts.overflow import overflow
from normgauge.oracle import Arithmetic, Semantics


def judge_values(requirement: Requirement, evidence: Evidence) -> Judged:
    asked = evidence.of(requirement.id)
    died = [one for one in asked if one.observation.died]
    if died:
        return crashed(died)
    if not asked:
        return _not_asked(requirement, evidence)
    sorted_ = _sorted_cases(asked, evidence)
    notes = (*sorted_.excused, *sorted_.silent)
    if sorted_.outside:
        return _outside(requirement, sorted_, notes, evidence)
    if sorted_.held:
        one, deviation = max(sorted_.held, key=lambda pair: pair[1].ratio)
        closest = witness(one, deviation, "the bound, at its closest", evidence.dtype)
        sentence = evidence.note(f"inside the error bound in {len(sorted_.held)} case(s)")
        return Judged(verdict="conforms", measured="", sentence=sentence, notes=notes, witnesses=(closest,))
    if sorted_.silent or not sorted_.excused:
        reason = sorted_.silent[0] if sorted_.silent else "its semantics refuse every case, which another axis tells"
        return Judged(verdict="cannot tell", measured="", sentence=evidence.note(reason), notes=notes)
    return Judged(verdict="unsupported", measured="", sentence=evidence.note(sorted_.excused[0]), notes=notes)


def _not_asked(requirement: Requirement, evidence: Evidence) -> Judged:
    if needed := evidence.waits_for(requirement.id):
        reason = f"its cases need {needed}, and there it follows no known alternative"
        return Judged(verdict="cannot tell", measured="", sentence=evidence.note(reason))
    return Judged(verdict="unsupported", measured="", sentence=evidence.note("no input of this kind exists for it"))


def judge_constant(requirement: Requirement, evidence: Evidence) -> Judged:
    judged = judge_values(requirement, evidence)
    exact, asked = 0, 0
    for one in evidence.of(requirement.id):
        bias = one.probe.case.parameters.get("bias")
        for seen in one.observation.steps:
            if bias is not None and "output" in one.probe.quantities and np.shape(seen.output)[1:2] == bias.shape:
                asked += 1
                exact += bool(np.all(seen.output == per_channel(seen.output.shape, bias)))
    note = f"the bias comes out bit for bit in {exact} of {asked} constant inputs"
    return replace(judged, notes=(*judged.notes, note)) if asked else judged


def judge_answer(requirement: Requirement, evidence: Evidence) -> Judged:
    """As by values; and a refusal is as good an answer."""
    asked = evidence.of(requirement.id)
    refusals = [one for one in asked if one.observation.raised]
    answered = replace(evidence, seen=tuple(one for one in evidence.seen if one not in refusals))
    if len(refusals) < len(asked) or not asked:
        judged = judge_values(requirement, answered)
        notes = tuple(f"{one.probe.label}: refused" for one in refusals)
        if judged.verdict != "unsupported" or not refusals:
            return replace(judged, notes=(*judged.notes, *notes))
    witnesses = tuple(witness(one, refused(one.observation), "acceptance", evidence.dtype) for one in refusals)
    return Judged(
        verdict="conforms", measured="refused", sentence=evidence.does("refuses"), notes=(), witnesses=witnesses
    )


def judge_parameter_types(requirement: Requirement, evidence: Evidence) -> Judged:
    """As by answer; the type of the output is the framework's choice, and is told."""
    judged = judge_answer(requirement, evidence)
    cases: dict[str, list[str]] = {}
    for one in evidence.of(requirement.id):
        for dtype in dict.fromkeys(step.dtype for step in one.observation.steps):
            cases.setdefault(dtype, []).append(one.probe.label)
    notes = [f"output of {dtype}: {'; '.join(labels)}" for dtype, labels in cases.items()]
    return replace(judged, notes=(*judged.notes, *notes))


@dataclass(kw_only=True)
class _SortedCases:
    """The cases of a ``values`` requirement by what became of them."""

    outside: list[tuple[Seen, Deviation]] = field(default_factory=list)
    excused: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    held: list[tuple[Seen, Deviation]] = field(default_factory=list)


def _sorted_cases(asked: Sequence[Seen], evidence: Evidence) -> _SortedCases:
    found = _SortedCases()
    for one in asked:
        reason = excuse(one.observation)
        deviation, nearest = evidence.best(one.probe.case, one.observation, one.probe.quantities)
        if deviation.ratio <= 1:
            deviation = overflow(one, evidence) or deviation
        if deviation.ratio > 1 and _departs_anyway(one, evidence):
            found.silent.append(f"{one.probe.label}: it departs without that, too")
        elif deviation.ratio > 1 and deviation.quantity in GRADIENTS and departs_forward(one, evidence):
            found.silent.append(f"{one.probe.label}: its output departs, too")
        elif deviation.ratio > 1:
            found.outside.append((one, deviation))
        elif foreseen(one, evidence):
            continue  # the semantics it follows refuse this; the axis says so once
        elif reason:
            found.excused.append(f"{one.probe.label}: {reason}")
        elif _hides_state(one, nearest, evidence):
            found.silent.append(f"{one.probe.label}: not everything asked for is shown")
        elif _says_nothing(one, nearest, evidence):
            found.silent.append(f"{one.probe.label}: out of range, the bound is infinite")
        else:
            found.held.append((one, deviation))
    return found


def _departs_anyway(one: Seen, evidence: Evidence) -> bool:
    """Whether the case without what its requirement is about departs as well."""
    beside = (other for other in evidence.seen if other.probe.case is one.probe.without)
    if any(evidence.best(other.probe.case, other.observation)[0].ratio > 1 for other in beside):
        return True
    return _rule_of(one) == "range" and _departs_at_its_length(one, evidence.ordinary)


def _rule_of(one: Seen) -> str:
    return requirements()[one.probe.requirement].rule


def _departs_at_its_length(one: Seen, evidence: Evidence) -> bool:
    """Whether ordinary numbers depart, too, in sets of up to about as many values."""
    most = 2 * _length(one)
    others = (other for other in evidence.seen if _rule_of(other) == "sizes" and _length(other) <= most)
    return any(evidence.best(o.probe.case, o.observation, o.probe.quantities)[0].ratio > 1 for o in others)


def _length(one: Seen) -> int:
    """The values of a set, in the longest step."""
    case = one.probe.case
    groups = case.settings.get("num_groups", 1)
    return max((kind_of(case.layer).values_per_set(step.x.shape, groups) for step in case.steps), default=0)


def _outside(requirement: Requirement, found: _SortedCases, notes: tuple[str, ...], evidence: Evidence) -> Judged:
    one, deviation = max(found.outside, key=lambda pair: pair[1].ratio)
    witnesses = tuple(witness(o, d, "the semantics it follows elsewhere", evidence.dtype) for o, d in found.outside)
    # What is within its bound and left the range of its type is explained by that: it follows nothing else there.
    overflowed = evidence.best(one.probe.case, one.observation, one.probe.quantities)[0].ratio <= 1
    known = Explained()
    if deviation.quantity in GRADIENTS and not overflowed:
        known = explained_gradients(requirement, evidence.of(requirement.id), evidence)
    elsewhere = "" if known.cause or overflowed or requirement.rule == "sizes" else _follows_there(one, evidence)
    rule, shared, rounds = "", tuple[str, ...](), ""
    if not overflowed and requirement.rule != "sizes":
        rule, shared = notes_on(evidence.ordinary, deviation.quantity)
        if deviation.quantity in FORWARD:
            rounds = rounded_step(evidence.ordinary) if _depart_widely(found, evidence.ordinary) else ""
            bits = bits_that_hold(evidence.ordinary, deviation.quantity, evidence.ordinary.precisions[-1])
            shared = (*shared, f"{deviation.quantity}: {bits}") if bits else shared
    told_of = explained_values([o for o, _ in found.outside], evidence)
    cause = told_of or known.cause or rounds or elsewhere
    ending = f": {told_of}" if told_of else known.ending or rule
    notes = (*notes, *known.notes, *shared)
    if len(found.outside) > 1:
        notes = (*notes, f"shown by: {'; '.join(o.probe.label for o, _ in found.outside)}")
    sentence = evidence.note(f"{told(deviation, one)}{ending}")
    return Judged(
        verdict="diverges",
        measured=cause or instead(as_given(deviation, one.probe.case)),
        sentence=sentence,
        notes=notes,
        witnesses=witnesses,
        shows=one,
        explained=bool(cause),
        ending=ending,
    )


def _depart_widely(found: _SortedCases, evidence: Evidence) -> bool:
    """Whether all cases depart from the bounds by which ordinary ones are judged, and not from narrower ones alone."""
    return all(evidence.best(one.probe.case, one.observation, FORWARD)[0].ratio > 1 for one, _ in found.outside)


def _hides_state(one: Seen, semantics: Semantics, evidence: Evidence) -> bool:
    """Whether a quantity that is asked for was not shown, as by a worker that reports no state."""
    prediction = evidence.expected(one.probe.case, semantics)
    return any(
        quantity in one.probe.quantities and quantity not in seen.quantities
        for seen, expected in zip(one.observation.steps, prediction.steps, strict=False)
        for quantity in expected
    )


def _says_nothing(one: Seen, semantics: Semantics, evidence: Evidence) -> bool:
    prediction = evidence.expected(one.probe.case, semantics)
    references = [reference for step in prediction.steps for reference in step.values()]
    sizes = [reference.value.size for reference in references]
    return sum(sizes) > 0 and not any(reference.says_something().any() for reference in references)


def _follows_there(one: Seen, evidence: Evidence) -> str:
    """Which semantics the departing case alone would follow, where that differs, in words."""
    local = shipped(one.probe.case.layer, _beginnings(one), evidence.dtype, evidence.references)
    if local is None or _out_of_range(one, local.followed()[0], local.arithmetic, evidence):
        return ""
    usual = evidence.followed[0].choices
    differing = {axis: values for axis, values in local.values.items() if usual[axis] not in values}
    axes = {axis.name: axis for axis in kind_of(one.probe.case.layer).axes}
    told_of = [(axes[name], values) for name, values in differing.items()]
    answers = [f"{axis.question}? {' or '.join(axis.value(own).meaning for own in values)}" for axis, values in told_of]
    return f"there: {'; '.join(answers)}" if answers else ""


def _beginnings(one: Seen) -> list[Seen]:
    """Its first step, its first two, four and so on, and all: a beginning excludes most candidates at little cost."""
    case, steps = one.probe.case, one.observation.steps
    counts = [2**power for power in range(len(steps).bit_length()) if 2**power < len(steps)]
    parts = [(replace(case, steps=case.steps[:count]), Observation(steps=steps[:count])) for count in counts]
    probe = Probe(label=one.probe.label, case=case, requirement=one.probe.requirement, diagnoses=True)
    return [Seen(probe=replace(probe, case=own), observation=seen) for own, seen in [*parts, (case, one.observation)]]


def _out_of_range(one: Seen, semantics: Semantics, arithmetic: Arithmetic, evidence: Evidence) -> bool:
    """Whether a bound is infinite somewhere, so that what was observed there speaks for nothing."""
    prediction = evidence.expected(one.probe.case, semantics, arithmetic)
    return any(not own.says_something().all() for step in prediction.steps for own in step.values())
