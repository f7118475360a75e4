"""What both layers share: the reciprocal deviation and the normalised value, with their bounds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from normgauge.oracle.arithmetic import Arithmetic
from normgauge.oracle.bounds import result_bound
from normgauge.oracle.formats import rounded_to
from normgauge.oracle.moments import U64, Float
from normgauge.oracle.reference import Reference
from normgauge.oracle.rounded_step import rounded_reciprocal, rounded_within, scaled_and_shifted
from normgauge.oracle.semantics import Semantics
from normgauge.oracle.statistics import Statistics


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A value of the axis ``eps_placement``, as functions of the variance v and of eps.

    ``divisor`` is what r divides by, or the square of that where a root of it is taken (``rooted``); its third argument
    multiplies a root inside of it, 1 plus a rounding. ``slope`` is kappa = -2 r'(v) / r^3.
    """

    divisor: Callable[[Float, float, float], Float]
    rooted: bool
    slope: Callable[[Float, float], Float | float]

    def reciprocal(self, var: Float, eps: float) -> Float:
        """r."""
        return self.inverse(self.divisor(var, eps, 1.0))

    def inverse(self, divisor: Float) -> Float:
        """r from the value of ``divisor``."""
        return np.asarray(1 / np.sqrt(divisor) if self.rooted else 1 / divisor)


PLACEMENTS: Final = {
    "inside_sqrt": Placement(
        divisor=lambda var, eps, _: var + eps,
        rooted=True,
        slope=lambda var, eps: 1.0,
    ),
    "outside_sqrt": Placement(
        divisor=lambda var, eps, root: np.sqrt(var) * root + eps,
        rooted=False,
        slope=lambda var, eps: (np.sqrt(var) + eps) / np.sqrt(var),
    ),
    "max_with_variance": Placement(
        divisor=lambda var, eps, _: np.maximum(var, eps),
        rooted=True,
        slope=lambda var, eps: np.where(var >= eps, 1.0, 0.0),
    ),
    "after_reciprocal": Placement(
        divisor=lambda var, eps, root: np.sqrt(var) * root / (1 + eps * np.sqrt(var)),
        rooted=False,
        slope=lambda var, eps: (1 + eps * np.sqrt(var)) ** -3,
    ),
    "no_root": Placement(
        divisor=lambda var, eps, _: var + eps,
        rooted=False,
        slope=lambda var, eps: 2 * (var + eps),
    ),
}


def along_channels(values: Float, x: NDArray[Any]) -> Float:
    """``values`` (C,) so that they broadcast over x (N, C, *spatial)."""
    return values.reshape(1, -1, *(1,) * (x.ndim - 2))


@dataclass(frozen=True, kw_only=True)
class Formula:
    """Which formula a layer evaluates, and in which arithmetic."""

    eps: float
    semantics: Semantics
    arithmetic: Arithmetic

    @property
    def placement(self) -> Placement:
        return PLACEMENTS[self.semantics.choice("eps_placement")]


@dataclass(frozen=True, kw_only=True)
class _Ends:
    """The least and the largest divisor that an honest implementation may have, before their own last rounding."""

    least: Float
    most: Float

    @classmethod
    def of(cls, used: Statistics, formula: Formula) -> _Ends:
        """Those of the ends of the variance, of eps as it is rounded or flushed, and of a root inside.

        An honest variance is not negative, but a given one may be. The errors of eps and of the root are not relative
        to the divisor, of which little may be left where one of its parts is negative.
        """
        var, bound, eps, held = used.var.value, used.var.bound, formula.eps, formula.arithmetic.held
        u, eta = held.u + 3 * U64, held.smallest_normal  # U64: the evaluation of the ends
        of_root = u * formula.arithmetic.root_roundings
        low, high = eps - u * abs(eps), eps + u * abs(eps)
        if 0 < abs(eps) < eta:
            low, high = (0.0, eta) if eps > 0 else (-eta, 0.0)
        below = np.where(var < 0, var - bound, np.maximum(var - bound, 0))
        divisor = formula.placement.divisor
        return cls(least=divisor(below, low, 1 - of_root), most=divisor(var + bound, high, 1 + of_root))


