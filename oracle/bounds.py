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

    Infinite where a partial sum may leave the range of the type.
    """
    u, eta = arithmetic.u, arithmetic.smallest_normal
    allowed = ACCURACY_CLASSES[: ACCURACY_CLASSES.index(arithmetic.accuracy) + 1]
    var_sets, mean_sets = [], []
    theta = m.n + 1.0  # recursive summation and the division; every other order has less
    underflow = 2 * eta + 4 * eta * np.sqrt(m.var)
    if "two_pass" in allowed:
        d_mean = gamma(theta, u) * m.mean_abs + 2 * eta
        mean_sets.append(d_mean)
        var_sets.append(gamma(theta + 3, u) * (m.var + d_mean**2) + d_mean**2)
    if "welford" in allowed:
        grown = theta + 2 * np.log(m.n) + 3
        d_mean = gamma(grown, u) * m.max_abs
        mean_sets.append(gamma(grown, u) * m.mean_abs + 2 * eta)
        var_sets.append(gamma(grown + 6, u) * m.var + 2 * np.sqrt(2) * np.sqrt(m.var) * d_mean + d_mean**2)
    if "one_pass" in allowed:
        d_mean = gamma(theta, u) * m.mean_abs + 2 * eta
        mean_sets.append(d_mean)
        size = np.abs(m.mean)
        var_sets.append(gamma(theta + 2, u) * (m.var + size**2) + 2 * size * d_mean + d_mean**2 + u * m.var)
    overflows = m.n * m.mean_abs > arithmetic.largest
    squares = m.var + (m.mean**2 if "one_pass" in allowed else 0.0)
    overflows |= m.n * squares > arithmetic.largest
    bound_mean = np.maximum.reduce(mean_sets) + m.mean_error
    bound_var = np.maximum.reduce(var_sets) + underflow + m.var_error
    return StatisticsBound(np.where(overflows, np.inf, bound_mean), np.where(overflows, np.inf, bound_var))


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
    ``relative`` bounds the relative error of the computed reciprocal deviation.
    """
    u, eta = arithmetic.u, arithmetic.smallest_normal
    local = u * (3 * np.abs(x_hat) + reciprocal * (np.abs(x) + 2 * np.abs(mean)))
    d_x_hat = (1 + relative) * (reciprocal * mean_bound + local + 4 * eta * reciprocal)
    d_x_hat = d_x_hat + np.abs(x_hat) * relative
    honest = (1 + 4 * u) * (np.abs(weight) * d_x_hat + u * (np.abs(bias) + np.abs(y))) + 2 * eta
    own = U64 * (8 * np.abs(weight * x_hat) + 2 * np.abs(y))  # the oracle's own roundings
    return np.asarray(honest + own, dtype=np.float64)


def blend_bound(
    *, old: Float, old_bound: Float, new: Float, new_bound: Float, weight: float, arithmetic: Arithmetic
) -> Float:
    """Bound on (1 - weight) * old + weight * new, the update of a running statistic.

    One of the two factors is given, the other computed as 1 minus the *rounded* first: both carry an
    absolute error of u, which for a weight of 0.01 is a relative error of 100 u.
    """
    u, eta = arithmetic.u, arithmetic.smallest_normal
    kept = abs(1 - weight)
    inherited = kept * old_bound + weight * new_bound * (1 + 6 * u)
    factors = u * (np.abs(old) + old_bound + np.abs(new) + new_bound)
    rounding = 6 * u * (kept * np.abs(old) + weight * np.abs(new))
    return np.asarray(inherited + factors + rounding + 4 * eta, dtype=np.float64)
