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
from normgauge.oracle.moments import U64, Float, Moments
from normgauge.oracle.normalize import RECIPROCAL, reciprocal_deviation
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
    slope: Float | float
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
_SLOPE: Final[dict[str, Callable[[Float, float], Float | float]]] = {
    "inside_sqrt": lambda var, eps: 1.0,
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
    u, eta = arithmetic.held.u, arithmetic.held.smallest_normal
    r, relative = reciprocal_deviation(used.var, used.var_bound, eps, placement, arithmetic)
    slope = _SLOPE[placement](used.var, eps)
    low, high = np.maximum(used.var - used.var_bound, 0), used.var + used.var_bound
    least, most = (0.0, eta) if 0 < eps < eta else (eps * (1 - u), eps * (1 + u))

    def at(var: Float, eps: float) -> Float:
        """-2 dr/dvar at ``var``, in units of r^3."""
        return times((RECIPROCAL[placement](var, eps) / r) ** 3, _SLOPE[placement](var, eps))

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
        tall = np.maximum(tall, 1 / np.sqrt(np.maximum(low, np.finfo(np.float64).tiny)))
    bound = np.where(used.var_bound == np.inf, np.inf, bound)
    return Reciprocal(r, relative, slope, bound, steepest + rounding, tall)


def times(values: Float, factor: Float | float) -> Float:
    """``values * factor``, and ``values`` themselves where that changes nothing."""
    return values if isinstance(factor, float) and factor == 1 else values * factor


@dataclass(frozen=True)
class Sets:
    """What a gradient is made of: sets of shape (..., n), and the statistics that normalise them.

    ``weight`` broadcasts with the sets; ``sizes`` is |dy|.
    """

    x: Float
    dy: Float
    weight: Float | float
    used: Used
    reciprocal: Reciprocal
    arithmetic: Arithmetic
    x_hat: Float
    sizes: Float
    tops: Tops

    @classmethod
    def of(
        cls,
        x: Float,
        dy: Float,
        weight: Float | float,
        used: Used,
        reciprocal: Reciprocal,
        m: Moments,
        bound: StatisticsBound,
        arithmetic: Arithmetic,
    ) -> Sets:
        """``m`` and ``bound`` are the moments of the sets, used or not."""
        sizes = np.abs(dy)
        about = float((np.abs(used.mean) + used.mean_bound).max())
        if used.mean is not m.mean:
            about = max(about, float((np.abs(m.mean) + bound.mean).max()))
        tops = Tops(
            factor=float(np.abs(weight).max()),
            dy=float(sizes.max()),
            about=float(m.max_abs.max()) + about,
            tall=float(reciprocal.tall.max()),
        )
        return cls(x, dy, weight, used, reciprocal, arithmetic, used.deviation * reciprocal.value, sizes, tops)


@dataclass(frozen=True)
class Tops:
    """The largest |weight|, |dy|, |x| + |mean| and 1 or factor of r, of all sets.

    Two questions are decided by them alone, for ordinary numbers: whether anything on the way to a gradient may
    leave the range, and whether what underflow loses is lost in the rounding of the bound to which it is added.
    """

    factor: float
    dy: float
    about: float
    tall: float

    @property
    def together(self) -> float:
        """At least every product of some of them, of 1 + r and 1 + weight."""
        return (self.factor + 1) * (self.dy + 1) * (self.about + 1) * (self.tall + 1)


#: A positive number times this is lost where it is added to the number: it is less than a quarter of its last place.
ABSORBED: Final = 2.0**-56


def no_gradients(x: Float, channels: int) -> Gradients:
    """The gradients of an input without values."""
    return Gradients(exactly(x), exactly(np.zeros(channels)), exactly(np.zeros(channels)))


def judged(value: Float, bound: Float, certain: Callable[[], NDArray[np.bool_]], arithmetic: Arithmetic) -> Reference:
    """A gradient as it is held against others: a NaN where it is ``certain``, nothing said where it is out of range.

    |value| is a part of ``bound``, and an input that makes a NaN certain is in the value.
    """
    bound = result_bound(value, bound, arithmetic)
    if math.isfinite(bound.max()):
        return Reference(value, bound)
    silent, nan = np.isnan(bound) | ~np.isfinite(value), certain()
    return Reference(np.where(nan, np.nan, value), np.where(nan, 0.0, np.where(silent, np.inf, bound)))


def at_least_one(sizes: Float) -> Float:
    """The larger of each and 1; NumPy takes two arrays ten times as fast as an array and a number."""
    return np.maximum(sizes, np.ones_like(sizes))
