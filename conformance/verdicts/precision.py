"""Rules ``precision`` and ``output_type``: what is computed in, and what comes back."""

from __future__ import annotations

from normgauge.conformance.diagnosis.candidates import compare
from normgauge.conformance.requirements.requirement import Requirement
from normgauge.conformance.verdicts.evidence import Evidence, Judged, Sentence, told, witness
from normgauge.oracle import Arithmetic


def judge_precision(requirement: Requirement, evidence: Evidence) -> Judged:
    if not any(one.observation.steps for one in evidence.diagnosis.seen):
        return Judged(verdict="cannot tell", measured="", sentence=Sentence(text="no call returned"))
    if not evidence.diagnosis.known:
        return Judged(
            verdict="cannot tell", measured="", sentence=evidence.does("follows no known alternative in any precision")
        )
    if evidence.arithmetic.dtype == evidence.dtype:
        sentence = evidence.does(f"computes {evidence.dtype} input in {evidence.dtype}")
        return Judged(verdict="conforms", measured=evidence.dtype, sentence=sentence)
    honoured = Arithmetic(evidence.dtype)
    found = []
    for one in evidence.diagnosis.seen:
        prediction = evidence.expected(one.probe.case, evidence.followed[0], honoured)
        found.append((compare(one.observation, prediction), one))
    deviation, loudest = max(found, key=lambda pair: pair[0].ratio)
    outputs = sorted({step.dtype for one in evidence.seen for step in one.observation.steps})
    sentence = evidence.does(
        f"takes {evidence.dtype}, returns {', '.join(outputs)}, and computes in "
        f"{evidence.arithmetic.dtype}: {told(deviation, loudest)}"
    )
    shown = witness(loudest, deviation, f"computing in {evidence.dtype}", evidence.dtype)
    return Judged(
        verdict="diverges",
        measured=f"computes in {evidence.arithmetic.dtype}",
        sentence=sentence,
        notes=(),
        witnesses=(shown,),
        shows=loudest,
        held_to=honoured,
    )


def judge_output_type(requirement: Requirement, evidence: Evidence) -> Judged:
    alike = [one for one in evidence.seen if not one.probe.case.dtypes]  # of others the output may have either type
    found = [(one, step.dtype) for one in alike for step in one.observation.steps]
    if not found:
        return Judged(verdict="cannot tell", measured="", sentence=Sentence(text="no call returned"))
    other = [(one, dtype) for one, dtype in found if dtype != evidence.dtype]
    if not other:
        return Judged(
            verdict="conforms",
            measured=evidence.dtype,
            sentence=evidence.note(f"{len(found)} outputs of {evidence.dtype}"),
        )
    one, dtype = other[0]
    text = f"an output of {dtype} for an input of {evidence.dtype} ({len(other)} of {len(found)} calls)"
    return Judged(
        verdict="diverges",
        measured=dtype,
        sentence=evidence.note(text),
        notes=(),
        witnesses=(),
        shows=one,
    )
