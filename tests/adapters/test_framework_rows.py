"""The numbers beside what the frameworks gave: exact at the example's input, by other formulas than the oracle's."""

from __future__ import annotations

import re

import numpy as np
import pytest
from exact_rows import tally_of
from frameworks import MODULES, Frameworks, for_each

from normgauge.adapters.case import Case, Observation, Step
from normgauge.conformance.shrinking.shrink import shrink
from normgauge.conformance.subjects.subject import Target
from normgauge.oracle import rounded
from normgauge.results.records import Example, Judgement, Record


@for_each(*MODULES, "lucid")
def test_every_row_is_the_exact_value_at_its_input(records: list[Record], framework: str) -> None:
    judged = [one for one in records if isinstance(one, Judgement) and one.example is not None]
    found = tally_of(records)
    assert found.mistakes == []
    assert found.rows["canonical"] == found.examples == len(judged) > 0
    assert found.older == 0
    assert found.numbers > 500


@for_each(*MODULES, "lucid")
def test_no_two_numbers_that_differ_print_alike(records: list[Record], framework: str) -> None:
    judged = [one for one in records if isinstance(one, Judgement)]
    for one in judged:
        for text in (one.measured, one.sentence, *one.notes):
            for here, there in re.findall(r"(\S+) instead of (\S+)", text):
                assert here != there, text
            for here, there in re.findall(r" = (\S+), expected (\S+) ±", text):
                assert here != there, text


def example_in(records: list[Record], requirement: str, implementation: str, dtype: str) -> Example:
    judged = {(one.requirement, one.implementation, one.dtype): one for one in records if isinstance(one, Judgement)}
    example = judged[requirement, implementation, dtype].example
    assert example is not None
    return example


@for_each("flax")
@pytest.mark.parametrize("implementation", ["flax.nnx.BatchNorm", "flax.linen.BatchNorm"])
def test_the_canonical_statistics_beside_those_of_flax(
    records: list[Record], framework: str, implementation: str
) -> None:
    """One step on 0 and 4, and on 0 and 1; momentum 0.25 weighs the new value, and the variance has divisor n - 1."""
    variance = example_in(records, "BN-03", implementation, "float32")
    assert variance.inputs == ["step 1 train x 0 4"]
    assert variance.canonical[1:] == ["step 1 running_mean 0.5", "step 1 running_var 2.75"]
    assert variance.set_right[1:] == ["step 1 running_mean 1.5", "step 1 running_var 6.25"]
    momentum = example_in(records, "BN-04", implementation, "float32")
    assert momentum.inputs == ["step 1 train x 0 1"]
    assert momentum.canonical[2] == "step 1 running_var 0.875"
    assert momentum.set_right[2] == "step 1 running_var 0.8125"


@for_each("keras-numpy")
def test_the_canonical_output_beside_that_of_keras_is_that_of_the_float64_input(
    records: list[Record], framework: str
) -> None:
    example = example_in(records, "GN-21", "keras.layers.GroupNormalization[numpy]", "float64")
    assert example.inputs == ["step 1 train x 16.000280603562228 16.002380415315216"]
    assert example.canonical == ["step 1 output -0.25956386419 0.25956386419"]  # rounded to float32: -0.2595845


@for_each("torch")
def test_a_smaller_case_has_numbers_that_bfloat16_holds(frameworks: Frameworks, framework: str) -> None:
    """They travel in float32, and a layer would be run on others than its rows are computed from."""
    worker = frameworks(framework).worker("bfloat16")
    x = rounded(np.linspace(-1, 2, 12).reshape(1, 4, 3), "bfloat16").astype(np.float32)
    settings = {"num_channels": 4, "num_groups": 2, "eps": 1e-5}
    case = Case(layer="group_norm", dtype="bfloat16", settings=settings, parameters={}, steps=(Step("train", x, x),))
    target = Target(subject=worker, implementation="torch.nn.GroupNorm", ranks=(3,))
    (seen,) = worker.run(target.implementation, [case])
    tried: list[Case] = []

    def shows(smaller: Case, _: Observation) -> bool:
        tried.append(smaller)
        return False

    shrink(case, seen, shows, target, keep_form=False)
    assert len(tried) > 5
    for one in tried:
        for values in (one.steps[0].x, one.steps[0].dy):
            assert values is not None
            assert np.array_equal(rounded(values, "bfloat16"), values)
