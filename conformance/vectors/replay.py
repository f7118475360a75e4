"""A subject that answers from a folder, as a worker would that had been asked the cases of a set of vectors.

A case without an answer is not asked: it is unsupported, and judges nothing.
"""

from __future__ import annotations

import collections
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec
import numpy as np

from normgauge.adapters.case import ACTIONS, PARAMETERS, SETTINGS, Case, Element, Observation, StepResult
from normgauge.adapters.dtypes import KNOWN_DTYPES
from normgauge.adapters.lacks import actions_in, lacking
from normgauge.adapters.worker.protocol import PROTOCOL, case_id
from normgauge.conformance.layers.registry import kind_of
from normgauge.conformance.requirements.case_files import StoredCase
from normgauge.conformance.subjects.messages import Description, Hello, hello_of
from normgauge.conformance.subjects.subject import NO_SCRIPT, CannotRun, Launch, asked_of
from normgauge.conformance.vectors.answers import Answered, Answers
from normgauge.conformance.vectors.export import due, probes_for, values_of
from normgauge.conformance.vectors.manifest import Manifest
from normgauge.oracle import rounded

NOT_IN_THE_SET: Final = "not measured: the set of vectors does not have this case"
_NO_ANSWER: Final = "not measured: the case has no answer"
_STATE: Final = frozenset({"running_mean", "running_var", "weight", "bias"})


@dataclass(frozen=True, kw_only=True)
class Played:
    """Answers that were read once, and what is wrong with them.

    ``observations`` has an observation of each case that the set asks, by its digest: without a result where the answer
    is missing or incomplete. ``lines`` tell each of these; ``dtypes`` are those with answers, by layer.
    """

    manifest: Manifest
    answers: Answers
    observations: dict[bytes, Observation]
    dtypes: dict[str, tuple[str, ...]]
    lines: tuple[str, ...]

    def subject(self, launch: Launch, dtype: str) -> Replay:
        """What runs cases, in the place of a worker."""
        return Replay(self, launch, dtype)


class Replay:
    """The answers as a subject: cases are looked up by their digests."""

    def __init__(self, played: Played, launch: Launch, dtype: str) -> None:
        self.dtype, self.restarts, self.given_up = dtype, 0, False
        self._observations = played.observations
        self.greeting = _hello(played, launch, dtype)

    def begin(self) -> None:
        pass

    def run(self, implementation: str, cases: Sequence[Case]) -> Iterator[Observation]:
        known = self._observations

        def absent(case: Case) -> str | None:
            return None if case.digest in known else NOT_IN_THE_SET

        return asked_of(cases, absent, lambda asked: (known[case.digest] for case in asked))

    def script(self, implementation: str, case: Case, about: str, element: Element | None = None) -> str:
        return NO_SCRIPT

    def close(self) -> None:
        pass


def _hello(played: Played, launch: Launch, dtype: str) -> Hello:
    notes, dtypes = played.answers.notes, played.dtypes
    described = [
        Description(
            id=id_of(played.answers, layer),
            layer=layer,
            layout="N, C, *",
            names={name: name for name in SETTINGS},
            documentation="",
            ranks=msgspec.convert(played.manifest.ranks, tuple),
            remedies={},
            signature_defaults={},
            dtypes=own,
        )
        for layer, own in dtypes.items()
    ]
    if not described:
        raise CannotRun(f"{launch.framework}: no case of the set has an answer")
    everything = [one for one in KNOWN_DTYPES if any(one in own for own in dtypes.values())]
    hello = Hello(
        protocol=PROTOCOL,
        framework=launch.framework,
        versions=notes.versions,
        platform=notes.platform or platform.platform(),
        device=notes.device,
        dtypes=tuple(everything),
        implementations=tuple(described),
        serves=tuple(KNOWN_DTYPES),
        actions=(*ACTIONS, "inspect"),
        numpy=np.__version__,
    )
    return hello_of(msgspec.to_builtins(hello), dtype)


