"""Layers that are right but for some calls: a decision rule says which. And layers with too few digits."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from faulty.adapter import FaultyAdapter
from faulty.batch_norm import BatchNorm
from faulty.group_norm import GroupNorm
from normgauge.adapters.case import Implementation

Array = np.ndarray[Any, np.dtype[Any]]


class _DepartsWhere(GroupNorm):
    """The mean is 1/64 too large where ``departs`` holds of the input's shape."""

    departs: Callable[[tuple[int, ...]], bool]
    shape: tuple[int, ...] = ()

    def __call__(self, x: Array) -> Array:
        self.shape = x.shape
        return super().__call__(x)

    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        self.shape = x.shape
        return super().gradients(x, dy)

    def mean(self, sets: Array) -> Array:
        mean = super().mean(sets)
        return mean + mean.dtype.type(1 / 64) if self.shape and type(self).departs(self.shape) else mean


class AboveThirtyTwoPositions(_DepartsWhere):
    departs = staticmethod(lambda shape: int(np.prod(shape[2:])) > 32)


class FromEightSamples(_DepartsWhere):
    departs = staticmethod(lambda shape: shape[0] >= 8)


class FromThirtyTwoChannels(_DepartsWhere):
    departs = staticmethod(lambda shape: shape[1] >= 32)


class EightSamplesOfFewPositions(_DepartsWhere):
    """Two conditions together."""

    departs = staticmethod(lambda shape: shape[0] >= 8 and int(np.prod(shape[2:])) <= 4)


class AtRandom(_DepartsWhere):
    """In no way that a shape explains."""

    departs = staticmethod(lambda shape: sum(extent * 7919 * (place + 3) for place, extent in enumerate(shape)) % 5 < 2)


class WeightIsDoubled(GroupNorm):
    """Where it is not 1."""

    def affine(self, y: Array) -> Array:
        kept = self.weight
        if self.weight is not None:
            self.weight = np.where(self.weight == 1, self.weight, 2 * self.weight)
        try:
            return super().affine(y)
        finally:
            self.weight = kept


class GradientsRaiseFromRankFour(GroupNorm):
    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        if x.ndim >= 4:
            raise TypeError(f"dy of rank {x.ndim} is not supported")
        return super().gradients(x, dy)


class SecondCallForgetsItsBias(GroupNorm):
    calls = 0

    def affine(self, y: Array) -> Array:
        self.calls += 1
        kept, self.bias = self.bias, None if self.calls > 1 else self.bias
        try:
            return super().affine(y)
        finally:
            self.bias = kept


class SecondUpdateIsLost(BatchNorm):
    """The running statistics are those of the first call in training."""

    def update(self, sets: Array, mean: Array) -> None:
        if self.steps == 0:
            super().update(sets, mean)


class RulesAdapter(FaultyAdapter):
    """Those of this module."""

    framework = "rules"
    implementations = tuple(
        Implementation(
            class_path=f"rules.{name}",
            layer="batch_norm" if issubclass(found, BatchNorm) else "group_norm",
            layout="N, C, *",
            names=next(
                one.names
                for one in FaultyAdapter.implementations
                if one.layer == ("batch_norm" if issubclass(found, BatchNorm) else "group_norm")
            ),
            documentation="",
        )
        for name, found in inspect.getmembers(sys.modules[__name__], inspect.isclass)
        if found.__module__ == __name__ and issubclass(found, (BatchNorm, GroupNorm)) and not name.startswith("_")
    )

    def layer_class(self, implementation: Implementation) -> Any:
        return getattr(sys.modules[__name__], implementation.identity.class_name)
