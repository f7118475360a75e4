"""Where eps stands, and which it is."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from faulty.faults.fault import BATCH, Mistake
from faulty.pipeline import Array, BatchNorm

Layer = Any

FAMILY: Final = "eps"


def _outside(layer: Layer, var: Array) -> Array:
    return 1 / (np.sqrt(var) + var.dtype.type(layer.eps))


def _slope_outside(layer: Layer, var: Array) -> Array:
    return (np.sqrt(var) + var.dtype.type(layer.eps)) / np.sqrt(var)


def _floor(layer: Layer, var: Array) -> Array:
    return 1 / np.sqrt(np.maximum(var, var.dtype.type(layer.eps)))


def _added_to_reciprocal(layer: Layer, var: Array) -> Array:
    return 1 / np.sqrt(var) + var.dtype.type(layer.eps)


def _slope_added(layer: Layer, var: Array) -> Array:
    return (1 / np.sqrt(var)) ** 3 / _added_to_reciprocal(layer, var) ** 3


def _in_eval(change: Any) -> Any:
    """Another variance in eval, of the running one and eps."""

    def used(layer: Layer) -> tuple[Array, Array]:
        mean, var = BatchNorm.used_in_eval(layer)
        return mean, change(var, var.dtype.type(layer.eps))

    return used


def _stored_with_eps(layer: Layer, mean: Array, var: Array) -> None:
    BatchNorm.blend(layer, mean, var + var.dtype.type(layer.eps))


def _ignored_in_eval(layer: Layer) -> float:
    return float(layer.eps) if layer.uses_batch() else 0.0


def _ignored_in_training(layer: Layer) -> float:
    return 0.0 if layer.uses_batch() else float(layer.eps)


def _a_value(layer: Layer) -> float:
    """In the kernel that divides a sum of squares by n: statistics that are given come as a variance."""
    summed = layer.uses_batch() if hasattr(layer, "uses_batch") else True
    return float(layer.eps / layer.full) if summed else float(layer.eps)


MISTAKES: Final = (
    Mistake(
        name="eps ignored",
        why="1 / sqrt(var): eps is taken and not used",
        named="eps is ignored",
        change={"given_eps": lambda layer: 0.0},
    ),
    Mistake(
        name="eps is always 1e-6",
        why="a constant of the kernel; the argument came later",
        link="https://github.com/ggml-org/llama.cpp/pull/8818",
        named="eps is always 1e-6",
        change={"given_eps": lambda layer: 1e-6},
    ),
    Mistake(
        name="eps is always 1e-5",
        why="a constant of the kernel",
        link="https://github.com/PaddlePaddle/Paddle/issues/5548",
        named="eps is always 1e-5",
        change={"given_eps": lambda layer: 1e-5},
    ),
    Mistake(
        name="eps is always 1e-3",
        why="the default of the layer that it is converted to, in place of the one given",
        link="https://github.com/ml-explore/mlx-examples/issues/1435",
        named=r"eps is always 0\.001",
        change={"given_eps": lambda layer: 1e-3},
    ),
    Mistake(
        name="eps is always 1e-20",
        why="a fold with an eps of its own",
        link="https://github.com/analogdevicesinc/ai8x-training/pull/108",
        named="eps is ignored",
        change={"given_eps": lambda layer: 1e-20},
    ),
    Mistake(
        name="eps at least 1e-5",
        why="cuDNN's CUDNN_BN_MIN_EPSILON",
        link="https://github.com/tianzhi0549/FCOS/issues/219",
        named="with eps=1e-12 given, the layer computes as with eps=(1e-05|9.99999e-06)",
        change={"given_eps": lambda layer: max(layer.eps, 1e-5)},
    ),
    Mistake(
        name="eps twice",
        why="the variance comes with eps, and the root adds it again",
        link="https://github.com/torch/nn/pull/609",
        named="eps is added twice",
        change={"given_eps": lambda layer: 2 * layer.eps},
    ),
    Mistake(
        name="eps squared",
        why="sqrt(var + eps^2), as of a deviation with eps",
        named="the square of eps",
        change={"given_eps": lambda layer: layer.eps**2},
    ),
    Mistake(
        name="eps rooted",
        why="eps is taken for that of the deviation, and squared the wrong way",
        named="the root of eps",
        change={"given_eps": lambda layer: abs(layer.eps) ** 0.5},
    ),
    Mistake(
        name="eps in half precision",
        why="the argument passes a half type: 1e-8 becomes 0",
        named="half precision",
        change={"given_eps": lambda layer: float(np.float16(layer.eps))},
    ),
    Mistake(
        name="eps a value",
        why="eps is added to the sum of squares, before n divides",
        named="divided by n",
        change={"given_eps": _a_value},
    ),
    Mistake(
        name="eps outside the root",
        why="std(x) + eps",
        link="https://github.com/taokong/group_normalization/issues/1",
        named=r"sqrt\(var\) \+ eps",
        change={"reciprocal": _outside, "slope": _slope_outside},
    ),
    Mistake(
        name="eps as a floor",
        why="sqrt(max(var, eps))",
        link="https://github.com/vacancy/Synchronized-BatchNorm-PyTorch/issues/38",
        named=r"sqrt\(max\(var, eps\)\)",
        change={"reciprocal": _floor, "slope": lambda layer, var: np.where(var >= layer.eps, 1, 0).astype(var.dtype)},
    ),
    Mistake(
        name="eps added to the reciprocal",
        why="1 / sqrt(var) + eps: a parenthesis one term too early",
        named=r"1 / sqrt\(var\) \+ eps",
        change={"reciprocal": _added_to_reciprocal, "slope": _slope_added},
    ),
    Mistake(
        name="eps ignored in eval",
        why="the function for fixed statistics expects a variance that has it",
        link="https://github.com/chainer/chainer/pull/2214",
        named="eps is ignored in eval",
        kinds=(BATCH,),
        change={"given_eps": _ignored_in_eval},
    ),
    Mistake(
        name="eps ignored in training",
        why="the path of training is another kernel than that of eval",
        named="eps is ignored in training",
        kinds=(BATCH,),
        change={"given_eps": _ignored_in_training},
    ),
    Mistake(
        name="eps added on storing",
        why="what is tracked is var + eps, and eval adds eps again",
        link="https://github.com/torch/nn/pull/609",
        named=r"running variance \+ eps",
        kinds=(BATCH,),
        change={"blend": _stored_with_eps},
    ),
    Mistake(
        name="eps subtracted on loading",
        why="a loader takes eps out of a variance that does not have it",
        link="https://github.com/facebookresearch/detectron2/issues/3160",
        named="running_var - eps",
        kinds=(BATCH,),
        change={"used_in_eval": _in_eval(lambda var, eps: var - eps)},
    ),
    Mistake(
        name="eps twice in eval",
        why="the stored variance is taken for one without eps, and had it",
        named="eps is added twice in eval",
        kinds=(BATCH,),
        change={"used_in_eval": _in_eval(lambda var, eps: var + eps)},
    ),
)
