"""Where a result departs, and by what, in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from normgauge.conformance.diagnosis.located import SetsOf, located
from normgauge.oracle import Reference

SHAPE = (3, 8, 4, 4)
HALF = 2.0**-12
Array = np.ndarray[Any, np.dtype[Any]]


def expected(shape: tuple[int, ...] = SHAPE) -> Reference:
    value = np.random.default_rng(0).standard_normal(shape)
    return Reference(value=value, bound=np.full(shape, 1e-6))


def layout() -> SetsOf:
    """Groups of two channels."""
    n, c, *_ = np.indices(SHAPE)
    return SetsOf(sets=n * 4 + c // 2, x_hat=np.random.default_rng(1).standard_normal(SHAPE))


def put(places: Any, by: float = 1.0) -> Callable[[Array], Array]:
    def change(value: Array) -> Array:
        found, noise = value.copy(), np.asarray(np.random.default_rng(2).uniform(0.5, 1.5, value.shape))
        found[places] += by * noise[places]
        return found

    return change


def per_set(value: Array) -> Array:
    return np.asarray((layout().sets * 0.7 % 1 + 0.1).astype(value.dtype))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v, ""),
        (put(np.s_[-1]), "in the last sample alone"),
        (put(np.s_[0]), "in the first sample alone"),
        (put(np.s_[:, 4:]), "in channels from 4 on"),
        (put(np.s_[:, 4:7]), "in channels 4 to 6"),
        (put(np.s_[:, ::2]), "in every second channel from 0 on"),
        (put(np.s_[:, [0, 3, 4]]), "in channels 0, 3, 4"),
        (put(np.s_[1, 2]), "in sample 1 alone, channel 2 alone"),
        (put(np.s_[:, :, 1:3]), "in rows 1 to 2"),
        (put(np.s_[..., -1]), "in the last column alone"),
        (put(([0, 2], [1, 5], [0, 3], [2, 1])), "in 2 of 384 elements, scattered"),
        (lambda v: v / 2, "everywhere by the factor 0.5"),
        (lambda v: v / 16, "everywhere by the factor 1 / 16"),
        (lambda v: -v, "everywhere with its sign flipped"),
        (lambda v: 0 * v, "everywhere with 0 in place of it"),
        (lambda v: v + 0.25, "everywhere by a constant"),
        (lambda v: v * np.arange(2, 10).reshape(1, -1, 1, 1), "everywhere by a factor per channel"),
        (lambda v: v + np.arange(1, 9).reshape(1, -1, 1, 1) / 8, "everywhere by a constant per channel"),
        (lambda v: v + per_set(v), "everywhere by a constant per set"),
        (lambda v: v + per_set(v) * layout().x_hat, "everywhere by a multiple of x_hat per set"),
        (
            lambda v: v + per_set(v) * (layout().x_hat + 1 / 3 + layout().sets),
            "everywhere by a constant and a multiple of x_hat per set",
        ),
        (lambda v: np.where(np.indices(SHAPE)[0] == 2, np.nan, v), "in the last sample alone, as NaN"),
        (lambda v: np.where(np.indices(SHAPE)[0] == 2, v * 2, v), "in the last sample alone, by the factor 2"),
    ],
)
def test_a_departure_is_described(change: Callable[[Array], Array], words: str) -> None:
    reference = expected()
    assert located(change(reference.value), reference, HALF, layout()) == words


def test_values_of_channels_are_described_without_sets() -> None:
    reference = expected((8,))
    assert located(reference.value / 4, reference, HALF) == "everywhere by the factor 1 / 4"
    assert located(put(np.s_[4:])(reference.value), reference, HALF) == "in channels from 4 on"


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        ([1, 0, 2, 0, 1], "in the channels where the weight is 0, as NaN"),
        ([1, 0, 2, 1, 1], "in channels 1, 3, as NaN"),
    ],
)
def test_channels_whose_weight_is_zero_are_named_where_they_are_all_that_depart(weight: list[int], words: str) -> None:
    right = Reference(value=np.arange(5.0), bound=np.full(5, 1e-6))
    observed = right.value.copy()
    observed[[1, 3]] = np.nan
    assert located(observed, right, HALF, weight=np.array(weight)) == words


def test_an_output_within_its_bound_by_chance_is_a_part_of_what_departs_everywhere() -> None:
    reference = expected()
    most = reference.value.copy()
    most[np.random.default_rng(3).random(SHAPE) < 0.7] = 0  # a half of 0 is 0
    assert located(most / 2, Reference(value=most, bound=reference.bound), HALF) == "everywhere by the factor 0.5"


def test_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the output has shape \(2,\), the reference \(8,\)"):
        located(np.zeros(2), expected((8,)), HALF)
