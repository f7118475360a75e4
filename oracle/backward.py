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
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from normgauge.oracle.arithmetic import Arithmetic
from normgauge.oracle.bounds import result_bound
from normgauge.oracle.moments import U64, Float
from normgauge.oracle.normalize import PLACEMENTS, Formula, reciprocal_deviation
from normgauge.oracle.reference import Reference
from normgauge.oracle.statistics import Batch, Statistics, divisor_factor


@dataclass(frozen=True, kw_only=True)
class Dependence:
    """How the statistics in use move with those of the batch (divisor n).

    a = d mean / d batch mean = ``mean_share`` and c = d var / d batch variance = ``mean_share * divisor_factor``.
    """

    batch: Batch
    mean_share: float = 1.0
    mean_share_bound: float = 0.0
    divisor_factor: float = 1.0

    @classmethod
    def on_batch(cls, batch: Batch, divisor: str) -> Dependence:
        """The batch's statistics are the ones in use; ``divisor`` as in the axis ``variance``."""
        return cls(batch=batch, divisor_factor=divisor_factor(batch.m.n, divisor))

    @property
    def var_share_most(self) -> float:
        """c + d c, the most that the variance in use moves by, of the batch's."""
        return (abs(self.mean_share) + self.mean_share_bound) * self.divisor_factor


@dataclass(frozen=True, kw_only=True)
class Reciprocal:
    """The reciprocal deviation r and its slope kappa, each of shape (..., 1).

    The slope is measured in r^3: -2 dr/dvar = ``slope`` * r^3, exactly 1 for eps inside the root.
    ``relative`` bounds the relative error of r; ``slope_bound`` the error of (computed -2 dr/dvar) / r^3,
    and ``steepest`` the size of that quotient itself. ``tall`` bounds 1 and every factor of the slope, for what may
    overflow or be flushed on the way. ``size`` is |r|: r is negative below -sqrt(var) for eps outside the root.
    """

    value: Float
    relative: Float
    slope: Float | float
    slope_bound: Float
    steepest: Float
    tall: Float

    @cached_property
    def size(self) -> Float:
        return np.abs(self.value)


def reciprocal_and_slope(used: Statistics, cut: NDArray[np.bool_], formula: Formula) -> Reciprocal:
    """r, kappa and their bounds; ``cut`` is true where max(variance, 0) may let no gradient through."""
    u, var, var_bound = formula.arithmetic.held.u, used.var.value, used.var.bound
    r, relative = reciprocal_deviation(used, formula)
    slope = formula.placement.slope(var, formula.eps)
    low, high = np.maximum(var - var_bound, 0), var + var_bound
    most, least = _ends_of_slope(low, high, r, formula)
    most, least = np.maximum(most, slope), np.minimum(least, slope)
    most, least = np.where(cut, np.maximum(most, 0.0), most), np.where(cut, np.minimum(least, 0.0), least)
    steepest = np.maximum(np.abs(most), np.abs(least))
    # Three factors r at 5u each, or the root and the quotient they are made of; two products; n / (n - 1).
    rounding = (20 * u + 16 * U64) * steepest
    bound = np.maximum(most - slope, slope - least) + rounding
    tall = np.maximum(np.abs(r) * (1 + relative), 1)
    if formula.placement is PLACEMENTS["outside_sqrt"]:
        tall = np.maximum(tall, 1 / np.sqrt(np.maximum(low, np.finfo(np.float64).tiny)))
    bound = np.where(var_bound == np.inf, np.inf, bound)
    steepest = steepest + rounding
    return Reciprocal(value=r, relative=relative, slope=slope, slope_bound=bound, steepest=steepest, tall=tall)


