"""The gradient of the input, and a bound on it; the notation is that of bounds.py and backward.py."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from normgauge.oracle.backward import ABSORBED, Dependence, Sets, at_least_one, judged, times
from normgauge.oracle.bounds import Arithmetic
from normgauge.oracle.moments import U64, Float, max_of, mean_of, pair_sum
from normgauge.oracle.reference import Reference


def input_gradient(s: Sets, dependence: Dependence | None) -> Reference:
    """dx and its bound; without ``dependence`` the statistics are constants."""
    g = times(s.dy, s.weight)
    value, bound = _of_constants(s, g) if dependence is None else _through_statistics(s, g, dependence)

    def certain() -> NDArray[np.bool_]:
        """A NaN is demanded where an input makes it for certain; anything else that is not a number says nothing."""
        nan: NDArray[np.bool_] = np.isnan(s.dy) | np.isnan(s.weight)
        nan = nan | np.isnan(s.used.var) & (s.used.var_bound != np.inf)
        if dependence is not None and dependence.mean_share != 0:
            nan |= np.any(nan, axis=-1, keepdims=True) | np.isnan(s.used.mean) & (s.used.mean_bound != np.inf)
        return np.asarray(nan)

    return judged(value, bound, certain, s.arithmetic)


def _of_constants(s: Sets, g: Float) -> tuple[Float, Float]:
    """r * weight * dy, and a bound in any order of multiplication."""
    held, r, relative, top = s.arithmetic.held, s.reciprocal.value, s.reciprocal.relative, s.tops
    u, size = held.u, np.abs(g)
    size *= r
    bound = size * (relative + (1 + relative) * 2 * u)
    if not 4 * held.smallest_normal * top.together <= ABSORBED * float(bound.min()):
        bound = bound + _flushed_products(s, np.abs(g))
    bound *= 1 + 16 * u
    bound += 3 * U64 * r * np.abs(g)
    largest = held.largest * (1 - 16 * u)
    if not top.together <= largest / 2:
        reach = np.maximum(r * (1 + relative), 1) * np.maximum(np.abs(s.weight), 1) * np.maximum(s.sizes, 1)
        bound = np.where(reach > largest, np.inf, bound)
    return r * g, bound


def _flushed_products(s: Sets, size_g: Float) -> Float:
    """What r * weight * dy loses to underflow of an operand, of a product of two, and of the result."""
    eta, r, factor = s.arithmetic.held.smallest_normal, s.reciprocal.value, _factor(s)
    r = r * (1 + s.reciprocal.relative)
    scale_flushed = np.fmin(eta * s.sizes, 2 * r * size_g)  # weight * r, never more than all there is
    return np.asarray(eta * (r * (1 + factor) + 1 + factor + s.sizes * (factor < eta) * r) + scale_flushed)


@dataclass(frozen=True)
class _Parts:
    """What dx and its bound are made of, over the axis of the sets."""

    size_g: Float  # |g|
    about: Float  # |x| + |mean in use|, and as computed
    about_batch: Float
    direct: Float  # g - a m1
    through: Float  # c x_hat m2, to be multiplied by the slope
    moved: Float  # |x - the batch's mean| r
    mean_g: Float  # of |g|
    mean_g_x_hat: Float
    m1: Float
    m2: Float


def _through_statistics(s: Sets, g: Float, dependence: Dependence) -> tuple[Float, Float]:
    """dx = r * (g - a m1 - c x_hat m2) and its bound; a and c are the shares of mean and variance."""
    used, m, r, slope = s.used, dependence.moments, s.reciprocal.value, s.reciprocal.slope
    moved = s.x_hat if used.deviation is m.deviation else m.deviation * r
    products = g * s.x_hat
    size_g, size_products = np.abs(g), np.abs(products)
    mean_g_x_hat = mean_of(size_products)
    m1, m2 = _mean(g, size_g, s.arithmetic), _mean(products, size_products, s.arithmetic)
    direct = g - dependence.mean_share * m1
    through = times(moved, dependence.mean_share * dependence.divisor_factor) * m2
    value = direct - times(through, slope)
    value *= r
    about = _about(s.x, used.mean, used.mean_bound)
    same = used.mean is m.mean and used.mean_bound is dependence.bound.mean
    parts = _Parts(
        size_g=size_g,
        about=about,
        about_batch=about if same else _about(s.x, m.mean, dependence.bound.mean),
        direct=np.abs(direct, out=direct),
        through=np.abs(through, out=through),
        moved=np.abs(moved),
        mean_g=mean_of(size_g),
        mean_g_x_hat=mean_g_x_hat,
        m1=np.abs(m1),
        m2=np.abs(m2),
    )
    return value, _bound_through(s, parts, dependence, value)


def _mean(values: Float, sizes: Float, arithmetic: Arithmetic) -> Float:
    """The mean over the sets, of a sum in pairs where float64 is held to it."""
    if arithmetic.dtype != "float64":
        return mean_of(values)
    high, low = pair_sum(values, max_of(sizes))
    return np.asarray((high + low) / values.shape[-1])


def _about(x: Float, mean: Float, error: Float) -> Float:
    """|x| + |mean|, as it may be computed."""
    return np.abs(x) + np.abs(mean) + error


def _bound_through(s: Sets, p: _Parts, dependence: Dependence, value: Float) -> Float:
    """The bound on dx; every result is put where an operand was that is needed no more."""
    held, again = s.arithmetic.held, s.arithmetic.rounds_sums
    u, eta = held.u, held.smallest_normal
    n, bound_mean = dependence.moments.n, dependence.bound.mean
    share, divisor, d_share = dependence.mean_share, dependence.divisor_factor, dependence.mean_share_bound
    r, relative = s.reciprocal.value, s.reciprocal.relative
    a, grown = abs(share), 1 + relative
    scratch = p.size_g * (r * p.about)  # in this order nothing is lost to underflow

    # m1 and m2 as sums in any order; m2 as sum(g (x - mean)) or as sum(g x) - mean sum(g).
    additions = n - 1.0
    d_1 = s.arithmetic.gamma(additions, 8 + again) * p.mean_g
    d_2 = s.used.mean_bound * r * p.m1 + s.arithmetic.gamma(additions, 7 + again) * mean_of(scratch)
    shares = _shares(dependence)
    absorbed = _flushes_are_absorbed(s, p, dependence, d_1, d_2)
    if not absorbed:
        d_2 = d_2 + _flushed_operands(s, p)
    most_2 = p.m2 + d_2
    # x - mean, or x and mean each with the coefficient; automatic differentiation also subtracts
    # the mean of x - mean, which is 0 but not as computed.
    residue = mean_of(np.abs(dependence.moments.deviation)) + bound_mean
    residue = bound_mean + s.arithmetic.gamma(additions, 3 + again) * residue
    d_moved = np.multiply(p.about_batch, 6 * u, out=scratch)
    d_moved += bound_mean
    d_moved *= r
    if not absorbed:
        d_moved += eta * (2 + 3 * r)
    d_moved += r * residue

    # The bound on what r multiplies: relative |direct| + (1 + relative) d_direct + d_var.
    steep = s.reciprocal.steepest
    d_moved *= most_2
    d_moved += d_2 * p.moved
    d_moved *= steep * shares
    d_var = s.reciprocal.slope_bound * p.through
    if d_share:
        d_var += steep * d_share * divisor * p.moved * p.m2
    d_var += d_moved
    d_direct = np.add(p.size_g, a * p.m1, out=scratch)
    d_direct *= 8 * u
    d_direct += a * d_1
    if d_share:
        d_direct += d_share * p.m1
    d_direct *= grown
    honest = relative * p.direct
    honest += d_direct
    honest += d_var
    honest *= r
    if not absorbed:
        honest += _flushed(s, p, dependence, most_2, shares)
    honest *= 1 + 16 * u
    honest += _own_error(s, p, dependence, value)
    return _where_in_range(honest, s, p, n, shares)


def _own_error(s: Sets, p: _Parts, dependence: Dependence, value: Float) -> Float:
    """What the oracle's own roundings cost; it needs ``direct`` and ``through`` no more."""
    r, slope, a = s.reciprocal.value, s.reciprocal.slope, abs(dependence.mean_share)
    own = p.size_g + a * p.mean_g
    own += 2 * a * p.m1
    own += np.multiply(p.direct, 2, out=p.direct)
    own += np.multiply(p.through, 13 * slope, out=p.through)
    own *= r
    own += 4 * r * slope * a * dependence.divisor_factor * p.moved * p.mean_g_x_hat
    own += np.abs(value)
    own *= U64
    return own


