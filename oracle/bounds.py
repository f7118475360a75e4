"""How far an honest implementation may lie from the exact value, element by element.

Notation: u unit roundoff, eta smallest normal number, n reduction length, theta growth factor of a
sum, mu mean, v variance, r reciprocal deviation, gamma_k = k u / (1 - k u). The derivations are in
docs/bounds.md; Higham, "Accuracy and Stability of Numerical Algorithms" (2002), chapters 3 and 4,
gives the error of a sum, Chan, Golub and LeVeque (1983) those of the three kinds of variance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from normgauge.oracle.formats import Format, format_of
from normgauge.oracle.moments import U64, Float, Moments, gamma, max_of

#: Accuracy classes, tightest first. Each holds whatever its predecessors hold.
ACCURACY_CLASSES: Final = ("two_pass", "welford", "one_pass")
WIDEST: Final = ACCURACY_CLASSES[-1]

#: The types of inputs and outputs that each computing type may have besides itself.
_NARROWER: Final = {"float64": ("float32", "float16", "bfloat16"), "float32": ("float16", "bfloat16")}


@dataclass(frozen=True)
class Arithmetic:
    """The arithmetic a subject is allowed: the types it computes in and its accuracy class.

    ``dtype`` is the type of sums and, unless ``stored``, of everything else on the way; ``storage`` that of
    inputs, outputs, gradients and running statistics, ``dtype`` by default. With ``stored`` the mean, the
    variance and every elementwise intermediate are rounded to the storage type as well.

    Raises:
        ValueError: a dtype or class that is not known, or a storage type that is not narrower.

    >>> Arithmetic("float32", storage="bfloat16", stored=True).held.name
    'bfloat16'
    """

    dtype: str = "float32"
    accuracy: str = WIDEST
    storage: str | None = None
    stored: bool = False

    def __post_init__(self) -> None:
        format_of(self.dtype)
        format_of(self.storage or self.dtype)
        if self.accuracy not in ACCURACY_CLASSES:
            raise ValueError(f"accuracy class {self.accuracy!r} is not known; allowed: {', '.join(ACCURACY_CLASSES)}")
        allowed = (self.dtype, *_NARROWER.get(self.dtype, ()))
        if (self.storage or self.dtype) not in allowed:
            raise ValueError(f"storage {self.storage!r} with dtype {self.dtype!r}; allowed: {', '.join(allowed)}")

    @cached_property
    def computing(self) -> Format:
        """The type of sums."""
        return format_of(self.dtype)

    @cached_property
    def result(self) -> Format:
        """The type of inputs, outputs, gradients and running statistics."""
        return format_of(self.storage or self.dtype)

    @cached_property
    def held(self) -> Format:
        """The type of the mean, the variance and elementwise intermediates."""
        return self.result if self.stored else self.computing

    @cached_property
    def rounds_sums(self) -> int:
        """1 where a finished sum may be rounded once more, to the narrow type of what is made of it; else 0.

        Also for sums in half precision, so that their bounds contain those of sums in a wider type.
        """
        return int(self.stored or self.computing.is_half)

    def gamma(self, additions: float, others: float) -> float:
        """The error constant of ``additions`` in a sum and ``others``, roundings to the type of intermediates."""
        held = self.held.u
        return gamma((additions * self.u + others * held) / held, held)

    @cached_property
    def u(self) -> float:
        return self.computing.u

    @cached_property
    def half_of_digits(self) -> float:
        """The relative error at which half of a result's digits are gone: sqrt(u) of the storage type."""
        return float(self.u_out**0.5)

    @cached_property
    def one_pass_limit(self) -> float:
        """|mean| / deviation from which one-pass statistics lose half of the digits.

        Their error is u * mean^2 relative to the variance (docs/bounds.md), u that of the type they are held in.
        """
        return float((self.half_of_digits / self.held.u) ** 0.5)

    @cached_property
    def smallest_normal(self) -> float:
        return self.computing.smallest_normal

    @cached_property
    def largest(self) -> float:
        return self.computing.largest

    @cached_property
    def u_out(self) -> float:
        return self.result.u

    @cached_property
    def smallest_normal_out(self) -> float:
        return self.result.smallest_normal

    @cached_property
    def largest_out(self) -> float:
        return self.result.largest


def precisions(dtype: str, accuracy: str = WIDEST) -> tuple[Arithmetic, ...]:
    """What a subject of type ``dtype`` may compute in, tight to wide; each bound contains its predecessor's.

    Half precision: sums and intermediates in float32; sums in float32, the rest in ``dtype``; all in ``dtype``.
    float64: honoured, or computed in float32.

    Raises:
        ValueError: a dtype that is not known.
    """
    if dtype == "float64":
        return Arithmetic(dtype, accuracy), Arithmetic("float32", accuracy)
    own = Arithmetic(dtype, accuracy)
    if not own.computing.is_half:
        return (own,)
    wide = (Arithmetic("float32", accuracy, storage=dtype, stored=stored) for stored in (False, True))
    return (*wide, own)


