"""What the mistakes of elementwise steps make of a formula's arguments and of its output."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from normgauge.oracle.formats import rounded
from normgauge.oracle.moments import U64, Float
from normgauge.oracle.reference import Gradients, Reference, exactly
from normgauge.oracle.semantics import Semantics

Affine = tuple[Float | None, Float | None]

#: For the values of the axis ``eps_value`` that are another eps, wherever it is used.
_EPS: Final[Mapping[str, Callable[[float], float]]] = {
    "ignored": lambda eps: 0.0,
    "one_millionth": lambda eps: 1e-6,
    "hundred_thousandth": lambda eps: 1e-5,
    "one_thousandth": lambda eps: 1e-3,
    "twice": lambda eps: 2 * eps,
    "squared": lambda eps: eps * eps,
    "in_half": lambda eps: float(rounded(eps, "float16")),
    "rooted": lambda eps: math.copysign(math.sqrt(abs(eps)), eps),
}


#: The same where sets of n values are normalised by their own statistics.
_EPS_OF_SETS: Final[Mapping[str, Callable[[float, int], float]]] = {
    "divided_by_n": lambda eps, n: eps / max(n, 1),
    "ignored_in_training": lambda eps, n: 0.0,
}


def eps_of_sets(eps: float, n: int, semantics: Semantics) -> float:
    """The eps in use where sets of n values are normalised by their own statistics."""
    change = _EPS_OF_SETS.get(semantics.choice("eps_value"))
    return eps if change is None else change(eps, n)


def eps_in_use(eps: float, semantics: Semantics) -> float:
    """The eps that is added where ``eps`` is given, by the axis ``eps_value``."""
    change = _EPS.get(semantics.choice("eps_value"))
    return eps if change is None else change(eps)


def _each(change: Callable[[Float], Float]) -> Callable[[Float | None], Float | None]:
    return lambda values: None if values is None else change(values)


_plus_one, _absolute, _squared = _each(lambda v: 1 + v), _each(np.abs), _each(np.square)
_reversed, _next, _first = (
    _each(lambda v: v[::-1]),
    _each(lambda v: np.roll(v, -1)),
    _each(lambda v: np.full_like(v, v[0])),
)


def _bias_first(weight: Float | None, bias: Float | None) -> Affine:
    return weight, bias if weight is None or bias is None else weight * bias


def _swapped(weight: Float | None, bias: Float | None) -> Affine:
    return (weight, bias) if weight is None or bias is None else (bias, weight)


#: For each value of the axis ``affine``, the weight that multiplies and the bias that is added after it.
_AFFINE: Final[Mapping[str, Callable[[Float | None, Float | None], Affine]]] = {
    "scale_then_shift": lambda weight, bias: (weight, bias),
    "ignored": lambda weight, bias: (None, None),
    "weight_ignored": lambda weight, bias: (None, bias),
    "bias_ignored": lambda weight, bias: (weight, None),
    "bias_first": _bias_first,
    "weight_plus_one": lambda weight, bias: (_plus_one(weight), bias),
    "weight_absolute": lambda weight, bias: (_absolute(weight), bias),
    "swapped": _swapped,
    "next_channel": lambda weight, bias: (_next(weight), _next(bias)),
    "first_channel": lambda weight, bias: (_first(weight), _first(bias)),
    "weight_twice": lambda weight, bias: (_squared(weight), bias),
    "along_last_axis": lambda weight, bias: (weight, bias),
    "reversed": lambda weight, bias: (_reversed(weight), _reversed(bias)),
}


def parameter_axis(shape: tuple[int, ...], semantics: Semantics) -> int:
    """The axis of an input of ``shape`` (N, C, *spatial) that weight and bias lie along."""
    last = len(shape) > 2 and shape[-1] == shape[1]
    return len(shape) - 1 if last and semantics.choice("affine") == "along_last_axis" else 1


def affine_in_use(weight: Float | None, bias: Float | None, semantics: Semantics) -> Affine:
    """What multiplies and what is added after it, each of shape (C,) or None."""
    return _AFFINE[semantics.choice("affine")](weight, bias)


#: Where a parameter that is used is itself rounded, 1 + weight and weight * bias, as a number of roundings of y.
_ROUNDED: Final = frozenset({"bias_first", "weight_plus_one", "weight_twice"})


@dataclass(frozen=True, kw_only=True)
class Activation:
    """A function of y with its first derivative, and what bounds its first and its second one.

    A function without a second one has a step in its slope at ``edge``.
    """

    value: Callable[[Float], Float]
    slope: Callable[[Float], Float]
    steepest: float
    bend: float
    edge: float = 0.0


def _sigmoid(y: Float) -> Float:
    return np.asarray(1 / (1 + np.exp(-y)))


#: SiLU's derivative s (1 + y (1 - s)) lies between -0.0999 and 1.0999, its own derivative within 0.5.
_FOLLOWED_BY: Final[Mapping[str, Activation | None]] = {
    "nothing": None,
    "silu": Activation(
        value=lambda y: y * _sigmoid(y),
        slope=lambda y: _sigmoid(y) * (1 + y * (1 - _sigmoid(y))),
        steepest=1.1,
        bend=0.5,
    ),
    "relu": Activation(
        value=lambda y: np.maximum(y, 0.0), slope=lambda y: (y > 0).astype(np.float64), steepest=1.0, bend=0.0
    ),
    "at_most_6": Activation(
        value=lambda y: np.minimum(y, 6.0),
        slope=lambda y: (y <= 6).astype(np.float64),
        steepest=1.0,
        bend=0.0,
        edge=6.0,
    ),
}


def activation(semantics: Semantics) -> Activation | None:
    """What follows behind the layer, by the axis ``followed_by``."""
    return _FOLLOWED_BY[semantics.choice("followed_by")]


def activated(y: Reference, follows: Activation, u: float) -> Reference:
    """The activation of y: the slope carries y's error on, and up to 8 roundings make it."""
    with np.errstate(all="ignore"):
        value = follows.value(y.value)
    return Reference(value=value, bound=follows.steepest * y.bound + 8 * u * np.abs(value))


