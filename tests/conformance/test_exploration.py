"""Exploration finds what no experiment covers, makes it small, keeps it, and raises no false alarm."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from explored import FAULTY, ODD_SIZES, counterexamples, explore
from faulty.adapter import CAUGHT
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture import providers

from normgauge.adapters.case import Observation, StepResult
from normgauge.adapters.dtypes import KNOWN_DTYPES
from normgauge.adapters.memory_layouts import laid_out
from normgauge.conformance.cli.main import main
from normgauge.conformance.diagnosis.predictions import predict, predict_together
from normgauge.conformance.exploration.budget import BUDGETS
from normgauge.conformance.exploration.departure import Departure, first_departure
from normgauge.conformance.exploration.plans import CASES_A_PLAN, REGIMES, Plan, cases_of
from normgauge.conformance.exploration.strategies import Space, plans, settled_by
from normgauge.conformance.layers.experiments import with_equal_samples
from normgauge.conformance.layers.registry import layer_kinds
from normgauge.conformance.requirements.inputs import cast
from normgauge.conformance.requirements.parameter_types import OTHER_TYPE
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.subject import Launch
from normgauge.conformance.verdicts.relations import RELATIONS, held_against
from normgauge.oracle import CANONICAL, Arithmetic, candidates
from normgauge.results.records import Explored, Footer, Header, Judgement, Profile, Record

LAYERS = ("group_norm", "batch_norm")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("identifier", "seed", "kind", "signature"),
    [
        ("rare.ConstantSamplesLoseTheirBias", 0, "values", "output of ordinary numbers"),
        ("rare.SixValuesMixDivisorsBackward", 2, "values", "dx of ordinary numbers"),
        ("rare.OnePassFromTwentyValuesOn", 1, "accuracy", "accuracy: one_pass"),
        ("rare.InfinityEndsTheProcess", 0, "crash", "death"),
        ("rare.ChangesFourSamples", 0, "crash", "change"),
        ("rare.MomentumOneIsIgnored", 2, "values", "running_var of ordinary numbers"),
    ],
)
def test_each_kind_of_defect_is_found(identifier: str, seed: int, kind: str, signature: str) -> None:
    records = explore(identifier, seed=seed, in_process=kind != "crash")
    told_before = {r.requirement for r in records if isinstance(r, Judgement) and r.verdict != "conforms"}
    assert told_before == ({"GN-46"} if kind == "accuracy" else set())  # whose class has another range at length
    assert (kind, signature) in {(one.kind, one.signature) for one in counterexamples(records)}
    (told,) = [one for one in records if isinstance(one, Explored)]
    assert told.cases > 1000  # a death does not end the search


@pytest.mark.slow
@pytest.mark.parametrize(
    ("identifier", "signature", "place"),
    [
        ("rare.TakesSamplesAsTheyLie", "output of ordinary numbers", ", x channels_last"),
        ("rare.TakesUpstreamGradientsAsTheyLie", "dx of ordinary numbers", ", dy channels_last"),
        ("rare.DoublesBesideAnother", "output of ordinary numbers", ", another layer beside it"),
    ],
)
def test_what_lies_elsewhere_or_beside_is_drawn_and_told(identifier: str, signature: str, place: str) -> None:
    records = explore(identifier, seed=2)
    assert {r.verdict for r in records if isinstance(r, Judgement)} <= {"conforms"}
    found = counterexamples(records)
    assert (signature, True) in {(one.signature, one.plan.endswith(place)) for one in found}, [o.plan for o in found]


@pytest.mark.slow
def test_a_counterexample_that_needs_no_layout_has_none() -> None:
    for seed in range(3):
        for one in counterexamples(explore(ODD_SIZES, seed=seed)):
            assert "channels_last" not in one.plan + str(one.example.inputs)
            assert "beside" not in one.plan


@pytest.mark.slow
def test_a_known_departure_hides_no_death() -> None:
    for seed in (0, 1):
        found = {
            one.signature
            for one in counterexamples(explore("rare.WrongAndDiesOnInfinity", seed=seed, in_process=False))
        }
        assert {"death", "output of ordinary numbers"} <= found


@pytest.mark.slow
def test_a_death_that_comes_with_a_shape_is_told_once_and_ends_no_search_early(tmp_path: Path) -> None:
    for already in (0, 1):  # found at first, replayed then
        records = explore("rare.DiesAtFiveChannels", store=tmp_path, in_process=False)
        assert [one.signature for one in counterexamples(records)] == ["death"]
        assert counterexamples(records)[0].found == ("replayed" if already else "explored")
        (told,) = [one for one in records if isinstance(one, Explored)]
        assert told.cases > 200


@pytest.mark.slow
def test_an_example_shows_the_canonical_result_beside_the_one_followed() -> None:
    found = counterexamples(explore("rare.InterleavedAndWrongAtThree"))[0]
    assert found.example.settings["num_groups"] == 2
    assert found.example.canonical != found.example.followed != []


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.exhaustive)])
def test_an_honest_layer_gives_no_counterexample(dtype: str) -> None:
    records = explore("group_norm.GroupNorm", "group_norm.OnePass", "batch_norm.BatchNorm", dtype=dtype)
    assert counterexamples(records) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, pytest.param(2, marks=pytest.mark.exhaustive)])
def test_an_overflow_that_a_class_may_have_is_no_departure(seed: int) -> None:
    """Squares beyond the type's range: Welford's and one-pass statistics are NaN there, and nobody is at fault."""
    records = explore("rare.SquaresOverflow", seed=seed)
    (profile,) = [one for one in records if isinstance(one, Profile)]
    assert profile.accuracy == "two_pass"
    assert counterexamples(records) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "chosen",
    [
        "group_norm.Interleaved",
        "group_norm.ComputesInSinglePrecision",
        "batch_norm.NoneMeansOneHundredth",
        "batch_norm.StopsAfterThreeSteps",
        *(
            pytest.param(name, marks=pytest.mark.exhaustive)
            for name in (
                "group_norm.EpsOutside",
                "group_norm.SingleValuePassesThrough",
                "batch_norm.UntrackedEvalIsInitial",
                "batch_norm.ComputesInSinglePrecision",
            )
        ),
    ],
)
def test_what_an_experiment_tells_is_not_told_again(chosen: str) -> None:
    """Alternatives are followed, and what a requirement diverges on is not drawn."""
    assert "diverges" in CAUGHT[chosen].values()
    assert counterexamples(explore(chosen, budget="quick", dtype="float64")) == []


@pytest.mark.slow
def test_the_same_seed_gives_the_same_records_and_the_judgements_do_not_depend_on_it() -> None:
    def without_times(records: list[Record]) -> list[Record]:
        return [one for one in records if not isinstance(one, Header | Footer)]

    first, again, other = (explore(ODD_SIZES, seed=seed, budget="quick") for seed in (0, 0, 1))
    assert without_times(first) == without_times(again)
    judged = [[one for one in records if isinstance(one, Judgement | Profile)] for records in (first, other)]
    assert judged[0] == judged[1]


# --- plans --------------------------------------------------------------------------------------


def plan_of(layer: str, dtype: str = "float32", **changes: Any) -> Plan:
    modes = ("train",) if layer == "group_norm" else ("train", "eval")
    tracked = layer == "batch_norm"
    made = Plan(
        layer=layer,
        dtype=dtype,
        shape=(2, 6, 3),
        groups=2,
        regime="normal",
        seed=7,
        eps=1e-5,
        weight=True,
        bias=True,
        modes=modes,
        momentum=0.25 if tracked else None,
        track=tracked,
        statistics=tracked,
    )
    return replace(made, **changes)


def test_a_seed_draws_the_same_whatever_modules_are_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn() -> list[int]:
        found: list[int] = []

        def shown(one: int, _: object) -> list[Departure]:
            found.append(one)
            return []

        first_departure(st.integers(), 2000, 1, shown, lambda _: False)
        return found

    before = drawn()
    numbers = {123457, 234571, 345701, 457013}
    (tmp_path / "some_program.py").write_text(f"numbers = {numbers}\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("some_program")
    assert numbers <= {*providers._get_local_constants().integers}
    assert drawn() == before
    assert numbers <= {*providers._get_local_constants().integers}, "the tests of the user draw what they drew"


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("regime", REGIMES)
def test_a_plan_gives_its_cases_bit_for_bit(layer: str, dtype: str, regime: str) -> None:
    plan = plan_of(layer, dtype, regime=regime)
    cases, again = cases_of(plan), cases_of(plan)
    assert len(cases) == CASES_A_PLAN
    for one, other in zip(cases, again, strict=True):
        assert all(a.x.tobytes() == b.x.tobytes() for a, b in zip(one.steps, other.steps, strict=True))
        assert {step.x.dtype.name for step in one.steps} == {dtype}
        assert {step.x.shape for step in one.steps} == {(2, 6, 3)}


def test_regimes_are_what_they_are_called() -> None:
    def inputs(regime: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return np.stack([case.steps[0].x for case in cases_of(plan_of("group_norm", regime=regime))])

    assert np.array_equal(inputs("whole"), np.round(inputs("whole")))
    constant = inputs("constant")
    assert (constant == constant[:, :1, :, :1]).all()
    assert np.ptp(constant[0]) == 0
    assert (np.isnan(inputs("with_nan")).sum(axis=(1, 2, 3)) == 1).all()
    assert (np.isinf(inputs("with_infinity")).sum(axis=(1, 2, 3)) == 1).all()
    assert np.abs(inputs("huge")).max() > 1e17
    assert np.abs(inputs("tiny")).min() < np.finfo(np.float32).tiny
    large = inputs("large_mean")
    assert np.max(np.abs(large.mean(axis=(1, 3))) / large.std(axis=(1, 3))) > 100
    assert np.abs(inputs("outlier")).max() > 1000


@settings(deadline=None)
@given(st.data())
def test_plans_stay_within_their_space(data: st.DataObject) -> None:
    layer = data.draw(st.sampled_from(LAYERS))
    settled = settled_by(["GN-12", "BN-17", "GN-11", "BN-06", "BN-05", "BN-08", "BN-15", "BN-26", "GN-22"])
    space = Space(layer=layer, dtype="float32", ranks=(2, 4), settled=settled)
    plan = data.draw(plans(space))
    assert len(plan.shape) in {2, 4}
    assert plan.shape[1] % plan.groups == 0
    assert plan.regime != "large_mean"
    assert plan.relation != "groups = C"
    if layer == "group_norm":
        assert np.prod(plan.shape[1:]) > plan.groups
    else:
        assert np.prod(plan.shape) > plan.shape[1]
        assert (plan.momentum is not None, plan.track, plan.statistics) == (True, True, True)
        assert plan.modes == ("train",)
    assert (plan.layout, plan.dy_layout, plan.beside) == ("", "", False)  # nothing says that they may be drawn
    free = data.draw(plans(replace(space, drawable={"layouts", "another_layer"})))
    assert free.relation is None or (free.layout, free.dy_layout, free.beside) == ("", "", False)
    assert free.differentiated or not free.dy_layout
    for case in cases_of(free):
        for step in case.steps:
            assert (step.layout, step.dy_layout) == (free.layout, free.dy_layout)
            assert [action.name for action in step.before] == ["another_layer"] * free.beside
            assert laid_out(step.x, step.layout).shape == step.x.shape  # an expanded batch holds equal samples
            assert step.dy is None or laid_out(step.dy, step.dy_layout).shape == step.x.shape
    pool = (((2, 8, 2, 2), 1),)
    assert data.draw(plans(replace(space, pool=pool))).shape == (2, 8, 2, 2)


@settings(deadline=None)
@given(st.data(), st.sampled_from(list(OTHER_TYPE)), st.sampled_from(LAYERS))
def test_parameters_are_of_another_type_where_that_is_asked_about(data: st.DataObject, dtype: str, layer: str) -> None:
    space = Space(layer=layer, dtype=dtype, ranks=(3,))
    assert not data.draw(plans(space)).parameters
    typed = data.draw(plans(replace(space, drawable={"parameter_types"})).filter(lambda plan: plan.parameters))
    assert typed.parameters == OTHER_TYPE[dtype]
    assert KNOWN_DTYPES[dtype].half or not typed.differentiated
    assert typed.eps >= 2.0 ** KNOWN_DTYPES[dtype].least_exponent
    (case, *_) = cases_of(typed)
    assert set(case.dtypes) == {"weight", "bias"} & set(case.parameters) != set()
    for name in case.dtypes:
        assert case.parameters[name].dtype == KNOWN_DTYPES[typed.parameters].carrier
    for values in (case.steps[0].x, *(value for name, value in case.parameters.items() if name not in case.dtypes)):
        assert np.array_equal(values, cast(values, dtype), equal_nan=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("adapter", "dtype"),
    [("ConstantSamplesLoseTheirBias", "float16"), ("WeightOfAnotherTypeIsLostAtOddChannels", "bfloat16")],
)
def test_half_and_mixed_types_are_explored_too(adapter: str, dtype: str) -> None:
    budget = replace(BUDGETS["default"], cases=8192)
    wanted = Wanted(dtypes=(dtype,), implementations=("two_pass.GroupNorm",), in_process=True, budget=budget)
    records = list(run_framework(Launch(framework=f"faulty.half:{adapter}"), wanted))
    assert {one.verdict for one in records if isinstance(one, Judgement)} == {"conforms"}
    found = counterexamples(records)
    assert "values" in {one.kind for one in found}
    assert adapter.startswith("Constant") or all("parameters of float32" in one.plan for one in found)


def test_expanded_cases_hold_one_sample() -> None:
    case = with_equal_samples(cases_of(plan_of("group_norm"))[0])
    assert np.array_equal(case.steps[0].x[0], case.steps[0].x[1])


# --- references side by side --------------------------------------------------------------------


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("regime", ["normal", "with_nan", "huge"])
def test_cases_side_by_side_are_predicted_as_each_alone(layer: str, regime: str) -> None:
    cases = cases_of(plan_of(layer, regime=regime))
    for semantics in list(candidates(layer))[::97]:
        together = predict_together(cases, semantics, Arithmetic("float32")).apart()
        for case, own in zip(cases, together, strict=True):
            alone = predict(case, semantics, Arithmetic("float32"))
            assert own.refused == alone.refused
            for a, b in zip(own.steps, alone.steps, strict=True):
                assert a.keys() == b.keys()
                for quantity in a:
                    assert np.array_equal(a[quantity].value, b[quantity].value, equal_nan=True)
                    assert np.array_equal(a[quantity].bound, b[quantity].bound, equal_nan=True)


# --- relations ----------------------------------------------------------------------------------


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda one: one.name)
def test_a_relation_holds_of_the_exact_result_and_breaks_for_another(relation: object) -> None:
    assert isinstance(relation, type(RELATIONS[0]))
    arithmetic = Arithmetic("float64")
    kinds = [one for one in layer_kinds().values() if relation.name in one.relations]
    assert kinds
    for layer in (one.name for one in kinds):
        groups = 1 if relation.name == "groups = 1" else 6 if relation.name == "groups = C" else 2
        bare = relation.name == "groups = 1"
        plan = plan_of(layer, "float64", regime="whole", groups=groups, weight=not bare, bias=not bare)
        case = next(one for one in cases_of(replace(plan, modes=("train",) * len(plan.modes))) if relation.applies(one))
        other = relation.transformed(case)
        semantics = CANONICAL[layer]
        predicted = (predict(case, semantics, arithmetic), predict(other, semantics, arithmetic))

        def seen(prediction: object, moved: float) -> Observation:
            steps = [step["output"].value for step in prediction.steps]  # type: ignore[attr-defined]
            return Observation(steps=tuple(StepResult(output=y + moved, dtype="float64", state={}) for y in steps))

        honest = (seen(predicted[0], 0), seen(predicted[1], 0))
        assert held_against(relation, honest, predicted).ratio <= 1
        moved = (seen(predicted[0], 0), seen(predicted[1], 1e-9))
        assert held_against(relation, moved, predicted).ratio > 1


@pytest.mark.slow
def test_the_command_line_tells_what_was_explored(tmp_path: Path) -> None:
    arguments = [
        "run",
        FAULTY,
        "-i",
        ODD_SIZES,
        "--dtype",
        "float32",
        "--out",
        str(tmp_path),
        "--python",
        sys.executable,
    ]
    result = CliRunner().invoke(main, [*arguments, "--budget", "default", "--seed", "2"])
    assert result.exit_code == 0, result.output
    assert "counterexample explored: rare.ThreeChannelsAGroupAtOddSizes: shape (1, 3, 1)" in result.output
    assert "explored cases" in result.output
    assert len(list((tmp_path / "counterexamples").rglob("*.json"))) >= 1
    result = CliRunner().invoke(main, [*arguments, "--budget", "none"])
    assert "explored" not in result.output


@pytest.mark.slow
def test_a_run_leaves_nothing_beside_its_results(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "normgauge.conformance.cli.main", "run", FAULTY, "-i", "group_norm.GroupNorm"]
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    here.pop("HYPOTHESIS_STORAGE_DIRECTORY", None)
    done = subprocess.run(
        [*command, "--budget", "quick", "--dtype", "float32"], cwd=tmp_path, env=here, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["build"]
    assert [path.name for path in (tmp_path / "build").rglob("*") if path.is_file()] == [
        "faulty.adapter-FaultyAdapter.jsonl"
    ]


@pytest.mark.slow
def test_large_sizes_are_drawn_and_told_as_the_smallest_that_shows_it() -> None:
    records = explore("rare.FourChannelsAGroupLoseTheirTail", seed=4)
    assert {r.verdict for r in records if isinstance(r, Judgement)} <= {"conforms"}
    (found,) = counterexamples(records)
    ((samples, channels, *spatial),) = found.example.shapes
    assert (samples, channels, max(spatial)) == (1, 4, 33)
