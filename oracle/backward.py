"""What both layers share going backward: the gradients, and how far an honest implementation may lie from them.

With g = weight * dy, x_hat = (x - mean) / deviation, m1 = mean(g) and m2 = mean(g * x_hat), both over a set::

    dx = r * (g - m1 - x_hat * m2)    dweight = sum(dy * x_hat)    dbias = sum(dy)

where the statistics are those of the set; where they are constants, dx = r * g. The derivations are in
docs/bounds.md; the notation is that of bounds.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from normgauge.oracle.bounds import Arithmetic, StatisticsBound, result_bound
from normgauge.oracle.moments import U64, Float, Moments, pair_sum
from normgauge.oracle.normalize import reciprocal_deviation
from normgauge.oracle.reference import Reference, exactly


@dataclass(frozen=True)
class Gradients:
    """The gradients of sum(y * dy): ``dx`` of the shape of x, ``dweight`` and ``dbias`` of shape (C,)."""

    dx: Reference
    dweight: Reference
    dbias: Reference


@dataclass(frozen=True)
class Used:
    """The statistics that normalise, each of shape (..., 1), and x minus their mean."""

    deviation: Float
    mean: Float
    mean_bound: Float
    var: Float
    var_bound: Float


@dataclass(frozen=True)
class Dependence:
    """How the statistics in use move with those of the batch (``moments``, divisor n).

    d mean / d batch mean = ``mean_share`` and d var / d batch variance = ``mean_share * divisor_factor``.
    """

    moments: Moments
    bound: StatisticsBound
    mean_share: float = 1.0
    mean_share_bound: float = 0.0
    divisor_factor: float = 1.0

    @classmethod
    def on_batch(cls, moments: Moments, bound: StatisticsBound, divisor: str) -> Dependence:
        """The batch's statistics are the ones in use; ``divisor`` as in the axis ``variance``."""
        return cls(moments, bound, divisor_factor=divisor_factor(moments.n, divisor))


@dataclass(frozen=True)
class Reciprocal:
    """The reciprocal deviation r and its slope, each of shape (..., 1).

    The slope is measured in r^3: -2 dr/dvar = ``slope`` * r^3, exactly 1 for eps inside the root.
    ``relative`` bounds the relative error of r; ``slope_bound`` the error of (computed -2 dr/dvar) / r^3,
    and ``steepest`` that quotient itself. ``tall`` bounds 1 and every factor of the slope, for what may
    overflow or be flushed on the way.
    """

    value: Float
    relative: Float
    slope: Float
    slope_bound: Float
    steepest: Float
    tall: Float


def divisor_factor(n: int, divisor: str) -> float:
    """What the variance with divisor n is multiplied by; NaN for the unbiased variance of one value."""
    if divisor == "biased":
        return 1.0
    return n / (n - 1) if n > 1 else math.nan


def may_be_cut(m: Moments, bound: StatisticsBound) -> NDArray[np.bool_]:
    """Where an honest variance may come out at 0, or below and be cut there."""
    return np.asarray(m.var <= bound.var)


#: -2 dr/dvar / r^3 by placement.
_SLOPE: Final[dict[str, Callable[[Float, float], Float]]] = {
    "inside_sqrt": lambda var, eps: np.ones_like(var + eps),
    "outside_sqrt": lambda var, eps: (np.sqrt(var) + eps) / np.sqrt(var),
    "max_with_variance": lambda var, eps: np.where(var >= eps, 1.0, 0.0),
}


