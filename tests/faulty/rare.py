"""Layers that pass every experiment and are wrong beyond them: what exploration is for."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from faulty.batch_norm import BatchNorm
from faulty.group_norm import GroupNorm, Interleaved

Array = np.ndarray[Any, np.dtype[Any]]


class ThreeChannelsAGroupAtOddSizes(GroupNorm):
    """Wrong where C/G = 3 and a spatial size is odd, and nowhere else; its gradients are right."""

    shape: tuple[int, ...] = ()

    def __call__(self, x: Array) -> Array:
        self.shape = x.shape
        return super().__call__(x)

    def mean(self, sets: Array) -> Array:
        mean = super().mean(sets)
        rare = self.channels == 3 * self.groups and any(extent % 2 for extent in self.shape[2:])
        return mean * mean.dtype.type(1.01) if rare else mean


class SixValuesMixDivisorsBackward(GroupNorm):
    """The gradient of sets of six values takes the variance for the unbiased one."""

    def divisor(self, n: int) -> float:
        return n / (n - 1) if n == 6 else 1.0


class ConstantSamplesLoseTheirBias(GroupNorm):
    """Where there are other than two samples."""

    def __call__(self, x: Array) -> Array:
        y = super().__call__(x)
        constant = len(x) != 2 and all(sample.max() == sample.min() for sample in x)
        return y * 0 if constant else y


class OnePassFromTwentyValuesOn(GroupNorm):
    """Honest in its class, which is not the one that small groups show."""

    def variance(self, sets: Array, mean: Array) -> Array:
        if sets.shape[-1] < 20:
            return super().variance(sets, mean)
        return np.maximum(np.square(sets).mean(axis=-1, keepdims=True) - np.square(mean), 0)


class InfinityEndsTheProcess(GroupNorm):
    """Where there is one sample."""

    def __call__(self, x: Array) -> Array:
        if len(x) == 1 and np.isinf(x).any():
            os._exit(9)
        return super().__call__(x)


class ChangesFourSamples(GroupNorm):
    """Sorts its input in place, where there are four samples."""

    def __call__(self, x: Array) -> Array:
        if len(x) == 4:
            x.sort(axis=0)
        return super().__call__(x)


class TakesSamplesAsTheyLie(GroupNorm):
    """The elements in the order in which they lie in memory, where there are other than two samples."""

    def __call__(self, x: Array) -> Array:
        return super().__call__(x.ravel(order="K").reshape(x.shape) if len(x) != 2 else x)


class TakesUpstreamGradientsAsTheyLie(BatchNorm):
    """Where there are other than two samples."""

    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        return super().gradients(x, dy.ravel(order="K").reshape(dy.shape) if len(dy) != 2 else dy)


class DoublesBesideAnother(GroupNorm):
    """Where the number of channels is odd."""

    last: Any = None

    def __init__(self, num_groups: int, num_channels: int, eps: float, dtype: str) -> None:
        super().__init__(num_groups, num_channels, eps, dtype)
        type(self).last = self

    def affine(self, y: Array) -> Array:
        other = self.channels % 2 == 1 and self.last is not self
        return super().affine(y) * y.dtype.type(2 if other else 1)


class MomentumOneIsIgnored(BatchNorm):
    def __call__(self, x: Array) -> Array:
        before = None if self.running_var is None else self.running_var.copy()
        y = super().__call__(x)
        if before is not None and self.momentum == 1 and x.shape[1] % 2:
            self.running_var = before
        return y


class SquaresOverflow(GroupNorm):
    """Honest: as an empty accumulator combined with Welford's formula, it squares the values themselves."""

    def variance(self, sets: Array, mean: Array) -> Array:
        return super().variance(sets, mean) + 0 * np.square(sets).sum(axis=-1, keepdims=True)


class WrongAndDiesOnInfinity(ThreeChannelsAGroupAtOddSizes):
    """Where there is one sample."""

    def __call__(self, x: Array) -> Array:
        if len(x) == 1 and np.isinf(x).any():
            os._exit(9)
        return super().__call__(x)


class DiesAtFiveChannels(GroupNorm):
    def __call__(self, x: Array) -> Array:
        if x.shape[1] == 5:
            os._exit(9)
        return super().__call__(x)


class InterleavedAndWrongAtThree(Interleaved):
    def mean(self, sets: Array) -> Array:
        mean = super().mean(sets)
        rare = self.channels == 3 * self.groups > 3 and sets.shape[-1] % 2
        return mean * mean.dtype.type(1.01) if rare else mean


class SavedFrozenLosesItsVariance(BatchNorm):
    def saved(self) -> dict[str, Any]:
        return {name: value for name, value in super().saved().items() if name != "running_var" or not self.frozen}


class ResetBringsTheFirstMomentumBack(BatchNorm):
    def __init__(self, num_channels: int, eps: float, momentum: float | None, track: bool, dtype: str) -> None:
        super().__init__(num_channels, eps, momentum, track, dtype)
        self.first = momentum

    def reset(self) -> None:
        super().reset()
        self.momentum = self.first


class OneSampleEndsTheProcessAfterLoading(BatchNorm):
    loaded = False

    def load(self, saved: dict[str, Any]) -> None:
        super().load(saved)
        self.loaded = True

    def __call__(self, x: Array) -> Array:
        if self.loaded and len(x) == 1:
            os._exit(9)
        return super().__call__(x)


class FourChannelsAGroupLoseTheirTail(GroupNorm):
    """The variance is one of all values but the last where there are more than 128, of four channels a group."""

    def variance(self, sets: Array, mean: Array) -> Array:
        loses = self.channels == 4 * self.groups and 128 < sets.shape[-1] < 10000
        return super().variance(sets[..., :-1] if loses else sets, mean)
