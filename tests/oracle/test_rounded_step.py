"""A float32 layer with one step rounded lies within the bound of that step's reference, and of no other step's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from normgauge.oracle import STEPS, Arithmetic, RoundedStep, batch_norm, group_norm, initial_statistics, rounded

Array = np.ndarray[Any, np.dtype[Any]]
RNG = np.random.default_rng(5)
X = (RNG.standard_normal((6, 8, 3, 7)) * 2.0 ** RNG.integers(-4, 2, (1, 8, 1, 1)) + 0.7).astype(np.float32)
WEIGHT, BIAS = (RNG.standard_normal(8).astype(np.float32) for _ in range(2))
EPS = np.float32(0.01)
#: At 11 bits they differ by the square of 2^-12 of the mean: no more than the variance of one pass may err.
ALIKE = ("mean", "mean_alone")


def layer(rounded_step: str, form: str) -> tuple[Array, Array, Array]:
    """GroupNorm of four groups in float32, with its mean and variance of shape (N, G)."""

    def step(name: str, values: Array) -> Array:
        return rounded(values, form).astype(np.float32) if name == rounded_step else values

    sets = step("x", X.reshape(6, 4, -1))
    both = "statistics" if rounded_step == "statistics" else ""
    exact_mean = sets.mean(axis=-1, keepdims=True)
    mean = step(both or "mean", step("terms", sets).mean(axis=-1, keepdims=True))
    squares = step("squares", np.square(step("squares", sets - mean)))
    var = step(both or "var", squares.mean(axis=-1, keepdims=True))
    if rounded_step == "mean_alone":
        mean = step("mean_alone", exact_mean)
    reciprocal = step("reciprocal", 1 / np.sqrt(var + EPS))
    x_hat = step("x_hat", (sets - mean) * reciprocal).reshape(X.shape)
    y = x_hat * step("affine", WEIGHT)[:, None, None] + step("affine", BIAS)[:, None, None]
    return step("output", y), mean[..., 0], var[..., 0]


def explains(step: str, form: str, observed: Array) -> bool:
    arithmetic = Arithmetic("float32", rounded_step=RoundedStep(step=step, form=form))
    return not group_norm(X, 4, WEIGHT, BIAS, eps=float(EPS), arithmetic=arithmetic).excludes(observed)


@pytest.mark.parametrize("form", ["tf32", "bfloat16", "float16"])
@pytest.mark.parametrize("step", STEPS)
def test_one_rounded_step_is_explained_by_itself_alone(step: str, form: str) -> None:
    observed = layer(step, "float16" if form == "tf32" else form)[0]  # of numbers like these the same digits
    alike = ALIKE if step in ALIKE and form != "bfloat16" else (step,)
    assert tuple(name for name in STEPS if explains(name, form, observed)) == alike


def test_no_step_of_an_honest_layer_is_rounded() -> None:
    assert not any(explains(step, "tf32", layer("none", "float16")[0]) for step in STEPS)


@pytest.mark.parametrize("step", ["x", "terms", "mean", "squares", "var", "statistics"])
def test_the_running_statistics_have_what_a_rounded_step_makes_of_the_batch(step: str) -> None:
    """A sample of GroupNorm with as many groups as channels is a channel of BatchNorm."""
    _, mean, var = layer(step, "bfloat16")
    x = X.reshape(1, 24, -1)
    n = x.shape[-1]
    for name in ("var", step):
        found = batch_norm(
            x, initial_statistics(np.zeros(24), np.ones(24)), training=True, momentum=1.0,
            arithmetic=Arithmetic("float32", rounded_step=RoundedStep(step=name, form="bfloat16")),
        ).running  # fmt: skip
        assert found is not None
        holds = not (found.mean.excludes(mean.ravel()) or found.var.excludes(var.ravel() * np.float32(n / (n - 1))))
        assert holds == (name == step)


def test_what_is_rounded_and_to_what_must_be_known() -> None:
    with pytest.raises(ValueError, match="step 'root' is not known; allowed: x, terms, mean"):
        RoundedStep(step="root", form="tf32")
    with pytest.raises(ValueError, match="format 'int8' is not known; allowed: tf32, bfloat16, float16, float32"):
        RoundedStep(step="mean", form="int8")
