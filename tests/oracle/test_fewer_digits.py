"""A float32 layer that holds fewer bits on the way lies within the bounds that say so, and an honest one, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from normgauge.oracle import Arithmetic, fewer_digits, group_norm
from normgauge.oracle.formats import INTERMEDIATES

Array = np.ndarray[Any, np.dtype[Any]]
Round = Callable[[Array], Array]
RNG = np.random.default_rng(5)
X = (RNG.standard_normal((3, 8, 4, 9)) * 2.0 ** RNG.integers(-6, 3, (1, 8, 1, 1)) + 0.5).astype(np.float32)
WEIGHT, BIAS = (RNG.standard_normal(8).astype(np.float32) for _ in range(2))


def rounding(name: str) -> Round:
    digits = INTERMEDIATES[name].digits

    def to_digits(values: Array) -> Array:
        fraction, exponent = np.frexp(np.asarray(values, np.float64))
        return np.ldexp(np.rint(np.ldexp(fraction, digits)), exponent - digits)

    return to_digits


def layer(to: Round) -> Array:
    """GroupNorm of two groups, every step of it rounded by ``to``."""
    sets = to(X.reshape(3, 2, -1))
    mean = to(sets.mean(axis=-1, keepdims=True))
    deviation = to(sets - mean)
    var = to(np.square(deviation).mean(axis=-1, keepdims=True))
    r = to(1 / np.sqrt(var + 0.01))
    x_hat = to(deviation * r).reshape(X.shape)
    y = to(to(x_hat * WEIGHT[:, None, None]) + BIAS[:, None, None])
    return y.astype(np.float32)


def within(observed: Array, arithmetic: Arithmetic) -> bool:
    return not group_norm(X, 2, WEIGHT, BIAS, eps=0.01, arithmetic=arithmetic).excludes(observed)


@pytest.mark.parametrize("name", INTERMEDIATES)
def test_steps_rounded_to_a_format_lie_within_its_bounds_alone(name: str) -> None:
    observed = layer(rounding(name))
    assert within(observed, Arithmetic("float32", intermediates=name))
    assert not within(observed, Arithmetic("float32"))
    assert within(layer(lambda values: values), Arithmetic("float32", intermediates=name))


def test_fewer_bits_are_known_of_float32_alone() -> None:
    assert [one.intermediates for one in fewer_digits("float32")] == list(INTERMEDIATES)
    assert not fewer_digits("float64")
    with pytest.raises(ValueError, match="intermediates 'int8' with dtype 'float32'; allowed: tf32, bfloat16, float16"):
        Arithmetic("float32", intermediates="int8")
    with pytest.raises(ValueError, match="intermediates 'tf32' with dtype 'float64'"):
        Arithmetic("float64", intermediates="tf32")
