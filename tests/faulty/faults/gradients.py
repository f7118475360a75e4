"""Backward kernels that are wrong, behind an output that is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from faulty.faults.fault import BATCH, GROUP, HONEST, Mistake
from faulty.group_norm import Array

Layer = Any
Gradients = dict[str, Array]

FAMILY: Final = "gradients"


def _honest(layer: Layer) -> Any:
    return HONEST[GROUP if hasattr(layer, "groups") else BATCH]


def _gradients(change: Callable[[Layer, Array, Array, Gradients], Gradients]) -> dict[str, Any]:
    """What a change makes of the right gradients; it gets the layer, x, dy and these."""

    def gradients(layer: Layer, x: Array, dy: Array) -> Gradients:
        found: Gradients = _honest(layer).gradients(layer, x, dy)
        return change(layer, x, dy, found) if x.size else found

    return {"gradients": gradients}


def _dx(change: Callable[..., Array]) -> dict[str, Any]:
    """Another dx: the change gets g, x_hat, r, what the variance passes on, and 0 where statistics are constants."""

    def input_gradient(layer: Layer, g: Array, x_hat: Array, r: Array, through: Array, share: float = 1.0) -> Array:
        return change(g, x_hat, r, through) if share else r * g

    return {"input_gradient": input_gradient}


def _means(g: Array, x_hat: Array) -> tuple[Array, Array]:
    first, second = (v.mean(axis=-1, keepdims=True) for v in (g, g * x_hat))
    return first, second


def _from(means: Callable[[Array], Array]) -> dict[str, Any]:
    """dx with other means of g and g * x_hat."""
    return _dx(lambda g, x_hat, r, t: r * (g - means(g) - x_hat * means(g * x_hat) * t))


def _with(parts: Callable[[Array, Array], Array]) -> dict[str, Any]:
    """dx with other terms: the change gets the mean of g and x_hat times that of g * x_hat."""

    def dx(g: Array, x_hat: Array, r: Array, through: Array) -> Array:
        m1, m2 = _means(g, x_hat)
        return r * (g - parts(m1, x_hat * m2 * through))

    return _dx(dx)


def _of_first(count: Callable[[int], int]) -> Callable[[Array], Array]:
    return lambda v: v[..., : count(v.shape[-1])].sum(axis=-1, keepdims=True) / v.dtype.type(v.shape[-1])


def _half_mean(v: Array) -> Array:
    with np.errstate(all="ignore"):
        return v.astype(np.float16).mean(axis=-1, keepdims=True, dtype=np.float16).astype(v.dtype)


def _without_weight(layer: Layer, x: Array, dy: Array, found: Gradients) -> Gradients:
    kept, layer.weight = layer.weight, None
    try:
        return found | {"dx": _honest(layer).gradients(layer, x, dy)["dx"]}
    finally:
        layer.weight = kept


def _weight_after(layer: Layer, x: Array, dy: Array, found: Gradients) -> Gradients:
    if layer.weight is None:
        return found
    dx = _without_weight(layer, x, dy, found)["dx"]
    return found | {"dx": dx * layer.weight.reshape(1, -1, *(1,) * (x.ndim - 2))}


def _next_sets(g: Array, x_hat: Array, r: Array, through: Array) -> Array:
    """x_hat and r of the next group or channel."""
    x_hat, r = (np.roll(v, -1, axis=-2) for v in (x_hat, r))
    m1, m2 = _means(g, x_hat)
    return r * (g - m1 - x_hat * m2 * through)


def _sums(name: str, change: Callable[[Layer, Array, Array, Array], Array]) -> dict[str, Any]:
    """Another dweight or dbias; the change gets the layer, x, dy and what is right."""
    return _gradients(
        lambda layer, x, dy, found: found | ({name: change(layer, x, dy, found[name])} if name in found else {})
    )


def _by_channel(values: Array) -> Array:
    return values.sum(axis=(0, *range(2, values.ndim)))


def _of_samples(name: str, chosen: slice) -> dict[str, Any]:
    def change(layer: Layer, x: Array, dy: Array, right: Array) -> Array:
        cut = np.zeros_like(dy)
        cut[chosen] = dy[chosen]
        found: Gradients = _honest(layer).gradients(layer, x, cut)
        return found[name]

    return _sums(name, change)


def _of_first_position(layer: Layer, x: Array, dy: Array, right: Array) -> Array:
    cut = np.zeros_like(dy)
    cut[(slice(None), slice(None), *(0,) * (dy.ndim - 2))] = dy[(slice(None), slice(None), *(0,) * (dy.ndim - 2))]  # type: ignore[arg-type,index]
    found: Gradients = _honest(layer).gradients(layer, x, cut)
    return found["dweight"]


def _without_r(layer: Layer, x: Array, dy: Array, right: Array) -> Array:
    """Sums of dy * (x - mean): x_hat that was not divided."""
    kept, layer.reciprocal = layer.reciprocal, np.ones_like
    try:
        found: Gradients = _honest(layer).gradients(layer, x, dy)
        return found["dweight"]
    finally:
        layer.reciprocal = kept


def _swapped(layer: Layer, x: Array, dy: Array, found: Gradients) -> Gradients:
    if "dweight" not in found or "dbias" not in found:
        return found
    return found | {"dweight": found["dbias"], "dbias": found["dweight"]}


def _without_eps(layer: Layer, x: Array, dy: Array, found: Gradients) -> Gradients:
    kept, layer.eps = layer.eps, 0.0
    try:
        return found | {"dx": _honest(layer).gradients(layer, x, dy)["dx"]}
    finally:
        layer.eps = kept


def _through_batch(names: tuple[str, ...]) -> dict[str, Any]:
    """In eval these gradients are those of training."""

    def change(layer: Layer, x: Array, dy: Array, found: Gradients) -> Gradients:
        if layer.training or layer.running_mean is None:
            return found
        layer.training = True
        try:
            trained = _honest(layer).gradients(layer, x, dy)
        finally:
            layer.training = False
        return found | {name: trained[name] for name in names if name in trained}

    return _gradients(change)


def _from_output(layer: Layer, x: Array, dy: Array, right: Array) -> Array:
    """x_hat is recovered from the output: (y - bias) / weight, which is 0 / 0 where the weight is 0."""
    return right if layer.weight is None else np.where(layer.weight == 0, right.dtype.type(np.nan), right)


def _raises_from_rank_4(layer: Layer, x: Array, dy: Array, found: Gradients) -> Gradients:
    if x.ndim > 3:
        raise ValueError("too many values to unpack (expected 3)")
    return found


def _adds_up(layer: Layer, x: Array, dy: Array, found: Gradients) -> Gradients:
    """The sums begin where those of the positions before ended: every channel has those before it, too."""
    return found | {name: np.cumsum(found[name]) for name in ("dweight", "dbias") if name in found}


def _m(name: str, change: dict[str, Any], why: str, named: str, **more: Any) -> Mistake:
    return Mistake(name=name, change=change, why=why, named=named, on=HONEST, **more)


ONEDNN: Final = "https://github.com/uxlfoundation/oneDNN/issues/3543"
EVAL: Final = "https://github.com/pytorch/xla/issues/913"
MISTAKES: Final = (
    _m(
        "dx without the weight",
        _gradients(_without_weight),
        "dy is not multiplied by the weight",
        "the weight left out",
        link=ONEDNN,
    ),
    _m(
        "dx with the weight after the sums",
        _gradients(_weight_after),
        "right where all weights of a group are equal",
        "the weight multiplied in after the sums",
        link=ONEDNN,
        kinds=(GROUP,),
    ),
    _m(
        "dx with another sets statistics",
        _dx(_next_sets),
        "an index that is one too far, in the backward kernel alone",
        "statistics of another",
    ),
    _m(
        "dx with sums of the first value",
        _from(_of_first(lambda n: 1)),
        "one thread's share in place of the reduction",
        "the first position alone",
    ),
    _m(
        "dx with sums of the first half",
        _from(_of_first(lambda n: (n + 1) // 2)),
        "one of two warps in place of the reduction",
        "a part of the set",
    ),
    _m(
        "dx without the mean term",
        _with(lambda first, second: second),
        "the gradient through the mean is left out",
        "the mean taken as a constant",
    ),
    _m(
        "dx with the mean term twice",
        _with(lambda first, second: 2 * first + second),
        "a product accumulates onto a register that still holds the mean's term",
        "the mean's term twice",
        link="https://github.com/tenstorrent/tt-metal/issues/53204",
    ),
    _m(
        "dx without the variance term",
        _with(lambda first, second: first),
        "the gradient through the variance is left out",
        "the variance taken as a constant",
        link="https://github.com/apache/mxnet/pull/1061",
    ),
    _m(
        "dx without both terms",
        _with(lambda first, second: 0 * first),
        "statistics without a gradient (stop_gradient, detach)",
        "mean and variance taken as constants",
    ),
    _m(
        "dx with the variance term added",
        _with(lambda first, second: first - second),
        "the sign of a term",
        "the sign of the variance's part",
    ),
    _m(
        "dx with n - 1 for n",
        _from(lambda v: v.sum(axis=-1, keepdims=True) / v.dtype.type(max(v.shape[-1] - 1, 1))),
        "the sums of the backward kernel are divided by n - 1",
        "divided by n - 1|divisor n - 1",
    ),
    _m(
        "dx with n - 1 in the variance term",
        {"divisor": lambda layer, n: n / max(n - 1, 1)},
        "the derivative of the unbiased variance, with the biased one in the output",
        "divided by n - 1|divisor n - 1",
    ),
    _m(
        "dx with sums in half precision",
        _from(_half_mean),
        "the reduction of the backward kernel is in a half type",
        "sums in half",
    ),
    _m(
        "dx without r",
        _dx(lambda g, x_hat, r, t: g - _means(g, x_hat)[0] - x_hat * _means(g, x_hat)[1] * t),
        "the last factor is left out: dy is not divided by the deviation",
        "the reciprocal deviation left out",
    ),
    _m(
        "dx without eps",
        _gradients(_without_eps),
        "the reciprocal root is computed anew, without eps",
        "eps left out",
    ),
    _m(
        "dx through the batch in eval",
        _through_batch(("dx",)),
        "the backward kernel knows training alone",
        "the batch's statistics in place of the running ones, differentiated through",
        link=EVAL,
        kinds=(BATCH,),
    ),
    _m(
        "dweight of the batch in eval",
        _through_batch(("dweight",)),
        "saved statistics of the batch in place of the running ones",
        "the batch's statistics",
        link="https://github.com/torch/nn/pull/768",
        kinds=(BATCH,),
    ),
    _m(
        "dweight and dbias swapped",
        _gradients(_swapped),
        "two arrays of one shape",
        "dweight and dbias swapped",
        link="https://github.com/Oneflow-Inc/oneflow/pull/6149",
    ),
    _m(
        "dweight not divided",
        _sums("dweight", _without_r),
        "sums of dy * (x - mean)",
        "the reciprocal deviation left out",
    ),
    _m(
        "dweight of x",
        _sums("dweight", lambda layer, x, dy, right: _by_channel(dy * x)),
        "sums of dy * x: the product with the input of the layer",
        "x not normalised",
    ),
    _m(
        "dweight zero",
        _sums("dweight", lambda layer, x, dy, right: np.zeros_like(right)),
        "the kernel has a pointer for it, and never writes to it",
        "no gradient: 0 everywhere",
        link="https://github.com/paiml/trueno/pull/178",
    ),
    _m(
        "dweight of the last sample", _of_samples("dweight", np.s_[-1:]), "= in place of += over samples", "last sample"
    ),
    _m("dweight of the first sample", _of_samples("dweight", np.s_[:1]), "a loop that returns early", "first sample"),
    _m(
        "dweight of the first position",
        _sums("dweight", _of_first_position),
        "one position in place of the reduction",
        "first position",
    ),
    _m(
        "dweight a mean",
        _sums("dweight", lambda layer, x, dy, right: right / right.dtype.type(x.size // x.shape[1])),
        "a mean in place of the sum",
        "a mean in place of a sum",
    ),
    _m(
        "dweight from the output",
        _sums("dweight", _from_output),
        "x_hat is recovered as (y - bias) / weight, to save memory",
        "where the weight is 0",
        link="https://github.com/mapillary/inplace_abn",
    ),
    _m("dbias of the first sample", _of_samples("dbias", np.s_[:1]), "a loop that returns early", "first sample"),
    _m(
        "dbias with the weight",
        _sums("dbias", lambda layer, x, dy, right: right if layer.weight is None else right * layer.weight),
        "the sum is that of dy * weight, which is at hand",
        "times the weight",
    ),
    _m(
        "dbias a mean",
        _sums("dbias", lambda layer, x, dy, right: right / right.dtype.type(x.size // x.shape[1])),
        "a mean in place of the sum",
        "a mean in place of a sum",
    ),
    _m(
        "dweight in half precision",
        _sums("dweight", lambda layer, x, dy, right: right.astype(np.float16).astype(right.dtype)),
        "parameter gradients pass a half type",
        "sums rounded to float16",
    ),
    _m(
        "parameter gradients add up",
        _gradients(_adds_up),
        "an accumulator that is not set to zero between channels",
        "channels before",
    ),
    _m(
        "backward raises from rank 4 on",
        _gradients(_raises_from_rank_4),
        "a kernel that unpacks (N, C, L)",
        "too many values to unpack",
        link="https://github.com/linkedin/Liger-Kernel/issues/1375",
    ),
)
