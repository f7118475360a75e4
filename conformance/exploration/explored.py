"""What a run explores of one implementation: stored counterexamples first, then the search, told as records."""

from __future__ import annotations

import collections
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from normgauge.adapters.case import Case
from normgauge.adapters.dtypes import KNOWN_DTYPES
from normgauge.adapters.lacks import ASKED
from normgauge.conformance.diagnosis.candidates import as_given
from normgauge.conformance.exploration.budget import Budget
from normgauge.conformance.exploration.departure import Departure
from normgauge.conformance.exploration.search import Explorer
from normgauge.conformance.exploration.sequences import Calls, SequenceSearch
from normgauge.conformance.exploration.strategies import Space, drawable, settled_by
from normgauge.conformance.layers.registry import kind_of, requirements
from normgauge.conformance.requirements.case_files import StoredCase, read_folder, write_case
from normgauge.conformance.requirements.inputs import cast
from normgauge.conformance.requirements.probe import Probe
from normgauge.conformance.shrinking.example import example_of, rows_of
from normgauge.conformance.subjects.messages import Description
from normgauge.conformance.subjects.subject import Subject, Target
from normgauge.conformance.verdicts.accuracy_class import wider_than
from normgauge.conformance.verdicts.evidence import Evidence, Sentence, told_in
from normgauge.oracle import Arithmetic
from normgauge.results.records import DIVERGENT, Counterexample, Explored, Profile

_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9._+-]+")


@dataclass(frozen=True, kw_only=True)
class Exploration:
    """What is asked for: cases within ``budget``, from ``seed``; counterexamples live in ``store``.

    What a ``committed`` case shows is judged, so it is no news here. What the requirements are about that diverge by
    their ``verdicts`` is not asked again. ``kin`` names the framework's own layers for the relations with them, by
    rank.
    """

    budget: Budget
    seed: int
    store: Path | None
    committed: Sequence[StoredCase]
    verdicts: Mapping[str, str]
    measured: Arithmetic
    kin: Mapping[str, Mapping[int, str]]


def explored(
    subject: Subject,
    description: Description,
    profile: Profile,
    evidence: Evidence,
    asked: Exploration,
    progress: Any,
) -> Iterator[Counterexample | Explored]:
    """The counterexamples replayed and found, each as it comes, then what was tried.

    They are held to the arithmetic that was measured.
    """
    explorer = _explorer(subject, description, profile, evidence, asked)
    folder = None if asked.store is None else asked.store / _folder_name(profile.framework)
    yield from _replayed(explorer, folder, evidence, profile.framework)
    half = KNOWN_DTYPES[evidence.dtype].half
    small = half or description.compiles or description.slow or description.mode != "eager"
    space, shapes = _space(subject, description, evidence, asked)
    most = asked.budget.shared(small=small) * space.cases // asked.budget.plan
    calls = Calls.of(kind_of(description.layer), evidence.dtype, description.ranks, shapes, space.drawable)
    sequences = SequenceSearch(explorer=explorer, calls=calls)

    def show(done: int) -> None:
        progress(f"{evidence.implementation} {evidence.dtype}, exploring", min(done, most), most)

    for departure in itertools.chain(
        explorer.search(space, most, asked.seed, show),
        sequences.search(asked.budget.steps(small=small), asked.seed),
    ):
        own = None if folder is None else folder / _folder_name(evidence.implementation)
        kept = None if own is None else _store(own, departure, evidence)
        yield _record(departure, "explored", kept, explorer, profile.framework, evidence)
    tally = explorer.tally
    yield Explored(
        implementation=evidence.implementation,
        framework=profile.framework,
        dtype=evidence.dtype,
        accuracy=explorer.arithmetic.accuracy,
        plans=tally.plans,
        cases=tally.cases,
        refused=tally.refused + sequences.tally.refused,
        known=tally.known + sequences.tally.known,
        sequences=sequences.tally.plans,
        steps=sequences.steps,
    )


def _explorer(
    subject: Subject, description: Description, profile: Profile, evidence: Evidence, asked: Exploration
) -> Explorer:
    """The search, to which what the committed cases show is known."""
    explorer = Explorer(
        subject=subject,
        implementation=evidence.implementation,
        ranks=description.ranks,
        followed=evidence.followed,
        arithmetic=asked.measured,
        wider=wider_than(asked.measured, evidence),
        equal_samples=bool(description.equal_samples),
        kin=asked.kin,
    )
    half = KNOWN_DTYPES[evidence.dtype].half  # what a case of another type shows there is no news
    for stored in asked.committed:
        if (half or stored.dtype == evidence.dtype) and stored.case.layer == description.layer:
            explorer.again(replace(stored, case=_of_type(stored.case, evidence.dtype)))
    return explorer


