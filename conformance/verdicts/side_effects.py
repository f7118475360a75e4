"""Rule ``unmodified``: no input is changed, and no output shares its memory."""

from __future__ import annotations

from normgauge.conformance.diagnosis.candidates import Seen
from normgauge.conformance.requirements.requirement import Requirement
from normgauge.conformance.verdicts.evidence import Evidence, Judged, Sentence
from normgauge.results.records import Verdict


def judge_unmodified(requirement: Requirement, evidence: Evidence) -> Judged:
    changed = [(one, {name for step in one.observation.steps for name in step.modified}) for one in evidence.seen]
    shared = [(one, {name for step in one.observation.steps for name in step.shares}) for one in evidence.seen]
    rows: tuple[tuple[list[tuple[Seen, set[str]]], Verdict, str, str], ...] = (
        (changed, "crashes", "the call changed", "pass a copy"),
        (shared, "diverges", "the output shares memory with", "copy the output before writing to it"),
    )
    for found, verdict, what, advice in rows:
        guilty = [(one, names) for one, names in found if names]
        if guilty:
            one, names = guilty[0]
            text = f"{what} {', '.join(sorted(names))} ({len(guilty)} of {len(found)} cases)"
            return Judged(
                verdict=verdict,
                measured=text,
                sentence=evidence.note(text),
                notes=(),
                witnesses=(),
                remedy=advice,
                shows=one,
            )
    steps = sum(len(one.observation.steps) for one in evidence.seen)
    if not steps:
        return Judged(verdict="cannot tell", measured="", sentence=Sentence(text="no call returned"))
    return Judged(verdict="conforms", measured="", sentence=evidence.note(f"{steps} calls changed nothing"))