def result_bound(value: Float, bound: Float, arithmetic: Arithmetic, form: Format | None = None) -> Float:
    """``bound`` after the result's rounding to ``form``, where that is narrower than what it was computed in.

    By default ``form`` is the storage type.

    A conversion to half precision keeps subnormal numbers; one to float32 may flush them. Infinite where the
    result may leave the range of ``form``.
    """
    form = form or arithmetic.result
    if form.digits >= arithmetic.held.digits:
        return bound
    size = np.abs(value) + bound
    lost = 2 * form.u * form.smallest_normal if form.is_half else form.smallest_normal
    return _infinite_where(size > form.largest, bound + form.u * size + lost)


def read_bound(value: Float, bound: Float, arithmetic: Arithmetic) -> Float:
    """``bound`` of a given statistic after its rounding to the type of intermediates."""
    if not arithmetic.rounds_sums:
        return bound
    form, size = arithmetic.held, np.abs(value) + bound
    more = np.where(np.isfinite(value), form.u * size + form.smallest_normal, 0.0)
    return _infinite_where(size > form.largest, bound + more)


def _infinite_where(condition: NDArray[np.bool_], bound: Float) -> Float:
    """``bound``, which no one else has, made infinite where ``condition`` is true."""
    np.copyto(bound, np.inf, where=condition)
    return bound


@dataclass(frozen=True)
class StatisticsBound:
    """|computed - exact| of mean and variance (divisor n), each of shape (..., 1)."""

    mean: Float
    var: Float


def statistics_bound(m: Moments, arithmetic: Arithmetic) -> StatisticsBound:
    """Bound on the mean and variance of ``m.n`` values, summed in any order.

    Infinite where a partial sum may leave the range of the type, or where the classes differ on an
    infinite input; 0 where the inputs make the exact value a NaN.
    """
    u, held, eta = arithmetic.u, arithmetic.held.u, arithmetic.held.smallest_normal
    rank = ACCURACY_CLASSES.index(arithmetic.accuracy)
    welford, one_pass = rank >= 1, rank >= 2
    n, again = m.n, arithmetic.rounds_sums
    additions = n - 1.0  # recursive summation; every other order has less
    size = np.abs(m.mean + m.mean_tail) + m.mean_error
    spread = np.sqrt(m.var + m.var_error)

    # Every partial sum of k values is at most k |mu| + sqrt(k (n - k)) sigma: with a mean near 0 this
    # is far less than the worst case gamma * mean|x|. The square of gamma covers the second order.
    g = arithmetic.gamma(additions, 2 + again)
    partial_sums = u * ((n + 5) / 2 * size + (n - 1) / 2 * spread) + g**2 * m.mean_abs
    others = 2 * (held - u) + again * held
    if others:
        partial_sums = partial_sums + others * size
    d_sum = np.fmin(g * m.mean_abs, partial_sums) + 2 * eta * (1 + g)
    d_sum_squared = np.square(d_sum + eta)
    bound_mean = d_sum
    bound_var = arithmetic.gamma(additions, 5 + again) * (m.var + d_sum_squared) + d_sum_squared
    squares = m.var
    if welford:
        d_mean, d_var = _welford_bound(m, size, spread, arithmetic)
        bound_mean, bound_var = np.maximum(bound_mean, d_mean), np.maximum(bound_var, d_var)
        squares = m.var * n  # Chan's combination forms n times more than the squared deviations
    if one_pass:
        size_squared = np.square(size)
        crossed = 2 * size * d_sum + np.square(d_sum)
        g = arithmetic.gamma(additions, 4 + again)
        d_var = g * (m.var + size_squared) + (1 + 3 * held) * crossed + held * m.var
        bound_var = np.maximum(bound_var, d_var)
        squares = squares + size_squared
    else:
        squares = squares + np.square(d_sum)
    bound_mean = bound_mean + m.mean_error
    bound_var = bound_var + 2 * eta + 4 * eta * spread + m.var_error

    # What is summed: |x|, the squared deviations, the squares.
    largest = arithmetic.largest * (1 - arithmetic.gamma(additions, 5))
    in_range = n * np.maximum(m.mean_abs, squares) <= largest
    if again:  # what is held in a narrow type: the mean, the variance, and each square that is summed
        square = 2 * (np.square(max_of(np.abs(m.deviation))) + np.square(d_sum))
        square = np.maximum(square, np.square(m.max_abs)) if one_pass else square
        most = np.maximum(np.maximum(size + bound_mean, m.var + bound_var), square)
        in_range &= most <= arithmetic.held.largest
    if not in_range.all():  # else all inputs are finite, and so is every error constant
        # Zeros in a sum too long for an error constant: infinity times 0.
        finite = np.isfinite(m.max_abs)
        overflows = finite & ~(in_range & ~np.isnan(bound_mean) & ~np.isnan(bound_var))
        undefined = np.where(np.isnan(m.mean), 0.0, np.inf)  # of a single infinity Welford makes a NaN
        bound_mean = np.where(overflows, np.inf, np.where(finite, bound_mean, undefined))
        bound_var = np.where(overflows, np.inf, np.where(finite, bound_var, 0.0))
    return StatisticsBound(np.ascontiguousarray(bound_mean), np.ascontiguousarray(bound_var))


