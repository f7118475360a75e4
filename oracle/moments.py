"""Accurate mean and variance of float64 data, with the error that remains.

Two algorithms. ``shifted`` makes a second pass about a first estimate of the mean: enough as a
reference for float32 and below. ``compensated`` carries every sum as an unevaluated pair of float64
numbers, almost exact: the reference for float64 subjects.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
U64 = 2.0**-53
_TINY: Final = float(np.finfo(np.float64).tiny)

#: Up to so many values are added in a tree in less time than it takes to cut them.
_FEW: Final = 7

#: log2 of the number of values that are cut at once, and what they must be below.
_LONGEST: Final = 14
_FAR_IN_RANGE: Final = 2.0**1000


def gamma(k: float, u: float) -> float:
    """The error constant k*u / (1 - k*u) of k roundings (Higham, section 3.1); infinite from k*u = 1 on."""
    return k * u / (1 - k * u) if k * u < 1 else math.inf


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Statistics over the last axis of an array of shape (..., n); each field has shape (..., 1).

    The mean is the unevaluated sum ``mean + mean_tail``. ``mean_error`` and ``var_error`` bound what
    this module itself got wrong; ``deviation`` is x - mean with shape (..., n), and ``deviation_abs`` is no less
    than the mean of its absolute values.
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
    deviation_abs: Float


def mean_of(values: Float) -> Float:
    """The mean over the last axis, which stays with length 1; ``np.mean`` without its checks."""
    mean: Float = np.add.reduce(values, axis=-1, keepdims=True)
    mean /= values.shape[-1]
    return mean


def max_of(values: Float) -> Float:
    """The largest over the last axis, which stays with length 1, or NaN where there is one."""
    largest: Float = np.maximum.reduce(values, axis=-1, keepdims=True)
    return largest


def two_sum(a: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The rounded sum and its exact error (Knuth), (a - (total - part)) + (b - part)."""
    total = a + b
    part = total - a
    error = total - part
    np.subtract(a, error, out=error)
    np.subtract(b, part, out=part)
    error += part
    return total, error


