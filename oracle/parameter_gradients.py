"""The gradients of weight and bias, and bounds on them; the notation is that of bounds.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from normgauge.oracle.arithmetic import Arithmetic
from normgauge.oracle.backward import ABSORBED, Sets, at_least_one, judged
from normgauge.oracle.moments import U64, Float, pair_sum, two_sum
from normgauge.oracle.reference import Reference

#: A sum below this part of the largest number decides no comparison of a longer sum with that number.
_FAR_IN_RANGE: Final = 2.0**-80


@dataclass(frozen=True, kw_only=True)
class ParameterSums:
    """What the gradients of weight and bias are made of, summed over some samples; P parameters.

    ``products`` are those of dy and x_hat, ``upstream`` is dy itself, each as a pair of shape (2, P). ``sizes``
    has shape (6, P): the error inherited from the statistics, what rounding multiplies, what underflow loses,
    |products|, the most that may be formed on the way, |dy|. ``largest`` (P,) bounds |x - mean| and |x_hat|.
    ``certain`` (2, P) tells where dweight and dbias are NaN for certain. What underflow loses, and what may be formed,
    is 0 where it is too small to change anything.
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
            products=both(self.products, other.products),
            upstream=both(self.upstream, other.upstream),
            sizes=self.sizes + other.sizes,
            largest=np.maximum(self.largest, other.largest),
            certain=self.certain | other.certain,
        )


