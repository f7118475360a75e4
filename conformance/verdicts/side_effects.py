"""Rule ``unmodified``: nothing that a user holds is changed, and every result is the user's own to write to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from normgauge.adapters.case import PARAMETERS
from normgauge.adapters.kept import GRADIENT, LOADED, OUTPUT, SAVED
from normgauge.adapters.memory import PAIRS
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


#: How a result is called in a sentence.
_CALLED: Final[Mapping[str, str]] = {"output": "the output"}


def copies(changed: Iterable[str]) -> str:
    """What keeps these as they are; tests/conformance/test_remedies.py applies each to a layer that changes it."""
    return "; ".join(dict.fromkeys(_COPIES.get(name, "pass a copy") for name in changed))


def own(results: Collection[str]) -> str:
    """What makes these results a user's own to write to; tests/conformance/test_remedies.py does so."""
    return f"copy {_listed(results)} before writing to {'them' if len(results) > 1 else 'it'}"


def _changed(names: Sequence[str]) -> tuple[str, str]:
    return f"the call changed {', '.join(names)}", copies(names)


def _shared(names: Sequence[str]) -> tuple[str, str]:
    """The pairs by the result that they have in common."""
    others: dict[str, list[str]] = {}
    for name in names:
        result, other = PAIRS.get(name, ("output", name))  # a program may say something else
        others.setdefault(result, []).append(other)
    told = (f"{_called(result)} shares memory with {', '.join(found)}" for result, found in others.items())
    return "; ".join(told), own(others)


def _read_only(names: Sequence[str]) -> tuple[str, str]:
    return f"{_listed(names)} cannot be written to", own(names)


def _called(result: str) -> str:
    return _CALLED.get(result, result)


def _listed(results: Iterable[str]) -> str:
    return ", ".join(map(_called, results))


#: The fields of a step that name something, the verdict where one does, and how what was found is told, with a remedy.
_ROWS: Final[tuple[tuple[str, Verdict, Callable[[Sequence[str]], tuple[str, str]]], ...]] = (
    ("modified", "crashes", _changed),
    ("shares", "diverges", _shared),
    ("read_only", "diverges", _read_only),
)


def judge_unmodified(requirement: Requirement, evidence: Evidence) -> Judged:
    told: list[str] = []
    remedies: list[str] = []
    worst: tuple[Verdict, Seen] | None = None
    for field, verdict, tell in _ROWS:
        named = [
            (one, {name for step in one.observation.steps for name in getattr(step, field)}) for one in evidence.seen
        ]
        guilty = [(one, names) for one, names in named if names]
        if guilty:
            what, remedy = tell(sorted(set[str]().union(*(names for _, names in guilty))))
            told.append(f"{what} ({len(guilty)} of {len(named)} cases)")
            remedies.append(remedy)
            worst = worst or (verdict, guilty[0][0])
    if worst:
        text = "; ".join(told)
        return Judged(
            verdict=worst[0],
            measured=text,
            sentence=evidence.note(text),
            notes=(),
            witnesses=(),
            remedy="; ".join(dict.fromkeys(remedies)),
            shows=worst[1],
        )
    results = [step for one in evidence.seen for step in one.observation.steps]
    steps = sum(step.watched for step in results)
    if results and not steps:
        return Judged(verdict="unsupported", sentence=evidence.note("not measured: files of answers have no memory"))
    if not steps:
        return Judged(verdict="cannot tell", measured="", sentence=Sentence(text="no call returned"))
    return Judged(verdict="conforms", measured="", sentence=evidence.note(f"{steps} calls changed nothing"))
