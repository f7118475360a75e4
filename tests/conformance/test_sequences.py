"""What BatchNorm keeps between calls: the actions, what the oracle says of them, and the sequences explored."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from explored import FAULTY, counterexamples, explore
from faulty.adapter import FaultyAdapter
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from normgauge.adapters.case import ACTIONS, PARAMETERS, Action, Case, Step
from normgauge.adapters.lacks import actions_in
from normgauge.adapters.script import script
from normgauge.conformance.diagnosis.candidates import compare
from normgauge.conformance.diagnosis.predictions import predict
from normgauge.conformance.exploration.sequences import LONGEST, Calls, sequences
from normgauge.conformance.exploration.strategies import drawable
from normgauge.conformance.layers.registry import kind_of, requirements
from normgauge.conformance.requirements.case_files import read_case
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.subject import Launch
from normgauge.oracle import CANONICAL, Arithmetic
from normgauge.results.records import Explored, Judgement, Record

X = np.array([[0, 1], [4, 2], [2, 6]], np.float32)
#: Every requirement, as the verdicts of a layer that conforms.
ALL = {*requirements()}


def sequence(*before: tuple[Action, ...], momentum: float | None = 0.25, mode: str = "train") -> Case:
    """A call after each group of actions."""
    given = {"weight": np.array([2, -1], np.float32), "bias": np.array([0.5, 1], np.float32)}
    steps = tuple(Step(mode, X * (1 + number), before=own, inspect=True) for number, own in enumerate(before))
    return Case(
        layer="batch_norm",
        dtype="float32",
        settings={"num_channels": 2, "eps": 0.5, "momentum": momentum},
        parameters=given,
        steps=steps,
    )


def expected(case: Case, quantity: str) -> list[list[float]]:
    prediction = predict(case, CANONICAL["batch_norm"], Arithmetic("float32"))
    return [step[quantity].value.tolist() for step in prediction.steps]


# --- the oracle's account -----------------------------------------------------------------------


def test_a_reset_starts_the_statistics_and_the_count_of_batches_again() -> None:
    means = expected(sequence((), (), (Action("reset"),), momentum=None), "running_mean")
    assert means == [[2, 3], [3, 4.5], [6, 9]]  # of batches with the means (2, 3), (4, 6), (6, 9)


def test_what_is_saved_keeps_the_statistics_and_the_count_of_batches() -> None:
    saved = sequence((), (), (Action("save_load"),), momentum=None)
    assert expected(saved, "running_mean") == [[2, 3], [3, 4.5], [4, 6]]


def test_a_layer_that_has_read_a_state_has_its_own_momentum_and_is_not_frozen() -> None:
    case = sequence((Action("momentum", 1.0), Action("freeze")), (Action("save_load"),))
    assert expected(case, "running_mean") == [[2, 3], [0.75 * 2 + 0.25 * 4, 0.75 * 3 + 0.25 * 6]]
    assert expected(case, "trainable") == [[0, 0, 0, 0], [1, 1, 0, 0]]


def test_freezing_changes_nothing_but_what_is_trainable() -> None:
    frozen, free = sequence((Action("freeze"),), (Action("unfreeze_model"),)), sequence((), ())
    for quantity in ("output", "running_mean", "running_var", "weight", "bias"):
        assert expected(frozen, quantity) == expected(free, quantity)
    assert expected(frozen, "trainable") == [[0, 0, 0, 0], [1, 1, 0, 0]]


def test_a_layer_without_a_weight_has_none_to_train() -> None:
    case = sequence(())
    without = replace(case, settings={**case.settings, "weight": False})
    assert expected(without, "trainable") == [[0, 1, 0, 0]]
    assert "weight" not in predict(without, CANONICAL["batch_norm"], Arithmetic("float32")).steps[0]


def test_what_is_set_is_used_from_then_on_and_the_count_of_batches_stays() -> None:
    new = {"weight": np.array([4, 8], np.float32), "running_mean": np.array([1, -1], np.float32)}
    case = sequence((), (Action("set_parameters", parameters=new),), (), momentum=None)
    assert expected(case, "weight") == [[2, -1], [4, 8], [4, 8]]
    assert expected(case, "bias") == [[0.5, 1]] * 3
    # Batches with the means (2, 3), (4, 6), (6, 9); the second is averaged with what was set, as of one batch.
    assert np.allclose(expected(case, "running_mean"), [[2.0, 3.0], [2.5, 2.5], [11 / 3, 14 / 3]], atol=1e-12)


def test_in_eval_what_was_set_normalises() -> None:
    new = {"running_mean": np.array([2, 3], np.float32), "running_var": np.array([3.5, 8.5], np.float32)}
    case = sequence((), (Action("set_parameters", parameters=new),), mode="eval")
    _, first = expected(case, "output")
    # x = (0, 1), (4, 2), (2, 6) times 2, less (2, 3), over sqrt(3.5 + 0.5) and sqrt(8.5 + 0.5), times (2, -1).
    assert np.allclose(first, [[-2 + 0.5, 1 / 3 + 1], [6 + 0.5, -1 / 3 + 1], [2 + 0.5, -3 + 1]], atol=1e-12)


# --- the actions --------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ACTIONS)
def test_an_honest_layer_does_what_the_oracle_says_of_every_action(action: str) -> None:
    new = {name: np.array([3, 0.25], np.float32) for name in PARAMETERS} if action == "set_parameters" else {}
    case = sequence((), (Action(action, 0.75 if action == "momentum" else None, new),), ())
    seen = FaultyAdapter("float32").run("batch_norm.BatchNorm", case)
    assert seen.raised is None
    assert compare(seen, predict(case, CANONICAL["batch_norm"], Arithmetic("float32"))).ratio <= 1
    assert [set(step.quantities) for step in seen.steps] == [
        {"output", "weight", "bias", "running_mean", "running_var", "trainable"}
    ] * 3


def test_an_action_that_nobody_knows_is_an_exception() -> None:
    seen = FaultyAdapter("float32").run("batch_norm.BatchNorm", sequence((), (Action("melt"),)))
    assert len(seen.steps) == 1
    assert seen.raised is not None
    assert seen.raised.message.startswith("no action 'melt' is known; allowed: reset, ")


def test_what_a_step_is_not_asked_it_does_not_tell() -> None:
    case = sequence(())
    plain = replace(case, steps=(replace(case.steps[0], inspect=False),))
    (step,) = FaultyAdapter("float32").run("batch_norm.BatchNorm", plain).steps
    assert set(step.quantities) == {"output", "running_mean", "running_var"}


def test_the_script_of_an_adapter_that_is_not_made_of_operations_has_the_inputs() -> None:
    text = script(FaultyAdapter("float32"), "batch_norm.BatchNorm", sequence((Action("momentum", 0.5),)), "about")
    assert "    # step 1: momentum=0.5, train\n    x = np.array(" in text
    assert "raise NotImplementedError(" in text


# --- the sequences that are drawn ---------------------------------------------------------------


def drawn(calls: Calls, seed: int = 0) -> list[Case]:
    found: list[Case] = []

    @seeded(seed)
    @settings(
        max_examples=100,
        database=None,
        phases=(Phase.generate,),
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(sequences(calls))
    def draw(case: Case) -> None:
        found.append(case)

    draw()
    return found


def calls_of(*without: str, shapes: tuple[tuple[int, ...], ...] = ()) -> Calls:
    kind = kind_of("batch_norm")
    calls = Calls.of(kind, "float32", (2, 4), shapes, drawable(kind, "float32", ALL - set(without)))
    assert calls is not None
    return calls


def test_sequences_have_every_action_both_modes_and_several_batch_sizes() -> None:
    found = drawn(calls_of())
    assert set().union(*map(actions_in, found)) == {*ACTIONS, "inspect"}
    steps = [step for case in found for step in case.steps]
    assert {step.mode for step in steps} == {"train", "eval"}
    assert {step.x.ndim for step in steps} == {2, 4}
    assert any(len({len(step.x) for step in case.steps}) > 1 for case in found)
    assert all(step.x.size > step.x.shape[1] for step in steps)
    assert max(len(case.steps) for case in found) > LONGEST // 2
    assert {case.settings["momentum"] is None for case in found} == {True, False}
    new = [action.parameters for step in steps for action in step.before if action.name == "set_parameters"]
    assert {*map(len, new)} == {len(PARAMETERS)}
    assert len({own["weight"][0] for own in new}) > 4


def test_the_same_seed_draws_the_same_sequences() -> None:
    def as_text(cases: list[Case]) -> str:
        return str([(case.settings, [(s.mode, s.before, s.x.tolist()) for s in case.steps]) for case in cases])

    assert as_text(drawn(calls_of(), 3)) == as_text(drawn(calls_of(), 3))
    assert as_text(drawn(calls_of(), 3)) != as_text(drawn(calls_of(), 4))


@pytest.mark.parametrize(
    ("diverging", "left_out"),
    [
        ("BN-27", {"reset"}),
        ("BN-28", {"save_load"}),
        ("BN-29", {"freeze", "unfreeze", "freeze_model", "unfreeze_model"}),
        ("BN-30", {"momentum"}),
        ("BN-47", {"set_parameters"}),
        ("BN-31", {"freeze", "unfreeze", "freeze_model", "unfreeze_model", "inspect"}),
    ],
)
def test_what_a_requirement_has_settled_is_not_drawn(diverging: str, left_out: set[str]) -> None:
    found = drawn(calls_of(diverging))
    assert set().union(*map(actions_in, found)) == {*ACTIONS, "inspect"} - left_out


def test_without_averages_no_momentum_is_none_and_without_eval_there_is_none() -> None:
    found = drawn(calls_of("BN-05", "BN-15"))
    steps = [step for case in found for step in case.steps]
    assert {step.mode for step in steps} == {"train"}
    momenta = {action.value for step in steps for action in step.before if action.name == "momentum"}
    assert None not in momenta | {case.settings["momentum"] for case in found}


def test_a_framework_that_compiles_is_asked_on_the_shapes_that_it_knows() -> None:
    shapes = ((2, 8, 2, 2), (3, 8, 3, 5), (1, 8, 1, 1), (2, 8), (2, 4, 2, 2))
    found = drawn(calls_of(shapes=shapes))
    assert {step.x.shape for case in found for step in case.steps} == {(2, 8, 2, 2), (3, 8, 3, 5)}


def test_group_norm_and_a_layer_that_does_not_accumulate_have_no_sequences() -> None:
    for kind, conforming in ((kind_of("group_norm"), ALL), (kind_of("batch_norm"), ALL - {"BN-14"})):
        assert Calls.of(kind, "float32", (4,), (), drawable(kind, "float32", conforming)) is None


# --- what is found ------------------------------------------------------------------------------


#: A layer that is explored once for all tests that begin with what was found.
LOSES = "rare.SavedFrozenLosesItsVariance"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.exhaustive)])
def test_a_defect_that_a_sequence_alone_shows_is_found_and_made_small(seed: int) -> None:
    records = explore("rare.ResetBringsTheFirstMomentumBack", seed=seed)
    assert {r.verdict for r in records if isinstance(r, Judgement)} == {"conforms"}
    (found,) = counterexamples(records)
    assert found.signature == "running_mean of calls with momentum, reset"
    assert found.example.shapes == [[2, 1]]
    assert "reset, train (2, 1)" in found.plan


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Record], Path]:
    """The records of an exploration of a layer that loses state, and the folder in which it kept what it found."""
    store = tmp_path_factory.mktemp("explored")
    return explore(LOSES, store=store), store


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.exhaustive)])
def test_state_that_is_lost_in_one_condition_is_found_once(seed: int, explored: tuple[list[Record], Path]) -> None:
    records = explored[0] if seed == 0 else explore(LOSES, seed=seed)
    assert {r.verdict for r in records if isinstance(r, Judgement)} == {"conforms"}
    (found,) = counterexamples(records)
    assert found.signature.startswith("running_var of calls with freeze")
    assert found.signature.endswith(", save_load")
    assert sum(len(shape) for shape in found.example.shapes) <= 4


@pytest.mark.slow
def test_a_death_in_a_sequence_is_told_once() -> None:
    (found,) = counterexamples(explore("rare.OneSampleEndsTheProcessAfterLoading", in_process=False))
    assert (found.kind, found.signature) == ("crash", "death")
    assert "save load" in found.plan


@pytest.mark.slow
def test_an_honest_layer_gives_no_counterexample_and_the_sequences_are_counted() -> None:
    records = explore("batch_norm.BatchNorm")
    assert counterexamples(records) == []
    (told,) = [one for one in records if isinstance(one, Explored)]
    assert 2048 <= told.steps < 2090
    assert told.sequences > 40


@pytest.mark.slow
def test_a_sequence_is_kept_replayed_and_judged_once_it_is_committed(
    explored: tuple[list[Record], Path], tmp_path: Path
) -> None:
    (found,) = counterexamples(explored[0])
    store = shutil.copytree(explored[1], tmp_path / "store")
    (again,) = counterexamples(explore(LOSES, seed=5, store=store))
    assert (again.found, again.example.case) == ("replayed", found.example.case)
    wanted = Wanted(
        dtypes=("float32",),
        implementations=(LOSES, "batch_norm.BatchNorm"),
        cases=(read_case(Path(str(found.stored))),),
    )
    judged = {
        r.implementation: r.verdict
        for r in run_framework(Launch(framework=FAULTY), wanted)
        if isinstance(r, Judgement) and r.requirement == "BN-25"
    }
    assert judged == {LOSES: "diverges", "batch_norm.BatchNorm": "conforms"}
