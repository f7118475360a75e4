"""Every classic error of a backward pass is exposed by the experiments, and named."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from faulty.adapter import FaultyAdapter

from normgauge.adapters.base import Adapter
from normgauge.adapters.case import Implementation
from normgauge.adapters.lacks import Lack
from normgauge.conformance.diagnosis.predictions import known_gradient_errors, predict
from normgauge.conformance.layers.experiments import probes
from normgauge.conformance.requirements.probe import GRADIENTS, Probe
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.subject import Launch
from normgauge.oracle import CANONICAL, Arithmetic, Reference
from normgauge.results.records import Judgement

DTYPES = ("float32", "float64")


def differentiated(layer: str, dtype: str) -> Iterator[tuple[Probe, int, str]]:
    """Every probe of a gradient, the step it is judged at, and the quantity."""
    for probe in probes(layer, dtype, (2, 3, 4, 5)):
        for number, step in enumerate(probe.case.steps):
            if step.dy is not None:
                for quantity in set(probe.quantities) & set(GRADIENTS):
                    yield probe, number, quantity


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer", ["group_norm", "batch_norm"])
def test_every_known_error_is_excluded_by_an_experiment(layer: str, dtype: str) -> None:
    semantics, arithmetic = CANONICAL[layer], Arithmetic(dtype)
    known: set[tuple[str, str]] = set()
    excluded: set[tuple[str, str]] = set()
    for probe, step, quantity in differentiated(layer, dtype):
        reference = predict(probe.case, semantics, arithmetic).steps[step][quantity]
        for name, wrong in known_gradient_errors(probe.case, step, semantics).items():
            if quantity in wrong:
                known.add((name, quantity))
                if reference.excludes(wrong[quantity].astype(dtype)):
                    excluded.add((name, quantity))
    # The weight multiplies nothing into dbias where it is 1, and nothing else may escape.
    assert known == excluded
    assert len({name for name, _ in known}) >= 11


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer", ["group_norm", "batch_norm"])
def test_every_pair_of_known_errors_is_told_apart_by_an_experiment(layer: str, dtype: str) -> None:
    semantics, arithmetic = CANONICAL[layer], Arithmetic(dtype)
    pairs: set[tuple[str, str, str]] = set()
    told: set[tuple[str, str, str]] = set()
    for probe, step, quantity in differentiated(layer, dtype):
        bound = predict(probe.case, semantics, arithmetic).steps[step][quantity].bound
        wrong = {n: v[quantity] for n, v in known_gradient_errors(probe.case, step, semantics).items() if quantity in v}
        for one, first in wrong.items():
            for other, second in wrong.items():
                if one < other:
                    pairs.add((quantity, one, other))
                    if Reference(value=first, bound=2 * bound).excludes(second):
                        told.add((quantity, one, other))
    assert pairs == told


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
    differentiated = {"GN-25", "GN-26", "GN-27", "GN-31"}
    assert {found[name].verdict for name in differentiated} == {"unsupported"}
    assert "no automatic differentiation" in found["GN-25"].sentence
    assert {one.verdict for name, one in found.items() if name not in differentiated} == {"conforms"}


def test_what_an_adapter_lacks_and_does_not_declare_raises_and_says_what_to_write() -> None:
    wanted = Wanted(dtypes=("float32",), implementations=("group_norm.GroupNorm",), in_process=True)
    records = run_framework(Launch(framework="test_gradients:ForgetsToSaySo"), wanted)
    found = {r.requirement: r for r in records if isinstance(r, Judgement)}
    assert {"GN-25", "GN-26", "GN-27", "GN-31"} <= {name for name, one in found.items() if one.verdict == "raises"}
    assert "let the adapter's lacks return Lack(gradients=True, why=..., source=...)" in found["GN-25"].sentence