def id_of(answers: Answers, layer: str) -> str:
    """The id of the implementation that answered the cases of a layer."""
    return answers.notes.implementations.get(layer) or f"{answers.notes.framework}.{kind_of(layer).title}"


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A case of the set with its id, and the requirement that it is a case of first."""

    id: str
    case: Case
    about: str

    def __str__(self) -> str:
        return f"{self.id} ({self.about}, {self.case.layer} {self.case.dtype})"


def play(manifest: Manifest, answers: Answers, cases: tuple[StoredCase, ...]) -> Played:
    """Every case of the set with its answer; ``cases`` are the explored ones that the set has beside the committed."""
    exported = {one.id: one.flags[0] for one in manifest.cases}
    asked: dict[str, _Asked] = {}
    for layer in manifest.layers:
        for dtype in manifest.dtypes:
            for probe in probes_for(layer, dtype, manifest.ranks, cases):
                small = values_of(probe.case) <= manifest.largest
                if small and (name := case_id(probe.case)) in exported:
                    asked.setdefault(name, _Asked(id=name, case=probe.case, about=probe.requirement))
    observations: dict[bytes, Observation] = {}
    lines = [f"not an answer: {name}; its name must be CASE/STEP/QUANTITY" for name in answers.strange]
    lines += [f"not an answer: {name} is no case of the set" for name in sorted(answers.ids - exported.keys())]
    if unknown := exported.keys() - asked.keys():
        lines.append(
            f"not measured: {len(unknown)} cases of the set, which normgauge {manifest.suite} wrote; this version does "
            "not have them: export the set again"
        )
    dtypes: dict[str, tuple[str, ...]] = {}
    for layer in manifest.layers:
        own = [one for one in asked.values() if one.case.layer == layer]
        answered = {one.case.dtype for one in own if one.id in answers.ids}
        dtypes[layer] = tuple(dtype for dtype in manifest.dtypes if dtype in answered)
        if unanswered := [dtype for dtype in manifest.dtypes if dtype not in answered]:
            lines.append(f"not measured: {layer} {', '.join(unanswered)}: no case has an answer")
        found, told = _of_layer(layer, [one for one in own if one.case.dtype in answered], answers)
        observations |= found
        lines += told
    return Played(
        manifest=manifest,
        answers=answers,
        observations=observations,
        dtypes={layer: own for layer, own in dtypes.items() if own},
        lines=tuple(lines),
    )


def _of_layer(layer: str, asked: Sequence[_Asked], answers: Answers) -> tuple[dict[bytes, Observation], list[str]]:
    """The observation of each case of a layer, and a line for each that has none.

    A feature that no answer of the layer has gives one line, not a line per case.
    """
    shown = set().union(*(_shown(one, answers) for one in asked))
    needed = collections.Counter(feature for one in asked for feature in _needs(one.case))
    lines = [
        f"not measured: {layer}: no answer has {feature}, which {count} cases need"
        for feature, count in needed.items()
        if feature not in shown
    ]
    observations: dict[bytes, Observation] = {}
    for one in asked:
        never = [feature for feature in _needs(one.case) if feature not in shown]
        declared = lacking(answers.notes.lacks, one.case)
        if never:
            observations[one.case.digest] = Observation(unsupported=f"not measured: no answer has {never[0]}")
        elif declared is not None and one.id not in answers.ids:
            observations[one.case.digest] = Observation(unsupported=declared)
        else:
            observations[one.case.digest], line = _observed(one, answers)
            lines += [line] if line else []
    return observations, lines


def _needs(case: Case) -> list[str]:
    """What the answer to a case must have, and the program that gives it."""
    quantities = [name for step in case.steps for name in due(case, step)]
    actions = [name.replace("_", " ") for name in sorted(actions_in(case) - {"inspect"})]
    return list(dict.fromkeys([*actions, *(f"calls in {step.mode}" for step in case.steps), *quantities]))


def _shown(one: _Asked, answers: Answers) -> set[str]:
    """What the answer to a case has of what it needs."""
    if one.id not in answers.ids:
        return set()
    numbers = range(1, len(one.case.steps) + 1)
    quantities = {name for step in one.case.steps for name in due(one.case, step)}
    return {
        need
        for need in _needs(one.case)
        if need not in quantities or any((one.id, number, need) in answers.arrays for number in numbers)
    }


def _observed(one: _Asked, answers: Answers) -> tuple[Observation, str]:
    """What the answer to a case says, and a line where it is missing, incomplete or malformed."""
    if one.id not in answers.ids:
        return Observation(unsupported=_NO_ANSWER), f"no answer: {one}"
    raised = answers.notes.raised.get(one.id)
    ended = _step_of(raised.where) if raised is not None else len(one.case.steps) + 1
    steps = []
    for number, step in enumerate(one.case.steps[: ended - 1], start=1):
        named = {name: f"{one.id}/{number}/{name}" for name in due(one.case, step)}
        arrays = {name: array for name in named if (array := answers.arrays.get((one.id, number, name))) is not None}
        if missing := [name for name in named if name not in arrays]:
            reason = f"{_NO_ANSWER} for {', '.join(missing)} of step {number}"
            told = f"incomplete answer: {one}: there is no {', '.join(named[name] for name in missing)}"
            return Observation(unsupported=reason), told
        if faults := [f"{named[name]}: {fault}" for name, array in arrays.items() if (fault := _fault(name, array))]:
            return Observation(died=f"malformed answer: {faults[0]}"), f"malformed answer: {one}: {faults[0]}"
        steps.append(_result(one.case, arrays))
    return Observation(steps=tuple(steps), raised=raised.shortened() if raised is not None else None), ""


def _fault(name: str, array: Answered) -> str:
    """What is wrong with an array whatever its numbers are; a wrong shape is judged as that of a worker."""
    if array.fault or name != "trainable" or array.values.shape == (len(PARAMETERS),):
        return array.fault
    return f"shape {array.values.shape}; give 1 or 0 for each of {', '.join(PARAMETERS)}"


def _step_of(where: str) -> int:
    """The number of the step in which an exception was raised; the first for the constructor."""
    return 1 if where == "construct" else int(where.removeprefix("step "))


def _result(case: Case, arrays: dict[str, Answered]) -> StepResult:
    typed = {name: replace(one, dtype=_type_in(case, one)) for name, one in arrays.items()}
    trainable = typed.pop("trainable", None)
    output = typed.pop("output")
    state = {name: one.values for name, one in typed.items() if name in _STATE}
    gradients = {name: one.values for name, one in typed.items() if name not in _STATE}
    trained = None
    if trainable is not None:
        trained = tuple(name for name, value in zip(PARAMETERS, trainable.values, strict=True) if value)
    return StepResult(
        output=output.values,
        dtype=output.dtype,
        state=state,
        gradients=gradients,
        dtypes={name: one.dtype for name, one in typed.items()},
        trainable=trained,
        watched=False,
    )


def _type_in(case: Case, one: Answered) -> str:
    """The type of an array; numbers of bfloat16 in an array of float32, which NumPy needs, are of bfloat16."""
    if case.dtype != "bfloat16" or one.dtype != "float32":
        return one.dtype
    same = np.array_equal(rounded(one.values.astype(np.float64), "bfloat16"), one.values, equal_nan=True)
    return "bfloat16" if same else one.dtype
