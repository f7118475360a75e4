"""Rules ``precision``, ``output_type``, ``gradient_types``, ``statistics_types``: what is computed in, what comes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from normgauge.conformance.diagnosis.candidates import Seen, compare
from normgauge.conformance.requirements.requirement import Requirement
from normgauge.conformance.verdicts.evidence import Evidence, Judged, Sentence, told, witness
from normgauge.conformance.verdicts.held_bits import bits_that_hold, rounded_step
from normgauge.oracle import Arithmetic


def judge_precision(requirement: Requirement, evidence: Evidence) -> Judged:
    honoured = Arithmetic(evidence.dtype)
    if not any(one.observation.steps for one in evidence.diagnosis.seen):
        return Judged(verdict="cannot tell", measured="", sentence=Sentence(text="no call returned"))
    if not evidence.diagnosis.known:
        return Judged(
            verdict="cannot tell", measured="", sentence=evidence.does("follows no known alternative in any precision")
        )
    if evidence.arithmetic.held.digits >= honoured.held.digits:
        sentence = evidence.does(f"computes {evidence.dtype} input in {evidence.dtype}")
        return Judged(verdict="conforms", measured=evidence.dtype, sentence=sentence)
    found = []
    for one in evidence.diagnosis.seen:
        prediction = evidence.expected(one.probe.case, evidence.followed[0], honoured)
        found.append((compare(one.observation, prediction), one))
    deviation, loudest = max(found, key=lambda pair: pair[0].ratio)
    outputs = sorted({step.dtype for one in evidence.seen for step in one.observation.steps})
    means, step = _computes(evidence.arithmetic), rounded_step(evidence)
    if step and evidence.arithmetic.intermediates is not None:
        means, step = step, ""
    sentence = evidence.does(
        f"takes {evidence.dtype}, returns {', '.join(outputs)}, and {means}: {told(deviation, loudest)}"
        f"{f'; a layer that {step} would do the same' if step else ''}"
    )
    bits = bits_that_hold(evidence, deviation.quantity, honoured)
    shown = witness(loudest, deviation, f"computing in {evidence.dtype}", evidence.dtype)
    return Judged(
        verdict="diverges",
        measured=means,
        sentence=sentence,
        notes=(f"{deviation.quantity}: {bits}",) if bits else (),
        witnesses=(shown,),
        shows=loudest,
        held_to=honoured,
    )


def _computes(arithmetic: Arithmetic) -> str:
    if arithmetic.intermediates is None:
        return f"computes in {arithmetic.dtype}"
    return f"holds fewer bits on the way: {_EXPLAINED_BY[arithmetic.intermediates]} would explain it"


_EXPLAINED_BY: Final = {
    "tf32": "11 bits, as TF32 and float16 have,",
    "bfloat16": "8 bits, as bfloat16 has,",
    "float16": "11 bits and the range of float16",
}


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


def judge_gradient_types(requirement: Requirement, evidence: Evidence) -> Judged:
    found = []
    for one in evidence.seen:
        of = {"dx": evidence.dtype} | {f"d{name}": one.probe.case.dtypes.get(name, evidence.dtype) for name in _AFFINE}
        for step in one.observation.steps:
            shown = step.gradients.keys() & step.dtypes.keys() & of.keys()
            found += [(one, name, step.dtypes[name], of[name]) for name in sorted(shown)]
    return _judge_types(found, evidence, "{name} is {dtype}, and what it is the gradient of is {right}; x is {x}")


def judge_statistics_types(requirement: Requirement, evidence: Evidence) -> Judged:
    found = []
    for one in evidence.seen:
        case = one.probe.case
        given = {name: case.dtypes.get(name, evidence.dtype) for name in _STATISTICS if name in case.parameters}
        steps = one.observation.steps if not any(step.before for step in case.steps) else ()
        for step in steps:
            found += [(one, name, step.dtypes[name], given[name]) for name in given if name in step.dtypes]
    return _judge_types(found, evidence, "{name} is {right} before the call and {dtype} after it; x is {x}")


_AFFINE: Final = ("weight", "bias")
_STATISTICS: Final = ("running_mean", "running_var")


def _judge_types(found: Sequence[tuple[Seen, str, str, str]], evidence: Evidence, words: str) -> Judged:
    """By cases, each with the name of a result, its type and the type that is asked for; ``words`` say the three."""
    if not found:
        died = any(one.observation.died for one in evidence.seen)
        return Judged(verdict="cannot tell" if died else "unsupported", sentence=evidence.note("no call showed any"))
    other = [row for row in found if row[2] != row[3]]
    if not other:
        return Judged(verdict="conforms", sentence=evidence.note(f"{len(found)} results have the required type"))
    kinds: dict[str, int] = {}
    for _, name, dtype, right in other:
        what = f"{name} {dtype} instead of {right}"
        kinds[what] = kinds.get(what, 0) + 1
    notes = [f"{what}: {count} times, of {len(found)} that were looked at" for what, count in kinds.items()]
    one, name, dtype, right = other[0]
    meaning = words.format(name=name, dtype=dtype, right=right, x=evidence.dtype)
    return Judged(
        verdict="diverges",
        measured=f"{name} {dtype} instead of {right}",
        meaning=meaning,
        sentence=evidence.note(f"{one.probe.label}: {meaning}"),
        notes=tuple(notes),
        shows=one,
    )
