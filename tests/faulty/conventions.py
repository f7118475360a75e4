"""A BatchNorm with the conventions of flax on three axes, right in everything else."""

from __future__ import annotations

from typing import Any

from faulty.adapter import FaultyAdapter
from faulty.batch_norm import BiasedRunningVariance, MomentumWeighsOld, SingleValueAccepted
from normgauge.adapters.case import Implementation


class LikeFlax(MomentumWeighsOld, BiasedRunningVariance, SingleValueAccepted):
    """Momentum weighs the old value, the running variance is biased, one value per channel is taken."""


class Conventions(FaultyAdapter):
    implementations = tuple(one for one in FaultyAdapter.implementations if one.id == "batch_norm.BatchNorm")

    def layer_class(self, implementation: Implementation) -> Any:
        return LikeFlax
