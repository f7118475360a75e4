"""The magnitudes in which each dtype is tested: those that follow from the type, and those that are a choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from normgauge.adapters.dtypes import KNOWN_DTYPES, Dtype


@dataclass(frozen=True, kw_only=True)
class Magnitudes:
    """The magnitudes of the inputs of one dtype, and the smallest difference of a setting that must be detected.

    ``large_means`` are means in deviations, as powers of two: at the last, the squares no longer fit the type; in half
    precision the values themselves hardly differ then. ``large_constants`` are exact in the type. ``usual_eps`` is near
    the usual one and above it, so that no usual floor touches it; sums in the type hold it with some digits.
    ``least_deviation`` is a power of two whose square has digits left. ``resolution`` is how far from a setting another
    one must be told apart, relative to it.
    """

    dtype: Dtype
    large_means: tuple[int, ...]
    large_constants: tuple[float, ...] = ()
    usual_eps: float = 2.0**-16
    least_deviation: int = -15
    resolution: Mapping[str, float] = field(default_factory=dict)

    @property
    def large(self) -> int:
        """The scale, as a power of two, at which the squares of 2 in either direction just fit the type of sums."""
        sums = max(self.dtype.greatest_exponent, KNOWN_DTYPES["float32"].greatest_exponent)
        return min((sums - 11) // 2, self.dtype.greatest_exponent - 2)

    @property
    def subnormal(self) -> int:
        """A scale, as a power of two, at which values are below the normal numbers of the type."""
        return self.dtype.least_exponent - max(4, self.dtype.digits // 3 + 1)


#: Those of each dtype, by its name.
MAGNITUDES: Final[Mapping[str, Magnitudes]] = {
    one.dtype.name: one
    for one in (
        Magnitudes(
            dtype=KNOWN_DTYPES["float32"],
            large_means=(4, 8, 12),
            large_constants=(2.0**24, 2.0**60),
            resolution={"eps": 1e-5, "momentum": 1e-4},
        ),
        Magnitudes(
            dtype=KNOWN_DTYPES["float64"],
            large_means=(4, 12, 26),
            large_constants=(2.0**53, 2.0**500),
            resolution={"eps": 1e-6, "momentum": 1e-6},
        ),
        Magnitudes(dtype=KNOWN_DTYPES["float16"], large_means=(2, 4, 8), usual_eps=2.0**-8, least_deviation=-9),
        Magnitudes(dtype=KNOWN_DTYPES["bfloat16"], large_means=(1, 3, 6), large_constants=(2.0**60,)),
    )
}
