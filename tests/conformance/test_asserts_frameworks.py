"""The assertions of ``normgauge.testing`` on what torch, MLX, JAX and Keras really compute, in their own arrays."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

from normgauge.testing import assert_batch_norm, assert_group_norm, assert_group_norm_gradients

pytestmark = [pytest.mark.frameworks, pytest.mark.slow]

RNG = np.random.default_rng(12)
X = (RNG.standard_normal((4, 6, 5, 5)) + RNG.standard_normal((1, 6, 1, 1))).astype(np.float32)
LAST = np.ascontiguousarray(np.moveaxis(X, 1, -1))
WEIGHT, BIAS = RNG.uniform(0.5, 2, 6).astype(np.float32), RNG.standard_normal(6).astype(np.float32)


def test_torch_s_layers_pass_with_gradients_and_statistics_as_they_are() -> None:
    torch = pytest.importorskip("torch")
    x, dy = torch.from_numpy(X).requires_grad_(), torch.from_numpy(RNG.standard_normal(X.shape).astype(np.float32))
    layer = torch.nn.GroupNorm(3, 6)
    y = layer(x)
    y.backward(dy)
    own = {"dx": x.grad, "dweight": layer.weight.grad, "dbias": layer.bias.grad}
    assert_group_norm(y, x, 3, layer.weight, layer.bias, accuracy="rounding")
    assert_group_norm_gradients(dy, x, 3, layer.weight, **own)
    batch = torch.nn.BatchNorm2d(6, momentum=0.3)
    before = {"running_mean": batch.running_mean.clone(), "running_var": batch.running_var.clone()}
    y = batch(x)
    after = {"running_mean_after": batch.running_mean, "running_var_after": batch.running_var}
    assert_batch_norm(y, x, batch.weight, batch.bias, momentum=0.3, **before, **after)


def test_half_types_of_torch_and_mlx_pass_with_sums_in_float32() -> None:
    torch = pytest.importorskip("torch")
    for dtype in (torch.float16, torch.bfloat16):
        x = torch.from_numpy(X).to(dtype)
        assert_group_norm(torch.nn.functional.group_norm(x, 3), x, 3, sums="float32")
    pytest.importorskip("mlx.core")
    mx, nn = importlib.import_module("mlx.core"), importlib.import_module("mlx.nn")
    layer, x = nn.GroupNorm(3, 6, affine=False, pytorch_compatible=True), mx.array(LAST).astype(mx.bfloat16)
    assert_group_norm(layer(x), x, 3, layout="channels last")


def test_mlx_s_grouping_fails_by_its_name() -> None:
    pytest.importorskip("mlx.core")
    mx, nn = importlib.import_module("mlx.core"), importlib.import_module("mlx.nn")
    layer, x = nn.GroupNorm(3, 6), mx.array(LAST)
    layer.weight, layer.bias = mx.array(WEIGHT), mx.array(BIAS)
    with pytest.raises(AssertionError, match="channel c belongs to group c mod G"):
        assert_group_norm(layer(x), x, 3, layer.weight, layer.bias, layout="channels last")


def test_jax_passes_in_its_own_arrays() -> None:
    jnp = pytest.importorskip("jax.numpy")
    x = jnp.asarray(LAST)
    y = (x - x.mean((0, 1, 2))) / jnp.sqrt(x.var((0, 1, 2)) + 1e-5) * WEIGHT + BIAS
    assert_batch_norm(y, x, jnp.asarray(WEIGHT), jnp.asarray(BIAS), layout="channels last")


def test_keras_momentum_and_variance_fail_by_their_names() -> None:
    keras = pytest.importorskip("keras")
    layer = keras.layers.BatchNormalization(momentum=0.99, epsilon=1e-5)
    layer.build((None, 5, 5, 6))

    def statistics() -> list[Any]:
        return [np.asarray(one.value) + 0 for one in (layer.moving_mean, layer.moving_variance)]

    before = statistics()
    y = np.asarray(layer(LAST, training=True))
    after = statistics()
    known: dict[str, Any] = {"running_mean": before[0], "running_var": before[1], "momentum": 0.99}
    with pytest.raises(AssertionError, match="momentum weighs the old value") as caught:
        assert_batch_norm(
            y, LAST, **known, running_mean_after=after[0], running_var_after=after[1], layout="channels last"
        )
    assert "the variance with divisor n" in str(caught.value)
