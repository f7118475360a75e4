"""What both layers share: the reciprocal deviation and the normalised value, with their bounds."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from normgauge.oracle.bounds import Arithmetic, forward_bound
from normgauge.oracle.moments import U64, Float
from normgauge.oracle.reference import Reference

_NUMBERS: Final = (int, float, np.floating, np.integer)

#: 1 / deviation by placement of eps.
RECIPROCAL: Final[dict[str, Callable[[Float, float], Float]]] = {
    "inside_sqrt": lambda var, eps: 1 / np.sqrt(var + eps),
    "outside_sqrt": lambda var, eps: 1 / (np.sqrt(var) + eps),
    "max_with_variance": lambda var, eps: 1 / np.sqrt(np.maximum(var, eps)),
}


def reciprocal_deviation(
    var: Float, var_bound: Float, eps: float, placement: str, arithmetic: Arithmetic
) -> tuple[Float, Float]:
    """The reciprocal deviation and a bound on the relative error of the computed one.

    Every placement falls as the variance grows, so the worst cases are the ends of the interval
    [var - bound, var + bound], cut at 0 because an honest variance is not negative. Evaluating the
    formula costs at most 5u (eps rounded to the type, square root, sum, a reciprocal square root good
    to 2 ulp), and second order. An eps below the normal numbers may count as 0 or round up.
    """
    form, held = RECIPROCAL[placement], arithmetic.held
    u, eta = held.u, held.smallest_normal
    least, most = (0.0, eta) if 0 < eps < eta else (eps, eps)
    value = form(var, eps)
    above = form(np.maximum(var - var_bound, 0), least) / value - 1
    below = 1 - form(var + var_bound, most) / value
    moved = np.where(var_bound == np.inf, np.inf, np.maximum(np.maximum(above, below), 0))
    # The float64 evaluation of the ends and of the quotient: 3u and 1u of float64.
    return value, moved + (6 * u + 4 * U64) * (1 + moved)


def normalized(
    x: Float,
    *,
    deviation: Float,
    largest: Float,
    mean: Float,
    mean_bound: Float,
    var: Float,
    var_bound: Float,
    eps: float,
    placement: str,
    weight: Float | float,
    bias: Float | float,
    arithmetic: Arithmetic,
) -> Reference:
    """weight * deviation / sqrt(var + eps) + bias and its bound; all arguments broadcast with ``x``.

    ``largest`` is the largest |x| of each set.
    """
    reciprocal, relative = reciprocal_deviation(var, var_bound, eps, placement, arithmetic)
    x_hat = deviation * reciprocal
    y = x_hat if isinstance(weight, float) and weight == 1 else weight * x_hat
    y = y if isinstance(bias, float) and bias == 0 else y + bias
    bound = forward_bound(
        x=x,
        x_hat=x_hat,
        y=y,
        largest=largest,
        mean=mean,
        reciprocal=reciprocal,
        relative=relative,
        mean_bound=mean_bound,
        weight=weight,
        bias=bias,
        arithmetic=arithmetic,
    )
    if math.isfinite(bound.max()):  # |y| is a part of it: no NaN and no infinity anywhere
        return Reference(y, bound)
    # A NaN is demanded where an input or a statistic is one for certain. Any other result or bound
    # that is not a number is out of range: nothing can be said.
    certain = np.isnan(x) | np.isnan(weight) | np.isnan(bias)
    certain = certain | np.isnan(mean) & (mean_bound != np.inf) | np.isnan(var) & (var_bound != np.inf)
    # Below zero there is no root, however the variance was rounded.
    certain |= np.isnan(RECIPROCAL[placement](var + var_bound, eps)) & np.isfinite(var_bound)
    out_of_range = np.isnan(bound) | ~np.isfinite(y)
    bound = np.where(certain, 0.0, np.where(out_of_range, np.inf, bound))
    return Reference(y, bound)


def real_array(name: str, value: ArrayLike, *, shape: tuple[int, ...] | None = None) -> Float:
    """``value`` as float64.

    Raises:
        ValueError: not an array of real numbers, or another shape than ``shape``.
    """
    return given_array(name, value, shape=shape).astype(np.float64)


def given_array(name: str, value: ArrayLike, *, shape: tuple[int, ...] | None = None) -> NDArray[Any]:
    """``value`` in its own type, in C order: how it lies in memory changes no sum.

    Raises:
        ValueError: not an array of real numbers, or another shape than ``shape``.
    """
    raw = np.asarray(value, order="C")
    if raw.dtype.kind not in "fiub":
        raise ValueError(f"{name} must be an array of real numbers, got dtype {raw.dtype}")
    if shape is not None and raw.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {raw.shape}")
    return raw


def channels_first(x: ArrayLike) -> Float:
    """``x`` as float64 of shape (N, C, *spatial).

    Raises:
        ValueError: fewer than two dimensions.
    """
    return given_channels_first(x).astype(np.float64)


def given_channels_first(x: ArrayLike) -> NDArray[Any]:
    """``x`` of shape (N, C, *spatial) in its own type.

    Raises:
        ValueError: fewer than two dimensions.
    """
    array = given_array("x", x)
    if array.ndim < 2:
        raise ValueError(f"x must have shape (N, C, *spatial): got {array.ndim} dimension(s), {array.shape}")
    return array


def checked_number(name: str, value: Any, *, least: float | None = None) -> float:
    """``value`` as a float.

    Raises:
        ValueError: not a finite number, or below ``least``.
    """
    if isinstance(value, bool) or not isinstance(value, _NUMBERS):
        raise ValueError(f"{name} must be a number, got {value!r}")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {number}")
    if least is not None and number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


def checked_count(name: str, value: Any) -> int:
    """``value`` as a positive integer.

    Raises:
        ValueError: anything else.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")
    return int(value)


def default_arithmetic(x: ArrayLike) -> Arithmetic:
    """The type of float64 and float16 data, float32 for everything else."""
    name = np.asarray(x).dtype.name
    return Arithmetic(name if name in ("float64", "float16") else "float32")
