"""What the oracle hands out: a value with a bound, and how an output is held against it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from normgauge.oracle.moments import Float


class Refusal(ValueError):
    """The semantics demand that this call is refused; a subject that accepts it departs from them."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The exact result rounded to float64, and how far an honest result may lie from it.

    ``value`` and ``bound`` have the same shape. A bound is infinite where the input says nothing
    (the arithmetic may overflow); a NaN in ``value`` demands a NaN, or, where ``bound`` is a NaN too, a NaN or an
    infinity.

    >>> import numpy as np
    >>> Reference(value=np.array([1.0]), bound=np.array([0.5])).excludes([1.4])
    False
    """

    value: Float
    bound: Float

    def ratio(self, actual: ArrayLike) -> Float:
        """|actual - value| / bound for each element: above 1 no honest implementation can lie.

        Elements that match exactly, both-NaN elements and infinite bounds give 0; a NaN against a
        number gives infinity.

        Raises:
            ValueError: ``actual`` has another shape.
        """
        got = np.asarray(actual, dtype=np.float64)
        if got.shape != self.value.shape:
            raise ValueError(f"the output has shape {got.shape}, the reference {self.value.shape}")
        ratio: Float = np.empty(got.shape)  # without it, an array of a million elements is allocated three times
        with np.errstate(all="ignore"):
            np.subtract(got, self.value, out=ratio)
            np.abs(ratio, out=ratio)
            np.divide(ratio, self.bound, out=ratio)
        if math.isfinite(ratio.max(initial=0.0)):  # neither 0 / 0 nor a NaN anywhere: no rule is needed
            return ratio
        undefined = np.isnan(got) | (np.isnan(self.bound) & np.isinf(got))
        same = (got == self.value) | (undefined & np.isnan(self.value)) | np.isposinf(self.bound)
        return np.where(same, 0.0, np.where(np.isnan(ratio), np.inf, ratio))

    def excludes(self, actual: ArrayLike) -> bool:
        """Whether any element of ``actual`` lies outside value ± bound."""
        return bool(np.any(self.ratio(actual) > 1))

    def reshape(self, shape: tuple[int, ...]) -> Reference:
        """The same values and bounds in another shape."""
        return Reference(value=self.value.reshape(shape), bound=self.bound.reshape(shape))

    def demands_nan(self) -> NDArray[np.bool_]:
        """A mask of the shape of ``value``: the elements that must be NaN."""
        return np.asarray(np.isnan(self.value) & np.isfinite(self.bound))

    def says_something(self) -> NDArray[np.bool_]:
        """A mask of the shape of ``value``: the elements whose bound is not infinite."""
        return ~np.isposinf(self.bound)


def empty(shape: tuple[int, ...]) -> Reference:
    """A reference to be filled in."""
    return Reference(value=np.empty(shape), bound=np.empty(shape))


def exactly(value: ArrayLike) -> Reference:
    """A reference without uncertainty, of the shape of ``value``, such as an initial running statistic."""
    array = np.asarray(value, dtype=np.float64)
    return Reference(value=array, bound=np.zeros_like(array))


def distance(a: Reference, b: Reference) -> float:
    """D(A, B) = max |a - b| / (bound a + bound b): above 1 no output can satisfy both."""
    both_nan = np.isnan(a.value) & np.isnan(b.value)
    with np.errstate(all="ignore"):
        ratio = np.abs(a.value - b.value) / (a.bound + b.bound)
    ratio = np.where(np.isnan(ratio), np.inf, ratio)
    silent = both_nan | np.isposinf(a.bound) | np.isposinf(b.bound) | (a.value == b.value)
    return float(np.max(np.where(silent, 0.0, ratio), initial=0.0))


@dataclass(frozen=True, kw_only=True)
class Gradients:
    """The gradients of sum(y * dy): ``dx`` of the shape of x, ``dweight`` and ``dbias`` of shape (C,)."""

    dx: Reference
    dweight: Reference
    dbias: Reference
