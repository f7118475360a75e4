"""The fold of a BatchNorm: exact numbers, honest float32 within the bound, and every known mistake outside of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import normgauge
from normgauge.oracle import wrong_folds
from normgauge.oracle.folded import WRONG_FOLDS

RNG = np.random.default_rng(5)
C = 16
ARRAYS: dict[str, Any] = {
    "conv_weight": RNG.standard_normal((C, 3, 3, 3)).astype(np.float32),
    "conv_bias": RNG.standard_normal(C).astype(np.float32),
    "running_mean": RNG.standard_normal(C).astype(np.float32),
    "running_var": RNG.uniform(0.05, 3, C).astype(np.float32),
    "weight": RNG.uniform(0.5, 2, C).astype(np.float32),
    "bias": RNG.standard_normal(C).astype(np.float32),
}
EPS = 1e-3


def along(scale: NDArray[Any]) -> NDArray[Any]:
    return scale[:, None, None, None]


def test_a_folded_layer_gives_what_the_two_give() -> None:
    folded = normgauge.fold_batch_norm(**ARRAYS, eps=EPS)
    x = RNG.standard_normal((3, 3, 3, 3)).astype(np.float32)  # one position: the kernel's own size
    wide = {name: one.astype(np.float64) for name, one in ARRAYS.items()}
    before = np.einsum("nihw,oihw->no", x, wide["conv_weight"]) + wide["conv_bias"]
    running = normgauge.initial_statistics(wide["running_mean"], wide["running_var"])
    after = normgauge.batch_norm(before, running, wide["weight"], wide["bias"], training=False, eps=EPS)
    own = np.einsum("nihw,oihw->no", x, folded.weight.value) + folded.bias.value
    np.testing.assert_allclose(own, after.output.value, rtol=0, atol=1e-13)


@pytest.mark.parametrize("reciprocal", [False, True])
@pytest.mark.parametrize("shift_first", [False, True])
def test_honest_float32_folds_are_within_the_bound(reciprocal: bool, shift_first: bool) -> None:
    g, root = ARRAYS, np.sqrt(ARRAYS["running_var"] + np.float32(EPS))
    scale = g["weight"] * (np.float32(1) / root) if reciprocal else g["weight"] / root
    if shift_first:
        bias = g["conv_bias"] * scale + (g["bias"] - g["running_mean"] * scale)
    else:
        bias = (g["conv_bias"] - g["running_mean"]) * scale + g["bias"]
    assert normgauge.identify_fold(g["conv_weight"] * along(scale), bias, **g, eps=EPS).verdict == "canonical"


def test_every_known_mistake_is_outside_and_named() -> None:
    named = {}
    for name, (weight, bias) in wrong_folds(**ARRAYS, eps=EPS).items():
        found = normgauge.identify_fold(weight.astype(np.float32), bias.astype(np.float32), **ARRAYS, eps=EPS)
        named[name] = found.causes
    assert named == {name: (name,) for name in WRONG_FOLDS}


def test_output_channels_may_stand_last() -> None:
    moved = {**ARRAYS, "conv_weight": np.moveaxis(ARRAYS["conv_weight"], 0, -1)}
    folded, last = normgauge.fold_batch_norm(**ARRAYS), normgauge.fold_batch_norm(**moved, axis=-1)
    np.testing.assert_array_equal(np.moveaxis(last.weight.value, -1, 0), folded.weight.value)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"running_var": -ARRAYS["running_var"]}, "allowed: above 0"),
        ({"conv_bias": ARRAYS["conv_bias"][:3]}, "conv_bias must have shape"),
        ({"conv_weight": ARRAYS["conv_bias"]}, "allowed: two axes at least"),
    ],
)
def test_arrays_that_make_no_sense_are_one_error(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        normgauge.fold_batch_norm(**{**ARRAYS, **changed})
    with pytest.raises(normgauge.CannotIdentify, match=said):
        normgauge.identify_fold(folded_bias=ARRAYS["bias"], **{**ARRAYS, **changed})
