"""Range and length together: constants and magnitudes at many numbers of values."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from normgauge.adapters.case import Array, Case
from normgauge.adapters.dtypes import KNOWN_DTYPES
from normgauge.conformance.requirements.inputs import per_channel, scrambled
from normgauge.conformance.requirements.probe import Probe
from normgauge.conformance.requirements.requirement import CHANNELS, Asked, Both, Layer, Requirement, twins
from normgauge.conformance.requirements.sources import BATCH_NORM_PAPER, GROUP_NORM_PAPER

#: Values in a set, on both sides of the blocks of kernels, and so few that their number changes nothing.
LENGTHS: Final = (3, 31, 257, 4097)
FEW: Final = 4
#: A constant for each channel, as a significand of many digits and an exponent.
_CONSTANTS: Final = ((1.6, -4), (-1.65, 1), (1.5625, 6), (-1.627, 11), (0.0, 0), (1.1, -10), (-1.9, 3), (1.3, 9))


def _of_length(layer: Layer, asked: Asked, n: int, label: str, made: Callable[[tuple[int, ...]], Array]) -> Probe:
    """A case of eight channels, each a set of ``n`` values; without positions, of GroupNorm, groups of ``n`` channels.

    Beside it stands the same with few values.
    """
    case, few = (_case(layer, asked, length, made) for length in (n, FEW))
    return Probe(label=f"{label}, {n:,} values", case=case, without=few)


def _case(layer: Layer, asked: Asked, n: int, made: Callable[[tuple[int, ...]], Array]) -> Case:
    flat = (1,) * (len(asked.shape) - 2)
    if layer.statistics:
        return layer.case(asked, [("train", made((n, CHANNELS, *flat)))])
    if flat:
        return layer.case(asked, [("train", made((1, CHANNELS, n, *flat[1:])))], num_groups=CHANNELS)
    x = made((1, CHANNELS * n))
    return layer.case(asked, [("train", x)], num_groups=CHANNELS, num_channels=CHANNELS * n)


def _constants(dtype: str, shape: tuple[int, ...]) -> Array:
    # The sum of as many as there are fits float16, too: what does not is asked for by other requirements.
    most = 3 if KNOWN_DTYPES[dtype].greatest_exponent < 100 else math.inf
    values = np.array([significand * 2.0 ** min(exponent, most) for significand, exponent in _CONSTANTS])
    return np.broadcast_to(per_channel(shape, np.repeat(values, shape[1] // CHANNELS)), shape)


def _lengths(layer: Layer, asked: Asked) -> Iterator[Probe]:
    own = KNOWN_DTYPES[asked.dtype]
    sums = max(own.greatest_exponent, KNOWN_DTYPES["float32"].greatest_exponent)
    for n in LENGTHS:
        yield _of_length(layer, asked, n, "constants", functools.partial(_constants, asked.dtype))
    power = _deviation(sums, LENGTHS[-1])
    if power < own.greatest_exponent - 2:
        yield _of_length(layer, asked, LENGTHS[-1], f"times 2^{power}", functools.partial(_around, power, 0.0))
    for n in () if own.half else LENGTHS[:-1]:  # half precision does not tell one pass from two
        # The square of one value is in range, the sum of all of them is not.
        power, mean = _deviation(sums, n), math.ceil((sums + 1 - math.log2(2.25 * n)) / 2)
        made = functools.partial(_around, power, 1.5 * 2.0**mean)
        yield _of_length(layer, asked, n, f"2^{power} around a mean of 1.5 * 2^{mean}", made)


def _around(power: int, mean: float, shape: tuple[int, ...]) -> Array:
    return mean + scrambled(shape) * 2.0**power


def _deviation(sums: int, n: int) -> int:
    """The largest, as a power of two, with which whatever an update of the variance forms stays in range.

    That is n^3 times the variance at most, of Youngs and Cramer (docs/bounds.md).
    """
    return math.floor((sums - 3 * math.log2(n) - 4) / 2)


RANGES: Final[tuple[Requirement, ...]] = twins(
    "GN-46", "BN-57", ground="robustness", rule="range", title="range and length", about="range",
    statement=Both(*(
        f"For 3 to 4,097 values per {what}, constants of many magnitudes give the bias. Other values give results "
        "inside the bounds. This holds as long as the sums of the layer's variance formula fit the type of the sums, "
        "float32 at least."
        for what in ("group", "channel")
    )),
    source=Both(
        (GROUP_NORM_PAPER.implies("they hold for numbers of any size and sets of any size", at="equations 1 and 2"),),
        (BATCH_NORM_PAPER.implies("it holds for numbers of any size and batches of any size", at="algorithm 1"),),
    ),
    probes=_lengths,
)  # fmt: skip
