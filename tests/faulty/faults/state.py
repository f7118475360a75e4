"""What a layer keeps, shares and changes between and during its calls."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from faulty import batch_norm, group_norm, state
from faulty.batch_norm import Array, BatchNorm
from faulty.faults.fault import BATCH, GROUP, HONEST, Mistake

Layer = Any

FAMILY: Final = "state and memory"


def _m(name: str, why: str, named: str, layers: tuple[Any, ...], link: str = "") -> Mistake:
    """A mistake that layers of the other modules have: GroupNorm's, BatchNorm's, or both."""
    on = {BATCH if issubclass(one, BatchNorm) else GROUP: one for one in layers}
    return Mistake(name=name, why=why, link=link, named=named, kinds=tuple(on), change={}, on=on)


def _stale(layer: Layer, x: Array) -> Array:
    """Statistics of an earlier input of the same shape are used again."""
    honest = HONEST[GROUP if hasattr(layer, "groups") else BATCH]
    seen = vars(layer).setdefault("seen", {})  # type: ignore[attr-defined]
    y: Array = honest.__call__(layer, x)
    return np.array(seen.setdefault((x.shape, layer.training), y), copy=True)


def _kept_open(layer: Layer, x: Array) -> Array:
    """A new output buffer, in which an empty part of the earlier one remains: the last sample is the old one."""
    honest = HONEST[GROUP if hasattr(layer, "groups") else BATCH]
    y: Array = honest.__call__(layer, x)
    before = vars(layer).get("before")
    layer.before = y.copy()
    if before is not None and before.shape == y.shape and len(y) > 1:
        y[-1] = before[-1]
    return y


def _load_resets_count(layer: Layer, saved: dict[str, Any]) -> None:
    BatchNorm.load(layer, saved)
    layer.steps = 0


def _loads_into_all(layer: Layer, saved: dict[str, Any]) -> None:
    """A file in which mean and variance stand in the other order."""
    BatchNorm.load(layer, saved)
    layer.running_mean, layer.running_var = layer.running_var, layer.running_mean


MISTAKES: Final = (
    _m(
        "changes its input",
        "the layer works in place",
        "input",
        (group_norm.ChangesItsInput, batch_norm.ChangesItsInput),
    ),
    _m(
        "reuses its output",
        "one output buffer a shape: an earlier result changes with the next call",
        "output",
        (group_norm.ReusesItsOutput, batch_norm.ReusesItsOutput),
    ),
    _m(
        "takes its input as it lies",
        "strides are not looked at: a transposed input is read in the order of memory",
        "channels_last|memory|layout",
        (group_norm.TakesItsInputAsItLies, batch_norm.TakesItsInputAsItLies),
        "https://github.com/tenstorrent/tt-metal/issues/48142",
    ),
    _m(
        "takes dy as it lies",
        "strides of the gradient are not looked at",
        "channels_last|memory|layout",
        (group_norm.TakesItsUpstreamGradientAsItLies, batch_norm.TakesItsUpstreamGradientAsItLies),
        "https://github.com/pytorch/pytorch/pull/186414",
    ),
    _m(
        "changes dy",
        "the backward kernel works in place",
        "gradient|dy",
        (group_norm.ChangesItsUpstreamGradient, batch_norm.ChangesItsUpstreamGradient),
    ),
    _m(
        "hands out its bias",
        "where the output is the bias, it is the bias' memory",
        "bias",
        (group_norm.HandsOutItsBias,),
    ),
    _m(
        "keeps its first statistics",
        "traced once: the mean became a constant",
        "second call|first call",
        (group_norm.CachesStatistics,),
    ),
    _m(
        "keeps its first parameters",
        "traced once: weight and bias became constants",
        "set between calls|first call|calls after set parameters",
        (group_norm.KeepsItsFirstParameters,),
    ),
    _m(
        "folds its eval once",
        "weight * r and the shift are kept from the first call in eval",
        "set between calls|first call|calls after set parameters",
        (state.FoldsItsEvalOnce,),
    ),
    Mistake(
        name="first output again",
        why="a cache by shape alone",
        named="second call|first call",
        change={"__call__": _stale},
        on=HONEST,
    ),
    Mistake(
        name="last sample of the call before",
        why="a buffer of the call before, of which one sample is not written",
        named="second call|call before",
        change={"__call__": _kept_open},
        on=HONEST,
    ),
    _m(
        "scales with the last layer made",
        "a parameter is kept with the class",
        "another layer",
        (group_norm.ScalesWithTheLastLayerMade, batch_norm.UpdatesTheLastLayerMade),
    ),
    _m(
        "reset forgets the variance",
        "a line is missing in reset_running_stats",
        "reset",
        (state.ResetForgetsTheVariance,),
    ),
    _m(
        "reset forgets the count",
        "the count of batches is no statistic",
        "reset",
        (state.ResetForgetsTheCount,),
        "https://github.com/pytorch/pytorch/pull/6445",
    ),
    _m(
        "count is not saved",
        "num_batches_tracked is not in the file",
        "sav",
        (state.CountIsNotSaved,),
        "https://github.com/Oneflow-Inc/oneflow/issues/7440",
    ),
    Mistake(
        name="count reset on loading",
        why="loading sets num_batches_tracked to 0",
        link="https://github.com/pytorch/pytorch/issues/110361",
        named="sav|load",
        kinds=(BATCH,),
        change={"load": _load_resets_count},
        on=HONEST,
    ),
    Mistake(
        name="mean and variance swapped on loading",
        why="another order in the file",
        link="https://github.com/Vladkryvoruchko/PSPNet-Keras-tensorflow/issues/23",
        named="sav|load",
        kinds=(BATCH,),
        change={"load": _loads_into_all},
        on=HONEST,
    ),
    _m(
        "statistics are not saved",
        "parameters alone are saved",
        "sav",
        (state.StatisticsAreNotSaved,),
        "https://github.com/torch/nn/issues/1165",
    ),
    _m("bias is not saved", "a name is missing in the list of what is saved", "sav", (state.BiasIsNotSaved,)),
    _m(
        "updates the arrays loaded",
        "running statistics are updated in place, in the arrays of the caller",
        "running",
        (batch_norm.UpdatesTheArraysLoaded,),
    ),
    _m(
        "freezing stops the statistics",
        "trainable = False is read by the update, too",
        "fr(ee|o)z",
        (state.FreezingStopsTheStatistics,),
        "https://github.com/keras-team/keras/issues/6570",
    ),
    _m(
        "freezing is inference",
        "trainable = False is read as training = False",
        "fr(ee|o)z",
        (state.FreezingIsInference,),
        "https://github.com/keras-team/keras/issues/9522",
    ),
    _m(
        "trains its statistics",
        "running statistics are parameters, which unfreeze() frees",
        "running_mean",
        (state.TrainsItsStatistics,),
    ),
    _m(
        "keeps its first momentum",
        "traced once: momentum became a constant",
        "momentum",
        (state.KeepsItsFirstMomentum,),
    ),
    _m(
        "an empty batch makes NaN",
        "the mean of nothing enters the running statistics",
        "no samples|empty",
        (batch_norm.EmptyBatchIsNan,),
        "https://github.com/google-deepmind/sonnet/issues/125",
    ),
    _m(
        "NaN leaves its sample",
        "a term of all samples, times zero",
        "NaN",
        (group_norm.NanSpreadsBackward,),
    ),
)