def reciprocal_and_slope(
    used: Used, eps: float, placement: str, cut: NDArray[np.bool_], arithmetic: Arithmetic
) -> Reciprocal:
    """r, d r / d var and their bounds.

    As for r, the worst cases of the slope are the ends of the interval that holds the computed
    variance; -2 dr/dvar falls as the variance grows, but for the step of max(var, eps) at eps. There the
    derivative may be that of either side or between. ``cut`` is true where max(variance, 0) may let
    no gradient through.
    """
    u, eta, tiny = arithmetic.held.u, arithmetic.held.smallest_normal, float(np.finfo(np.float64).tiny)
    r, relative = reciprocal_deviation(used.var, used.var_bound, eps, placement, arithmetic)
    slope = _SLOPE[placement](used.var, eps)
    low, high = np.maximum(used.var - used.var_bound, 0), used.var + used.var_bound
    least, most = (0.0, eta) if 0 < eps < eta else (eps * (1 - u), eps * (1 + u))

    def at(var: Float, eps: float) -> Float:
        """-2 dr/dvar at ``var``, in units of r^3."""
        return (
            _SLOPE[placement](var, eps) * (reciprocal_deviation(var, 0 * var, eps, placement, arithmetic)[0] / r) ** 3
        )

    if placement == "max_with_variance":
        steepest = np.where(high >= least, at(np.maximum(low, least), least), 0.0)
        flattest = np.where(low > most, at(high, most), 0.0)
    else:
        steepest, flattest = at(low, least), at(high, most)
    steepest, flattest = np.maximum(steepest, slope), np.where(cut, 0.0, np.minimum(flattest, slope))
    # Three factors r at 5u each, or the root and the quotient they are made of; two products; n / (n - 1).
    rounding = (20 * u + 16 * U64) * steepest
    bound = np.maximum(steepest - slope, slope - flattest) + rounding
    tall = np.maximum(r * (1 + relative), 1)
    if placement == "outside_sqrt":
        tall = np.maximum(tall, 1 / np.sqrt(np.maximum(low, tiny)))
    bound = np.where(np.isposinf(used.var_bound), np.inf, bound)
    return Reciprocal(r, relative, slope, bound, steepest + rounding, tall)


def input_gradient(
    x: Float,
    dy: Float,
    *,
    weight: Float | float,
    used: Used,
    reciprocal: Reciprocal,
    dependence: Dependence | None,
    arithmetic: Arithmetic,
) -> Reference:
    """dx and its bound for sets of shape (..., n); without ``dependence`` the statistics are constants."""
    g, factor = weight * dy, np.broadcast_to(np.abs(weight), dy.shape)
    if dependence is None:
        value = reciprocal.value * g
        bound = _constant_statistics_bound(dy, g, factor, reciprocal, arithmetic)
    else:
        value, bound = _through_statistics(x, dy, g, factor, used, reciprocal, dependence, arithmetic)
    certain = np.isnan(dy) | np.isnan(factor)
    certain |= np.isnan(used.var) & ~np.isposinf(used.var_bound)
    if dependence is not None and dependence.mean_share != 0:
        certain |= np.any(certain, axis=-1, keepdims=True) | (np.isnan(used.mean) & ~np.isposinf(used.mean_bound))
    # A NaN is demanded where an input makes it for certain; anything else that is not a number says nothing.
    return judged(value, bound, certain, arithmetic)


def _constant_statistics_bound(
    dy: Float, g: Float, factor: Float, reciprocal: Reciprocal, arithmetic: Arithmetic
) -> Float:
    """Bound on r * weight * dy, in any order of multiplication."""
    u, r, relative = arithmetic.held.u, reciprocal.value, reciprocal.relative
    honest = r * np.abs(g) * (relative + (1 + relative) * 2 * u)
    bound = (1 + 16 * u) * (honest + _flushed_products(dy, g, factor, reciprocal, arithmetic)) + 3 * U64 * r * np.abs(g)
    reach = np.maximum(r * (1 + relative), 1) * np.maximum(factor, 1) * np.maximum(np.abs(dy), 1)
    return np.asarray(np.where(reach > arithmetic.held.largest * (1 - 16 * u), np.inf, bound), dtype=np.float64)


def _flushed_products(dy: Float, g: Float, factor: Float, reciprocal: Reciprocal, arithmetic: Arithmetic) -> Float:
    """What r * weight * dy loses to underflow of an operand, of a product of two, and of the result."""
    eta, r = arithmetic.held.smallest_normal, reciprocal.value * (1 + reciprocal.relative)
    scale_flushed = np.fmin(eta * np.abs(dy), 2 * r * np.abs(g))  # weight * r, never more than all there is
    return np.asarray(eta * (r * (1 + factor) + 1 + factor + np.abs(dy) * (factor < eta) * r) + scale_flushed)


