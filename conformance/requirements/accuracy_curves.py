"""Accuracy: large means and long reductions, whose inputs are those of the error curves.

A curve is one input after another, along |mean| / deviation or along n.
The values have full significands, so that nothing is exact by luck, and are made by additions and products of
float64 alone, so that they are the same bits everywhere. What a step's ratio really is follows from its rounded
values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from normgauge.adapters.case import Array, Case
from normgauge.adapters.dtypes import KNOWN_DTYPES
from normgauge.conformance.requirements.gradients import upstream
from normgauge.conformance.requirements.inputs import cast, scrambled
from normgauge.conformance.requirements.magnitudes import MAGNITUDES
from normgauge.conformance.requirements.probe import Probe
from normgauge.conformance.requirements.requirement import Asked, Both, Layer, Requirement, twins
from normgauge.conformance.requirements.sources import HIGHAM, SUMS_AT

RATIO: Final = "ratio"
LENGTH: Final = "n"
#: An eps that no deviation here comes near.
EPS: Final = 2.0**-16
#: The curves over |mean| / deviation span at least this many powers of two, 12 decades.
SPAN: Final = 40
#: Values in a reduction: five decades.
LENGTHS: Final = (2, 16, 256, 4096, 32768, 262144)


def _large_means(layer: Layer, asked: Asked) -> Iterator[Probe]:
    """One case for each mean, and two with a step for each ratio, the second with gradients."""
    for power in MAGNITUDES[asked.dtype].large_means:
        yield layer.probe(asked, f"mean = 2^{power} deviations", [("train", scrambled(asked.shape) + 2.0**power)])
    ratios = list(inputs_by_ratio(asked.dtype, asked.shape))
    label = "one input after another, |mean| from far below to far above the deviation"
    forward = _case(layer, asked, [("train", x) for x in ratios], groups=4)
    yield Probe(label=label, case=forward, quantities=("output",), curve=RATIO)
    backward = _case(layer, asked, [("train", x, upstream(x.shape)) for x in ratios], groups=4)
    yield Probe(label=f"{label}, backward", case=backward, quantities=("dx",), curve=RATIO)


def _long_reductions(layer: Layer, asked: Asked) -> Iterator[Probe]:
    for n, x in _inputs_by_length(layer, len(asked.shape)):
        yield Probe(label=f"n = {n:,}", case=_case(layer, asked, [("train", x)], groups=2), curve=LENGTH)


def _case(layer: Layer, asked: Asked, steps: Any, groups: int) -> Case:
    """A case without an affine part that could hide something, in so many groups where there are groups."""
    channels = steps[0][1].shape[1]
    parameters = {"weight": np.ones(channels), "bias": np.zeros(channels)}
    if layer.statistics:
        parameters |= {"running_mean": np.zeros(channels), "running_var": np.ones(channels)}
    changes = {"num_groups": groups} if "num_groups" in layer.usual(asked.dtype) else {}
    return layer.case(asked, steps, parameters, num_channels=channels, eps=EPS, **changes)


def inputs_by_ratio(dtype: str, shape: tuple[int, ...]) -> Iterator[Array]:
    """Inputs of ``shape`` (N, C, *spatial) with larger and larger |mean| / deviation, up to what the type holds.

    All channels of all samples have the same four values in one order or another: however they are grouped,
    mean and deviation are those of the whole array.
    """
    largest = KNOWN_DTYPES[dtype].digits  # the ratio that the type holds is about 2 to the power of them
    for power in [*range(min(-16, largest - SPAN), 0, 4), *range(0, largest + 1, 2 if largest > SPAN else 1)]:
        mean = 4 / 3 * 2.0**power
        values = [1.3, -1.3, 0.55, -0.55] if power >= 0 else [12.0, -12.0, 32 * mean, 0.0]
        place = np.indices(shape)
        order = (np.sum(place[:2], axis=0) + np.arange(math.prod(shape[2:])).reshape(shape[2:])) % 4
        x = np.asarray(values)[order] + (mean if power >= 0 else 0.0)
        if np.ptp(cast(x, dtype)) > 0:
            yield x


def _inputs_by_length(layer: Layer, rank: int) -> Iterator[tuple[int, Array]]:
    """Inputs of two sets of n values each."""
    for n in LENGTHS:
        if layer.statistics:
            shape: tuple[int, ...] = (2, 2, *extents(n // 2, rank)) if rank > 2 else (n, 2)
        else:
            shape = (1, 4, *extents(n // 2, rank)) if rank > 2 else (1, 2 * n)
        yield n, _drifting(shape)


def extents(positions: int, rank: int) -> tuple[int, ...]:
    """A power of two as a product of rank - 2 powers of two, as equal as can be."""
    power, axes = round(math.log2(positions)), rank - 2
    return tuple(2 ** ((power + axis) // axes) for axis in range(axes))


def _drifting(shape: tuple[int, ...]) -> Array:
    """Values of a mean near their deviation that repeat only after 2^18: no part of them stands for all."""
    count = math.prod(shape)
    parts = [scrambled((-(-count // repeats),)).repeat(repeats)[:count] for repeats in (1, 64, 4096)]
    return (0.9 + 0.4 * sum(parts, np.zeros(count))).reshape(shape)


#: Chan, Golub and LeVeque (1983) compare the usual ways; docs/bounds.md derives the bound of each.
_ONE_PASS: Final = (
    "a sum of n terms errs by at most gamma(n) times the sum of their sizes, so mean(x^2) - mean(x)^2 errs by at most "
    "a multiple of gamma(n + 3) * (var + mean^2), and two passes and Welford's recursion by less (derived in "
    "docs/bounds.md, Variance"
)

ACCURACY: Final[tuple[Requirement, ...]] = (
    *twins(
        "GN-12", "BN-17", ground="formula", title="large mean", about="statistics", settles=("large_mean",),
        statement=Both(*(
            f"For every mean, the errors of {what} are inside the bounds of one-pass statistics."
            for what in ("output and dx", "output, running statistics and dx")
        )),
        source=(HIGHAM.implies(f"{_ONE_PASS}, Output and Gradients)", at=SUMS_AT),),
        probes=_large_means,
    ),
    *twins(
        "GN-24", "BN-32", ground="formula", title="long reductions", about="statistics",
        statement=Both(*(
            f"For {sets} of 2 to 262,144 values, the errors of {what} are inside the bounds of one-pass statistics."
            for sets, what in (("groups", "the output"), ("channels", "output and running statistics"))
        )),
        source=(HIGHAM.implies(f"{_ONE_PASS} and Output)", at=SUMS_AT),),
        probes=_long_reductions,
    ),
)  # fmt: skip
