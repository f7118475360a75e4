"""The floating-point formats: their constants, and rounding to them.

NumPy has no bfloat16: its numbers travel as float32 or float64 arrays of values that bfloat16 holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from normgauge.oracle.moments import Float


@dataclass(frozen=True, kw_only=True)
class Format:
    """A binary format: ``digits`` of the significand, and the exponents of the normal numbers (IEEE 754)."""

    name: str
    digits: int
    least_exponent: int
    greatest_exponent: int

    @cached_property
    def u(self) -> float:
        """The unit roundoff."""
        return float(2.0**-self.digits)

    @cached_property
    def smallest_normal(self) -> float:
        return float(2.0**self.least_exponent)

    @cached_property
    def smallest_subnormal(self) -> float:
        return float(2.0 ** (self.least_exponent - self.digits + 1))

    @cached_property
    def largest(self) -> float:
        return float((2 - 2.0 ** (1 - self.digits)) * 2.0**self.greatest_exponent)

    @cached_property
    def is_half(self) -> bool:
        return self.digits < 20


FORMATS: Final = {
    form.name: form
    for form in (
        Format(name="float16", digits=11, least_exponent=-14, greatest_exponent=15),
        Format(name="bfloat16", digits=8, least_exponent=-126, greatest_exponent=127),
        Format(name="float32", digits=24, least_exponent=-126, greatest_exponent=127),
        Format(name="float64", digits=53, least_exponent=-1022, greatest_exponent=1023),
    )
}

#: What the intermediate results of a float32 layer may be rounded to by those who promise less.
INTERMEDIATES: Final = {
    "tf32": Format(name="tf32", digits=11, least_exponent=-126, greatest_exponent=127),
    "bfloat16": FORMATS["bfloat16"],
    "float16": FORMATS["float16"],
}


#: The steps of the formula that may be rounded alone: x, x in the sum of the mean, the mean with the variance taken
#: about it, the mean behind the variance, x - mean and its square in the sum of the variance, the variance, both
#: statistics, the reciprocal deviation, the normalised value, weight and bias, the output.
STEPS: Final = (
    "x", "terms", "mean", "mean_alone", "squares", "var", "statistics", "reciprocal", "x_hat", "affine", "output",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RoundedStep:
    """One of ``STEPS``, and the name of the format that what it gives is rounded to.

    Raises:
        ValueError: a step or a format that is not known.
    """

    step: str
    form: str

    def __post_init__(self) -> None:
        if self.step not in STEPS:
            raise ValueError(f"step {self.step!r} is not known; allowed: {', '.join(STEPS)}")
        if self.form not in _ROUNDED_TO:
            raise ValueError(f"format {self.form!r} is not known; allowed: {', '.join(_ROUNDED_TO)}")

    @property
    def to(self) -> Format:
        """The format that what the step gives is rounded to."""
        return _ROUNDED_TO[self.form]


_ROUNDED_TO: Final = {**INTERMEDIATES, "float32": FORMATS["float32"]}


def format_of(dtype: str) -> Format:
    """The format named ``dtype``.

    Raises:
        ValueError: a dtype that is not known.
    """
    if dtype not in FORMATS:
        raise ValueError(f"dtype {dtype!r} is not known; allowed: {', '.join(FORMATS)}")
    return FORMATS[dtype]


def rounded(values: ArrayLike, dtype: str) -> Float:
    """``values`` rounded once to ``dtype``, to nearest and ties to even, as float64 of the same shape.

    Beyond the largest number lies infinity; NaN and the sign of zero stay; subnormal numbers are kept.

    Raises:
        ValueError: a dtype that is not known.

    >>> rounded([1.0 + 2**-8, 1.0 + 3 * 2**-8], "bfloat16")
    array([1.      , 1.015625])
    >>> rounded([65519.0, 65520.0], "float16")
    array([65504.,    inf])
    """
    return rounded_to(values, format_of(dtype))


def rounded_to(values: ArrayLike, form: Format) -> Float:
    """As :func:`rounded`, by the format itself."""
    exact = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(exact)
    _, exponent = np.frexp(np.where(finite, exact, 0.0))  # |exact| < 2^exponent
    last_digit = np.maximum(exponent, form.least_exponent + 1) - form.digits
    with np.errstate(over="ignore", under="ignore"):
        nearest = np.ldexp(np.rint(np.ldexp(exact, -last_digit)), last_digit)
    too_large = finite & (np.abs(nearest) > form.largest)
    return np.asarray(np.where(too_large, np.copysign(np.inf, exact), np.where(finite, nearest, exact)))