def _ends_of_slope(low: Float, high: Float, r: Float, formula: Formula) -> tuple[Float, Float]:
    """The largest and the smallest slope for variances from ``low`` to ``high``, and eps as it is rounded or flushed.

    As for r, they are those of the ends of the interval: -2 dr/dvar falls as the variance grows, but for two cases.
    At eps, max(var, eps) has a step, where the derivative may be that of either side or between. A negative eps outside
    the root gives the slope 1 / (sqrt(var) (sqrt(var) + eps)^2), which has its minimum at var = eps^2 / 9, beside the
    pole; neither the error of eps nor that of the root inside is relative to the divisor there.
    """
    placement, u = formula.placement, formula.arithmetic.held.u + 3 * U64
    least, most = formula.arithmetic.read(formula.eps)

    def at(var: Float, eps: float, root: float = 1.0) -> Float:
        """-2 dr/dvar at ``var``, in units of r^3."""
        return times((placement.inverse(placement.divisor(var, eps, root)) / r) ** 3, placement.slope(var, eps))

    if placement is PLACEMENTS["max_with_variance"]:
        largest = np.where(high >= least, at(np.maximum(low, least), least), 0.0)
        return largest, np.where(low > most, at(high, most), 0.0)
    ends = [at(low, least, 1 - u), at(high, most, 1 + u)]
    if formula.eps < 0 and not placement.rooted:
        ends.append(at(np.clip(formula.eps**2 / 9, low, high), formula.eps))
    return np.maximum.reduce(ends), np.minimum.reduce(ends)


def times(values: Float, factor: Float | float) -> Float:
    """``values * factor``, and ``values`` themselves where that changes nothing."""
    return values if isinstance(factor, float) and factor == 1 else values * factor


@dataclass(frozen=True, kw_only=True)
class Sets:
    """What a gradient is made of: sets of shape (..., n), and the statistics that normalise them.

    ``weight`` broadcasts with the sets; ``sizes`` is |dy|.
    """

    dy: Float
    weight: Float | float
    used: Statistics
    reciprocal: Reciprocal
    arithmetic: Arithmetic
    x_hat: Float
    sizes: Float
    tops: Tops

    @classmethod
    def of(cls, batch: Batch, used: Statistics, dy: Float, weight: Float | float, formula: Formula) -> Sets:
        """Those of ``batch``, whose statistics are ``used`` or not."""
        reciprocal = reciprocal_and_slope(used, batch.may_be_cut(), formula)
        sizes = np.abs(dy)
        about = float((np.abs(used.mean.value) + used.mean.bound).max())
        if used.mean.value is not batch.m.mean:
            about = max(about, float((np.abs(batch.m.mean) + batch.bound.mean).max()))
        tops = Tops(
            factor=float(np.abs(weight).max()),
            dy=float(sizes.max()),
            about=float(batch.m.max_abs.max()) + about,
            tall=float(reciprocal.tall.max()),
        )
        return cls(
            dy=dy,
            weight=weight,
            used=used,
            reciprocal=reciprocal,
            arithmetic=formula.arithmetic,
            x_hat=used.deviation * reciprocal.value,
            sizes=sizes,
            tops=tops,
        )


@dataclass(frozen=True, kw_only=True)
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


def judged(value: Float, bound: Float, certain: Callable[[], NDArray[np.bool_]], arithmetic: Arithmetic) -> Reference:
    """A gradient as it is held against others: a NaN where it is ``certain``, nothing said where it is out of range.

    |value| is a part of ``bound``, and an input that makes a NaN certain is in the value.
    """
    bound = result_bound(value, bound, arithmetic)
    if math.isfinite(bound.max()):
        return Reference(value=value, bound=bound)
    silent, nan = np.isnan(bound) | ~np.isfinite(value), certain()
    bound = np.where(nan, 0.0, np.where(silent, np.inf, bound))
    return Reference(value=np.where(nan, np.nan, value), bound=bound)


def at_least_one(sizes: Float) -> Float:
    """The larger of each and 1; NumPy takes two arrays ten times as fast as an array and a number."""
    return np.maximum(sizes, np.ones_like(sizes))
