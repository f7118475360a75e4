"""What the oracle leaves out for ordinary data changes no number, and its sums are as exact as they claim."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from normgauge.oracle import (
    Arithmetic,
    Gradients,
    batch_norm,
    batch_norm_backward,
    group_norm,
    group_norm_backward,
    initial_statistics,
    semantics,
)
from normgauge.oracle import backward as going_backward
from normgauge.oracle.moments import U64, Float, moments, pair_sum

#: Sums of which the order matters, drawn as (rows, n).
VALUES: dict[str, Callable[[np.random.Generator, tuple[int, int]], NDArray[Any]]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "magnitudes": lambda rng, shape: rng.standard_normal(shape) * 10.0 ** rng.integers(-200, 200, shape),
    "large": lambda rng, shape: rng.standard_normal(shape) * 2.0**996,
    "near overflow": lambda rng, shape: rng.standard_normal(shape) * 2.0**1005 / shape[1],
    "subnormal": lambda rng, shape: rng.integers(-9, 10, shape) * 2.0**-1074,
    "one is large": lambda rng, shape: np.where(np.arange(shape[1]) == shape[1] // 3, 1e20, 1 + rng.random(shape)),
    "they cancel": lambda rng, shape: np.where(np.arange(shape[1]) % 2, -1e9, 1e9) + rng.random(shape),
    "zero": lambda rng, shape: np.zeros(shape),
}


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 9, 100, 1023, 2**14, 2**14 + 2, 2**14 + 3])
@pytest.mark.parametrize("kind", VALUES)
def test_a_sum_in_pairs_is_within_its_bound(kind: str, n: int) -> None:
    values = VALUES[kind](np.random.default_rng([3, n]), (2, n))
    largest = np.max(np.abs(values), axis=-1, keepdims=True)
    for cuts, allowed in ((1, U64 / 400), (2, (math.log2(n) + 1) ** 2 * U64**2)):
        high, low = pair_sum(values, largest, cuts=cuts)
        assert high.shape == low.shape == (2, 1)
        for row, pair in zip(values, zip(high, low, strict=True), strict=True):
            exact = [Fraction(float(value)) for value in row]
            error = sum((Fraction(float(part[0])) for part in pair), -sum(exact, Fraction(0)))
            assert abs(error) <= Fraction(allowed) * sum((abs(value) for value in exact), Fraction(0))


def test_a_sum_in_pairs_of_what_is_no_number_is_none() -> None:
    values = np.ones((4, 12))
    values[0, 3], values[1, 3], values[2, 3:5] = np.nan, np.inf, [np.inf, -np.inf]
    with np.errstate(invalid="ignore"):
        high, low = pair_sum(values, np.max(np.abs(values), axis=-1, keepdims=True))
        assert np.array_equal(np.isnan(high + low)[:, 0], [True, True, True, False])


@pytest.mark.parametrize("n", [7, 12, 64, 1000])
def test_the_mean_of_pairs_is_the_rounded_sum_of_neighbours_and_what_it_lacks(n: int) -> None:
    x = np.random.default_rng(n).standard_normal((3, n)) + 2.0**20
    m = moments(x, compensated=True)
    for row, mean, tail, error in zip(x, m.mean[:, 0], m.mean_tail[:, 0], m.mean_error[:, 0], strict=True):
        exact = sum((Fraction(float(value)) for value in row), Fraction(0)) / n
        assert abs(Fraction(float(mean)) + Fraction(float(tail)) - exact) <= Fraction(float(error))


# --- the shortcuts -----------------------------------------------------------------------------------

#: Inputs beside which what underflows, or what may leave the range, counts and does not.
INPUTS = {
    "ordinary": (1.0, 0.0),
    "a large mean": (1.0, 2.0**12),
    "small": (1e-18, 0.0),
    "tiny": (1e-36, 0.0),
    "large": (1e9, 0.0),
    "near overflow": (1e30, 0.0),
    "constant": (0.0, 3.0),
}
ARITHMETICS = (
    Arithmetic("float32"),
    Arithmetic("float32", "two_pass"),
    Arithmetic("float64"),
    Arithmetic("float16"),
    Arithmetic("float32", storage="bfloat16", stored=True),
)


def numbers(gradients: Gradients) -> list[Float]:
    three = (gradients.dx, gradients.dweight, gradients.dbias)
    return [array for one in three for array in (one.value, one.bound)]


def gradients(x: Float, dy: Float, weight: Float, arithmetic: Arithmetic, placement: str) -> list[Float]:
    """Those of GroupNorm, and of BatchNorm with every kind of statistics."""
    channels = x.shape[1]
    chosen = semantics("group_norm", eps_placement=placement)
    found = numbers(group_norm_backward(x, dy, 2, weight, semantics=chosen, arithmetic=arithmetic))
    running = initial_statistics(np.linspace(-1, 1, channels), np.linspace(0.5, 2, channels))
    for training, source in ((True, "batch"), (True, "blended"), (False, "batch")):
        chosen = semantics("batch_norm", eps_placement=placement, training_normalizes_with=source)
        kinds: dict[str, Any] = {"training": training, "semantics": chosen, "arithmetic": arithmetic}
        found += numbers(batch_norm_backward(x, dy, running, weight, **kinds))
    return found


@pytest.fixture
def without_shortcuts(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes every quantity too large for a shortcut."""
    everything = going_backward.Tops(factor=np.inf, dy=np.inf, about=np.inf, tall=np.inf)
    return lambda: monkeypatch.setattr(going_backward, "Tops", lambda **_: everything)


