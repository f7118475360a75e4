"""Weight and bias, and what follows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from faulty.faults.fault import BATCH, GROUP, Mistake
from faulty.pipeline import Array, BatchNorm

Layer = Any
Pair = tuple[Any, Any]

FAMILY: Final = "affine"


def _affine(forward: Callable[[Layer, Any, Any], Pair], back: Callable[[Layer, Array, Array], Pair]) -> dict[str, Any]:
    """Scale and shift of weight and bias, and the gradients of these from the sums of dy * x_hat and dy."""
    return {
        "scale_and_shift": lambda layer: forward(layer, layer.weight, layer.bias),
        "parameter_gradients": back,
    }


def _where(parameter: Any, change: Callable[[Array], Array]) -> Any:
    return None if parameter is None else change(parameter)


def _weight(change: Callable[[Array], Array], slope: Callable[[Array], Array | float]) -> dict[str, Any]:
    """Another weight."""
    return _affine(
        lambda layer, w, b: (_where(w, change), b),
        lambda layer, ds, dh: (ds if layer.weight is None else ds * slope(layer.weight), dh),
    )


def _reordered(order: Callable[[Layer], Array]) -> dict[str, Any]:
    """Channel c uses the parameters of another one; those that several use gather their gradients."""

    def gathered(layer: Layer, sums: Array) -> Array:
        return np.bincount(order(layer), sums, layer.channels).astype(sums.dtype)

    return _affine(
        lambda layer, w, b: (_where(w, lambda v: v[order(layer)]), _where(b, lambda v: v[order(layer)])),
        lambda layer, ds, dh: (gathered(layer, ds), gathered(layer, dh)),
    )


def _bias_first(layer: Layer, w: Any, b: Any) -> Pair:
    return w, b if w is None or b is None else w * b


def _bias_first_back(layer: Layer, ds: Array, dh: Array) -> Pair:
    if layer.weight is None or layer.bias is None:
        return ds, dh
    return ds + layer.bias * dh, layer.weight * dh


def _swapped(layer: Layer, w: Any, b: Any) -> Pair:
    return (w, b) if w is None or b is None else (b, w)


def _swapped_back(layer: Layer, ds: Array, dh: Array) -> Pair:
    return (ds, dh) if layer.weight is None or layer.bias is None else (dh, ds)


def _after(value: Callable[[Array], Array], slope: Callable[[Array], Array]) -> dict[str, Any]:
    return {"after": lambda layer, y: (value(y), slope(y))}


def _sigmoid(y: Array) -> Array:
    return 1 / (1 + np.exp(-y))


def _shift_not_scaled(layer: Layer) -> Pair:
    """Eval folded into weight * r and bias - mean: what is subtracted is not scaled."""
    w, b = layer.weight, layer.bias
    if layer.uses_batch():
        return w, b
    mean, var = BatchNorm.used_in_eval(layer)
    scale = layer.reciprocal(var) * (1 if w is None else w)
    shift = mean * scale - mean
    return w, shift if b is None else b + shift


def _last_axis(layer: Layer) -> int:
    """NumPy's broadcasting: an array of shape (C,) goes along the last axis where that has C places."""
    return len(layer.shape) - 1 if layer.shape[-1] == layer.channels else 1


