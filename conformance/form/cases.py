"""The cases that a worker is asked for the form of its answers: small, and of every kind that the protocol has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from normgauge.adapters.case import ACTIONS, Action, Array, Case, Step
from normgauge.adapters.dtypes import KNOWN_DTYPES
from normgauge.conformance.layers.kind import LayerKind
from normgauge.conformance.layers.registry import kind_of
from normgauge.conformance.subjects.messages import Description, Hello, RelatedLayer
from normgauge.conformance.subjects.subject import not_asked
from normgauge.conformance.subjects.worker_process import longest_request

#: Samples, channels and groups of the cases, and the lengths of their spatial dimensions.
_SAMPLES: Final = 2
_CHANNELS: Final = 4
_SPATIAL: Final = (3, 2, 2)
#: What is done to layers that keep nothing from call to call, too.
_OF_EVERY_KIND: Final = ("another_layer", "set_parameters")
#: The samples of an input that is longer than what a pipe holds.
_MANY: Final = 4096


@dataclass(frozen=True, kw_only=True)
class Question:
    """A case with a few words about it. One that is ``ordinary`` must be answered with results."""

    label: str
    case: Case
    ordinary: bool = True


def values(shape: Sequence[int], dtype: str) -> Array:
    """Halves between -1.5 and 1.5, which every dtype has."""
    flat = (np.arange(int(np.prod(shape))) * 3 % 7 - 3) / 2
    return flat.reshape(shape).astype(KNOWN_DTYPES[dtype].carrier)


@dataclass(frozen=True, kw_only=True)
class _Maker:
    """Makes cases of one implementation in one dtype."""

    kind: LayerKind
    dtype: str
    equal_samples: bool = False

    def x(
        self, rank: int, *, samples: int = _SAMPLES, channels: int = _CHANNELS, longest: int = max(_SPATIAL)
    ) -> Array:
        spatial = (min(length, longest) for length in _SPATIAL[: rank - 2])
        made = values((samples, channels, *spatial), self.dtype)
        return np.broadcast_to(made[:1], made.shape).copy() if self.equal_samples and samples else made

    def case(self, *steps: Step, parameters: Mapping[str, Array] | None = None, **settings: Any) -> Case:
        groups = {"num_groups": 2} if self.kind.grouped else {}
        return Case(
            layer=self.kind.name,
            dtype=self.dtype,
            settings={"num_channels": _CHANNELS, **groups, **settings},
            parameters=parameters or {},
            steps=steps,
        )

    def parameters(self) -> dict[str, Array]:
        vector = values((_CHANNELS,), self.dtype)
        names = ("weight", "bias", *(("running_mean", "running_var") if self.kind.tracks else ()))
        return {name: np.abs(vector) + 1 if name == "running_var" else vector for name in names}


def questions(hello: Hello, described: Description, dtype: str) -> list[Question]:
    """The cases that the host would send: those of which the hello does not declare that they cannot be asked."""
    maker = _Maker(kind=kind_of(described.layer), dtype=dtype, equal_samples=bool(described.equal_samples))
    rank = 3 if 3 in described.ranks else described.ranks[0]
    made = [
        *(Question(label=f"rank {one}", case=maker.case(Step("train", maker.x(one)))) for one in described.ranks),
        *_with_settings(maker, rank),
        *_with_actions(maker, rank, hello.actions),
        *_unusual(maker, rank),
    ]
    return _askable(made, hello, described)


def short_questions(hello: Hello, described: Description, dtype: str) -> list[Question]:
    """The first of them alone."""
    return questions(hello, described, dtype)[:1]


def related_questions(hello: Hello, layer: RelatedLayer, dtype: str) -> list[Question]:
    """A case for each rank of an InstanceNorm or LayerNorm."""
    maker = _Maker(kind=kind_of("group_norm"), dtype=dtype)
    whole: dict[str, Any] = {"num_groups": 1, "weight": False, "bias": False}
    settings = {"num_groups": _CHANNELS} if layer.layer == "instance_norm" else whole
    made = [
        Question(label=f"rank {rank}", case=maker.case(Step("train", maker.x(rank)), **settings))
        for rank in layer.ranks
    ]
    return _askable(made, hello, layer)


def _askable(made: Sequence[Question], hello: Hello, layer: Description | RelatedLayer) -> list[Question]:
    return [
        one
        for one in made
        if not_asked(hello, layer.lacks, one.case) is None and longest_request(one.case) <= hello.longest_line
    ]


def _with_settings(maker: _Maker, rank: int) -> Iterator[Question]:
    x = maker.x(rank)
    train, evaluation = Step("train", x), Step("eval", x)
    momentum: dict[str, Any] = {"momentum": 0.25} if maker.kind.tracks else {}
    given = maker.case(train, parameters=maker.parameters(), eps=0.5, weight=True, bias=True, **momentum)
    yield Question(label="eval", case=maker.case(evaluation))
    yield Question(label="three calls", case=maker.case(train, train, evaluation))
    yield Question(label="parameters given", case=given)
    yield Question(label="neither weight nor bias", case=maker.case(train, weight=False, bias=False))
    yield Question(label="gradients", case=maker.case(replace(train, dy=x), evaluation))
    yield Question(
        label="gradients without weight and bias", case=maker.case(replace(train, dy=x), weight=False, bias=False)
    )
    if maker.kind.tracks:
        yield Question(label="no running statistics", case=maker.case(train, evaluation, track=False))


def _with_actions(maker: _Maker, rank: int, known: Sequence[str]) -> Iterator[Question]:
    """What is done to a layer and asked of its parameters. Of one that keeps nothing the host asks little."""
    x = maker.x(rank)
    inspect = "inspect" in known and maker.kind.tracks
    if inspect:
        yield Question(label="inspect", case=maker.case(Step("train", x, inspect=True)))
    if "layouts" in known:
        yield Question(label="layouts", case=maker.case(Step("train", x, layout="strided")))
    if "parameter_dtypes" in known:
        other = "float16" if maker.dtype == "float32" else "float32"
        weight = {"weight": values((_CHANNELS,), other)}
        case = replace(maker.case(Step("train", x), parameters=weight), dtypes={"weight": other})
        yield Question(label="a weight of another dtype", case=case, ordinary=False)
    for name in known:
        if name in (ACTIONS if maker.kind.tracks else _OF_EVERY_KIND):
            given = maker.parameters() if name == "set_parameters" else {}
            action = Action(name, 0.75 if name == "momentum" else None, given)
            yield Question(
                label=name, case=maker.case(Step("train", x), Step("train", x, before=(action,), inspect=inspect))
            )


def _unusual(maker: _Maker, rank: int) -> Iterator[Question]:
    """Cases that a layer may refuse, and one that is larger than the others."""
    long = maker.x(rank, samples=_MANY)
    special = maker.x(rank)
    special[0].flat[:3] = np.nan, np.inf, -np.inf
    yield Question(label="a long line", case=maker.case(Step("train", long)))
    for label, x in (
        ("no samples", maker.x(rank, samples=0)),
        ("NaN and infinities", special),
        ("another channel count", maker.x(rank, channels=_CHANNELS + 1)),
        ("one value per channel", maker.x(rank, samples=1, longest=1)),
    ):
        yield Question(label=label, case=maker.case(Step("train", x)), ordinary=False)
    if maker.kind.grouped:
        case = maker.case(Step("train", maker.x(rank)), num_groups=3)
        yield Question(label="groups that do not divide the channels", case=case, ordinary=False)
