"""Layers that are right at small sizes and wrong from some size on, as kernels are that lose the last block."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from faulty.batch_norm import BatchNorm
from faulty.group_norm import GroupNorm

Array = np.ndarray[Any, np.dtype[Any]]


def whole_blocks(sets: Array, block: int) -> Array:
    """The values in blocks that are full; all of them where there is not even one."""
    n = sets.shape[-1]
    return sets[..., : n - n % block] if n > block else sets


def untouched(y: Array, x: Array, first: int, axis: int | None = None) -> Array:
    """``y`` with the elements of ``x`` from the place ``first`` on, along an axis or in the order of all elements."""
    if axis is None:
        y = np.ascontiguousarray(y)
        y.reshape(-1)[first:] = x.reshape(-1)[first:]
    else:
        np.moveaxis(y, axis, 0)[first:] = np.moveaxis(x, axis, 0)[first:]
    return y


class TailOf32Dropped(GroupNorm):
    """Statistics over whole blocks of 32 values."""

    block = 32

    def mean(self, sets: Array) -> Array:
        return super().mean(whole_blocks(sets, self.block))

    def variance(self, sets: Array, mean: Array) -> Array:
        return super().variance(whole_blocks(sets, self.block), mean)


class TailOf256Dropped(TailOf32Dropped):
    block = 256


class TailOf1024Dropped(TailOf32Dropped):
    block = 1024


class PaddedTo32Above32Positions(GroupNorm):
    """tenstorrent/tt-metal#50682: zeros up to the next multiple of 32 positions enter the statistics."""

    tile = 32
    positions = 0

    def __call__(self, x: Array) -> Array:
        self.positions = math.prod(x.shape[2:])
        return super().__call__(x)

    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        self.positions = math.prod(x.shape[2:])
        return super().gradients(x, dy)

    def padded(self, sets: Array) -> Array:
        if self.positions <= self.tile:
            return sets
        rows = sets.reshape(*sets.shape[:2], -1, self.positions)
        rows = np.pad(rows, [(0, 0)] * 3 + [(0, -self.positions % self.tile)])
        return rows.reshape(*sets.shape[:2], -1)

    def mean(self, sets: Array) -> Array:
        return super().mean(self.padded(sets))

    def variance(self, sets: Array, mean: Array) -> Array:
        return super().variance(self.padded(sets), mean)


class PaddedTo64Above64Positions(PaddedTo32Above32Positions):
    tile = 64


class SamplesFromEightOnUntouched(GroupNorm):
    def __call__(self, x: Array) -> Array:
        return untouched(super().__call__(x), x, 8, axis=0)


class ChannelsFrom32OnUntouched(GroupNorm):
    def __call__(self, x: Array) -> Array:
        return untouched(super().__call__(x), x, 32, axis=1)


class ElementsBeyondAMillionUntouched(GroupNorm):
    """NVIDIA/apex#1845: an index limit, here 2^20."""

    def __call__(self, x: Array) -> Array:
        return untouched(super().__call__(x), x, 2**20)


class GroupsAtMost32(GroupNorm):
    """From 33 groups on as many as divide the channels and are no more than 32."""

    def __init__(self, num_groups: int, num_channels: int, eps: float, dtype: str) -> None:
        super().__init__(num_groups, num_channels, eps, dtype)
        if num_groups > 32:
            self.groups = next(n for n in range(32, 0, -1) if num_channels % n == 0)


class MoreGroupsThanChannelsBecomeChannels(GroupNorm):
    """apple/coremltools#1020."""

    def __init__(self, num_groups: int, num_channels: int, eps: float, dtype: str) -> None:
        super().__init__(min(num_groups, num_channels), num_channels, eps, dtype)


class LastElementCountsTwice(GroupNorm):
    """From 4,096 values on, as where two blocks overlap."""

    def sums(self, sets: Array) -> Array:
        return np.concatenate([sets, sets[..., -1:]], axis=-1) if sets.shape[-1] > 4096 else sets

    def mean(self, sets: Array) -> Array:
        return super().mean(self.sums(sets))

    def variance(self, sets: Array, mean: Array) -> Array:
        return super().variance(self.sums(sets), mean)


class TailDroppedBackward(GroupNorm):
    """The sums of the gradient go over whole blocks of 256 values."""

    def input_gradient(self, g: Array, x_hat: Array, r: Array, through_variance: Array) -> Array:
        m1, m2 = (whole_blocks(v, 256).mean(axis=-1, keepdims=True) for v in (g, g * x_hat))
        return r * (g - m1 - x_hat * m2 * through_variance)


class WeightGradientOf32Samples(GroupNorm):
    def weight_gradient(self, products: Array) -> Array:
        return super().weight_gradient(products[:32])


class ChannelTailOf1024Dropped(BatchNorm):
    """Statistics over whole blocks of 1,024 values."""

    def batch_statistics(self, sets: Array) -> tuple[Array, Array]:
        return super().batch_statistics(whole_blocks(sets, 1024))


class RunningVarianceWithoutTail(BatchNorm):
    """What enters the running variance goes over whole blocks of 256 values."""

    def new_statistics(self, sets: Array, mean: Array) -> tuple[Array, Array]:
        return mean, super().new_statistics(whole_blocks(sets, 256), mean)[1]


class SamplesFromEightOnUntouchedInEval(BatchNorm):
    def __call__(self, x: Array) -> Array:
        y = super().__call__(x)
        return y if self.training else untouched(y, x, 8, axis=0)


class ChannelsFrom32OnRepeat(BatchNorm):
    """Channel c from 32 on has the statistics of channel c - 32."""

    def batch_statistics(self, sets: Array) -> tuple[Array, Array]:
        mean, var = super().batch_statistics(sets)
        index = np.arange(len(mean)) % 32
        return mean[index], var[index]


class ElementsOfAChannelBeyondAMillionUntouched(BatchNorm):
    """An index limit of 2^20."""

    def __call__(self, x: Array) -> Array:
        return untouched(super().__call__(x), x, 2**20)


class ChannelTailDroppedBackward(BatchNorm):
    """The sums of the gradient go over whole blocks of 64 values."""

    def input_gradient(self, g: Array, x_hat: Array, r: Array, through: Array, share: float) -> Array:
        m1, m2 = (whole_blocks(v, 64).mean(axis=-1, keepdims=True) for v in (g, g * x_hat))
        return r * (g - m1 - x_hat * m2 * through) if share else r * g


class BiasGradientOf64Samples(BatchNorm):
    def bias_gradient(self, dy: Array) -> Array:
        return super().bias_gradient(dy[:, :64])