def _through_statistics(
    x: Float,
    dy: Float,
    g: Float,
    factor: Float,
    used: Used,
    reciprocal: Reciprocal,
    dependence: Dependence,
    arithmetic: Arithmetic,
) -> tuple[Float, Float]:
    """dx = r * (g - a m1 - c x_hat m2) and its bound; a and c are the shares of mean and variance."""
    u, eta = arithmetic.held.u, arithmetic.held.smallest_normal
    m, n = dependence.moments, dependence.moments.n
    share, divisor = dependence.mean_share, dependence.divisor_factor
    r, relative, slope, d_slope = reciprocal.value, reciprocal.relative, reciprocal.slope, reciprocal.slope_bound
    x_hat, moved = used.deviation * r, m.deviation * r  # about the mean in use, about the batch's
    m1, m2 = _mean(g, arithmetic), _mean(g * x_hat, arithmetic)
    direct = g - share * m1
    through_var = share * divisor * moved * m2  # to be multiplied by the slope
    value = r * (direct - slope * through_var)

    size_g, size_1, size_2, a = np.abs(g), np.abs(m1), np.abs(m2), abs(share)
    mean_g = _mean_of_sizes(size_g)
    most_factor = np.maximum(np.max(factor, axis=-1, keepdims=True), 1)  # a weight that multiplies last
    about = np.abs(x) + np.abs(used.mean) + used.mean_bound
    about_batch = np.abs(x) + np.abs(m.mean) + dependence.bound.mean
    products = _mean_of_sizes(size_g * (r * about))  # in this order nothing is lost to underflow
    # m1 and m2 as sums in any order; m2 as sum(g (x - mean)) or as sum(g x) - mean sum(g).
    additions, again = n - 1.0, arithmetic.rounds_sums
    d_1 = arithmetic.gamma(additions, 8 + again) * mean_g
    operands = (
        (factor + np.abs(dy) + 1) * (np.abs(x_hat) + r)
        + size_g * (2 * r + 1)
        + 1
        + r
        + r * (np.abs(used.mean) + used.mean_bound) * (factor + 3)  # mean sum(g), summed apart
    )
    d_2 = used.mean_bound * r * size_1 + arithmetic.gamma(additions, 7 + again) * products
    d_2 = d_2 + eta * (_mean_of_sizes(operands) + 2 * (1 + r)) * most_factor
    most_r = r * (1 + relative)
    # x - mean, or x and mean each with the coefficient; automatic differentiation also subtracts
    # the mean of x - mean, which is 0 but not as computed.
    d_moved = r * (dependence.bound.mean + 6 * u * about_batch) + eta * (2 + 3 * r)
    residue = _mean_of_sizes(np.abs(m.deviation)) + dependence.bound.mean
    residue = dependence.bound.mean + arithmetic.gamma(additions, 3 + again) * residue
    d_moved = d_moved + r * residue

    d_direct = 8 * u * (size_g + a * size_1) + a * d_1 + dependence.mean_share_bound * size_1
    steep, most_2 = reciprocal.steepest, size_2 + d_2
    shares = (a + dependence.mean_share_bound) * divisor
    d_var = d_slope * np.abs(through_var) + steep * dependence.mean_share_bound * divisor * np.abs(moved) * size_2
    d_var = d_var + steep * shares * (d_2 * np.abs(moved) + most_2 * d_moved)
    flushed = _flushed_products(dy, g, factor, reciprocal, arithmetic)
    flushed = flushed + a * (_mean_of_sizes(flushed) + 3 * eta * (1 + most_r) * most_factor)
    # The coefficient r^3 sum / n of x, in any order: what underflows is lost, or rounded to the subnormal
    # numbers, at up to eight products, and multiplied by the factors that are left.
    sum_2 = n * most_2 / r
    left = max(shares, 1.0) * np.maximum(sum_2, 1) * reciprocal.tall**2 * most_factor
    lost = about_batch * left * (8 * eta)
    if not np.all(left * (16 * eta) <= steep * shares * (r * most_2) * r):  # else the roundings are the larger
        term = steep * shares * (r * most_2) * (r * about_batch)
        rounded = term + at_least_one(about_batch) * (8 * arithmetic.held.smallest_subnormal / 2) * left
        lost = np.fmin(rounded, lost)
    flushed = flushed + lost + eta * (6 + 2 * most_r) * most_factor
    honest = r * (relative * np.abs(direct) + (1 + relative) * d_direct + d_var) + flushed

    own = (
        r * (size_g + a * mean_g + 2 * a * size_1 + 2 * np.abs(direct) + 13 * slope * np.abs(through_var))
        + 4 * r * slope * a * divisor * np.abs(moved) * _mean_of_sizes(size_g * np.abs(x_hat))
        + np.abs(value)
    )
    bound = (1 + 16 * u) * honest + U64 * own

    larger = np.maximum(size_g, np.abs(dy))  # with the weight in it or without
    most_2 = _mean_of_sizes(larger * (np.abs(x_hat) + r * used.mean_bound))
    most_2 = most_2 + arithmetic.gamma(additions, 7 + again) * _mean_of_sizes(larger * (r * about))
    return value, _where_in_range(bound, about, about_batch, larger, factor, n, shares, most_2, reciprocal, arithmetic)


