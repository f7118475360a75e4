"""The classic wrong gradients: what a backward pass gives that forgets a part of the chain rule.

They carry no bound of their own. A gradient that lies outside the oracle's bound is held against them, so that a
divergence can say what was forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from normgauge.oracle.blocks import Layout
from normgauge.oracle.moments import Float
from normgauge.oracle.normalize import Formula
from normgauge.oracle.running_statistics import RunningStatistics
from normgauge.oracle.semantics import CANONICAL, Semantics
from normgauge.oracle.validation import (
    Inputs,
    checked_formula,
    checked_groups,
    checked_input,
    checked_inputs,
    real_array,
)


@dataclass(frozen=True, kw_only=True)
class _Pass:
    """A set of shape (..., n), the upstream gradient times the weight, and what dx is made of."""

    g: Float
    x_hat: Float
    r: Float
    var: Float
    eps: float

    @property
    def n(self) -> int:
        return int(self.g.shape[-1])

    def means(self) -> tuple[Float, Float]:
        return self.g.mean(axis=-1, keepdims=True), (self.g * self.x_hat).mean(axis=-1, keepdims=True)

    def put(self, m1: Float | float, m2: Float | float) -> Float:
        """dx with these for mean(g) and mean(g * x_hat)."""
        return np.asarray(self.r * (self.g - m1 - self.x_hat * m2), dtype=np.float64)


def _of_both(p: _Pass, change: Callable[[Float, Float], tuple[Float | float, Float | float]]) -> Float:
    return p.put(*change(*p.means()))


#: Wrong forms of dx where the statistics are those of the set.
_THROUGH_THE_SET: Final[Mapping[str, Callable[[_Pass], Float]]] = {
    "mean and variance taken as constants": lambda p: p.put(0.0, 0.0),
    "the mean taken as a constant": lambda p: _of_both(p, lambda m1, m2: (0.0, m2)),
    "the variance taken as a constant": lambda p: _of_both(p, lambda m1, m2: (m1, 0.0)),
    "the divisor n - 1 mixed in": lambda p: _of_both(p, lambda m1, m2: (m1, m2 * p.n / max(p.n - 1, 1))),
    "sums in place of means": lambda p: _of_both(p, lambda m1, m2: (m1 * p.n, m2 * p.n)),
    "the sign of the variance's part": lambda p: _of_both(p, lambda m1, m2: (m1, -m2)),
    "eps left out of the variance's part": lambda p: _of_both(p, lambda m1, m2: (m1, m2 * (p.var + p.eps) / p.var)),
}
#: And where they are given: there is no way through them.
_GIVEN: Final[Mapping[str, Callable[[_Pass], Float]]] = {
    "differentiated through the statistics of the batch": lambda p: _of_both(p, lambda m1, m2: (m1, m2)),
}


def group_norm_gradient_errors(
    x: ArrayLike,
    dy: ArrayLike,
    num_groups: int,
    weight: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
    semantics: Semantics = CANONICAL["group_norm"],
) -> dict[str, dict[str, Float]]:
    """Wrong gradients by what is forgotten and then by name (``dx``, ``dweight``, ``dbias``).

    Arguments as of :func:`normgauge.oracle.group_norm_backward`; contiguous groups and a weight for each channel
    only, for others there is nothing. Empty inputs have none.
    """
    array = checked_input(x)
    plain = semantics.choice("grouping") == "contiguous" and semantics.choice("affine_shape") == "per_channel"
    if not plain or not array.size:
        return {}
    upstream, formula = real_array("dy", dy, shape=array.shape), checked_formula(array, eps, semantics, None)
    layout = Layout(shape=array.shape, groups=checked_groups(num_groups, array.shape[1]))
    return _wrong(layout, checked_inputs(array, weight), upstream, None, formula)


def batch_norm_gradient_errors(  # noqa: PLR0913 - the settings of a layer, by their usual names
    x: ArrayLike,
    dy: ArrayLike,
    running: RunningStatistics | None = None,
    weight: ArrayLike | None = None,
    *,
    training: bool,
    eps: float = 1e-5,
    semantics: Semantics = CANONICAL["batch_norm"],
) -> dict[str, dict[str, Float]]:
    """Wrong gradients as of :func:`group_norm_gradient_errors`; arguments as of ``batch_norm_backward``."""
    array = checked_input(x)
    if not array.size or semantics.choice("training_normalizes_with") == "blended":
        return {}
    batch = running is None or (training and semantics.choice("training_normalizes_with") != "running")
    layout = Layout(shape=array.shape, groups=array.shape[1], samples_together=True)
    upstream, formula = real_array("dy", dy, shape=array.shape), checked_formula(array, eps, semantics, None)
    return _wrong(layout, checked_inputs(array, weight), upstream, None if batch else running, formula)


def _wrong(
    layout: Layout, given: Inputs, dy: Float, running: RunningStatistics | None, formula: Formula
) -> dict[str, dict[str, Float]]:
    """The wrong forms of dx and those of dweight and dbias; ``running`` where given statistics normalise."""
    x = given.x.astype(np.float64)
    weight = np.ones(given.channels) if given.weight is None else given.weight
    block = layout.whole()

    def restored(sets: Float) -> Float:
        array = np.empty(x.shape)
        block.restore(sets, array)
        return array

    with np.errstate(all="ignore"):
        sets = block.of(x)
        mean, var = sets.mean(axis=-1, keepdims=True), sets.var(axis=-1, keepdims=True)
        if running is not None:
            mean, var = running.mean.value[:, None], running.var.value[:, None]
        r = formula.placement.reciprocal(var, formula.eps)
        g = block.of(dy * _along_channels(weight, x))
        p = _Pass(g=g, x_hat=(sets - mean) * r, r=r, var=var, eps=formula.eps)
        forms = _THROUGH_THE_SET if running is None else _GIVEN
        found = {name: {"dx": restored(form(p))} for name, form in forms.items()}
        return found | _of_parameters(x, dy, restored(p.x_hat), weight)


def _along_channels(values: Float, x: Float) -> Float:
    return values.reshape(1, -1, *(1,) * (x.ndim - 2))


def _of_parameters(x: Float, dy: Float, x_hat: Float, weight: Float) -> dict[str, dict[str, Float]]:
    """Wrong dweight and dbias."""
    axes = (0, *range(2, x.ndim))
    parts = {"dweight": dy * x_hat, "dbias": dy}
    forms: dict[str, Callable[[Float], Float]] = {
        "a mean in place of a sum": lambda v: v.mean(axis=axes),
        "the last sample alone": lambda v: v[-1].sum(axis=tuple(range(1, x.ndim - 1))),
        "the first sample alone": lambda v: v[0].sum(axis=tuple(range(1, x.ndim - 1))),
        "the weight multiplied in": lambda v: weight * v.sum(axis=axes),
    }
    if x.ndim > 2:
        forms["the first position alone"] = lambda v: v.reshape(*v.shape[:2], -1)[:, :, 0].sum(axis=0)
    found = {name: {one: form(v) for one, v in parts.items()} for name, form in forms.items()}
    return found | {"x not normalised": {"dweight": (dy * x).sum(axis=axes)}}
