"""Normalization by the statistics of any pool of values, forward and backward: what mistakes of reductions compute.

The formula is that of normalize.py. The bounds are rougher than those of what somebody ships on purpose, as there is no
honest form to hold to them; a mistake is far outside of them all the same. docs/bounds.md has the derivation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from normgauge.oracle.arithmetic import Arithmetic
from normgauge.oracle.bounds import result_bound
from normgauge.oracle.moments import U64, Float, max_of
from normgauge.oracle.normalize import Formula, normalized, reciprocal_deviation
from normgauge.oracle.pools import Pool
from normgauge.oracle.reference import Gradients, Reference
from normgauge.oracle.semantics import Semantics
from normgauge.oracle.statistics import Batch, Statistics, divided_by

#: Values of the axis ``variance`` that are a divisor.
_DIVISORS: Final = ("biased", "unbiased")
#: Values of ``centre`` with which 0 is subtracted, and those with which the variance is about 0, too.
_NOT_CENTRED: Final = ("not_subtracted", "root_mean_square")
_ABOUT_ZERO: Final = ("root_mean_square",)


def is_pooled(semantics: Semantics, reduction: str, shipped: tuple[str, ...]) -> bool:
    """Whether a mistake of the reduction is asked for: on that axis, on ``variance``, or on ``centre``."""
    choices = [semantics.choice(axis) for axis in (reduction, "variance", "centre")]
    return choices[0] not in shipped or choices[1] not in _DIVISORS or choices[2] != "mean"


@dataclass(frozen=True, kw_only=True)
class Given:
    """The flattened input, and for each of its elements the weight and bias that it meets; None for 1 and 0."""

    x: Float
    weight: Float | None
    bias: Float | None

    @classmethod
    def of(cls, x: NDArray[Any], weight: Float | None, bias: Float | None, axis: int = 1) -> Given:
        """That of x (N, C, *spatial), and of weight and bias (C,), which lie along an axis of x."""

        def elements(values: Float | None) -> Float | None:
            return None if values is None else np.broadcast_to(along(values, x.ndim, axis), x.shape).ravel()

        return cls(x=x.astype(np.float64).ravel(), weight=elements(weight), bias=elements(bias))


def along(values: NDArray[Any], rank: int, axis: int = 1) -> NDArray[Any]:
    """``values`` (C,) so that they broadcast along one of ``rank`` axes."""
    return values.reshape([-1 if place == axis % rank else 1 for place in range(rank)])


def pool_statistics(x: Float, pool: Pool, semantics: Semantics, arithmetic: Arithmetic) -> Statistics:
    """The destinations of ``pool`` as sets, and what normalises them; ``x`` is flat."""
    values, own = np.append(x, 0.0), x[pool.destination]
    batch = Batch.of(values[pool.mean], arithmetic)
    slack = 8 * U64 * batch.m.max_abs
    mean = _mean(batch, pool, arithmetic)
    mean = Reference(value=mean.value, bound=mean.bound + slack)
    var = _variance(values, batch, pool, semantics, arithmetic)
    mean, var = (
        Reference(value=one.value[pool.statistics_of], bound=one.bound[pool.statistics_of]) for one in (mean, var)
    )
    used = Statistics(x=own, deviation=own - mean.value, largest=max_of(np.abs(own)), mean=mean, var=var)
    return not_centred(used) if is_not_centred(semantics) else used


def entering_statistics(x: Float, pool: Pool, channels: int, formula: Formula) -> Reference:
    """The mean and the variance of each channel, of shape (2, C), that enter the running ones.

    They are those that normalise, averaged over the sets of a channel, or of all sets where sets have several channels.
    An unbiased variance has n / (n - 1) of the n values that are normalised together.
    """
    semantics, arithmetic = formula.semantics, formula.arithmetic
    values = np.append(x, 0.0)
    batch = Batch.of(values[pool.mean], arithmetic)
    var = _variance(values, batch, pool, semantics, arithmetic)
    n = pool.destination.shape[1]
    if semantics.choice("running_var") == "unbiased" and n > 1 and _divisor(semantics) == "biased":
        var = Reference(
            value=var.value * n / (n - 1), bound=var.bound * n / (n - 1) + 2 * arithmetic.held.u * var.value
        )
    parts = (_mean(batch, pool, arithmetic), var)
    by_channel = [_by_channel(one, channels, arithmetic.held.u) for one in parts]
    return Reference(
        value=np.array([one.value for one in by_channel]), bound=np.array([one.bound for one in by_channel])
    )


def _by_channel(one: Reference, channels: int, u: float) -> Reference:
    rows = channels if len(one.value) % channels == 0 else 1
    value, bound, size = (v.reshape(rows, -1).mean(axis=1) for v in (one.value, one.bound, np.abs(one.value)))
    bound = bound + (len(one.value) // rows + 2) * u * size
    return Reference(value=np.broadcast_to(value, channels), bound=np.broadcast_to(bound, channels))


def is_not_centred(semantics: Semantics) -> bool:
    """Whether 0 is subtracted in place of a mean."""
    return semantics.choice("centre") in _NOT_CENTRED


def not_centred(used: Statistics) -> Statistics:
    """With 0 in place of the mean."""
    zero = Reference(value=np.zeros_like(used.mean.value), bound=np.zeros_like(used.mean.bound))
    return replace(used, deviation=used.x, mean=zero)


def _is_about_zero(semantics: Semantics) -> bool:
    return semantics.choice("variance") == "about_zero" or semantics.choice("centre") in _ABOUT_ZERO


def _divisor(semantics: Semantics) -> str:
    chosen = semantics.choice("variance")
    return chosen if chosen in _DIVISORS else "biased"


def _mean(batch: Batch, pool: Pool, arithmetic: Arithmetic) -> Reference:
    """The means that a pool's sets are normalised by, of shape (T, 1)."""
    if pool.mean_divisor is None:
        return Reference(value=batch.m.mean, bound=batch.bound.mean)
    factor = batch.m.n / pool.mean_divisor
    value = batch.m.mean * factor
    return Reference(value=value, bound=batch.bound.mean * factor + 4 * arithmetic.held.u * np.abs(value))


