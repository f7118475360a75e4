"""The numbers beside what the frameworks gave: exact at the example's input, by other formulas than the oracle's."""

from __future__ import annotations

import re

import pytest
from exact_rows import tally_of
from frameworks import MODULES, for_each

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
    assert example.canonical == ["step 1 output -0.259563864192 0.259563864192"]  # rounded to float32: -0.2595845
