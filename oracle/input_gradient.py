"""The gradient of the input, and a bound on it; the notation is that of bounds.py and backward.py."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from normgauge.oracle.arithmetic import Arithmetic
from normgauge.oracle.backward import ABSORBED, Dependence, Sets, at_least_one, judged, times
from normgauge.oracle.moments import U64, Float, max_of, mean_of, pair_sum
from normgauge.oracle.reference import Reference


def input_gradient(s: Sets, dependence: Dependence | None) -> Reference:
    """dx and its bound; without ``dependence`` the statistics are constants."""
    g = times(s.dy, s.weight)
    value, bound = _of_constants(s, g) if dependence is None else _through_statistics(s, g, dependence)

    def certain() -> NDArray[np.bool_]:
        """A NaN is demanded where an input makes it for certain; anything else that is not a number says nothing."""
        nan: NDArray[np.bool_] = np.isnan(s.dy) | np.isnan(s.weight)
        nan = nan | s.used.var.demands_nan()
        if dependence is not None and dependence.mean_share != 0:
            nan |= np.any(nan, axis=-1, keepdims=True) | s.used.mean.demands_nan()
        return np.asarray(nan)

    return judged(value, bound, certain, s.arithmetic)


def _of_constants(s: Sets, g: Float) -> tuple[Float, Float]:
    """dx = r * weight * dy, and d dx = r |g| (rho + 2u (1 + rho)) + F in any order of multiplication."""
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


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """What dx and its bound are made of, over the axis of the sets."""

    size_g: Float  # |g|
    about: Float  # |x| + |mean in use|, and as computed
    about_batch: Float
    direct: Float  # |t1|, t1 = g - a m1
    through: Float  # |t2|, t2 = c x_hat m2, to be multiplied by the slope
    moved: Float  # |x - the batch's mean| r
    mean_g: Float  # of |g|
    mean_g_x_hat: Float
    m1: Float
    m2: Float


def _through_statistics(s: Sets, g: Float, dependence: Dependence) -> tuple[Float, Float]:
    """dx = r * (t1 - kappa t2) = r * (g - a m1 - c kappa x_hat m2) and its bound."""
    used, batch, r, slope = s.used, dependence.batch, s.reciprocal.value, s.reciprocal.slope
    moved = s.x_hat if used.deviation is batch.m.deviation else batch.m.deviation * r
    products = g * s.x_hat
    size_g, size_products = np.abs(g), np.abs(products)
    mean_g_x_hat = mean_of(size_products)
    m1, m2 = _mean(g, size_g, s.arithmetic), _mean(products, size_products, s.arithmetic)
    direct = g - dependence.mean_share * m1
    through = times(moved, dependence.mean_share * dependence.divisor_factor) * m2
    value = direct - times(through, slope)
    value *= r
    about = _about(used.x, used.mean.value, used.mean.bound)
    same = used.mean.value is batch.m.mean and used.mean.bound is batch.bound.mean
    parts = _Parts(
        size_g=size_g,
        about=about,
        about_batch=about if same else _about(used.x, batch.m.mean, batch.bound.mean),
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


@dataclass(frozen=True, kw_only=True)
class _MeanBounds:
    """d m1 and d m2; ``absorbed`` where nothing that underflow loses in dx changes its bound."""

    m1: Float
    m2: Float
    absorbed: bool


def _bound_through(s: Sets, p: _Parts, dependence: Dependence, value: Float) -> Float:
    """d dx = (1 + 16u) [r (rho |t1| + (1 + rho) d t1 + d t2) + F], and the oracle's own error.

    Every result is put where an operand was that is needed no more.
    """
    r, relative = s.reciprocal.value, s.reciprocal.relative
    scratch = p.size_g * (r * p.about)  # in this order nothing is lost to underflow
    means = _mean_bounds(s, p, dependence, scratch)
    d_through = _through_bound(s, p, dependence, means, scratch)
    d_direct = _direct_bound(s, p, dependence, means.m1, scratch)
    d_direct *= 1 + relative
    honest = relative * p.direct
    honest += d_direct
    honest += d_through
    honest *= r
    if not means.absorbed:
        honest += _flushed(s, p, dependence, p.m2 + means.m2)
    honest *= 1 + 16 * s.arithmetic.held.u
    honest += _own_error(s, p, dependence, value)
    return _where_in_range(honest, s, p, dependence)


def _mean_bounds(s: Sets, p: _Parts, dependence: Dependence, products: Float) -> _MeanBounds:
    """d m1 = gamma_(n + 7) mean|g|, d m2 = r d mu |m1| + gamma_(n + 6) mean(|g| r (|x| + |mu| + d mu)).

    Sums in any order; m2 as sum(g (x - mean)) or as sum(g x) - mean sum(g). ``products`` are those of the last mean.
    """
    additions, again = dependence.batch.m.n - 1.0, s.arithmetic.rounds_sums
    m1 = s.arithmetic.gamma(additions, 8 + again) * p.mean_g
    m2 = s.used.mean.bound * s.reciprocal.value * p.m1
    m2 = m2 + s.arithmetic.gamma(additions, 7 + again) * mean_of(products)
    means = _MeanBounds(m1=m1, m2=m2, absorbed=_flushes_are_absorbed(s, p, dependence, m1, m2))
    return means if means.absorbed else replace(means, m2=m2 + _flushed_operands(s, p))


def _deviation_bound(s: Sets, p: _Parts, dependence: Dependence, absorbed: bool, out: Float) -> Float:
    """d x_hat' = r [d mu + 6u (|x| + |mu| + d mu)] + r [d mu + gamma_(n + 2) (mean|x - mu| + d mu)].

    x - mean, or x and mean each with the coefficient; automatic differentiation also subtracts
    the mean of x - mean, which is 0 but not as computed.
    """
    held, r, batch = s.arithmetic.held, s.reciprocal.value, dependence.batch
    residue = mean_of(np.abs(batch.m.deviation)) + batch.bound.mean
    residue = batch.bound.mean + s.arithmetic.gamma(batch.m.n - 1.0, 3 + s.arithmetic.rounds_sums) * residue
    bound = np.multiply(p.about_batch, 6 * held.u, out=out)
    bound += batch.bound.mean
    bound *= r
    if not absorbed:
        bound += held.smallest_normal * (2 + 3 * r)
    bound += r * residue
    return bound


def _through_bound(s: Sets, p: _Parts, dependence: Dependence, means: _MeanBounds, out: Float) -> Float:
    """d t2 = d kappa |t2| + kappa [d c |x_hat' m2| + (c + d c) (d m2 |x_hat'| + (|m2| + d m2) d x_hat')]."""
    steep, d_share = s.reciprocal.steepest, dependence.mean_share_bound
    moved = _deviation_bound(s, p, dependence, means.absorbed, out)
    moved *= p.m2 + means.m2
    moved += means.m2 * p.moved
    moved *= steep * dependence.var_share_most
    bound = s.reciprocal.slope_bound * p.through
    if d_share:
        bound += steep * d_share * dependence.divisor_factor * p.moved * p.m2
    bound += moved
    return bound


def _direct_bound(s: Sets, p: _Parts, dependence: Dependence, d_1: Float, out: Float) -> Float:
    """d t1 = 8u (|g| + |a m1|) + |a| d m1 + d a |m1|."""
    a, d_share = abs(dependence.mean_share), dependence.mean_share_bound
    bound = np.add(p.size_g, a * p.m1, out=out)
    bound *= 8 * s.arithmetic.held.u
    bound += a * d_1
    if d_share:
        bound += d_share * p.m1
    return bound


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
    r, batch, a, top = s.reciprocal.value, dependence.batch, abs(dependence.mean_share), s.tops
    sum_2 = float((batch.m.n * (p.m2 + d_2) / r).max())
    least = min(
        float(d_2.min()),
        float((r * batch.bound.mean).min()),
        a * float((r * (1 + s.reciprocal.relative) * d_1).min()),
    )
    lost = s.arithmetic.held.smallest_normal * top.together * (top.factor + 1) * (20 + 10 * a)
    return lost * max(dependence.var_share_most, 1.0) * max(sum_2, 1.0) * top.tall * top.tall <= ABSORBED * least


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
        + r * (np.abs(s.used.mean.value) + s.used.mean.bound) * (factor + 3)  # mean sum(g), summed apart
    )
    return np.asarray(eta * (mean_of(operands) + 2 * (1 + r)) * _most_factor(s))


