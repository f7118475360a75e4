"""Batch normalization in eval, folded into the convolution or the linear layer before it.

    scale = weight / sqrt(running_var + eps),  W' = scale * W,  b' = (b - running_mean) * scale + bias

The folded layer gives what the two gave one after the other, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from normgauge.oracle.arithmetic import Arithmetic
from normgauge.oracle.moments import U64, Float
from normgauge.oracle.reference import Reference
from normgauge.oracle.validation import checked_number, given_array, real_array


@dataclass(frozen=True, kw_only=True)
class Folded:
    """The weight of the shape of the layer's own, and the bias of shape (C,), each with its bound."""

    weight: Reference
    bias: Reference


@dataclass(frozen=True, kw_only=True)
class _Given:
    """What is folded: arrays of shape (C,), and ``kernel`` with C along its first axis."""

    kernel: Float
    own_bias: Float
    weight: Float
    bias: Float
    mean: Float
    var: Float
    eps: float

    @property
    def scale(self) -> Float:
        return self.weight / np.sqrt(self.var + self.eps)

    def scaled(self, scale: Float) -> Float:
        return self.kernel * scale.reshape(-1, *(1,) * (self.kernel.ndim - 1))


def fold_batch_norm(  # noqa: PLR0913 - the arrays of two layers, by their usual names
    conv_weight: ArrayLike,
    conv_bias: ArrayLike | None,
    running_mean: ArrayLike,
    running_var: ArrayLike,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
    axis: int = 0,
    arithmetic: Arithmetic | None = None,
) -> Folded:
    """The weight and the bias of a convolution or linear layer with the BatchNorm behind it folded in, in float64.

    Args:
        conv_weight: weight of the layer before, of any shape with C along ``axis``: 0 in torch, -1 in Keras and of a
            Flax kernel.
        conv_bias: shape (C,), or None for zeros.
        running_mean: shape (C,).
        running_var: shape (C,); the variance, not the deviation.
        weight: of BatchNorm, shape (C,), or None for ones.
        bias: of BatchNorm, shape (C,), or None for zeros.
        eps: added to the variance inside the square root.
        axis: the axis of the output channels in ``conv_weight``.
        arithmetic: what the bound allows for; by default float32, float64 for a ``conv_weight`` of that type.

    Raises:
        ValueError: arrays of other shapes, or a running variance that is not above 0 with eps.

    >>> folded = fold_batch_norm([[2.0]], [3.0], [1.0], [4.0], [6.0], [0.5], eps=0.0)
    >>> folded.weight.value, folded.bias.value
    (array([[6.]]), array([6.5]))
    """
    given, arithmetic = _checked(
        (conv_weight, conv_bias), (running_mean, running_var, weight, bias), eps, axis, arithmetic
    )
    made, scale = _right(given), np.abs(given.scale)
    u, eta = arithmetic.held.u + U64, arithmetic.held.smallest_normal
    parts = (np.abs(given.own_bias) + np.abs(given.mean)) * scale + np.abs(given.bias)
    kernel = np.moveaxis(made[0], 0, axis)
    own = np.abs(np.moveaxis(given.kernel, 0, axis))
    return Folded(
        weight=Reference(value=kernel, bound=6 * u * np.abs(kernel) + eta * (1 + own)),
        bias=Reference(
            value=made[1], bound=8 * u * parts + 4 * eta * (1 + np.abs(given.own_bias) + np.abs(given.mean))
        ),
    )


def wrong_folds(  # noqa: PLR0913 - as above
    conv_weight: ArrayLike,
    conv_bias: ArrayLike | None,
    running_mean: ArrayLike,
    running_var: ArrayLike,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
    axis: int = 0,
) -> dict[str, tuple[Float, Float]]:
    """The weight and the bias that each known mistake of a fold gives, by what is done.

    Arguments, shapes and errors as in :func:`fold_batch_norm`.
    """
    given, _ = _checked((conv_weight, conv_bias), (running_mean, running_var, weight, bias), eps, axis, None)
    with np.errstate(all="ignore"):
        found = {name: of(given) for name, of in WRONG_FOLDS.items()}
    return {name: (np.moveaxis(kernel, 0, axis), shift) for name, (kernel, shift) in found.items()}