def _welford_bound(m: Moments, size: Float, spread: Float, arithmetic: Arithmetic) -> tuple[Float, Float]:
    """The bounds of Welford's recursion, which is the sum: all of it in the computing type."""
    n, again, eta_sums = m.n, arithmetic.rounds_sums, arithmetic.smallest_normal
    grown = n + 1.0 + 3 * float(np.log(n)) + 4
    g = gamma(grown, arithmetic.u)
    # Every running mean, in sequence or in a tree of combinations, is within d_node of its exact value.
    d_node = g / grown * ((n + 1) / 2 * size + (n / 2 + 2.5 * math.sqrt(n)) * spread)
    lost = (n / 2 + 3) * eta_sums  # each step may flush its delta / k
    d_mean = np.fmin(g * m.mean_abs, d_node) + lost
    if again:
        d_mean = d_mean + again * (arithmetic.held.u * (size + d_mean) + arithmetic.held.smallest_normal)
    d_node = d_node + lost + eta_sums
    crossed = 2 * math.sqrt(2) * spread * d_node + 2 * np.square(d_node)
    g = arithmetic.gamma(grown + 6, again)
    return d_mean, g * m.var + (1 + g) * crossed


def forward_bound(
    *,
    x: Float,
    x_hat: Float,
    y: Float,
    largest: Float,
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
    ``relative`` bounds the relative error of the computed reciprocal deviation, ``largest`` is the largest |x|
    of each set. Infinite where an intermediate result of either may leave the range of the type.
    """
    u, eta = arithmetic.held.u, arithmetic.held.smallest_normal
    factor, size_bias, about, grown = np.abs(weight), np.abs(bias), 2 * np.abs(mean), 1 + relative
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
    bound, part = np.abs(x), np.abs(x_hat)
    bound *= slack * of_x
    part *= slack * of_x_hat + 5 * U64 * factor  # U64: the oracle's own roundings
    bound += part
    np.abs(y, out=part)
    part *= slack * u + 2 * U64
    part += slack * rest + 4 * eta
    bound += part

    def in_range(size: Float) -> NDArray[np.bool_]:
        reach = np.maximum(size + about + mean_bound, 1) * np.maximum(reciprocal * grown, 1) * np.maximum(factor, 1)
        return np.asarray(reach + size_bias <= arithmetic.held.largest * (1 - 16 * u))

    if not in_range(largest).all():
        bound = np.where(in_range(np.abs(x)), bound, np.inf)
    return result_bound(y, bound, arithmetic)


def blend_bound(
    *,
    old: Float,
    old_bound: Float,
    new: Float,
    new_bound: Float,
    weight: float,
    arithmetic: Arithmetic,
    step: int = 1,
    divisor: float = 1.0,
) -> Float:
    """Bound on (1 - weight) * old + weight * new, the update of a running statistic.

    Covers the sum of two products and the step old + weight * (new - old). One of the two factors is
    given, the other computed as 1 minus the *rounded* first: both carry an absolute error of u, which
    for a weight of 0.01 is a relative error of 100 u. A zero-debiased average is kept undivided, with the
    factors w = weight * divisor and 1 - w, and then divided by ``divisor`` = 1 - (1 - w)^step, which
    loses what 1 minus a number near 1 loses.
    """
    u, eta = arithmetic.held.u, arithmetic.held.smallest_normal
    kept, taken = abs(1 - weight), abs(weight)
    old, new = np.abs(old), np.abs(new)
    most, both = old + old_bound + new + new_bound, kept * old + taken * new
    inherited = kept * old_bound + taken * new_bound
    factors = u * (kept + taken) / divisor * most
    rounding = 2 * u * both + 2 * u * taken * (old + new)
    own = U64 * (5 * both + old + new)  # the factors, the products and their sum, the two parts of a mean
    if divisor != 1:  # a power good to 4u of a rounded number, the subtraction, the division
        rounding = rounding + u * ((step + 4) * (1 - divisor) / divisor + 2) * (both + inherited)
        own = own + 6 * U64 * taken * (old + new)  # the weight as expm1 and log1p give it
    bound = (1 + 16 * u) * (inherited + factors + rounding) + own + 4 * eta / divisor
    return _infinite_where(~(max(kept, taken, 1) * most <= arithmetic.held.largest), bound)
