"""Every requirement is judged, and every check has a faulty layer that it catches and an honest one that it passes."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from exact_rows import tally_of
from faulty.adapter import CAUGHT, FaultyAdapter

from normgauge.adapters.case import Observation, Raised, StepResult
from normgauge.conformance.diagnosis.candidates import Deviation, Seen
from normgauge.conformance.layers.experiments import probes
from normgauge.conformance.layers.registry import requirements
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.subject import Launch
from normgauge.conformance.verdicts.axis import judge_axis
from normgauge.conformance.verdicts.evidence import Sentence
from normgauge.conformance.verdicts.refusal import judge_refusal
from normgauge.oracle import AXES
from normgauge.results.records import Judgement, Profile, Record

FAULTY = "faulty.adapter:FaultyAdapter"
DTYPES = ("float32", "float64")


def measured(identifier: str, dtypes: tuple[str, ...] = ("float64", "float32"), adapter: str = FAULTY) -> list[Record]:
    wanted = Wanted(dtypes=dtypes, implementations=(identifier,), in_process=True)
    return list(run_framework(Launch(framework=adapter), wanted))


def verdicts(records: list[Record], dtype: str) -> dict[str, str]:
    return {r.requirement: r.verdict for r in records if isinstance(r, Judgement) and r.dtype == dtype}


def expected_in(identifier: str, dtype: str) -> dict[str, str]:
    """By requirement, what a faulty layer must be judged in a dtype where that is not ``conforms``."""
    asked = {one.id for one in requirements().values() if dtype in one.dtypes}
    named = ((*name.partition(" ")[::2], verdict) for name, verdict in CAUGHT[identifier].items())
    return {
        requirement: verdict for requirement, only, verdict in named if requirement in asked and only in {"", dtype}
    }


def quick_dtype(identifier: str) -> str:
    """The dtype in which a layer is measured when time is short: the one that shows its fault, else either."""
    if identifier.startswith("sizes."):
        return "float32"  # a million values and their bounds are evaluated in half of the time
    turn = DTYPES[list(CAUGHT).index(identifier) % 2 :] + DTYPES
    return next((dtype for dtype in turn if expected_in(identifier, dtype)), turn[0])


def marks_of(identifier: str, dtype: str) -> list[pytest.MarkDecorator]:
    """A second dtype is slow; where it shows nothing but what the first shows, it is the same check again."""
    first = quick_dtype(identifier)
    if dtype == first:
        return []
    same = expected_in(identifier, dtype) in ({}, expected_in(identifier, first)) or identifier.startswith("sizes.")
    return [pytest.mark.slow, pytest.mark.exhaustive] if same else [pytest.mark.slow]


@pytest.mark.parametrize(
    ("identifier", "dtype"),
    [pytest.param(identifier, dtype, marks=marks_of(identifier, dtype)) for identifier in CAUGHT for dtype in DTYPES],
)
def test_a_faulty_layer_is_caught_at_its_fault_and_nowhere_else(identifier: str, dtype: str) -> None:
    records = measured(identifier, (dtype,))
    found = verdicts(records, dtype)
    wrong = {name: verdict for name, verdict in expected_in(identifier, dtype).items() if name in found}
    expected = dict.fromkeys(found, "conforms") | wrong
    said = [f"{r.requirement} {r.sentence} {r.notes}" for r in records if isinstance(r, Judgement)]
    assert found == expected, "\n".join(line for line in said if line[:5] in dict(found.items() - expected.items()))
    tokens = [f"{axis.name}=" for axes in AXES.values() for axis in axes]
    told = [one.measured for one in records if isinstance(one, Judgement)]
    assert [text for text in told if any(token in text for token in tokens)] == [], "a token where people read words"
    assert tally_of(one for one in records if not is_large(one)).mistakes == []


def is_large(record: Record) -> bool:
    """Whether an example has so many elements that exact numbers for all of them take most of a minute."""
    example = record.example if isinstance(record, Judgement) else None
    return example is not None and max(map(math.prod, example.shapes)) > 2**17


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("layer", ["", "OfAChannel"])
def test_the_rows_of_a_million_elements_are_exact(layer: str) -> None:
    records = measured(f"sizes.Elements{layer}BeyondAMillionUntouched", ("float32",))
    large = [one for one in records if isinstance(one, Profile) or is_large(one)]
    found = tally_of(large)
    assert (found.examples, found.mistakes) == (1, [])


#: Each is broken by a fault in test_mutation_table.py, and named as a mistake.
AS_MISTAKES = {"GN-49", "GN-50", "GN-51", "BN-60", "BN-61", "BN-62", "BN-63"}
IN_CHOICES = {f"GN-{number}" for number in range(43, 47)} | {f"BN-{number}" for number in range(53, 58)}


def test_every_requirement_has_a_faulty_layer_that_breaks_it() -> None:
    broken = {named.partition(" ")[0] for caught in CAUGHT.values() for named in caught}
    # Committed cases are broken in test_exploration.py, the framework's own other layers in test_kinship.py, half
    # precision in test_half.py and test_choices.py, mistakes that have a requirement of their own in
    # test_mutation_table.py.
    elsewhere = {"GN-21", "BN-25", "GN-22", "GN-23", "GN-35", "BN-45"} | IN_CHOICES | AS_MISTAKES
    assert {*requirements()} - elsewhere == broken - elsewhere


def test_every_faulty_layer_stands_in_the_table() -> None:
    layers = {one.id for one in FaultyAdapter.implementations if not one.id.startswith(("process.", "rare."))}
    assert layers - {
        "group_norm.BiasGradientIsThatOfTheWeight",  # test_gradients.py
        "group_norm.EpsOneHundredThousandthOff",
        "group_norm.NoNormalization",
        "group_norm.AddsAnAxis",
    } == set(CAUGHT)


def test_an_eps_two_hundred_thousandths_off_is_seen_in_both_dtypes() -> None:
    records = measured("group_norm.EpsOneHundredThousandthOff")
    assert verdicts(records, "float32")["GN-05"] == "diverges"
    # In float64 the same step is visible to the diagnosis itself: no alternative has that eps.
    assert verdicts(records, "float64")["GN-05"] != "conforms"


def test_the_measured_default_is_an_interval_around_the_true_one() -> None:
    (profile,) = [r for r in measured("batch_norm.BatchNorm", ("float64",)) if isinstance(r, Profile)]
    for default, true in zip(profile.defaults, (1e-5, 0.1), strict=True):
        assert default.low is not None
        assert default.high is not None
        assert default.low < true < default.high
        assert default.high - default.low < 1e-9 * true


def test_what_departs_in_words_is_said_once_in_the_sentence() -> None:
    records = measured("state.TrainsItsStatistics", ("float32",))
    (judged,) = [r for r in records if isinstance(r, Judgement) and r.requirement == "BN-31"]
    assert judged.measured == "running_mean is trainable"
    assert judged.sentence.count(judged.measured) == 1
    assert judged.sentence == f"{judged.implementation}: {judged.nameless}"


def test_a_layer_that_follows_no_alternative_is_one_divergence_with_the_nearest_named() -> None:
    records = measured("group_norm.NoNormalization", ("float32",))
    judged = [r for r in records if isinstance(r, Judgement)]
    assert [
        r.requirement
        for r in judged
        if r.requirement in {"GN-01", "GN-02", "GN-03", "GN-04"} and r.verdict == "diverges"
    ] == ["GN-01"]
    assert "follows no known alternative" in judged[0].sentence
    assert "nearest is eps_placement=" in judged[0].sentence


@pytest.mark.parametrize(("ratio", "verdict"), [(1.0, "cannot tell"), (1.5, "diverges")])
def test_where_no_alternative_fits_what_lies_outside_its_bound_departs(ratio: float, verdict: str) -> None:
    probe = next(one for one in probes("group_norm", "float32", (2,)) if one.requirement == "GN-01")
    names = next(axis.names for axis in AXES["group_norm"] if axis.name == "eps_placement")
    diagnosis = SimpleNamespace(
        layer="group_norm", known=False, misfits=(), values={"eps_placement": names},
        seen=[Seen(probe=probe, observation=Observation())],
    )  # fmt: skip
    furthest = Deviation(
        ratio=ratio, step=1, quantity="output", index=(0, 0), observed=1 + ratio / 8, expected=1.0, bound=0.125
    )
    evidence: Any = SimpleNamespace(
        implementation="near", dtype="float32", diagnosis=diagnosis, seen=(), of=lambda _: [], answers={},
        does=lambda text: Sentence(text=text, subject="near", joins=" "),
        best=lambda *_: (furthest, None), followed=[SimpleNamespace(choices={"eps_placement": "inside_sqrt"})],
    )  # fmt: skip
    assert judge_axis(requirements()["GN-01"], evidence).verdict == verdict


@pytest.mark.parametrize(
    ("accepted", "said"),
    [
        ((0, 1, 2, 3), "accepted"),
        ((1,), "accepted in 1 of 4 cases: layer for 8 channels, input with 16, no weight and bias"),
        ((1, 2), "accepted in 2 of 4 cases"),
    ],
)
def test_what_is_accepted_is_told_with_how_many_cases_and_which_setting(accepted: tuple[int, ...], said: str) -> None:
    asked = [one for one in probes("group_norm", "float32", (2,)) if one.requirement == "GN-16"]
    output = StepResult(output=np.zeros((2, 8), np.float32), dtype="float32", state={})
    refusal = Observation(raised=Raised(where="step 1", type="ValueError", message="8 channels"))
    taken = Observation(steps=(output,))
    seen = [Seen(probe=one, observation=taken if number in accepted else refusal) for number, one in enumerate(asked)]
    evidence: Any = SimpleNamespace(
        of=lambda _: seen, seen=seen, dtype="float32", names={}, does=lambda text: Sentence(text=text)
    )
    assert judge_refusal(requirements()["GN-16"], evidence).measured == said


def test_one_pass_statistics_are_a_hazard_and_no_divergence() -> None:
    records = measured("group_norm.OnePass", ("float32",))
    (profile,) = [r for r in records if isinstance(r, Profile)]
    assert profile.accuracy == "one_pass"
    assert "half of the digits are lost from |mean| = " in profile.hazards[0]
    assert set(verdicts(records, "float32").values()) == {"conforms"}


def test_the_canonical_value_is_told_beside_another_and_not_twice() -> None:
    judged = {r.requirement: r for r in measured("group_norm.Interleaved", ("float32",)) if isinstance(r, Judgement)}
    assert (
        "(grouping: interleaved); canonical: channel c belongs to group c // (C / G) (contiguous)"
        in judged["GN-02"].sentence
    )
    assert judged["GN-03"].verdict == "conforms"
    assert "canonical" not in judged["GN-03"].sentence


def test_an_adapter_that_permutes_the_weights_changes_the_judgements() -> None:
    honest = verdicts(measured("group_norm.GroupNorm", ("float32",)), "float32")
    broken = verdicts(measured("group_norm.GroupNorm", ("float32",), "faulty.adapter:WithPermutedWeights"), "float32")
    assert set(honest.values()) == {"conforms"}
    assert "diverges" in broken.values()


def test_a_conforming_axis_shows_a_witness_against_each_other_value() -> None:
    records = measured("group_norm.GroupNorm", ("float32",))
    judged = {r.requirement: r for r in records if isinstance(r, Judgement)}
    against = {w.against for requirement in ("GN-01", "GN-02", "GN-03", "GN-04") for w in judged[requirement].witnesses}
    assert against == {
        "eps_placement=outside_sqrt",
        "eps_placement=max_with_variance",
        "grouping=interleaved",
        "variance=unbiased",
        "affine_shape=per_group",
    }
    for judgement in judged.values():
        for w in judgement.witnesses:
            inside = w.against == "the bound, at its closest"
            assert w.margin is None or (w.margin <= 1 if inside else w.margin > 1)


def test_every_judgement_about_numbers_shows_a_witness_with_its_margin() -> None:
    records = measured("batch_norm.BatchNorm", ("float32",))
    bare = [r.requirement for r in records if isinstance(r, Judgement) and not r.witnesses]
    assert bare == ["BN-21", "BN-22", "BN-24", "BN-53", "BN-54"]


@pytest.mark.parametrize(
    ("identifier", "told", "remedy"),
    [
        ("GradientsAreOneArray", "dweight shares memory with dbias (", "copy dweight before writing to it"),
        ("FreezesItsOutput", "the output cannot be written to (", "copy the output before writing to it"),
        ("EqualSamplesAreOne", "the output shares memory with itself (", "copy the output before writing to it"),
    ],
)
def test_what_is_not_the_user_s_to_write_to_is_told(identifier: str, told: str, remedy: str) -> None:
    records = measured(f"group_norm.{identifier}", ("float32",))
    (judged,) = [r for r in records if isinstance(r, Judgement) and r.requirement == "GN-17"]
    assert f"group_norm.{identifier}: {told}" in judged.sentence
    assert judged.remedy == remedy


def test_an_output_of_the_wrong_shape_is_a_crash_that_says_how() -> None:
    judged = {r.requirement: r for r in measured("group_norm.AddsAnAxis", ("float32",)) if isinstance(r, Judgement)}
    assert judged["GN-01"].verdict == "crashes"
    assert "an output of shape (2, 8, 2, 2, 1) for an input of shape (2, 8, 2, 2)" in judged["GN-01"].sentence
    assert not {r.verdict for r in judged.values()} & {"diverges"}


def test_an_example_keeps_what_its_requirement_is_about() -> None:
    records = [r for r in measured("batch_norm.EmptyBatchCounts", ("float32",)) if isinstance(r, Judgement)]
    (judged,) = [r for r in records if r.requirement == "BN-48"]
    assert judged.example is not None
    assert [0 in shape for shape in judged.example.shapes] == [True, False]
