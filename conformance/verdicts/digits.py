"""A reference as text: with the digits that its bound supports, and enough to tell it from what came out."""

from __future__ import annotations

import math
from typing import Final

#: Decimal digits that tell every float64 from its neighbours.
MOST: Final = 17
#: Digits in which a bound is printed beside the value.
OF_BOUND: Final = 3


def supported(
    value: float,
    bound: float,
    observed: float = math.nan,
    *,
    least: int = 1,
    most: int = MOST,
    beyond: int = 0,
) -> str:
    """``value`` rounded to the place of the first digit of ``bound``, or to a place ``beyond`` that.

    Args:
        value: a number, or NaN or an infinity, which are their own text.
        bound: how far an honest result may lie from it; 0 supports every digit, infinity one.
        observed: what came out. Where the bound excludes it, the text is another number, with more digits if need be.
        least: significant digits of a value that is smaller than its bound; 0 where it may be a rounded zero.
        most: significant digits at most, but for what tells it from ``observed``.
        beyond: decimal places more, as beside a bound that is printed in ``beyond + 1`` digits.

    >>> supported(-0.2595639123, 3e-06), supported(0.5, 1e-07), supported(0.97, math.inf)
    ('-0.259564', '0.5', '1')
    >>> supported(1e-20, 1e-17, least=0), supported(0.1500002, 1e-07, 0.15)
    ('0', '0.1500002')
    """
    if not math.isfinite(value) or value == 0:
        return format(value + 0.0, "g")  # no sign of a zero
    size = math.floor(math.log10(abs(value)))
    digits = min(max(_supported_digits(size, bound, most) + beyond, least), most)
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


def _rounded(value: float, digits: int, size: int) -> str:
    """``value``, whose first digit is that of 10^size, in so many significant digits; in none, 0 or 10^(size + 1)."""
    if digits > 0:
        return format(value, f".{digits}g")
    unit = float(f"1e{size + 1}") if digits == 0 else math.inf
    return format(math.copysign(unit, value), "g") if 2 * abs(value) > unit else "0"
