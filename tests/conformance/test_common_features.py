"""What departing calls have in common: the rule for each faulty layer as a whole sentence, or that there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from evidence import evidence_of, group_norm_cases
from faulty.adapter import FaultyAdapter
from faulty.rules import RulesAdapter

from normgauge.conformance.diagnosis.call_features import Call
from normgauge.conformance.diagnosis.common_features import Rule, common_rule
from normgauge.conformance.requirements.probe import make_case
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.subject import Launch
from normgauge.conformance.verdicts.in_common import notes_on, rule_of_raising, what_they_share
from normgauge.results.records import Judgement


@pytest.mark.parametrize(
    ("name", "quantity", "sentence"),
    [
        (
            "AboveThirtyTwoPositions",
            "output",
            "output departs in all 25 calls with more than 32 positions, none of the 51 others",
        ),
        (
            "AboveThirtyTwoPositions",
            "dx",
            "dx departs in all 12 calls with more than 32 positions, none of the 15 others",
        ),
        (
            "FromEightSamples",
            "",
            "output departs in all 20 calls with 8 samples or more, none of the 56 others",
        ),
        (
            "FromThirtyTwoChannels",
            "",
            "output departs in all 30 calls with more than 16 channels (no call has 11 to 31), none of the 46 others",
        ),
        (
            "EightSamplesOfFewPositions",
            "",
            "output departs in all 8 calls with at most 8 positions (no call has 5 to 14) and with 8 samples or more, "
            "none of the 68 others",
        ),
        (
            "WeightIsDoubled",
            "",
            "output departs from canonical in all 60 calls with a weight other than 1, none of the 16 others",
        ),
        (
            "SecondCallForgetsItsBias",
            "",
            "output departs in all 6 calls from the second call on, none of the 70 others",
        ),
        ("AtRandom", "", "output departs from canonical in 27 of 76 calls, which have nothing in common"),
        ("WeightIsDoubled", "dbias", ""),
    ],
)
def test_the_departing_calls_are_described_by_what_they_share(name: str, quantity: str, sentence: str) -> None:
    evidence = evidence_of(f"rules.{name}", RulesAdapter("float32"), group_norm_cases())
    assert what_they_share(evidence, quantity) == sentence


def test_calls_that_raise_are_described_likewise() -> None:
    evidence = evidence_of("rules.GradientsRaiseFromRankFour", RulesAdapter("float32"), group_norm_cases())
    assert str(rule_of_raising(evidence)) == "all 12 calls with gradients at rank 4, none of the 63 others"
    assert what_they_share(evidence) == ""


def test_an_honest_layer_shares_nothing() -> None:
    evidence = evidence_of("group_norm.GroupNorm", FaultyAdapter("float32"), group_norm_cases())
    assert what_they_share(evidence) == ""
    assert rule_of_raising(evidence) is None
    assert notes_on(evidence, "output") == ("", ())


def calls_of(shapes: Sequence[tuple[int, ...]]) -> list[Call]:
    settings: dict[str, Any] = {"num_groups": 1, "eps": 1e-5}
    return [
        Call(
            case=make_case("group_norm", "float32", settings | {"num_channels": shape[1]}, [("train", np.ones(shape))]),
            number=0,
        )
        for shape in shapes
    ]


def positions_rule(departing: Sequence[int], others: Sequence[int]) -> Rule | None:
    calls = calls_of([(1, 4, count) for count in (*departing, *others)])
    return common_rule(calls, [True] * len(departing) + [False] * len(others))


SMALL = tuple(range(3, 28))


@pytest.mark.parametrize(
    ("departing", "others", "words"),
    [
        ((33, 64, 129), (*SMALL, 32), "all 3 calls with more than 32 positions, none of the 26 others"),
        ((32, 64, 129), (*SMALL, 31), "all 3 calls with 32 positions or more, none of the 26 others"),
        (
            (400, 500, 600),
            (*SMALL, 31),
            "all 3 calls with more than 128 positions (no call has 32 to 399), none of the 26 others",
        ),
        ((1, 2, 3), tuple(range(5, 40)), "all 3 calls with at most 4 positions (no call has 4), none of the 35 others"),
        (
            (*range(33, 45), 10, 20),
            (*SMALL[:7], *SMALL[8:17], *SMALL[18:], 40),
            "12 of the 13 calls with more than 32 positions (no call has 28 to 32), 2 of the 25 others",
        ),
    ],
)
def test_a_threshold_is_a_number_that_people_know_where_no_call_lies_elsewhere(
    departing: tuple[int, ...], others: tuple[int, ...], words: str
) -> None:
    assert str(positions_rule(departing, others)) == words


@pytest.mark.parametrize(
    ("departing", "others", "words"),
    [
        ((0.0,), (1e-12, 1e-5, 1e-3), "all 9 calls with an eps of 0, none of the 27 others"),
        ((0.0, 1e-13), (1e-12, 1e-5, 1e-3), "all 18 calls with an eps of 0 or 1e-13, none of the 27 others"),
        (
            (1e-7, 1e-6, 1e-5),
            (1e-3, 0.5),
            "all 27 calls with an eps of at most 1e-05 (the next is 0.001), none of the 18 others",
        ),
        (
            (1e-3, 0.1, 0.5),
            (1e-7, 1e-6, 1e-5),
            "all 27 calls with an eps of at least 0.001 (the next is 1e-05), none of the 27 others",
        ),
    ],
)
def test_an_eps_is_told_by_the_values_that_were_asked(
    departing: tuple[float, ...], others: tuple[float, ...], words: str
) -> None:
    settings: dict[str, Any] = {"num_channels": 4, "num_groups": 1}
    calls = [
        Call(
            case=make_case("group_norm", "float32", settings | {"eps": eps}, [("train", np.ones((2, 4, n)))]), number=0
        )
        for eps in (*departing, *others)
        for n in range(3, 12)
    ]
    found = common_rule(calls, [eps in departing for eps in (*departing, *others) for _ in range(9)])
    assert found is not None
    assert str(found) == words
    assert not found.alike


@pytest.mark.parametrize(
    ("departing", "others"),
    [
        ((33,), SMALL),  # chance gives a rule for one case
        ((3, 33), (4, 34)),
        ((3, 9, 14, 20, 21), (*range(22, 40, 2), 4, 5, 8, 11, 13, 15, 19)),
        (SMALL, ()),
        ((), SMALL),
    ],
)
def test_what_chance_explains_has_no_rule(departing: tuple[int, ...], others: tuple[int, ...]) -> None:
    assert positions_rule(departing, others) is None


def test_the_calls_of_a_case_count_as_one_against_chance() -> None:
    steps: list[Any] = [("train", np.ones((1, 4, 50 + number))) for number in range(9)]
    settings: dict[str, Any] = {"num_channels": 4, "num_groups": 1, "eps": 1e-5}
    many = make_case("group_norm", "float32", settings, steps)
    others = calls_of([(1, 4, count) for count in SMALL])
    calls = [Call(case=many, number=number) for number in range(9)]
    assert common_rule([*calls, *others], [True] * 9 + [False] * len(others)) is None
    apart = calls_of([(1, 4, 50 + number) for number in range(9)])
    assert common_rule([*apart, *others], [True] * 9 + [False] * len(others)) is not None


def test_answers_and_calls_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="one answer for each of the 2 calls: got 1"):
        common_rule(calls_of([(1, 4), (2, 4)]), [True])


def test_the_verdicts_of_a_run_tell_the_rule() -> None:
    wanted = Wanted(dtypes=("float32",), implementations=("rules.AboveThirtyTwoPositions",), in_process=True)
    records = list(run_framework(Launch(framework="faulty.rules:RulesAdapter"), wanted))
    judged = {one.requirement: one for one in records if isinstance(one, Judgement) and one.verdict == "diverges"}
    assert "; output departs in all" in judged["GN-24"].sentence
    assert "calls with more than 32 positions" in judged["GN-24"].sentence
