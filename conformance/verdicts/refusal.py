"""Rule ``refusal``: an exception where the input has no meaning."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from normgauge.conformance.diagnosis.candidates import Deviation, Seen
from normgauge.conformance.requirements.requirement import Requirement
from normgauge.conformance.verdicts.evidence import Evidence, Judged, crashed, excuse, refused, witness


def judge_refusal(requirement: Requirement, evidence: Evidence) -> Judged:
    asked = evidence.of(requirement.id)
    died = [one for one in asked if one.observation.died]
    if died:
        return crashed(died)
    accepted = [one for one in asked if one.observation.raised is None and not one.observation.unsupported]
    notes = []
    for one in asked:
        if one.observation.unsupported:
            notes.append(f"{one.probe.label}: {one.observation.unsupported}")
        elif one.observation.raised and not _names_the_cause(one, evidence.names):
            said = " ".join(one.observation.raised.message.split())[:160]
            notes.append(f"{one.probe.label}: the message names neither value nor rule: {said!r}")
    if accepted:
        labels = "; ".join(one.probe.label for one in accepted)
        witnesses = tuple(
            witness(
                one,
                Deviation(
                    ratio=math.inf,
                    step=1,
                    quantity="output",
                    what=f"an output of shape {one.observation.steps[0].output.shape}",
                ),
                "a refusal",
                evidence.dtype,
            )
            for one in accepted
        )
        sentence = evidence.does(f"accepts inputs that must raise an exception: {labels}")
        return Judged(
            verdict="diverges",
            measured=_accepted(accepted, [one for one in asked if not one.observation.unsupported]),
            sentence=sentence,
            notes=tuple(notes),
            witnesses=witnesses,
            shows=accepted[0],
        )
    if all(one.observation.unsupported for one in asked):
        return Judged(
            verdict="unsupported",
            measured="",
            sentence=evidence.note(notes[0] if notes else "not checked"),
            notes=tuple(notes),
        )
    ordinary = {_kind_of_input(one) for one in evidence.seen if one.observation.steps}
    doubtful = [one for one in asked if one.observation.raised and _kind_of_input(one) not in ordinary]
    if doubtful:
        said = f"{doubtful[0].probe.label}: refused, and so is every ordinary input of its kind"
        return Judged(verdict="cannot tell", sentence=evidence.note(f"{said}: {excuse(doubtful[0].observation)}"))
    refusals = tuple(
        witness(one, refused(one.observation), "acceptance", evidence.dtype) for one in asked if one.observation.raised
    )
    sentence = evidence.does(f"rejects all {len(refusals)} cases" if len(refusals) > 1 else "rejects the only case")
    return Judged(verdict="conforms", measured="refused", sentence=sentence, notes=tuple(notes), witnesses=refusals)


def _accepted(accepted: Sequence[Seen], asked: Sequence[Seen]) -> str:
    """What was accepted of the cases that were asked: all, some, or the one with its settings."""
    if len(accepted) == len(asked):
        return "accepted"
    which = f": {accepted[0].probe.label}" if len(accepted) == 1 else ""
    return f"accepted in {len(accepted)} of {len(asked)} cases{which}"


def _kind_of_input(one: Seen) -> tuple[str, int]:
    """The mode and the rank of a case's first input."""
    step = one.probe.case.steps[0]
    return step.mode, step.x.ndim


def _names_the_cause(seen: Seen, names: Mapping[str, str]) -> bool:
    """Whether a refusal's message names a value that was given or a setting by its name."""
    assert seen.observation.raised is not None
    message = seen.observation.raised.message
    settings: Mapping[str, Any] = seen.probe.case.settings
    values = {str(settings[name]) for name in ("num_channels", "num_groups") if name in settings}
    values |= {str(step.x.shape[1]) for step in seen.probe.case.steps}
    words = {names.get(name, name) for name in ("num_channels", "num_groups")} | {
        "channel",
        "channels",
        "group",
        "groups",
    }
    return bool(set(re.findall(r"\w+", message)) & (values | words))
