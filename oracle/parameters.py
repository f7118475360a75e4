"""The gradients of weight and bias, and bounds on them; the notation is that of bounds.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normgauge.oracle.backward import Reciprocal, Used, at_least_one, judged, pair
from normgauge.oracle.bounds import Arithmetic
from normgauge.oracle.moments import U64, Float, two_sum
from normgauge.oracle.reference import Reference


@dataclass(frozen=True)
class ParameterSums:
    """What the gradients of weight and bias are made of, summed over some samples; P parameters.

    ``products`` are those of dy and x_hat, ``upstream`` is dy itself, each as a pair of shape (2, P). ``sizes``
    has shape (6, P): the error inherited from the statistics, what rounding multiplies, what underflow loses,
    |products|, the most that may be formed on the way, |dy|. ``largest`` (P,) bounds |x_hat|. ``certain`` (2, P)
    tells where dweight and dbias are NaN for certain.
    """

    products: Float
    upstream: Float
    sizes: Float
    largest: Float
    certain: NDArray[np.bool_]

    def __add__(self, other: ParameterSums) -> ParameterSums:
        def both(a: Float, b: Float) -> Float:
            total, error = two_sum(a[0], b[0])
            return np.stack([total, a[1] + b[1] + error])

        return ParameterSums(
            both(self.products, other.products),
            both(self.upstream, other.upstream),
            self.sizes + other.sizes,
            np.maximum(self.largest, other.largest),
            self.certain | other.certain,
        )


def parameter_sums(
    x: Float, dy: Float, *, parts: int, used: Used, reciprocal: Reciprocal, arithmetic: Arithmetic
) -> ParameterSums:
    """The sums for sets of shape (N, S, n).

    Each set is cut into ``parts`` adjacent stretches of equal length; a parameter belongs to the same
    stretch of all N sets.
    """
    samples, sets, n = x.shape
    eta, r, relative = arithmetic.held.smallest_normal, reciprocal.value, reciprocal.relative

    def stretched(values: NDArray[Any]) -> NDArray[Any]:
        """(N, S, n) as (S * parts, N, n / parts)."""
        cut = np.broadcast_to(values, x.shape).reshape(samples, sets * parts, n // parts)
        return np.moveaxis(cut, 0, 1)

    def summed(values: Float) -> Float:
        return np.asarray(np.sum(stretched(values), axis=(1, 2)), dtype=np.float64)

    def per_set(values: Float) -> Float:
        """A value of each set, of shape (S * parts, N)."""
        return np.repeat(np.broadcast_to(values, (samples, sets, 1))[..., 0].T, parts, axis=0)

    products, upstream = dy * (used.deviation * r), dy
    dweight, dbias = (pair(stretched(v).reshape(sets * parts, -1), arithmetic) for v in (products, upstream))
    most_r = r * (1 + relative)
    size, about = np.abs(dy), np.abs(x) + (np.abs(used.mean) + used.mean_bound)

    inherited = per_set(relative) * np.abs(np.sum(stretched(products), axis=2))
    inherited = inherited + per_set(most_r * used.mean_bound) * np.abs(np.sum(stretched(upstream), axis=2))
    x_hat = (np.abs(used.deviation) + used.mean_bound) * most_r
    flushed = 2 * x_hat + most_r * (2 * size + (2 + np.abs(used.mean) + used.mean_bound)) + size + 4
    flushed = eta * flushed + np.fmin(size * x_hat, eta * about)  # dy * r, which then multiplies x - mean
    reach = size * at_least_one(about) * np.maximum(most_r, 1)
    sums = [summed(one) for one in (most_r * about * size, flushed, np.abs(products), reach, size)]

    unknown = np.isposinf(used.mean_bound), np.isposinf(used.var_bound)
    certain = np.isnan(used.mean) & ~unknown[0] | np.isnan(used.var) & ~unknown[1] | np.isnan(x) | np.isnan(dy)
    undefined = [np.any(stretched(one), axis=(1, 2)) for one in (certain, np.isnan(dy))]
    largest = np.max(stretched(about * most_r), axis=(1, 2))
    sizes = np.stack([np.sum(inherited, axis=1), *sums])
    return ParameterSums(dweight, dbias, sizes, largest, np.stack(undefined))


def parameter_gradients(sums: ParameterSums, count: int, arithmetic: Arithmetic) -> tuple[Reference, Reference]:
    """dweight and dbias, flat, from the sums over all samples; ``count`` values in each sum."""
    u, eta, again = arithmetic.held.u, arithmetic.held.smallest_normal, arithmetic.rounds_sums
    # A sum of each sample's places, then of the samples: either may be rounded once more.
    most, most_bias = (arithmetic.gamma(count - 1.0, others + 2 * again) for others in (6, 2))
    dweight, dbias = (pair[0] + pair[1] for pair in (sums.products, sums.upstream))
    inherited, rounding, flushed, products, reach, total = sums.sizes

    own = 5 * U64 * products + U64 * np.abs(dweight)
    bound = (1 + 16 * u) * (inherited + most * rounding + flushed) + own
    reach = np.maximum(reach, sums.largest)  # x_hat, also where dy is 0
    bound = np.where(reach <= arithmetic.held.largest * (1 - most), bound, np.inf)
    bias_bound = (1 + 16 * u) * (most_bias * total + 3 * eta * count) + U64 * (total + np.abs(dbias))
    bias_bound = np.where(total <= arithmetic.held.largest * (1 - most_bias), bias_bound, np.inf)
    return (
        judged(dweight, bound, sums.certain[0], arithmetic),
        judged(dbias, bias_bound, sums.certain[1], arithmetic),
    )
