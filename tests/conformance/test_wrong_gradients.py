"""Every known wrong gradient is named as what it is, once, and one that nobody knows is located."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Final

import numpy as np
import pytest
from faulty.backward import ELSEWHERE, FAULTS, RESULTS, TERMS
from faulty.gradients import Gradients, identifier

from normgauge.conformance.diagnosis.candidates import Diagnosis, Seen
from normgauge.conformance.diagnosis.references import References
from normgauge.conformance.layers.experiments import probes
from normgauge.conformance.layers.registry import kind_of, requirements
from normgauge.conformance.requirements.probe import Probe
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.in_process import InProcess
from normgauge.conformance.subjects.subject import Launch
from normgauge.conformance.verdicts.evidence import Evidence, Judged
from normgauge.conformance.verdicts.judge import judge
from normgauge.oracle import WRONG_FORMS, Arithmetic, semantics
from normgauge.results.records import Judgement

FRAMEWORK: Final = "faulty.gradients:Gradients"


@functools.cache
def gradient_probes(kind: str) -> list[Probe]:
    """Those of two ranks: with one and with two spatial axes."""
    return [one for one in probes(kind, "float32", (3, 4)) if requirements()[one.requirement].about == "gradients"]


@functools.cache
def subject() -> InProcess:
    return InProcess(Launch(framework=FRAMEWORK), "float32")


@functools.cache
def references() -> References:
    return References()


def judged(name: str, kind: str, **choices: str) -> dict[str, Judged]:
    """The judgements about gradients of a layer with a fault, which is known to follow the semantics forward."""
    own, asked, layer = identifier(name, kind), gradient_probes(kind), kind_of(kind)
    seen = subject().run(own, [one.case for one in asked])
    survivors = np.zeros(layer.sizes, dtype=bool)
    survivors[layer.point_of(semantics(kind, **choices))] = True
    diagnosis = Diagnosis(layer=kind, seen=(), scores=(), survivors=survivors, arithmetic=Arithmetic("float32"))
    described = next(one for one in Gradients.implementations if one.id == own)
    evidence = Evidence(
        implementation=own,
        identity=described.identity,
        dtype="float32",
        names=described.names,
        remedies={},
        seen=tuple(Seen(probe=probe, observation=one) for probe, one in zip(asked, seen, strict=True)),
        diagnosis=diagnosis,
        followed=tuple(diagnosis.followed()),
        references=references(),
    )
    return {one.id: judge(one, evidence) for one in layer.requirements if one.about == "gradients"}


def told(found: Mapping[str, Judged]) -> list[str]:
    return [one.measured for one in found.values() if one.verdict != "conforms"]


def is_quick(name: str, kind: str) -> bool:
    """One of a kind each day, of the terms, factors and results; the sums over other elements take the same way."""
    return kind == ("group_norm", "batch_norm")[len(name) % 2] and name in {**TERMS, **RESULTS}


@pytest.mark.parametrize(
    ("name", "kind"), [pytest.param(*key, marks=[] if is_quick(*key) else [pytest.mark.slow]) for key in FAULTS]
)
def test_a_known_wrong_gradient_is_named_once(name: str, kind: str) -> None:
    found = judged(name, kind)
    first, *others = told(found)
    assert first == name
    earliest = next(key for key, one in found.items() if one.verdict != "conforms")
    assert set(others) <= {f"as {earliest}"}
    assert any(note.startswith("to check: ") for note in found[earliest].notes)
    assert any("known from: " in note for note in found[earliest].notes)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_wrong_gradient_of_other_semantics_is_named_once(name: str) -> None:
    first, *others = told(judged(name, "group_norm", **ELSEWHERE[name][1]))
    assert first == name
    assert set(others) <= {"as GN-25"}


def test_every_known_form_has_a_layer_that_has_it() -> None:
    assert {name for name, _ in FAULTS} | {*ELSEWHERE} == {*WRONG_FORMS}


def test_a_form_says_what_to_check_and_where_it_is_from() -> None:
    assert all(form.check and form.source for form in WRONG_FORMS.values())


# --- what nobody knows ---------------------------------------------------------------------------------------------


def run(adapter: str) -> dict[str, Judgement]:
    records = run_framework(
        Launch(framework=f"faulty.gradients:{adapter}"), Wanted(dtypes=("float32",), in_process=True)
    )
    return {one.requirement: one for one in records if isinstance(one, Judgement)}


@pytest.mark.parametrize(
    ("adapter", "requirement", "ending"),
    [
        ("Halved", "GN-25", ": dx departs everywhere by the factor 0.5"),
        ("ShiftedBySet", "GN-25", ": dx departs everywhere by a constant per set"),
        ("AlongXHat", "GN-25", ": dx departs everywhere by a multiple of x_hat per set"),
        ("LastSampleUntouched", "GN-25", ": dx departs in the last sample alone, with 0 in place of it"),
        ("SumsOfDxInHalf", "GN-25", ": sums in half precision (float16)"),
        ("SumsInBfloat16", "GN-26", ": sums in half precision (bfloat16)"),
    ],
)
def test_a_wrong_gradient_that_nobody_knows_is_located(adapter: str, requirement: str, ending: str) -> None:
    found = run(adapter)
    assert found[requirement].verdict == "diverges"
    assert ending in found[requirement].sentence


# --- what was reported ---------------------------------------------------------------------------------------------


def whole(name: str) -> dict[str, Judgement]:
    wanted = Wanted(dtypes=("float32",), implementations=(identifier(name, "group_norm"),), in_process=True)
    records = run_framework(Launch(framework=FRAMEWORK), wanted)
    return {one.requirement: one for one in records if isinstance(one, Judgement) and one.verdict != "conforms"}


@pytest.mark.parametrize("name", ["the weight left out", "the weight multiplied in after the sums"])
def test_a_weight_that_is_left_out_of_dx_or_multiplied_in_later_is_one_difference(name: str) -> None:
    """uxlfoundation/oneDNN#3543."""
    found = whole(name)
    assert {key: one.measured for key, one in found.items()} == {"GN-25": name}
    assert found["GN-25"].sentence == SENTENCES[name]


