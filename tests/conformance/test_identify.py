"""``normgauge.identify``: arrays that someone has, and the right answer about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import normgauge
from normgauge.conformance.identify.answer import CANONICAL, DEPARTS, UNKNOWN, Identified

Array = NDArray[Any]
RNG = np.random.default_rng(20261127)
C = 8
X = (RNG.standard_normal((4, C, 5, 6)) * 1.5 + RNG.standard_normal((1, C, 1, 1))).astype(np.float32)
WEIGHT = RNG.uniform(0.5, 2, C).astype(np.float32) * np.where(np.arange(C) % 3, 1, -1).astype(np.float32)
BIAS = RNG.standard_normal(C).astype(np.float32)
MEAN, VAR = RNG.standard_normal(C).astype(np.float32), RNG.uniform(0.25, 2, C).astype(np.float32)


def by_channel(values: Array) -> Array:
    return values[:, None, None]


def groups(x: Array, num_groups: int, weight: Array, bias: Array, eps: float = 1e-5, ddof: int = 0) -> Array:
    """GroupNorm in the arithmetic of ``x``."""
    sets = x.reshape(len(x), num_groups, -1)
    mean, var = sets.mean(axis=2, keepdims=True), sets.var(axis=2, keepdims=True, ddof=ddof)
    x_hat = ((sets - mean) / np.sqrt(var + x.dtype.type(eps))).reshape(x.shape)
    return x_hat * by_channel(weight) + by_channel(bias)


def identified(*args: Any, **known: Any) -> Identified:
    found = normgauge.identify(*args, **known)
    assert isinstance(found, Identified)
    return found


def meanings(found: Identified) -> list[str]:
    return [one.meaning for alternative in found.alternatives for one in alternative]


GIVEN = {"weight": WEIGHT, "bias": BIAS}


def test_an_honest_float32_result_is_canonical() -> None:
    found = identified(X, groups(X, 4, WEIGHT, BIAS), num_groups=4, eps=1e-5, **GIVEN)
    assert found.verdict == CANONICAL
    assert found.exit_code == 0
    assert found.differences[0].of_typical < 1
    assert "rounding" in str(found)


def test_groups_and_eps_that_are_not_given_are_found() -> None:
    found = identified(X, groups(X, 4, WEIGHT, BIAS, 1e-3), **GIVEN)
    assert found.verdict == CANONICAL
    values = {one.name: one.value for one in found.settings}
    assert values["num_groups"] == "4"
    assert values["eps"].startswith("0.001: 0.000")


def test_weight_and_bias_that_are_not_given_are_recovered() -> None:
    found = identified(X, groups(X, 2, WEIGHT, BIAS))
    assert found.verdict == CANONICAL
    assert "the layer has a weight, which was not given" in " ".join(found.causes)
    assert {one.name: one.value for one in found.settings}["num_groups"] == "2"


def test_the_groups_of_mlx_are_named() -> None:
    order = np.arange(C).reshape(-1, 4).T.ravel()
    x_hat = groups(np.ascontiguousarray(X[:, order]), 4, np.ones(C, np.float32), np.zeros(C, np.float32))
    y = x_hat[:, np.argsort(order)] * by_channel(WEIGHT) + by_channel(BIAS)
    found = identified(X, y, num_groups=4, eps=1e-5, **GIVEN)
    assert found.verdict == DEPARTS
    assert found.exit_code == 1
    assert meanings(found) == ["channel c belongs to group c mod G"]
    assert "permute the channels" in found.remedies[0]


def test_a_forgotten_eps_is_named_beside_what_does_the_same() -> None:
    found = identified(X / 100, groups(X / 100, 4, WEIGHT, BIAS, 0.0), num_groups=4, eps=1e-5, **GIVEN)
    assert "none: eps is ignored" in meanings(found)


def test_a_weight_in_another_order_is_told_with_its_order() -> None:
    order = np.array([3, 1, 0, 2, 7, 5, 6, 4])
    found = identified(X, groups(X, 4, WEIGHT[order], BIAS), num_groups=4, eps=1e-5, **GIVEN)
    assert found.verdict == DEPARTS
    assert "another order" in found.causes[0]
    assert "[3, 1, 0, 2, 7, 5, 6, 4]" in found.causes[0]


@pytest.mark.parametrize(
    ("made", "meaning"),
    [
        (lambda x: (x - by_channel(MEAN)) / (by_channel(VAR) + np.float32(1e-5)), "the root is forgotten"),
        (lambda x: (x - by_channel(MEAN)) / by_channel(VAR), "variance taken for a deviation"),
        (lambda x: x / np.sqrt(by_channel(VAR) + np.float32(1e-5)), "the mean is not subtracted"),
    ],
)
def test_statistics_that_eval_reads_wrongly_are_named(made: Callable[[Array], Array], meaning: str) -> None:
    y = made(X) * by_channel(WEIGHT) + by_channel(BIAS)
    found = identified(X, y, running_mean=MEAN, running_var=VAR, eps=1e-5, **GIVEN)
    assert any(meaning in one for one in meanings(found))
    assert {one.name: one.value for one in found.settings}["mode"] == "eval"


def test_the_momentum_of_keras_is_named() -> None:
    mean, var = X.mean(axis=(0, 2, 3)), X.var(axis=(0, 2, 3), ddof=1)
    after = {
        "running_mean_after": np.float32(0.99) * MEAN + np.float32(0.01) * mean,
        "running_var_after": np.float32(0.99) * VAR + np.float32(0.01) * var,
    }
    found = identified(X, running_mean=MEAN, running_var=VAR, momentum=0.99, eps=1e-5, **after)
    assert meanings(found) == ["running = momentum * running + (1 - momentum) * batch"]
    assert "pass 1 - momentum" in found.remedies[0]


def test_channels_that_stand_last_are_recognised_where_the_user_says_first() -> None:
    x = np.ascontiguousarray(np.moveaxis(X[:, :, :, :1].repeat(C, axis=3), 1, -1))
    x = (x + RNG.standard_normal(x.shape)).astype(np.float32)
    y = np.moveaxis(groups(np.ascontiguousarray(np.moveaxis(x, -1, 1)), 4, WEIGHT, BIAS), 1, -1)
    said = {"num_groups": 4, "eps": 1e-5, **GIVEN}
    assert identified(x.reshape(4, 5, C, C), y.reshape(4, 5, C, C), **said).verdict == CANONICAL


def test_a_result_of_float16_is_canonical() -> None:
    x = X.astype(np.float16)
    y = groups(x.astype(np.float32), 4, WEIGHT, BIAS).astype(np.float16)
    found = identified(x, y, num_groups=4, eps=1e-5, **GIVEN)
    assert found.verdict == CANONICAL
    assert "results of float16" in found.arrays


def test_what_nothing_explains_is_unknown_and_its_worst_element_is_told() -> None:
    y = groups(X, 4, WEIGHT, BIAS)
    y[2, 3, 1, 4] += 1
    found = identified(X, y, num_groups=4, eps=1e-5, **GIVEN)
    assert found.verdict == UNKNOWN
    assert found.exit_code == 1
    assert found.differences[-1].index == (2, 3, 1, 4)


def test_two_outputs_are_the_same_to_rounding_and_both_canonical() -> None:
    y = groups(X, 4, WEIGHT, BIAS)
    other = groups(X.astype(np.float64), 4, WEIGHT, BIAS).astype(np.float32)
    found = normgauge.identify(X, y, other=other, num_groups=4, eps=1e-5, **GIVEN)
    assert found.headline == "the same to rounding: both are canonical"
    assert found.exit_code == 0


def test_of_two_outputs_that_differ_the_wrong_one_is_named() -> None:
    y, other = groups(X, 4, WEIGHT, BIAS), groups(X, 4, WEIGHT, BIAS, ddof=1)
    found = normgauge.identify(X, y, other=other, num_groups=4, eps=1e-5, **GIVEN)
    assert found.headline == "not the same: y is canonical, other is not"
    assert "divided by n - 1" in str(found)
