"""Arrays for experiments: small whole numbers times powers of two, the same bits on every machine.

Numbers that a person can check by hand, and no dependence on a random generator's release.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from normgauge.adapters.case import Array
from normgauge.adapters.dtypes import KNOWN_DTYPES
from normgauge.conformance.requirements.magnitudes import MAGNITUDES
from normgauge.oracle import rounded

#: Spatial sizes for each rank, four positions wherever there is room: one pool of shapes for all.
SPATIAL: Final[dict[int, tuple[int, ...]]] = {2: (), 3: (4,), 4: (2, 2), 5: (2, 1, 2)}


#: The same with odd sizes, which no power of two divides.
ODD: Final[dict[int, tuple[int, ...]]] = {2: (), 3: (5,), 4: (3, 5), 5: (1, 3, 5)}


def scrambled(shape: tuple[int, ...], seed: int = 0) -> Array:
    """Odd multiples of 1/16 in (-2, 2), no two neighbours alike; float64."""
    count = math.prod(shape)
    steps = (np.arange(count, dtype=np.int64) * 37 + 11 + 23 * seed) % 64
    return ((steps - 31.5) / 16).reshape(shape)


def per_channel(shape: tuple[int, ...], values: Array) -> Array:
    """``values`` of shape (C,) so that they broadcast over (N, C, *spatial)."""
    return np.asarray(values, dtype=np.float64).reshape(1, -1, *(1,) * (len(shape) - 2))


def graded(shape: tuple[int, ...], dtype: str, seed: int = 0) -> Array:
    """Channels with deviations from the least of ``dtype`` to 1 in even steps of the exponent, and means that differ.

    Deviations on both sides of sqrt(eps) tell the eps placements apart, different deviations in every
    channel tell groupings apart.
    """
    channels = shape[1]
    exponents = np.round(np.linspace(MAGNITUDES[dtype].least_deviation, 0, channels))
    scale = 2.0 ** exponents[_spread(channels)]
    means = scale * np.where(np.arange(channels) % 3 == 0, 0.5, -0.25)
    return scrambled(shape, seed) * per_channel(shape, scale) + per_channel(shape, means)


def small(shape: tuple[int, ...], deviation: float, seed: int = 0) -> Array:
    """Every channel with a deviation near ``deviation`` (to a power of two) and a mean near 0."""
    return scrambled(shape, seed) * dyadic(deviation)


def dyadic(value: float) -> float:
    """The power of two next to ``value``: every type represents it."""
    return 2.0 ** round(math.log2(value))


def weights(channels: int) -> Array:
    """Multiples of 1/8 around 1, all different, both signs."""
    values = 0.5 + np.arange(channels) / 8
    values[1::3] *= -1
    return values


def biases(channels: int) -> Array:
    """Multiples of 1/4, all different, small beside the outputs."""
    return (np.arange(channels) - channels / 2) / 4


def cast(values: Any, dtype: str) -> Array:
    """``values`` rounded to ``dtype``, in the NumPy type that carries it."""
    return rounded(values, dtype).astype(KNOWN_DTYPES[dtype].carrier)


def _spread(channels: int) -> Array:
    """A fixed permutation that puts unlike grades side by side."""
    order = np.arange(channels)
    return np.concatenate([order[0::2], order[1::2][::-1]])
