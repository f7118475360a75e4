"""Honest backward passes in NumPy: what automatic differentiation makes of each forward.

As in honest.py, sets have the shape (B, n), every operation is rounded to the machine's dtype, and only B is
vectorised. Automatic differentiation is put together of three parts, in any combination: how the output
used the statistics (OUTPUTS), how the reciprocal deviation is differentiated (SLOPES), and how the
statistics came of the input (THROUGH).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from honest import Array, Machine, Statistics, Summation, beside, of_products


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One backward pass: rounded inputs of shape (B, n), statistics (divisor n) of shape (B, 1)."""

    f: Machine
    x: Array
    dy: Array
    weight: Array
    statistics: Statistics
    eps: float
    placement: str
    total: Summation
    unbiased: bool = False
    times_reciprocal: bool = False
    tie: float = 1.0  # the share of the gradient that max(a, b) lets through to a where a == b
    clamped: bool = False  # max(var, 0), also where nothing is below
    half_ulp: int = 0  # steps by which a library's rsqrt is off
    #: Blended statistics: the used ones, and the weight of the batch in them.
    blended: tuple[Statistics, float] | None = None

    @cached_property
    def n(self) -> int:
        return self.x.shape[1]

    def sum(self, values: Array) -> Array:
        return self.total(self.f, np.broadcast_to(values, self.x.shape))

    def sum_of_shares(self, values: Array) -> Array:
        """The sum of values that are multiplied by 1 / n first, in the type of sums."""
        return of_products(self.f, np.broadcast_to(values, self.x.shape), self.total)

    def over_n(self, value: Array) -> Array:
        f = self.f
        return f(value * f(f(1) / f(self.n))) if self.times_reciprocal else f(value / f(self.n))

    @cached_property
    def mean(self) -> Array:
        return self.statistics.mean if self.blended is None else self.blended[0].mean

    @cached_property
    def var(self) -> Array:
        """The variance in use."""
        if self.blended is not None:
            return self.blended[0].var
        return self.f(self.statistics.var * self.factor) if self.unbiased else self.statistics.var

    @cached_property
    def factor(self) -> Array:
        f = self.f
        return f(f(self.n) / f(self.n - 1)) if self.unbiased and self.n > 1 else f(np.nan if self.unbiased else 1)

    @cached_property
    def deviation(self) -> Array:
        """What x - mean is divided by."""
        f = self.f
        if self.placement == "outside_sqrt":
            return f(f(np.sqrt(self.var)) + f(self.eps))
        return f(np.sqrt(self.under_root))

    @cached_property
    def under_root(self) -> Array:
        f = self.f
        return f(self.var + f(self.eps)) if self.placement == "inside_sqrt" else np.maximum(self.var, f(self.eps))

    @cached_property
    def r(self) -> Array:
        r = self.f(self.f(1) / self.deviation)
        for _ in range(abs(self.half_ulp) if self.placement != "outside_sqrt" else 0):
            r = beside(self.f, r, np.sign(self.half_ulp) * np.inf)
        return r

    @cached_property
    def open(self) -> Array:
        """1 where the placement lets the gradient through to the variance, 0 where max(var, eps) does not."""
        f = self.f
        if self.placement != "max_with_variance":
            return f(1)
        return np.where(self.var > f(self.eps), f(1), np.where(self.var == f(self.eps), f(self.tie), f(0)))


# --- how the output used the statistics: direct gradient, gradient of the mean and of r, and dweight -----


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """The gradient of x by x - mean alone, of the mean, of r; and each element's part of dweight."""

    direct: Array
    mean: Array
    r: Array
    dweight: Array


def plain(p: Pass) -> Upstream:
    """((x - mean) * r) * weight"""
    f, d = p.f, p.f(p.x - p.mean)
    x_hat, g = f(d * p.r), f(p.dy * p.weight)
    direct = f(g * p.r)
    return Upstream(direct=direct, mean=f(-p.sum(direct)), r=p.sum(f(g * d)), dweight=f(p.dy * x_hat))


def folded(p: Pass) -> Upstream:
    """(x - mean) * (weight * r)"""
    f, d = p.f, p.f(p.x - p.mean)
    direct = f(p.dy * f(p.weight * p.r))
    dscale = f(p.dy * d)
    return Upstream(direct=direct, mean=f(-p.sum(direct)), r=p.sum(f(dscale * p.weight)), dweight=f(dscale * p.r))


def fused(p: Pass) -> Upstream:
    """x * scale + (bias - mean * scale), scale = weight * r"""
    f, scale = p.f, p.f(p.weight * p.r)
    direct = f(p.dy * scale)
    dscale = f(f(p.dy * p.x) - f(p.mean * p.dy))
    return Upstream(direct=direct, mean=f(-p.sum(direct)), r=p.sum(f(dscale * p.weight)), dweight=f(dscale * p.r))


