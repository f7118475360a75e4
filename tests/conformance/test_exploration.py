"""Exploration finds what no experiment covers, makes it small, keeps it, and raises no false alarm."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from faulty.adapter import CAUGHT
from hypothesis import given
from hypothesis import strategies as st

from normgauge.adapters.base import Observation, StepResult
from normgauge.conformance.casefile import BrokenCase, read_case
from normgauge.conformance.cli import main
from normgauge.conformance.engine import Wanted, run_framework
from normgauge.conformance.experiments import in_mode
from normgauge.conformance.plans import CASES_A_PLAN, REGIMES, Plan, cases_of
from normgauge.conformance.references import predict, predict_together
from normgauge.conformance.relations import RELATIONS, held_against
from normgauge.conformance.strategies import Space, plans, settled_by
from normgauge.conformance.subjects import Launch
from normgauge.oracle import CANONICAL, Arithmetic, candidates
from normgauge.reports.records import Counterexample, Explored, Footer, Header, Judgement, Profile, Record

FAULTY = "faulty.adapter:FaultyAdapter"
LAYERS = ("group_norm", "batch_norm")


#: A layer whose defect no experiment covers; it is explored once for all tests that begin with what was found.
ODD_SIZES = "rare.ThreeChannelsAGroupAtOddSizes"


def explore(
    *identifiers: str,
    seed: int = 0,
    budget: str = "default",
    dtype: str = "float32",
    store: Path | None = None,
    in_process: bool = True,
) -> list[Record]:
    """The records of a run; a layer that ends its process needs one of its own."""
    wanted = Wanted((dtype,), identifiers, in_process, budget=budget, seed=seed, store=store)
    return list(run_framework(Launch(FAULTY), wanted))


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Record], Path]:
    """The records of an exploration of that layer, and the folder in which it kept what it found."""
    store = tmp_path_factory.mktemp("explored") / "store"
    return explore(ODD_SIZES, store=store), store


@pytest.fixture
def kept(explored: tuple[list[Record], Path]) -> Path:
    """The file of the first counterexample."""
    return Path(str(counterexamples(explored[0])[0].stored))


#: Tests that share an exploration run in one process.
together = pytest.mark.xdist_group("exploration")


def counterexamples(records: list[Record]) -> list[Counterexample]:
    return [one for one in records if isinstance(one, Counterexample)]


@together
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_a_defect_beyond_the_experiments_is_found_and_made_small(
    seed: int, explored: tuple[list[Record], Path]
) -> None:
    records = explored[0] if seed == 0 else explore(ODD_SIZES, seed=seed)
    assert {r.verdict for r in records if isinstance(r, Judgement)} <= {"conforms"}
    found = counterexamples(records)[0]
    assert found.example.shapes == [[1, 3, 1]]
    assert found.example.settings["num_groups"] == 1
    assert found.kind == "values"
    values = found.example.inputs[-1].removeprefix("step 1 train x ").split()
    assert all(abs(float(value)) < 10 and float(value) == int(float(value)) for value in values)


@pytest.mark.parametrize(
    ("identifier", "seed", "kind", "signature"),
    [
        ("rare.ConstantSamplesLoseTheirBias", 0, "values", "output of ordinary numbers"),
        ("rare.SixValuesMixDivisorsBackward", 0, "values", "dx of ordinary numbers"),
        ("rare.OnePassFromTwentyValuesOn", 1, "accuracy", "accuracy: one_pass"),
        ("rare.InfinityEndsTheProcess", 0, "crash", "death"),
        ("rare.ChangesFourSamples", 0, "crash", "change"),
        ("rare.MomentumOneIsIgnored", 2, "values", "running_var of ordinary numbers"),
    ],
)
def test_each_kind_of_defect_is_found(identifier: str, seed: int, kind: str, signature: str) -> None:
    records = explore(identifier, seed=seed, in_process=kind != "crash")
    assert {r.verdict for r in records if isinstance(r, Judgement)} <= {"conforms"}
    assert (kind, signature) in {(one.kind, one.signature) for one in counterexamples(records)}
    (told,) = [one for one in records if isinstance(one, Explored)]
    assert told.cases > 1000  # a death does not end the search


def test_a_known_departure_hides_no_death() -> None:
    for seed in (0, 1):
        found = {
            one.signature
            for one in counterexamples(explore("rare.WrongAndDiesOnInfinity", seed=seed, in_process=False))
        }
        assert {"death", "output of ordinary numbers"} <= found


def test_a_death_that_comes_with_a_shape_is_told_once_and_ends_no_search_early(tmp_path: Path) -> None:
    for already in (0, 1):  # found at first, replayed then
        records = explore("rare.DiesAtFiveChannels", store=tmp_path, in_process=False)
        assert [one.signature for one in counterexamples(records)] == ["death"]
        assert counterexamples(records)[0].found == ("replayed" if already else "explored")
        (told,) = [one for one in records if isinstance(one, Explored)]
        assert told.cases > 200


def test_an_example_shows_the_canonical_result_beside_the_one_followed() -> None:
    found = counterexamples(explore("rare.InterleavedAndWrongAtThree"))[0]
    assert found.example.settings["num_groups"] == 2
    assert found.example.canonical != found.example.followed != []


def test_an_honest_layer_gives_no_counterexample() -> None:
    for dtype in ("float32", "float64"):
        records = explore("group_norm.GroupNorm", "group_norm.OnePass", "batch_norm.BatchNorm", dtype=dtype)
        assert counterexamples(records) == []


@pytest.mark.parametrize("seed", [0, 2])
def test_an_overflow_that_a_class_may_have_is_no_departure(seed: int) -> None:
    """Squares beyond the type's range: Welford's and one-pass statistics are NaN there, and nobody is at fault."""
    records = explore("rare.SquaresOverflow", seed=seed)
    (profile,) = [one for one in records if isinstance(one, Profile)]
    assert profile.accuracy == "two_pass"
    assert counterexamples(records) == []


def test_what_an_experiment_tells_is_not_told_again() -> None:
    """Alternatives are followed, and what a requirement diverges on is not drawn."""
    known = [name for name, caught in CAUGHT.items() if set(caught.values()) & {"diverges"}]
    assert len(known) > 30
    chosen = ["group_norm.Interleaved", "group_norm.EpsOutside", "group_norm.SingleValuePassesThrough",
              "group_norm.ComputesInSinglePrecision", "batch_norm.NoneMeansOneHundredth",
              "batch_norm.UntrackedEvalIsInitial", "batch_norm.StopsAfterThreeSteps",
              "batch_norm.ComputesInSinglePrecision"]  # fmt: skip
    assert set(chosen) <= set(known)
    assert counterexamples(explore(*chosen, budget="quick", dtype="float64")) == []


def test_the_same_seed_gives_the_same_records_and_the_judgements_do_not_depend_on_it() -> None:
    def without_times(records: list[Record]) -> list[Record]:
        return [one for one in records if not isinstance(one, Header | Footer)]

    first, again, other = (explore(ODD_SIZES, seed=seed, budget="quick") for seed in (0, 0, 1))
    assert without_times(first) == without_times(again)
    judged = [[one for one in records if isinstance(one, Judgement | Profile)] for records in (first, other)]
    assert judged[0] == judged[1]


@together
def test_a_counterexample_is_kept_replayed_and_promoted(
    explored: tuple[list[Record], Path], kept: Path, tmp_path: Path
) -> None:
    found = counterexamples(explored[0])[0]
    assert found.found == "explored"
    assert read_case(kept).id == found.example.case

    store = shutil.copytree(explored[1], tmp_path / "store")
    again = counterexamples(explore(ODD_SIZES, seed=5, budget="quick", store=store))
    assert next((one.found, one.example.case) for one in again) == ("replayed", found.example.case)
    assert [one for one in again if one.found == "explored"] == []  # the cause is known by then

    (tmp_path / "promoted").mkdir()
    result = CliRunner().invoke(main, ["promote", str(kept), "--to", str(tmp_path / "promoted")])
    assert result.exit_code == 0, result.output
    promoted = read_case(next((tmp_path / "promoted").iterdir()))
    wanted = Wanted(("float32",), (ODD_SIZES, "group_norm.GroupNorm"), cases=(promoted,))
    judged = {
        r.implementation: r.verdict
        for r in run_framework(Launch(FAULTY), wanted)
        if isinstance(r, Judgement) and r.requirement == "GN-21"
    }
    assert judged == {ODD_SIZES: "diverges", "group_norm.GroupNorm": "conforms"}


@together
def test_a_committed_case_that_no_class_holds_leaves_the_class_of_the_others(kept: Path) -> None:
    wanted = Wanted(("float32",), (ODD_SIZES,), cases=(read_case(kept),))
    (profile,) = [one for one in run_framework(Launch(FAULTY), wanted) if isinstance(one, Profile)]
    assert profile.accuracy == "two_pass"


@together
def test_what_is_promoted_diverges_and_is_no_news_any_more(kept: Path) -> None:
    wanted = Wanted(("float32",), (ODD_SIZES,), budget="default", cases=(read_case(kept),))
    records = list(run_framework(Launch(FAULTY), wanted))
    assert counterexamples(records) == []
    (told,) = [one for one in records if isinstance(one, Explored)]
    assert told.known > 0


def test_a_broken_case_file_is_one_clear_error(tmp_path: Path) -> None:
    broken = tmp_path / "group_norm-x.json"
    broken.write_text('{"case": 1}')
    with pytest.raises(BrokenCase, match="is no stored counterexample"):
        read_case(broken)
    result = CliRunner().invoke(main, ["promote", str(broken), "--to", str(tmp_path)])
    assert result.exit_code == 2
    assert "is no stored counterexample" in result.output
    result = CliRunner().invoke(main, ["promote", str(broken), "--to", str(tmp_path / "none")])
    assert result.exit_code == 2
    assert "there is no folder" in result.output
    result = CliRunner().invoke(main, ["run", FAULTY, "--store", str(tmp_path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()  # told before anything is measured
    result = CliRunner().invoke(main, ["run", FAULTY, "--cases", str(tmp_path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "is no stored counterexample" in result.output


# --- plans --------------------------------------------------------------------------------------


def plan_of(layer: str, dtype: str = "float32", **changes: object) -> Plan:
    modes = ("train",) if layer == "group_norm" else ("train", "eval")
    tracked = {"momentum": 0.25, "track": True, "statistics": True} if layer == "batch_norm" else {}
    made = Plan(layer, dtype, (2, 6, 3), 2, "normal", 7, 1e-5, True, True, modes, **tracked)  # type: ignore[arg-type]
    return replace(made, **changes)  # type: ignore[arg-type]


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


@given(st.data())
def test_plans_stay_within_their_space(data: st.DataObject) -> None:
    layer = data.draw(st.sampled_from(LAYERS))
    settled = settled_by(["GN-12", "BN-17", "GN-11", "BN-06", "BN-05", "BN-08", "BN-15", "BN-26", "GN-22"])
    space = Space(layer, "float32", (2, 4), settled=settled)
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
    pool = (((2, 8, 2, 2), 1),)
    assert data.draw(plans(replace(space, pool=pool))).shape == (2, 8, 2, 2)


def test_expanded_cases_hold_one_sample() -> None:
    case = in_mode(cases_of(plan_of("group_norm"))[0], "expanded")
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
    for layer in relation.layers:
        groups = 1 if relation.name == "groups = 1" else 6 if relation.name == "groups = C" else 2
        bare = relation.name == "groups = 1"
        plan = plan_of(layer, "float64", regime="whole", groups=groups, weight=not bare, bias=not bare)
        case = next(one for one in cases_of(replace(plan, modes=("train",) * len(plan.modes))) if relation.applies(one))
        other = relation.transformed(case)
        semantics = CANONICAL[layer]
        predicted = (predict(case, semantics, arithmetic), predict(other, semantics, arithmetic))

        def seen(prediction: object, moved: float) -> Observation:
            steps = [step["output"].value for step in prediction.steps]  # type: ignore[attr-defined]
            return Observation(tuple(StepResult(y + moved, "float64", {}) for y in steps))

        honest = (seen(predicted[0], 0), seen(predicted[1], 0))
        assert held_against(relation, honest, predicted).ratio <= 1
        moved = (seen(predicted[0], 0), seen(predicted[1], 1e-9))
        assert held_against(relation, moved, predicted).ratio > 1


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


def test_a_run_leaves_nothing_beside_its_results(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "normgauge.conformance.cli", "run", FAULTY, "-i", "group_norm.GroupNorm"]
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    here.pop("HYPOTHESIS_STORAGE_DIRECTORY", None)
    done = subprocess.run([*command, "--budget", "quick"], cwd=tmp_path, env=here, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["build"]
    assert [path.name for path in (tmp_path / "build").rglob("*") if path.is_file()] == [
        "faulty.adapter-FaultyAdapter.jsonl"
    ]
