"""Real sizes: odd ones around the blocks of kernels, with values that show which elements a layer leaves out.

Half of the variance of each set comes from a few *telling* elements, in the last place or beside the boundaries of
blocks. A layer that drops or doubles one of them moves the output by far more than the bound, at any size.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from normgauge.adapters.case import Array, Case
from normgauge.conformance.requirements.inputs import graded, scrambled
from normgauge.conformance.requirements.probe import GRADIENTS, QUANTITIES, Probe
from normgauge.conformance.requirements.requirement import (
    BATCH_NORM,
    CHANNELS,
    GROUP_NORM,
    Asked,
    Both,
    Layer,
    Requirement,
    given_statistics,
    of_group_norm,
    twins,
)
from normgauge.conformance.requirements.sources import (
    BATCH_NORM_PAPER,
    GROUP_NORM_PAPER,
    KERAS_GROUP_NORM,
    ONNX_GROUP_NORM,
    TORCH_GROUP_NORM,
)

#: What kernels cut their work into.
BLOCKS: Final = (32, 64, 128, 256, 512, 1024, 2048, 4096)
#: A set of so few rows, each of so many positions, has telling elements in each row.
_FEW_ROWS: Final = 4
_MANY_POSITIONS: Final = 16
#: No block has a multiple of it, so that a parameter that is taken from another block is another number.
_PERIOD: Final = 61


@dataclass(frozen=True, kw_only=True)
class Size:
    """The size of an input: samples, channels, groups (1 where there are none) and positions of a channel.

    ``few`` marks the sizes that a framework is asked, too, which compiles for each shape.
    """

    samples: int
    channels: int
    groups: int = 1
    positions: int = 1
    few: bool = False

    def shape(self, rank: int) -> tuple[int, ...]:
        """(N, C, *spatial), the positions in odd extents as equal as can be; of rank 2 they are samples."""
        if rank == 2:
            return (self.samples * self.positions, self.channels)
        large = next(n for n in range(math.isqrt(self.positions), 0, -1) if self.positions % n == 0)
        spatial = (large, self.positions // large) if rank > 3 else (self.positions,)
        return (self.samples, self.channels, *spatial[:1], *(1,) * (rank - 4), *spatial[1:])


def _size(samples: int, channels: int, positions: int, groups: int = 1, *, few: bool = False) -> Size:
    return Size(samples=samples, channels=channels, groups=groups, positions=positions, few=few)


#: One dimension after the other; the multiples of blocks beside the odd numbers tell a tail from a limit.
_POSITIONS: Final = (
    31, 32, 33, 63, 65, 127, 129, 255, 256, 257, 1023, 1024, 1025, 1056, 1088, 1152, 1280, 1536, 4095, 4096, 4097,
)  # fmt: skip
_SAMPLES: Final = (7, 8, 9, 31, 32, 33, 65, 130)
#: Channels, with the groups that divide them: 1, 5, 7 or 11 channels a group, and a power of two.
_CHANNELS: Final = (
    (31, 31), (33, 3), (63, 9), (65, 13), (129, 129), (165, 33), (255, 51), (515, 103), (1023, 93), (1024, 256),
)  # fmt: skip
_CHANNELS_A_GROUP: Final = (31, 32, 33, 65, 129, 257, 1023)
_MOST_CHANNELS: Final = 1024
_FEW_POSITIONS: Final = (33, 257, 4097)
#: One more than the positions of a tile in some kernels.
_ABOVE_A_TILE: Final = 33

#: Sizes that are differentiated; the output of each is judged of a call without gradients.
_DIFFERENTIATED: Final = (
    _size(2, 10, 33, 2),
    _size(2, 10, 257, 2, few=True),
    _size(2, 10, 1025, 2),
    _size(2, 10, 4097, 2),
    _size(33, 4, 5, 2),
    _size(130, 35, 3, 7, few=True),
    _size(2, 129, 3),
    _size(2, 1020, 3, 204),
)
_OF_GROUP_NORM: Final = (
    *(_size(1, 4, n, 2, few=n in _FEW_POSITIONS) for n in _POSITIONS),
    *(_size(n, 4, 3, 2) for n in _SAMPLES),
    *(_size(1, channels, 3, groups) for channels, groups in _CHANNELS),
    *(_size(2, n, 2, few=n == 129) for n in _CHANNELS_A_GROUP),
    *(_size(1, 2 * n, 2, 2) for n in _CHANNELS_A_GROUP if 2 * n <= _MOST_CHANNELS),
    _size(1, 1023, 9, 1),
    _size(130, 1020, 1, 204, few=True),
    *(replace(one, few=False) for one in _DIFFERENTIATED),
)
_OF_BATCH_NORM: Final = (
    *(_size(2, 2, n, few=n in _FEW_POSITIONS) for n in _POSITIONS),
    *(_size(n, 2, 3) for n in _SAMPLES),
    *(_size(2, channels, 3) for channels, _ in _CHANNELS),
    _size(130, 2, 65),
    _size(130, 1020, 1, few=True),
    *(replace(one, few=False) for one in _DIFFERENTIATED),
)
#: More than 2^20 elements, in sets of a few thousand, whose bounds are small.
_MANY: Final = _size(2, 128, 4160, 32)


def _forward(sizes: tuple[Size, ...], layer: Layer, asked: Asked) -> Iterator[Probe]:
    for size in _fitting(sizes, asked):
        yield size_probe(layer, asked, size.shape(len(asked.shape)), size.groups)
    if len(asked.shape) > 2:
        shape = (4 if layer.statistics else 2, CHANNELS, _ABOVE_A_TILE, *(1,) * (len(asked.shape) - 3))
        case = layer.case(asked, [("train", graded(shape, asked.dtype, 4))])
        yield Probe(label=f"graded deviations, {_ABOVE_A_TILE} positions", case=case, diagnoses=True, special=True)


def _backward(layer: Layer, asked: Asked) -> Iterator[Probe]:
    for size in _fitting(_DIFFERENTIATED, asked):
        yield size_probe(layer, asked, size.shape(len(asked.shape)), size.groups, differentiated=True)


def _beyond(layer: Layer, asked: Asked) -> Iterator[Probe]:
    yield size_probe(layer, asked, _MANY.shape(len(asked.shape)), _MANY.groups)


def own_probes(layer: str, asked: Asked, shape: tuple[int, ...], groups: int) -> Iterator[Probe]:
    """The cases of a size that a user names: a call, and one with gradients, of the requirements on real sizes."""
    own = {GROUP_NORM.name: (GROUP_NORM, "GN-39", "GN-40"), BATCH_NORM.name: (BATCH_NORM, "BN-50", "BN-51")}
    if layer not in own or len(shape) not in asked.ranks:
        return
    made_for, forward, backward = own[layer]
    yield replace(size_probe(made_for, asked, shape, groups), requirement=forward)
    yield replace(size_probe(made_for, asked, shape, groups, differentiated=True), requirement=backward)


def _fitting(sizes: tuple[Size, ...], asked: Asked) -> Iterator[Size]:
    return (one for one in sizes if one.few or not asked.few_shapes)


def _more_groups_than_channels(layer: Layer, asked: Asked) -> Iterator[Probe]:
    for channels, groups in ((1, 2), (4, 8), (6, 32)):
        x = scrambled((2, channels, *asked.shape[2:]))
        yield layer.probe(asked, f"C={channels}, G={groups}", [("train", x)], num_channels=channels, num_groups=groups)


def size_probe(
    layer: Layer, asked: Asked, shape: tuple[int, ...], groups: int, *, differentiated: bool = False
) -> Probe:
    """A case of this size with telling elements: a training call and, where the layer has statistics, an eval.

    With ``differentiated`` one training call with gradients, which alone are judged.
    """
    x = telling_input(layer, shape, groups)
    if differentiated:
        steps: list[Any] = [("train", x, telling_upstream(layer, shape, groups))]
    else:
        steps = [("train", x), ("eval", x)] if layer.statistics else [("train", x)]
    case = _case(layer, asked, steps, groups)
    label = f"shape {shape}" if layer.statistics else f"shape {shape}, G={groups}"
    return Probe(label=label, case=case, quantities=GRADIENTS if differentiated else QUANTITIES)


def _case(layer: Layer, asked: Asked, steps: Any, groups: int) -> Case:
    channels = steps[0][1].shape[1]
    index = np.arange(channels) % _PERIOD
    parameters = {"weight": (0.5 + index / 8) * np.where(index % 3 == 1, -1, 1), "bias": (index % 16 - 8) / 4}
    if layer.statistics:
        parameters |= given_statistics(0, channels)
    changes = {} if layer.statistics else {"num_groups": groups}
    return layer.case(asked, steps, parameters, num_channels=channels, **changes)


def telling_input(layer: Layer, shape: tuple[int, ...], groups: int) -> Array:
    """Sixteenths with telling elements of either sign, about sqrt(n) deviations together.

    Each set has another mean, above its deviation so that zeros beside it show, and other telling elements than its
    neighbours. Sums of the values are exact in float32, in any order.
    """
    x = scrambled(shape)
    sets = _sets(layer, x, groups)
    number = np.arange(len(sets))[:, None]
    sets += (2 + number % 7 / 8)[:, :, None]
    row, position = _telling(*sets.shape[1:])
    sets[:, row, position] = _amplitude(sets[0].size, len(row)) * (1 + number % 3 / 2)
    return x


def telling_upstream(layer: Layer, shape: tuple[int, ...], groups: int) -> Array:
    """A gradient that is large where the input is, and larger in the last sample, over which parameters are summed."""
    dy = scrambled(shape, 41) + 0.25
    sets = _sets(layer, dy, groups)
    row, position = _telling(*sets.shape[1:])
    sets[:, row, position] = _amplitude(sets[0].size, len(row))
    if not layer.statistics:
        sets[-groups:, row, position] *= round(math.sqrt(shape[0]))
    return dy


def _sets(layer: Layer, values: Array, groups: int) -> Array:
    """What is normalised together, as a view of shape (sets, rows, positions)."""
    samples, channels = values.shape[:2]
    if layer.statistics:
        return np.moveaxis(values.reshape(samples, channels, -1), 1, 0)
    return values.reshape(samples * groups, channels // groups, -1)


def _telling(rows: int, positions: int) -> tuple[Array, Array]:
    """Row and position of the telling elements: the last, and those on both sides of the boundaries of blocks.

    Blocks are those of positions where there are few rows, and otherwise those of rows.
    """
    flat = [rows * positions - 1]
    if rows <= _FEW_ROWS and positions >= _MANY_POSITIONS:
        edges = [place for block in BLOCKS if block < positions for place in (block - 1, block)]
        flat += [row * positions + place for row in range(rows) for place in (*edges, positions - 1)]
    else:
        flat += [place * positions for block in BLOCKS if block < rows for place in (block - 1, block)]
    place = np.unique(flat)
    return place // positions, place % positions


def _amplitude(n: int, count: int) -> Array:
    """``count`` eighths of alternating sign whose squares make up half of those of n values."""
    size = round(8 * 1.15 * math.sqrt(n / count)) / 8
    return size * (-1.0) ** np.arange(count)


_ALL_SUMMED: Final = "the sums go over the whole set, and each element is an element of one, whatever its number"
_TOO_MANY: Final = "no number has a divisor that is larger than it"
_ITS_GRADIENT: Final = "the chain rule, too, sums over the whole set"

SIZES: Final[tuple[Requirement, ...]] = (
    *twins(
        "GN-39", "BN-50", ground="formula", rule="sizes", title="real sizes", settles=("large sizes",),
        statement=Both(
            "Every element counts at every size. The output is that of the equations for up to 4,097 positions, 130 "
            "samples, 1,024 channels, 1,023 channels per group and 256 groups.",
            "Every element counts at every size, in training and in eval. Output and running statistics are those of "
            "the equations for up to 4,097 positions, 130 samples and 1,024 channels.",
        ),
        source=Both(
            (GROUP_NORM_PAPER.implies(_ALL_SUMMED, at="equations 1, 2 and 7"),),
            (BATCH_NORM_PAPER.implies(_ALL_SUMMED, at="algorithms 1 and 2"),),
        ),
        probes=Both(
            functools.partial(_forward, _OF_GROUP_NORM), functools.partial(_forward, _OF_BATCH_NORM)
        ),
    ),
    *twins(
        "GN-40", "BN-51", ground="formula", rule="sizes", title="gradients at real sizes", settles=("large sizes",),
        statement=(
            "Every element counts in the gradients too. dx, dweight and dbias are those of the equations for up to "
            "4,097 positions, 130 samples and 1,020 channels."
        ),
        source=Both(
            (GROUP_NORM_PAPER.implies(_ITS_GRADIENT, at="equations 1, 2, 6 and 7"),),
            (BATCH_NORM_PAPER.implies(_ITS_GRADIENT, at="section 3, the six equations of the gradient"),),
        ),
        probes=_backward,
    ),
    *twins(
        "GN-41", "BN-52", ground="formula", rule="sizes", title="beyond 2^20 elements", settles=("large sizes",),
        statement=Both(
            "An input of more than 1,048,576 elements is normalised like every other input, to its last element.",
            "An input of more than 1,048,576 elements is normalised like every other input, to its last element, in "
            "training and in eval.",
        ),
        source=Both(
            (GROUP_NORM_PAPER.implies(_ALL_SUMMED, at="equations 1, 2 and 7"),),
            (BATCH_NORM_PAPER.implies(_ALL_SUMMED, at="algorithms 1 and 2"),),
        ),
        probes=_beyond,
    ),
    of_group_norm(
        "GN-42", ground="documentation", rule="refusal", title="more groups than channels refused",
        statement="More groups than channels raise an exception.", probes=_more_groups_than_channels,
        source=(
            TORCH_GROUP_NORM.implies(_TOO_MANY, quote="num_channels must be divisible by num_groups."),
            KERAS_GROUP_NORM.implies(_TOO_MANY, quote="The input dimension must be divisible by the number of groups."),
            ONNX_GROUP_NORM.implies(
                _TOO_MANY, at="of num_groups", quote="It should be a divisor of the number of channels C."
            ),
        ),
    ),
)  # fmt: skip
