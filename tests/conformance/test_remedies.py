"""Remedies: each is a function that is run, on layers with its fault here, on the real frameworks with all of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from faulty.batch_norm import UpdatesTheArraysLoaded
from faulty.group_norm import (
    ChangesItsInput,
    FreezesItsOutput,
    GradientsAreOneArray,
    GroupNorm,
    HandsOutItsBias,
    ReusesItsOutput,
)
from faulty.state import UpdatesTheLayerThatWasSaved
from frameworks import for_each
from remedied import Pair, outcome, ratio
from remedies_page import PAGE, page
from remedy_layers import Real, Workers

from normgauge.adapters.case import Action, Array, Case, Observation, Step
from normgauge.adapters.implementation_id import ImplementationId
from normgauge.adapters.kept import GRADIENT, LOADED, OUTPUT, SAVED
from normgauge.conformance.diagnosis.candidates import Seen
from normgauge.conformance.diagnosis.diagnose import diagnose
from normgauge.conformance.diagnosis.references import References
from normgauge.conformance.layers.registry import layer_kinds, requirements
from normgauge.conformance.remedies import statistics
from normgauge.conformance.remedies.calls import with_results
from normgauge.conformance.remedies.catalogue import BATCH_NORM, GROUP_NORM
from normgauge.conformance.remedies.causes import Symptom
from normgauge.conformance.remedies.remedy import Advice, Apply, Layer, Remedy, advice_for
from normgauge.conformance.requirements.probe import Probe
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.subject import Launch
from normgauge.conformance.verdicts.evidence import Evidence, Judged, advised
from normgauge.conformance.verdicts.side_effects import copies as advice_on
from normgauge.conformance.verdicts.side_effects import own
from normgauge.results.records import Judgement

TESTS: Final = Path(__file__).parents[1]
REMEDIED: Final = str(TESTS / "support" / "remedied.py")
FAULTY: Final = "faulty.adapter:FaultyAdapter"
#: A layer of ours with each fault that has a remedy, and the dtype in which it shows.
SHOWN_BY: Final = {
    "group_norm variance=unbiased": ("group_norm.Unbiased", "float64"),
    "group_norm grouping=interleaved": ("group_norm.Interleaved", "float64"),
    "group_norm affine_shape=per_group": ("group_norm.AffinePerGroup", "float64"),
    "group_norm GN-13": ("group_norm.NoSamplesRaise", "float32"),
    "group_norm GN-14": ("group_norm.NoPositionsBecomeOne", "float32"),
    "group_norm GN-16": ("group_norm.AnyChannelCount", "float32"),
    "group_norm GN-31": ("group_norm.EmptyGradientsAreNan", "float32"),
    "group_norm GN-37": ("group_norm.KeepsItsFirstParameters", "float32"),
    "batch_norm variance=unbiased": ("batch_norm.Unbiased", "float64"),
    "batch_norm momentum_weighs=old": ("batch_norm.MomentumWeighsOld", "float64"),
    "batch_norm momentum_none=fixed": ("batch_norm.NoneMeansOneTenth", "float64"),
    "batch_norm momentum_none=refused": ("batch_norm.NoneRefused", "float64"),
    "batch_norm running_var=biased": ("batch_norm.BiasedRunningVariance", "float64"),
    "batch_norm single_value=shift": ("batch_norm.SingleValueAccepted", "float32"),
    "batch_norm single_value=nan": ("batch_norm.SingleValueIsNan", "float32"),
    "batch_norm single_value=identity": ("batch_norm.SingleValuePassesThrough", "float32"),
    "batch_norm untracked_eval_uses=initial": ("batch_norm.UntrackedEvalIsInitial", "float64"),
    "batch_norm bootstrap=zero_debiased": ("batch_norm.StartsFromZeroDebiased", "float64"),
    "batch_norm bootstrap=first_batch": ("batch_norm.StartsFromFirstBatch", "float64"),
    "batch_norm BN-18": ("batch_norm.EmptyBatchIsNan", "float32"),
    "batch_norm BN-19": ("batch_norm.EmptyBatchIsNan", "float32"),
    "batch_norm BN-48": ("batch_norm.EmptyBatchCounts", "float32"),
    "batch_norm BN-20": ("batch_norm.AnyChannelCountUntracked", "float32"),
    "batch_norm BN-40": ("batch_norm.EmptyGradientsAreNan", "float32"),
    "batch_norm BN-47": ("state.TrainsFromACopyOfItsStatistics", "float32"),
    "batch_norm BN-24": ("batch_norm.DoubleOut", "float32"),
}
REMEDIES: Final = [one for one in (*GROUP_NORM, *BATCH_NORM) if isinstance(one, Remedy)]
#: Those for users of any framework; the others name theirs.
GENERAL: Final = [one for one in REMEDIES if not one.packages]


def pair_of(advice: Advice, implementation: str, dtype: str) -> Pair:
    identity, ranks = ImplementationId.parse(implementation), (2, 3, 4, 5)
    return Pair(advice=advice, framework=FAULTY, identity=identity, dtype=dtype, ranks=ranks, computes_in=dtype)


def remedy(layer: str, key: str, apply: Apply) -> Remedy:
    (cause, *_) = (one.cause for one in REMEDIES if one.key == key)
    return Remedy(layer=layer, key=key, cause=cause, sentence="as it was published once", apply=apply)


@pytest.fixture(scope="module")
def workers() -> Workers:
    return Workers(in_process=True)


# --- every remedy is run ------------------------------------------------------------------------


@pytest.mark.parametrize("advice", GENERAL, ids=lambda one: f"{one.layer} {one.key}")
def test_a_remedy_for_everyone_brings_a_layer_with_the_fault_within_the_bound(advice: Remedy, workers: Workers) -> None:
    found = outcome(pair_of(advice, *SHOWN_BY[f"{advice.layer} {advice.key}"]), workers, range(2))
    assert found.before > 1 or advice.apply is statistics.moved_as_it_is, "the layer shows no fault in these cases"
    assert found.holds, found.worst


def known_differences() -> Iterator[tuple[str, Symptom, ImplementationId, str]]:
    """The key and symptom of every difference in the expectations, with an implementation and a dtype that have it."""
    for file in files("normgauge.conformance").joinpath("expectations").iterdir():
        for entry in tomllib.loads(file.read_text(encoding="utf-8"))["expected"]:
            requirement = requirements().get(entry["requirement"])
            if requirement is None:
                continue
            key = f"{requirement.axis}={entry['measured']}" if requirement.axis else requirement.id
            verdict = "raises" if re.match(r"\w+(Error|Failed)", entry["measured"]) else "diverges"
            symptom = Symptom(verdict=verdict, measured=entry["measured"], case=None)
            for name in entry["implementations"]:
                for mode in ("eager", "compile", "mask"):
                    for dtype in entry.get("dtypes", requirement.dtypes):
                        identity = ImplementationId.parse(f"{name}[{mode}]" if mode != "eager" else name, mode)
                        yield key, symptom, identity, dtype


def test_a_remedy_that_names_its_framework_is_shown_for_a_known_difference_of_it() -> None:
    """So the run of all remedies on the results of the frameworks has it: there is none that nothing applies."""
    shown = set()
    for key, symptom, identity, dtype in known_differences():
        for layer in layer_kinds().values():
            known = advice_for(layer.advice, key, identity, dtype)
            shown |= {one.sentence + one.key for one in known if one.explains(symptom)}
    hazards = {one.sentence + one.key for one in REMEDIES if one.key == "accuracy=one_pass"}
    assert {one.sentence + one.key for one in REMEDIES if one.packages} <= shown | hazards


@for_each("mlx", "torch", "flax", "keras-numpy")
def test_remedies_bring_the_layers_of_a_framework_within_the_bound(framework: str, results: Path) -> None:
    """A sample; `nox -s remedies` runs all of them, on more cases and frameworks."""
    words = [sys.executable, REMEDIED, str(results), "--sample", "--seeds", "1"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS / "support")])}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"(\d+) remedies on (\d+) layers and dtypes, (\d+) cases", done.stdout)
    assert found is not None
    assert all(int(number) > 0 for number in found.groups())


# --- a wrong remedy is caught -------------------------------------------------------------------


def added_afterwards(case: Case, layer: Layer) -> Observation:
    """Subtract a number from the input and add it to the running mean afterwards, which began at another value."""
    s = 10_000.0
    steps = tuple(replace(step, x=(step.x - s).astype(step.x.dtype)) for step in case.steps)
    seen = layer.run(replace(case, steps=steps))
    return with_results(
        seen, lambda _, one: replace(one, state={**one.state, "running_mean": one.state["running_mean"] + s})
    )


def wholly_rescaled(case: Case, layer: Layer) -> Observation:
    """Multiply the running variance by n/(n - 1), with what it carries of the initial one."""
    n = case.steps[0].x.size // case.settings["num_channels"]
    seen = layer.run(case)
    return with_results(
        seen, lambda _, one: replace(one, state={**one.state, "running_var": one.state["running_var"] * n / (n - 1)})
    )


@pytest.mark.parametrize(
    ("key", "apply", "implementation", "dtype"),
    [
        ("BN-17", added_afterwards, "batch_norm.BatchNorm", "float32"),
        ("running_var=biased", wholly_rescaled, "batch_norm.BiasedRunningVariance", "float32"),
        ("momentum_weighs=old", statistics.given_statistics, "batch_norm.MomentumWeighsOld", "float32"),
    ],
)
def test_a_remedy_that_does_not_help_is_found_out(
    key: str, apply: Apply, implementation: str, dtype: str, workers: Workers
) -> None:
    assert not outcome(pair_of(remedy("batch_norm", key, apply), implementation, dtype), workers, range(2)).holds


def test_a_shift_needs_the_running_mean_shifted_before_and_after(workers: Workers) -> None:
    found = outcome(
        pair_of(remedy("batch_norm", "BN-17", statistics.shifted_channels), "batch_norm.BatchNorm", "float32"),
        workers,
        range(4),
    )
    assert found.holds, found.worst


# --- copies -------------------------------------------------------------------------------------

X: Final = np.arange(16.0).reshape(2, 4, 2)
Copy = Callable[[Any], Any]


def input_changed(copy: Copy) -> bool:
    x = X.copy()
    ChangesItsInput(2, 4, 1e-5, "float64")(copy(x))
    return not np.array_equal(x, X)


def earlier_output_changed(copy: Copy) -> bool:
    layer = ReusesItsOutput(2, 4, 1e-5, "float64")
    y = copy(layer(X.copy()))
    kept = y.copy()
    layer(X[:, ::-1] ** 2)
    return not np.array_equal(y, kept)


def earlier_gradient_changed(copy: Copy) -> bool:
    class ReusesItsGradient(GroupNorm):
        kept = np.zeros_like(X)

        def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
            self.kept[...] = super().gradients(x, dy)["dx"]
            return {"dx": self.kept}

    layer = ReusesItsGradient(2, 4, 1e-5, "float64")
    dx = copy(layer.gradients(X.copy(), X**2)["dx"])
    kept = dx.copy()
    layer.gradients(X.copy(), np.sin(X))
    return not np.array_equal(dx, kept)


def loaded_array_changed(copy: Copy) -> bool:
    layer, mean = UpdatesTheArraysLoaded(4, 1e-5, 0.1, True, "float64"), np.zeros(4)
    layer.running_mean = copy(mean)
    layer(X.copy())
    return bool(np.any(mean))


def saved_layer_changed(copy: Copy) -> bool:
    layer, new = (UpdatesTheLayerThatWasSaved(4, 1e-5, 0.1, True, "float64") for _ in range(2))
    new.load({name: copy(value) for name, value in layer.saved().items()})
    new(X.copy())
    return bool(np.any(layer.running_mean))


def shared_output_changes_the_bias(copy: Copy) -> bool:
    layer = HandsOutItsBias(4, 4, 1e-5, "float64")
    return bool(np.shares_memory(copy(layer(X[..., 0].copy())), layer.bias))


def shared_gradients_change_each_other(copy: Copy) -> bool:
    found = GradientsAreOneArray(2, 4, 1e-5, "float64").gradients(X[:0], X[:0])
    dweight, dbias = copy(found["dweight"]), copy(found["dbias"])
    dweight += 1
    return bool(np.any(dbias))


def output_cannot_be_written_to(copy: Copy) -> bool:
    return not copy(FreezesItsOutput(2, 4, 1e-5, "float64")(X.copy())).flags.writeable


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("x", input_changed),
        (OUTPUT, earlier_output_changed),
        (GRADIENT, earlier_gradient_changed),
        (LOADED.format("running_mean"), loaded_array_changed),
        (SAVED, saved_layer_changed),
        (own(["output"]), shared_output_changes_the_bias),
        (own(["output"]), output_cannot_be_written_to),
        (own(["dbias", "dweight"]), shared_gradients_change_each_other),
    ],
)
def test_a_copy_keeps_what_a_layer_changes(name: str, harm: Callable[[Copy], bool]) -> None:
    assert harm(lambda value: value)
    assert not harm(lambda value: value.copy() if isinstance(value, np.ndarray) else value)
    assert "copy" in (name if name.startswith("copy") else advice_on([name]))


def test_the_page_has_every_remedy_as_it_is() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python tests/support/remedies_page.py"


def test_a_remedy_needs_a_function() -> None:
    with pytest.raises(ValueError, match="variance=unbiased: a remedy needs a function that does what it says"):
        Remedy(layer="group_norm", key="variance=unbiased", sentence="pass another eps")


# --- a remedy belongs to a cause ----------------------------------------------------------------


def test_a_requirement_alone_has_no_remedy() -> None:
    with pytest.raises(ValueError, match="GN-16: a requirement alone has no remedy; pass the cause that it is for"):
        Remedy(layer="group_norm", key="GN-16", sentence="compare the channel count", apply=statistics.moved_as_it_is)


def test_a_verdict_of_another_cause_has_no_remedy() -> None:
    diagnosis = diagnose("group_norm", [], "float32", References())
    identity = ImplementationId.parse("group_norm.GroupNorm")
    evidence = Evidence(
        implementation=str(identity), identity=identity, dtype="float32", names={}, remedies={}, seen=(),
        diagnosis=diagnosis, followed=tuple(diagnosis.followed()), references=References(),
    )  # fmt: skip

    def remedy_of(case: Case) -> str | None:
        shows = Seen(probe=Probe(label="", case=case, requirement="GN-13"), observation=Observation())
        judged = Judged(verdict="raises", measured="ValueError", shows=shows)
        return advised(requirements()["GN-13"], judged, evidence).remedy

    assert (
        remedy_of(NO_CASE) == "call the layer only on inputs that have values; for an empty input, the output is empty"
    )
    assert remedy_of(FULL_CASE) is None


def case_of(x: Any, *, eps: float = 1e-5, dtype: str = "float32", action: str = "") -> Case:
    before = (Action(action),) if action else ()
    settings = {"num_channels": 4, "num_groups": 2, "eps": eps}
    step = Step("train", np.asarray(x, dtype), before=before)
    return Case(layer="group_norm", dtype=dtype, settings=settings, parameters={}, steps=(step,))


FULL_CASE: Final = case_of(np.arange(16.0).reshape(2, 4, 2))
NO_CASE: Final = case_of(np.zeros((0, 4, 2)))
#: Per key: what is a symptom of its cause, and what is none although the requirement fails.
SYMPTOMS: Final[dict[str, tuple[tuple[str, str, Case], tuple[str, str, Case]]]] = {
    **dict.fromkeys(
        ("GN-32", "BN-41"),
        (
            ("raises", "ValueError", case_of(np.ones((2, 4, 2)), eps=0.0)),
            ("raises", "ValueError", FULL_CASE),
        ),
    ),
    "GN-11": (("raises", "ValueError", case_of(np.ones((1, 4)))), ("raises", "ValueError", FULL_CASE)),
    **dict.fromkeys(
        ("GN-12", "GN-21", "BN-17", "BN-25"),
        (
            ("diverges", "output nan instead of 1", case_of(1e5 + np.arange(16.0).reshape(2, 4, 2))),
            ("diverges", "output 3 instead of 1", FULL_CASE),
        ),
    ),
    **dict.fromkeys(
        ("GN-13", "GN-14", "GN-31", "BN-18", "BN-19", "BN-40", "BN-48"),
        (("raises", "ValueError", NO_CASE), ("raises", "ValueError", FULL_CASE)),
    ),
    **dict.fromkeys(
        ("GN-16", "BN-20"), (("diverges", "accepted in 1 of 8 cases", FULL_CASE), ("raises", "TypeError", FULL_CASE))
    ),
    **dict.fromkeys(
        ("GN-18", "BN-22"),
        (("diverges", "computes in float32", FULL_CASE), ("diverges", "output 3 instead of 1", FULL_CASE)),
    ),
    **dict.fromkeys(
        ("GN-22", "GN-23"),
        (("diverges", "mlx.nn.LayerNorm computes in float32", FULL_CASE), ("diverges", "output 3", FULL_CASE)),
    ),
    **dict.fromkeys(
        ("GN-24", "GN-30", "GN-35", "BN-32", "BN-39", "BN-45"),
        (
            ("diverges", "output nan instead of 1", case_of(np.full((2, 4, 2), 300.0), dtype="float16")),
            ("diverges", "output 3 instead of 1", case_of(np.arange(16.0).reshape(2, 4, 2), dtype="float16")),
        ),
    ),
    **dict.fromkeys(
        ("GN-37", "BN-47"),
        (
            ("diverges", "output 3 instead of 1", case_of(np.ones((2, 4)), action="set_parameters")),
            ("diverges", "output 3 instead of 1", FULL_CASE),
        ),
    ),
    "BN-12": (("raises", "ValueError", case_of(np.ones((2, 4)))), ("raises", "ValueError", FULL_CASE)),
    "BN-24": (("diverges", "float64", FULL_CASE), ("diverges", "output nan instead of 1", FULL_CASE)),
    "BN-26": (
        ("diverges", "running_var 0.475000024 instead of 0.475", FULL_CASE),
        ("diverges", "output 3 instead of 1", FULL_CASE),
    ),
    "BN-28": (
        ("raises", "RuntimeError", case_of(np.ones((2, 4)), action="save_load")),
        ("raises", "RuntimeError", FULL_CASE),
    ),
    "BN-29": (
        ("diverges", "there: which statistics normalise in training? the running statistics", FULL_CASE),
        ("diverges", "weight is not trainable", FULL_CASE),
    ),
    "BN-30": (
        ("diverges", "running_mean 1 instead of 2", case_of(np.ones((2, 4)), action="momentum")),
        ("diverges", "running_mean 1 instead of 2", FULL_CASE),
    ),
    "BN-31": (
        ("diverges", "running_mean is trainable", FULL_CASE),
        ("diverges", "output 3 instead of 1", FULL_CASE),
    ),
}


@pytest.mark.parametrize("key", sorted({one.key for one in REMEDIES if one.cause}))
def test_a_remedy_is_shown_for_its_cause_and_not_for_whatever_else_the_requirement_fails_by(key: str) -> None:
    own, other = (
        [one for one in REMEDIES if one.key == key and one.explains(Symptom(verdict=verdict, measured=what, case=case))]
        for verdict, what, case in SYMPTOMS[key]
    )
    assert own
    assert not other


# --- what nothing mends -------------------------------------------------------------------------


def test_every_value_of_an_axis_that_is_not_canonical_has_a_remedy_or_says_why_not() -> None:
    for kind in layer_kinds().values():
        values = {f"{axis.name}={name}" for axis in kind.axes for name in axis.names if name != axis.canonical}
        assert values <= {one.key for one in kind.advice}, kind.name


@pytest.mark.parametrize("implementation", ["group_norm.EpsOutside", "group_norm.EpsAsFloor"])
def test_no_other_eps_makes_another_placement_agree(implementation: str, workers: Workers) -> None:
    """Three deviations around sqrt(eps): an eps that is right for one of them is wrong for another."""
    (advice,) = advice_for(GROUP_NORM, "eps_placement=outside_sqrt", ImplementationId.parse(implementation), "float64")
    pair = pair_of(advice, implementation, "float64")
    layer = Real(workers=workers, framework=FAULTY, identity=pair.identity)
    x = np.array([-1.0, 1.0, -1.0, 1.0]) * np.array([[0.5], [1.0], [2.0]])[..., None]
    settings = {"num_channels": 1, "num_groups": 1, "eps": 1.0}
    case = Case(layer="group_norm", dtype="float64", settings=settings, parameters={}, steps=(Step("train", x),))
    found = [
        ratio(case, layer.run(replace(case, settings={**settings, "eps": eps})), ("output",), pair)[0]
        for eps in np.geomspace(1e-3, 1e3, 121)
    ]
    assert min(found) > 1e6


def test_what_nothing_mends_is_said_and_is_no_remedy() -> None:
    wanted = Wanted(dtypes=("float32",), implementations=("group_norm.EpsOutside",), in_process=True)
    (judged,) = (
        one
        for one in run_framework(Launch(framework=FAULTY), wanted)
        if isinstance(one, Judgement) and one.requirement == "GN-01"
    )
    assert judged.remedy is None
    assert judged.not_mended is not None
    assert judged.not_mended.startswith("no setting makes the two agree: sqrt(var) + eps = sqrt(var + eps')")
