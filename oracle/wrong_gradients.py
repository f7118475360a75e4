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

from normgauge.oracle.bounds import Arithmetic
from normgauge.oracle.moments import Float
from normgauge.oracle.normalize import channels_first, real_array, reciprocal_deviation
from normgauge.oracle.running_statistics import RunningStatistics
from normgauge.oracle.semantics import CANONICAL, Semantics


@dataclass(frozen=True)
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
    array = channels_first(x)
    plain = semantics.choice("grouping") == "contiguous" and semantics.choice("affine_shape") == "per_channel"
    if not plain or not array.size:
        return {}
    samples, channels = array.shape[:2]
    upstream = real_array("dy", dy, shape=array.shape)
    scale = np.ones(channels) if weight is None else real_array("weight", weight, shape=(channels,))

    def sets(values: Float) -> Float:
        return values.reshape(samples, num_groups, -1)

    with np.errstate(all="ignore"):
        grouped = sets(array)
        mean, var = grouped.mean(axis=-1, keepdims=True), grouped.var(axis=-1, keepdims=True)
        r = _reciprocal(var, eps, semantics)
        p = _Pass(sets(upstream * _along_channels(scale, array)), (grouped - mean) * r, r, var, eps)
        found = {name: {"dx": wrong(p).reshape(array.shape)} for name, wrong in _THROUGH_THE_SET.items()}
        return found | _of_parameters(array, upstream, p.x_hat.reshape(array.shape), scale)


def batch_norm_gradient_errors(
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
    array = channels_first(x)
    if not array.size or semantics.choice("training_normalizes_with") == "blended":
        return {}
    samples, channels, *spatial = array.shape
    upstream = real_array("dy", dy, shape=array.shape)
    scale = np.ones(channels) if weight is None else real_array("weight", weight, shape=(channels,))
    given = running is not None and (not training or semantics.choice("training_normalizes_with") == "running")

    def sets(values: Float) -> Float:
        return np.moveaxis(values, 1, 0).reshape(channels, -1)

    def restored(values: Float) -> Float:
        return np.moveaxis(values.reshape(channels, samples, *spatial), 0, 1)

    with np.errstate(all="ignore"):
        own = sets(array)
        mean, var = own.mean(axis=-1, keepdims=True), own.var(axis=-1, keepdims=True)
        if given and running is not None:
            mean, var = running.mean.value[:, None], running.var.value[:, None]
        r = _reciprocal(var, eps, semantics)
        p = _Pass(sets(upstream * _along_channels(scale, array)), (own - mean) * r, r, var, eps)
        wrong = _GIVEN if given else _THROUGH_THE_SET
        found = {name: {"dx": restored(form(p))} for name, form in wrong.items()}
        return found | _of_parameters(array, upstream, restored(p.x_hat), scale)


def _reciprocal(var: Float, eps: float, semantics: Semantics) -> Float:
    return reciprocal_deviation(var, np.zeros_like(var), eps, semantics.choice("eps_placement"), Arithmetic("float64"))[
        0
    ]


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
