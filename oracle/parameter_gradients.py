"""The gradients of weight and bias, and bounds on them; the notation is that of bounds.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from normgauge.oracle.backward import ABSORBED, Sets, at_least_one, judged
from normgauge.oracle.bounds import Arithmetic
from normgauge.oracle.moments import U64, Float, pair_sum, two_sum
from normgauge.oracle.reference import Reference

#: A sum below this part of the largest number decides no comparison of a longer sum with that number.
_FAR_IN_RANGE: Final = 2.0**-80


@dataclass(frozen=True)
class ParameterSums:
    """What the gradients of weight and bias are made of, summed over some samples; P parameters.

    ``products`` are those of dy and x_hat, ``upstream`` is dy itself, each as a pair of shape (2, P). ``sizes``
    has shape (6, P): the error inherited from the statistics, what rounding multiplies, what underflow loses,
    |products|, the most that may be formed on the way, |dy|. ``largest`` (P,) bounds |x_hat|. ``certain`` (2, P)
    tells where dweight and dbias are NaN for certain. What underflow loses, and what may be formed, is 0 where it
    is too small to change anything.
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


def parameter_sums(s: Sets, parts: int) -> ParameterSums:
    """The sums for sets of shape (N, S, n), or (S, n) of one sample.

    Each set is cut into ``parts`` adjacent stretches of equal length; a parameter belongs to the same
    stretch of all N sets.
    """
    *outer, sets, n = s.x.shape
    samples, count = outer[0] if outer else 1, sets * parts
    held, r, used, top = s.arithmetic.held, s.reciprocal.value, s.used, s.tops

    def stretched(values: NDArray[Any]) -> NDArray[Any]:
        """(N, S, n) as (S * parts, N, n / parts)."""
        return values.reshape(samples, count, n // parts).swapaxes(0, 1)

    def summed(values: Float) -> Float:
        return np.asarray(np.add.reduce(stretched(values), axis=(1, 2)))

    def per_set(values: Float) -> Float:
        """A value of each set, of shape (S * parts, N)."""
        return np.repeat(values.reshape(samples, sets).T, parts, axis=0)

    products, most_r = s.dy * s.x_hat, r * (1 + s.reciprocal.relative)
    places = samples * n // parts
    sizes, largest = np.zeros((6, count)), np.zeros(count)

    inherited = per_set(s.reciprocal.relative) * np.abs(np.add.reduce(stretched(products), axis=2))
    inherited += per_set(most_r * used.mean_bound) * np.abs(np.add.reduce(stretched(s.dy), axis=2))
    sizes[0] = np.add.reduce(inherited, axis=1)
    about = np.abs(s.x)
    about += np.abs(used.mean) + used.mean_bound
    x_hat = about * most_r
    if not places * top.together <= _FAR_IN_RANGE * held.largest:
        largest = np.maximum.reduce(stretched(x_hat), axis=(1, 2))
        sizes[4] = summed(s.sizes * at_least_one(about) * np.maximum(most_r, 1))
    x_hat *= s.sizes
    sizes[1] = summed(x_hat)
    if not 5 * held.smallest_normal * places * top.together <= ABSORBED * held.u * float(sizes[1].min()):
        sizes[2] = summed(_flushed(s, about, most_r))
    size_products = np.abs(products)
    sizes[3] = summed(size_products)
    sizes[5] = summed(s.sizes)
    pairs = np.zeros((2, 2, count))  # high and low parts of both sums; low is 0 but where float64 is held to it
    for i, (values, own) in enumerate(((products, size_products), (s.dy, s.sizes))):
        rows = stretched(values).reshape(count, -1)
        if s.arithmetic.dtype == "float64":
            top_of_row = np.maximum.reduce(stretched(own), axis=(1, 2))
            pairs[:, i] = np.array(pair_sum(rows, top_of_row[:, None], cuts=1))[..., 0]
        else:
            np.add.reduce(rows, axis=-1, out=pairs[0, i])
    certain = np.zeros((2, count), bool)
    if not np.isfinite(pairs).all():  # an input that makes a NaN certain is in the sums
        certain[:] = [np.logical_or.reduce(stretched(one), axis=(1, 2)) for one in (_undefined(s), np.isnan(s.dy))]
    return ParameterSums(pairs[:, 0], pairs[:, 1], sizes, largest, certain)


def _flushed(s: Sets, about: Float, most_r: Float) -> Float:
    """What a product of dy and x_hat loses to underflow: at most 5 eta times ``s.tops.together``."""
    eta, used = s.arithmetic.held.smallest_normal, s.used
    x_hat = (np.abs(used.deviation) + used.mean_bound) * most_r
    flushed = 2 * x_hat + most_r * (2 * s.sizes + (2 + np.abs(used.mean) + used.mean_bound)) + s.sizes + 4
    # dy * r, which then multiplies x - mean
    return np.asarray(eta * flushed + np.fmin(s.sizes * x_hat, eta * about))


def _undefined(s: Sets) -> NDArray[np.bool_]:
    """Where dy * x_hat is NaN for certain."""
    used = s.used
    undefined = np.isnan(used.mean) & (used.mean_bound != np.inf) | np.isnan(used.var) & (used.var_bound != np.inf)
    return np.asarray(undefined | np.isnan(s.x) | np.isnan(s.dy))


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
        judged(dweight, bound, lambda: sums.certain[0], arithmetic),
        judged(dbias, bias_bound, lambda: sums.certain[1], arithmetic),
    )
