"""How far the mean and the variance of an honest implementation may lie from the exact ones.

Notation: u unit roundoff, eta smallest normal number, n reduction length, mu mean, sigma deviation, v variance,
gamma_k = k u / (1 - k u). The derivations are in docs/bounds.md; Higham, "Accuracy and Stability of Numerical
Algorithms" (2002), chapters 3 and 4, gives the error of a sum, Chan, Golub and LeVeque (1983) those of the three
kinds of variance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normgauge.oracle.arithmetic import ACCURACY_CLASSES, Arithmetic
from normgauge.oracle.formats import Format, format_of
from normgauge.oracle.moments import Float, Moments, gamma, max_of


def result_bound(value: Float, bound: Float, arithmetic: Arithmetic, form: Format | None = None) -> Float:
    """``bound`` after the result's rounding to ``form``, where that is narrower than what it was computed in.

    By default ``form`` is the storage type.

    A conversion to half precision keeps subnormal numbers; one to float32 may flush them. Infinite where the
    result may leave the range of ``form``.
    """
    form = form or arithmetic.result
    if form.digits >= arithmetic.held.digits:
        return bound
    size = np.abs(value) + bound
    lost = 2 * form.u * form.smallest_normal if form.is_half else form.smallest_normal
    return infinite_where(size > form.largest, bound + form.u * size + lost)


def read_bound(value: Float, bound: Float, arithmetic: Arithmetic) -> Float:
    """``bound`` of a given statistic as it is read: rounded to the type of intermediates, or flushed to zero."""
    form, size = arithmetic.held, np.abs(value) + bound
    if not arithmetic.rounds_sums:
        subnormal = np.abs(value) < form.smallest_normal + bound
        return np.where(subnormal, np.maximum(bound, np.abs(value)), bound) if subnormal.any() else bound
    more = np.where(np.isfinite(value), form.u * size + form.smallest_normal, 0.0)
    return infinite_where(size > form.largest, bound + more)


def infinite_where(condition: NDArray[np.bool_], bound: Float) -> Float:
    """``bound``, which no one else has, made infinite where ``condition`` is true."""
    np.copyto(bound, np.inf, where=condition)
    return bound


@dataclass(frozen=True, kw_only=True)
class StatisticsBound:
    """|computed - exact| of mean and variance (divisor n), each of shape (..., 1)."""

    mean: Float
    var: Float


@dataclass(frozen=True, kw_only=True)
class _Sets:
    """Sets that an implementation takes the statistics of: their moments, and |mu| and sigma as they may be.

    ``welford`` and ``one_pass`` tell whether statistics of that class are honest.
    """

    m: Moments
    size: Float
    spread: Float
    arithmetic: Arithmetic
    welford: bool
    one_pass: bool

    @property
    def additions(self) -> float:
        """Of recursive summation; every other order has less."""
        return self.m.n - 1.0


def statistics_bound(m: Moments, arithmetic: Arithmetic) -> StatisticsBound:
    """Bound on the mean and variance of ``m.n`` values, summed in any order: the largest of all admitted classes.

    Infinite where a partial sum may leave the range of the type, or where the classes differ on an
    infinite input; 0 where the inputs make the exact value a NaN.
    """
    size, spread = np.abs(m.mean + m.mean_tail) + m.mean_error, np.sqrt(m.var + m.var_error)
    rank, eta = ACCURACY_CLASSES.index(arithmetic.accuracy), arithmetic.held.smallest_normal
    s = _Sets(m=m, size=size, spread=spread, arithmetic=arithmetic, welford=rank >= 1, one_pass=rank >= 2)
    d_sum = _mean_of_a_sum(s)
    mean, var = d_sum, _two_pass(s, d_sum)
    if s.welford:
        d_mean, d_var = _welford(s)
        mean, var = np.maximum(mean, d_mean), np.maximum(var, d_var)
    if s.one_pass:
        var = np.maximum(var, _one_pass(s, d_sum))
    mean = mean + m.mean_error
    var = var + _flushed_of_a_mean(s) + 4 * eta * spread + m.var_error
    in_range = _in_range(s, d_sum, mean, var)
    if not in_range.all():  # else all inputs are finite, and so is every error constant
        # Zeros in a sum too long for an error constant: infinity times 0.
        finite = np.isfinite(m.max_abs)
        overflows = finite & ~(in_range & ~np.isnan(mean) & ~np.isnan(var))
        undefined = np.where(np.isnan(m.mean), 0.0, np.inf)  # of a single infinity Welford makes a NaN
        mean = np.where(overflows, np.inf, np.where(finite, mean, undefined))
        var = np.where(overflows, np.inf, np.where(finite, var, 0.0))
    return StatisticsBound(mean=np.ascontiguousarray(mean), var=np.ascontiguousarray(var))


def _mean_of_a_sum(s: _Sets) -> Float:
    """d mu = u [(n + 3)/2 |mu| + mean|x| + (n - 1)/2 a] + gamma^2 mean|x|, or gamma mean|x| where that is less.

    a is mean|x - mu|. Deviations add up to 0, so a sum of some of them is at most n a / 2, and a partial sum of
    k values k |mu| + n a / 2: with a mean near 0 this is far less than the worst case gamma * mean|x|. The square
    of gamma covers the second order. Typical partial sums are those of values in no order.
    """
    if s.arithmetic.typical:
        typical = s.arithmetic.of_sum(s.additions, 0, s.size, s.m.mean_abs)
        return typical + s.arithmetic.gamma(0, 2 + s.arithmetic.rounds_sums) * s.size + _flushed_of_a_mean(s)
    u, held, again, n = s.arithmetic.u, s.arithmetic.held, s.arithmetic.rounds_sums, s.m.n
    g = s.arithmetic.gamma(s.additions, 2 + again)
    partial_sums = u * ((n + 3) / 2 * s.size + s.m.mean_abs + (n - 1) / 2 * s.m.deviation_abs) + g**2 * s.m.mean_abs
    others = 2 * (held.u - u) + again * held.u
    if others:
        partial_sums = partial_sums + others * s.size
    return np.fmin(g * s.m.mean_abs, partial_sums) + _flushed_of_a_mean(s) * (1 + g)


def _flushed_of_a_mean(s: _Sets) -> float:
    """Sum and quotient 2 eta; n eta where every summand is multiplied by 1/n, in the type of sums."""
    return max(2 * s.arithmetic.held.smallest_normal, s.m.n * s.arithmetic.smallest_normal)


def _two_pass(s: _Sets, d_sum: Float) -> Float:
    """d v = gamma_(n + 4) (v + d mu^2) + d mu^2, of a mean with the error ``d_sum``."""
    d_squared = np.square(d_sum + s.arithmetic.held.smallest_normal)
    return s.arithmetic.gamma(s.additions, 5 + s.arithmetic.rounds_sums) * (s.m.var + d_squared) + d_squared


def _welford(s: _Sets) -> tuple[Float, Float]:
    """d mu = min(gamma_g mean|x|, E) and d v = gamma_(g + 6) v + (1 + gamma) (2 sqrt(2) sigma E + 2 E^2).

    Welford's recursion is the sum: all of it in the computing type.
    """
    n, again, eta_sums = s.m.n, s.arithmetic.rounds_sums, s.arithmetic.smallest_normal
    if s.arithmetic.typical:
        return _typical_welford(s)
    grown = n + 1.0 + 3 * float(np.log(n)) + 4
    g = gamma(grown, s.arithmetic.u)
    # Every running mean, in sequence or in a tree of combinations, is within d_node of its exact value.
    by_spread = n / 2 * s.m.deviation_abs + 2.5 * math.sqrt(n) * s.spread
    d_node = g / grown * ((n + 1) / 2 * s.size + by_spread)
    lost = (n / 2 + 3) * eta_sums  # each step may flush its delta / k
    d_mean = np.fmin(g * s.m.mean_abs, d_node) + lost
    if again:
        held = s.arithmetic.held
        d_mean = d_mean + again * (held.u * (s.size + d_mean) + held.smallest_normal)
    d_node = d_node + lost + eta_sums
    crossed = 2 * math.sqrt(2) * s.spread * d_node + 2 * np.square(d_node)
    g = s.arithmetic.gamma(grown + 6, again)
    return d_mean, g * s.m.var + (1 + g) * crossed


def _typical_welford(s: _Sets) -> tuple[Float, Float]:
    """d mu as for a sum and the shares of the deviations, d v = gamma v + 2 sigma d mu / sqrt(n) + 2 d mu^2.

    The deviations that multiply the errors of the running means are in no order.
    """
    n, again, held = s.m.n, s.arithmetic.rounds_sums, s.arithmetic.held
    d_node = s.arithmetic.of_sum(float(n), 0, s.size, s.m.mean_abs) + 2 * s.arithmetic.u * s.spread / math.sqrt(n)
    d_node = d_node + (n / 2 + 3) * s.arithmetic.smallest_normal
    crossed = 2 * s.spread * d_node / math.sqrt(n) + 2 * np.square(d_node)
    d_var = s.arithmetic.gamma(n + 6.0, again) * s.m.var + crossed
    return d_node + again * (held.u * s.size + held.smallest_normal), d_var


def _one_pass(s: _Sets, d_sum: Float) -> Float:
    """d v = gamma_(n + 3) (v + mu^2) + (1 + 3u) (2 |mu| d mu + d mu^2) + u v."""
    held = s.arithmetic.held.u
    crossed = 2 * s.size * d_sum + np.square(d_sum)
    g = s.arithmetic.gamma(s.additions, 4 + s.arithmetic.rounds_sums)
    return np.asarray(g * (s.m.var + np.square(s.size)) + (1 + 3 * held) * crossed + held * s.m.var)


def _in_range(s: _Sets, d_sum: Float, bound_mean: Float, bound_var: Float) -> NDArray[Any]:
    """Where no sum and nothing that is held on the way may leave the range of its type.

    What is summed: |x|, the squared deviations, the squares. The square of the sum, and (k x - T)^2 of Youngs and
    Cramer, at most n^3 v, are formed in float32 at least.
    """
    m = s.m
    squares = m.var * m.n if s.welford else m.var  # Chan's combination forms n times more
    squares = squares + np.square(s.size if s.one_pass else d_sum)
    share = 1 - s.arithmetic.gamma(s.additions, 5)
    in_range = m.n * np.maximum(m.mean_abs, squares) <= s.arithmetic.largest * share
    of_squares = max(s.arithmetic.largest, format_of("float32").largest) * share
    if s.welford:
        in_range &= float(m.n) ** 3 * (m.var + np.square(d_sum)) <= of_squares
    if s.one_pass:
        in_range &= np.square(m.n * (s.size + d_sum)) <= of_squares
    if s.arithmetic.rounds_sums:  # what is held in a narrow type: the mean, the variance, each square that is summed
        square = 2 * (np.square(max_of(np.abs(m.deviation))) + np.square(d_sum))
        square = np.maximum(square, np.square(m.max_abs)) if s.one_pass else square
        most = np.maximum(np.maximum(s.size + bound_mean, m.var + bound_var), square)
        in_range &= most <= s.arithmetic.held.largest
    return np.asarray(in_range)
