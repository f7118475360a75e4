"""The statistics of sets, and the record of those that normalise them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from normgauge.oracle.arithmetic import Arithmetic
from normgauge.oracle.bounds import StatisticsBound, read_bound, statistics_bound
from normgauge.oracle.formats import rounded_to
from normgauge.oracle.moments import U64, Float, Moments, moments
from normgauge.oracle.reference import Reference
from normgauge.oracle.rounded_step import rounded_moments


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Sets x of shape (..., n), and the mean and variance that normalise them, each of shape (..., 1).

    ``deviation`` is x minus the mean, ``largest`` the largest |x| of each set.
    """

    x: Float
    deviation: Float
    largest: Float
    mean: Reference
    var: Reference

    def by_channel(self, channels: int) -> Statistics:
        """With a row for each of the ``channels`` of a set; mean and variance are of shape (..., 1, 1)."""
        rows = (*self.x.shape[:-1], channels, -1)
        mean, var = (Reference(value=one.value[..., None], bound=one.bound[..., None]) for one in (self.mean, self.var))
        x, deviation = self.x.reshape(rows), self.deviation.reshape(rows)
        return Statistics(x=x, deviation=deviation, largest=self.largest[..., None], mean=mean, var=var)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Sets of shape (..., n), their moments, and how far those of an honest implementation may lie from them."""

    sets: Float
    m: Moments
    bound: StatisticsBound
    samples: int = 1
    elements: int = 0

    @classmethod
    def of(cls, sets: Float, arithmetic: Arithmetic, samples: int = 1, elements: int = 0) -> Batch:
        """Those of ``sets``, each of which holds the values of so many samples, one after the other.

        ``elements`` is the number of those of the input that the sets are a part of; 0 for those of ``sets``.
        """
        step = arithmetic.rounded_step
        if step is not None and step.step == "x":
            sets = rounded_to(sets, step.to)
        m = moments(sets, compensated=arithmetic.dtype == "float64")
        bound = statistics_bound(m, arithmetic)
        if step is not None:
            m, bound = rounded_moments(sets, m, bound, arithmetic)
        return cls(sets=sets, m=m, bound=bound, samples=samples, elements=elements or sets.size)

    def statistics(self, divisor: str, arithmetic: Arithmetic) -> Statistics:
        """The sets normalised by their own statistics; ``divisor`` as in the axis ``variance``."""
        mean, var = Reference(value=self.m.mean, bound=self.bound.mean), divided_by(self, divisor, arithmetic)
        return Statistics(x=self.sets, deviation=self.m.deviation, largest=self.m.max_abs, mean=mean, var=var)

    def normalized_by(self, mean: Reference, var: Reference, arithmetic: Arithmetic) -> Statistics:
        """The sets normalised by given statistics, one of each set, which are read in ``arithmetic``."""
        mean, var = (_read(one, arithmetic) for one in (mean, var))
        return Statistics(x=self.sets, deviation=self.sets - mean.value, largest=self.m.max_abs, mean=mean, var=var)

    def may_be_cut(self) -> NDArray[np.bool_]:
        """Where an honest variance may come out at 0, or below and be cut there."""
        return np.asarray(self.m.var <= self.bound.var)


def _read(given: Reference, arithmetic: Arithmetic) -> Reference:
    """A statistic of shape (S,) as it is read, of shape (1, S, 1)."""
    value, bound = given.value[None, :, None], given.bound[None, :, None]
    return Reference(value=value, bound=read_bound(value, bound, arithmetic))


def divided_by(batch: Batch, divisor: str, arithmetic: Arithmetic) -> Reference:
    """The variance with divisor n (``biased``) or n - 1 (``unbiased``).

    One value has no unbiased variance: NaN with an infinite bound, to which nobody is held.
    """
    n, var, var_bound = batch.m.n, batch.m.var, batch.bound.var
    if divisor == "biased":
        return Reference(value=var, bound=var_bound)
    if n == 1:
        return Reference(value=np.full_like(var, np.nan), bound=np.full_like(var, np.inf))
    factor, held = divisor_factor(n, divisor), arithmetic.held
    bound = (var_bound * (1 + 4 * held.u) + (2 * held.u + 2 * U64) * var) * factor
    out_of_range = (var_bound == np.inf) | (n * (var + var_bound) > held.largest)
    return Reference(value=var * factor, bound=np.where(out_of_range, np.inf, bound))  # also beside a NaN


def divisor_factor(n: int, divisor: str) -> float:
    """What the variance with divisor n is multiplied by; NaN for the unbiased variance of one value."""
    if divisor == "biased":
        return 1.0
    return n / (n - 1) if n > 1 else math.nan
