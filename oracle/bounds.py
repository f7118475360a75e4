"""How far an honest implementation may lie from the exact value, element by element.

Notation: u unit roundoff, eta smallest normal number, n reduction length, theta growth factor of a
sum, mu mean, v variance, r reciprocal deviation, gamma_k = k u / (1 - k u). The derivations are in
docs/bounds.md; Higham, "Accuracy and Stability of Numerical Algorithms" (2002), chapters 3 and 4,
gives the error of a sum, Chan, Golub and LeVeque (1983) those of the three kinds of variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from normgauge.oracle.formats import Format, format_of
from normgauge.oracle.moments import U64, Float, Moments, gamma

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
    return np.asarray(np.where(size > form.largest, np.inf, bound + form.u * size + lost), dtype=np.float64)


def read_bound(value: Float, bound: Float, arithmetic: Arithmetic) -> Float:
    """``bound`` of a given statistic after its rounding to the type of intermediates."""
    if not arithmetic.rounds_sums:
        return bound
    form = arithmetic.held
    more = np.where(np.isfinite(value), form.u * (np.abs(value) + bound) + form.smallest_normal, 0.0)
    return np.asarray(np.where(np.abs(value) + bound > form.largest, np.inf, bound + more), dtype=np.float64)


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
    allowed = ACCURACY_CLASSES[: ACCURACY_CLASSES.index(arithmetic.accuracy) + 1]
    n, again = m.n, arithmetic.rounds_sums
    additions = n - 1.0  # recursive summation; every other order has less
    size = np.abs(m.mean + m.mean_tail) + m.mean_error
    spread = np.sqrt(m.var + m.var_error)
    mean_sets, var_sets = [], []

    # Every partial sum of k values is at most k |mu| + sqrt(k (n - k)) sigma: with a mean near 0 this
    # is far less than the worst case gamma * mean|x|. The square of gamma covers the second order.
    g = arithmetic.gamma(additions, 2 + again)
    partial_sums = u * ((n + 5) / 2 * size + (n - 1) / 2 * spread) + g**2 * m.mean_abs
    partial_sums = partial_sums + (2 * (held - u) + again * held) * size
    d_sum = np.fmin(g * m.mean_abs, partial_sums) + 2 * eta * (1 + g)
    mean_sets.append(d_sum)
    if "two_pass" in allowed:
        var_sets.append(arithmetic.gamma(additions, 5 + again) * (m.var + (d_sum + eta) ** 2) + (d_sum + eta) ** 2)
    if "welford" in allowed:  # the recursion is the sum: all of it in the computing type
        grown, eta_sums = n + 1.0 + 3 * np.log(n) + 4, arithmetic.smallest_normal
        g = gamma(grown, u)
        # Every running mean, in sequence or in a tree of combinations, is within d_node of its exact value.
        d_node = g / grown * ((n + 1) / 2 * size + (n / 2 + 2.5 * np.sqrt(n)) * spread)
        lost = (n / 2 + 3) * eta_sums  # each step may flush its delta / k
        d_mean = np.fmin(g * m.mean_abs, d_node) + lost
        mean_sets.append(d_mean + again * (held * (size + d_mean) + eta))
        d_node = d_node + lost + eta_sums
        crossed = 2 * np.sqrt(2) * spread * d_node + 2 * d_node**2
        g = arithmetic.gamma(grown + 6, again)
        var_sets.append(g * m.var + (1 + g) * crossed)
    if "one_pass" in allowed:
        crossed = 2 * size * d_sum + d_sum**2
        g = arithmetic.gamma(additions, 4 + again)
        var_sets.append(g * (m.var + size**2) + (1 + 3 * held) * crossed + held * m.var)
    bound_mean = np.maximum.reduce(mean_sets) + m.mean_error
    bound_var = np.maximum.reduce(var_sets) + 2 * eta + 4 * eta * spread + m.var_error

    # What is summed: |x|, the squared deviations, the squares; Chan's combination forms n times more.
    squares = m.var * (n if "welford" in allowed else 1) + (size**2 if "one_pass" in allowed else d_sum**2)
    largest = arithmetic.largest * (1 - arithmetic.gamma(additions, 5))
    finite = np.isfinite(m.max_abs)
    in_range = (n * m.mean_abs <= largest) & (n * squares <= largest)
    if again:  # what is held in a narrow type: the mean, the variance, and each square that is summed
        square = 2 * (np.max(np.abs(m.deviation), axis=-1, keepdims=True) ** 2 + d_sum**2)
        square = np.maximum(square, m.max_abs**2) if "one_pass" in allowed else square
        most = np.maximum(np.maximum(size + bound_mean, m.var + bound_var), square)
        in_range &= most <= arithmetic.held.largest
    # Zeros in a sum too long for an error constant: infinity times 0.
    overflows = finite & ~(in_range & ~np.isnan(bound_mean) & ~np.isnan(bound_var))
    undefined = np.where(np.isnan(m.mean), 0.0, np.inf)  # of a single infinity Welford makes a NaN
    return StatisticsBound(
        np.where(overflows, np.inf, np.where(finite, bound_mean, undefined)),
        np.where(overflows, np.inf, np.where(finite, bound_var, 0.0)),
    )


def forward_bound(
    *,
    x: Float,
    x_hat: Float,
    y: Float,
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
    ``relative`` bounds the relative error of the computed reciprocal deviation. Infinite where an
    intermediate result of either may leave the range of the type.
    """
    u, eta = arithmetic.held.u, arithmetic.held.smallest_normal
    factor, about, grown = np.abs(weight), 2 * np.abs(mean), 1 + relative
    # A weight below the normal numbers loses up to eta; so does a scale = weight * reciprocal, and a
    # weight * (x - mean) formed before the reciprocal multiplies it.
    flushes = eta * ((factor > 0) & (factor * reciprocal * (1 - relative) < eta))
    # What multiplies |x|, |x_hat| and |y|, and what is added: of a whole set, or of a channel of it.
    of_x = factor * (grown * (u * reciprocal)) + flushes
    of_x_hat = factor * (relative + grown * (3 * u)) + eta
    rest = u * np.abs(bias) + eta * reciprocal * grown + flushes * (about + mean_bound)
    rest = rest + factor * (2 * eta + grown * (reciprocal * (mean_bound + (4 * eta + u * about))))
    # At most five of these factors (1 + u) meet in one term; the rest is for the evaluation in float64, of which
    # a term meets no more than eleven roundings.
    slack = 1 + 16 * u
    bound, part = np.abs(x), np.abs(x_hat)
    longest = np.max(bound, axis=-1, keepdims=True)
    bound *= slack * of_x
    part *= slack * of_x_hat + 5 * U64 * factor  # U64: the oracle's own roundings
    bound += part
    np.abs(y, out=part)
    part *= slack * u + 2 * U64
    part += slack * rest + 4 * eta
    bound += part

    def in_range(size: Float) -> NDArray[np.bool_]:
        reach = np.maximum(size + about + mean_bound, 1) * np.maximum(reciprocal * grown, 1) * np.maximum(factor, 1)
        return np.asarray(reach + np.abs(bias) <= arithmetic.held.largest * (1 - 16 * u))

    if not np.all(in_range(longest)):
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
    both = kept * old + taken * new
    inherited = kept * old_bound + taken * new_bound
    factors = u * (kept + taken) / divisor * (old + old_bound + new + new_bound)
    rounding = 2 * u * both + 2 * u * taken * (old + new)
    own = U64 * (5 * both + old + new)  # the factors, the products and their sum, the two parts of a mean
    if divisor != 1:  # a power good to 4u of a rounded number, the subtraction, the division
        rounding = rounding + u * ((step + 4) * (1 - divisor) / divisor + 2) * (both + inherited)
        own = own + 6 * U64 * taken * (old + new)  # the weight as expm1 and log1p give it
    bound = (1 + 16 * u) * (inherited + factors + rounding) + own + 4 * eta / divisor
    out_of_range = ~(max(kept, taken, 1) * (old + old_bound + new + new_bound) <= arithmetic.held.largest)
    return np.asarray(np.where(out_of_range, np.inf, bound), dtype=np.float64)
