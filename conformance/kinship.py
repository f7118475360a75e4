"""GroupNorm beside the framework's own InstanceNorm and LayerNorm, which are its two ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from normgauge.adapters.base import Case
from normgauge.conformance.diagnosis import Deviation, Seen, compare
from normgauge.conformance.evidence import Evidence, Judged, crashed, excuse, instead, told, witness
from normgauge.conformance.experiments import Probe
from normgauge.conformance.experiments.group_norm import EPS
from normgauge.conformance.experiments.patterns import SPATIAL, scrambled
from normgauge.conformance.experiments.probe import make_case
from normgauge.conformance.references import predict
from normgauge.conformance.relations import RELATIONS, Relation, held_against
from normgauge.conformance.requirements import REQUIREMENTS, Requirement
from normgauge.conformance.subjects import Subject, with_right_shapes
from normgauge.oracle import Arithmetic

_CHANNELS: Final = 4
BY_NAME: Final[Mapping[str, Relation]] = {one.name: one for one in RELATIONS}
#: The requirements judged here, by the kind of the other layer.
REQUIRED: Final = {str(BY_NAME[one.relation].kin): one.id for one in REQUIREMENTS if one.relation is not None}


@dataclass(frozen=True)
class Kinship:
    """One case on GroupNorm (``own``) and on its kin (``other``, whose id is ``kin``)."""

    relation: Relation
    kin: str
    own: Seen
    other: Seen


def kin_of(subject: Subject, description: Mapping[str, Any]) -> dict[str, dict[int, str]]:
    """The framework's own InstanceNorm and LayerNorm: for each kind the id by rank.

    They stand beside a GroupNorm as it is run without a mode.
    """
    found: dict[str, dict[int, str]] = {}
    if description["layer"] == "group_norm" and description.get("mode", "eager") == "eager":
        for one in subject.greeting.get("kin", ()):
            found.setdefault(one["layer"], {}).update(dict.fromkeys(one["ranks"], one["id"]))
    return found


def beside_kin(
    subject: Subject, implementation: str, dtype: str, ranks: tuple[int, ...], kin: Mapping[str, Mapping[int, str]]
) -> Iterator[Kinship]:
    """Every case that an implementation for inputs of ``ranks`` and its kin can both be asked, run on both."""
    for kind, requirement in REQUIRED.items():
        relation = next(one for one in RELATIONS if one.kin == kind)
        for rank, other in kin.get(kind, {}).items():
            if rank not in ranks:
                continue
            probes = [
                Probe(requirement, f"{relation.name}, {label}", case) for label, case in _cases(kind, dtype, rank)
            ]
            cases = [probe.case for probe in probes]
            both = [
                [Seen(p, with_right_shapes(p.case, o)) for p, o in zip(probes, subject.run(name, cases), strict=True)]
                for name in (implementation, other)
            ]
            yield from (Kinship(relation, other, *pair) for pair in zip(*both, strict=True))


def _cases(kind: str, dtype: str, rank: int) -> Iterator[tuple[str, Case]]:
    x = scrambled((2, _CHANNELS, *SPATIAL[rank]), seed=rank)
    groups = _CHANNELS if kind == "instance_norm" else 1
    affine = kind == "instance_norm"
    settings = {"num_channels": _CHANNELS, "num_groups": groups, "eps": EPS, "weight": affine, "bias": affine}
    for label, values in ((f"rank {rank}", x), (f"rank {rank}, mean = 2^4 deviations", x + 16)):
        yield label, make_case("group_norm", dtype, settings, [("train", values)])


def judge_kin(requirement: Requirement, evidence: Evidence, kinships: tuple[Kinship, ...]) -> Judged:
    """Whether the framework's own layer agrees, within the sum of both bounds."""
    asked = [one for one in kinships if one.relation.name == requirement.relation]
    died = [one.other for one in asked if one.other.observation.died]
    if died:
        return crashed(died)
    notes: list[str] = []
    held: list[tuple[Kinship, Deviation]] = []
    apart: list[tuple[Kinship, Deviation]] = []
    for one in asked:
        reason = excuse(one.own.observation) or excuse(one.other.observation)
        if reason:
            notes.append(f"{one.own.probe.label}: {reason}")
            continue
        predicted = predict(one.own.probe.case, evidence.followed[0], evidence.arithmetic)
        if compare(one.own.observation, predicted).ratio > 1:
            continue  # what GroupNorm itself does wrong is told elsewhere
        observed = (one.own.observation, one.other.observation)
        deviation = held_against(one.relation, observed, (predicted, predicted))
        (apart if deviation.ratio > 1 else held).append((one, deviation))
    if apart:
        return _disagrees(apart, notes, evidence)
    if not held:
        reason = notes[0] if notes else "GroupNorm itself departs on every case"
        return Judged("unsupported", "", f"{evidence.implementation}: {reason}", tuple(notes))
    one, deviation = max(held, key=lambda pair: pair[1].ratio)
    closest = witness(one.own, deviation, "the sum of both bounds, at its closest", evidence.dtype)
    sentence = f"{evidence.implementation}: agrees with {one.kin} on {len(held)} case(s)"
    return Judged("conforms", "", sentence, tuple(notes), (closest,))


def _disagrees(apart: list[tuple[Kinship, Deviation]], notes: list[str], evidence: Evidence) -> Judged:
    one, deviation = max(apart, key=lambda pair: pair[1].ratio)
    measured = f"{one.kin}: {instead(deviation)}"
    single = Arithmetic("float32")
    if evidence.dtype != "float32" and all(
        compare(k.other.observation, predict(k.other.probe.case, evidence.followed[0], single)).ratio <= 1
        for k, _ in apart
    ):
        measured = f"{one.kin} computes in float32"
    sentence = f"{evidence.implementation} and {one.kin} differ: {told(deviation, one.own)}"
    witnesses = tuple(witness(k.own, d, f"{k.kin} on the same input", evidence.dtype) for k, d in apart)
    return Judged("diverges", measured, sentence, tuple(notes), witnesses, None, one.other, of=one.kin)
