"""Range and length together: constants and magnitudes at many numbers of values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from normgauge.adapters.dtypes import KNOWN_DTYPES
from normgauge.conformance.requirements.inputs import per_channel, scrambled
from normgauge.conformance.requirements.probe import Probe
from normgauge.conformance.requirements.requirement import CHANNELS, Asked, Both, Layer, Requirement, twins
from normgauge.conformance.requirements.sources import BATCH_NORM_PAPER, GROUP_NORM_PAPER

#: Values in a set, on both sides of the blocks of kernels.
LENGTHS: Final = (2, 3, 31, 257, 4097)
#: A constant for each channel, as a significand of many digits and an exponent.
_CONSTANTS: Final = ((1.6, -4), (-1.65, 1), (1.5625, 6), (-1.627, 11), (0.0, 0), (1.1, -10), (-1.9, 3), (1.3, 9))


def _shape(layer: Layer, asked: Asked, n: int) -> tuple[int, ...]:
    """Eight channels, each a set of ``n`` values; without positions, of GroupNorm, channels of ``n`` to a group."""
    rank = len(asked.shape)
    if rank > 2:
        return (1, CHANNELS, n, *(1,) * (rank - 3))
    return (n, CHANNELS) if layer.statistics else (1, CHANNELS * n)


def _sets(layer: Layer, asked: Asked, n: int) -> dict[str, int]:
    if layer.statistics:
        return {}
    return {"num_groups": CHANNELS} | ({} if len(asked.shape) > 2 else {"num_channels": CHANNELS * n})


def _constants_of_length(layer: Layer, asked: Asked) -> Iterator[Probe]:
    for n in LENGTHS:
        shape = _shape(layer, asked, n)
        # The sum of as many as there are fits float16, too: what does not is asked for by other requirements.
        most = 3 if KNOWN_DTYPES[asked.dtype].greatest_exponent < 100 else math.inf
        values = np.array([significand * 2.0 ** min(exponent, most) for significand, exponent in _CONSTANTS])
        x = np.broadcast_to(per_channel(shape, np.repeat(values, shape[1] // CHANNELS)), shape)
        yield layer.probe(asked, f"constants, {n:,} values", [("train", x)], **_sets(layer, asked, n))


def _magnitudes_of_length(layer: Layer, asked: Asked) -> Iterator[Probe]:
    own = KNOWN_DTYPES[asked.dtype]
    sums = max(own.greatest_exponent, KNOWN_DTYPES["float32"].greatest_exponent)
    for n in LENGTHS[-1:]:
        shape, power = _shape(layer, asked, n), min(_deviation(sums, n), own.greatest_exponent - 2)
        x = scrambled(shape) * 2.0**power
        yield layer.probe(asked, f"times 2^{power}, {n:,} values", [("train", x)], **_sets(layer, asked, n))
    for n in () if own.half else LENGTHS[1:-1]:  # half precision does not tell one pass from two
        # The square of one value is in range, the sum of all of them is not.
        shape, power, mean = (
            _shape(layer, asked, n),
            _deviation(sums, n),
            math.ceil((sums + 1 - math.log2(2.25 * n)) / 2),
        )
        x = 1.5 * 2.0**mean + scrambled(shape) * 2.0**power
        label = f"2^{power} around a mean of 1.5 * 2^{mean}, {n:,} values"
        yield layer.probe(asked, label, [("train", x)], **_sets(layer, asked, n))


def _deviation(sums: int, n: int) -> int:
    """The largest, as a power of two, with which whatever an update of the variance forms stays in range.

    That is n^3 times the variance at most, of Youngs and Cramer (docs/bounds.md).
    """
    return math.floor((sums - 3 * math.log2(n) - 4) / 2)


def _lengths(layer: Layer, asked: Asked) -> Iterator[Probe]:
    yield from _constants_of_length(layer, asked)
    yield from _magnitudes_of_length(layer, asked)


RANGES: Final[tuple[Requirement, ...]] = twins(
    "GN-48", "BN-60", ground="robustness", rule="range", title="range and length", about="range",
    statement=Both(*(
        f"With 2 to 4,097 values a {what}, constants of many magnitudes give the bias, and values give results in "
        "bounds as long as the sums of the layer's way to the variance fit the type that adds, float32 at least."
        for what in ("group", "channel")
    )),
    source=Both(
        (GROUP_NORM_PAPER.implies("they hold for numbers of any size and sets of any size", at="equations 1 and 2"),),
        (BATCH_NORM_PAPER.implies("it holds for numbers of any size and batches of any size", at="algorithm 1"),),
    ),
    probes=_lengths,
)  # fmt: skip