def pair_sum(values: Float, largest: Float, *, cuts: int = 2) -> tuple[Float, Float]:
    """The sum over the last axis as a pair: high part and what it lacks, each of shape (..., 1).

    The leading digits of all values are cut off at a common place, ``cuts`` times. The sum of such parts is exact
    in any order, and only the sum of what is left is rounded (Rump, Ogita and Oishi, "Accurate floating-point
    summation, part I", 2008). The error is at most (log2(n) + 1)^2 u^2 sum|values|, with one cut
    u / 400 sum|values|; docs/bounds.md derives both. A few values, very large ones, and a number of values
    that does not divide into parts of 2^14 or fewer are added in a tree of pairs.

    Args:
        values: shape (..., n).
        largest: the largest of |values|, or NaN, of shape (..., 1).
        cuts: 1 or 2.
    """
    n = values.shape[-1]
    parts = 1 << max((n - 1).bit_length() - _LONGEST, 0)
    if n <= _FEW or n % parts or not (largest < _FAR_IN_RANGE).all():
        return _sum_in_pairs(values)
    if parts > 1:
        divided = values.reshape(*values.shape[:-1], parts, n // parts)
        high, low = pair_sum(divided, largest[..., None], cuts=cuts)
        return _sum_in_pairs(high[..., 0], low[..., 0])
    bits = (n - 1).bit_length()
    place, rest, sums = np.ldexp(1.0, np.frexp(largest)[1] + bits), values, []
    for _ in range(cuts):
        cut = rest + place
        cut -= place
        sums.append(np.add.reduce(cut, axis=-1, keepdims=True))
        rest = np.subtract(rest, cut, out=cut)
        place *= 2.0**bits * U64
    sums.append(np.add.reduce(rest, axis=-1, keepdims=True))
    total, error = two_sum(sums[0], sums[1])
    for further in sums[2:]:
        error += further
    return total, error


def tree_sum(values: Float) -> Float:
    """The rounded sum over the last axis: of neighbours, then of neighbouring sums, and so on.

    Where the last has no neighbour, 0 is added.
    """
    while values.shape[-1] > 1:
        values = _even(values)
        values = values[..., 0::2] + values[..., 1::2]
    return values


def _sum_in_pairs(high: Float, low: Float | None = None) -> tuple[Float, Float]:
    """:func:`tree_sum` of ``high``, and the sum of all roundings in it and of ``low``."""
    while high.shape[-1] > 1:
        high = _even(high)
        high, error = two_sum(high[..., 0::2], high[..., 1::2])
        if low is not None:
            low = _even(low)
            error += low[..., 0::2] + low[..., 1::2]
        low = error
    return high, np.zeros_like(high) if low is None else low


def _even(values: Float) -> Float:
    """``values``, with a 0 behind them where their number is odd."""
    n = values.shape[-1]
    if n % 2 == 0:
        return values
    longer = np.zeros((*values.shape[:-1], n + 1))
    longer[..., :n] = values
    return longer


def _two_product_by_integer(a: Float, n: int) -> tuple[Float, Float]:
    """a * n and its exact error (Dekker's product; n < 2^26)."""
    split = 134217729.0 * a
    high = split - (split - a)
    low = a - high
    product = a * n
    return product, (high * n - product) + low * n


def moments(x: Float, *, compensated: bool) -> Moments:
    """Mean and variance (divisor n) over the last axis of ``x``, shape (..., n) with n >= 1."""
    sizes = np.abs(x)
    mean_abs, max_abs = mean_of(sizes), max_of(sizes)
    m = _compensated(x, mean_abs, max_abs, sizes) if compensated else _shifted(x, mean_abs, max_abs, sizes)
    # An infinite mean stays what it is; x - mean and the variance are NaN then.
    np.copyto(m.mean_tail, 0.0, where=np.isinf(m.mean))
    # Underflow of a square loses less than the smallest normal number, however small the data.
    np.add(m.var_error, 2 * _TINY, out=m.var_error)
    return m


def _compensated(x: Float, mean_abs: Float, max_abs: Float, scratch: Float) -> Moments:
    """d mu = 2 (log2(n) + 3)^2 u^2 mean|x| + 2^-1074, d v = 7.5u v + 2 d mu sigma + d mu^2, with sums in pairs."""
    n = x.shape[-1]
    high, low = pair_sum(x, max_abs)
    if n > _FEW:
        rounded = tree_sum(x)
        high, error = two_sum(high, -rounded)
        high, low = rounded, high + (low + error)
    mean = high / n
    product, product_error = _two_product_by_integer(mean, n)
    mean_tail = ((high - product) - product_error + low) / n
    deviation, difference_error = two_sum(x, -mean)
    difference_error -= mean_tail
    deviation += difference_error
    deviation_abs = mean_of(np.abs(deviation, out=scratch)) * (1 + gamma(n + 3, U64))
    squares = np.multiply(deviation, deviation, out=scratch)
    square_sum, square_tail = pair_sum(squares, max_of(squares), cuts=1)
    var = (square_sum + square_tail) / n
    mean_error = (np.log2(n) + 3) ** 2 * U64**2 * 2 * mean_abs + 2 * U64 * _TINY
    # Per element: deviation within 2u of itself, its square within 5u, sum and quotient 2u.
    var_error = 7.5 * U64 * var + 2 * mean_error * np.sqrt(var) + np.square(mean_error)
    fields = {"mean": mean, "mean_tail": mean_tail, "mean_error": mean_error, "var": var, "var_error": var_error}
    fields |= {"mean_abs": mean_abs, "max_abs": max_abs, "deviation_abs": deviation_abs + mean_error}
    return Moments(n=n, **fields, deviation=deviation)


def _shifted(x: Float, mean_abs: Float, max_abs: Float, scratch: Float) -> Moments:
    """d mu = gamma_(n + 3) mean|x - mu|, d v = gamma_(n + 6) v and the square of the mean's error, in two passes."""
    n, mean = x.shape[-1], mean_of(x)
    deviation = x - mean
    mean_difference = mean_of(np.abs(deviation, out=scratch))
    max_difference = max_of(scratch)
    mean_tail = mean_of(deviation)
    deviation -= mean_tail
    var = mean_of(np.multiply(deviation, deviation, out=scratch))
    mean_error = gamma(n + 3, U64) * mean_difference
    element_error = mean_error + U64 * max_difference
    var_error = gamma(n + 6, U64) * var + 2 * element_error * np.sqrt(var) + np.square(element_error)
    fields = {"mean": mean, "mean_tail": mean_tail, "mean_error": mean_error, "var": var, "var_error": var_error}
    deviation_abs = (mean_difference + np.abs(mean_tail)) * (1 + gamma(n + 3, U64)) + mean_error
    fields |= {"mean_abs": mean_abs, "max_abs": max_abs, "deviation_abs": deviation_abs}
    return Moments(n=n, **fields, deviation=deviation)
