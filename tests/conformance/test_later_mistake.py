"""A mistake that few inputs show is one difference, named by the requirement on its axis."""

from __future__ import annotations

from typing import Final, cast

import pytest
from faulty.faults.table import FAULTS
from mutation_table import outcome, records_of

from normgauge.conformance.layers.registry import kind_of, requirements
from normgauge.conformance.verdicts.evidence import Evidence, Judged
from normgauge.conformance.verdicts.explained_values import BELOW_ZERO, CAUSES, FIRST_CALL, NOT_USED
from normgauge.conformance.verdicts.later_mistake import with_later_mistake
from normgauge.results.records import DIVERGENT, Judgement, Record

#: By the fault: the requirement on the axis, the value, and what begins its remedy.
LATER: Final = {
    "group_norm.GroupsCappedAt32": ("GN-02", "at_most_32"),
    "group_norm.ParametersAlongTheLastAxis": ("GN-49", "along_last_axis"),
    "group_norm.EpsInHalfPrecision": ("GN-05", "in_half"),
    "batch_norm.MomentumASample": ("BN-11", "of_each_sample"),
    "batch_norm.AFactorOfZero": ("BN-15", "zeros"),
}
#: One that most machines run in a few seconds.
QUICK: Final = "group_norm.GroupsCappedAt32"


@pytest.mark.parametrize("name", [pytest.param(one, marks=[] if one == QUICK else [pytest.mark.slow]) for one in LATER])
def test_a_mistake_that_few_inputs_show_is_one_difference(name: str) -> None:
    (fault,) = (one for one in FAULTS if one.id == name)
    records = records_of(fault)
    requirement, value = LATER[name]
    differing = {one.requirement: one for one in records if isinstance(one, Judgement) and one.verdict in DIVERGENT}
    assert differing.keys() == {requirement}
    judged = differing[requirement]
    assert judged.measured == value
    assert value in {one.name for one in kind_of(fault.kind).axis(str(requirements()[requirement].axis)).rare}
    assert judged.witnesses
    assert judged.example is not None
    assert judged.remedy is not None
    assert outcome(fault, records, {}).named


#: By the fault: the requirement that tells of it, and the words.
EXPLAINED: Final = {
    "batch_norm.FoldsItsEvalOnce": ("BN-47", NOT_USED),
    "group_norm.FirstOutputAgain": ("GN-09", FIRST_CALL),
    "group_norm.OnePassWithoutAFloor": ("GN-21", BELOW_ZERO),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPLAINED)
def test_values_with_a_cause_of_their_own_are_told_once(name: str) -> None:
    (fault,) = (one for one in FAULTS if one.id == name)
    requirement, words = EXPLAINED[name]
    differing = [one for one in records_of(fault) if isinstance(one, Judgement) and one.verdict in DIVERGENT]
    first, *others = differing
    assert (first.requirement, first.measured) == (requirement, words)
    assert {CAUSES[one.measured] for one in others} <= {CAUSES[words]}
    assert {one.falls_with for one in others} <= {requirement}


def test_a_layer_without_differences_is_not_asked_about_rare_mistakes() -> None:
    nothing = cast("Evidence", object())  # of which nothing can be read
    assert with_later_mistake(nothing, {"GN-01": Judged(verdict="conforms")}) is nothing


@pytest.mark.frameworks
@pytest.mark.slow
@pytest.mark.parametrize("framework", ["mlx"])
def test_a_nan_of_half_precision_is_not_told_as_a_negative_variance(records: list[Record]) -> None:
    """There 0 times the reciprocal root of an eps that float16 rounds to 0 is NaN, and so are sums beyond its range."""
    half = [one for one in records if isinstance(one, Judgement) and one.dtype == "float16"]
    assert any("nan" in one.measured for one in half)
    assert not [one for one in half if one.measured == BELOW_ZERO]
