"""The parts of which wrong gradients are made give the right ones, under every semantics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from normgauge.oracle import (
    WRONG_FORMS,
    Gradients,
    RunningStatistics,
    WrongGradients,
    batch_norm_backward,
    batch_norm_gradient_errors,
    candidates,
    digits_of,
    group_norm_backward,
    group_norm_gradient_errors,
    initial_statistics,
    semantics,
)

SHAPES = ((3, 6), (3, 6, 5), (2, 6, 3, 4))


def arrays(shape: tuple[int, ...]) -> tuple[Any, Any, Any]:
    random = np.random.default_rng(0)
    return 2 * random.normal(size=shape) + 1, random.normal(size=shape) + 0.5, random.normal(size=6)


def running() -> RunningStatistics:
    random = np.random.default_rng(1)
    return initial_statistics(random.normal(size=6), random.uniform(1, 2, 6))


def assert_right(found: WrongGradients | None, right: Gradients) -> None:
    assert found is not None
    own = found.parts.right()
    for name, value in own.items():
        reference = getattr(right, name).value
        np.testing.assert_allclose(value.reshape(reference.shape), reference, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_parts_of_group_norm_give_its_gradients(shape: tuple[int, ...]) -> None:
    x, dy, weight = arrays(shape)
    for own in candidates("group_norm"):
        right = group_norm_backward(x, dy, 3, weight, semantics=own)
        assert_right(group_norm_gradient_errors(x, dy, 3, weight, semantics=own), right)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("tracked", [True, False])
@pytest.mark.parametrize("used", ["batch", "blended", "running"])
@pytest.mark.parametrize("placement", ["inside_sqrt", "outside_sqrt"])
@pytest.mark.parametrize("variance", ["biased", "unbiased"])
def test_the_parts_of_batch_norm_give_its_gradients(
    training: bool, tracked: bool, used: str, placement: str, variance: str
) -> None:
    own = semantics("batch_norm", training_normalizes_with=used, eps_placement=placement, variance=variance)
    x, dy, weight = arrays(SHAPES[-1])
    common: dict[str, Any] = {"training": training, "semantics": own}
    statistics = running() if tracked else None
    right = batch_norm_backward(x, dy, statistics, weight, **common)
    assert_right(batch_norm_gradient_errors(x, dy, statistics, weight, **common), right)


@pytest.mark.parametrize("kind", ["group_norm", "batch_norm"])
def test_every_form_departs_somewhere_or_does_not_apply(kind: str) -> None:
    x, dy, weight = arrays(SHAPES[-1])
    found = (
        [group_norm_gradient_errors(x, dy, 3, weight)]
        if kind == "group_norm"
        else [batch_norm_gradient_errors(x, dy, running(), weight, training=training) for training in (True, False)]
    )
    for name in WRONG_FORMS:
        given = [(one.parts.right(), one.by(name)) for one in found if one is not None]
        values = [(right[key].ravel(), value.ravel()) for right, wrong in given for key, value in wrong.items()]
        same = (name, kind) == ("the weight multiplied in after the sums", "batch_norm")  # a weight is that of a set
        same |= kind == "group_norm" and name in {
            "the statistics of group c // (C / G)",
            "the sums of group c // (C / G)",
        }
        same |= kind == "group_norm" and name == "the statistics of group c // (C / G), and its sums"
        departs = any(not np.allclose(right, wrong, rtol=1e-6) for right, wrong in values)
        assert departs or same or not values, name


def test_nothing_is_known_of_no_values_or_of_a_call_that_is_refused() -> None:
    assert group_norm_gradient_errors(np.zeros((0, 6)), np.zeros((0, 6)), 3) is None
    assert batch_norm_gradient_errors(np.zeros((1, 6)), np.zeros((1, 6)), running(), training=True) is None


@pytest.mark.parametrize(
    ("values", "digits"), [([0.0], 0), ([1.0], 1), ([1.5, 2.0], 2), ([0.1], 52), ([np.nan, 3.0], 2), ([-5.0], 3)]
)
def test_the_digits_that_numbers_need(values: list[float], digits: int) -> None:
    assert digits_of(values) == digits
