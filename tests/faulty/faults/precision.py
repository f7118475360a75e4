"""Too few digits somewhere, and everything else right."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from faulty import batch_norm, group_norm
from faulty.faults.fault import BATCH, GROUP, Mistake
from faulty.pipeline import Array, Steps

Layer = Any

FAMILY: Final = "precision"


def rounded(values: Array, bits: int) -> Array:
    """To as many binary digits."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.round(mantissa * 2.0**bits) / 2.0**bits, exponent).astype(values.dtype)


def _half(values: Array) -> Array:
    with np.errstate(all="ignore"):
        return values.astype(np.float16).astype(values.dtype)


def _mean(change: Any) -> Any:
    return lambda layer, values, n: change(Steps.mean(layer, values, n))


def _variance(change: Any) -> Any:
    return lambda layer, values, mean, zeros: change(Steps.variance(layer, values, mean, zeros))


def _mean_in_half(values: Array) -> Array:
    """Threads sum 64 values each; their sums are rounded to half precision, and so is what is made of these."""
    n = values.shape[1]
    with np.errstate(all="ignore"):
        parts = np.add.reduceat(_half(values), np.arange(0, n, 64), axis=1).astype(np.float16)
        return (parts.sum(axis=1, dtype=np.float16) / np.float16(n)).astype(values.dtype)


def _square_in_half(layer: Layer, values: Array, mean: Array, zeros: int) -> Array:
    return _half(np.square(_half(values - mean[:, None]))).mean(axis=1)


def _one_pass(layer: Layer, values: Array, mean: Array, zeros: int) -> Array:
    return np.square(values).mean(axis=1) - np.square(mean)


def _magic(layer: Layer, var: Array) -> Array:
    """The reciprocal root by its bits, with one step of Newton's: three digits."""
    s = (var + var.dtype.type(layer.eps)).astype(np.float32)
    guess = (np.int32(0x5F3759DF) - (s.view(np.int32) >> 1)).astype(np.int32).view(np.float32)
    return (guess * (np.float32(1.5) - np.float32(0.5) * s * guess * guess)).astype(var.dtype)


def _root_in_single(layer: Layer, var: Array) -> Array:
    return (1 / np.sqrt((var + var.dtype.type(layer.eps)).astype(np.float32))).astype(var.dtype)


def _parameters_in_half(layer: Layer) -> tuple[Any, Any]:
    w, b = (None if p is None else _half(p) for p in (layer.weight, layer.bias))
    return w, b


def _after(change: Any) -> Any:
    return lambda layer, y: (change(y), np.ones_like(y))


MISTAKES: Final = (
    Mistake(
        name="mean in TF32",
        why="the sum is a product with ones on tensor cores, which keep 10 bits of each value",
        link="https://github.com/tenstorrent/tt-metal/pull/47791",
        named="11 bits",
        change={"mean": lambda layer, values, n: Steps.mean(layer, rounded(values, 11), n)},
    ),
    Mistake(
        name="statistics in bfloat16",
        why="mean and variance in the type of the input under autocast",
        named="8 bits",
        change={
            "mean": _mean(lambda v: rounded(v, 8)),
            "variance": _variance(lambda v: rounded(v, 8)),
        },
    ),
    Mistake(
        name="mean rounded to half",
        why="the saved mean has the type of the input",
        named="11 bits",
        change={"mean": _mean(_half)},
    ),
    Mistake(
        name="variance rounded to half",
        why="the saved variance has the type of the input",
        named="11 bits",
        change={"variance": _variance(_half)},
    ),
    Mistake(
        name="fast reciprocal root",
        why="the estimate of the processor, 12 bits, without a step of Newton's",
        link="https://github.com/Tencent/ncnn/pull/6903",
        named="fewer bits on the way",
        change={"reciprocal": lambda layer, var: rounded(Steps.reciprocal(layer, var), 12)},
    ),
    Mistake(
        name="reciprocal root by its bits",
        why="0x5f3759df and one step of Newton's",
        link="https://github.com/tenstorrent/tt-metal/issues/51420",
        named="fewer bits on the way",
        change={"reciprocal": _magic},
    ),
    Mistake(
        name="sums in half",
        why="the accumulator has the type of the input",
        link="https://github.com/pytorch/executorch/pull/16727",
        named="in half|as TF32 and float16 have",
        change={"mean": lambda layer, values, n: _mean_in_half(values)},
    ),
    Mistake(
        name="squares in half",
        why="squares are formed in the type of the input, and summed in single precision",
        link="https://github.com/neuroneural/brainchop-cli/pull/56",
        named="in half|as TF32 and float16 have",
        change={"variance": _square_in_half},
    ),
    Mistake(
        name="count in half",
        why="the number of values is cast to the type of the input: 2,049 becomes 2,048",
        link="https://github.com/pytorch/executorch/pull/16727",
        named="in half|as TF32 and float16 have",
        change={
            "divisor_of_mean": lambda layer, n: float(np.float16(min(n, 65504))),
            "divisor": lambda layer, n: float(np.float16(min(n, 65504))),
        },
    ),
    Mistake(
        name="one pass without a floor",
        why="E[x^2] - E[x]^2, which may be negative",
        link="https://github.com/tenstorrent/tt-metal/pull/46159",
        named="one pass",
        change={"variance": _one_pass},
    ),
    Mistake(
        name="x hat in bfloat16",
        why="the normalised value is cast back before weight and bias",
        named="8 bits",
        change={"after": _after(lambda y: rounded(y, 8))},
    ),
    Mistake(
        name="output through half",
        why="the output passes a half type",
        named="11 bits",
        change={"after": _after(_half)},
    ),
    Mistake(
        name="parameters in half",
        why="weight and bias are stored in a half type",
        named="11 bits",
        change={"scale_and_shift": _parameters_in_half},
    ),
    Mistake(
        name="reciprocal root in single",
        why="float64 is taken, and the root is that of float32",
        link="https://github.com/PaddlePaddle/Paddle/pull/30454",
        named="24 bits",
        change={"reciprocal": _root_in_single},
        dtype="float64",
    ),
    Mistake(
        name="computes in single",
        why="float64 is taken, and everything is computed in float32",
        link="https://github.com/keras-team/keras/issues/19649",
        named="float32",
        change={},
        on={GROUP: group_norm.ComputesInSinglePrecision, BATCH: batch_norm.ComputesInSinglePrecision},
        dtype="float64",
    ),
)
