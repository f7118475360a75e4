"""Which elements a statistic is made of."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from faulty.faults.fault import BATCH, GROUP, Mistake
from faulty.pipeline import Array

#: The layer itself, GroupNorm or BatchNorm of :mod:`faulty.pipeline`; what it has depends on the kind.
Layer = Any

FAMILY: Final = "sets"


def _wrong_axis(layer: Layer, places: Array) -> Array:
    """Cut as if the channels lay where the elements of channels last lie."""
    return np.moveaxis(places, 1, -1).reshape(places.shape[0] * layer.groups, -1)


def _each_channel_if_one_group(layer: Layer, places: Array) -> Array:
    return places.reshape(places.shape[0] * (layer.channels if layer.groups == 1 else layer.groups), -1)


def _without_last_axis(layer: Layer, places: Array) -> Array:
    """A set a place along the last spatial axis."""
    count = layer.groups if hasattr(layer, "groups") else 0
    if places.ndim == 2:
        return places.reshape(len(places) * count, -1) if count else places.T
    if count:
        parts = places.reshape(len(places), count, -1, places.shape[-1])
        return np.moveaxis(parts, -1, 2).reshape(-1, parts.shape[2])
    parts = places.reshape(*places.shape[:2], -1, places.shape[-1])
    return parts.transpose(3, 1, 0, 2).reshape(-1, parts.shape[0] * parts.shape[2])


def _positions_apart(layer: Layer, places: Array) -> Array:
    """A set a channel and position, over the batch alone."""
    return np.moveaxis(places.reshape(*places.shape[:2], -1), (2, 1), (0, 1)).reshape(-1, len(places))


def _batch_included(layer: Layer, places: Array) -> Array:
    return places.reshape(len(places), layer.groups, -1).swapaxes(0, 1).reshape(layer.groups, -1)


def _capped(most: int) -> Any:
    def sets(layer: Layer, places: Array) -> Array:
        groups = most if layer.groups > most and layer.channels % most == 0 else layer.groups
        return places.reshape(len(places) * groups, -1)

    return sets


def _interleaved(layer: Layer, places: Array) -> Array:
    parts = places.reshape(len(places), -1, layer.groups, *places.shape[2:]).swapaxes(1, 2)
    return parts.reshape(len(places) * layer.groups, -1)


def _next_group(layer: Layer, count: int) -> Array:
    groups = getattr(layer, "groups", layer.channels)
    sets = np.arange(count)
    return sets // groups * groups + (sets + 1) % groups


def _positions(layer: Layer) -> int:
    return int(np.prod(layer.shape[2:]))


def _to_tiles(least: int) -> Any:
    """Zeros up to a multiple of 32 positions, where there are more positions than ``least``."""

    def zeros(layer: Layer, m: int) -> int:
        positions = _positions(layer)
        return m // positions * (-positions % 32) if positions > least else 0

    return zeros


def _next_power(layer: Layer, m: int) -> int:
    return (1 << (m - 1).bit_length()) - m


def _neighbours_lanes(layer: Layer, sets: Array) -> Array:
    """Blocks of a power of two channels, of which those behind the group belong to the next one."""
    per_group, positions = layer.channels // layer.groups, _positions(layer)
    block = 1 << (per_group - 1).bit_length()
    if block == per_group or layer.groups == 1:
        return sets
    by_sample = sets.reshape(-1, layer.groups, sets.shape[1])
    following = np.roll(by_sample, -1, axis=1)[..., : (block - per_group) * positions]
    return np.concatenate([by_sample, following], axis=2).reshape(len(sets), -1)


def _full(layer: Layer, n: int) -> float:
    return layer.full


def _overlapping(layer: Layer, sets: Array) -> Array:
    """The last block of four is loaded from the end on, and overlaps the one before."""
    n = sets.shape[1]
    return np.concatenate([sets[:, : n - n % 4], sets[:, -4:]], axis=1) if n % 4 and n > 4 else sets


def _first_channel(layer: Layer, sets: Array) -> Array:
    return sets[:, : _positions(layer)]


MISTAKES: Final = (
    Mistake(
        name="each channel",
        why="InstanceNorm in place of GroupNorm: the number of groups is not looked at",
        named="each channel",
        kinds=(GROUP,),
        change={"sets": lambda layer, places: places.reshape(places.shape[0] * places.shape[1], -1)},
    ),
    Mistake(
        name="each channel of each sample",
        why="the batch axis is left out of the reduction: BatchNorm becomes InstanceNorm",
        link="https://github.com/titu1994/Keras-Group-Normalization/issues/8",
        named="each sample",
        kinds=(BATCH,),
        change={"sets": lambda layer, places: places.reshape(places.shape[0] * places.shape[1], -1)},
    ),
    Mistake(
        name="whole sample",
        why="LayerNorm in place of GroupNorm: one group, whatever is asked for",
        named="whole sample",
        kinds=(GROUP,),
        change={"sets": lambda layer, places: places.reshape(len(places), -1)},
    ),
    Mistake(
        name="whole batch",
        why="mean and variance without an axis: one scalar for all channels",
        named="all channels",
        kinds=(BATCH,),
        change={"sets": lambda layer, places: places.reshape(1, -1)},
    ),
    Mistake(
        name="one group is each channel",
        why="num_groups = 1 taken for one channel a group",
        link="https://github.com/NVIDIA/TensorRT/issues/4756",
        named="G = 1 normalises each channel",
        kinds=(GROUP,),
        change={"sets": _each_channel_if_one_group},
    ),
    Mistake(
        name="wrong axis",
        why="channels last, reshaped into groups without a transposition",
        link="https://github.com/tensorflow/addons/issues/751",
        named="wrong axis",
        kinds=(GROUP,),
        change={"sets": _wrong_axis},
    ),
    Mistake(
        name="channels last for channels first",
        why="the input is taken as (N * positions, C) as it lies; the channel was another dimension",
        link="https://github.com/intel/ipex-llm/pull/2981",
        named="wrong axis",
        kinds=(BATCH,),
        change={"sets": lambda layer, places: places.reshape(-1, layer.channels).T},
    ),
    Mistake(
        name="interleaved groups",
        why="the channels are split as (C / G, G) in place of (G, C / G)",
        link="https://github.com/ml-explore/mlx/blob/main/python/mlx/nn/layers/normalization.py",
        named="channel c belongs to group c mod G",
        kinds=(GROUP,),
        change={"sets": _interleaved},
    ),
    Mistake(
        name="groups for channels a group",
        why="'group size 8' read as 8 groups, or the other way round",
        link="https://github.com/IAmSuyogJadhav/3d-mri-brain-tumor-segmentation-using-autoencoder-regularization/issues/12",
        named="G channels",
        kinds=(GROUP,),
        change={"sets": lambda layer, p: p.reshape(len(p) * (layer.channels // layer.groups), -1)},
    ),
    Mistake(
        name="last spatial axis forgotten",
        why="a reduction over the axes 2 and 3 is kept for inputs with a third one",
        link="https://github.com/Oneflow-Inc/oneflow/pull/4848",
        named="last spatial axis",
        change={"sets": _without_last_axis},
    ),
    Mistake(
        name="positions apart",
        why="per-activation mode, a mean over the batch alone, where the spatial one is meant",
        named="each position",
        kinds=(BATCH,),
        change={"sets": _positions_apart},
    ),
    Mistake(
        name="batch included",
        why="the reduction has the batch axis beside the others",
        link="https://github.com/sonos/tract/pull/2863",
        named="all samples",
        kinds=(GROUP,),
        change={"sets": _batch_included},
    ),
    Mistake(
        name="first samples statistics",
        why="a kernel that indexes its statistics by group and forgets the sample",
        named="first sample",
        kinds=(GROUP,),
        change={"lender": lambda layer, count: np.arange(count) % layer.groups},
    ),
    Mistake(
        name="first sample alone",
        why="statistics of x[0] in place of x, as where a loop over the batch returns early",
        named="first sample",
        kinds=(BATCH,),
        change={"counted": lambda layer, sets: sets[:, : _positions(layer)] if _positions(layer) > 1 else sets},
    ),
    Mistake(
        name="next sets statistics",
        why="an index that is one too far",
        named="statistics of another",
        change={"lender": _next_group},
    ),
    Mistake(
        name="groups capped at 4",
        why="a kernel for as many groups as it has blocks",
        named="at most 4 groups",
        kinds=(GROUP,),
        change={"sets": _capped(4)},
    ),
    Mistake(
        name="groups capped at 32",
        why="32 groups, as the paper has them, are all that a kernel knows",
        named="at most 32 groups",
        kinds=(GROUP,),
        change={"sets": _capped(32)},
    ),
    Mistake(
        name="tail of blocks of 4 dropped",
        why="a vectorised sum without its tail, divided by all",
        link="https://github.com/facebookresearch/xformers/issues/785",
        named="multiple of 4",
        change={
            "counted": lambda layer, sets: sets[:, : max(sets.shape[1] // 4 * 4, 1)],
            "divisor_of_mean": _full,
            "divisor": _full,
        },
    ),
    Mistake(
        name="tail of blocks of 4 counted twice",
        why="the last vector is loaded from the end on, over what was summed before",
        named="multiple of 4",
        change={"counted": _overlapping, "divisor_of_mean": _full, "divisor": _full},
    ),
    Mistake(
        name="zeros to a multiple of 32",
        why="tiles padded with zeros, which enter the statistics, at every size",
        link="https://github.com/tenstorrent/tt-metal/issues/50682",
        named="zeros up to the next multiple of 32",
        change={"zeros": _to_tiles(0)},
    ),
    Mistake(
        name="zeros to a multiple of 32 above 32",
        why="the same where there is more than one tile alone",
        link="https://github.com/tenstorrent/tt-metal/issues/50682",
        named="from 33 positions on",
        change={"zeros": _to_tiles(32)},
    ),
    Mistake(
        name="zeros to a power of two in the variance",
        why="masked lanes are 0 - mean when squared; the sum is divided by n",
        link="https://github.com/triton-lang/triton/issues/9838",
        named="power of two",
        change={"zeros": _next_power, "divisor_of_mean": _full, "divisor": _full},
    ),
    Mistake(
        name="lanes of the next group",
        why="blocks of a power of two channels, masked by C and not by the group",
        link="https://github.com/flagos-ai/FlagGems/issues/4984",
        named="power of two",
        kinds=(GROUP,),
        change={"counted": _neighbours_lanes, "divisor_of_mean": _full, "divisor": _full},
    ),
    Mistake(
        name="first channel of a group",
        why="a loop over the channels of a group that ends after the first",
        named="first channel",
        kinds=(GROUP,),
        change={"counted": _first_channel},
    ),
    Mistake(
        name="last channel of a group dropped",
        why="one too few in the loop over the channels of a group",
        named="last channel",
        kinds=(GROUP,),
        change={
            "counted": lambda layer, sets: (
                sets[:, : sets.shape[1] - _positions(layer)] if sets.shape[1] > _positions(layer) else sets
            )
        },
    ),
    Mistake(
        name="every second value",
        why="pairs are loaded, and one of each is used",
        named="every second",
        change={"counted": lambda layer, sets: sets[:, ::2]},
    ),
)
