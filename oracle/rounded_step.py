"""One step of the formula rounded to fewer digits than the others, as by a layer that casts on the way.

What a computed value is rounded to lies between what the two ends of its bound are rounded to: where both are the same
number, the rounding leaves no doubt. These references explain a departure; no layer is held to them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from normgauge.oracle.arithmetic import Arithmetic
from normgauge.oracle.bounds import StatisticsBound
from normgauge.oracle.formats import Format, RoundedStep, rounded_to
from normgauge.oracle.moments import U64, Float, Moments, gamma, moments
from normgauge.oracle.reference import Reference


def rounded_within(one: Reference, form: Format) -> Reference:
    """What any value within the bound of ``one`` is rounded to; what may leave the range of ``form`` says nothing."""
    with np.errstate(all="ignore"):
        low, high = rounded_to(one.value - one.bound, form), rounded_to(one.value + one.bound, form)
        value, bound = (low + high) / 2, (high - low) / 2 + U64 * np.abs(high)
    outside = np.isinf(low) | np.isinf(high)
    unknown = ~np.isfinite(one.value)
    value = np.where(unknown | outside, one.value, value)
    return Reference(value=value, bound=np.where(unknown, one.bound, np.where(outside, np.inf, bound)))


def rounded_moments(
    sets: Float, m: Moments, bound: StatisticsBound, arithmetic: Arithmetic
) -> tuple[Moments, StatisticsBound]:
    """Moments whose mean, variance or both are rounded or summed from rounded terms, and their bounds.

    The variance about a mean that is off by d is v + d^2.
    """
    step = arithmetic.rounded_step
    assert step is not None
    if step.step in {"terms", "mean", "mean_alone", "statistics"}:
        mean = Reference(value=m.mean, bound=bound.mean)
        if step.step == "terms":
            terms = rounded_to(sets, step.to)
            mean = replace(mean, value=moments(terms, compensated=arithmetic.dtype == "float64").mean)
        else:
            mean = rounded_within(mean, step.to)
        var = Reference(value=m.var, bound=bound.var)
        if step.step != "mean_alone":
            off = np.abs(m.mean - mean.value)
            more = (2 * off + mean.bound) * mean.bound + gamma(m.n + 3, arithmetic.u) * np.square(off)
            var = Reference(value=m.var + np.square(off), bound=bound.var + more)
        m = replace(m, mean=mean.value, mean_tail=np.zeros_like(m.mean), var=var.value, deviation=sets - mean.value)
        bound = StatisticsBound(mean=mean.bound, var=var.bound)
    if step.step in {"var", "statistics"}:
        rounded = rounded_within(Reference(value=m.var, bound=bound.var), step.to)
        m, bound = replace(m, var=rounded.value), StatisticsBound(mean=bound.mean, var=rounded.bound)
    if step.step == "squares":
        error = bound.mean + arithmetic.u * np.abs(m.deviation)
        deviation = rounded_within(Reference(value=m.deviation, bound=error), step.to)
        size, error = np.abs(deviation.value), deviation.bound
        squares = rounded_within(Reference(value=size**2 + error**2, bound=2 * size * error), step.to)
        var_bound = bound.var + np.mean(squares.bound, axis=-1, keepdims=True)
        m = replace(m, var=np.mean(squares.value, axis=-1, keepdims=True))
        bound = StatisticsBound(mean=bound.mean, var=var_bound)
    return m, bound


def rounded_reciprocal(value: Float, relative: Float, step: RoundedStep) -> tuple[Float, Float]:
    """The reciprocal deviation and the bound on its relative error, both rounded where that is the step."""
    if step.step != "reciprocal":
        return value, relative
    rounded = rounded_within(Reference(value=value, bound=np.abs(value) * relative), step.to)
    with np.errstate(all="ignore"):
        return rounded.value, rounded.bound / np.abs(rounded.value)


def scaled_and_shifted(x_hat: Reference, weight: Float | float, bias: Float | float, held: Format) -> Reference:
    """weight * x_hat + bias: |weight| d x_hat + 2 u (2 |weight x_hat| + |bias|) + 2 eta."""
    product = weight * x_hat.value
    bound = np.abs(weight) * x_hat.bound + 2 * held.u * (2 * np.abs(product) + np.abs(bias)) + 2 * held.smallest_normal
    return Reference(value=product + bias, bound=bound)