def _where_in_range(
    bound: Float,
    about: Float,
    about_batch: Float,
    larger: Float,
    factor: Float,
    n: int,
    shares: float,
    most_2: Float,
    reciprocal: Reciprocal,
    arithmetic: Arithmetic,
) -> Float:
    """``bound``, infinite where something that may be formed on the way to dx may leave the range."""
    held, r, tall = arithmetic.held, reciprocal.value, reciprocal.tall
    reach = np.maximum(n * _mean_of_sizes(larger * at_least_one(about)), 1)
    reach = reach * np.maximum(r * (1 + reciprocal.relative), 1)
    summed = np.maximum(n * most_2 / r, 1) * max(shares, 1.0)
    # Of s sqrt(s) below the normal numbers, 1 / 0 may be made.
    reach = np.maximum(reach, np.maximum(summed, held.largest * held.smallest_normal) * tall**3)
    reach = np.maximum(reach, np.max(factor * about, axis=-1, keepdims=True))
    reach = np.maximum(reach, np.max(factor, axis=-1, keepdims=True) * tall)

    def in_range(about_batch: Float, larger: Float) -> NDArray[np.bool_]:
        term = reciprocal.steepest * shares * (r * most_2) * (r * about_batch)
        most = np.maximum(np.maximum(reach, n * term), n * larger * tall)
        return np.asarray(most <= held.largest * (1 - 16 * held.u))

    if np.all(in_range(*(np.max(sizes, axis=-1, keepdims=True) for sizes in (about_batch, larger)))):
        return bound
    return np.where(in_range(about_batch, larger), bound, np.inf)


def no_gradients(x: Float, channels: int) -> Gradients:
    """The gradients of an input without values."""
    return Gradients(exactly(x), exactly(np.zeros(channels)), exactly(np.zeros(channels)))


def judged(value: Float, bound: Float, certain: NDArray[np.bool_], arithmetic: Arithmetic) -> Reference:
    """A gradient as it is held against others: a NaN where it is ``certain``, nothing said where it is out of range."""
    bound = result_bound(value, bound, arithmetic)
    if not np.any(certain) and all(np.isfinite(np.max(one)) for one in (value, -value, bound)):
        return Reference(value, bound)
    silent = np.isnan(bound) | ~np.isfinite(value)
    return Reference(np.where(certain, np.nan, value), np.where(certain, 0.0, np.where(silent, np.inf, bound)))


def pair(values: Float, arithmetic: Arithmetic) -> Float:
    """The sum over the last axis as high and low part, stacked; low is 0 but where float64 is held to it."""
    if arithmetic.dtype != "float64":
        total = np.sum(values, axis=-1)
        return np.stack([total, np.zeros_like(total)])
    return np.stack([part[..., 0] for part in pair_sum(values)])


def at_least_one(sizes: Float) -> Float:
    """The larger of each and 1; NumPy takes two arrays ten times as fast as an array and a number."""
    return np.maximum(sizes, np.ones_like(sizes))


def _sum(values: Float, arithmetic: Arithmetic) -> Float:
    """The sum over the last axis, as a sum of pairs where float64 is held to it."""
    high, low = pair(values, arithmetic)
    return np.asarray(high + low, dtype=np.float64)


def _mean(values: Float, arithmetic: Arithmetic) -> Float:
    return np.asarray(_sum(values, arithmetic)[..., None] / values.shape[-1], dtype=np.float64)


def _mean_of_sizes(sizes: Float) -> Float:
    return np.asarray(np.mean(sizes, axis=-1, keepdims=True), dtype=np.float64)
