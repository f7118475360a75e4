"""The adapter for the faulty layers, and the table of what each must be caught at."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from faulty import batch_norm, group_norm, higher, process, rare, sizes, state
from normgauge.adapters.base import Adapter
from normgauge.adapters.case import DERIVATIVES, Array, Case, Implementation

_NAMES = {"weight": "weight", "bias": "bias", "eps": "eps", "num_channels": "num_channels"}
_GROUP_NAMES = _NAMES | {"num_groups": "num_groups"}
_BATCH_NAMES = _NAMES | {
    "momentum": "momentum",
    "running_mean": "running_mean",
    "running_var": "running_var",
    "track": "track",
}

#: What each faulty layer must be judged; every other requirement must be judged ``conforms``. A requirement
#: may name the dtype it is meant for.
CAUGHT: Mapping[str, Mapping[str, str]] = {
    "group_norm.GroupNorm": {},
    "group_norm.OnePass": {},
    "group_norm.Interleaved": {"GN-02": "diverges"},
    "group_norm.EpsOutside": {"GN-01": "diverges"},
    "group_norm.EpsAsFloor": {"GN-01": "diverges"},
    "group_norm.Unbiased": {"GN-03": "diverges", "GN-11": "cannot tell"},  # one value has no unbiased variance
    "group_norm.AffinePerGroup": {"GN-04": "diverges"},
    "group_norm.EpsAtLeastTenMillionths": dict.fromkeys(("GN-05", "GN-32", "GN-33"), "diverges"),
    "group_norm.OneGroupTreatedAsMany": {"GN-02": "diverges"},
    "group_norm.FirstSliceOnlyInRankFive": {"GN-07": "diverges"},
    "group_norm.BiasNeedsWeight": {"GN-08": "diverges"},
    "group_norm.EvalPassesThrough": {"GN-09": "diverges"},
    "group_norm.CentredOnTheBatch": dict.fromkeys(("GN-10", "GN-28", "GN-46"), "diverges"),
    "group_norm.ScalesWithTheLastLayerMade": {"GN-10": "diverges"},
    "group_norm.SingleValuePassesThrough": {"GN-11": "diverges"},
    "group_norm.SingleSampleRefused": {"GN-11": "raises"},
    "group_norm.MeanInTwelveBits": dict.fromkeys(("GN-12", "GN-21 float64", "GN-46 float64"), "diverges"),
    "group_norm.LongTailUncounted": dict.fromkeys(("GN-24", "GN-39"), "diverges") | {"GN-41": "cannot tell"},
    "group_norm.NoSamplesRaise": {"GN-13": "raises", "GN-31": "raises"},
    "group_norm.NoPositionsBecomeOne": {"GN-14": "crashes", "GN-31": "crashes"},
    "group_norm.IndivisibleAccepted": {"GN-15": "diverges", "GN-42": "diverges"},
    "group_norm.AnyChannelCount": {"GN-16": "diverges"},
    "group_norm.ChangesItsInput": {"GN-17": "crashes"},
    "group_norm.HandsOutItsBias": {"GN-17": "diverges"},
    "group_norm.TakesItsInputAsItLies": {"GN-36": "diverges"},
    "group_norm.TakesItsUpstreamGradientAsItLies": {"GN-36": "diverges"},
    "group_norm.ChangesItsUpstreamGradient": {"GN-17": "crashes"},
    "group_norm.ReusesItsOutput": {"GN-17": "crashes"},
    "group_norm.GradientsAreOneArray": {"GN-17": "diverges"},
    "group_norm.GradientsAreRowsOfOneBuffer": {},
    "group_norm.EqualSamplesAreOne": {"GN-17": "diverges"},
    "group_norm.FreezesItsOutput": {"GN-17": "diverges"},
    "group_norm.ComputesInSinglePrecision": {"GN-18 float64": "diverges", "GN-43": "diverges"},
    "group_norm.CachesStatistics": {**dict.fromkeys(("GN-09", "GN-10", "GN-12"), "diverges"), "GN-37": "cannot tell"},
    "group_norm.GroupsOfThreeMiscount": {"GN-06": "diverges"},
    "group_norm.OddTailDropped": {"GN-06": "diverges", "GN-39": "cannot tell"},
    "group_norm.WeightStartsAtZero": {"GN-19": "diverges"},
    "group_norm.DoubleOut": {"GN-20 float32": "diverges"},
    "group_norm.EpsHeldInSinglePrecision": {},
    "group_norm.NanSpreadsBackward": {"GN-28": "diverges"},
    "group_norm.ConstantIsNan": dict.fromkeys(("GN-11", "GN-29", "GN-30"), "diverges"),
    "group_norm.VarianceHasACeiling": {"GN-30": "diverges"},
    "group_norm.EmptyGradientsAreNan": {"GN-31": "diverges"},
    "group_norm.EpsZeroMeansTheDefault": {"GN-32": "diverges"},
    "group_norm.NegativeEpsIsZero": {"GN-33": "diverges"},
    "group_norm.RankOneIsZero": {"GN-34": "diverges"},
    "group_norm.VarianceIsConstantBackward": {"GN-25": "diverges"},
    "group_norm.WeightGradientOfTheFirstPosition": {"GN-26": "diverges"},
    "group_norm.BiasGradientOfTheLastSample": {"GN-27": "diverges"},
    "batch_norm.BatchNorm": {},
    "batch_norm.UntrackedTrainingPasses": dict.fromkeys(("BN-12", "BN-16"), "diverges"),
    "batch_norm.RefusesOneSample": {"BN-12": "raises"},
    "batch_norm.StatisticsStartElsewhere": {"BN-23": "diverges", "BN-26": "diverges"},
    "batch_norm.NewStatisticsInSinglePrecision": {"BN-26": "diverges"},
    "batch_norm.NoneMeansOneHundredth": {"BN-05": "diverges", "BN-48": "cannot tell"},
    "batch_norm.SingleValueIsZero": {"BN-06": "diverges"},
    "batch_norm.SmallEpsRefused": {"BN-10": "raises", "BN-41": "raises"},
    "batch_norm.DoubleOut": {"BN-24 float32": "diverges"},
    "batch_norm.EpsOutside": {"BN-01": "diverges"},
    "batch_norm.EpsAsFloor": {"BN-01": "diverges"},
    "batch_norm.Unbiased": {"BN-02": "diverges"},
    "batch_norm.BiasedRunningVariance": {"BN-03": "diverges"},
    "batch_norm.MomentumWeighsOld": {"BN-04": "diverges"},
    "batch_norm.NoneMeansOneTenth": {"BN-05": "diverges"},
    "batch_norm.NoneRefused": {"BN-05": "raises", "BN-48": "cannot tell"},
    "batch_norm.SingleValueAccepted": {"BN-06": "diverges"},
    "batch_norm.SingleValuePassesThrough": {"BN-06": "diverges"},
    "batch_norm.SingleValueIsNan": {"BN-06": "diverges"},
    "batch_norm.NormalizesWithBlend": {"BN-07": "diverges"},
    "batch_norm.Frozen": {"BN-07": "diverges"}
    | dict.fromkeys(("BN-03", "BN-04", "BN-05", "BN-09", "BN-11"), "cannot tell"),  # nothing moves
    "batch_norm.UntrackedEvalIsInitial": {"BN-08": "diverges"},
    # An honest 1 - (1 - w)^t costs more bounds in float32 than a step of 1e-4 in momentum.
    "batch_norm.StartsFromZeroDebiased": {"BN-09": "diverges", "BN-11 float32": "cannot tell"},
    "batch_norm.StartsFromFirstBatch": {"BN-09": "diverges"},
    "batch_norm.EpsAtLeastTenMillionths": dict.fromkeys(("BN-10", "BN-41", "BN-42"), "diverges"),
    # A momentum with more digits than half precision has is what shows a new layer's statistics, too.
    "batch_norm.MomentumInHalfPrecision": {"BN-11": "diverges", "BN-26": "diverges"},
    "batch_norm.LastRankUsesOneSample": {"BN-12": "diverges"},
    "batch_norm.BiasNeedsWeight": {"BN-13": "diverges"},
    "batch_norm.StopsAfterThreeSteps": {"BN-14": "diverges"},
    "batch_norm.UpdatesTheLastLayerMade": {"BN-14": "diverges"},
    "batch_norm.EvalUpdates": {"BN-15": "diverges", "BN-49": "diverges"},  # what moves there has its own type
    "batch_norm.MomentumZeroFreezes": {"BN-16": "diverges"},
    "batch_norm.MeanInTwelveBits": dict.fromkeys(("BN-17", "BN-25 float64", "BN-57 float64"), "diverges"),
    "batch_norm.LongTailUncounted": dict.fromkeys(("BN-32", "BN-50"), "diverges") | {"BN-52": "cannot tell"},
    "batch_norm.EmptyBatchIsNan": dict.fromkeys(("BN-18", "BN-19", "BN-48"), "diverges"),
    "batch_norm.EmptyBatchCounts": {"BN-48": "diverges"},
    "batch_norm.NoPositionsDecay": {"BN-19": "diverges", "BN-48": "diverges"},
    "batch_norm.AnyChannelCountUntracked": {"BN-20": "diverges"},
    "batch_norm.ChangesItsInput": {"BN-21": "crashes"},
    "batch_norm.TakesItsInputAsItLies": {"BN-46": "diverges"},
    "batch_norm.TakesItsUpstreamGradientAsItLies": {"BN-46": "diverges"},
    "batch_norm.ChangesItsUpstreamGradient": {"BN-21": "crashes"},
    "batch_norm.ReusesItsOutput": {"BN-21": "crashes"},
    "batch_norm.StatisticsStartAsOneElement": {"BN-21": "diverges"},
    "batch_norm.FreezesItsGradients": {"BN-21": "diverges"},
    "batch_norm.UpdatesTheArraysLoaded": {"BN-21": "crashes"},
    # A weight of many digits comes back with those of float32.
    "batch_norm.ComputesInSinglePrecision": {
        **dict.fromkeys(("BN-22 float64", "BN-53", "BN-54"), "diverges"),
        "BN-21 float64": "crashes",
    },
    "batch_norm.NanLeavesNoTrace": {"BN-37": "diverges"},
    "batch_norm.ConstantIsNan": {"BN-38": "diverges", "BN-39": "diverges"},
    "batch_norm.VarianceHasACeiling": {"BN-39": "diverges"},
    "batch_norm.EmptyGradientsAreNan": {"BN-40": "diverges"},
    "batch_norm.EpsZeroMeansTheDefault": {"BN-41": "diverges"},
    "batch_norm.NegativeEpsIsZero": {"BN-42": "diverges"},
    "batch_norm.RankOneIsZero": {"BN-43": "diverges"},
    "batch_norm.NegativeVarianceIsZero": {"BN-44": "diverges"},
    "batch_norm.DivisorsMixedBackward": {"BN-33": "diverges"},
    "batch_norm.WeightGradientIsAMean": {"BN-34": "diverges", "BN-36": "diverges"},
    "batch_norm.BiasGradientOfTheFirstSample": {"BN-35": "diverges", "BN-36": "diverges"},
    "batch_norm.EvalDifferentiatesThroughTheBatch": {"BN-36": "diverges"},
    "state.ResetForgetsTheVariance": {"BN-27": "diverges"},
    "state.ResetForgetsTheCount": {"BN-27": "diverges"},
    "state.CountIsNotSaved": {"BN-28": "diverges"},
    "state.UpdatesTheLayerThatWasSaved": {"BN-21": "crashes"},
    "state.StatisticsAreNotSaved": {"BN-28": "diverges"},
    "state.BiasIsNotSaved": {"BN-28": "diverges"},
    "state.FreezingStopsTheStatistics": {"BN-29": "diverges"},
    "state.FreezingIsInference": {"BN-29": "diverges"},
    "state.FreezingForgetsTheBias": {"BN-29": "diverges"},
    "state.StaysFrozen": {"BN-29": "diverges", "BN-31": "diverges"},
    "state.KeepsItsFirstMomentum": {"BN-30": "diverges"},
    "state.TrainsItsStatistics": {"BN-31": "diverges"},
    "state.UnfreezingFreesTheStatistics": {"BN-31": "diverges"},
    "group_norm.KeepsItsFirstParameters": {"GN-37": "diverges"},
    "group_norm.ComputesInTheTypeOfItsWeight": {"GN-38": "diverges"},
    "batch_norm.ComputesInTheTypeOfItsStatistics": {"BN-49": "diverges"},
    "sizes.TailOf32Dropped": {"GN-06": "diverges", "GN-39": "diverges"},
    "sizes.TailOf256Dropped": {"GN-39": "diverges"},
    # What departs at a size in its output is not told again of an input of many elements.
    "sizes.TailOf1024Dropped": {"GN-39": "diverges", "GN-41": "cannot tell"},
    # Its backward pass takes the padded statistics, and pads nothing else.
    "sizes.PaddedTo32Above32Positions": {"GN-02": "diverges", "GN-40": "diverges"},
    "sizes.PaddedTo64Above64Positions": {"GN-39": "diverges"},
    "sizes.SamplesFromEightOnUntouched": {"GN-39": "diverges"},
    "sizes.ChannelsFrom32OnUntouched": {"GN-39": "diverges", "GN-41": "cannot tell"},
    "sizes.ElementsBeyondAMillionUntouched": {"GN-41": "diverges"},
    "sizes.GroupsAtMost32": {"GN-39": "diverges"},
    "sizes.MoreGroupsThanChannelsBecomeChannels": {"GN-42": "diverges"},
    "sizes.LastElementCountsTwice": {"GN-24 float64": "diverges", "GN-39": "diverges", "GN-41": "cannot tell"},
    "sizes.TailDroppedBackward": {"GN-40": "diverges"},
    "sizes.WeightGradientOf32Samples": {"GN-40": "diverges"},
    "sizes.ChannelTailOf1024Dropped": {"BN-50": "diverges", "BN-52": "cannot tell"},
    "sizes.RunningVarianceWithoutTail": {"BN-50": "diverges", "BN-52": "cannot tell"},
    "sizes.SamplesFromEightOnUntouchedInEval": {"BN-50": "diverges"},
    "sizes.ChannelsFrom32OnRepeat": {"BN-50": "diverges", "BN-52": "cannot tell"},
    "sizes.ElementsOfAChannelBeyondAMillionUntouched": {"BN-52": "diverges"},
    "sizes.ChannelTailDroppedBackward": {"BN-51": "diverges"},
    "sizes.BiasGradientOf64Samples": {"BN-51": "diverges"},
    "state.FoldsItsEvalOnce": {"BN-47": "diverges"},
    "state.TrainsFromACopyOfItsStatistics": {"BN-47": "diverges"},
    "higher.GroupNorm": {},
    "higher.BatchNorm": {},
    "higher.GroupNormOfAConstantMean": {"GN-48": "diverges"},
    "higher.BatchNormOfAConstantMean": {"BN-59": "diverges"},
    "higher.GroupNormOfASavedDeviation": {"GN-47": "diverges"},
    "higher.BatchNormOfASavedDeviation": {"BN-58": "diverges"},
}


def _implementations() -> tuple[Implementation, ...]:
    modules: tuple[tuple[ModuleType, str, Mapping[str, str]], ...] = (
        (group_norm, "group_norm", _GROUP_NAMES),
        (batch_norm, "batch_norm", _BATCH_NAMES),
        (state, "batch_norm", _BATCH_NAMES),
        (process, "group_norm", _GROUP_NAMES),
        (higher, "group_norm", _GROUP_NAMES),
        (higher, "batch_norm", _BATCH_NAMES),
        (rare, "group_norm", _GROUP_NAMES),
        (rare, "batch_norm", _BATCH_NAMES),
        (sizes, "group_norm", _GROUP_NAMES),
        (sizes, "batch_norm", _BATCH_NAMES),
    )
    return tuple(
        Implementation(
            class_path=f"{module.__name__.rpartition('.')[2]}.{name}",
            layer=layer,
            layout="N, C, *",
            names=names,
            documentation="",
        )
        for module, layer, names in modules
        for name, found in inspect.getmembers(module, inspect.isclass)
        if found.__module__ == module.__name__
        and not name.startswith("_")
        and issubclass(found, batch_norm.BatchNorm) == (layer == "batch_norm")
    )


class FaultyAdapter(Adapter):
    framework = "faulty"
    distribution = "numpy"
    dtypes_together = True
    implementations = _implementations()

    def layer_class(self, implementation: Implementation) -> Any:
        wanted, modules = implementation.identity, (group_norm, batch_norm, state, process, rare, higher, sizes)
        return getattr(next(one for one in modules if one.__name__ == f"faulty.{wanted.module}"), wanted.class_name)

    def construct(self, implementation: Implementation, case: Case) -> Any:
        settings = {"eps": 1e-5, **case.settings}
        has = {name: settings.pop(name, True) for name in ("weight", "bias")}
        if implementation.layer == "batch_norm":
            settings = {"momentum": 0.1, "track": True, **settings}
        layer = self.layer_class(implementation)(**settings, dtype=case.dtype)
        for name, value in case.parameters.items():
            setattr(layer, name, value)
        for name, present in has.items():
            if not present:
                setattr(layer, name, None)
        return layer

    def forward(self, layer: Any, x: Any, *, training: bool) -> Any:
        layer.training = training
        with np.errstate(all="ignore"):
            return layer(x)

    def backward(self, layer: Any, x: Any, dy: Any, *, training: bool) -> tuple[Any, Mapping[str, Any]]:
        layer.training = training
        before, untouched = copy.deepcopy(layer), x.copy()
        y = self.forward(layer, x, training=training)
        before.check(untouched)
        with np.errstate(all="ignore"):
            return y, before.gradients(untouched, dy)

    def derivatives(self, implementation: Implementation) -> tuple[str, ...]:
        return DERIVATIVES if implementation.identity.module == "higher" else ()

    def derived(self, layer: Any, x: Any, dy: Any, derivative: str, *, training: bool) -> tuple[Any, Mapping[str, Any]]:
        layer.training = training
        before, untouched = copy.deepcopy(layer), x.copy()
        return self.forward(layer, x, training=training), before.derived(untouched, dy, derivative)

    def reset(self, layer: Any) -> None:
        layer.reset()

    def save_load(self, implementation: Implementation, case: Case, layer: Any) -> Any:
        new = self.construct(implementation, case)
        new.load(layer.saved())
        return new

    def model(self, layer: Any) -> Any:
        return layer

    def freeze(self, layer: Any, frozen: bool) -> None:
        layer.frozen = frozen

    def set_momentum(self, layer: Any, momentum: float | None) -> Any:
        layer.momentum = momentum
        return layer

    def set_parameters(
        self, implementation: Implementation, case: Case, layer: Any, parameters: Mapping[str, Array]
    ) -> None:
        for name, value in parameters.items():
            setattr(layer, name, value)

    def trainable(self, layer: Any) -> Iterable[str]:
        return layer.trained()

    def state(self, layer: Any) -> Mapping[str, Any]:
        names = ("weight", "bias", "running_mean", "running_var")
        return {name: value for name in names if (value := getattr(layer, name, None)) is not None}

    def elements(self, value: Any) -> Array | None:
        return np.asarray(value)

    def to_native(self, implementation: Implementation, x: Array) -> Any:
        return x

    def to_numpy(self, implementation: Implementation, value: Any) -> Array:
        return np.asarray(value)


class WithPermutedWeights(FaultyAdapter):
    """An adapter that breaks the rule: it hands the weights over in reverse."""

    def construct(self, implementation: Implementation, case: Case) -> Any:
        layer = super().construct(implementation, case)
        if layer.weight is not None:
            layer.weight = layer.weight[::-1].copy()
        return layer


class NeedsItsEnvironment(FaultyAdapter):
    """Reads a switch once a process, as JAX does."""

    @classmethod
    def environment(cls, dtype: str) -> Mapping[str, str]:
        return {"FAULTY_ENABLE_X64": "1"} if dtype == "float64" else {}
