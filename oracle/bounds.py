"""How far an honest implementation may lie from the exact value, element by element.

Notation: u unit roundoff, eta smallest normal number, n reduction length, theta growth factor of a
sum, mu mean, v variance, r reciprocal deviation, gamma_k = k u / (1 - k u). The derivations are in
docs/bounds.md; Higham, "Accuracy and Stability of Numerical Algorithms" (2002), chapters 3 and 4,
gives the error of a sum, Chan, Golub and LeVeque (1983) those of the three kinds of variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from normgauge.oracle.moments import U64, Float, Moments, gamma

#: Accuracy classes, tightest first. Each holds whatever its predecessors hold.
ACCURACY_CLASSES: Final = ("two_pass", "welford", "one_pass")
WIDEST: Final = ACCURACY_CLASSES[-1]

_UNIT_ROUNDOFF: Final = {"float32": 2.0**-24, "float64": U64}


@dataclass(frozen=True)
class Arithmetic:
    """The arithmetic a subject is allowed: the type it computes in and its accuracy class.

    Raises:
        ValueError: a dtype or class that is not known.
    """

    dtype: str = "float32"
    accuracy: str = WIDEST

    def __post_init__(self) -> None:
        if self.dtype not in _UNIT_ROUNDOFF:
            raise ValueError(f"dtype {self.dtype!r} has no bounds; allowed: {', '.join(_UNIT_ROUNDOFF)}")
        if self.accuracy not in ACCURACY_CLASSES:
            raise ValueError(f"accuracy class {self.accuracy!r} is not known; allowed: {', '.join(ACCURACY_CLASSES)}")

    @property
    def u(self) -> float:
        return _UNIT_ROUNDOFF[self.dtype]

    @property
    def one_pass_limit(self) -> float:
        """|mean| / deviation from which one-pass statistics lose half of the digits.

        Their error is u * mean^2 relative to the variance (docs/bounds.md); half of the digits is sqrt(u).
        """
        return float(self.u**-0.25)

    @property
    def smallest_normal(self) -> float:
        return float(np.finfo(self.dtype).tiny)

    @property
    def largest(self) -> float:
        return float(np.finfo(self.dtype).max)


@dataclass(frozen=True)
class StatisticsBound:
    """|computed - exact| of mean and variance (divisor n), each of shape (..., 1)."""

    mean: Float
    var: Float


def statistics_bound(m: Moments, arithmetic: Arithmetic) -> StatisticsBound:
    """Bound on the mean and variance of ``m.n`` values, summed in any order.

    Infinite where a partial sum may leave the range of the type, or where the classes differ on an
    infinite input; 0 where the inputs make the exact value a NaN.
    """
    u, eta = arithmetic.u, arithmetic.smallest_normal
    allowed = ACCURACY_CLASSES[: ACCURACY_CLASSES.index(arithmetic.accuracy) + 1]
    n, theta = m.n, m.n + 1.0  # recursive summation and the division; every other order has less
    size = np.abs(m.mean + m.mean_tail) + m.mean_error
    spread = np.sqrt(m.var + m.var_error)
    mean_sets, var_sets = [], []

    # Every partial sum of k values is at most k |mu| + sqrt(k (n - k)) sigma: with a mean near 0 this
    # is far less than the worst case gamma * mean|x|. The square of gamma covers the second order.
    g = gamma(theta, u)
    partial_sums = u * ((n + 5) / 2 * size + (n - 1) / 2 * spread) + g**2 * m.mean_abs
    d_sum = np.fmin(g * m.mean_abs, partial_sums) + 2 * eta * (1 + g)
    mean_sets.append(d_sum)
    if "two_pass" in allowed:
        var_sets.append(gamma(theta + 3, u) * (m.var + (d_sum + eta) ** 2) + (d_sum + eta) ** 2)
    if "welford" in allowed:
        grown = theta + 3 * np.log(n) + 4
        g = gamma(grown, u)
        # Every running mean, in sequence or in a tree of combinations, is within d_node of its exact value.
        d_node = g / grown * ((n + 1) / 2 * size + (n / 2 + 2.5 * np.sqrt(n)) * spread)
        lost = (n / 2 + 3) * eta  # each step may flush its delta / k
        mean_sets.append(np.fmin(g * m.mean_abs, d_node) + lost)
        d_node = d_node + lost + eta
        crossed = 2 * np.sqrt(2) * spread * d_node + 2 * d_node**2
        var_sets.append(gamma(grown + 6, u) * m.var + (1 + gamma(grown + 6, u)) * crossed)
    if "one_pass" in allowed:
        crossed = 2 * size * d_sum + d_sum**2
        var_sets.append(gamma(theta + 2, u) * (m.var + size**2) + (1 + 3 * u) * crossed + u * m.var)
    bound_mean = np.maximum.reduce(mean_sets) + m.mean_error
    bound_var = np.maximum.reduce(var_sets) + 2 * eta + 4 * eta * spread + m.var_error

    # What is summed: |x|, the squared deviations, the squares; Chan's combination forms n times more.
    squares = m.var * (n if "welford" in allowed else 1) + (size**2 if "one_pass" in allowed else d_sum**2)
    largest = arithmetic.largest * (1 - gamma(theta + 3, u))
    finite = np.isfinite(m.max_abs)
    overflows = finite & ~((n * m.mean_abs <= largest) & (n * squares <= largest))
    undefined = np.where(np.isnan(m.mean), 0.0, np.inf)  # of a single infinity Welford makes a NaN
    return StatisticsBound(
        np.where(overflows, np.inf, np.where(finite, bound_mean, undefined)),
        np.where(overflows, np.inf, np.where(finite, bound_var, 0.0)),
    )


def forward_bound(
    *,
    x: Float,
    x_hat: Float,
    y: Float,
    mean: Float,
    reciprocal: Float,
    relative: Float,
    mean_bound: Float,
    weight: Float | float,
    bias: Float | float,
    arithmetic: Arithmetic,
) -> Float:
    """Bound on y = weight * (x - mean) * reciprocal + bias.

    Covers both evaluations in use: (x - mean) * reciprocal first, and the fused x * scale + shift.
    ``relative`` bounds the relative error of the computed reciprocal deviation. Infinite where an
    intermediate result of either may leave the range of the type.
    """
    u, eta = arithmetic.u, arithmetic.smallest_normal
    size, factor = np.abs(x) + 2 * np.abs(mean), np.abs(weight)
    local = u * (3 * np.abs(x_hat) + reciprocal * size)
    d_x_hat = (1 + relative) * (reciprocal * mean_bound + local + 4 * eta * reciprocal) + 2 * eta
    d_x_hat = d_x_hat + np.abs(x_hat) * relative
    # A weight below the normal numbers loses up to eta; so does a scale = weight * reciprocal, and a
    # weight * (x - mean) formed before the reciprocal multiplies it.
    scale_flushed = np.where(factor * reciprocal * (1 - relative) < eta, eta * (size + mean_bound), 0.0)
    flushed = eta * np.abs(x_hat) + np.where(factor > 0, scale_flushed, 0.0) + eta * reciprocal * (1 + relative)
    # At most five of these factors (1 + u) meet in one term; the rest is for the evaluation in float64.
    honest = (1 + 16 * u) * (factor * d_x_hat + flushed + u * (np.abs(bias) + np.abs(y))) + 4 * eta
    own = U64 * (5 * np.abs(weight * x_hat) + 2 * np.abs(y))  # the oracle's own roundings
    reach = np.maximum(size + mean_bound, 1) * np.maximum(reciprocal * (1 + relative), 1) * np.maximum(factor, 1)
    out_of_range = reach + np.abs(bias) > arithmetic.largest * (1 - 16 * u)
    return np.asarray(np.where(out_of_range, np.inf, honest + own), dtype=np.float64)


def blend_bound(
    *,
    old: Float,
    old_bound: Float,
    new: Float,
    new_bound: Float,
    weight: float,
    arithmetic: Arithmetic,
    step: int = 1,
    divisor: float = 1.0,
) -> Float:
    """Bound on (1 - weight) * old + weight * new, the update of a running statistic.

    Covers the sum of two products and the step old + weight * (new - old). One of the two factors is
    given, the other computed as 1 minus the *rounded* first: both carry an absolute error of u, which
    for a weight of 0.01 is a relative error of 100 u. A zero-debiased average is kept undivided, with the
    factors w = weight * divisor and 1 - w, and then divided by ``divisor`` = 1 - (1 - w)^step, which
    loses what 1 minus a number near 1 loses.
    """
    u, eta = arithmetic.u, arithmetic.smallest_normal
    kept, taken = abs(1 - weight), abs(weight)
    old, new = np.abs(old), np.abs(new)
    both = kept * old + taken * new
    inherited = kept * old_bound + taken * new_bound
    factors = u * (kept + taken) / divisor * (old + old_bound + new + new_bound)
    rounding = 2 * u * both + 2 * u * taken * (old + new)
    own = U64 * (5 * both + old + new)  # the factors, the products and their sum, the two parts of a mean
    if divisor != 1:  # a power good to 4u of a rounded number, the subtraction, the division
        rounding = rounding + u * ((step + 4) * (1 - divisor) / divisor + 2) * (both + inherited)
        own = own + 6 * U64 * taken * (old + new)  # the weight as expm1 and log1p give it
    bound = (1 + 16 * u) * (inherited + factors + rounding) + own + 4 * eta / divisor
    out_of_range = ~(max(kept, taken, 1) * (old + old_bound + new + new_bound) <= arithmetic.largest)
    return np.asarray(np.where(out_of_range, np.inf, bound), dtype=np.float64)