def _of_type(case: Case, dtype: str) -> Case:
    """The case with its values rounded to the type."""
    if case.dtype == dtype:
        return case
    with np.errstate(over="ignore"):
        steps = tuple(
            replace(step, x=cast(step.x, dtype), dy=None if step.dy is None else cast(step.dy, dtype))
            for step in case.steps
        )
        parameters = {name: cast(value, dtype) for name, value in case.parameters.items()}
    return replace(case, dtype=dtype, steps=steps, parameters=parameters)


def _replayed(explorer: Explorer, folder: Path | None, evidence: Evidence, framework: str) -> Iterator[Counterexample]:
    """The stored counterexamples that the implementation still shows."""
    for path, stored in () if folder is None else read_folder(folder):
        if (stored.implementation, stored.dtype) == (evidence.implementation, evidence.dtype):
            again = explorer.again(stored)
            if again is not None:
                yield _record(again, "replayed", path, explorer, framework, evidence)


def _space(
    subject: Subject, description: Description, evidence: Evidence, asked: Exploration
) -> tuple[Space, list[tuple[int, ...]]]:
    """What may be drawn, and the shapes that a compiling framework knows."""
    budget, compiles = asked.budget, description.compiles
    pool = _pool(evidence, budget.shapes) if compiles else ()
    diverging = [requirement for requirement, verdict in asked.verdicts.items() if verdict in DIVERGENT]
    conforming = {requirement for requirement, verdict in asked.verdicts.items() if verdict == "conforms"}
    # What cannot be differentiated is not asked to, nor what would compile every gradient.
    differentiable = any(requirements()[one].about == "gradients" for one in conforming)
    without = set() if differentiable and not compiles else {"gradients"}
    cases = budget.cheap_plan if description.cheap and not compiles else budget.plan
    unknown = {*ASKED} - {*subject.greeting.actions} | ({"parameter_types"} if _refuses_types(evidence) else set())
    space = Space(
        layer=description.layer,
        dtype=evidence.dtype,
        ranks=description.ranks,
        pool=pool,
        settled=settled_by(diverging) | without,
        drawable=drawable(kind_of(description.layer), evidence.dtype, conforming) - unknown,
        cases=cases,
    )
    return space, [shape for shape, _ in pool]


def _refuses_types(evidence: Evidence) -> bool:
    """Whether parameters of another type than x were refused, which is right as well."""
    return any(one.probe.case.dtypes and not one.observation.steps for one in evidence.seen)


def _folder_name(identifier: str) -> str:
    return _NOT_IN_A_NAME.sub("-", identifier).strip("-.") or "unnamed"


def _pool(evidence: Evidence, most: int) -> tuple[tuple[tuple[int, ...], int], ...]:
    """The ``most`` shapes and group counts that the experiments used most: a framework that compiles knows them."""

    def fits(probe: Probe) -> bool:
        case = probe.case
        shape = case.steps[0].x.shape
        groups = case.settings.get("num_groups", 1)
        if len(shape) < 2 or probe.curve:
            return False
        return 0 not in shape and shape[1] == case.settings["num_channels"] and shape[1] % groups == 0

    found = [
        (one.probe.case.steps[0].x.shape, one.probe.case.settings.get("num_groups", 1))
        for one in evidence.seen
        if fits(one.probe) and one.observation.steps
    ]
    often = collections.Counter(found)
    return tuple(sorted(sorted(often, key=lambda one: (-often[one], one))[:most]))


def _sentence(departure: Departure, evidence: Evidence) -> Sentence:
    shown = told_in(departure.plan, as_given(departure.deviation, departure.case))
    if departure.kind == "accuracy":
        return evidence.does(f"exceeds its accuracy class, {departure.measured} allows it: {shown}")
    if departure.relation is not None:
        breaks = f"{departure.relation.statement} Not here: {shown}"
        return evidence.does(f"beside {departure.kin}: {breaks}") if departure.kin else evidence.note(breaks)
    return evidence.note(shown)


def _store(folder: Path, departure: Departure, evidence: Evidence) -> Path:
    relation = departure.relation.name if departure.relation is not None else None
    stored = StoredCase(
        implementation=evidence.implementation,
        dtype=evidence.dtype,
        signature=departure.signature,
        plan=departure.plan,
        sentence=str(_sentence(departure, evidence)),
        relation=relation,
        case=departure.case,
    )
    return write_case(folder, stored)


def _record(
    departure: Departure, found: Any, path: Path | None, explorer: Explorer, framework: str, evidence: Evidence
) -> Counterexample:
    sentence = _sentence(departure, evidence)
    shown = departure.kin or evidence.implementation
    target = Target(subject=explorer.subject, implementation=shown, ranks=explorer.ranks)
    rows = rows_of(departure.followed, {})
    example = example_of(departure.case, departure.observation, rows, target, str(sentence))
    return Counterexample(
        implementation=evidence.implementation,
        framework=framework,
        dtype=evidence.dtype,
        kind=departure.kind,
        signature=str(departure.signature),
        plan=departure.plan,
        measured=departure.measured,
        sentence=str(sentence),
        found=found,
        example=example,
        stored=str(path) if path is not None else None,
        nameless=sentence.text,
    )