@pytest.mark.parametrize("placement", ["inside_sqrt", "outside_sqrt", "max_with_variance"])
@pytest.mark.parametrize("arithmetic", ARITHMETICS, ids=str)
@pytest.mark.parametrize("name", INPUTS)
def test_what_is_left_out_going_backward_changes_no_bit(
    name: str, arithmetic: Arithmetic, placement: str, without_shortcuts: Callable[[], None]
) -> None:
    spread, mean = INPUTS[name]
    rng = np.random.default_rng(4)
    x, dy = rng.standard_normal((2, 3, 4, 5)) * spread + mean, rng.standard_normal((3, 4, 5))
    cases = [(x[0], dy, rng.standard_normal(4)), (x[1], dy * 1e-20, np.array([1.0, 0.0, 1e-39, 1e10]))]
    quick = [gradients(*case, arithmetic, placement) for case in cases]
    without_shortcuts()
    for case, found in zip(cases, quick, strict=True):
        for one, other in zip(found, gradients(*case, arithmetic, placement), strict=True):
            assert np.array_equal(one, other, equal_nan=True)


@pytest.mark.parametrize("of_x", [0, -1, 1])
def test_where_an_underflow_begins_to_count_it_counts(of_x: int, without_shortcuts: Callable[[], None]) -> None:
    """In steps of 4 from where nothing underflows to where everything does, and as x becomes small or large, too."""
    rng = np.random.default_rng(6)
    x, dy = rng.standard_normal((2, 2, 4, 3))
    cases = [(x * 2.0 ** (of_x * k), dy * 4.0**-k, np.ones(4)) for k in range(75)]
    quick = [gradients(*case, Arithmetic("float32"), "inside_sqrt") for case in cases]
    without_shortcuts()
    for case, found in zip(cases, quick, strict=True):
        for one, other in zip(found, gradients(*case, Arithmetic("float32"), "inside_sqrt"), strict=True):
            assert np.array_equal(one, other, equal_nan=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(9, 24), (3, 16, 5), (2, 8, 3, 3)])
def test_how_an_input_lies_in_memory_changes_no_bit(shape: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(5)
    x, dy = rng.standard_normal(shape).astype(dtype), rng.standard_normal(shape).astype(dtype)
    weight = rng.standard_normal(shape[1])

    def spaced(values: Float) -> Float:
        wide = np.zeros(tuple(2 * length for length in values.shape), dtype)
        view = wide[tuple(slice(1, None, 2) for _ in values.shape)]
        view[...] = values
        return view

    def results(x: Float, dy: Float) -> list[Float]:
        found = []
        for grouping in ("contiguous", "interleaved"):
            chosen = semantics("group_norm", grouping=grouping)
            y = group_norm(x, 2, weight, semantics=chosen)
            found += [y.value, y.bound, *numbers(group_norm_backward(x, dy, 2, weight, semantics=chosen))]
        y = batch_norm(x, None, weight, training=True).output
        return [*found, y.value, y.bound, *numbers(batch_norm_backward(x, dy, None, weight, training=True))]

    plain = results(x, dy)
    for laid in (np.asfortranarray, spaced, lambda values: np.moveaxis(np.moveaxis(values, 1, -1).copy(), -1, 1)):
        for one, other in zip(plain, results(laid(x), laid(dy)), strict=True):
            assert np.array_equal(one, other)
