"""``normgauge.testing``: the assertions on arrays, with what a right kernel and many wrong ones compute."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from normgauge.testing import (
    assert_batch_norm,
    assert_batch_norm_gradients,
    assert_folded_batch_norm,
    assert_group_norm,
    assert_group_norm_gradients,
)

Array = NDArray[Any]
RNG = np.random.default_rng(15)
C, G = 8, 4
X = (RNG.standard_normal((4, C, 3, 3)) + RNG.standard_normal((1, C, 1, 1))).astype(np.float32)
WEIGHT = (RNG.uniform(0.5, 2, C) * np.where(np.arange(C) % 3, 1, -1)).astype(np.float32)
BIAS = RNG.standard_normal(C).astype(np.float32)
MEAN, VAR = RNG.standard_normal(C).astype(np.float32), RNG.uniform(0.25, 2, C).astype(np.float32)
DY = RNG.standard_normal(X.shape).astype(np.float32)


def along(values: Array, x: Array = X) -> Array:
    return values.reshape(1, -1, *(1,) * (x.ndim - 2))


def group_norm(x: Array = X, *, eps: float = 1e-5, ddof: int = 0, order: Array | None = None) -> Array:
    """GroupNorm of ``x`` without weight and bias, in its arithmetic; ``order`` are the channels in which groups lie."""
    order = np.arange(x.shape[1]) if order is None else order
    sets = x[:, order].reshape(len(x), G, -1)
    mean, var = sets.mean(-1, keepdims=True), sets.var(-1, keepdims=True, ddof=ddof)
    x_hat = (sets - mean) / np.sqrt(var + x.dtype.type(eps))
    return x_hat.reshape(x.shape)[:, np.argsort(order)]


def affine(x_hat: Array, weight: Array = WEIGHT, bias: Array = BIAS) -> Array:
    return (x_hat * along(weight, x_hat) + along(bias, x_hat)).astype(x_hat.dtype)


def running(momentum: float, ddof: int = 1) -> dict[str, Any]:
    """Running statistics after a call in training, ``momentum`` the weight of the new value."""
    channels = X.astype(np.float64).transpose(1, 0, 2, 3).reshape(C, -1)
    new = {"running_mean_after": (MEAN, channels.mean(1)), "running_var_after": (VAR, channels.var(1, ddof=ddof))}
    return {name: ((1 - momentum) * old + momentum * one).astype(np.float32) for name, (old, one) in new.items()}


def batch_norm(x: Array = X) -> Array:
    return affine((x - x.mean((0, 2, 3), keepdims=True)) / np.sqrt(x.var((0, 2, 3), keepdims=True) + np.float32(1e-5)))


def in_eval(scale: Array, bias: Array = BIAS) -> Array:
    return affine((X - along(MEAN)) * along(scale).astype(np.float32), bias=bias)


def tf32(x: Array) -> Array:
    """``x`` with 11 bits."""
    return ((x.view(np.int32) + 0x1000) & ~0x1FFF).view(np.float32)


def message_of(assertion: Callable[..., None], *args: Any, **known: Any) -> str:
    with pytest.raises(AssertionError) as caught:
        assertion(*args, **known)
    return " ".join(str(caught.value).split())


# --- what passes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accuracy", ["one_pass", "welford", "two_pass", "rounding"])
def test_a_right_kernel_passes_in_every_class_that_it_belongs_to(accuracy: str) -> None:
    assert_group_norm(affine(group_norm()), X, G, WEIGHT, BIAS, accuracy=accuracy)
    assert_batch_norm(batch_norm(), X, WEIGHT, BIAS, accuracy=accuracy)


def test_an_honest_float16_result_passes_also_with_weights_of_float32() -> None:
    x = X.astype(np.float16)
    assert_group_norm(affine(group_norm(x.astype(np.float32))).astype(np.float16), x, G, WEIGHT, BIAS, sums="float32")


def test_half_sums_pass_unless_float32_is_asked_for() -> None:
    x = np.tile(X + np.float32(2), (1, 1, 2, 2)).astype(np.float16)
    sets = x.reshape(len(x), G, -1)
    total = np.cumsum(sets, axis=-1, dtype=np.float16)[..., -1:]  # one by one, as np.sum does not
    centred = sets - total / np.float16(sets.shape[-1])
    var = np.cumsum(centred * centred, axis=-1, dtype=np.float16)[..., -1:] / np.float16(sets.shape[-1])
    y = (centred / np.sqrt(var + np.float16(1e-5))).reshape(x.shape)
    assert_group_norm(y, x, G)
    found = message_of(assert_group_norm, y, x, G, sums="float32")
    assert "cause the formula fits with sums in float16, which lose digits" in found
    assert "sum in float32; or accept sums='float16'" in found


def test_channels_last_passes_by_its_word_in_any_spelling() -> None:
    x, y = np.moveaxis(X, 1, -1), np.moveaxis(affine(group_norm()), 1, -1)
    for words in ("channels last", "channels_last", "channels-last"):
        assert_group_norm(y, x, G, WEIGHT, BIAS, layout=words)


def test_statistics_after_training_and_eval_pass() -> None:
    before: dict[str, Any] = {"running_mean": MEAN, "running_var": VAR}
    assert_batch_norm(batch_norm(), X, WEIGHT, BIAS, momentum=0.3, **before, **running(0.3))
    y = in_eval(1 / np.sqrt(VAR + np.float32(1e-5)))
    assert_batch_norm(y, X, WEIGHT, BIAS, training=False, **before)


def test_an_infinite_output_passes_where_the_type_has_no_such_number() -> None:
    x = X.astype(np.float16)
    weight = np.full(C, 60000, np.float16)
    with np.errstate(over="ignore"):
        y = (group_norm(x.astype(np.float32)) * 60000).astype(np.float16)
    assert np.isinf(y).any()
    assert_group_norm(y, x, G, weight)


# --- what fails, and what it is called -----------------------------------------------------------------------------

INTERLEAVED = np.arange(C).reshape(-1, G).T.ravel()
SMALL = (X * np.float32(0.01)).astype(np.float32)
WRONG_GROUPS: dict[str, tuple[Array, Array, dict[str, Any], str]] = {
    "MLX's grouping": (affine(group_norm(order=INTERLEAVED)), X, {}, "channel c belongs to group c mod G"),
    "a forgotten eps": (affine(group_norm(SMALL, eps=0)), SMALL, {}, "eps is ignored"),
    "another eps": (affine(group_norm(SMALL, eps=2e-4)), SMALL, {}, "eps is 0.0002, not 1e-05"),
    "the divisor n - 1": (affine(group_norm(ddof=1)), X, {}, "divided by n - 1"),
    "a reversed weight": (affine(group_norm(), WEIGHT[::-1]), X, {}, "the weight is in another order"),
    "a forgotten bias": (affine(group_norm(), bias=np.zeros(C, np.float32)), X, {}, "the bias is ignored"),
    "x of 11 bits": (affine(group_norm(tf32(X))), X, {}, "11 bits are kept in intermediate results, as by tf32"),
}


@pytest.mark.parametrize("mistake", WRONG_GROUPS)
def test_a_wrong_group_norm_is_named(mistake: str) -> None:
    y, x, known, words = WRONG_GROUPS[mistake]
    found = message_of(assert_group_norm, y, x, G, WEIGHT, BIAS, **known)
    assert found.startswith("y differs from GroupNorm(num_groups=4, eps=1e-05): ")
    assert words in found
    assert all(part in found for part in ("worst element y[", " expected ", " ± ", "bits that hold "))
    assert "remedy" in found or mistake == "x of 11 bits"  # which is an option of a device


def test_channels_last_read_as_channels_first_are_named() -> None:
    x = X.reshape(4, C, 9)[..., :C]
    x = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    y = affine(group_norm(x))
    found = message_of(assert_group_norm, y, x, G, WEIGHT, BIAS, layout="channels last")
    assert "cause the channels stand first, not last" in found


BEFORE: dict[str, Any] = {"running_mean": MEAN, "running_var": VAR}
TRAINED: dict[str, Any] = {"momentum": 0.1, **BEFORE}
WRONG_BATCHES: dict[str, tuple[Array, dict[str, Any], str]] = {
    "Keras' momentum": (batch_norm(), {**TRAINED, **running(0.9)}, "momentum weighs the old value"),
    "a biased running variance": (batch_norm(), {**TRAINED, **running(0.1, ddof=0)}, "the variance with divisor n "),
    "a variance read as deviation": (
        in_eval(1 / (VAR + np.float32(1e-5))), {"training": False, **BEFORE}, "the root is forgotten",
    ),
    "eval with the batch": (batch_norm(), {"training": False, **BEFORE}, "eval uses the batch"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", WRONG_BATCHES)
def test_a_wrong_batch_norm_is_named(mistake: str) -> None:
    y, known, words = WRONG_BATCHES[mistake]
    assert words in message_of(assert_batch_norm, y, X, WEIGHT, BIAS, **known)


def test_a_fold_without_the_bias_of_the_convolution_is_named() -> None:
    conv, conv_bias = RNG.standard_normal((C, 3, 3, 3)), RNG.standard_normal(C)
    known: dict[str, Any] = {
        "conv_weight": conv,
        "conv_bias": conv_bias,
        "running_mean": MEAN,
        "running_var": VAR,
        "weight": WEIGHT,
    }
    scale = WEIGHT / np.sqrt(VAR.astype(np.float64) + 1e-5)
    folded, right = conv * scale[:, None, None, None], (conv_bias - MEAN) * scale + BIAS
    assert_folded_batch_norm(folded, right, bias=BIAS, **known)
    found = message_of(assert_folded_batch_norm, folded, BIAS - MEAN * scale, bias=BIAS, **known)
    assert "cause" in found
    assert "remedy" in found


def test_a_nan_and_another_shape_are_assertion_errors() -> None:
    y = affine(group_norm())
    y[1, 2, 0, 0] = np.nan
    found = message_of(assert_group_norm, y, X, G, WEIGHT, BIAS)
    assert "y[1, 2, 0, 0] is nan; expected " in found
    assert "one element is NaN or infinite" in found
    assert "y has shape (4, 8, 9); expected (4, 8, 3, 3)" in message_of(assert_group_norm, y.reshape(4, 8, 9), X, G)


def test_what_only_a_wider_class_allows_is_named_with_that_class() -> None:
    x = X + np.float32(300)
    sets = x.reshape(len(x), G, -1)
    mean = sets.mean(-1, keepdims=True)
    var = np.maximum((sets * sets).mean(-1, keepdims=True) - mean * mean, 0)
    y = ((sets - mean) / np.sqrt(var + np.float32(1e-5))).reshape(x.shape)
    assert_group_norm(y, x, G)
    found = message_of(assert_group_norm, y, x, G, accuracy="two_pass")
    assert "cause the formula fits within the proven bound of accuracy='one_pass'" in found
    assert "accept accuracy='one_pass'" in found


def test_bounds_that_exclude_nothing_do_not_pass() -> None:
    x = X + np.float32(3e6)
    found = message_of(assert_group_norm, affine(group_norm(x)), x, G, WEIGHT, BIAS)
    assert "no decision" in found


# --- gradients -----------------------------------------------------------------------------------------------------


def gradients(axes: tuple[int, ...], shape: tuple[int, ...]) -> dict[str, Any]:
    """dx, dweight and dbias of a normalisation over ``axes`` of x, seen as ``shape``, in float64."""
    x, g = (one.astype(np.float64).reshape(shape) for one in (X, DY * along(WEIGHT)))
    r = 1 / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    x_hat = (x - x.mean(axes, keepdims=True)) * r
    dx = r * (g - g.mean(axes, keepdims=True) - x_hat * (g * x_hat).mean(axes, keepdims=True))
    dweight = (DY * x_hat.reshape(X.shape)).sum((0, 2, 3))
    own = {"dx": dx.reshape(X.shape), "dweight": dweight, "dbias": DY.sum((0, 2, 3), dtype=np.float64)}
    return {name: value.astype(np.float32) for name, value in own.items()}


def test_right_gradients_pass_together_and_alone() -> None:
    of_groups, of_batch = gradients((2,), (4, G, -1)), gradients((0, 2, 3), X.shape)
    assert_group_norm_gradients(DY, X, G, WEIGHT, **of_groups)
    assert_batch_norm_gradients(DY, X, WEIGHT, **of_batch)
    for name, value in of_groups.items():
        assert_group_norm_gradients(DY, X, G, WEIGHT, **{name: value})


@pytest.mark.parametrize("name", ["dweight", "dbias"])
def test_a_wrong_gradient_of_a_parameter_that_is_not_given_fails(name: str) -> None:
    plain = {"dweight": DY * group_norm(), "dbias": DY}[name].sum((0, 2, 3))
    assert_group_norm_gradients(DY, X, G, **{name: plain})
    found = message_of(assert_group_norm_gradients, DY, X, G, **{name: plain / np.float32(4 * 9)})
    assert found.startswith(f"{name} differs from GroupNorm")


def test_what_has_no_expected_value_does_not_pass_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("normgauge.conformance.testing.claim._OF_GRADIENT", {})
    with pytest.raises(ValueError, match="given elements have no expected value in this call"):
        assert_group_norm_gradients(DY, X, G, dbias=DY.sum((0, 2, 3)))


def test_a_wrong_gradient_is_named() -> None:
    own = gradients((2,), (4, G, -1))
    found = message_of(assert_group_norm_gradients, DY, X, G, WEIGHT, dweight=own["dweight"] / np.float32(4 * 9))
    assert found.startswith("dweight differs from GroupNorm")
    assert "cause a mean in place of a sum" in found
    dx = gradients((0, 2, 3), X.shape)["dx"]
    found = message_of(assert_batch_norm_gradients, DY, X, WEIGHT, training=False, **BEFORE, dx=dx)
    assert found.startswith("dx differs from BatchNorm(eps=1e-05, eval)")


# --- mistakes of a user, and the import ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({"layout": "NHWC"}, "layout is 'NHWC'; allowed: channels first or channels last"),
        ({"accuracy": "exact"}, "accuracy is 'exact'; allowed: rounding, two_pass, welford, one_pass"),
        ({"sums": "float64"}, "sums is 'float64'; allowed for a result of float32: float32"),
        ({"num_groups": 3}, "allowed: a divisor"),
        ({"weight": np.ones(3, np.float32)}, "allowed: one number for each channel"),
        ({"y": None}, "y is None; give the output of the layer"),
    ],
)
def test_a_mistake_in_the_call_is_a_value_error_of_one_sentence(known: dict[str, Any], words: str) -> None:
    given: dict[str, Any] = {"y": affine(group_norm()), "x": X, "num_groups": G, **known}
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        assert_group_norm(**given)


def test_importing_the_module_imports_no_numpy() -> None:
    code = "import sys, normgauge.testing; print('numpy' in sys.modules, 'click' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_pass_at_the_size_of_a_real_layer_needs_no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    x = RNG.standard_normal((2, 64, 32, 32)).astype(np.float32)
    monkeypatch.setattr("normgauge.conformance.testing.claim.message", lambda *_: pytest.fail("it searched"))
    assert_group_norm(group_norm(x), x, G)
