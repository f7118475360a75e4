"""Every classic error of a backward pass is exposed by the experiments, and named."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import pytest
from faulty.adapter import FaultyAdapter

from normgauge.adapters.base import Adapter
from normgauge.adapters.case import Array, Implementation
from normgauge.adapters.lacks import Lack
from normgauge.conformance.diagnosis.predictions import known_gradient_errors, predict
from normgauge.conformance.layers.experiments import probes
from normgauge.conformance.requirements.probe import GRADIENTS, Probe
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.subject import Launch
from normgauge.oracle import CANONICAL, WRONG_FORMS, Arithmetic, Reference
from normgauge.results.records import Judgement, NotRun

DTYPES = ("float32", "float64")


def differentiated(layer: str, dtype: str) -> Iterator[tuple[Probe, int, str]]:
    """Every probe of a gradient, the step it is judged at, and the quantity."""
    for probe in probes(layer, dtype, (2, 3, 4, 5)):
        for number, step in enumerate(probe.case.steps):
            if step.dy is not None:
                for quantity in set(probe.quantities) & set(GRADIENTS):
                    yield probe, number, quantity


@functools.cache
def experiments(layer: str, dtype: str) -> list[tuple[str, Reference, Mapping[str, Array]]]:
    """Of every gradient that is judged its name, its reference, and the known wrong ones that are all numbers."""
    semantics, arithmetic = CANONICAL[layer], Arithmetic(dtype)
    found: list[tuple[str, Reference, Mapping[str, Array]]] = []
    for probe, step, quantity in differentiated(layer, dtype):
        reference = predict(probe.case, semantics, arithmetic).steps[step][quantity]
        errors = known_gradient_errors(probe.case, step, semantics)
        wrong = {} if errors is None else {name: errors.by(name).get(quantity) for name in WRONG_FORMS}
        numbers = {name: value for name, value in wrong.items() if value is not None and np.isfinite(value).all()}
        found.append((quantity, reference, numbers))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer", ["group_norm", "batch_norm"])
def test_every_known_error_is_excluded_by_an_experiment(layer: str, dtype: str) -> None:
    known: set[str] = set()
    excluded: set[str] = set()
    for _, reference, wrong in experiments(layer, dtype):
        known |= {*wrong}
        excluded |= {name for name, value in wrong.items() if reference.excludes(value.astype(dtype))}
    assert known - excluded == SAME[layer]


#: What is no error in a kind of layer: its value is the right one.
SAME: Final[Mapping[str, set[str]]] = {
    "group_norm": {form.format("group c // (C / G)") for form in ("the statistics of {}", "the sums of {}")}
    | {"the statistics of group c // (C / G), and its sums"},
    "batch_norm": {"the weight multiplied in after the sums"},
}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer", ["group_norm", "batch_norm"])
def test_known_errors_are_told_apart_by_an_experiment(layer: str, dtype: str) -> None:
    apart: dict[tuple[str, str], bool] = {}
    for _, reference, wrong in experiments(layer, dtype):
        shown = {name: value for name, value in wrong.items() if name not in SAME[layer]}
        for one, other in itertools.combinations(sorted(shown), 2):
            if not apart.get((one, other)):
                held = Reference(value=shown[one], bound=2 * reference.bound)
                apart[one, other] = held.excludes(shown[other])
    assert [pair for pair, told in apart.items() if not told] == []


@pytest.mark.parametrize(
    ("identifier", "requirement", "named"),
    [
        ("group_norm.VarianceIsConstantBackward", "GN-25", "the variance taken as a constant"),
        ("group_norm.WeightGradientOfTheFirstPosition", "GN-26", "the first position alone"),
        ("group_norm.BiasGradientOfTheLastSample", "GN-27", "the last sample alone"),
        ("batch_norm.DivisorsMixedBackward", "BN-33", "the divisor n - 1 mixed in"),
        ("batch_norm.WeightGradientIsAMean", "BN-34", "a mean in place of a sum"),
        ("batch_norm.BiasGradientOfTheFirstSample", "BN-35", "the first sample alone"),
        ("batch_norm.EvalDifferentiatesThroughTheBatch", "BN-36", "differentiated through the statistics of the batch"),
    ],
)
def test_a_wrong_gradient_is_named(identifier: str, requirement: str, named: str) -> None:
    wanted = Wanted(dtypes=("float32",), implementations=(identifier,), in_process=True)
    records = run_framework(Launch(framework="faulty.adapter:FaultyAdapter"), wanted)
    (judged,) = [r for r in records if isinstance(r, Judgement) and r.requirement == requirement]
    assert judged.verdict == "diverges"
    assert judged.measured == named
    assert judged.sentence.endswith(f": {named}")
    assert judged.example is not None
    assert any(" dy " in line for line in judged.example.inputs)


def test_a_gradient_that_is_that_of_the_other_parameter_is_no_exchange_if_the_other_is_right() -> None:
    """MLX up to 0.32.2: a sum in bfloat16 stopped at what dweight is, and both were said to be swapped."""
    identifier = "group_norm.BiasGradientIsThatOfTheWeight"
    wanted = Wanted(dtypes=("float32",), implementations=(identifier,), in_process=True)
    records = run_framework(Launch(framework="faulty.adapter:FaultyAdapter"), wanted)
    judged = {r.requirement: r for r in records if isinstance(r, Judgement) and r.verdict == "diverges"}
    assert "GN-27" in judged
    assert [one.sentence for one in judged.values() if "swapped" in one.sentence] == []


class WithoutGradients(FaultyAdapter):
    """A framework that cannot differentiate."""

    backward = Adapter.backward

    def lacks(self, implementation: Implementation) -> tuple[Lack, ...]:
        return (Lack(why="there is no automatic differentiation", source="here", gradients=True),)


class ForgetsToSaySo(FaultyAdapter):
    """The same, and it does not declare that."""

    backward = Adapter.backward


def test_a_framework_without_differentiation_is_not_blamed() -> None:
    wanted = Wanted(dtypes=("float32",), implementations=("group_norm.GroupNorm",), in_process=True)
    records = run_framework(Launch(framework="test_gradients:WithoutGradients"), wanted)
    found = {r.requirement: r for r in records if isinstance(r, Judgement)}
    differentiated = {"GN-25", "GN-26", "GN-27", "GN-31", "GN-40", "GN-43"}
    assert {found[name].verdict for name in differentiated} == {"unsupported"}
    assert "no automatic differentiation" in found["GN-25"].sentence
    assert {one.verdict for name, one in found.items() if name not in differentiated} == {"conforms"}


def test_what_an_adapter_lacks_and_does_not_declare_is_its_own_mistake_and_says_what_to_write() -> None:
    wanted = Wanted(dtypes=("float32",), implementations=("group_norm.GroupNorm",), in_process=True)
    records = list(run_framework(Launch(framework="test_gradients:ForgetsToSaySo"), wanted))
    assert not [one for one in records if isinstance(one, Judgement)]
    (told,) = (one for one in records if isinstance(one, NotRun))
    assert told.failed
    assert told.reason.startswith("the adapter does not support this: ForgetsToSaySo.backward is not written; write it")
    assert told.reason.endswith("let lacks return Lack(gradients=True, why=..., source=...)")
