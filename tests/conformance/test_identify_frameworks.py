"""``normgauge.identify`` on what torch, MLX and Keras really compute, with their own arrays."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

import normgauge
from normgauge.conformance.identify.answer import Identified

pytestmark = [pytest.mark.frameworks, pytest.mark.slow]

RNG = np.random.default_rng(11)
X = (RNG.standard_normal((4, 6, 5, 5)) + RNG.standard_normal((1, 6, 1, 1))).astype(np.float32)
WEIGHT, BIAS = RNG.uniform(0.5, 2, 6).astype(np.float32), RNG.standard_normal(6).astype(np.float32)


def identified(*args: Any, **known: Any) -> Identified:
    found = normgauge.identify(*args, **known)
    assert isinstance(found, Identified)
    return found


def meanings(found: Identified) -> list[str]:
    return [one.meaning for alternative in found.alternatives for one in alternative]


def test_torch_s_groupnorm_is_canonical_as_tensors_of_a_graph() -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.GroupNorm(3, 6)
    x = torch.from_numpy(X).requires_grad_()
    y, dy = layer(x), torch.from_numpy(RNG.standard_normal(X.shape).astype(np.float32))
    y.backward(dy)
    found = identified(
        x, y, num_groups=3, eps=1e-5, weight=layer.weight, bias=layer.bias, dy=dy, dx=x.grad, dweight=layer.weight.grad
    )
    assert found.verdict == "canonical", found


def test_torch_s_batchnorm_in_bfloat16_is_canonical_and_half_precision_is_recognised() -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.BatchNorm2d(6).to(torch.bfloat16)
    x = torch.from_numpy(X).to(torch.bfloat16)
    found = identified(x, layer(x), layer="batch_norm", training=True, eps=1e-5)
    assert found.verdict == "canonical", found
    assert "results of bfloat16" in found.arrays


def test_the_running_statistics_of_torch_tell_their_momentum() -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.BatchNorm2d(6, momentum=0.3)
    before = [one.clone() for one in (layer.running_mean, layer.running_var)]
    y = layer(torch.from_numpy(X))
    found = identified(
        X,
        y,
        running_mean=before[0],
        running_var=before[1],
        running_mean_after=layer.running_mean,
        running_var_after=layer.running_var,
        eps=1e-5,
    )
    assert found.verdict == "canonical", found
    assert next(one.value for one in found.settings if one.name == "momentum").startswith("0.3: ")


def test_mlx_s_groupnorm_groups_interleaved_with_channels_last() -> None:
    pytest.importorskip("mlx.core")
    mx, nn = importlib.import_module("mlx.core"), importlib.import_module("mlx.nn")
    layer, x = nn.GroupNorm(3, 6), mx.array(np.moveaxis(X, 1, -1))
    layer.weight, layer.bias = mx.array(WEIGHT), mx.array(BIAS)
    found = identified(x, layer(x), num_groups=3, eps=1e-5, weight=layer.weight, bias=layer.bias)
    assert meanings(found) == ["channel c belongs to group c mod G"]
    assert "channels last" in found.arrays


def test_keras_weighs_the_old_value_and_tracks_the_biased_variance() -> None:
    keras = pytest.importorskip("keras")
    layer = keras.layers.BatchNormalization(momentum=0.99, epsilon=1e-3)
    layer.build((None, 5, 5, 6))
    before = [np.asarray(one.value) + 0 for one in (layer.moving_mean, layer.moving_variance)]
    x = np.ascontiguousarray(np.moveaxis(X, 1, -1))
    y = np.asarray(layer(x, training=True))
    found = identified(
        x,
        y,
        running_mean=before[0],
        running_var=before[1],
        running_mean_after=np.asarray(layer.moving_mean.value),
        running_var_after=np.asarray(layer.moving_variance.value),
        momentum=0.99,
        layout="channels_last",
    )
    alternatives = [{one.meaning for one in alternative} for alternative in found.alternatives]
    assert any(
        "the variance with divisor n" in said and any("momentum * running + (1 - momentum)" in one for one in said)
        for said in alternatives
    ), found
