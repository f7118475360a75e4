"""The experiments behind the error curves: one input after another, along |mean| / deviation or along n.

The values have full significands, so that nothing is exact by luck, and are made by additions and products of
float64 alone, so that they are the same bits everywhere. What a step's ratio really is follows from its rounded
values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from normgauge.adapters.case import Array
from normgauge.conformance.requirements.gradients import upstream
from normgauge.conformance.requirements.inputs import SPATIAL, cast, scrambled
from normgauge.conformance.requirements.probe import Probe, make_case

RATIO: Final = "ratio"
LENGTH: Final = "n"
#: An eps that no deviation here comes near.
EPS: Final = 2.0**-16
#: Binary digits of each type: the largest |mean| / deviation that it holds is about 2 to the power of them.
DIGITS: Final = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}
#: The curves over |mean| / deviation span at least this many powers of two, 12 decades.
SPAN: Final = 40
#: Values in a reduction: five decades.
LENGTHS: Final = (2, 16, 256, 4096, 32768, 262144)
#: What each layer kind's curves are judged by: large means, long reductions.
REQUIRED: Final = {"group_norm": ("GN-12", "GN-24"), "batch_norm": ("BN-17", "BN-32")}


def curve_probes(layer: str, dtype: str, ranks: tuple[int, ...]) -> list[Probe]:
    """Two cases with a step for each ratio, the second with gradients, and a case for each length."""
    rank = 4 if 4 in ranks else ranks[-1]
    large_mean, long = REQUIRED[layer]
    ratios = list(inputs_by_ratio(dtype, (2, 8, *SPATIAL[rank])))
    forward = _case(layer, dtype, [("train", x) for x in ratios], {"num_groups": 4})
    backward = _case(layer, dtype, [("train", x, upstream(x.shape)) for x in ratios], {"num_groups": 4})
    label = "one input after another, |mean| from far below to far above the deviation"
    return [
        Probe(large_mean, label, forward, quantities=("output",), curve=RATIO),
        Probe(large_mean, f"{label}, backward", backward, quantities=("dx",), curve=RATIO),
        *(
            Probe(long, f"n = {n:,}", _case(layer, dtype, [("train", x)], {"num_groups": 2}), curve=LENGTH)
            for n, x in _inputs_by_length(layer, rank)
        ),
    ]


def _case(layer: str, dtype: str, steps: Any, groups: dict[str, Any]) -> Any:
    channels = steps[0][1].shape[1]
    settings = {"num_channels": channels, "eps": EPS} | (groups if layer == "group_norm" else {"momentum": 0.25})
    parameters = {"weight": np.ones(channels), "bias": np.zeros(channels)}
    if layer == "batch_norm":
        parameters |= {"running_mean": np.zeros(channels), "running_var": np.ones(channels)}
    return make_case(layer, dtype, settings, steps, parameters)


def inputs_by_ratio(dtype: str, shape: tuple[int, ...]) -> Iterator[Array]:
    """Inputs of ``shape`` (N, C, *spatial) with larger and larger |mean| / deviation, up to what the type holds.

    All channels of all samples have the same four values in one order or another: however they are grouped,
    mean and deviation are those of the whole array.
    """
    largest = DIGITS[dtype]
    for power in [*range(min(-16, largest - SPAN), 0, 4), *range(0, largest + 1, 2 if largest > SPAN else 1)]:
        mean = 4 / 3 * 2.0**power
        values = [1.3, -1.3, 0.55, -0.55] if power >= 0 else [12.0, -12.0, 32 * mean, 0.0]
        place = np.indices(shape)
        order = (np.sum(place[:2], axis=0) + np.arange(math.prod(shape[2:])).reshape(shape[2:])) % 4
        x = np.asarray(values)[order] + (mean if power >= 0 else 0.0)
        if np.ptp(cast(x, dtype)) > 0:
            yield x


def _inputs_by_length(layer: str, rank: int) -> Iterator[tuple[int, Array]]:
    """Inputs of two sets of n values each."""
    for n in LENGTHS:
        if layer == "batch_norm":
            shape: tuple[int, ...] = (2, 2, *_extents(n // 2, rank)) if rank > 2 else (n, 2)
        else:
            shape = (1, 4, *_extents(n // 2, rank)) if rank > 2 else (1, 2 * n)
        yield n, _drifting(shape)


def _extents(positions: int, rank: int) -> tuple[int, ...]:
    """A power of two as a product of rank - 2 powers of two, as equal as can be."""
    power, axes = round(math.log2(positions)), rank - 2
    return tuple(2 ** ((power + axis) // axes) for axis in range(axes))


def _drifting(shape: tuple[int, ...]) -> Array:
    """Values of a mean near their deviation that repeat only after 2^18: no part of them stands for all."""
    count = math.prod(shape)
    parts = [scrambled((-(-count // repeats),)).repeat(repeats)[:count] for repeats in (1, 64, 4096)]
    return (0.9 + 0.4 * sum(parts, np.zeros(count))).reshape(shape)
