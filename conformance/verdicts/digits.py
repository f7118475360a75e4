"""A reference as text: with the digits that its bound supports, and enough to tell it from what came out."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Final

#: Decimal digits that tell every float64 from its neighbours.
MOST: Final = 17
#: Digits in which a bound is printed beside the value.
OF_BOUND: Final = 3
#: A number of at most so many digits is printed whole, whatever its bound: -0.75 and 500000 are exact.
WHOLE: Final = 5
#: What float64 rounds of a value that is such a number, as a part of it.
_NOISE: Final = 2.0**-50


def supported(
    value: float,
    bound: float,
    observed: float = math.nan,
    *,
    error: float = 0.0,
    most: int = MOST,
    beyond: int = 0,
) -> str:
    """``value`` rounded to the place of the first digit of ``bound``, or to a place ``beyond`` that.

    A number of at most ``WHOLE`` digits is whole. Any other ends at the last place at which all numbers within
    ``error`` of ``value`` round alike: no printed digit depends on how the value itself was rounded.

    Args:
        value: a number, or NaN or an infinity, which are their own text.
        bound: how far an honest result may lie from it; 0 supports every digit, infinity one.
        observed: what came out. Where the bound excludes it, the text is another number, with more digits if need be.
        error: how far ``value`` may lie from the exact one; what is smaller may be a rounded zero.
        most: significant digits at most, but for what tells it from ``observed``.
        beyond: decimal places more, as beside a bound that is printed in ``beyond + 1`` digits.

    >>> supported(-0.2595639123, 3e-06), supported(0.5, 1e-07), supported(0.9712345, math.inf)
    ('-0.259564', '0.5', '1')
    >>> supported(-0.75, 2.0), supported(500000.0, math.inf), supported(0.84375, 4e-4)
    ('-0.75', '500000', '0.84375')
    >>> supported(85.14418701171874, 7.2e-13), supported(85.14418701171874, 7.2e-13, error=1.8e-13)
    ('85.1441870117187', '85.144187011719')
    >>> supported(1e-20, 1e-17, error=1e-17), supported(0.1500002, 1e-07, 0.15)
    ('0', '0.1500002')
    """
    if not math.isfinite(value) or value == 0:
        return format(value + 0.0, "g")  # no sign of a zero
    size = math.floor(math.log10(abs(value)))
    least = int(abs(value) > error)
    digits = min(max(_supported_digits(size, bound, most) + beyond, least), most)
    whole = _whole_digits(value) if least else 0
    if max(digits, 1) <= whole <= min(most, WHOLE):
        return format(value, f".{WHOLE + 1}g")  # 500000 rather than 5e+05
    while digits > max(least, whole - 1) and not _is_settled(value, error, size - digits + 1):
        digits -= 1
    text = _rounded(value, digits, size)
    while float(text) == observed and abs(value - observed) > bound and digits < MOST:
        digits += 1
        text = _rounded(value, digits, size)
    return text


def beside(bound: float) -> str:
    """``bound`` as it is printed beside a value."""
    return format(bound, f".{OF_BOUND}g")


def apart(value: float, other: float, *digits: int) -> str:
    """``value`` in the first of these numbers of significant digits in which it is not ``other``."""
    shown = (count for count in digits if format(value, f".{count}g") != format(other, f".{count}g"))
    return format(value, f".{next(shown, MOST)}g")


def _supported_digits(size: int, bound: float, most: int) -> int:
    """From the digit of 10^size to that of the first digit of ``bound``; below 1 where the bound is larger."""
    if bound == 0:
        return most
    return size - math.floor(math.log10(bound)) + 1 if math.isfinite(bound) else 1


def _whole_digits(value: float) -> int:
    """How many significant digits say ``value``; 0 where it takes more than one beyond ``WHOLE``."""
    texts = ((count, format(value, f".{count}g")) for count in range(1, WHOLE + 2))
    return next((count for count, text in texts if abs(float(text) - value) <= abs(value) * _NOISE), 0)


def _is_settled(value: float, error: float, place: int) -> bool:
    """Whether all numbers within ``error`` of ``value`` are the same when they are rounded to 10^place."""
    low, high = ((Decimal(value) + Decimal(one)).scaleb(-place).to_integral_value() for one in (-error, error))
    return low == high


def _rounded(value: float, digits: int, size: int) -> str:
    """``value``, whose first digit is that of 10^size, in so many significant digits; in none, 0 or 10^(size + 1)."""
    if digits > 0:
        return format(value, f".{digits}g")
    unit = float(f"1e{size + 1}") if digits == 0 else math.inf
    return format(math.copysign(unit, value), "g") if 2 * abs(value) > unit else "0"
