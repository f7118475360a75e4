"""Real sizes: the rule in the sentence, the smallest size that shows it, and sizes of the user's own."""

from __future__ import annotations

import pytest

from normgauge.conformance.cli.errors import Mistake
from normgauge.conformance.cli.size_options import sizes_of
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import OwnSize, Wanted
from normgauge.conformance.subjects.subject import CannotRun, Launch
from normgauge.results.records import Judgement

FAULTY = Launch(framework="faulty.adapter:FaultyAdapter")


def judged(identifier: str, requirement: str, dtype: str = "float32") -> Judgement:
    wanted = Wanted(dtypes=(dtype,), implementations=(identifier,), in_process=True)
    records = run_framework(FAULTY, wanted)
    (found,) = [one for one in records if isinstance(one, Judgement) and one.requirement == requirement]
    return found


@pytest.mark.parametrize(
    ("identifier", "requirement", "rule", "shape"),
    [
        (
            "sizes.PaddedTo64Above64Positions",
            "GN-39",
            "from 65 positions on where 64 does not divide them",
            [1, 1, 5, 13],
        ),
        ("sizes.TailOf256Dropped", "GN-39", "from 258 values a group on where 256 does not divide", [1, 5, 1, 52]),
        ("sizes.SamplesFromEightOnUntouched", "GN-39", "the samples from number 8 on are wrong", [9, 1, 1, 1]),
        ("sizes.ChannelsFrom32OnUntouched", "GN-39", "the channels from number 32 on are wrong", [1, 35, 1, 1]),
        ("sizes.GroupsAtMost32", "GN-39", "from 33 groups on, holds up to 31", None),
        ("sizes.ElementsBeyondAMillionUntouched", "GN-41", "elements from number 1,048,576 on are wrong", None),
        ("sizes.WeightGradientOf32Samples", "GN-40", "from 33 samples on", [33, 2, 1, 1]),
    ],
)
def test_the_sentence_says_at_which_sizes_a_layer_departs(
    identifier: str, requirement: str, rule: str, shape: list[int] | None
) -> None:
    found = judged(identifier, requirement)
    assert rule in found.sentence
    assert rule in found.measured
    assert found.example is not None
    assert shape is None or found.example.shapes == [shape]


def own(identifier: str, size: OwnSize) -> dict[str, Judgement]:
    wanted = Wanted(
        dtypes=("float32",), implementations=(identifier,), in_process=True, diagnosis_only=True, sizes=(size,)
    )
    return {one.requirement: one for one in run_framework(FAULTY, wanted) if isinstance(one, Judgement)}


def test_a_size_of_the_user_s_own_is_checked() -> None:
    size = OwnSize(shape=(2, 64, 9, 7), groups=8)
    assert own("sizes.TailOf256Dropped", size)["GN-39"].verdict == "diverges"
    assert own("sizes.TailDroppedBackward", size)["GN-40"].verdict == "diverges"
    assert own("group_norm.GroupNorm", size)["GN-40"].verdict == "conforms"


def test_a_size_of_a_rank_that_nothing_takes_is_refused() -> None:
    wanted = Wanted(implementations=("group_norm.GroupNorm",), sizes=(OwnSize(shape=(2, 4, 1, 1, 1, 3), groups=2),))
    with pytest.raises(
        CannotRun, match="--shape 2,4,1,1,1,3 has rank 6, and what is run takes rank 2 and 3 and 4 and 5"
    ):
        list(run_framework(FAULTY, wanted))


@pytest.mark.parametrize(
    ("shape", "groups", "said"),
    [
        ("2,320,64,64,a", None, "is not a shape; give 2 to 5 whole numbers"),
        ("7", None, "is not a shape"),
        ("2,320,640,6400", None, "2,621,440,000 elements; at most 3,000,000"),
        ("0,8,4", None, "has no elements"),
        ("1,8", 4, "one value per channel"),
        ("2,10,4", None, "not a multiple of 32 groups; give --groups one of 1, 2, 5, 10"),
        ("2,8,4", 3, "--groups 3 does not divide the 8 channels"),
    ],
)
def test_what_is_no_size_is_refused_with_what_is_allowed(shape: str, groups: int | None, said: str) -> None:
    with pytest.raises(Mistake, match=said.replace("(", r"\(")):
        sizes_of((shape,), groups)


def test_groups_alone_are_refused() -> None:
    with pytest.raises(Mistake, match="needs a --shape; add one"):
        sizes_of((), 4)