def weight_first(p: Pass) -> Upstream:
    """(weight * (x - mean)) * r"""
    f, d = p.f, p.f(p.x - p.mean)
    inner = f(p.dy * p.r)
    direct = f(inner * p.weight)
    return Upstream(direct=direct, mean=f(-p.sum(direct)), r=p.sum(f(p.dy * f(p.weight * d))), dweight=f(inner * d))


def sums_of_products(p: Pass) -> Upstream:
    """torch's: sum(g x) - mean sum(g), and the mean's gradient from sum(g)"""
    f, g = p.f, p.f(p.dy * p.weight)
    total, products = p.sum(g), p.sum(f(g * p.x))
    dweight = f(f(f(p.dy * p.x) - f(p.dy * p.mean)) * p.r)
    return Upstream(direct=f(g * p.r), mean=f(-f(total * p.r)), r=f(products - f(total * p.mean)), dweight=dweight)


OUTPUTS: Final = {form.__name__: form for form in (plain, folded, fused, weight_first, sums_of_products)}


# --- from the gradient of r to that of the variance -----------------------------------------------------


def cube(p: Pass, dr: Array) -> Array:
    """-r^3 / 2, or -r^2 / (2 sqrt(var))"""
    f, r = p.f, p.r
    if p.placement == "outside_sqrt":
        return f(f(f(f(dr * r) * r) * f(-0.5)) / f(np.sqrt(p.var)))
    return f(p.open * f(f(dr * f(f(r * r) * r)) * f(-0.5)))


def cube_last(p: Pass, dr: Array) -> Array:
    """((dr * r) * r) * r, as torch's kernel multiplies"""
    f, r = p.f, p.r
    if p.placement == "outside_sqrt":
        return f(f(f(-dr) * f(r * r)) * f(f(0.5) / f(np.sqrt(p.var))))
    return f(p.open * f(f(f(f(dr * f(-0.5)) * r) * r) * r))


def quotient(p: Pass, dr: Array) -> Array:
    """-r / (2 s), as XLA differentiates rsqrt"""
    f = p.f
    if p.placement == "outside_sqrt":
        return cube(p, dr)
    return f(p.open * f(dr * f(f(f(-0.5) * p.r) / p.under_root)))


def power(p: Pass, dr: Array) -> Array:
    """-s^(-3/2) / 2"""
    f = p.f
    if p.placement == "outside_sqrt":
        return cube(p, dr)
    s = p.under_root
    return f(p.open * f(f(dr * f(-0.5)) * f(f(1) / f(s * f(np.sqrt(s))))))


def division(p: Pass, dr: Array) -> Array:
    """Through the deviation that divides: d(1/t) = -1/t^2, then d sqrt(s) = 1 / (2 sqrt(s))"""
    f, t = p.f, p.deviation
    root = f(np.sqrt(p.var)) if p.placement == "outside_sqrt" else t
    return f(p.open * f(f(f(-dr) / f(t * t)) / f(f(2) * root)))


SLOPES: Final = {slope.__name__: slope for slope in (cube, cube_last, quotient, power, division)}


# --- from the statistics to the input -----------------------------------------------------------------


def two_pass(p: Pass, up: Upstream, dvar: Array) -> Array:
    """var = mean((x - mean)^2), x - mean shared with the output"""
    f = p.f
    if p.blended is not None:
        return own_deviation(p, up, dvar)
    d = f(p.x - p.statistics.mean)
    dd = f(up.direct + f(p.over_n(dvar) * f(f(2) * d)))
    return f(dd + p.over_n(f(-p.sum(dd))))


def own_deviation(p: Pass, up: Upstream, dvar: Array) -> Array:
    """var = mean((x - mean)^2) with a deviation of its own, whose mean is subtracted as well"""
    f = p.f
    d = f(p.x - p.statistics.mean)
    squares = f(f(p.over_n(dvar) * f(2)) * d)
    dmean = f(up.mean - p.sum(squares))
    return f(f(up.direct + squares) + p.over_n(dmean))


def operator(p: Pass, up: Upstream, dvar: Array) -> Array:
    """var as an operator whose gradient is 2 (x - mean) / n"""
    f = p.f
    scale = p.over_n(f(f(2) * dvar))
    return f(f(up.direct + p.over_n(up.mean)) + f(scale * f(p.x - p.statistics.mean)))


def coefficients(p: Pass, up: Upstream, dvar: Array) -> Array:
    """torch's: direct + c2 x + c3"""
    f = p.f
    c2 = p.over_n(f(f(2) * dvar))
    c3 = f(f(-f(c2 * p.statistics.mean)) + p.over_n(up.mean))
    return f(f(up.direct + f(c2 * p.x)) + c3)


