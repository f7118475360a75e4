"""What enters BatchNorm's running statistics, and with which weight."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from faulty.faults.fault import BATCH, Mistake
from faulty.pipeline import Array, BatchNorm, Forward, Statistics

Layer = Any
Pair = tuple[Array, Array]

FAMILY: Final = "running statistics"


def _nothing(layer: Layer, *_: Any) -> None:
    pass


def _twice(layer: Layer, p: Forward, x: Array) -> None:
    BatchNorm.update_with(layer, p, x)
    BatchNorm.update_with(layer, p, x)


def _bessel_of_samples(layer: Layer) -> float:
    samples = layer.shape[0]
    return float(samples / max(samples - 1, 1))


def _bessel_of_all(layer: Layer) -> float:
    n = int(np.prod(layer.shape))
    return n / max(n - 1, 1)


def _scaled_mean(layer: Layer, s: Statistics) -> Pair:
    mean, var = BatchNorm.tracked(layer, s)
    return mean * mean.dtype.type(layer.bessel()), var


def _second_moment(layer: Layer, s: Statistics) -> Pair:
    mean, var = BatchNorm.tracked(layer, s)
    return mean, var + mean * mean


def _first_sample(layer: Layer, p: Forward, x: Array) -> None:
    BatchNorm.update_with(layer, layer.of_batch(x[:1]) if x[:1].size > layer.channels else p, x)


def _in_parts(layer: Layer, p: Forward, x: Array) -> None:
    """An update for each half of the batch."""
    half = len(x) // 2
    if len(x) % 2 or x[:half].size <= layer.channels:
        BatchNorm.update_with(layer, p, x)
        return
    for part in (x[:half], x[half:]):
        BatchNorm.update_with(layer, layer.of_batch(part), x)


def _weight(change: Any) -> Any:
    return lambda layer: change(layer, BatchNorm.weight_of_new(layer))


def _mean_alone(layer: Layer, mean: Array, var: Array) -> None:
    kept = layer.running_var
    BatchNorm.blend(layer, mean, var)
    layer.running_var = kept


def _variance_alone(layer: Layer, mean: Array, var: Array) -> None:
    kept = layer.running_mean
    BatchNorm.blend(layer, mean, var)
    layer.running_mean = kept


def _replaced(layer: Layer, mean: Array, var: Array) -> None:
    BatchNorm.blend(layer, mean, var)
    layer.running_mean, layer.running_var = mean.copy(), var.copy()


def _about_old(layer: Layer, s: Statistics) -> Pair:
    mean, var = BatchNorm.tracked(layer, s)
    return mean, var + np.square(mean - layer.running_mean)


def _one_step_late(layer: Layer) -> float:
    """The count is read before the step is counted."""
    if layer.momentum is not None:
        return float(layer.momentum)
    return 1 / max(layer.steps - 1, 1)


def _count_in_samples(layer: Layer) -> float:
    if layer.momentum is not None:
        return float(layer.momentum)
    return 1 / (layer.steps * layer.shape[0])


MISTAKES: Final = (
    Mistake(
        name="never updated",
        why="the batch's statistics are returned and dropped",
        link="https://github.com/paiml/aprender/pull/2166",
        named="never updated",
        kinds=(BATCH,),
        change={"blend": _nothing},
    ),
    Mistake(
        name="updated twice",
        why="the forward call is done again for the gradient",
        link="https://github.com/Tencent/YOLO-Master/issues/262",
        named="updated twice",
        kinds=(BATCH,),
        change={"update_with": _twice},
    ),
    Mistake(
        name="the mean alone updated",
        why="a line is missing",
        named="running variance is never updated",
        kinds=(BATCH,),
        change={"blend": _mean_alone},
    ),
    Mistake(
        name="the variance alone updated",
        why="a line is missing",
        named="running mean is never updated",
        kinds=(BATCH,),
        change={"blend": _variance_alone},
    ),
    Mistake(
        name="biased running variance",
        why="the variance that normalises is the one tracked",
        link="https://github.com/ml-explore/mlx/pull/3817",
        named="the variance with divisor n",
        kinds=(BATCH,),
        change={
            "bessel": lambda layer: 1.0,
        },
    ),
    Mistake(
        name="the factor of the samples",
        why="N / (N - 1) in place of n / (n - 1)",
        named="number of samples",
        kinds=(BATCH,),
        change={
            "bessel": _bessel_of_samples,
        },
    ),
    Mistake(
        name="the factor of all elements",
        why="the size of x in place of that of a channel",
        link="https://github.com/mlpack/mlpack/pull/2474",
        named="number of elements of x",
        kinds=(BATCH,),
        change={
            "bessel": _bessel_of_all,
        },
    ),
    Mistake(
        name="the factor on the mean too",
        why="n / (n - 1) on both statistics",
        link="https://github.com/chainer/chainer/issues/332",
        named="running mean is scaled",
        kinds=(BATCH,),
        change={
            "tracked": _scaled_mean,
        },
    ),
    Mistake(
        name="the second moment tracked",
        why="E[x^2] is tracked as the variance",
        named="mean of the squares",
        kinds=(BATCH,),
        change={
            "tracked": _second_moment,
        },
    ),
    Mistake(
        name="the variance about the running mean tracked",
        why="(x - running_mean)^2 is averaged",
        named="about the running mean",
        kinds=(BATCH,),
        change={
            "tracked": _about_old,
        },
    ),
    Mistake(
        name="the first sample tracked",
        why="the update is in the loop over samples, and returns",
        named="first sample",
        kinds=(BATCH,),
        change={
            "update_with": _first_sample,
        },
    ),
    Mistake(
        name="an update a half batch",
        why="two devices update one after the other",
        named="each part of the batch",
        kinds=(BATCH,),
        change={
            "update_with": _in_parts,
        },
    ),
    Mistake(
        name="momentum weighs the old",
        why="the convention of TensorFlow and Keras",
        link="https://github.com/Oneflow-Inc/oneflow/pull/6055",
        named="momentum weighs",
        kinds=(BATCH,),
        change={
            "weight_of_new": _weight(lambda layer, w: w if layer.momentum is None else 1 - w),
        },
    ),
    Mistake(
        name="momentum squared",
        why="momentum is applied by the layer and by the kernel",
        named="momentum is squared",
        kinds=(BATCH,),
        change={
            "weight_of_new": _weight(lambda layer, w: w if layer.momentum is None else w * w),
        },
    ),
    Mistake(
        name="momentum is always a tenth",
        why="a constant of the kernel",
        named="momentum is always 0.1",
        kinds=(BATCH,),
        change={
            "weight_of_new": _weight(lambda layer, w: w if layer.momentum is None else 0.1),
        },
    ),
    Mistake(
        name="momentum a sample",
        why="an update a sample: 1 - (1 - momentum)^N",
        named="number of samples",
        kinds=(BATCH,),
        change={
            "weight_of_new": _weight(lambda layer, w: w if layer.momentum is None else 1 - (1 - w) ** layer.shape[0]),
        },
    ),
    Mistake(
        name="the last batch replaces",
        why="momentum is 1, whatever is asked for",
        named="momentum is always 1",
        kinds=(BATCH,),
        change={
            "blend": _replaced,
        },
    ),
    Mistake(
        name="momentum none counts late",
        why="the count is read before the batch is counted",
        named="counted late",
        kinds=(BATCH,),
        change={
            "weight_of_new": _one_step_late,
        },
    ),
    Mistake(
        name="momentum none counts samples",
        why="the count is one of samples",
        named="number of samples",
        kinds=(BATCH,),
        change={
            "weight_of_new": _count_in_samples,
        },
    ),
)