def rounded_parameters(y: Reference, bias: Float | float, u: float, semantics: Semantics) -> Reference:
    """y where a parameter in use is rounded: 2 u (|weight x_hat| + |bias|) more, the first at most |y| + |bias|."""
    if semantics.choice("affine") not in _ROUNDED:
        return y
    return Reference(value=y.value, bound=y.bound + 4 * u * (np.abs(y.value) + np.abs(bias)))


def upstream_of(dy: Float, y: Reference, follows: Activation, u: float) -> tuple[Float, Float]:
    """The gradient before the activation, and its error: where the side of an edge is not certain, all of it."""
    with np.errstate(all="ignore"):
        slope = follows.slope(y.value)
    error = np.abs(dy) * (follows.bend * y.bound + 12 * u * np.abs(slope))
    if follows.bend == 0:
        error = np.where(np.abs(y.value - follows.edge) <= y.bound, np.abs(dy), error)
    return dy * slope, error


def _none(one: Reference) -> Reference:
    return exactly(np.zeros_like(one.value))


def _times(one: Reference, factor: Float, u: float) -> Reference:
    """The product, of two roundings: a factor may be one of its own, as 2 * weight."""
    value = factor * one.value
    return Reference(value=value, bound=np.abs(factor) * one.bound + 2 * u * np.abs(value))


Chain = Callable[[Reference, Reference, tuple[Float, Float], float], tuple[Reference, Reference]]


def _of_bias_first(dw: Reference, db: Reference, given: tuple[Float, Float], u: float) -> tuple[Reference, Reference]:
    weight, bias = given
    through = _times(db, bias, u)
    value, size = dw.value + through.value, np.abs(dw.value) + np.abs(through.value)
    return Reference(value=value, bound=dw.bound + through.bound + u * size), _times(db, weight, u)


def _back(one: Reference) -> Reference:
    return Reference(value=one.value[::-1], bound=one.bound[::-1])


def _rolled(one: Reference) -> Reference:
    return Reference(value=np.roll(one.value, 1), bound=np.roll(one.bound, 1))


def _gathered(one: Reference, u: float) -> Reference:
    """The sum over all channels, of C - 1 additions in any order, in the first one."""
    value, bound = np.zeros_like(one.value), np.zeros_like(one.bound)
    value[0] = one.value.sum()
    bound[0] = one.bound.sum() + len(one.value) * u * np.abs(one.value).sum()
    return Reference(value=value, bound=bound)


#: For each value of ``affine``, dweight and dbias from those of what was in use, and from weight and bias.
_CHAIN: Final[Mapping[str, Chain]] = {
    "scale_then_shift": lambda dw, db, given, u: (dw, db),
    "ignored": lambda dw, db, given, u: (_none(dw), _none(db)),
    "weight_ignored": lambda dw, db, given, u: (_none(dw), db),
    "bias_ignored": lambda dw, db, given, u: (dw, _none(db)),
    "bias_first": _of_bias_first,
    "weight_plus_one": lambda dw, db, given, u: (dw, db),
    "weight_absolute": lambda dw, db, given, u: (_times(dw, np.sign(given[0]), u), db),
    "swapped": lambda dw, db, given, u: (db, dw),
    "next_channel": lambda dw, db, given, u: (_rolled(dw), _rolled(db)),
    "first_channel": lambda dw, db, given, u: (_gathered(dw, u), _gathered(db, u)),
    "weight_twice": lambda dw, db, given, u: (_times(dw, 2 * given[0], u), db),
    "along_last_axis": lambda dw, db, given, u: (dw, db),
    "reversed": lambda dw, db, given, u: (_back(dw), _back(db)),
}


def chained(found: Gradients, weight: Float | None, bias: Float | None, semantics: Semantics, u: float) -> Gradients:
    """The gradients of weight and bias, by the axis ``affine``, from those of what multiplies and is added."""
    ones, zeros = np.ones_like(found.dweight.value), np.zeros_like(found.dweight.value)
    given = ones if weight is None else weight, zeros if bias is None else bias
    made = _CHAIN[semantics.choice("affine")](found.dweight, found.dbias, given, u + U64)
    return (
        found if made[0] is found.dweight and made[1] is found.dbias else replace(found, dweight=made[0], dbias=made[1])
    )