def _about_mean(values: Float, mean: Reference, pool: Pool, semantics: Semantics, arithmetic: Arithmetic) -> Reference:
    """n / d (v + (m - mean)^2) with m and v the mean and the variance of the n values that are squared."""
    own = Batch.of(values[pool.variance[:, 0]], arithmetic)
    apart, off = own.m.mean - mean.value, own.bound.mean + mean.bound
    factor = own.m.n / _divided_by(pool, semantics)
    value = factor * (own.m.var + np.square(apart))
    bound = factor * (own.bound.var + off * (2 * np.abs(apart) + off)) + (own.m.n + 8) * arithmetic.held.u * value
    return Reference(value=value, bound=bound)


def _divided_by(pool: Pool, semantics: Semantics) -> int:
    """What divides the squares of a part."""
    n = pool.variance.shape[2] if pool.divisor is None else pool.divisor
    return max(n - 1, 1) if _divisor(semantics) == "unbiased" else n


def _variance(values: Float, batch: Batch, pool: Pool, semantics: Semantics, arithmetic: Arithmetic) -> Reference:
    """The variances that a pool's sets are normalised by, of shape (T, 1)."""
    if pool.about_mean:
        var = _about_mean(values, _mean(batch, pool, arithmetic), pool, semantics, arithmetic)
    elif pool.variance.shape[1] == 1:
        var = divided_by(batch, _divisor(semantics), arithmetic)
        if pool.divisor is not None:
            factor = batch.m.n / pool.divisor
            bound = var.bound * factor + 4 * arithmetic.held.u * var.value * factor
            var = Reference(value=var.value * factor, bound=bound)
    else:
        parts = divided_by(Batch.of(values[pool.variance], arithmetic), _divisor(semantics), arithmetic)
        count = parts.value.shape[1]
        value = parts.value.mean(axis=1)
        var = Reference(value=value, bound=parts.bound.mean(axis=1) + (count + 2) * arithmetic.held.u * value)
    if pool.about is not None:
        mean, off = np.abs(batch.m.mean - pool.about.value), batch.bound.mean + pool.about.bound
    elif _is_about_zero(semantics):
        mean, off = np.abs(batch.m.mean), batch.bound.mean
    else:
        return var
    about = var.value + np.square(mean)
    return Reference(
        value=about, bound=var.bound + off * (2 * mean + off) + (batch.m.n + 4) * arithmetic.held.u * about
    )