def _flushes_are_absorbed(s: Sets, p: _Parts, dependence: Dependence, d_1: Float, d_2: Float) -> bool:
    """Whether all that underflow may lose is lost in the rounding of what it is added to.

    ``d_1`` and ``d_2`` are the bounds on m1 and m2 without it. ``_flushed_operands`` is at most 10 eta
    times ``together`` (1 + weight), ``_flushed`` at most (18 + 7 a) eta times ``together`` and the factors in the
    last line. They are added to d_2, to r times the mean's bound, and to at least r (1 + relative) a d_1.
    """
    r, n, a, top = s.reciprocal.value, dependence.moments.n, abs(dependence.mean_share), s.tops
    shares, sum_2 = _shares(dependence), float((n * (p.m2 + d_2) / r).max())
    least = min(
        float(d_2.min()),
        float((r * dependence.bound.mean).min()),
        a * float((r * (1 + s.reciprocal.relative) * d_1).min()),
    )
    lost = s.arithmetic.held.smallest_normal * top.together * (top.factor + 1) * (20 + 10 * a)
    return lost * max(shares, 1.0) * max(sum_2, 1.0) * top.tall * top.tall <= ABSORBED * least


def _shares(dependence: Dependence) -> float:
    """The most that the variance in use moves by, of the batch's."""
    return (abs(dependence.mean_share) + dependence.mean_share_bound) * dependence.divisor_factor


