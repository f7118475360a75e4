"""A backward pass taken apart, element by element of the input, so that a part of it can be put wrong.

With g = weight * dy, m1 = mean(g) and m2 = mean(g * x_hat), both over a set (the notation is that of backward.py)::

    dx = r * (g - a * m1 - a * c * kappa * moved * m2)

where a is 1 where the statistics are those of the set and 0 where they are given, c the divisor's factor, kappa the
slope of r and moved = (x - the set's mean) * r, which is x_hat unless other statistics normalise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from normgauge.oracle.backward import Dependence, Sets
from normgauge.oracle.blocks import Layout
from normgauge.oracle.moments import Float
from normgauge.oracle.normalize import PLACEMENTS, Formula, Placement
from normgauge.oracle.statistics import divisor_factor

Labels = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Normalized:
    """What normalises the elements: the reciprocal deviation, its slope kappa, and the result."""

    r: Float
    slope: Float | float
    x_hat: Float


@dataclass(frozen=True, kw_only=True)
class BackwardPass:
    """The parts of a backward pass, without bounds; every array but the statistics has an entry for each element.

    ``set_of``, ``sample``, ``channel``, ``position`` and ``parameter`` number what an element belongs to; a sample's
    sets have adjacent numbers. ``mean`` and ``var`` are the statistics in use, an entry for each set. ``share`` and
    ``factor`` are a and c. ``others`` are statistics that belong to another call, by ``before`` and ``after``.
    """

    shape: tuple[int, ...]
    samples_together: bool
    x: Float
    dy: Float
    weight: Float
    set_of: Labels
    sample: Labels
    channel: Labels
    position: Labels
    parameter: Labels
    mean: Float
    var: Float
    share: float
    factor: float
    unbiased: bool
    placement: Placement
    eps: float
    others: Mapping[str, tuple[Float, Float]]

    @property
    def samples(self) -> int:
        return self.shape[0]

    @property
    def channels(self) -> int:
        return self.shape[1]

    @property
    def positions(self) -> int:
        return prod(self.shape[2:])

    @property
    def n(self) -> int:
        """The elements of a set."""
        return len(self.x) // len(self.mean)

    @property
    def groups(self) -> int:
        """The sets of a sample; of samples that are normalised together, all sets."""
        return len(self.mean) // (1 if self.samples_together else self.samples)

    @cached_property
    def order(self) -> Labels:
        """The numbers of the elements, set by set; within a set by sample, channel and position."""
        return np.lexsort((self.position, self.channel, self.sample, self.set_of))

    @cached_property
    def place(self) -> Labels:
        """Of each element, the number of the elements of its set that come before it."""
        found = np.empty_like(self.order)
        found[self.order] = np.arange(len(self.order)) % self.n
        return found

    def at_place_in(self, values: Float, sets: Labels) -> Float:
        """Of each element, that of ``values`` at the same place in another set, which ``sets`` has the number of."""
        return np.asarray(values[self.order].reshape(-1, self.n)[sets, self.place])

    @cached_property
    def g(self) -> Float:
        return self.dy * self.weight

    @cached_property
    def used(self) -> Normalized:
        """What normalises."""
        return self.normalized(self.mean[self.set_of], self.var[self.set_of])

    def normalized(
        self, mean: Float, var: Float, *, placement: Placement | None = None, eps: float | None = None
    ) -> Normalized:
        """The elements normalised by a mean and a variance of each of them."""
        placement, eps = placement or self.placement, self.eps if eps is None else eps
        r = placement.reciprocal(var, eps)
        return Normalized(r=r, slope=placement.slope(var, eps), x_hat=(self.x - mean) * r)

    def mean_over(self, values: Float, labels: Labels) -> Float:
        """Of each element, the mean of ``values`` over the elements of its label."""
        return np.asarray((np.bincount(labels, values) / np.bincount(labels))[labels])

    def mean_of(self, values: Float) -> Float:
        """Of each element, the mean of ``values`` over its set."""
        return self.mean_over(values, self.set_of)

    def statistics_over(self, labels: Labels) -> tuple[Float, Float]:
        """Of each element, mean and variance of the elements of its label, with the divisor of the layer."""
        mean = self.mean_over(self.x, labels)
        count = np.bincount(labels)[labels]
        divisor = np.maximum(count - 1, 1) if self.unbiased else count
        return mean, self.mean_over(np.square(self.x - mean), labels) * count / divisor

    @cached_property
    def moved(self) -> Float:
        """x minus the mean of its set."""
        return self.x - self.mean_of(self.x)

    def dx(  # noqa: PLR0913 - the parts that may be wrong
        self,
        used: Normalized | None = None,
        *,
        g: Float | None = None,
        m1: Float | None = None,
        m2: Float | None = None,
        share: float | None = None,
        mean_share: float = 1.0,
        variance_share: Float | float = 1.0,
    ) -> Float:
        """dx with a part in place of the right one; ``mean_share`` and ``variance_share`` multiply the two terms."""
        given, used, g = used, used or self.used, self.g if g is None else g
        share = self.share if share is None else share
        if not share:
            return used.r * g
        m1, m2 = (self.mean_of(g) if m1 is None else m1), (self.mean_of(g * used.x_hat) if m2 is None else m2)
        moved = self.moved * used.r if given is None else used.x_hat
        through = share * self.factor * used.slope * variance_share
        return np.asarray(used.r * (g - share * mean_share * m1 - through * moved * m2))

    def summed(self, values: Float) -> Float:
        """The sum over the elements of each parameter, of shape (C,)."""
        return np.asarray(np.bincount(self.parameter, values, minlength=self.channels), dtype=np.float64)

    def sums(self, products: Float | None = None, upstream: Float | None = None) -> dict[str, Float]:
        """dweight and dbias from what each element adds to them, by default the right ones."""
        products = self.dy * self.used.x_hat if products is None else products
        upstream = self.dy if upstream is None else upstream
        return {"dweight": self.summed(products), "dbias": self.summed(upstream)}

    def right(self) -> dict[str, Float]:
        return {"dx": self.dx(), **self.sums()}


def backward_pass(  # noqa: PLR0913 - the parts come from both kinds of layer
    layout: Layout,
    s: Sets,
    dependence: Dependence | None,
    formula: Formula,
    *,
    divisor: str,
    per_set: bool = False,
    others: Mapping[str, tuple[Float, Float]] | None = None,
) -> BackwardPass:
    """The parts of the pass for all sets of ``layout`` at once; ``divisor`` is that of the axis ``variance``."""
    block, shape = layout.whole(), layout.shape

    def restored(sets: Float | Labels) -> Float:
        array = np.empty(shape)
        block.restore(np.broadcast_to(sets, s.dy.shape), array)
        return array.ravel()

    samples, groups = s.dy.shape[:2]
    numbers = np.arange(samples * groups).reshape(samples, groups, 1)
    set_of = restored(numbers).astype(np.intp)
    sample, channel, position = _labels(shape)
    return BackwardPass(
        shape=shape,
        samples_together=layout.samples_together,
        x=restored(s.used.x),
        dy=restored(s.dy),
        weight=restored(np.asarray(s.weight, dtype=np.float64)),
        set_of=set_of,
        sample=sample,
        channel=channel,
        position=position,
        parameter=set_of % groups if per_set else channel,
        mean=np.broadcast_to(s.used.mean.value, numbers.shape).ravel(),
        var=np.broadcast_to(s.used.var.value, numbers.shape).ravel(),
        share=0.0 if dependence is None else dependence.mean_share,
        factor=divisor_factor(layout.n, divisor) if dependence is None else dependence.divisor_factor,
        unbiased=divisor == "unbiased",
        placement=formula.placement,
        eps=formula.eps,
        others=others or {},
    )


def _labels(shape: tuple[int, ...]) -> tuple[Labels, Labels, Labels]:
    """The sample, the channel and the position of each element."""
    samples, channels, positions = shape[0], shape[1], prod(shape[2:])
    found = np.indices((samples, channels, positions)).reshape(3, -1)
    return found[0], found[1], found[2]


#: The other placements of eps, by the words that a wrong form has for them.
PLACED: Final[Mapping[str, Placement]] = {
    "eps inside the root": PLACEMENTS["inside_sqrt"],
    "eps outside the root": PLACEMENTS["outside_sqrt"],
    "the larger of variance and eps": PLACEMENTS["max_with_variance"],
}
