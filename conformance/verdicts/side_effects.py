"""Rule ``unmodified``: nothing that a user holds is changed, and no output shares its memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from normgauge.adapters.case import PARAMETERS
from normgauge.adapters.kept import GRADIENT, LOADED, OUTPUT, SAVED
from normgauge.conformance.diagnosis.candidates import Seen
from normgauge.conformance.requirements.requirement import Requirement
from normgauge.conformance.verdicts.evidence import Evidence, Judged, Sentence
from normgauge.results.records import Verdict

#: What keeps an array as it is that a later call changes; a copy of the input is for all others.
_COPIES: Final[Mapping[str, str]] = {
    OUTPUT: "copy the output before the next call",
    GRADIENT: "copy the gradients before the next call",
    SAVED: "copy the saved state before it is loaded",
    **{LOADED.format(name): "load a copy" for name in PARAMETERS},
}


#: Where an output lies in memory that the layer goes on to use.
SHARED: Final = "copy the output before writing to it"


def copies(changed: Iterable[str]) -> str:
    """What keeps these as they are; tests/conformance/test_remedies.py applies each to a layer that changes it."""
    return "; ".join(dict.fromkeys(_COPIES.get(name, "pass a copy") for name in changed))


def judge_unmodified(requirement: Requirement, evidence: Evidence) -> Judged:
    changed = [(one, {name for step in one.observation.steps for name in step.modified}) for one in evidence.seen]
    shared = [(one, {name for step in one.observation.steps for name in step.shares}) for one in evidence.seen]
    rows: tuple[tuple[list[tuple[Seen, set[str]]], Verdict, str, Callable[[Iterable[str]], str]], ...] = (
        (changed, "crashes", "the call changed", copies),
        (shared, "diverges", "the output shares memory with", lambda _: SHARED),
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
                remedy=advice(sorted(names)),
                shows=one,
            )
    steps = sum(len(one.observation.steps) for one in evidence.seen)
    if not steps:
        return Judged(verdict="cannot tell", measured="", sentence=Sentence(text="no call returned"))
    return Judged(verdict="conforms", measured="", sentence=evidence.note(f"{steps} calls changed nothing"))