ZERO: Final = np.zeros_like
MISTAKES: Final = (
    Mistake(
        name="affine ignored",
        why="a layer without parameters is made, whatever is loaded",
        link="https://github.com/uxlfoundation/oneDNN/issues/276",
        named="weight and bias are ignored",
        change=_affine(lambda layer, w, b: (None, None), lambda layer, ds, dh: (ZERO(ds), ZERO(dh))),
    ),
    Mistake(
        name="weight ignored",
        why="fix_gamma: the weight is kept, and computed as 1",
        link="https://github.com/apache/mxnet/issues/9624",
        named="the weight is ignored",
        change=_affine(lambda layer, w, b: (None, b), lambda layer, ds, dh: (ZERO(ds), dh)),
    ),
    Mistake(
        name="bias ignored",
        why="a converter that reads one of the two",
        named="the bias is ignored",
        change=_affine(lambda layer, w, b: (w, None), lambda layer, ds, dh: (ds, ZERO(dh))),
    ),
    Mistake(
        name="bias before weight",
        why="(x_hat + bias) * weight",
        link="https://github.com/leela-zero/leela-zero/pull/1099",
        named=r"\(x_hat \+ bias\) \* weight",
        change=_affine(_bias_first, _bias_first_back),
    ),
    Mistake(
        name="weight plus one",
        why="zero-centred weights, 1 + weight",
        link="https://github.com/ROCm/TransformerEngine/pull/171",
        named=r"1 \+ weight",
        change=_weight(lambda w: 1 + w, lambda w: 1.0),
    ),
    Mistake(
        name="absolute weight",
        why="|weight|, which InPlaceABN needs to invert the output",
        link="https://github.com/mapillary/inplace_abn",
        named="absolute",
        change=_weight(np.abs, np.sign),
    ),
    Mistake(
        name="weight twice",
        why="the weight is a part of the factor of a fold, and multiplied again",
        named="weight multiplies twice",
        change=_weight(np.square, lambda w: 2 * w),
    ),
    Mistake(
        name="weight and bias swapped",
        why="four arrays of one shape, in another order",
        link="https://github.com/Vladkryvoruchko/PSPNet-Keras-tensorflow/issues/31",
        named="weight and bias are swapped",
        change=_affine(_swapped, _swapped_back),
    ),
    Mistake(
        name="parameters reversed",
        why="channels are read from the end on",
        named="reversed",
        change=_reordered(lambda layer: np.arange(layer.channels)[::-1]),
    ),
    Mistake(
        name="parameters of the next channel",
        why="an index that is one too far",
        named="next channel",
        change=_reordered(lambda layer: (np.arange(layer.channels) + 1) % layer.channels),
    ),
    Mistake(
        name="parameters of the first channel",
        why="a stride of zero: weight[0] and bias[0] for all channels",
        named="first channel",
        change=_reordered(lambda layer: np.zeros(layer.channels, np.intp)),
    ),
    Mistake(
        name="parameters per group",
        why="one weight a group, as in the first version of an operator",
        link="https://github.com/Oneflow-Inc/oneflow/pull/4848",
        named=r"weight\[g\] and bias\[g\]",
        kinds=(GROUP,),
        change=_reordered(lambda layer: np.arange(layer.channels) // (layer.channels // layer.groups)),
    ),
    Mistake(
        name="parameters by the place in the group",
        why="weight[c mod C/G]: the index within the group, without its offset",
        named="place in the group",
        kinds=(GROUP,),
        change=_reordered(lambda layer: np.arange(layer.channels) % (layer.channels // layer.groups)),
    ),
    Mistake(
        name="parameters shuffled",
        why="parameters in the order of interleaved groups, channels in that of contiguous ones",
        named="order of the channels",
        kinds=(GROUP,),
        change=_reordered(lambda layer: np.arange(layer.channels).reshape(-1, layer.groups).T.ravel()),
    ),
    Mistake(
        name="parameters along the last axis",
        why="NumPy's broadcasting, where the last axis has as many places as there are channels",
        link="https://github.com/tensorlayer/TensorLayer/pull/963",
        named="last axis",
        change={"parameter_axis": _last_axis},
    ),
    Mistake(
        name="fold without the scale of the shift",
        why="batch norm folded into weight * r and bias - mean",
        link="https://github.com/XiaoMi/mace/issues/262",
        named="fold",
        kinds=(BATCH,),
        change={"scale_and_shift": _shift_not_scaled},
    ),
    Mistake(
        name="SiLU behind",
        why="an activation is fused behind the layer",
        link="https://github.com/Oneflow-Inc/oneflow/pull/9387",
        named="followed by SiLU",
        change=_after(lambda y: y * _sigmoid(y), lambda y: _sigmoid(y) * (1 + y * (1 - _sigmoid(y)))),
    ),
    Mistake(
        name="ReLU behind",
        why="the fused kernel of batch norm and ReLU",
        named="followed by ReLU",
        change=_after(lambda y: np.maximum(y, 0), lambda y: (y > 0).astype(y.dtype)),
    ),
    Mistake(
        name="clipped to six",
        why="ReLU6 of a mobile network, without its lower end",
        named="at most 6",
        change=_after(lambda y: np.minimum(y, 6), lambda y: (y <= 6).astype(y.dtype)),
    ),
)
