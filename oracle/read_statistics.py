"""What eval makes of the running statistics before it normalises with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from normgauge.oracle.moments import Float
from normgauge.oracle.normalize import Formula, along_channels
from normgauge.oracle.reference import Reference
from normgauge.oracle.running_statistics import RunningStatistics, initial_statistics, weight_of_new
from normgauge.oracle.validation import Inputs


def _less_eps(running: RunningStatistics, formula: Formula, sign: float) -> RunningStatistics:
    value, u = running.var.value + sign * formula.eps, 2 * formula.arithmetic.held.u
    return replace(running, var=Reference(value=value, bound=running.var.bound + u * np.abs(value)))


def _squared(running: RunningStatistics, formula: Formula) -> RunningStatistics:
    value, bound = running.var.value, running.var.bound
    off = bound * (2 * np.abs(value) + bound) + 2 * formula.arithmetic.held.u * np.square(value)
    return replace(running, var=Reference(value=np.square(value), bound=off))


def _of_last_batch(running: RunningStatistics) -> RunningStatistics:
    if running.last is None:
        return running
    mean, var = (
        Reference(value=value, bound=bound) for value, bound in zip(running.last.value, running.last.bound, strict=True)
    )
    return replace(running, mean=mean, var=var)


def with_shift_not_scaled(y: Reference, given: Inputs, running: RunningStatistics, formula: Formula) -> Reference:
    """weight * r * x + bias - mean: the output and mean * (weight * r - 1), where that is asked for."""
    scale, relative = _scale(given, running, formula)
    mean, u = along_channels(running.mean.value, given.x), formula.arithmetic.held.u
    scale, relative, off = (along_channels(one, given.x) for one in (scale, relative, running.mean.bound))
    more, size = mean * (scale - 1), np.abs(mean) * (np.abs(scale) + 1)
    bound = y.bound + size * (relative + 8 * u) + off * (np.abs(scale) + 1) + 8 * u * np.abs(y.value)
    return Reference(value=y.value + more, bound=bound)


def weight_gradient_of_shift_not_scaled(
    given: Inputs, dy: NDArray[Any], running: RunningStatistics, formula: Formula
) -> Reference:
    """The weight multiplies r * x, not r * (x - mean): r times the sum of dy * x."""
    r, relative = _scale(Inputs(x=given.x, weight=None, bias=None), running, formula)
    products = np.moveaxis(given.x.astype(np.float64) * dy, 1, 0).reshape(given.channels, -1)
    value, size = r * products.sum(axis=1), np.abs(r) * np.abs(products).sum(axis=1)
    return Reference(value=value, bound=size * (relative + (products.shape[1] + 8) * formula.arithmetic.held.u))


def _scale(given: Inputs, running: RunningStatistics, formula: Formula) -> tuple[Float, Float]:
    """weight * r of shape (C,), and the relative error that the variance leaves in it."""
    placement, var, eps = formula.placement, running.var, formula.eps
    with np.errstate(all="ignore"):
        r = placement.reciprocal(var.value, eps)
        ends = (placement.reciprocal(var.value + sign * var.bound, eps) for sign in (-1, 1))
        relative = np.maximum.reduce([np.abs(one / r - 1) for one in ends])
    return r if given.weight is None else r * given.weight, np.where(np.isfinite(relative), relative, np.inf)


_READS: Final[Mapping[str, Callable[[RunningStatistics, Formula], RunningStatistics]]] = {
    "running": lambda running, formula: running,
    "running_then_updated": lambda running, formula: running,
    "initial": lambda running, formula: initial_statistics(
        np.zeros_like(running.mean.value), np.ones_like(running.var.value)
    ),
    "zeros": lambda running, formula: initial_statistics(
        np.zeros_like(running.mean.value), np.zeros_like(running.var.value)
    ),
    "folded_shift_not_scaled": lambda running, formula: running,
    "last_batch": lambda running, formula: _of_last_batch(running),
    "minus_eps": lambda running, formula: _less_eps(running, formula, -1.0),
    "plus_eps": lambda running, formula: _less_eps(running, formula, 1.0),
    "deviation": _squared,
    "swapped": lambda running, formula: replace(
        running, mean=running.var, var=Reference(value=np.abs(running.mean.value), bound=running.mean.bound)
    ),
}


def read_statistics(running: RunningStatistics, momentum: float | None, formula: Formula) -> RunningStatistics:
    """The mean and variance that eval uses, by the axes ``eval_reads`` and ``bootstrap``."""
    if formula.semantics.choice("bootstrap") == "sums":
        running = _divided(running, momentum, formula)
    return _READS[formula.semantics.choice("eval_reads")](running, formula)


def _divided(running: RunningStatistics, momentum: float | None, formula: Formula) -> RunningStatistics:
    """Sums divided by the factor beside them, sum (1 - w)^k of one k from 0 a batch; 1 before the first."""
    total = 0.0
    for step in range(running.steps):
        total = 1.0 + (1 - weight_of_new(momentum, step + 1, formula.semantics).new) * total
    total = total or 1.0
    u = (2 * running.steps + 4) * formula.arithmetic.held.u
    mean, var = (
        Reference(value=one.value / total, bound=one.bound / total + u * np.abs(one.value / total))
        for one in (running.mean, running.var)
    )
    return replace(running, mean=mean, var=var)
