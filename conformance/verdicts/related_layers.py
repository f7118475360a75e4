"""GroupNorm beside the framework's own InstanceNorm and LayerNorm, which are its two ends."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from normgauge.adapters.case import Case
from normgauge.conformance.diagnosis.candidates import Deviation, Seen, compare
from normgauge.conformance.layers.registry import kind_of
from normgauge.conformance.requirements.inputs import SPATIAL, scrambled, small
from normgauge.conformance.requirements.magnitudes import MAGNITUDES
from normgauge.conformance.requirements.probe import Probe, make_case
from normgauge.conformance.requirements.requirement import Requirement
from normgauge.conformance.subjects.messages import Description
from normgauge.conformance.subjects.subject import Subject, with_right_shapes
from normgauge.conformance.verdicts.evidence import (
    Evidence,
    Judged,
    Sentence,
    advised,
    crashed,
    excuse,
    instead,
    raises,
    told,
    witness,
)
from normgauge.conformance.verdicts.relations import RELATIONS, Relation, held_against
from normgauge.oracle import Arithmetic
from normgauge.results.records import Verdict

_CHANNELS: Final = 4
BY_NAME: Final[Mapping[str, Relation]] = {one.name: one for one in RELATIONS}


def related(layer: str) -> dict[str, str]:
    """The requirements of a kind of layer that are judged here, by the kind of the other layer."""
    return {str(BY_NAME[one.relation].kin): one.id for one in kind_of(layer).requirements if one.relation is not None}


@dataclass(frozen=True, kw_only=True)
class Kinship:
    """One case on GroupNorm (``own``) and on its kin (``other``, whose id is ``kin``)."""

    relation: Relation
    kin: str
    own: Seen
    other: Seen


def kin_of(subject: Subject, description: Description) -> dict[str, dict[int, str]]:
    """The framework's own InstanceNorm and LayerNorm: for each kind the id by rank.

    They stand beside a GroupNorm as it is run without a mode. Of several for one rank it is one of the GroupNorm's
    own module: a framework may have two libraries of layers.
    """
    module = description.identity.module
    found: dict[str, dict[int, str]] = {}
    if description.mode == "eager":
        known = [one for one in subject.greeting.kin if one.layer in related(description.layer)]
        for one in sorted(known, key=lambda one: one.identity.module == module):  # the last one stays
            found.setdefault(one.layer, {}).update(dict.fromkeys(one.ranks, one.id))
    return found


def beside_kin(
    subject: Subject, description: Description, dtype: str, kin: Mapping[str, Mapping[int, str]]
) -> Iterator[Kinship]:
    """Every case that an implementation and its kin can both be asked, run on both."""
    for kind, requirement in related(description.layer).items():
        relation = next(one for one in RELATIONS if one.kin == kind)
        for rank, other in kin.get(kind, {}).items():
            if rank not in description.ranks:
                continue
            probes = [
                Probe(label=f"{relation.name}, {label}", case=case, requirement=requirement)
                for label, case in _cases(kind, dtype, rank)
            ]
            own = _seen(subject, description.id, probes)
            if subject.given_up:
                return
            others = _seen(subject, other, probes)
            subject.begin()  # a worker that this ended is not counted against the implementation
            yield from (
                Kinship(relation=relation, kin=other, own=one, other=beside)
                for one, beside in zip(own, others, strict=True)
            )


def _seen(subject: Subject, implementation: str, probes: Sequence[Probe]) -> list[Seen]:
    observations = subject.run(implementation, [probe.case for probe in probes])
    return [Seen(probe=p, observation=with_right_shapes(p.case, o)) for p, o in zip(probes, observations, strict=True)]


def _cases(kind: str, dtype: str, rank: int) -> Iterator[tuple[str, Case]]:
    x = scrambled((2, _CHANNELS, *SPATIAL[rank]), seed=rank)
    groups = _CHANNELS if kind == "instance_norm" else 1
    affine = kind == "instance_norm"
    eps = MAGNITUDES[dtype].usual_eps
    settings = {"num_channels": _CHANNELS, "num_groups": groups, "eps": eps, "weight": affine, "bias": affine}
    for label, values in (
        (f"rank {rank}", x),
        (f"rank {rank}, mean = 2^4 deviations", x + 16),
        (f"rank {rank}, deviation = sqrt(eps)", small(x.shape, math.sqrt(eps), seed=rank)),
    ):
        yield label, make_case("group_norm", dtype, settings, [("train", values)])


def judge_kin(requirement: Requirement, evidence: Evidence, kinships: tuple[Kinship, ...]) -> Judged:
    """Whether the framework's own layer agrees, within the sum of both bounds.

    What GroupNorm itself does wrong is told elsewhere: where it lies outside of its own semantics, or where the
    other layer has the canonical result and GroupNorm has not.
    """
    return advised(requirement, _judged(requirement, evidence, kinships), evidence)


def _judged(requirement: Requirement, evidence: Evidence, kinships: tuple[Kinship, ...]) -> Judged:
    asked = [one for one in kinships if one.relation.name == requirement.relation and not one.own.observation.died]
    died = [one for one in asked if one.other.observation.died]
    if died:
        judged, kin = crashed([one.other for one in died]), died[0].kin
        return replace(
            judged, measured=f"{kin}: {judged.measured}", sentence=Sentence(text=f"{kin}: {judged.sentence}"), of=kin
        )
    excused: list[str] = []
    departs: list[str] = []
    held: list[tuple[Kinship, Deviation]] = []
    apart: list[tuple[Kinship, Deviation]] = []
    for one in asked:
        case, own, other = one.own.probe.case, one.own.observation, one.other.observation
        reason = excuse(own) or excuse(other)
        if reason:
            excused.append(f"{one.own.probe.label}: {reason}")
            continue
        outside, followed = evidence.best(case, own)
        predicted = evidence.expected(case, followed)
        deviation = held_against(one.relation, (other, own), (predicted, predicted))
        canonical = evidence.expected(case, kind_of(followed.layer).canonical)
        if outside.ratio > 1 or (deviation.ratio > 1 and compare(other, canonical).ratio <= 1):
            departs.append(f"{one.own.probe.label}: {evidence.implementation} itself departs")
        elif deviation.ratio > 1:
            apart.append((one, deviation))
        else:
            held.append((one, deviation))
    notes = (*excused, *departs)
    if apart:
        return _disagrees(apart, notes, evidence)
    raised = [one for one in asked if one.other.observation.raised and not one.own.observation.raised]
    if raised:
        judged = raises([one.other for one in raised], len(asked), evidence)
        kin = raised[0].kin
        told_of = Sentence(text=judged.sentence.text, subject=kin, joins=": ")
        return replace(judged, measured=f"{kin}: {judged.measured}", sentence=told_of, of=kin)
    if not held:
        reason = excused[0] if excused else "itself departs on every case, or ends the process"
        declared = [one for one in asked if one.own.observation.unsupported or one.other.observation.unsupported]
        verdict: Verdict = "unsupported" if declared else "cannot tell"
        return Judged(verdict=verdict, measured="", sentence=evidence.note(reason), notes=notes)
    one, deviation = max(held, key=lambda pair: pair[1].ratio)
    agrees = f"agrees with {one.kin} on {len(held)} case(s)"
    if deviation.ratio == 0:  # nowhere is it closest
        return Judged(
            verdict="conforms", measured="", sentence=evidence.note(f"{agrees}, to the last digit"), notes=notes
        )
    closest = witness(one.other, deviation, "the sum of both bounds, at its closest", evidence.dtype)
    return Judged(verdict="conforms", measured="", sentence=evidence.note(agrees), notes=notes, witnesses=(closest,))


def _disagrees(apart: list[tuple[Kinship, Deviation]], notes: tuple[str, ...], evidence: Evidence) -> Judged:
    one, deviation = max(apart, key=lambda pair: pair[1].ratio)
    measured = f"{one.kin}: {instead(deviation)}"
    single = Arithmetic("float32")
    if evidence.dtype != "float32" and all(
        compare(k.other.observation, evidence.expected(k.other.probe.case, evidence.followed[0], single)).ratio <= 1
        for k, _ in apart
    ):
        measured = f"{one.kin} computes in float32"
    sentence = Sentence(text=f"{_who_departs(one, evidence)}: {told(deviation, one.other)}")
    against = f"{evidence.implementation} on the same input"
    witnesses = tuple(witness(k.other, d, against, evidence.dtype) for k, d in apart)
    return Judged(
        verdict="diverges",
        measured=measured,
        sentence=sentence,
        notes=notes,
        witnesses=witnesses,
        shows=one.other,
        of=one.kin,
    )


def _who_departs(one: Kinship, evidence: Evidence) -> str:
    """Which of the two layers lies outside of the bound of the canonical result."""
    canonical = evidence.expected(one.own.probe.case, kind_of(evidence.followed[0].layer).canonical)
    own, other = (compare(seen.observation, canonical).ratio > 1 for seen in (one.own, one.other))
    if other and not own:
        return f"{one.kin} departs, {evidence.implementation} does not"
    both = ", and both depart from the canonical result" if other else ""
    return f"{one.kin} differs from {evidence.implementation}{both}"
