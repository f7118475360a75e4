"""A requirement that falls by the same cause as another one is told with it, and what departs besides is not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from evidence import evidence_of, group_norm_cases
from faulty.adapter import FaultyAdapter
from faulty.batch_norm import BatchNorm
from faulty.faults.table import FaultsAdapter
from faulty.rules import AboveThirtyTwoPositions, RulesAdapter, WeightIsDoubled
from pages import judgement, profile, run, section, shown

from normgauge.adapters.case import Case, Implementation
from normgauge.conformance.cli.terminal import line_of
from normgauge.conformance.layers.registry import requirements
from normgauge.conformance.requirements.inputs import scrambled
from normgauge.conformance.requirements.probe import make_case
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.subject import Launch
from normgauge.conformance.verdicts.evidence import Evidence, Judged
from normgauge.conformance.verdicts.falls_with import falls_with
from normgauge.conformance.verdicts.judge import judge
from normgauge.results.records import DIVERGENT, Judgement

#: The first two requirements on values that are asked in turn.
TWO = ("GN-06", "GN-08")

Array = np.ndarray[Any, np.dtype[Any]]


class TwoMistakes(AboveThirtyTwoPositions):
    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        found = super().gradients(x, dy)
        return {**found, "dbias": found["dbias"] * 2} if "dbias" in found else found


class TwoRules(AboveThirtyTwoPositions):
    """And dbias is doubled of 7 samples."""

    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        found = super().gradients(x, dy)
        return {**found, "dbias": found["dbias"] * (2 if len(x) == 7 else 1)} if "dbias" in found else found


class Everywhere(AboveThirtyTwoPositions):
    departs = staticmethod(lambda shape: True)


class WeightAndDbias(WeightIsDoubled):
    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        found = super().gradients(x, dy)
        return {**found, "dbias": found["dbias"] * 2} if "dbias" in found else found


class LargeVariance(BatchNorm):
    """The variance of more than 120 values is a quarter too large."""

    def batch_statistics(self, sets: Array) -> tuple[Array, Array]:
        mean, var = super().batch_statistics(sets)
        return mean, var * var.dtype.type(1.25) if sets.shape[-1] > 120 else var


class Mistaken(FaultyAdapter):
    def layer_class(self, implementation: Implementation) -> Any:
        return LargeVariance if implementation.layer == "batch_norm" else TwoMistakes


class MistakenByRules(FaultyAdapter):
    def layer_class(self, implementation: Implementation) -> Any:
        return TwoRules


class WrongEverywhere(FaultyAdapter):
    def layer_class(self, implementation: Implementation) -> Any:
        return Everywhere


class WrongWeight(FaultyAdapter):
    def layer_class(self, implementation: Implementation) -> Any:
        return WeightIsDoubled


class WrongWeightAndDbias(FaultyAdapter):
    def layer_class(self, implementation: Implementation) -> Any:
        return WeightAndDbias


def judged(evidence: Evidence, names: tuple[str, ...]) -> dict[str, Judged]:
    return {name: judge(requirements()[name], evidence) for name in names}


def batch_norm_cases() -> Iterator[Case]:
    settings = {"num_channels": 4, "eps": 2.0**-16, "momentum": 0.25}
    for number, count in enumerate((*range(3, 40, 2), *range(61, 100, 3))):
        x = scrambled((2, 4, count), number)
        dy = () if number % 3 else (scrambled(x.shape, number + 1) + 0.75,)
        yield make_case("batch_norm", "float32", settings, [("train", x, *dy)])


def far_from_zero() -> Iterator[Case]:
    for case in group_norm_cases():
        x = (case.steps[0].x + np.float32(20.3)).astype(np.float32)
        yield make_case("group_norm", "float32", dict(case.settings), [("train", x)])


def test_one_mistake_is_told_once_and_another_one_besides() -> None:
    launch = Launch(framework=f"{__name__}:Mistaken")
    wanted = Wanted(dtypes=("float32",), implementations=("group_norm.GroupNorm",), in_process=True)
    found = [one for one in run_framework(launch, wanted) if isinstance(one, Judgement) and one.verdict in DIVERGENT]
    assert {one.requirement: one.falls_with for one in found} == {"GN-24": "", "GN-27": "", "GN-39": "GN-24"}


@pytest.mark.parametrize(
    ("adapter", "told"),
    [
        (Mistaken, {}),  # dbias departs everywhere: no rule has it
        (MistakenByRules, {"GN-08": "GN-06"}),  # the second rule is told by GN-07, which does not fall with the first
    ],
)
def test_what_departs_besides_is_told_alone(adapter: type[FaultyAdapter], told: dict[str, str]) -> None:
    asked_for = ("GN-06", "GN-07", "GN-06", "GN-08")  # every second case has gradients
    evidence = evidence_of("group_norm.GroupNorm", adapter("float32"), group_norm_cases(), asked_for)
    found = judged(evidence, ("GN-06", "GN-07", "GN-08"))
    assert {one.verdict for one in found.values()} == {"diverges"}
    assert falls_with(found, evidence) == told


def test_values_and_settings_fall_with_the_step_that_is_rounded() -> None:
    evidence = evidence_of("group_norm.MeanInTf32", FaultsAdapter("float32"), far_from_zero(), ("GN-06", "GN-12"))
    found = {"GN-05": Judged(verdict="diverges", measured="eps=2"), **judged(evidence, ("GN-06", "GN-12"))}
    assert found["GN-06"].measured.startswith("rounds the terms of the mean")
    assert falls_with(found, evidence) == {"GN-05": "GN-06", "GN-12": "GN-06"}


def test_running_statistics_and_gradients_fall_with_the_output_that_they_follow_from() -> None:
    evidence = evidence_of("batch_norm.BatchNorm", Mistaken("float32"), batch_norm_cases(), ("BN-12", "BN-16"))
    found = judged(evidence, ("BN-12", "BN-16"))
    assert [one.verdict for one in found.values()] == ["diverges", "diverges"]
    assert falls_with(found, evidence) == {"BN-16": "BN-12"}


def test_where_no_semantics_fits_what_departs_in_most_calls_falls_together_but_not_a_nan() -> None:
    evidence = evidence_of("group_norm.GroupNorm", WrongEverywhere("float32"), group_norm_cases())
    found = judged(evidence, ("GN-01", "GN-06"))
    assert falls_with(found, evidence) == {"GN-06": "GN-01"}
    (last,) = (one for one in evidence.seen[-1:])
    steps = tuple(replace(step, output=np.full_like(step.output, np.nan)) for step in last.observation.steps)
    broken = replace(last, observation=replace(last.observation, steps=steps))
    assert falls_with(found, replace(evidence, seen=(*evidence.seen[:-1], broken))) == {}


def test_where_no_semantics_fits_what_departs_in_some_calls_falls_by_a_rule_or_alone() -> None:
    told = {}
    for name in ("WeightIsDoubled", "AtRandom"):
        evidence = evidence_of(f"rules.{name}", RulesAdapter("float32"), group_norm_cases())
        assert not evidence.diagnosis.known
        told[name] = falls_with(judged(evidence, ("GN-01", "GN-06")), evidence)
    assert told == {"WeightIsDoubled": {"GN-06": "GN-01"}, "AtRandom": {}}


def test_where_no_semantics_fits_a_gradient_of_a_right_output_is_told_alone() -> None:
    asked_for = ("GN-06", "GN-07")  # every second case has gradients
    told = {}
    for adapter in (WrongWeight, WrongWeightAndDbias):
        evidence = evidence_of("group_norm.GroupNorm", adapter("float32"), group_norm_cases(), asked_for)
        told[adapter] = falls_with(judged(evidence, ("GN-01", *asked_for)), evidence)
    assert told == {WrongWeight: {"GN-06": "GN-01", "GN-07": "GN-01"}, WrongWeightAndDbias: {"GN-06": "GN-01"}}


def test_what_departs_by_a_narrower_bound_or_an_overflow_besides_is_told_alone() -> None:
    evidence = evidence_of("rules.AboveThirtyTwoPositions", RulesAdapter("float32"), group_norm_cases(), TWO)
    found = judged(evidence, TWO)
    assert falls_with(found, evidence) == {"GN-08": "GN-06"}
    one = found["GN-08"]
    besides = replace(one, witnesses=(*one.witnesses, msgspec.structs.replace(one.witnesses[0], probe="another case")))
    assert falls_with({**found, "GN-08": besides}, evidence) == {}


def test_a_known_wrong_gradient_explains_no_output_besides() -> None:
    told = {}
    for name in ("AboveThirtyTwoPositions", "GradientsRaiseFromRankFour"):
        evidence = evidence_of(f"rules.{name}", RulesAdapter("float32"), group_norm_cases(), TWO)
        one = replace(judged(evidence, TWO)["GN-08"], measured="as GN-06")
        told[name] = falls_with({"GN-06": Judged(verdict="crashes"), "GN-08": one}, evidence)
    assert told == {"AboveThirtyTwoPositions": {}, "GradientsRaiseFromRankFour": {"GN-08": "GN-06"}}


def test_an_exception_in_a_case_that_the_rule_is_not_about_is_told_alone() -> None:
    asked_for = ("GN-07", "GN-06", "GN-07", "GN-39")  # at many sizes a refusal may be an answer: no rule is about it
    evidence = evidence_of("rules.GradientsRaiseFromRankFour", RulesAdapter("float32"), group_norm_cases(), asked_for)
    found = judged(evidence, ("GN-06",))
    assert [one.verdict for one in found.values()] == ["raises"]
    assert falls_with({**found, "GN-39": found["GN-06"]}, evidence) == {}


def test_exceptions_of_one_rule_fall_together() -> None:
    asked_for = ("GN-06", "GN-07", "GN-08")
    evidence = evidence_of("rules.GradientsRaiseFromRankFour", RulesAdapter("float32"), group_norm_cases(), asked_for)
    found = judged(evidence, asked_for)
    assert {one.verdict for one in found.values()} == {"raises"}
    assert falls_with(found, evidence) == {"GN-07": "GN-06", "GN-08": "GN-06"}


def test_the_page_says_with_what_it_falls_beside_those_that_fall_alone() -> None:
    fallen = judgement(verdict="diverges", requirement="GN-39", falls_with="GN-24")
    page = shown(run(profile(), fallen, judgement(verdict="diverges", requirement="GN-24")))
    told = [one.text for one in section(page, "divergences").all("p") if one.text.startswith("Falls with")]
    assert told == ["Falls with GN-24: the cause is the same."]


def test_the_terminal_says_with_what_it_falls_and_older_files_have_nothing() -> None:
    one = judgement(verdict="diverges", requirement="GN-39", measured="from 33 positions on", falls_with="GN-24")
    assert "falls with GN-24: from 33 positions on" in str(line_of(one))
    assert "falls with" not in str(line_of(msgspec.structs.replace(one, falls_with="")))
    older = {name: own for name, own in msgspec.to_builtins(one).items() if name != "falls_with"}
    assert msgspec.convert(older, Judgement).falls_with == ""
