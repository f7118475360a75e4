"""One implementation at one dtype: its cases run, diagnosed and judged, and what exploration finds beyond them."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from normgauge.adapters.case import Observation
from normgauge.adapters.unfinished import UNFINISHED
from normgauge.conformance.diagnosis.candidates import Deviation, Diagnosis, Seen
from normgauge.conformance.diagnosis.diagnose import diagnose
from normgauge.conformance.diagnosis.measured_setting import measured_setting
from normgauge.conformance.diagnosis.references import References
from normgauge.conformance.documentation.claims import claims
from normgauge.conformance.exploration.explored import Exploration, explored
from normgauge.conformance.layers.experiments import probes, with_equal_samples
from normgauge.conformance.layers.registry import kind_of
from normgauge.conformance.layers.registry import requirements as catalogue
from normgauge.conformance.requirements.case_files import StoredCase, promoted_cases
from normgauge.conformance.requirements.committed_cases import promoted_probes
from normgauge.conformance.requirements.probe import Probe
from normgauge.conformance.requirements.requirement import Asked, Requirement
from normgauge.conformance.requirements.sizes import own_probes
from normgauge.conformance.run.parallel import Progress
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.shrinking.example import shrunk_example
from normgauge.conformance.subjects.messages import Description
from normgauge.conformance.subjects.subject import CannotRun, Subject, with_right_shapes
from normgauge.conformance.verdicts.accuracy_class import Accuracy, accuracy_of
from normgauge.conformance.verdicts.evidence import Evidence, Judged, excuse, instead, told
from normgauge.conformance.verdicts.falls_with import falls_with
from normgauge.conformance.verdicts.judge import judge
from normgauge.conformance.verdicts.later_mistake import with_later_mistake
from normgauge.conformance.verdicts.related_layers import beside_kin, judge_kin, kin_of, related
from normgauge.results.records import (
    DIVERGENT,
    AxisMeasured,
    Counterexample,
    DefaultMeasured,
    Example,
    Explored,
    Judgement,
    NotRun,
    Profile,
    Series,
)


def measure(
    subject: Subject,
    description: Description,
    dtype: str,
    wanted: Wanted,
    references: References,
    progress: Progress = lambda *_: None,
) -> Iterator[Profile | Series | Judgement | Explored | Counterexample | NotRun]:
    """What is known of one implementation at one dtype, in the order of the result file.

    Its profile, its error curves, a judgement for each requirement, and what exploration found; or why nothing is.

    Raises:
        CannotRun: the adapter has not written what a case needs, nor declared that the layer lacks it.
    """
    asked = _asked_of(subject, description, dtype, wanted)
    subject.begin()
    seen, sometimes = _observe(subject, description.id, dtype, asked.probes, progress)
    diagnosis = diagnose(description.layer, seen, dtype, references)
    if reason := _nothing_measured(seen, diagnosis):
        yield NotRun(framework=subject.greeting.framework, reason=reason, implementation=description.id, dtype=dtype)
        return
    evidence = Evidence(
        implementation=description.id,
        identity=description.identity,
        dtype=dtype,
        names=description.names,
        remedies=description.remedies,
        seen=tuple(seen),
        diagnosis=diagnosis,
        followed=tuple(diagnosis.followed()),
        references=references,
    )
    own = [one for one in asked.requirements if not one.relation]
    judged_alone = {one.id: judge(one, evidence) for one in own}
    explained = with_later_mistake(evidence, judged_alone)
    if explained is not evidence:
        evidence = explained
        judged_alone = {one.id: judge(one, evidence) for one in own}
    accuracy = accuracy_of(evidence, subject.greeting.framework)
    accuracy = replace(accuracy, hazards=[*accuracy.hazards, *sometimes])
    profile = _profile(description, subject.greeting.framework, evidence, accuracy, subject)
    yield profile
    yield from [] if wanted.diagnosis_only else accuracy.curves
    kinships = tuple(beside_kin(subject, description, dtype, asked.kin))
    found = {
        one.id: judge_kin(one, evidence, kinships) if one.relation else judged_alone[one.id]
        for one in asked.requirements
    }
    heads = falls_with(found, evidence)
    for requirement in asked.requirements:
        judged = replace(found[requirement.id], falls_with=heads.get(requirement.id, ""))
        if requirement.id in asked.incomplete and judged.verdict not in DIVERGENT:
            continue  # what was left out could still show a difference
        example = None
        # A case that leaves a setting to the layer has no reference, so nothing smaller can be held to one.
        shown = judged.shows is not None and judged.shows.probe.measures is None
        if judged.verdict in DIVERGENT and shown and not wanted.diagnosis_only:
            retold = functools.partial(_told_of, judged, evidence, requirement.rule)
            example, judged = shrunk_example(judged, evidence, subject, description.ranks, retold)
        yield _judgement(requirement, judged, example, evidence, profile.framework)
    explores = wanted.budget.cases and not description.thorough  # that takes long a case
    if explores and diagnosis.known and not wanted.diagnosis_only:
        asked_for = Exploration(
            budget=wanted.budget,
            seed=wanted.seed,
            store=wanted.store,
            committed=asked.committed,
            verdicts={name: one.verdict for name, one in found.items()},
            measured=accuracy.arithmetic,
            kin=asked.kin,
        )
        for seed in range(wanted.seed, wanted.seed + wanted.seeds):
            yield from explored(subject, description, profile, evidence, replace(asked_for, seed=seed), progress)


def _nothing_measured(seen: Sequence[Seen], diagnosis: Diagnosis) -> str:
    """Why nothing is known: no case gave a result, or no question about the semantics is answered; else empty."""
    observed = [one.observation for one in seen]
    if any(one.died for one in observed):
        return ""  # which is a verdict of its own
    results = sum(bool(one.steps) for one in observed)
    several = [axis.name for axis in kind_of(diagnosis.layer).axes if len(axis.values) > 1]
    undecided = diagnosis.known and all(len(diagnosis.values[name]) > 1 for name in several)
    if results and not undecided:
        return ""
    in_order = sorted(observed, key=lambda one: one.raised is None)  # what raises says more than what is not supported
    excuses = dict.fromkeys(reason for one in in_order if (reason := excuse(one)))
    first = next(iter(excuses), "the results say nothing about the semantics")
    return f"nothing was measured: {results} of {len(observed)} cases gave a result; the first did not: {first}"


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What an implementation is asked at one dtype. ``kin`` has the framework's own related layers by rank.

    Of the requirements that are ``incomplete`` some probes were left out.
    """

    probes: Sequence[Probe]
    requirements: Sequence[Requirement]
    incomplete: Collection[str]
    committed: Sequence[StoredCase]
    kin: Mapping[str, Mapping[int, str]]


