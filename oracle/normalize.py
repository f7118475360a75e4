"""What both layers share: the reciprocal deviation and the normalised value, with their bounds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from normgauge.oracle.arithmetic import Arithmetic
from normgauge.oracle.bounds import result_bound
from normgauge.oracle.moments import U64, Float
from normgauge.oracle.reference import Reference
from normgauge.oracle.semantics import Semantics
from normgauge.oracle.statistics import Statistics


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A value of the axis ``eps_placement``, as functions of the variance v and of eps.

    ``reciprocal`` is r, ``slope`` is kappa = -2 r'(v) / r^3.
    """

    reciprocal: Callable[[Float, float], Float]
    slope: Callable[[Float, float], Float | float]


PLACEMENTS: Final = {
    "inside_sqrt": Placement(
        reciprocal=lambda var, eps: 1 / np.sqrt(var + eps),
        slope=lambda var, eps: 1.0,
    ),
    "outside_sqrt": Placement(
        reciprocal=lambda var, eps: 1 / (np.sqrt(var) + eps),
        slope=lambda var, eps: (np.sqrt(var) + eps) / np.sqrt(var),
    ),
    "max_with_variance": Placement(
        reciprocal=lambda var, eps: 1 / np.sqrt(np.maximum(var, eps)),
        slope=lambda var, eps: np.where(var >= eps, 1.0, 0.0),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Formula:
    """Which formula a layer evaluates, and in which arithmetic."""

    eps: float
    semantics: Semantics
    arithmetic: Arithmetic

    @property
    def placement(self) -> Placement:
        return PLACEMENTS[self.semantics.choice("eps_placement")]


def reciprocal_deviation(used: Statistics, formula: Formula) -> tuple[Float, Float]:
    """The reciprocal deviation r and rho, a bound on the relative error of the computed one.

    rho = m + (6u + 4 u64) (1 + m), m = max(r(v - dv) / r - 1, 1 - r(v + dv) / r).

    Every placement falls as the variance grows, so the worst cases are the ends of the interval
    [var - bound, var + bound], cut at 0 because an honest variance is not negative. Evaluating the
    formula costs at most 5u (eps rounded to the type, square root, sum, a reciprocal square root good
    to 2 ulp), and second order. An eps below the normal numbers may count as 0 or round up.
    """
    form, held, eps = formula.placement.reciprocal, formula.arithmetic.held, formula.eps
    var, var_bound, u, eta = used.var.value, used.var.bound, held.u, held.smallest_normal
    least, most = (0.0, eta) if 0 < eps < eta else (eps, eps)
    value = form(var, eps)
    above = form(np.maximum(var - var_bound, 0), least) / value - 1
    below = 1 - form(var + var_bound, most) / value
    moved = np.where(var_bound == np.inf, np.inf, np.maximum(np.maximum(above, below), 0))
    # The float64 evaluation of the ends and of the quotient: 3u and 1u of float64.
    return value, moved + (6 * u + 4 * U64) * (1 + moved)


@dataclass(frozen=True, kw_only=True)
class Output:
    """y = weight * x_hat + bias with x_hat = (x - mean) * reciprocal, and what its bound depends on.

    ``relative`` bounds the relative error of the computed reciprocal deviation. All arrays broadcast with x.
    """

    used: Statistics
    reciprocal: Float
    relative: Float
    weight: Float | float
    bias: Float | float
    x_hat: Float
    y: Float


def normalized(used: Statistics, weight: Float | float, bias: Float | float, formula: Formula) -> Reference:
    """weight * deviation / sqrt(var + eps) + bias and its bound; weight and bias broadcast with x."""
    reciprocal, relative = reciprocal_deviation(used, formula)
    x_hat = used.deviation * reciprocal
    y = x_hat if isinstance(weight, float) and weight == 1 else weight * x_hat
    y = y if isinstance(bias, float) and bias == 0 else y + bias
    output = Output(used=used, reciprocal=reciprocal, relative=relative, weight=weight, bias=bias, x_hat=x_hat, y=y)
    bound = forward_bound(output, formula.arithmetic)
    if math.isfinite(bound.max()):  # |y| is a part of it: no NaN and no infinity anywhere
        return Reference(value=y, bound=bound)
    # A NaN is demanded where an input or a statistic is one for certain. Any other result or bound
    # that is not a number is out of range: nothing can be said.
    certain = np.isnan(used.x) | np.isnan(weight) | np.isnan(bias)
    certain = certain | used.mean.demands_nan() | used.var.demands_nan()
    # Below zero there is no root, however the variance was rounded.
    root = formula.placement.reciprocal(used.var.value + used.var.bound, formula.eps)
    certain |= np.isnan(root) & np.isfinite(used.var.bound)
    out_of_range = np.isnan(bound) | ~np.isfinite(y)
    return Reference(value=y, bound=np.where(certain, 0.0, np.where(out_of_range, np.inf, bound)))


def forward_bound(output: Output, arithmetic: Arithmetic) -> Float:
    """d y = (1 + 16u) [|w| d x_hat + F + u (|b| + |y|)] + 4 eta, whichever way y is evaluated.

    d x_hat = (1 + rho) (r d mu + L + 4 eta r) + |x_hat| rho + 2 eta, L = u [3 |x_hat| + r (|x| + 2 |mu|)].

    Covers both evaluations in use: (x - mean) * reciprocal first, and the fused x * scale + shift. Infinite where an
    intermediate result of either may leave the range of the type.
    """
    u, eta, reciprocal, relative = (
        arithmetic.held.u,
        arithmetic.held.smallest_normal,
        output.reciprocal,
        output.relative,
    )
    mean, mean_bound = output.used.mean.value, output.used.mean.bound
    factor, size_bias, about, grown = np.abs(output.weight), np.abs(output.bias), 2 * np.abs(mean), 1 + relative
    # What multiplies |x|, |x_hat| and |y|, and what is added: of a whole set, or of a channel of it.
    of_x = factor * (grown * (u * reciprocal))
    of_x_hat = factor * (relative + grown * (3 * u)) + eta
    rest = u * size_bias + eta * reciprocal * grown
    # A weight below the normal numbers loses up to eta; so does a scale = weight * reciprocal, and a
    # weight * (x - mean) formed before the reciprocal multiplies it.
    flushed = factor * reciprocal * (1 - relative) < eta
    if flushed.any():
        flushes = eta * ((factor > 0) & flushed)
        of_x = of_x + flushes
        rest = rest + flushes * (about + mean_bound)
    rest = rest + factor * (2 * eta + grown * (reciprocal * (mean_bound + (4 * eta + u * about))))
    # At most five of these factors (1 + u) meet in one term; the rest is for the evaluation in float64, of which
    # a term meets no more than eleven roundings.
    slack = 1 + 16 * u
    bound, part = np.abs(output.used.x), np.abs(output.x_hat)
    bound *= slack * of_x
    part *= slack * of_x_hat + 5 * U64 * factor  # U64: the oracle's own roundings
    bound += part
    np.abs(output.y, out=part)
    part *= slack * u + 2 * U64
    part += slack * rest + 4 * eta
    bound += part

    def in_range(size: Float) -> NDArray[np.bool_]:
        reach = np.maximum(size + about + mean_bound, 1) * np.maximum(reciprocal * grown, 1) * np.maximum(factor, 1)
        return np.asarray(reach + size_bias <= arithmetic.held.largest * (1 - 16 * u))

    if not in_range(output.used.largest).all():
        bound = np.where(in_range(np.abs(output.used.x)), bound, np.inf)
    return result_bound(output.y, bound, arithmetic)