def reciprocal_deviation(used: Statistics, formula: Formula) -> tuple[Float, Float]:
    """The reciprocal deviation r and rho, a bound on the relative error of the computed one.

    rho = m + (5u + 4 u64) (1 + m), m the larger of |r(end) / r - 1| for both ends of the divisor.

    The evaluation beyond the ends costs at most 4.5u (the sum, a root and a reciprocal, or a reciprocal square root
    good to 2 ulp), and second order. Infinite where the divisor may be 0, flushed, or beyond the range.
    """
    placement, held, ends = formula.placement, formula.arithmetic.held, _Ends.of(used, formula)
    value, eta = placement.reciprocal(used.var.value, formula.eps), held.smallest_normal
    moved = np.maximum(
        np.abs(placement.inverse(ends.least) / value - 1), np.abs(placement.inverse(ends.most) / value - 1)
    )
    open_ended = (used.var.bound == np.inf) | ((ends.least < eta) & (ends.most > -eta)) | (ends.most > held.largest)
    moved = np.where(open_ended, np.inf, moved)
    # The float64 evaluation of the ends and of the quotient: 3u and 1u of float64.
    relative = moved + (5 * held.u + 4 * U64) * (1 + moved)
    step = formula.arithmetic.rounded_step
    return (value, relative) if step is None else rounded_reciprocal(value, relative, step)


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
    step = formula.arithmetic.rounded_step
    if step is None:
        return _normalized(used, weight, bias, formula)
    if step.step == "x_hat":
        x_hat = rounded_within(_normalized(used, 1.0, 0.0, formula), step.to)
        return scaled_and_shifted(x_hat, weight, bias, formula.arithmetic.held)
    if step.step == "affine":
        weight, bias = rounded_to(weight, step.to), rounded_to(bias, step.to)
    y = _normalized(used, weight, bias, formula)
    return rounded_within(y, step.to) if step.step == "output" else y


def _normalized(used: Statistics, weight: Float | float, bias: Float | float, formula: Formula) -> Reference:
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
    # Below zero there is no root, however variance and eps were rounded, unless their sum is flushed.
    most = _Ends.of(used, formula).most
    certain |= (np.isnan(most) | (formula.placement.rooted & (most < -formula.arithmetic.held.smallest_normal))) & (
        np.isfinite(used.var.bound)
    )
    out_of_range = np.isnan(bound) | ~np.isfinite(y)
    return Reference(value=y, bound=np.where(certain, 0.0, np.where(out_of_range, np.inf, bound)))


def forward_bound(output: Output, arithmetic: Arithmetic) -> Float:
    """d y = (1 + 16u) [|w| d x_hat + F + u (3 |b| + |y|)] + 5 eta, whichever way y is evaluated.

    d x_hat = (1 + rho) (r d mu + L + 5 eta r) + |x_hat| rho + 2 eta, L = u [|x_hat| + r (2 |x| + 3 |mu|)].

    Covers every distribution of weight and reciprocal over x - mean, x * scale + shift with a scale of its own for x
    and for the mean, and a bias that is divided by the scale and taken from the mean. Infinite where an intermediate
    result may leave the range of the type.
    """
    u, eta = arithmetic.held.u, arithmetic.held.smallest_normal
    reciprocal, relative = np.abs(output.reciprocal), output.relative
    mean, mean_bound = np.abs(output.used.mean.value), output.used.mean.bound
    factor, size_bias, grown = np.abs(output.weight), np.abs(output.bias), 1 + relative
    about = 2 * mean
    # What multiplies |x|, |x_hat| and |y|, and what is added: of a whole set, or of a channel of it.
    of_x = factor * (grown * (2 * u * reciprocal))
    of_x_hat = factor * (relative + grown * u) + eta
    rest = 3 * u * size_bias + eta * reciprocal * grown
    # A weight below the normal numbers loses up to eta; so does a scale = weight * reciprocal, and a
    # weight * (x - mean) formed before the reciprocal multiplies it.
    flushed = factor * reciprocal * (1 - relative) < eta
    if flushed.any():
        flushes = eta * ((factor > 0) & flushed)
        of_x = of_x + flushes
        rest = rest + flushes * (about + mean_bound)
    rest = rest + factor * (2 * eta + grown * (reciprocal * (mean_bound + (5 * eta + 3 * u * mean))))
    # At most five of these factors (1 + u) meet in one term; the rest is for the evaluation in float64, of which
    # a term meets no more than eleven roundings.
    slack = 1 + 16 * u
    bound, part = np.abs(output.used.x), np.abs(output.x_hat)
    bound *= slack * of_x
    part *= slack * of_x_hat + 5 * U64 * factor  # U64: the oracle's own roundings
    bound += part
    np.abs(output.y, out=part)
    part *= slack * u + 2 * U64
    part += slack * rest + 5 * eta
    bound += part

    def in_range(size: Float) -> NDArray[np.bool_]:
        reach = np.maximum(size + about + mean_bound, 1) * np.maximum(reciprocal * grown, 1) * np.maximum(factor, 1)
        return np.asarray(reach + size_bias <= arithmetic.held.largest * (1 - 16 * u))

    if not in_range(output.used.largest).all():
        bound = np.where(in_range(np.abs(output.used.x)), bound, np.inf)
    return result_bound(output.y, bound, arithmetic)
