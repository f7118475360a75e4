"""GroupNorms beside an InstanceNorm and a LayerNorm of the same framework: honest ones, and one wrong at a time."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np

from faulty.adapter import FaultyAdapter
from faulty.group_norm import GroupNorm
from normgauge.adapters.case import Array, Implementation
from normgauge.adapters.lacks import Lack

_NAMES = {"weight": "weight", "bias": "bias", "eps": "eps", "num_channels": "num_channels"}


class InstanceNorm(GroupNorm):
    """A group a channel, whatever is asked for."""

    def __init__(self, num_groups: int, num_channels: int, eps: float, dtype: str) -> None:
        super().__init__(num_channels, num_channels, eps, dtype)


class LayerNorm(GroupNorm):
    """One group, whatever is asked for."""

    def __init__(self, num_groups: int, num_channels: int, eps: float, dtype: str) -> None:
        super().__init__(1, num_channels, eps, dtype)


class _Unbiased:
    def variance(self, sets: Array, mean: Array) -> Array:
        n = sets.shape[-1]
        return np.square(sets - mean).sum(axis=-1, keepdims=True) / sets.dtype.type(max(n - 1, 1))


class UnbiasedInstanceNorm(_Unbiased, InstanceNorm):
    pass


class UnbiasedLayerNorm(_Unbiased, LayerNorm):
    pass


class _SinglePrecision:
    def __call__(self, x: Array) -> Array:
        y: Array = super().__call__(x.astype(np.float32))  # type: ignore[misc]
        return y.astype(x.dtype)


class SinglePrecisionInstanceNorm(_SinglePrecision, InstanceNorm):
    pass


class SinglePrecisionLayerNorm(_SinglePrecision, LayerNorm):
    pass


class _Dies:
    def __call__(self, x: Array) -> Array:
        os._exit(5)


class DyingInstanceNorm(_Dies, InstanceNorm):
    pass


class DyingLayerNorm(_Dies, LayerNorm):
    pass


class _Raises:
    def __call__(self, x: Array) -> Array:
        raise RuntimeError("not today")


class RaisingInstanceNorm(_Raises, InstanceNorm):
    pass


class RaisingLayerNorm(_Raises, LayerNorm):
    pass


class RaisesInRankFive(InstanceNorm):
    def __call__(self, x: Array) -> Array:
        if x.ndim == 5:
            raise RuntimeError("not in five dimensions")
        return super().__call__(x)


class AddsAnAxis(InstanceNorm):
    def __call__(self, x: Array) -> Array:
        return super().__call__(x)[None]


class NotToBeAskedInstanceNorm(InstanceNorm):
    pass


class NotToBeAskedLayerNorm(LayerNorm):
    pass


class _ThreeChannelsOff:
    """Wrong where there are three channels, and nowhere else."""

    def mean(self, sets: Array) -> Array:
        mean: Array = super().mean(sets)  # type: ignore[misc]
        return mean * mean.dtype.type(1.01) if self.channels == 3 else mean  # type: ignore[attr-defined]


class ThreeChannelsOffInstanceNorm(_ThreeChannelsOff, InstanceNorm):
    pass


class ThreeChannelsOffLayerNorm(_ThreeChannelsOff, LayerNorm):
    pass


class UnbiasedAndThreeChannelsOff(_ThreeChannelsOff, UnbiasedInstanceNorm):
    pass


def _kin(instance_norm: type[GroupNorm], layer_norm: type[GroupNorm]) -> tuple[Implementation, ...]:
    return tuple(
        Implementation(
            class_path=f"kin.{one.__name__}", layer=kind, layout="N, C, *", names=_NAMES, documentation="", ranks=ranks
        )
        for one, kind, ranks in (
            (instance_norm, "instance_norm", (3, 4, 5)),
            (layer_norm, "layer_norm", (2, 3, 4, 5)),
        )
    )


class Honest(FaultyAdapter):
    """The other adapters of this module differ from it in ``kin`` alone."""

    kin = _kin(InstanceNorm, LayerNorm)

    def layer_class(self, implementation: Implementation) -> Any:
        wanted = implementation.identity
        return globals()[wanted.class_name] if wanted.module == "kin" else super().layer_class(implementation)

    def lacks(self, implementation: Implementation) -> tuple[Lack, ...]:
        if "NotToBeAsked" in implementation.id:
            return (Lack(why="there is no way to ask", source="this module", modes=("train", "eval")),)
        return ()


class Unbiased(Honest):
    kin = _kin(UnbiasedInstanceNorm, UnbiasedLayerNorm)


class UnbiasedInstanceNormAlone(Honest):
    kin = _kin(UnbiasedInstanceNorm, LayerNorm)


class UnbiasedLayerNormAlone(Honest):
    kin = _kin(InstanceNorm, UnbiasedLayerNorm)


class SinglePrecision(Honest):
    kin = _kin(SinglePrecisionInstanceNorm, SinglePrecisionLayerNorm)


class Dies(Honest):
    kin = _kin(DyingInstanceNorm, DyingLayerNorm)


class Raises(Honest):
    kin = _kin(RaisingInstanceNorm, RaisingLayerNorm)


class RaisesInOneRank(Honest):
    kin = _kin(RaisesInRankFive, LayerNorm)


class AnotherShape(Honest):
    kin = _kin(AddsAnAxis, LayerNorm)


class NotToBeAsked(Honest):
    kin = _kin(NotToBeAskedInstanceNorm, NotToBeAskedLayerNorm)


class ThreeChannelsOff(Honest):
    kin = _kin(ThreeChannelsOffInstanceNorm, ThreeChannelsOffLayerNorm)


class ToldAlready(Honest):
    kin = _kin(UnbiasedAndThreeChannelsOff, LayerNorm)


class GroupNormInRankFourAlone(Honest):
    implementations = tuple(replace(one, ranks=(4,)) for one in FaultyAdapter.implementations)


class InstanceNormInRankFourAlone(Honest):
    kin = (
        Implementation(
            class_path="kin.InstanceNorm",
            layer="instance_norm",
            layout="N, C, *",
            names=_NAMES,
            documentation="",
            ranks=(4,),
        ),
    )