def one_pass(p: Pass, up: Upstream, dvar: Array) -> Array:
    """var = max(mean(x^2) - mean^2, 0)"""
    f = p.f
    dvar = np.where(p.statistics.var > 0, dvar, f(0 if p.tie == 1 else p.tie * dvar))
    squares = f(p.over_n(dvar) * f(f(2) * p.x))
    dmean = f(up.mean + f(f(dvar * f(-2)) * p.statistics.mean))
    return f(f(up.direct + squares) + p.over_n(dmean))


#: How dvar reaches x; `one_pass` belongs to that class alone.
THROUGH: Final = {way.__name__: way for way in (two_pass, own_deviation, operator, coefficients, one_pass)}


def differentiated(p: Pass, output: str, slope: str, through: str) -> tuple[Array, Array]:
    """dx, and each element's part of dweight."""
    f, up = p.f, OUTPUTS[output](p)
    dvar = SLOPES[slope](p, up.r)
    if p.clamped:
        dvar = np.where(p.statistics.var > 0, dvar, f(p.tie * dvar))
    if p.unbiased:
        dvar = f(dvar * p.factor)
    if p.blended is not None:
        weight = f(p.blended[1])
        dvar, up = f(weight * dvar), Upstream(direct=up.direct, mean=f(weight * up.mean), r=up.r, dweight=up.dweight)
    return THROUGH[through](p, up, dvar), up.dweight


# --- gradients of the output ----------------------------------------------------------------------------


def _aligned(rng: np.random.Generator, x: Array) -> Array:
    """dy = x_hat, for which dx is nearly 0."""
    x = x.astype(np.float64)
    return (x - x.mean(axis=1, keepdims=True)) / (x.std(axis=1, keepdims=True) + 1e-300)


def _orthogonal(rng: np.random.Generator, x: Array) -> Array:
    """mean(dy) and mean(dy x_hat) are nearly 0, their parts are not."""
    dy, x_hat = rng.standard_normal(x.shape), _aligned(rng, x)
    for taken in (np.ones(x.shape), x_hat):
        dy = dy - taken * np.mean(dy * taken, axis=1, keepdims=True)
    return np.round(dy, 3)


def _one_hot(rng: np.random.Generator, x: Array) -> Array:
    dy = np.zeros(x.shape)
    dy[np.arange(len(x)), rng.integers(0, x.shape[1], len(x))] = 1
    return dy


def _scaled(size: float) -> Callable[[np.random.Generator, Array], Array]:
    return lambda rng, x: size * rng.standard_normal(x.shape)


#: dy by regime, from x of shape (B, n); float64, to be rounded.
UPSTREAM: Final[dict[str, Callable[[np.random.Generator, Array], Array]]] = {
    "normal": _scaled(1.0),
    "constant": lambda rng, x: np.broadcast_to(rng.standard_normal((len(x), 1)), x.shape).copy(),
    "aligned": _aligned,
    "aligned and constant": lambda rng, x: 3 + 2 * _aligned(rng, x),
    "orthogonal": _orthogonal,
    "nearly aligned": lambda rng, x: _aligned(rng, x) + 1e-4 * rng.standard_normal(x.shape),
    "large mean": lambda rng, x: 1e4 + rng.standard_normal(x.shape),
    "one hot": _one_hot,
    "sparse": lambda rng, x: rng.standard_normal(x.shape) * (rng.random(x.shape) < 0.3),
    "signs": lambda rng, x: np.sign(_aligned(rng, x)),
    "the input": lambda rng, x: x.astype(np.float64),
    "magnitudes": lambda rng, x: np.ldexp(rng.standard_normal(x.shape), rng.integers(-12, 12, x.shape)),
    "small": _scaled(1e-8),
    "tiny": _scaled(1e-30),
    "near the smallest normal": _scaled(3e-38),
    "subnormal": _scaled(1e-41),
    "large": _scaled(1e8),
    "huge": _scaled(1e25),
    "near overflow": _scaled(3e37),
    "zero": lambda rng, x: np.zeros(x.shape),
}


def parameter_of(p: Pass, parts: Array) -> Array:
    """The sum of each set's parts of a parameter's gradient."""
    return p.total(p.f, parts)[:, 0]


def channel_sums(p: Pass) -> tuple[Array, Array]:
    """dweight and dbias of sets that are channels, as (sum(dy x) - mean sum(dy)) r and as sum(dy)."""
    f, bias = p.f, p.sum(p.dy)
    return f(f(p.sum(f(p.dy * p.x)) - f(bias * p.mean)) * p.r)[:, 0], bias[:, 0]


def closed_parameter(p: Pass) -> Array:
    """sum(dy x_hat)"""
    return parameter_of(p, p.f(p.dy * p.f(p.f(p.x - p.mean) * p.r)))