def _flushed(s: Sets, p: _Parts, dependence: Dependence, most_2: Float) -> Float:
    """F, what dx loses to underflow besides; ``most_2`` is |m2| + d m2."""
    held, most_factor = s.arithmetic.held, _most_factor(s)
    a, shares = abs(dependence.mean_share), dependence.var_share_most
    eta, r, steep = held.smallest_normal, s.reciprocal.value, s.reciprocal.steepest
    most_r = r * (1 + s.reciprocal.relative)
    flushed = _flushed_products(s, p.size_g)
    flushed = flushed + a * (mean_of(flushed) + 3 * eta * (1 + most_r) * most_factor)
    # The coefficient r^3 sum / n of x, in any order: what underflows is lost, or rounded to the subnormal
    # numbers, at up to eight products, and multiplied by the factors that are left.
    sum_2 = dependence.batch.m.n * most_2 / r
    left = max(shares, 1.0) * np.maximum(sum_2, 1) * s.reciprocal.tall**2 * most_factor
    lost = p.about_batch * left * (8 * eta)
    if not np.all(left * (16 * eta) <= steep * shares * (r * most_2) * r):  # else the roundings are the larger
        term = steep * shares * (r * most_2) * (r * p.about_batch)
        rounded = term + at_least_one(p.about_batch) * (8 * held.smallest_subnormal / 2) * left
        lost = np.fmin(rounded, lost)
    return np.asarray(flushed + lost + eta * (6 + 2 * most_r) * most_factor)


def _where_in_range(bound: Float, s: Sets, p: _Parts, dependence: Dependence) -> Float:
    """``bound``, infinite where something that may be formed on the way to dx may leave the range."""
    held, r, tall, top = s.arithmetic.held, s.reciprocal.value, s.reciprocal.tall, s.tops
    n, shares = dependence.batch.m.n, dependence.var_share_most
    growth = s.arithmetic.gamma(n - 1.0, 7 + s.arithmetic.rounds_sums)
    # Of s sqrt(s) below the normal numbers, 1 / 0 may be made.
    least = held.largest * held.smallest_normal

    # Every quantity further below is at most one of these two times tall^3, and a factor 2 covers all roundings.
    sums = 2 * n * (top.dy + 1) * (top.factor + 1) * (top.about + 1) * max(shares, 1.0) * (2 + growth)
    terms = 2 * sums * (top.about + 1) * max(float(s.reciprocal.steepest.max()), 1.0)
    if (terms + least) * top.tall * top.tall * top.tall <= held.largest / 2:
        return bound

    larger = np.maximum(p.size_g, s.sizes)  # with the weight in it or without
    most_2 = mean_of(larger * (np.abs(s.x_hat) + r * s.used.mean.bound))
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
