"""The gradient of the input, and a bound on it; the notation is that of bounds.py and backward.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from normgauge.oracle.arithmetic import Arithmetic
from normgauge.oracle.backward import ABSORBED, Dependence, Sets, at_least_one, judged, times
from normgauge.oracle.formats import Format
from normgauge.oracle.moments import U64, Float, max_of, mean_of, pair_sum
from normgauge.oracle.reference import Reference

#: Roundings to subnormal numbers in a product of the gradient, in halves of the smallest of these, and twice that.
_ROUNDINGS: Final = 16


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
    held, r, relative, top = s.arithmetic.held, s.reciprocal.size, s.reciprocal.relative, s.tops
    u, size = held.u, np.abs(g)
    size *= r
    bound = size * (relative + (1 + relative) * 2 * u)
    if not held.smallest_normal * top.together <= ABSORBED * float(bound.min()):
        bound = bound + _flushed_direct(s, np.abs(g))
    bound *= 1 + 16 * u
    bound += 3 * U64 * r * np.abs(g)
    largest = held.largest * (1 - 16 * u)
    if not top.together <= largest / 2:
        reach = np.maximum(r * (1 + relative), 1) * np.maximum(np.abs(s.weight), 1) * np.maximum(s.sizes, 1)
        bound = np.where(reach > largest, np.inf, bound)
    return s.reciprocal.value * g, bound


def _lost(term: Float, most: float, rest: Float, held: Format) -> Float:
    """What products of the size ``term`` lose to underflow, ``rest`` the product of all their factors above 1.

    A product that counts as 0 loses all there is, and at most ``most`` for the factors that are left; one that is kept
    as a subnormal number errs by half of the smallest of these times the factors that are left.
    """
    return np.fmin(most * rest, term + _ROUNDINGS * held.smallest_subnormal * rest)


def _flushed_direct(s: Sets, size_g: Float) -> Float:
    """What r * weight * dy loses, in any order of multiplication."""
    held, r = s.arithmetic.held, s.reciprocal.size * (1 + s.reciprocal.relative)
    rest = at_least_one(_factor(s)) * at_least_one(s.sizes) * np.maximum(r, 1)
    return _lost(r * size_g, held.smallest_normal, rest, held)


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
    """d m1 and d m2 without underflow, and the mean of |g| r (|x| + |mu| + d mu), all that enters m2."""

    m1: Float
    m2: Float
    entered: Float


def _bound_through(s: Sets, p: _Parts, dependence: Dependence, value: Float) -> Float:
    """d dx = (1 + 16u) [r (rho |t1| + (1 + rho) d t1 + d t2) + F], and the oracle's own error.

    Every result is put where an operand was that is needed no more.
    """
    r, relative = s.reciprocal.size, s.reciprocal.relative
    scratch = p.size_g * (r * p.about)  # in this order nothing is lost to underflow
    means = _mean_bounds(s, p, dependence, scratch)
    d_through = _through_bound(s, p, dependence, means, scratch)
    d_direct = _direct_bound(s, p, dependence, means.m1, scratch)
    d_direct *= 1 + relative
    honest = relative * p.direct
    honest += d_direct
    honest += d_through
    honest *= r
    if not _most_flushed(s, dependence) <= ABSORBED * float(honest.min()):
        honest += _flushed(s, p, dependence, means)
    honest *= 1 + 16 * s.arithmetic.held.u
    honest += _own_error(s, p, dependence, value)
    return _where_in_range(honest, s, p, dependence)


def _mean_bounds(s: Sets, p: _Parts, dependence: Dependence, products: Float) -> _MeanBounds:
    """d m1 = gamma_(n + 7) mean|g|, d m2 = r d mu |m1| + gamma_(n + 6) mean(|g| r (|x| + |mu| + d mu)).

    Sums in any order; m2 as sum(g (x - mean)) or as sum(g x) - mean sum(g). ``products`` are those of the last mean.
    """
    additions, again = dependence.batch.m.n - 1.0, s.arithmetic.rounds_sums
    m1 = s.arithmetic.of_sum(additions, 8 + again, p.m1, p.mean_g)
    m2, entered = s.used.mean.bound * s.reciprocal.size * p.m1, mean_of(products)
    moved = s.reciprocal.size * np.abs(s.used.mean.value) * p.m1  # what is subtracted from mean(g x)
    m2 = m2 + s.arithmetic.of_sum(additions, 7 + again, p.m2 + moved, entered)
    return _MeanBounds(m1=m1, m2=m2, entered=entered)


def _deviation_bound(s: Sets, p: _Parts, dependence: Dependence, out: Float) -> Float:
    """d x_hat' = r [d mu + 6u (|x| + |mu| + d mu)] + r [d mu + gamma_(n + 2) (mean|x - mu| + d mu)].

    x - mean, or x and mean each with the coefficient; automatic differentiation also subtracts
    the mean of x - mean, which is 0 but not as computed.
    """
    held, r, batch = s.arithmetic.held, s.reciprocal.size, dependence.batch
    residue = mean_of(np.abs(batch.m.deviation)) + batch.bound.mean
    residue = batch.bound.mean + s.arithmetic.of_sum(
        batch.m.n - 1.0, 3 + s.arithmetic.rounds_sums, batch.bound.mean, residue
    )
    bound = np.multiply(p.about_batch, 6 * held.u, out=out)
    bound += batch.bound.mean
    bound *= r
    bound += r * residue
    return bound


def _through_bound(s: Sets, p: _Parts, dependence: Dependence, means: _MeanBounds, out: Float) -> Float:
    """d t2 = d kappa |t2| + kappa [d c |x_hat' m2| + (c + d c) (d m2 |x_hat'| + (|m2| + d m2) d x_hat')]."""
    steep, d_share = s.reciprocal.steepest, dependence.mean_share_bound
    moved = _deviation_bound(s, p, dependence, out)
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
    r, slope, a = s.reciprocal.size, np.abs(s.reciprocal.slope), abs(dependence.mean_share)
    own = p.size_g + a * p.mean_g
    own += 2 * a * p.m1
    own += np.multiply(p.direct, 2, out=p.direct)
    own += np.multiply(p.through, 13 * slope, out=p.through)
    own *= r
    own += 4 * r * slope * a * dependence.divisor_factor * p.moved * p.mean_g_x_hat
    own += np.abs(value)
    own *= U64
    return own


def _factor(s: Sets) -> Float:
    """|weight| for each element."""
    return np.broadcast_to(np.abs(s.weight), s.dy.shape)


def _most_flushed(s: Sets, dependence: Dependence) -> float:
    """At least ``_flushed``, from the largest of each quantity."""
    n, a, top = dependence.batch.m.n, abs(dependence.mean_share) + 1, s.tops
    products = top.together * top.tall * top.tall * (top.about + 1) * max(dependence.var_share_most, 1.0)
    return 32 * s.arithmetic.held.smallest_normal * n * a * products


def _flushed(s: Sets, p: _Parts, dependence: Dependence, means: _MeanBounds) -> Float:
    """F, what dx loses to underflow."""
    held, r, eta_sums = s.arithmetic.held, s.reciprocal.size, s.arithmetic.smallest_normal
    n, a, eta, factor = dependence.batch.m.n, abs(dependence.mean_share), held.smallest_normal, _factor(s)
    most_r, most_factor, most_a = r * (1 + s.reciprocal.relative), at_least_one(factor), max(a, 1.0)
    direct, at_least_r = most_r * p.size_g, np.maximum(most_r, 1)
    # n times dy, of which weight * r / n takes its share: a weight that the whole set has, else r / n.
    of_set = np.where(factor.min(axis=-1, keepdims=True) == max_of(factor), max_of(factor), 1)
    share = np.fmin(of_set, 1) * np.fmin(r * (1 - s.reciprocal.relative), 1) / n
    by_share = _lost(direct, eta, n * np.maximum(p.size_g, s.sizes) * np.maximum(of_set, 1) * at_least_r, held)
    flushed = _flushed_direct(s, p.size_g)
    flushed = flushed + np.where(share >= 2 * eta, 0, by_share)
    # The mean of it, of values that are divided by n before they are added, or after.
    shares = _lost(a * direct, eta_sums, most_a * n * most_factor * at_least_one(s.sizes) * at_least_r, held)
    flushed = flushed + most_a * mean_of(flushed) + mean_of(shares)
    through = _flushed_through(s, p, dependence, means)
    flushed = flushed + through + mean_of(through)
    return np.asarray(flushed + 4 * eta * at_least_r * np.maximum(max_of(factor), 1))


def _flushed_through(s: Sets, p: _Parts, dependence: Dependence, means: _MeanBounds) -> Float:
    """What (c kappa r^3 / n) (x - mean) sum(g (x - mean)) loses: at the sum's summands, and outside of it."""
    held, r, steep = s.arithmetic.held, s.reciprocal.size, s.reciprocal.steepest
    n, shares, factor = dependence.batch.m.n, dependence.var_share_most, _factor(s)
    left = max(shares, 1.0) * s.reciprocal.tall**3 * at_least_one(p.about_batch)
    summand = at_least_one(factor) * at_least_one(s.sizes) * at_least_one(p.about)
    most_2 = p.m2 + means.m2
    # The sum without its weight, where the whole set has one: at most all that is added, and the sum over the weight.
    largest_sum = n * most_2 / (r * np.fmin(max_of(factor), 1))
    largest_sum = np.fmin(largest_sum, n * mean_of(np.maximum(p.size_g, s.sizes) * p.about))
    largest_sum = np.maximum(np.maximum(largest_sum, max_of(factor)), 1)
    term = steep * shares * r * (r * p.about_batch)
    # x and the mean each times what is outside of the sum, which holds a factor 2 and one of 1/2; or times g.
    outside = _lost(term * most_2, 4 * held.smallest_normal, left * largest_sum, held)
    inside = _lost(term * means.entered, 2 * held.smallest_normal, left * mean_of(summand), held)
    # Divided by n before they are added, as in a product with 1 / n: a part of the sum.
    shared = _lost(term * means.entered, 2 * s.arithmetic.smallest_normal, left * (n * mean_of(summand)), held)
    return outside + inside + shared


def _where_in_range(bound: Float, s: Sets, p: _Parts, dependence: Dependence) -> Float:
    """``bound``, infinite where something that may be formed on the way to dx may leave the range."""
    held, r, tall, top = s.arithmetic.held, s.reciprocal.size, s.reciprocal.tall, s.tops
    n, shares = dependence.batch.m.n, dependence.var_share_most
    growth = s.arithmetic.gamma(n - 1.0, 7 + s.arithmetic.rounds_sums)
    # Of s sqrt(s) below the normal numbers, 1 / 0 may be made.
    least = held.largest * held.smallest_normal

    # Every quantity further below is at most one of these times tall^3, and a factor 8 covers roundings and sums.
    sums = 8 * n * (top.dy + 1) * (top.factor + 1) * (top.about + 1) * max(shares, 1.0) * (2 + growth)
    terms = 2 * sums * (top.about + 1) * max(float(s.reciprocal.steepest.max()), 1.0)
    if (terms + least) * top.tall * top.tall * top.tall <= held.largest / 2:
        return bound

    # What one element makes of the coefficient of x - mean may enter a sum over its set.
    larger, factor, furthest = np.maximum(p.size_g, s.sizes), _factor(s), at_least_one(max_of(p.about_batch))
    most_r = np.maximum(r * (1 + s.reciprocal.relative), 1)
    most_2 = mean_of(larger * (np.abs(s.x_hat) + r * s.used.mean.bound))
    most_2 = most_2 + growth * mean_of(larger * (r * p.about))
    # n g, sum(g) and x_hat sum(g x_hat), with the weight in them or without, are added and multiplied by r.
    term = s.reciprocal.steepest * shares * (r * most_2) * furthest
    reach = n * larger * tall + (n * term + n * mean_of(larger * at_least_one(p.about))) * most_r
    # The coefficient in any order, also without the sum, and one summand of the sum.
    summed = np.maximum(np.maximum(n * most_2 / r, max_of(factor)) * max(shares, 1.0), least)
    reach = np.maximum(reach, np.maximum(summed * furthest, max_of(larger * at_least_one(p.about))) * tall**3)
    return np.where(reach <= held.largest * (1 - 16 * held.u), bound, np.inf)