def _asked_of(subject: Subject, description: Description, dtype: str, wanted: Wanted) -> _Asked:
    """The cases, and the requirements that something can be asked about."""
    layer, equal = description.layer, bool(description.equal_samples)
    few = bool(description.compiles) and not wanted.budget.thorough
    asked = list(probes(layer, dtype, description.ranks, equal_samples=equal, few_shapes=few))
    committed = [*promoted_cases(), *wanted.cases]
    kin = {} if wanted.diagnosis_only else kin_of(subject, description)
    requirements = [one for one in kind_of(layer).requirements if dtype in one.dtypes]
    for one in [one for one in requirements if one.about == "committed"]:
        stored = [
            own for probe in promoted_probes(layer, dtype, description.ranks, committed) for own in probe.of(one.id)
        ]
        asked += [replace(probe, case=with_equal_samples(probe.case)) if equal else probe for probe in stored]
        if not stored:
            requirements.remove(one)
    beside = {related(layer)[kind] for kind in kin}
    requirements = [one for one in requirements if one.relation is None or one.id in beside]
    if description.promotes:  # the types of what comes out are the framework's choice
        requirements = [one for one in requirements if one.rule not in _TYPES]
    beyond = {one.id for one in requirements if one.derivative and one.derivative not in description.derivatives}
    asked = [one for one in asked if one.requirement not in beyond]
    requirements = [one for one in requirements if one.id not in beyond]
    made_for = Asked(dtype=dtype, ranks=description.ranks)
    named = [probe for one in wanted.sizes for probe in own_probes(layer, made_for, one.shape, one.groups)]
    named = [replace(probe, case=with_equal_samples(probe.case)) if equal else probe for probe in named]
    incomplete: set[str] = set()
    if wanted.diagnosis_only:
        asked, left_out = _on_diagnosing_shapes(asked)
        incomplete = left_out - {probe.requirement for probe in named}
        kept = {probe.requirement for probe in asked}
        requirements = [one for one in requirements if one.id in kept or one.id not in incomplete]
    asked += named
    return _Asked(probes=asked, requirements=requirements, incomplete=incomplete, committed=committed, kin=kin)


