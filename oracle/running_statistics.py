"""Running statistics: what a layer keeps between calls, and what a batch makes of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from normgauge.oracle.arithmetic import ACCURACY_CLASSES, Arithmetic
from normgauge.oracle.bounds import infinite_where, result_bound
from normgauge.oracle.formats import format_of
from normgauge.oracle.moments import U64, Float
from normgauge.oracle.normalize import Formula
from normgauge.oracle.reference import Reference, exactly
from normgauge.oracle.semantics import Semantics
from normgauge.oracle.statistics import Batch
from normgauge.oracle.tracked import tracked
from normgauge.oracle.validation import real_array


@dataclass(frozen=True, kw_only=True)
class RunningStatistics:
    """Running mean and variance, each a reference of shape (C,), after ``steps`` training steps.

    ``dtype`` is the type that holds them; None for the storage type of the arithmetic. ``last`` are mean and variance
    of the last batch that entered, of shape (2, C); None before the first.
    """

    mean: Reference
    var: Reference
    steps: int = 0
    dtype: str | None = None
    last: Reference | None = None


def initial_statistics(mean: ArrayLike, var: ArrayLike, *, dtype: str | None = None) -> RunningStatistics:
    """Running statistics known exactly.

    Args:
        mean: shape (C,).
        var: shape (C,).
        dtype: the type of the buffers that hold them, such as float32 beside half-precision inputs; None
            for the storage type of the arithmetic, in which each update is then rounded.

    Raises:
        ValueError: a dtype that is not known, or values that are no real numbers.
    """
    if dtype is not None:
        format_of(dtype)
    exact_mean, exact_var = exactly(real_array("running mean", mean)), exactly(real_array("running var", var))
    return RunningStatistics(mean=exact_mean, var=exact_var, dtype=dtype)


def of_channels(running: RunningStatistics | None, part: slice) -> RunningStatistics | None:
    """The statistics of some channels; ``running`` itself where those are all."""
    if running is None or part == slice(0, len(running.mean.value)):
        return running
    mean, var = (Reference(value=one.value[part], bound=one.bound[part]) for one in (running.mean, running.var))
    last = running.last
    if last is not None:
        last = Reference(value=last.value[:, part], bound=last.bound[:, part])
    return replace(running, mean=mean, var=var, last=last)


def joined(parts: Sequence[RunningStatistics | None]) -> RunningStatistics | None:
    """The statistics of all channels from those of some."""
    found = [one for one in parts if one is not None]
    if len(found) < 2:
        return found[0] if found else None

    def join(references: Sequence[Reference]) -> Reference:
        value, bound = (
            np.concatenate(arrays, axis=-1) for arrays in zip(*((r.value, r.bound) for r in references), strict=True)
        )
        return Reference(value=value, bound=bound)

    lasts = [one.last for one in found if one.last is not None]
    return replace(
        found[0],
        mean=join([one.mean for one in found]),
        var=join([one.var for one in found]),
        last=join(lasts) if lasts else None,
    )


@dataclass(frozen=True, kw_only=True)
class Weight:
    """The weight ``new`` with which the batch of training step ``step`` (from 1) enters the running statistics.

    ``divisor`` is what an average that starts from zero is divided by, 1 where nothing is.
    """

    new: float
    step: int = 1
    divisor: float = 1.0


#: Values of the axis ``bootstrap`` with which sums are kept.
SUMS: Final = frozenset({"sums", "sums_undivided"})
#: For each value of the axis ``momentum_value``, the momentum that is used.
_MOMENTUM: Final[Mapping[str, Callable[[float], float]]] = {
    "as_given": lambda momentum: momentum,
    "of_each_sample": lambda momentum: momentum,
    "one_tenth": lambda momentum: 0.1,
    "one": lambda momentum: 1.0,
    "squared": lambda momentum: momentum * momentum,
}


def _tenth(step: int, samples: int) -> float:
    return 0.1


#: For values of the axis ``momentum_none``, the weight of the batch of a step, which has so many samples.
_OF_NONE: Final[Mapping[str, Callable[[int, int], float]]] = {
    "cumulative": lambda step, samples: 1 / step,
    "counted_late": lambda step, samples: 1 / max(step - 1, 1),
    "counted_in_samples": lambda step, samples: 1 / (step * samples),
}


def weight_of_new(momentum: float | None, step: int, semantics: Semantics, samples: int = 1) -> Weight:
    """The weight of the batch of training step ``step``, which has so many samples."""
    if momentum is None:
        return Weight(new=_OF_NONE.get(semantics.choice("momentum_none"), _tenth)(step, samples), step=step)
    momentum = _MOMENTUM[semantics.choice("momentum_value")](momentum)
    weight = momentum if semantics.choice("momentum_weighs") == "new" else 1 - momentum
    if semantics.choice("momentum_value") == "of_each_sample":
        weight = 1 - (1 - weight) ** samples
    bootstrap = semantics.choice("bootstrap")
    if bootstrap == "first_batch" and step == 1:
        return Weight(new=1.0, step=step)
    if bootstrap != "zero_debiased" or weight == 0:
        return Weight(new=weight, step=step)
    # zero_debiased: (1 - w) * hidden + w * batch from 0, divided by 1 - (1 - w)^t, is itself a
    # weighted mean of the last average and the batch, the batch alone at first.
    divisor = -math.expm1(step * math.log1p(-weight)) if weight < 0.5 else 1 - (1 - weight) ** step
    return Weight(new=1.0 if step == 1 else weight / divisor, step=step, divisor=divisor)


def updated(
    running: RunningStatistics,
    batch: Batch,
    momentum: float | None,
    formula: Formula,
    entering: Reference | None = None,
) -> RunningStatistics:
    """The running statistics after ``batch``, (1 - w) * running + w * batch; ``entering`` (2, C) in its place."""
    arithmetic, semantics = formula.arithmetic, formula.semantics
    weight = weight_of_new(momentum, running.steps + 1, semantics, batch.samples)
    buffer = arithmetic.result if running.dtype is None else format_of(running.dtype)
    old = _in_one(running)
    new = tracked(batch, formula, running.mean) if entering is None else entering
    if semantics.choice("bootstrap") in SUMS:
        return _summed(running, old, new, weight, arithmetic)
    value = (0.0 if weight.new == 1 else (1 - weight.new) * old.value) + weight.new * new.value
    bound = blend_bound(old, new, weight, arithmetic)
    for _ in range(1 if weight.divisor == 1 else 2):  # the average, and what it is divided from
        bound = result_bound(value, bound, arithmetic, buffer)
    nan = np.isnan(value)
    if nan.any():  # a NaN is demanded unless it comes of a statistic that was out of range, or may be an infinity
        silent, infinite = (new.bound == np.inf) | (old.bound == np.inf), np.isnan(old.bound)
        either = silent if batch.m.n == 1 else infinite  # the variance of a single infinity may be 0
        either[1] |= _may_be_infinite(batch, arithmetic)
        bound = np.where(nan, np.where(silent, np.inf, np.where(infinite, np.nan, 0.0)), bound)
    mean, variance = (Reference(value=one, bound=its) for one, its in zip(value, bound, strict=True))
    return RunningStatistics(mean=mean, var=variance, steps=weight.step, dtype=running.dtype, last=new)


def _in_one(running: RunningStatistics) -> Reference:
    """Mean and variance in one, of shape (2, C)."""
    return Reference(
        value=np.array([running.mean.value, running.var.value]), bound=np.array([running.mean.bound, running.var.bound])
    )


def _summed(
    running: RunningStatistics, old: Reference, new: Reference, weight: Weight, arithmetic: Arithmetic
) -> RunningStatistics:
    """(1 - w) * running + batch."""
    kept, u = 1 - weight.new, 8 * arithmetic.held.u
    value = kept * old.value + new.value
    bound = kept * old.bound + new.bound + u * (abs(kept) * np.abs(old.value) + np.abs(new.value))
    mean, variance = (Reference(value=one, bound=its) for one, its in zip(value, bound, strict=True))
    return RunningStatistics(mean=mean, var=variance, steps=weight.step, dtype=running.dtype, last=new)


def _may_be_infinite(batch: Batch, arithmetic: Arithmetic) -> NDArray[np.bool_]:
    """Where the variance of an infinity may be infinite: two parts that are combined have no NaN between them."""
    return np.isinf(batch.m.max_abs.ravel()) & (arithmetic.accuracy != ACCURACY_CLASSES[0])


def blend_bound(old: Reference, new: Reference, weight: Weight, arithmetic: Arithmetic) -> Float:
    """Bound on (1 - m) * old + m * new, the update of a running statistic.

    d = |1 - m| d old + |m| d new + u (|m| + |1 - m|) (|old| + d old + |new| + d new)
    + u A + max(u A, 2u max(|m|, |1 - m|) (|old - new| + d old + d new)), A = |1 - m| |old| + |m| |new|,
    times 1 + 16u, plus 4 eta.

    Covers the sum of two products and the steps old + m * (new - old) and new + (1 - m) * (old - new). One of the
    two factors is given, the other computed as 1 minus the *rounded* first: both carry an absolute error of u, which
    for a weight of 0.01 is a relative error of 100 u. A zero-debiased average is kept undivided, with the
    factors w = m * divisor and 1 - w, and then divided by divisor = 1 - (1 - w)^step, which
    loses what 1 minus a number near 1 loses. Its steps start from the old value.
    """
    u, eta, divisor = arithmetic.held.u, arithmetic.held.smallest_normal, weight.divisor
    kept, taken = abs(1 - weight.new), abs(weight.new)
    size_old, size_new = np.abs(old.value), np.abs(new.value)
    most, both = size_old + old.bound + size_new + new.bound, kept * size_old + taken * size_new
    inherited = kept * old.bound + taken * new.bound
    factors = u * (kept + taken) / divisor * most
    apart = np.abs(old.value - new.value) + old.bound + new.bound
    rounding = u * (both + np.maximum(both, 2 * max(kept, taken) * apart))
    # The factors, the products and their sum, the two parts of a mean.
    own = U64 * (5 * both + size_old + size_new)
    if divisor != 1:  # a power good to 4u of a rounded number, the subtraction, the division
        rounding = 2 * u * both + 2 * u * taken * (size_old + size_new)
        rounding = rounding + u * ((weight.step + 4) * (1 - divisor) / divisor + 2) * (both + inherited)
        own = own + 6 * U64 * taken * (size_old + size_new)  # the weight as expm1 and log1p give it
    bound = (1 + 16 * u) * (inherited + factors + rounding) + own + 4 * eta / divisor
    return infinite_where(~(max(kept, taken, 1) * most <= arithmetic.held.largest), bound)