SENTENCES: Final[Mapping[str, str]] = {
    "the weight left out": (
        "gradients.TheWeightLeftOutOfGroupNorm: graded deviations, dy with a mean, made small, step 1 dx[0, 1, 0, 0] = "
        "-6.10332936e-05, expected -3.051e-05 ± 4.6e-06: the weight left out"
    ),
    "the weight multiplied in after the sums": (
        "gradients.TheWeightMultipliedInAfterTheSumsOfGroupNorm: graded deviations, dy with a mean, made small, step 1 "
        "dx[0, 1, 0, 0] = -0.000122066587, expected -6.103e-05 ± 9.2e-06: the weight multiplied in after the sums"
    ),
}


def test_a_backward_pass_that_raises_from_rank_four_on_says_so() -> None:
    """linkedin/Liger-Kernel#1375."""
    found = {key: one for key, one in run("Raises").items() if one.verdict != "conforms"}
    assert found.pop("GN-40").sentence.endswith("its cases raise as GN-25 does")  # at real sizes
    assert {key: one.verdict for key, one in found.items()} == dict.fromkeys(("GN-25", "GN-26", "GN-27"), "raises")
    assert found["GN-25"].measured == "ValueError at rank 4 and 5"
    assert [found[key].measured for key in ("GN-26", "GN-27")] == ["as GN-25"] * 2
    assert found["GN-25"].sentence == (
        "gradients.RaisesOfGroupNorm: gradients at rank 4 and 5: ValueError in step 1: cannot reshape array of size 16 "
        "into shape (2,8,2,2)"
    )
    assert found["GN-26"].sentence == "gradients.RaisesOfGroupNorm: as GN-25: gradients at rank 4 and 5"