#: The rules about the types of what comes out.
_TYPES: Final = frozenset({"output_type", "gradient_types", "statistics_types"})


def _on_diagnosing_shapes(asked: Sequence[Probe]) -> tuple[list[Probe], set[str]]:
    """The probes that need no shape beyond the diagnosing ones, and the requirements left incomplete.

    A framework that compiles pays for every new shape.
    """

    def shapes(probe: Probe) -> set[tuple[Any, ...]]:
        groups = probe.case.settings.get("num_groups")
        return {(groups, *step.x.shape) for step in probe.case.steps}

    known = set().union(*(shapes(probe) for probe in asked if probe.diagnoses))
    kept = [probe for probe in asked if shapes(probe) <= known]
    return kept, {probe.requirement for probe in asked if probe not in kept}


def _observe(
    subject: Subject, identifier: str, dtype: str, asked: Sequence[Probe], progress: Progress
) -> tuple[list[Seen], list[str]]:
    """What came out of each case, and in words where the process ended or hung once and not again."""
    answers = []
    for answer in subject.run(identifier, [probe.case for probe in asked]):
        answers.append(answer)
        progress(f"{identifier} {dtype}", len(answers), len(asked))
    sometimes = _asked_again(subject, identifier, asked, answers)
    seen = [
        Seen(probe=probe, observation=answer if _may_refuse(probe) else with_right_shapes(probe.case, answer))
        for probe, answer in zip(asked, answers, strict=True)
    ]
    raised = [one.observation.raised for one in seen if one.observation.raised]
    if missing := list(dict.fromkeys(one.message for one in raised if one.type == UNFINISHED)):
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise CannotRun(f"{missing[0]}{more}")
    return seen, sometimes


def _may_refuse(probe: Probe) -> bool:
    return catalogue()[probe.requirement].rule == "refusal"


def _asked_again(subject: Subject, identifier: str, asked: Sequence[Probe], answers: list[Observation]) -> list[str]:
    """Ask once more where a case ended the process or hung, and keep the second answer; in words where there is one.

    What happens by chance must not make a verdict, which would be another in the next run. The first case that does
    the same again shows that it is no chance, and the rest is not asked again, since each may take the limit of time.
    As at first it is not the first case of its process: MLX 0.31.2 hangs more often there.
    """
    found = []
    ordinary = [probe.case for probe, answer in zip(asked, answers, strict=True) if answer.steps][:1]
    for place, (probe, first) in enumerate(zip(asked, answers, strict=True)):
        if first.died is None or not first.asked or subject.given_up:
            continue
        *_, second = subject.run(identifier, [*ordinary, probe.case])
        if second.died is not None:
            break
        answers[place] = second
        found.append(f"not every time: {probe.label} gave a result when asked again; at first {first.died}")
    return found


