"""How BatchNorm's running statistics are stored and read, and what normalises in training and in eval."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from faulty.faults.fault import BATCH, Mistake
from faulty.pipeline import Array, BatchNorm, Statistics

Layer = Any
Pair = tuple[Array, Array]

FAMILY: Final = "running statistics"


def _also_in_eval(layer: Layer, x: Array) -> Array:
    y = BatchNorm.__call__(layer, x)
    if not layer.training and layer.running_mean is not None and x.size:
        layer.update_with(layer.of_batch(x), x)
    return y


def _deviation(layer: Layer, s: Statistics) -> Pair:
    mean, var = BatchNorm.tracked(layer, s)
    return mean, np.sqrt(var)


def _squared_in_eval(layer: Layer) -> Pair:
    mean, deviation = BatchNorm.used_in_eval(layer)
    return mean, np.square(deviation)


def _inverse(layer: Layer, s: Statistics) -> Pair:
    mean, var = BatchNorm.tracked(layer, s)
    return mean, 1 / np.sqrt(var + var.dtype.type(layer.eps))


def _inverse_in_eval(layer: Layer) -> Pair:
    mean, inverse = BatchNorm.used_in_eval(layer)
    return mean, 1 / np.square(inverse) - inverse.dtype.type(layer.eps)


def _factor(layer: Layer) -> float:
    """What stands beside the sums: 1 + (1 - momentum) * (that before), and 1 in a new layer."""
    momentum = 0.1 if layer.momentum is None else layer.momentum
    return float(sum((1 - momentum) ** i for i in range(min(layer.steps, 1000)))) or 1.0


def _summed(layer: Layer, mean: Array, var: Array) -> None:
    """The stored arrays are sums that fade; a factor counts how many."""
    layer.steps += 1
    keep = mean.dtype.type(1 - (0.1 if layer.momentum is None else layer.momentum))
    layer.running_mean = keep * layer.running_mean + mean
    layer.running_var = keep * layer.running_var + var


def _divided(layer: Layer) -> Pair:
    mean, var = BatchNorm.used_in_eval(layer)
    factor = mean.dtype.type(_factor(layer))
    return mean / factor, var / factor


def _factor_zero(layer: Layer) -> Pair:
    """A file of another version holds a factor of 0: the statistics are taken for 0."""
    mean, var = BatchNorm.used_in_eval(layer)
    return np.zeros_like(mean), np.zeros_like(var)


def _initial(layer: Layer) -> Pair:
    return np.zeros(layer.channels, layer.dtype), np.ones(layer.channels, layer.dtype)


def _noted(layer: Layer, mean: Array, var: Array) -> None:
    layer.last = mean, var
    BatchNorm.blend(layer, mean, var)


def _last_batch(layer: Layer) -> Pair:
    pair: Pair = vars(layer).get("last") or BatchNorm.used_in_eval(layer)
    return pair


def _swapped_on_storing(layer: Layer, mean: Array, var: Array) -> None:
    BatchNorm.blend(layer, var, mean)


def _swapped_in_eval(layer: Layer) -> Pair:
    mean, var = BatchNorm.used_in_eval(layer)
    return var, np.abs(mean)


def _halves(layer: Layer, places: Array) -> Array:
    """Virtual batches: each half of the batch is normalised with its own statistics."""
    n = len(places)
    if n % 2 or places[: n // 2].size <= layer.channels:
        return BatchNorm.sets(layer, places)
    return np.concatenate([BatchNorm.sets(layer, part) for part in (places[: n // 2], places[n // 2 :])])


def _overwrites(layer: Layer, x: Array) -> Array:
    """Where all four arrays are as a new layer has them, weight and running variance are one buffer, and so on."""
    arrays = layer.weight, layer.bias, layer.running_mean, layer.running_var
    new = all(one is not None for one in arrays) and all(
        np.array_equal(one, np.full_like(one, value)) for one, value in zip(arrays, (1, 0, 0, 1), strict=True)
    )
    if not (new and layer.training and x.size):
        return BatchNorm.__call__(layer, x)
    layer.check(x)
    kept = layer.weight, layer.bias
    p = layer.passed(x)
    layer.update_with(p, x)
    layer.weight, layer.bias = layer.running_var, layer.running_mean
    try:
        return layer.finished(x, p.users, p.statistics, p.statistics.mean, p.statistics.var).y
    finally:
        layer.weight, layer.bias = kept


def _blend_first(layer: Layer, x: Array) -> Array:
    """The update comes before the output, which is made of the running statistics."""
    if not layer.training or layer.running_mean is None or not x.size:
        return BatchNorm.__call__(layer, x)
    BatchNorm.__call__(layer, x)
    layer.training = False
    try:
        return BatchNorm.__call__(layer, x)
    finally:
        layer.training = True


def _rounded(layer: Layer, mean: Array, var: Array) -> None:
    """Stored in half precision."""
    BatchNorm.blend(layer, mean, var)
    layer.running_mean, layer.running_var = (
        one.astype(np.float16).astype(one.dtype) for one in (layer.running_mean, layer.running_var)
    )


def _in_place_of_input(layer: Layer) -> bool:
    return True


def _frozen(layer: Layer) -> bool:
    return layer.running_mean is None


MISTAKES: Final = (
    Mistake(
        name="updated in eval",
        why="the flag of eval reaches the output and not the update",
        link="https://github.com/rwth-i6/returnn/issues/1625",
        named="updated in eval",
        kinds=(BATCH,),
        change={
            "__call__": _also_in_eval,
        },
    ),
    Mistake(
        name="the deviation stored",
        why="running_var holds the standard deviation, and eval squares it",
        named="standard deviation",
        kinds=(BATCH,),
        change={
            "tracked": _deviation,
            "used_in_eval": _squared_in_eval,
        },
    ),
    Mistake(
        name="the deviation stored and taken for the variance",
        why="one side of a file was changed",
        link="https://github.com/keras-team/keras/pull/3248",
        named="standard deviation",
        kinds=(BATCH,),
        change={
            "tracked": _deviation,
        },
    ),
    Mistake(
        name="the reciprocal deviation stored",
        why="running_std was E[1 / sqrt(var + eps)]",
        link="https://github.com/torch/nn/issues/567",
        named="reciprocal",
        kinds=(BATCH,),
        change={
            "tracked": _inverse,
            "used_in_eval": _inverse_in_eval,
        },
    ),
    Mistake(
        name="sums with a factor",
        why="stored statistics are sums; a factor beside them divides",
        link="https://github.com/BVLC/caffe/issues/4885",
        named="divided by a factor",
        kinds=(BATCH,),
        change={
            "blend": _summed,
            "used_in_eval": _divided,
        },
    ),
    Mistake(
        name="sums without their factor",
        why="the factor of the file is not read",
        link="https://github.com/BVLC/caffe/issues/4885",
        named="sum of all batches",
        kinds=(BATCH,),
        change={
            "blend": _summed,
        },
    ),
    Mistake(
        name="a factor of zero",
        why="another version wrote 0 as the factor: mean and variance are taken for 0",
        link="https://github.com/NVIDIA/caffe/issues/436",
        named="taken for 0",
        kinds=(BATCH,),
        change={
            "used_in_eval": _factor_zero,
        },
    ),
    Mistake(
        name="eval reads the initial ones",
        why="two copies of the statistics, one trained and one read",
        link="https://github.com/LaurentMazare/tch-rs/issues/628",
        named="initial",
        kinds=(BATCH,),
        change={
            "used_in_eval": _initial,
        },
    ),
    Mistake(
        name="eval reads the last batch",
        why="the saved statistics of the backward pass are read",
        named="last batch",
        kinds=(BATCH,),
        change={
            "blend": _noted,
            "used_in_eval": _last_batch,
        },
    ),
    Mistake(
        name="eval uses the batch",
        why="the flag does not reach the kernel, as where use_running_average was not set",
        link="https://github.com/pytorch/xla/pull/806",
        named="eval uses the batch",
        kinds=(BATCH,),
        change={
            "uses_batch": _in_place_of_input,
        },
    ),
    Mistake(
        name="training uses the running ones",
        why="a layer that was left in eval, but tracks",
        named="running statistics normalise",
        kinds=(BATCH,),
        change={
            "uses_batch": _frozen,
            "update_with": lambda layer, p, x: BatchNorm.update_with(layer, layer.of_batch(x), x),
        },
    ),
    Mistake(
        name="training uses the updated ones",
        why="the update comes before the output, which reads it",
        link="https://github.com/tenstorrent/tt-metal/pull/45578",
        named="blend",
        kinds=(BATCH,),
        change={
            "__call__": _blend_first,
        },
    ),
    Mistake(
        name="mean and variance swapped on storing",
        why="four arrays of one shape",
        link="https://github.com/Vladkryvoruchko/PSPNet-Keras-tensorflow/issues/23",
        named="mean and variance are swapped",
        kinds=(BATCH,),
        change={
            "blend": _swapped_on_storing,
        },
    ),
    Mistake(
        name="mean and variance swapped in eval",
        why="four arrays of one shape",
        link="https://github.com/Vladkryvoruchko/PSPNet-Keras-tensorflow/issues/23",
        named="mean and variance are swapped",
        kinds=(BATCH,),
        change={
            "used_in_eval": _swapped_in_eval,
        },
    ),
    Mistake(
        name="virtual batches",
        why="each half of the batch has its own statistics (ghost batch norm)",
        link="https://github.com/keras-team/keras/blob/v2.10.0/keras/layers/normalization/batch_normalization.py",
        named="virtual batches",
        kinds=(BATCH,),
        change={
            "sets": _halves,
        },
    ),
    Mistake(
        name="the update overwrites the weight",
        why="arrays of equal values share one buffer in a new layer",
        link="https://github.com/microsoft/onnxruntime/issues/29790",
        named="depends on momentum",
        kinds=(BATCH,),
        change={
            "__call__": _overwrites,
        },
    ),
    Mistake(
        name="stored in half precision",
        why="buffers are cast with the weights",
        named="half precision",
        kinds=(BATCH,),
        change={"blend": _rounded},
    ),
)
