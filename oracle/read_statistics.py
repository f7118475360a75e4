"""What eval makes of the running statistics before it normalises with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from normgauge.oracle.normalize import Formula
from normgauge.oracle.reference import Reference
from normgauge.oracle.running_statistics import RunningStatistics, initial_statistics, weight_of_new


def _less_eps(running: RunningStatistics, formula: Formula, sign: float) -> RunningStatistics:
    value, u = running.var.value + sign * formula.eps, 2 * formula.arithmetic.held.u
    return replace(running, var=Reference(value=value, bound=running.var.bound + u * np.abs(value)))


def _squared(running: RunningStatistics, formula: Formula) -> RunningStatistics:
    value, bound = running.var.value, running.var.bound
    off = bound * (2 * np.abs(value) + bound) + 2 * formula.arithmetic.held.u * np.square(value)
    return replace(running, var=Reference(value=np.square(value), bound=off))


_READS: Final[Mapping[str, Callable[[RunningStatistics, Formula], RunningStatistics]]] = {
    "running": lambda running, formula: running,
    "running_then_updated": lambda running, formula: running,
    "initial": lambda running, formula: initial_statistics(
        np.zeros_like(running.mean.value), np.ones_like(running.var.value)
    ),
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
