"""Accurate mean and variance of float64 data, with the error that remains.

Two algorithms. ``shifted`` makes a second pass about a first estimate of the mean: enough as a
reference for float32 and below. ``compensated`` carries every sum as an unevaluated pair of float64
numbers (Knuth's TwoSum in a tree; Ogita, Rump and Oishi, "Accurate sum and dot product", 2005): the
reference for float64 subjects.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
U64 = 2.0**-53


def gamma(k: float, u: float) -> float:
    """The error constant k*u / (1 - k*u) of k roundings (Higham, section 3.1); infinite from k*u = 1 on."""
    return k * u / (1 - k * u) if k * u < 1 else math.inf


@dataclass(frozen=True)
class Moments:
    """Statistics over the last axis of an array of shape (..., n); each field has shape (..., 1).

    The mean is the unevaluated sum ``mean + mean_tail``. ``mean_error`` and ``var_error`` bound what
    this module itself got wrong; ``deviation`` is x - mean with shape (..., n).
    """

    n: int
    mean: Float
    mean_tail: Float
    var: Float
    deviation: Float
    mean_error: Float
    var_error: Float
    mean_abs: Float
    max_abs: Float


def two_sum(a: Float, b: Float) -> tuple[Float, Float]:
    """The rounded sum and its exact error (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def pair_sum(values: Float) -> tuple[Float, Float]:
    """The sum over the last axis as a pair: error at most (log2(n) + 1)^2 u^2 sum|values|."""
    high, low = values, np.zeros_like(values)
    while high.shape[-1] > 1:
        if high.shape[-1] % 2:
            pad = [(0, 0)] * (high.ndim - 1) + [(0, 1)]
            high, low = np.pad(high, pad), np.pad(low, pad)
        high, error = two_sum(high[..., 0::2], high[..., 1::2])
        low = low[..., 0::2] + low[..., 1::2] + error
    return high, low


def _two_product_by_integer(a: Float, n: int) -> tuple[Float, Float]:
    """a * n and its exact error (Dekker's product; n < 2^26)."""
    split = 134217729.0 * a
    high = split - (split - a)
    low = a - high
    product = a * n
    return product, (high * n - product) + low * n


def moments(x: Float, *, compensated: bool) -> Moments:
    """Mean and variance (divisor n) over the last axis of ``x``, shape (..., n) with n >= 1."""
    n, tiny = x.shape[-1], float(np.finfo(np.float64).tiny)
    scratch = np.abs(x)
    mean_abs = np.mean(scratch, axis=-1, keepdims=True)
    most, least = np.max(x, axis=-1, keepdims=True), np.min(x, axis=-1, keepdims=True)
    max_abs = np.maximum(most, -least)
    if compensated:
        high, low = pair_sum(x)
        mean = high / n
        product, product_error = _two_product_by_integer(mean, n)
        mean_tail = ((high - product) - product_error + low) / n
        difference, difference_error = two_sum(x, -mean)
        deviation = difference + (difference_error - mean_tail)
        square_sum, square_tail = pair_sum(deviation * deviation)
        var = (square_sum + square_tail) / n
        mean_error = (np.log2(n) + 3) ** 2 * U64**2 * 2 * mean_abs + 2 * U64 * tiny
        # Per element: deviation within 2u of itself, its square within 5u, sum and quotient 2u.
        var_error = 7.5 * U64 * var + 2 * mean_error * np.sqrt(var) + mean_error**2
    else:
        mean = np.mean(x, axis=-1, keepdims=True)
        deviation = x - mean
        mean_difference = np.mean(np.abs(deviation, out=scratch), axis=-1, keepdims=True)
        max_difference = np.maximum(most - mean, mean - least)  # of the largest and the smallest: rounding keeps order
        mean_tail = np.mean(deviation, axis=-1, keepdims=True)
        deviation -= mean_tail
        var = np.mean(np.multiply(deviation, deviation, out=scratch), axis=-1, keepdims=True)
        mean_error = gamma(n + 3, U64) * mean_difference
        element_error = mean_error + U64 * max_difference
        var_error = gamma(n + 6, U64) * var + 2 * element_error * np.sqrt(var) + element_error**2
    # An infinite mean stays what it is; x - mean and the variance are NaN then.
    mean_tail = np.where(np.isinf(mean), 0.0, mean_tail)
    # Underflow of a square loses less than the smallest normal number, however small the data.
    return Moments(n, mean, mean_tail, var, deviation, mean_error, var_error + 2 * tiny, mean_abs, max_abs)
