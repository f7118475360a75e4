"""The dtypes: what every part of the suite knows of a floating-point type. NumPy alone is needed here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Dtype:
    """A binary floating-point type.

    ``digits`` is the number of binary digits of the significand; the exponents are those of the least and of the
    greatest normal number (IEEE 754). ``carrier`` is the NumPy type of its arrays: where NumPy does not have the type,
    one that holds all of its values.
    """

    name: str
    digits: int
    least_exponent: int
    greatest_exponent: int
    carrier: str

    @property
    def half(self) -> bool:
        """Whether it has fewer digits than float32."""
        return self.digits < 24

    @property
    def smallest_subnormal(self) -> float:
        """The smallest positive number."""
        return float(2.0 ** (self.least_exponent - self.digits + 1))

    @cached_property
    def printed(self) -> str:
        """The format in which a script prints a number, with as many decimal digits as tell all numbers apart."""
        return f".{math.ceil(1 + self.digits * math.log10(2))}g"


#: Every dtype by its name, the usual one first.
KNOWN_DTYPES: Final[Mapping[str, Dtype]] = {
    one.name: one
    for one in (
        Dtype(name="float32", digits=24, least_exponent=-126, greatest_exponent=127, carrier="float32"),
        Dtype(name="float64", digits=53, least_exponent=-1022, greatest_exponent=1023, carrier="float64"),
        Dtype(name="float16", digits=11, least_exponent=-14, greatest_exponent=15, carrier="float16"),
        Dtype(name="bfloat16", digits=8, least_exponent=-126, greatest_exponent=127, carrier="float32"),
    )
}
#: The name of every dtype.
DTYPES: Final = tuple(KNOWN_DTYPES)
#: Those with digits enough to tell a setting from one that is a hundred thousandth off.
FULL: Final = tuple(name for name, one in KNOWN_DTYPES.items() if not one.half)
#: Those with fewer digits than float32.
HALF: Final = tuple(name for name, one in KNOWN_DTYPES.items() if one.half)
