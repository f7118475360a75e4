"""Running statistics: what a layer keeps between calls, and the weight with which a batch enters it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from normgauge.oracle.formats import format_of
from normgauge.oracle.normalize import real_array
from normgauge.oracle.reference import Reference, exactly
from normgauge.oracle.semantics import Semantics


@dataclass(frozen=True)
class RunningStatistics:
    """Running mean and variance, each a reference of shape (C,), after ``steps`` training steps.

    ``dtype`` is the type that holds them; None for the storage type of the arithmetic.
    """

    mean: Reference
    var: Reference
    steps: int = 0
    dtype: str | None = None


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
    return RunningStatistics(exact_mean, exact_var, dtype=dtype)


def of_channels(running: RunningStatistics | None, part: slice) -> RunningStatistics | None:
    """The statistics of some channels."""
    if running is None:
        return None
    mean, var = (Reference(one.value[part], one.bound[part]) for one in (running.mean, running.var))
    return replace(running, mean=mean, var=var)


def joined(parts: Sequence[RunningStatistics | None]) -> RunningStatistics | None:
    """The statistics of all channels from those of some."""
    found = [one for one in parts if one is not None]
    if not found:
        return None

    def join(references: Sequence[Reference]) -> Reference:
        return Reference(
            np.concatenate([one.value for one in references]), np.concatenate([one.bound for one in references])
        )

    return replace(found[0], mean=join([one.mean for one in found]), var=join([one.var for one in found]))


def weight_of_new(momentum: float | None, step: int, semantics: Semantics) -> tuple[float, float]:
    """The weight with which the batch of training step ``step`` (from 1) enters the running statistics.

    And what an average that starts from zero is divided by, 1 where nothing is.
    """
    if momentum is None:
        return (1 / step if semantics.choice("momentum_none") == "cumulative" else 0.1), 1.0
    weight = momentum if semantics.choice("momentum_weighs") == "new" else 1 - momentum
    bootstrap = semantics.choice("bootstrap")
    if bootstrap == "plain":
        return weight, 1.0
    if bootstrap == "first_batch":
        return (1.0 if step == 1 else weight), 1.0
    if weight == 0:
        return 0.0, 1.0
    # zero_debiased: (1 - w) * hidden + w * batch from 0, divided by 1 - (1 - w)^t, is itself a
    # weighted mean of the last average and the batch, the batch alone at first.
    divisor = -math.expm1(step * math.log1p(-weight)) if weight < 0.5 else 1 - (1 - weight) ** step
    return (1.0 if step == 1 else weight / divisor), divisor
