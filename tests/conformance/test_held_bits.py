"""How many bits hold where a layer departs, and the step whose rounding explains it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from evidence import evidence_of, group_norm_cases
from faulty.adapter import FaultyAdapter
from faulty.faults.table import FaultsAdapter

from normgauge.adapters.case import Case
from normgauge.conformance.layers.registry import requirements
from normgauge.conformance.requirements.probe import make_case
from normgauge.conformance.verdicts.held_bits import bits_that_hold, rounded_step
from normgauge.conformance.verdicts.judge import judge
from normgauge.oracle import Arithmetic

SINGLE = Arithmetic("float32")
BFLOAT16 = "8 bits, as bfloat16 has"


@pytest.mark.parametrize(
    ("fault", "rounds", "bits"),
    [
        ("group_norm.StatisticsInBfloat16", f"rounds mean and variance to {BFLOAT16}", (10, 9)),
        ("batch_norm.XHatInBfloat16", f"rounds the output to {BFLOAT16}", (8, 8)),
        ("batch_norm.VarianceRoundedToHalf", "rounds the variance to 11 bits and the range of float16", (12, 11)),
        ("group_norm.ReciprocalRootByItsBits", "", (10, 9)),
        ("group_norm.EpsOutsideTheRoot", "", None),
    ],
)
def test_the_step_is_named_that_explains_all_departures(fault: str, rounds: str, bits: tuple[int, int] | None) -> None:
    cases = group_norm_cases() if fault.startswith("group_norm") else ()
    evidence = evidence_of(fault, FaultsAdapter("float32"), cases)
    assert rounded_step(evidence) == rounds
    found = bits_that_hold(evidence, "output", SINGLE)
    assert (found and (found.median, found.least)) == bits


def test_an_honest_layer_rounds_no_step() -> None:
    evidence = evidence_of("group_norm.GroupNorm", FaultyAdapter("float32"), group_norm_cases())
    assert rounded_step(evidence) == ""
    assert bits_that_hold(evidence, "output", SINGLE) is None


def test_the_verdicts_tell_the_step_and_the_bits() -> None:
    evidence = evidence_of("batch_norm.XHatInBfloat16", FaultsAdapter("float32"), ())
    judged = judge(requirements()["BN-22"], evidence)
    assert judged.measured == f"rounds the output to {BFLOAT16}"
    assert judged.notes[0].startswith("output: 8 bits hold in half of the ")
    assert judged.notes[0].endswith(" calls that depart, 8 in the worst")


def far_from_zero() -> Iterator[Case]:
    for number, case in enumerate(group_norm_cases()):
        x = (case.steps[0].x + np.float32(20.3)).astype(np.float32)
        yield make_case("group_norm", "float32", dict(case.settings), [("train", x)]) if number % 5 else case


def test_a_requirement_tells_what_its_cases_show() -> None:
    evidence = evidence_of("group_norm.MeanInTf32", FaultsAdapter("float32"), far_from_zero())
    judged = judge(requirements()["GN-06"], evidence)
    assert (judged.verdict, judged.explained) == ("diverges", True)
    assert judged.measured == "rounds the terms of the mean to 11 bits, as TF32 and float16 have"
    assert any(note.startswith("output: ") and " bits hold in half of the " in note for note in judged.notes)
