"""Shards of one environment become one result file, and contradict each other in nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import pages
import pytest
from described import described

from normgauge.adapters.worker.protocol import PROTOCOL
from normgauge.conformance.campaign.environments import Environment, environments_of
from normgauge.conformance.campaign.folder import Campaign, Place, Ready, write_records
from normgauge.conformance.campaign.merge import Contradiction, by_cause, dropped, merged
from normgauge.conformance.campaign.plan import plan_of
from normgauge.conformance.campaign.shards import Shard, shards_of
from normgauge.conformance.run.request import OwnSize
from normgauge.conformance.subjects.messages import Hello
from normgauge.results.records import Counterexample, Explored, Footer, Header, Judgement, NotRun, Record

LAYER: Final = "mlx.nn.GroupNorm"
PLAN: Final = plan_of(
    {"environments": [{"framework": "mlx"}], "seeds": 5, "seeds_per_shard": 2, "dtypes": ["float32"]}, "plan"
)
HELLO: Final = Hello(
    protocol=PROTOCOL,
    framework="mlx",
    versions={"mlx": "1"},
    platform="",
    device="cpu",
    dtypes=("float32",),
    implementations=(described(LAYER, dtypes=("float32",)), described("mlx.nn.Other", mode="jit", dtypes=("float64",))),
)
(ENVIRONMENT,) = environments_of(PLAN, "plan")


def shards(environment: Environment = ENVIRONMENT, *sizes: OwnSize) -> tuple[list[Shard], list[NotRun]]:
    return shards_of(environment, HELLO, PLAN, sizes)


class Written:
    """Result files of the three shards of a layer, merged."""

    def __init__(self, root: Path) -> None:
        self.place = Place(root)
        found, rows = shards()
        self.ready = Ready(name="mlx", greeting=HELLO, shards=tuple(found), rows=tuple(rows))
        self.campaign = Campaign(
            token="", code="", suite="", plan=PLAN, store="", replayed=(), environments=(ENVIRONMENT,)
        )

    def merged(self, *own: list[Record], versions: str = "1") -> list[Record]:
        for number, (shard, records) in enumerate(zip(self.ready.shards, own, strict=True)):
            header = pages.header("mlx", LAYER, versions={"mlx": versions if number else "1"})
            footer = Footer(counts={}, seconds=1.5, explored_cases=10, worker_seconds=2.0)
            write_records(self.place.shard(shard), [header, *records, footer])
        return merged(self.place, self.campaign, ENVIRONMENT, self.ready)


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path)


def found(signature: str, shape: list[int], stored: str) -> Counterexample:
    return pages.counterexample(LAYER, signature=signature, example=pages.example(shapes=[shape]), stored=stored)


def test_seeds_are_divided_and_a_key_depends_on_what_is_measured() -> None:
    own, _ = shards()
    assert [(one.seed, one.seeds) for one in own] == [(0, 2), (2, 2), (4, 1)]
    other, _ = shards(msgspec.structs.replace(ENVIRONMENT, install=("mlx==2",)))
    assert not {one.key for one in own} & {one.key for one in other}
    assert [one.key for one in shards()[0]] == [one.key for one in own]


def test_what_of_a_plan_is_not_measured_has_a_row() -> None:
    _, rows = shards(msgspec.structs.replace(ENVIRONMENT, implementations=(LAYER, "mlx.nn.Layer*"), modes=("eager",)))
    assert [one.reason for one in rows] == ["no layer of the wanted modes is called 'mlx.nn.Layer*'"]
    _, rows = shards(ENVIRONMENT, OwnSize(shape=(2, 32, 4), groups=32))
    assert [one.reason for one in rows] == ["no layer takes the shape 2,32,4"]
    none, rows = shards(msgspec.structs.replace(ENVIRONMENT, modes=("jit",)))
    assert none == []
    assert [one.reason for one in rows] == ["no layer has a mode and a dtype that the plan names"]


def test_a_judgement_stands_once_and_counts_are_added(written: Written) -> None:
    judged = pages.judgement(LAYER)
    own: list[Record] = [pages.profile(LAYER), judged, pages.explored(LAYER, cases=100)]
    records = written.merged(own, own, own)
    assert [one for one in records if isinstance(one, Judgement)] == [judged]
    assert [one.cases for one in records if isinstance(one, Explored)] == [300]
    assert isinstance(records[0], Header)
    assert records[0].implementations == [LAYER]
    footer = records[-1]
    assert isinstance(footer, Footer)
    assert (footer.counts, footer.explored_cases, footer.worker_seconds) == ({"conforms": 1}, 30, 6.0)


def test_a_contradiction_is_an_error_with_both_files(written: Written) -> None:
    same, other = pages.judgement(LAYER), pages.judgement(LAYER, "diverges", measured="interleaved")
    with pytest.raises(Contradiction, match=r"contradict each other on mlx.nn.GroupNorm float32 GN") as raised:
        written.merged([same], [same], [other])
    first, _, last = written.ready.shards
    assert str(written.place.shard(first)) in str(raised.value)
    assert str(written.place.shard(last)) in str(raised.value)
    with pytest.raises(Contradiction, match="their versions differ"):
        written.merged([same], [same], [same], versions="2")


def test_counterexamples_of_one_cause_are_one_and_the_smallest_is_kept(written: Written) -> None:
    large, small = found("output of NaN or infinity", [3, 4], "large"), found("output of NaN or infinity", [1, 4], "s")
    dx = found("dx of a large mean", [2, 2], "dx")
    records = written.merged([large, dx], [small], [])
    assert [one.stored for one in records if isinstance(one, Counterexample)] == ["s", "dx"]
    assert dropped(records, written.place, written.ready) == {"large"}


def test_a_cause_among_ordinary_numbers_explains_the_others_whatever_comes_first() -> None:
    ordinary, huge = found("output of ordinary numbers", [9, 9], "a"), found("output of a large mean", [1, 1], "b")
    reset, model = (
        found("running_mean of calls with reset", [1, 2], "c"),
        found("running_mean of calls with reset_model", [1, 2], "d"),
    )
    both = found("running_mean of calls with freeze, reset", [1, 1], "e")
    for order in ([ordinary, huge, reset, model, both], [both, model, huge, reset, ordinary]):
        kept = [one.signature for one in by_cause(order)]
        assert sorted(kept) == ["output of ordinary numbers", "running_mean of calls with reset"]


def test_a_class_that_some_inputs_need_explains_those_that_a_narrower_one_allows() -> None:
    texts = ["accuracy: welford", "accuracy: one_pass", "accuracy: welford in float16", "accuracy: two_pass in float16"]
    every = [found(text, [1, number], str(number)) for number, text in enumerate(texts)]
    for order in (every, every[::-1]):
        kept = [one.signature for one in by_cause(order)]
        assert sorted(kept) == ["accuracy: one_pass", "accuracy: welford in float16"]
