"""The typical error: a range that was measured on honest arithmetic, and words that no verdict depends on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from honest import Machine, normalised, sequential, two_pass
from honest_layers import Choices, Draw, computed, references
from soak import IMPLEMENTATIONS
from typical import TYPES, measured

from normgauge.conformance.verdicts.rounding import explained
from normgauge.oracle import Arithmetic, Reference, group_norm, precisions
from normgauge.results.rounding import NOT_ROUNDING, OUT_OF_RANGE, POOR_ORDER, ROUNDING

FLOAT32 = Arithmetic("float32")


def both(x: np.ndarray, groups: int, arithmetic: Arithmetic = FLOAT32) -> tuple[Reference, Reference]:
    """The references with the bound and with the typical error."""
    return tuple(group_norm(x, groups, arithmetic=replace(arithmetic, typical=it)) for it in (False, True))  # type: ignore[return-value]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_the_typical_error_is_below_the_bound_of_every_precision_and_leaves_the_value(dtype: str) -> None:
    draw = Draw.ordinary(np.random.default_rng(1), Machine(dtype=dtype), 64, 4)
    for arithmetic in precisions(dtype):
        bounds, typical = (references(draw, replace(arithmetic, typical=it)) for it in (False, True))
        for quantity, own in typical.items():
            assert np.array_equal(own.value, bounds[quantity].value)
            assert np.all(own.bound <= bounds[quantity].bound), quantity
            assert np.all(own.bound > 0), quantity


@pytest.mark.parametrize("dtype", list(TYPES))
@pytest.mark.parametrize("n", [4, 256])
@pytest.mark.parametrize("label", ["naive", "pairwise", "blocked", "Welford", "one-pass"])
def test_of_honest_errors_99_in_100_are_below_the_typical_one_and_the_median_is_near(
    label: str, n: int, dtype: str
) -> None:
    for quantity, ratio in measured(label, n, dtype, draws=2, least=2_000).items():
        assert np.quantile(ratio, 0.99) < 1, quantity
        if quantity == "group_norm y":
            assert np.median(ratio) > 0.01


@pytest.mark.parametrize(("label", "least"), [("blocked", 0.01), ("Welford", 0.05)])
def test_for_long_sums_it_grows_as_their_errors_do(label: str, least: float) -> None:
    ratio = measured(label, 10_000, "float32", draws=2)["group_norm y"]
    assert least < np.median(ratio)
    assert np.quantile(ratio, 0.99) < 1


def test_an_error_of_2e_5_at_524_288_values_is_rounding_though_the_bound_is_a_fifth() -> None:
    x = np.random.default_rng(0).standard_normal((1, 1, 524_288)).astype(np.float32)
    bound, typical = both(x, 1)
    assert 0.1 < bound.bound.max() < 0.4
    assert 1e-5 < np.median(typical.bound) < 5e-5
    place = int(np.abs(x).argmax())
    actual = bound.value.copy()
    actual.flat[place] += 2.3e-5
    assert explained(actual, bound, typical).words == ROUNDING
    lost = bound.value * (1 + 256 / 524_288)  # as if 256 values more or less entered the variance
    assert explained(lost, bound, typical).words == POOR_ORDER
    assert explained(bound.value * 1.1, bound, typical).words == NOT_ROUNDING


def test_a_sum_of_one_value_after_another_may_exceed_it_where_all_are_alike() -> None:
    machine = Machine(dtype="float32")
    x = np.full((1, 16_384), 1 / 3, dtype=np.float32) + np.float32(1e-3) * (np.arange(16_384, dtype=np.float32) % 2)
    one, nothing = np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32)
    statistics = two_pass(machine, x, sequential)
    actual = normalised(machine, x, statistics, one, nothing, eps=1e-5)
    found = explained(actual[:, None], *both(x[:, None], 1, Arithmetic("float32", "two_pass")))
    assert found.of_typical > 1
    assert found.words == POOR_ORDER


def test_nothing_is_said_of_a_value_where_the_arithmetic_may_leave_the_range() -> None:
    x = np.array([[[3e38, -3e38, 1.0, 2.0]]], dtype=np.float32)
    found = explained(np.zeros((1, 1, 4)), *both(x, 1))
    assert found.words == OUT_OF_RANGE


def test_a_kernel_that_sums_in_blocks_is_close_to_one_in_pairs_and_far_from_one_in_sequence() -> None:
    """Which arithmetic a layer has shows in units of the typical error, at long sums."""
    draw = Draw.ordinary(np.random.default_rng(2), Machine(dtype="float32"), 10_000, 2)
    typical = references(draw, Arithmetic("float32", "two_pass", typical=True))["batch_norm running_var"]

    def largest(label: str) -> float:
        how = Choices(statistics=IMPLEMENTATIONS[label].statistics[0])
        found = dict(computed(IMPLEMENTATIONS[label], Machine(dtype="float32"), draw, how))
        return float(typical.ratio(found["batch_norm running_var"]).max())

    assert largest("pairwise") < largest("naive") / 2