def pooled_output(given: Given, used: Statistics, pool: Pool, formula: Formula) -> Reference:
    """The output, flat."""
    weight, bias = (None if one is None else one[pool.destination] for one in (given.weight, given.bias))
    sets = normalized(used, 1.0 if weight is None else weight, 0.0 if bias is None else bias, formula)
    whole = Reference(value=np.empty(given.x.shape), bound=np.empty(given.x.shape))
    whole.value[pool.destination], whole.bound[pool.destination] = sets.value, sets.bound
    return whole


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """A quantity made of products, the sum of their sizes, that sum with each deviation at its largest, and an error.

    All are of one shape. The rounding errors of the quantity are a part of ``most``, and so is what the errors of the
    deviations do; ``error`` is carried on from the gradient of the output.
    """

    value: Float
    size: Float
    most: Float
    error: Float

    def bound(self, relative: Float | float) -> Float:
        return np.asarray(self.most * relative + 2 * (self.most - self.size) + self.error)


def pooled_gradients(
    given: Given, dy: tuple[Float, Float], used: Statistics, pool: Pool, formula: Formula, *, constant: bool = False
) -> Gradients:
    """The gradients with respect to x, the weights and the biases, each for each element of the flat input.

    ``dy`` (flat) comes with its error. Statistics that are ``constant`` let no gradient through.
    """
    upstream, off = (one[pool.destination] for one in dy)
    weight = 1.0 if given.weight is None else given.weight[pool.destination]
    r, relative = reciprocal_deviation(used, formula)
    u, held = formula.arithmetic.held.u, formula.arithmetic
    size_r, deviation = np.abs(r), np.abs(used.deviation)
    largest = deviation + used.mean.bound + 2 * u * (np.abs(used.x) + np.abs(used.mean.value))
    g, most_g, error_g = upstream * weight, np.abs(upstream * weight), off * np.abs(weight)
    dx = _Scattered.of(given.x.size)
    dx.add(pool.destination, _Parts(value=r * g, size=size_r * most_g, most=size_r * most_g, error=size_r * error_g))
    if not constant:
        slope = formula.placement.slope(used.var.value, formula.eps)
        cube = 0.5 * slope * r**3
        through = _Parts(
            value=-cube * _total(g * used.deviation),
            size=np.abs(cube) * _total(most_g * deviation),
            most=np.abs(cube) * _total(most_g * largest),
            error=np.abs(cube) * _total(error_g * largest),
        )
        centred = not is_not_centred(formula.semantics)
        about = _Parts(
            value=-r * _total(g) * centred,
            size=size_r * _total(most_g) * centred,
            most=size_r * _total(most_g) * centred,
            error=size_r * _total(error_g) * centred,
        )
        _through_statistics(dx, given.x, pool, (about, through), formula)
    n = pool.mean.shape[1] + pool.destination.shape[1]
    rounding = 8 * float(np.max(relative, initial=0.0)) + (2 * n + 24) * u
    products = _Scattered.of(given.x.size)
    products.add(
        pool.destination,
        _Parts(
            value=upstream * used.deviation * r,
            size=np.abs(upstream) * deviation * size_r,
            most=np.abs(upstream) * largest * size_r,
            error=off * largest * size_r,
        ),
    )
    plain = _Parts(value=dy[0], size=np.abs(dy[0]), most=np.abs(dy[0]), error=dy[1])
    made = (dx.parts(), products.parts(), plain)
    return Gradients(
        **{name: _judged(one, rounding, held) for name, one in zip(("dx", "dweight", "dbias"), made, strict=True)}
    )


def _total(values: Float) -> Float:
    return np.asarray(values.sum(axis=-1, keepdims=True))


def _judged(one: _Parts, rounding: float, arithmetic: Arithmetic) -> Reference:
    eta = arithmetic.held.smallest_normal
    bound = result_bound(one.value, one.bound(rounding) + 4 * eta, arithmetic)
    silent = np.isnan(bound) | ~np.isfinite(one.value)
    return Reference(value=one.value, bound=np.where(silent, np.inf, bound))


