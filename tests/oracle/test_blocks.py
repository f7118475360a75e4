"""Large inputs are evaluated in parts, and no number shows it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from normgauge.oracle import (
    Arithmetic,
    Reference,
    batch_norm,
    batch_norm_backward,
    group_norm,
    group_norm_backward,
    initial_statistics,
    semantics,
)
from normgauge.oracle.blocks import BLOCK, blocks


def same(one: Reference, value: Any, bound: Any) -> bool:
    return np.array_equal(one.value, value) and np.array_equal(one.bound, bound)


@pytest.mark.parametrize(("samples", "sets", "n"), [(1, 1, 1), (3, 4, 2**20), (5, 7, BLOCK // 10), (BLOCK, 3, 2)])
def test_the_parts_are_the_whole_and_every_set_is_in_one(samples: int, sets: int, n: int) -> None:
    seen = np.zeros((samples, sets), int)
    for some, members in blocks(samples, sets, n):
        seen[some, members] += 1
        assert seen[some, members].size in {1, *range(BLOCK // n + 1)}
    assert (seen == 1).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("grouping", ["contiguous", "interleaved"])
@pytest.mark.parametrize("affine", [True, False])
def test_group_norm_of_many_samples_is_that_of_each(dtype: str, grouping: str, affine: bool) -> None:
    rng = np.random.default_rng(0)
    x = (3 + rng.standard_normal((3, 6, 2**14))).astype(dtype)
    assert x[0].size > BLOCK
    parameters = rng.standard_normal((2, 6)) if affine else (None, None)
    chosen = semantics("group_norm", grouping=grouping)
    whole = group_norm(x, 3, *parameters, semantics=chosen, arithmetic=Arithmetic(dtype))
    groups = np.arange(6).reshape(3, 2) if grouping == "contiguous" else np.arange(6).reshape(2, 3).T
    for sample in range(3):
        for members in groups:
            own = [None if one is None else one[members] for one in parameters]
            part = group_norm(x[sample : sample + 1, members], 1, *own, arithmetic=Arithmetic(dtype))
            assert same(part, whole.value[sample : sample + 1, members], whole.bound[sample : sample + 1, members])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("grouping", ["contiguous", "interleaved"])
@pytest.mark.parametrize("affine_shape", ["per_channel", "per_group"])
def test_the_gradients_of_many_samples_are_those_of_each_and_their_sums(
    dtype: str, grouping: str, affine_shape: str
) -> None:
    rng = np.random.default_rng(2)
    x, dy = ((1 + rng.standard_normal((3, 6, 2**14))).astype(dtype) for _ in range(2))
    weight = rng.standard_normal(6)
    chosen, arithmetic = semantics("group_norm", grouping=grouping, affine_shape=affine_shape), Arithmetic(dtype)
    whole = group_norm_backward(x, dy, 3, weight, semantics=chosen, arithmetic=arithmetic)
    each = [
        group_norm_backward(x[i : i + 1], dy[i : i + 1], 3, weight, semantics=chosen, arithmetic=arithmetic)
        for i in range(3)
    ]
    for i, one in enumerate(each):
        assert same(one.dx, whole.dx.value[i : i + 1], whole.dx.bound[i : i + 1])
    for name in ("dweight", "dbias"):
        total, parts = getattr(whole, name), [getattr(one, name) for one in each]
        summed = [math.fsum(values) for values in zip(*(one.value for one in parts), strict=True)]
        # The parts are rounded to float64 before they are added here; inside float32's bound by far.
        lost = 2.0**-53 * (sum(np.abs(one.value) for one in parts) + np.abs(total.value))
        assert (np.abs(total.value - summed) <= lost + (0 if dtype == "float64" else 1e-6 * total.bound)).all()
        assert (total.bound >= sum(one.bound for one in parts)).all()  # a longer sum may lose more


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("positions", [2**13, 2**15])  # of which a channel is below a part, and above
def test_batch_norm_of_many_channels_is_that_of_each(training: bool, positions: int) -> None:
    rng = np.random.default_rng(1)
    x, dy = (rng.standard_normal((4, 5, positions)).astype(np.float32) for _ in range(2))
    assert x.size > BLOCK
    mean, var, weight, bias = rng.standard_normal(5), 1 + rng.random(5), rng.standard_normal(5), rng.standard_normal(5)
    whole = batch_norm(x, initial_statistics(mean, var), weight, bias, training=training)
    gradients = batch_norm_backward(x, dy, initial_statistics(mean, var), weight, training=training)
    assert whole.running is not None
    assert whole.running.steps == int(training)
    for c in range(5):
        one, own = slice(c, c + 1), initial_statistics(mean[c : c + 1], var[c : c + 1])
        part = batch_norm(x[:, one], own, weight[one], bias[one], training=training)
        assert part.running is not None
        assert same(part.output, whole.output.value[:, one], whole.output.bound[:, one])
        assert same(part.running.mean, whole.running.mean.value[one], whole.running.mean.bound[one])
        assert same(part.running.var, whole.running.var.value[one], whole.running.var.bound[one])
        found = batch_norm_backward(x[:, one], dy[:, one], own, weight[one], training=training)
        assert same(found.dx, gradients.dx.value[:, one], gradients.dx.bound[:, one])
        assert same(found.dweight, gradients.dweight.value[one], gradients.dweight.bound[one])
        assert same(found.dbias, gradients.dbias.value[one], gradients.dbias.bound[one])