def _profile(
    description: Description, framework: str, evidence: Evidence, accuracy: Accuracy, subject: Subject
) -> Profile:
    layer = description.layer
    values = evidence.diagnosis.values
    axes = [
        AxisMeasured(
            axis=a.name,
            question=a.question,
            canonical=a.canonical,
            measured=list(values[a.name]),
            meanings={name: a.value(name).meaning for name in dict.fromkeys((*a.names, *values[a.name]))},
        )
        for a in kind_of(layer).axes
        if len(a.values) > 1 or values[a.name] != (a.canonical,)
    ]
    defaults = _defaults(description, evidence)
    identity = description.identity
    return Profile(
        implementation=evidence.implementation,
        framework=framework,
        layer=layer,
        dtype=evidence.dtype,
        device=subject.greeting.device,
        known=evidence.diagnosis.known,
        axes=axes,
        defaults=defaults,
        computes_in=accuracy.computes_in,
        accuracy=accuracy.name,
        hazards=accuracy.hazards,
        layout=description.layout,
        names=description.names,
        ranks=list(description.ranks),
        documentation=description.documentation,
        restarts=subject.restarts,
        cases=len(evidence.seen),
        mode=description.mode,
        claims=claims(description, axes, defaults, evidence.diagnosis.known),
        types=_types(evidence.seen),
        layer_title=kind_of(layer).title,
        class_path=identity.class_path,
        options=identity.options,
        backend=identity.backend,
        typical=accuracy.typical,
    )


def _types(seen: Sequence[Seen]) -> dict[str, str]:
    """The framework's own type of everything that came out, by name."""
    found: dict[str, set[str]] = {}
    for one in seen:
        for step in one.observation.steps:
            for name, dtype in {"output": step.dtype, **step.dtypes}.items():
                found.setdefault(name, set()).add(dtype)
    return {name: " or ".join(sorted(types)) for name, types in sorted(found.items())}


def _defaults(description: Description, evidence: Evidence) -> list[DefaultMeasured]:
    signature = description.signature_defaults
    found = []
    for one in evidence.seen:
        setting = one.probe.measures
        if setting is None:
            continue
        interval = measured_setting(one, evidence.followed[0], setting, evidence.arithmetic, evidence.references)
        low, best, high = (interval.low, interval.best, interval.high) if interval else (None, None, None)
        given = str(signature[setting]) if setting in signature else None
        found.append(DefaultMeasured(setting=setting, signature=given, low=low, best=best, high=high))
    return found


def _judgement(
    requirement: Requirement, judged: Judged, example: Example | None, evidence: Evidence, framework: str
) -> Judgement:
    return Judgement(
        requirement=requirement.id,
        title=requirement.title,
        statement=requirement.statement,
        source=requirement.cited,
        ground=requirement.ground_for(evidence.identity.package),
        implementation=evidence.implementation,
        framework=framework,
        dtype=evidence.dtype,
        verdict=judged.verdict,
        measured=judged.measured,
        sentence=str(judged.sentence),
        notes=list(judged.notes),
        witnesses=list(judged.witnesses),
        remedy=judged.remedy,
        not_mended=judged.not_mended,
        example=example,
        nameless=judged.sentence.text if judged.sentence.subject else "",
        falls_with=judged.falls_with,
        meaning=judged.meaning or _meaning(requirement, judged.measured),
    )


def _meaning(requirement: Requirement, measured: str) -> str:
    """The words for a measured value of an axis, or for several; empty for anything else."""
    if requirement.axis is None:
        return ""
    meanings = {value.name: value.meaning for value in kind_of(requirement.layer).axis(requirement.axis).every}
    names = measured.split(", ")
    return " or ".join(meanings[name] for name in names) if meanings.keys() >= set(names) else ""


#: The rules that compare values, whose sentences have the numbers of the smallest input.
_TOLD_SMALL: Final = frozenset({"values", "range", "wide_sums", "sizes"})


def _told_of(judged: Judged, evidence: Evidence, rule: str, smallest: Deviation) -> Judged:
    """The judgement in the numbers of its smallest form, which are those that the script prints."""
    if rule not in _TOLD_SMALL or judged.departs or smallest.ratio <= 1:
        return judged
    assert judged.shows is not None
    probe = replace(judged.shows.probe, label=f"{judged.shows.probe.label}, made small")
    sentence = evidence.note(
        f"{told(smallest, Seen(probe=probe, observation=judged.shows.observation))}{judged.ending}"
    )
    measured = judged.measured if judged.explained else instead(smallest)
    return replace(judged, sentence=sentence, measured=measured)
