"""The arguments of both layers, checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from normgauge.oracle.alternatives import eps_in_use
from normgauge.oracle.arithmetic import Arithmetic
from normgauge.oracle.moments import Float
from normgauge.oracle.normalize import Formula
from normgauge.oracle.reference import Refusal
from normgauge.oracle.semantics import Semantics

_NUMBERS: Final = (int, float, np.floating, np.integer)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The arrays of a call: x of shape (N, C, *spatial) in its own type, weight and bias of shape (C,)."""

    x: NDArray[Any]
    weight: Float | None
    bias: Float | None

    @property
    def channels(self) -> int:
        return int(self.x.shape[1])


def checked_input(x: ArrayLike) -> NDArray[Any]:
    """``x`` of shape (N, C, *spatial) in its own type.

    Raises:
        ValueError: not an array of real numbers, or fewer than two dimensions.
    """
    array = given_array("x", x)
    if array.ndim < 2:
        raise ValueError(f"x must have shape (N, C, *spatial): got {array.ndim} dimension(s), {array.shape}")
    return array


def checked_inputs(x: NDArray[Any], weight: ArrayLike | None, bias: ArrayLike | None = None) -> Inputs:
    """The arrays of a call, of which ``x`` is checked already.

    Raises:
        ValueError: weight or bias is not an array of real numbers, or not of shape (C,).
    """
    scale, shift = (
        None if one is None else real_array(name, one, shape=x.shape[1:2])
        for name, one in (("weight", weight), ("bias", bias))
    )
    return Inputs(x=x, weight=scale, bias=shift)


def checked_formula(x: NDArray[Any], eps: float, semantics: Semantics, arithmetic: Arithmetic | None) -> Formula:
    """The formula; by default in the type of float64 and float16 data, and in float32 for everything else.

    Raises:
        ValueError: an eps that is not a finite number.
    """
    if arithmetic is None:
        name = x.dtype.name
        arithmetic = Arithmetic(name if name in ("float64", "float16") else "float32")
    eps = eps_in_use(checked_number("eps", eps), semantics)
    return Formula(eps=eps, semantics=semantics, arithmetic=arithmetic)


def checked_groups(num_groups: int, channels: int, num_channels: int | None = None) -> int:
    """The number of groups of ``channels`` channels, for a layer that was made for ``num_channels`` if for any.

    Raises:
        Refusal: the channels are not those the layer was made for, or do not divide into groups.
        ValueError: not a positive integer.
    """
    groups = checked_count("num_groups", num_groups)
    if num_channels is not None and channels != num_channels:
        raise Refusal(f"the layer has num_channels={num_channels}, the input has {channels} channels")
    if channels % groups:
        raise Refusal(f"num_channels must be divisible by num_groups: got num_channels={channels}, num_groups={groups}")
    return groups


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


def checked_number(name: str, value: Any) -> float:
    """``value`` as a float.

    Raises:
        ValueError: not a finite number.
    """
    if isinstance(value, bool) or not isinstance(value, _NUMBERS):
        raise ValueError(f"{name} must be a number, got {value!r}")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {number}")
    return number


def checked_count(name: str, value: Any) -> int:
    """``value`` as a positive integer.

    Raises:
        ValueError: anything else.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")
    return int(value)