@dataclass(frozen=True, kw_only=True)
class _Stretches:
    """Sets of shape (N, S, n), each cut into ``parts`` adjacent stretches of equal length, one for each parameter."""

    samples: int
    sets: int
    n: int
    parts: int

    @property
    def count(self) -> int:
        return self.sets * self.parts

    def of(self, values: NDArray[Any]) -> NDArray[Any]:
        """(N, S, n) as (S * parts, N, n / parts)."""
        return values.reshape(self.samples, self.count, self.n // self.parts).swapaxes(0, 1)

    def summed(self, values: Float) -> Float:
        return np.asarray(np.add.reduce(self.of(values), axis=(1, 2)))

    def per_set(self, values: Float) -> Float:
        """A value of each set, of shape (S * parts, N)."""
        return np.repeat(values.reshape(self.samples, self.sets).T, self.parts, axis=0)


def parameter_sums(s: Sets, parts: int) -> ParameterSums:
    """The sums for sets of shape (N, S, n); a parameter belongs to the same one of ``parts`` stretches of N sets."""
    samples, sets, n = s.dy.shape
    stretches = _Stretches(samples=samples, sets=sets, n=n, parts=parts)
    products = s.dy * s.x_hat
    sizes, largest = _sizes(s, products, stretches)
    size_products = np.abs(products)
    sizes[3] = stretches.summed(size_products)
    # High and low parts of both sums; low is 0 but where float64 is held to it.
    pairs = np.zeros((2, 2, stretches.count))
    for i, (values, own) in enumerate(((products, size_products), (s.dy, s.sizes))):
        rows = stretches.of(values).reshape(stretches.count, -1)
        if s.arithmetic.dtype == "float64":
            top_of_row = np.maximum.reduce(stretches.of(own), axis=(1, 2))
            pairs[:, i] = np.array(pair_sum(rows, top_of_row[:, None], cuts=1))[..., 0]
        else:
            np.add.reduce(rows, axis=-1, out=pairs[0, i])
    certain = np.zeros((2, stretches.count), bool)
    if not np.isfinite(pairs).all():  # an input that makes a NaN certain is in the sums
        certain[:] = [np.logical_or.reduce(stretches.of(one), axis=(1, 2)) for one in (_undefined(s), np.isnan(s.dy))]
    return ParameterSums(products=pairs[:, 0], upstream=pairs[:, 1], sizes=sizes, largest=largest, certain=certain)


def _sizes(s: Sets, products: Float, stretches: _Stretches) -> tuple[Float, Float]:
    """``sizes`` and ``largest`` of :class:`ParameterSums`, but for |products|.

    sum over the sets of [rho |sum(dy x_hat)| + (1 + rho) r d mu |sum dy|], and what rounding multiplies,
    sum of (1 + rho) |dy| r (|x| + |mu| + d mu).
    """
    held, top, mean = s.arithmetic.held, s.tops, s.used.mean
    most_r = s.reciprocal.size * (1 + s.reciprocal.relative)
    places = stretches.samples * stretches.n // stretches.parts
    sizes, largest = np.zeros((6, stretches.count)), np.zeros(stretches.count)
    inherited = stretches.per_set(s.reciprocal.relative) * np.abs(np.add.reduce(stretches.of(products), axis=2))
    inherited += stretches.per_set(most_r * mean.bound) * np.abs(np.add.reduce(stretches.of(s.dy), axis=2))
    sizes[0] = np.add.reduce(inherited, axis=1)
    about = np.abs(s.used.x)
    about += np.abs(mean.value) + mean.bound
    x_hat = about * most_r
    if not places * top.together <= _FAR_IN_RANGE * held.largest:
        largest = np.maximum.reduce(stretches.of(np.maximum(x_hat, about)), axis=(1, 2))
        sizes[4] = stretches.summed(s.sizes * at_least_one(about) * np.maximum(most_r, 1))
    x_hat *= s.sizes
    sizes[1] = stretches.summed(x_hat)
    if not 5 * held.smallest_normal * places * top.together <= ABSORBED * held.u * float(sizes[1].min()):
        sizes[2] = stretches.summed(_flushed(s, about, most_r))
    sizes[5] = stretches.summed(s.sizes)
    return sizes, largest


def _flushed(s: Sets, about: Float, most_r: Float) -> Float:
    """What a product of dy and x_hat loses to underflow: at most 5 eta times ``s.tops.together``."""
    eta, mean = s.arithmetic.held.smallest_normal, s.used.mean
    x_hat = (np.abs(s.used.deviation) + mean.bound) * most_r
    flushed = 2 * x_hat + most_r * (2 * s.sizes + (2 + np.abs(mean.value) + mean.bound)) + s.sizes + 4
    # dy * r, which then multiplies x - mean
    return np.asarray(eta * flushed + np.fmin(s.sizes * x_hat, eta * about))


def _undefined(s: Sets) -> NDArray[np.bool_]:
    """Where dy * x_hat is NaN for certain."""
    undefined = s.used.mean.demands_nan() | s.used.var.demands_nan()
    return np.asarray(undefined | np.isnan(s.used.x) | np.isnan(s.dy))


def parameter_gradients(sums: ParameterSums, count: int, arithmetic: Arithmetic) -> tuple[Reference, Reference]:
    """dweight and dbias, flat, from the sums over all samples; ``count`` values in each sum.

    d dw = inherited + gamma_(N + 5) sum of (1 + rho) |dy| r (|x| + |mu| + d mu) + F,
    d db = gamma_(N + 1) sum of |dy| + 3 N eta.
    """
    u, eta, again = arithmetic.held.u, arithmetic.held.smallest_normal, arithmetic.rounds_sums
    # A sum of each sample's places, then of the samples: either may be rounded once more.
    most, most_bias = (arithmetic.gamma(count - 1.0, others + 2 * again) for others in (6, 2))
    dweight, dbias = (pair[0] + pair[1] for pair in (sums.products, sums.upstream))
    inherited, rounding, flushed, products, reach, total = sums.sizes
    rounded = arithmetic.of_sum(count - 1.0, 6 + 2 * again, np.abs(dweight), rounding)
    rounded_bias = arithmetic.of_sum(count - 1.0, 2 + 2 * again, np.abs(dbias), total)

    own = 5 * U64 * products + U64 * np.abs(dweight)
    bound = (1 + 16 * u) * (inherited + rounded + flushed) + own
    reach = np.maximum(reach, sums.largest)  # x - mean and x_hat, also where dy is 0
    bound = np.where(reach <= arithmetic.held.largest * (1 - most), bound, np.inf)
    bias_bound = (1 + 16 * u) * (rounded_bias + 3 * eta * count) + U64 * (total + np.abs(dbias))
    bias_bound = np.where(total <= arithmetic.held.largest * (1 - most_bias), bias_bound, np.inf)
    return (
        judged(dweight, bound, lambda: sums.certain[0], arithmetic),
        judged(dbias, bias_bound, lambda: sums.certain[1], arithmetic),
    )