def _factor(s: Sets) -> Float:
    """|weight| for each element."""
    return np.broadcast_to(np.abs(s.weight), s.dy.shape)


def _most_factor(s: Sets) -> Float:
    """A weight that multiplies last, or 1: of each set."""
    return np.maximum(max_of(_factor(s)), 1)


def _flushed_operands(s: Sets, p: _Parts) -> Float:
    """What m2 loses to underflow."""
    eta, r, factor = s.arithmetic.held.smallest_normal, s.reciprocal.value, _factor(s)
    operands = (
        (factor + s.sizes + 1) * (np.abs(s.x_hat) + r)
        + p.size_g * (2 * r + 1)
        + 1
        + r
        + r * (np.abs(s.used.mean) + s.used.mean_bound) * (factor + 3)  # mean sum(g), summed apart
    )
    return np.asarray(eta * (mean_of(operands) + 2 * (1 + r)) * _most_factor(s))


def _flushed(s: Sets, p: _Parts, dependence: Dependence, most_2: Float, shares: float) -> Float:
    """What dx loses to underflow besides."""
    held, a, most_factor = s.arithmetic.held, abs(dependence.mean_share), _most_factor(s)
    eta, r, steep = held.smallest_normal, s.reciprocal.value, s.reciprocal.steepest
    most_r = r * (1 + s.reciprocal.relative)
    flushed = _flushed_products(s, p.size_g)
    flushed = flushed + a * (mean_of(flushed) + 3 * eta * (1 + most_r) * most_factor)
    # The coefficient r^3 sum / n of x, in any order: what underflows is lost, or rounded to the subnormal
    # numbers, at up to eight products, and multiplied by the factors that are left.
    sum_2 = dependence.moments.n * most_2 / r
    left = max(shares, 1.0) * np.maximum(sum_2, 1) * s.reciprocal.tall**2 * most_factor
    lost = p.about_batch * left * (8 * eta)
    if not np.all(left * (16 * eta) <= steep * shares * (r * most_2) * r):  # else the roundings are the larger
        term = steep * shares * (r * most_2) * (r * p.about_batch)
        rounded = term + at_least_one(p.about_batch) * (8 * held.smallest_subnormal / 2) * left
        lost = np.fmin(rounded, lost)
    return np.asarray(flushed + lost + eta * (6 + 2 * most_r) * most_factor)


def _where_in_range(bound: Float, s: Sets, p: _Parts, n: int, shares: float) -> Float:
    """``bound``, infinite where something that may be formed on the way to dx may leave the range."""
    held, r, tall, top = s.arithmetic.held, s.reciprocal.value, s.reciprocal.tall, s.tops
    growth = s.arithmetic.gamma(n - 1.0, 7 + s.arithmetic.rounds_sums)
    # Of s sqrt(s) below the normal numbers, 1 / 0 may be made.
    least = held.largest * held.smallest_normal

    # Every quantity further below is at most one of these two times tall^3, and a factor 2 covers all roundings.
    sums = 2 * n * (top.dy + 1) * (top.factor + 1) * (top.about + 1) * max(shares, 1.0) * (2 + growth)
    terms = 2 * sums * (top.about + 1) * max(float(s.reciprocal.steepest.max()), 1.0)
    if (terms + least) * top.tall * top.tall * top.tall <= held.largest / 2:
        return bound

    larger = np.maximum(p.size_g, s.sizes)  # with the weight in it or without
    most_2 = mean_of(larger * (np.abs(s.x_hat) + r * s.used.mean_bound))
    most_2 = most_2 + growth * mean_of(larger * (r * p.about))
    reach = np.maximum(n * mean_of(larger * at_least_one(p.about)), 1)
    reach = reach * np.maximum(r * (1 + s.reciprocal.relative), 1)
    summed = np.maximum(n * most_2 / r, 1) * max(shares, 1.0)
    reach = np.maximum(reach, np.maximum(summed, least) * tall**3)
    factor = _factor(s)
    reach = np.maximum(reach, max_of(factor * p.about))
    reach = np.maximum(reach, max_of(factor) * tall)
    term = s.reciprocal.steepest * shares * (r * most_2) * (r * p.about_batch)
    most = np.maximum(np.maximum(reach, n * term), n * larger * tall)
    return np.where(most <= held.largest * (1 - 16 * held.u), bound, np.inf)
