"""The faults of tests/faulty/faults: the layers that they change are right, and each is seen."""

from __future__ import annotations

import importlib.util
from copy import deepcopy
from typing import cast

import mutation_table
import numpy as np
import pytest
from faulty.faults.fault import STEPS, Fault
from faulty.faults.table import FAULTS, WITHOUT
from mutation_table import ADAPTER, records_of
from pages import judgement
from peers import PEERS, made
from references import InMemory

from normgauge.adapters.worker.main import Adapters
from normgauge.conformance.diagnosis.candidates import compare
from normgauge.conformance.diagnosis.reference_store import ReferenceStore
from normgauge.conformance.diagnosis.references import References
from normgauge.conformance.layers.experiments import probes
from normgauge.conformance.layers.registry import kind_of, requirements
from normgauge.oracle import CANONICAL, Arithmetic
from normgauge.oracle.arithmetic import WIDEST
from normgauge.results.records import Judgement

#: Families whose faults show in values that the oracle has; the others are refusals, and what is done to memory.
OF_VALUES = {"sets", "centre and variance", "eps", "affine", "running statistics", "sizes", "gradients", "precision"}
#: The whole table is `nox -s mutants`; here are some of each family.
SOME = [
    one for family in dict.fromkeys(f.family for f in FAULTS) for one in [f for f in FAULTS if f.family == family][::24]
]

#: Mistakes with a requirement of their own.
MISTAKES = {
    "group_norm.WeightIgnored": "GN-49",
    "group_norm.SiluBehind": "GN-50",
    "group_norm.MeanNotSubtracted": "GN-51",
    "batch_norm.WeightIgnored": "BN-60",
    "batch_norm.SiluBehind": "BN-61",
    "batch_norm.MeanNotSubtracted": "BN-62",
    "batch_norm.VirtualBatches": "BN-63",
}


def by_id(fault: Fault) -> str:
    return fault.id


def _in_its_class(fault: Fault) -> bool:
    """Within the bounds of the widest class, and caught by what that class must not do."""
    return fault.class_name == "OnePassWithoutAFloor"


def _derived(fault: Fault) -> bool:
    """Whether the gradients are those of the steps, at a size and in digits that a difference quotient shows."""
    return fault.mistake.on == STEPS and fault.family not in {"precision", "sizes"} and not _calls(fault)


def _calls(fault: Fault) -> bool:
    """Whether the whole call is another, with the right gradients."""
    return "__call__" in fault.mistake.change


@pytest.mark.parametrize("fault", WITHOUT, ids=by_id)
def test_layers_without_a_fault_conform_and_pass_the_peers(fault: Fault) -> None:
    verdicts = {r.requirement: r.verdict for r in records_of(fault) if isinstance(r, Judgement)}
    assert set(verdicts.values()) == {"conforms"}
    needs = {"ONNX": "onnx", "one shape": "torch"}
    here = [peer for name, peer in PEERS.items() if name not in needs or importlib.util.find_spec(needs[name])]
    assert not any(peer(fault) for peer in here)


@pytest.mark.parametrize(
    "fault", [*WITHOUT, *(one for one in FAULTS if one.family in OF_VALUES and not _in_its_class(one))], ids=by_id
)
def test_a_fault_departs_from_the_canonical_semantics_on_a_probe(fault: Fault, references: InMemory) -> None:
    dtype, known = fault.mistake.dtype, References(cast("ReferenceStore", references))
    worker, arithmetic = Adapters(ADAPTER, dtype).of(dtype), Arithmetic(dtype, WIDEST)
    (right,) = (one.id for one in WITHOUT if one.kind == fault.kind)
    asked = [one.case for one in probes(fault.kind, dtype, (2, 3, 4, 5)) if one.measures is None]
    # What is asked of few layers, and what rounds a gradient to the type of its parameter.
    asked = [case for case in asked if not case.dtypes and not any(step.derivative for step in case.steps)]

    def departs() -> bool:
        for case in asked:
            prediction = known.predict(case, CANONICAL[fault.kind], arithmetic)
            observation = worker.run(fault.id, case)
            if observation.raised and not worker.run(right, case).raised:
                return True
            if compare(observation, prediction).ratio > 1:
                return True
        return False

    assert departs() != (fault in WITHOUT)