def _right(g: _Given) -> tuple[Float, Float]:
    return _by(g, g.scale)


def _by(g: _Given, scale: Float) -> tuple[Float, Float]:
    return g.scaled(scale), (g.own_bias - g.mean) * scale + g.bias


#: Mistakes of a fold, by what is done.
WRONG_FOLDS: Final[Mapping[str, Callable[[_Given], tuple[Float, Float]]]] = {
    # XiaoMi/mace#262
    "the bias of the convolution is not scaled": lambda g: (
        g.scaled(g.scale),
        g.own_bias - g.mean * g.scale + g.bias,
    ),
    "the bias of the convolution is left out": lambda g: (g.scaled(g.scale), g.bias - g.mean * g.scale),
    "the bias of BatchNorm is left out": lambda g: (g.scaled(g.scale), (g.own_bias - g.mean) * g.scale),
    "the running mean is left out": lambda g: (g.scaled(g.scale), g.own_bias * g.scale + g.bias),
    "the running mean is not scaled": lambda g: (g.scaled(g.scale), g.own_bias * g.scale - g.mean + g.bias),
    "the bias is not folded: it is that of the convolution": lambda g: (g.scaled(g.scale), g.own_bias),
    "the weight is not folded: it is that of the convolution": lambda g: (g.kernel, _right(g)[1]),
    "the weight of BatchNorm is left out": lambda g: _by(g, 1 / np.sqrt(g.var + g.eps)),
    "eps is left out": lambda g: _by(g, g.weight / np.sqrt(g.var)),
    "eps is added to the deviation": lambda g: _by(g, g.weight / (np.sqrt(g.var) + g.eps)),
    "the running variance is taken for a deviation": lambda g: _by(g, g.weight / g.var),
    "the root is left out": lambda g: _by(g, g.weight / (g.var + g.eps)),
    "weight and bias of BatchNorm are swapped": lambda g: (
        g.scaled(g.bias / np.sqrt(g.var + g.eps)),
        (g.own_bias - g.mean) * g.bias / np.sqrt(g.var + g.eps) + g.weight,
    ),
}


def _checked(
    before: tuple[ArrayLike, ArrayLike | None],
    own: tuple[ArrayLike, ArrayLike, ArrayLike | None, ArrayLike | None],
    eps: float,
    axis: int,
    arithmetic: Arithmetic | None,
) -> tuple[_Given, Arithmetic]:
    raw = given_array("conv_weight", before[0])
    if raw.ndim < 2 or not -raw.ndim <= axis < raw.ndim:
        raise ValueError(
            f"conv_weight has shape {raw.shape}, axis is {axis}; allowed: two axes at least, and one of them"
        )
    kernel = np.moveaxis(raw, axis, 0).astype(np.float64)
    shape = kernel.shape[:1]

    def of_channels(name: str, value: ArrayLike | None, initial: float) -> Float:
        return np.full(shape, initial) if value is None else real_array(name, value, shape=shape)

    given = _Given(
        kernel=kernel,
        own_bias=of_channels("conv_bias", before[1], 0.0),
        mean=real_array("running_mean", own[0], shape=shape),
        var=real_array("running_var", own[1], shape=shape),
        weight=of_channels("weight", own[2], 1.0),
        bias=of_channels("bias", own[3], 0.0),
        eps=checked_number("eps", eps),
    )
    below = np.flatnonzero(~(given.var + given.eps > 0))
    if len(below):
        raise ValueError(f"running_var[{below[0]}] + eps is {given.var[below[0]] + given.eps}; allowed: above 0")
    name = raw.dtype.name if raw.dtype.name in ("float16", "float64") else "float32"
    return given, arithmetic or Arithmetic(name)