@dataclass(frozen=True, kw_only=True)
class _Scattered:
    """Sums over the places of a flat input; the last place is that of padding, and goes."""

    sums: Float

    @classmethod
    def of(cls, size: int) -> _Scattered:
        return cls(sums=np.zeros((4, size + 1)))

    def add(self, places: NDArray[np.intp], parts: _Parts) -> None:
        for own, values in zip(self.sums, (parts.value, parts.size, parts.most, parts.error), strict=True):
            np.add.at(own, places, np.broadcast_to(values, places.shape))

    def parts(self) -> _Parts:
        value, size, most, error = self.sums[:, :-1]
        return _Parts(value=value, size=size, most=most, error=error)


def _through_statistics(dx: _Scattered, x: Float, pool: Pool, through: tuple[_Parts, _Parts], formula: Formula) -> None:
    """What the mean and the variance, whose gradients per destination are given, hand on to the values they are of."""
    count = len(pool.mean)

    def gathered(parts: _Parts) -> _Parts:
        fields = (parts.value, parts.size, parts.most, parts.error)
        sums: list[Float] = [np.bincount(pool.statistics_of, one.ravel(), count).astype(float) for one in fields]
        return _Parts(value=sums[0], size=sums[1], most=sums[2], error=sums[3])

    of_mean, of_variance = (gathered(one) for one in through)
    m, all_values = pool.mean_divisor or pool.mean.shape[1], np.append(x, 0.0)
    values = all_values[pool.variance]
    about = 0.0 if _is_about_zero(formula.semantics) else values.mean(axis=-1, keepdims=True)
    if pool.about is not None:
        about = pool.about.value[:, None]
    if pool.about_mean:
        about = all_values[pool.mean].sum(axis=-1)[:, None, None] / m
    parts, k = pool.variance.shape[1:]
    factor = 2.0 / (parts * _divided_by(pool, formula.semantics))
    deviation, u = values - about, formula.arithmetic.held.u
    if pool.about_mean:  # the squares depend on the mean
        of_mean = _with(of_mean, of_variance, -factor * deviation.sum(axis=(1, 2)))
    dx.add(pool.mean, _each(of_mean, lambda values: values[:, None] / m))
    size = np.abs(deviation)
    largest = size + (k + 2) * u * np.abs(values).max(axis=-1, keepdims=True)

    def spread(one: Float, by: Float) -> Float:
        return np.asarray(one[:, None, None] * by * factor)

    dx.add(
        pool.variance,
        _Parts(
            value=spread(of_variance.value, deviation),
            size=spread(of_variance.size, size),
            most=spread(of_variance.most, largest),
            error=spread(of_variance.error, largest),
        ),
    )


def _with(of_mean: _Parts, of_variance: _Parts, slope: Float) -> _Parts:
    """What the mean is handed on, with that of the variance times the slope of the variance by the mean."""
    size = np.abs(slope)
    return _Parts(
        value=of_mean.value + of_variance.value * slope,
        size=of_mean.size + of_variance.size * size,
        most=of_mean.most + of_variance.most * size,
        error=of_mean.error + of_variance.error * size,
    )


def _each(parts: _Parts, change: Any) -> _Parts:
    return _Parts(
        value=change(parts.value), size=change(parts.size), most=change(parts.most), error=change(parts.error)
    )


def of_parameters(
    elements: Gradients, shape: tuple[int, ...], index: NDArray[np.intp], u: float, axis: int = 1
) -> Gradients:
    """The gradients of an input of ``shape``, weights and biases summed where ``index`` (C,) says, of shape (C,).

    The parameters lie along an axis of the input.
    """
    channels = shape[1]
    destinations = np.broadcast_to(along(index, len(shape), axis), shape).ravel()

    def summed(one: Reference) -> Reference:
        value, bound, size = (
            np.bincount(destinations, values, channels).astype(float)
            for values in (one.value, one.bound, np.abs(one.value))
        )
        n = one.value.size // channels
        return Reference(value=value, bound=bound + (n + 4) * (u + U64) * size)

    dx = Reference(value=elements.dx.value.reshape(shape), bound=elements.dx.bound.reshape(shape))
    return replace(elements, dx=dx, dweight=summed(elements.dweight), dbias=summed(elements.dbias))