@pytest.mark.slow
@pytest.mark.parametrize("fault", SOME, ids=by_id)
def test_a_fault_is_caught(fault: Fault) -> None:
    found = mutation_table.outcome(fault, records_of(fault), {})
    assert found.caught


def test_what_falls_with_another_requirement_is_not_told_again() -> None:
    records = [
        judgement(verdict="diverges", requirement=name, falls_with=head)
        for name, head in (("GN-05", "GN-18"), ("GN-18", ""))
    ]
    found = mutation_table.outcome(FAULTS[0], records, {})
    assert (found.fallen, found.told) == (("GN-05", "GN-18"), ("GN-18",))
    assert "| median requirements that report a fault | 1 |" in mutation_table.totals([found])
    assert "| median requirements that fall | 2 |" in mutation_table.totals([found])


def test_the_figures_of_the_report_count_what_each_way_of_testing_catches() -> None:
    fallen = mutation_table.outcome(FAULTS[0], [judgement(verdict="diverges")], {"ONNX": True, "one shape": False})
    missed = mutation_table.outcome(FAULTS[1], [judgement()], {"ONNX": True, "one shape": False})
    found = mutation_table.figures([fallen, missed])
    assert (found.faults, found.caught) == (2, {"normgauge": 1, "ONNX": 2, "one shape": 0})
    assert "| caught | 1 of 2 (50 %) | 2 of 2 (100 %) | 0 of 2 (0 %) |" in mutation_table.totals([fallen, missed])


@pytest.mark.slow
@pytest.mark.parametrize("diagnosis_only", [False, True], ids=["run", "diagnose"])
@pytest.mark.parametrize(("fault", "requirement"), MISTAKES.items())
def test_a_mistake_is_named_by_the_requirement_on_its_axis(
    fault: str, requirement: str, *, diagnosis_only: bool
) -> None:
    (known,) = (one for one in FAULTS if one.id == fault)
    records = records_of(known, diagnosis_only=diagnosis_only)
    judged = {r.requirement: r for r in records if isinstance(r, Judgement)}
    axis = kind_of(known.kind).axis(str(requirements()[requirement].axis))
    assert judged[requirement].verdict == "diverges"
    assert judged[requirement].measured in {one.name for one in axis.mistakes}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("group_norm.OutputThroughHalf", "rounds the output to 11 bits and the range of float16"),
        ("batch_norm.VarianceRoundedToHalf", "rounds the variance to 11 bits and the range of float16"),
        (
            "group_norm.FastReciprocalRoot",  # no rounding of a step
            "holds fewer bits on the way: 11 bits, as TF32 and float16 have, would explain it",
        ),
    ],
)
def test_fewer_bits_on_the_way_are_one_difference(fault: str, said: str) -> None:
    (known,) = (one for one in FAULTS if one.id == fault)
    fallen = {r.requirement: r for r in records_of(known) if isinstance(r, Judgement) and r.verdict == "diverges"}
    (one,) = (fallen[name] for name in fallen if name in {"GN-18", "BN-22"})
    assert fallen.keys() - {one.requirement} <= {"GN-05", "BN-10"}  # another eps fits as well there
    assert said in one.sentence


@pytest.mark.parametrize("fault", [one for one in (*WITHOUT, *FAULTS) if _derived(one)], ids=by_id)
def test_the_gradients_of_a_replaced_step_are_those_of_its_output(fault: Fault) -> None:
    rng = np.random.default_rng(3)
    shape = (3, 8, 3, 3)
    x, dy, direction = (rng.standard_normal(shape) for _ in range(3))
    layer = made(fault, 8, 4, 1e-2, dtype="float64")
    layer.weight, layer.bias = rng.standard_normal(8), rng.standard_normal(8)

    def loss(step: float) -> float:
        return float((deepcopy(layer)(x + step * direction) * dy).sum())

    slope = (loss(1e-6) - loss(-1e-6)) / 2e-6
    assert (layer.gradients(x, dy)["dx"] * direction).sum() == pytest.approx(slope, rel=1e-4, abs=1e-4)


def test_every_fault_has_a_name_of_its_own_and_says_why() -> None:
    assert len({one.id for one in FAULTS}) == len(FAULTS) >= 120
    assert all(one.mistake.why and one.mistake.named for one in FAULTS)
