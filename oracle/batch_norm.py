"""Batch normalization (Ioffe and Szegedy, 2015, arXiv:1502.03167, algorithms 1 and 2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from normgauge.oracle.alternatives import (
    activated,
    activation,
    affine_in_use,
    chained,
    parameter_axis,
    rounded_parameters,
    upstream_of,
)
from normgauge.oracle.arithmetic import Arithmetic
from normgauge.oracle.backward import Dependence, Sets
from normgauge.oracle.batch_norm_mode import Mode, dependence, statistics_in_use
from normgauge.oracle.blocks import Block, Layout
from normgauge.oracle.gradients import gathered, without_parameters
from normgauge.oracle.moments import U64, Float
from normgauge.oracle.normalize import Formula, along_channels, normalized
from normgauge.oracle.pooled import (
    Given,
    entering_statistics,
    of_parameters,
    pool_statistics,
    pooled_gradients,
    pooled_output,
)
from normgauge.oracle.pools import Pool, batch_norm_pool, given_pool
from normgauge.oracle.read_statistics import weight_gradient_of_shift_not_scaled, with_shift_not_scaled
from normgauge.oracle.reference import Gradients, Reference, Refusal, empty, exactly
from normgauge.oracle.running_statistics import (
    RunningStatistics,
    joined,
    updated,
)
from normgauge.oracle.semantics import CANONICAL, Semantics
from normgauge.oracle.statistics import Batch, Statistics
from normgauge.oracle.validation import (
    Inputs,
    checked_formula,
    checked_input,
    checked_inputs,
    given_array,
)


@dataclass(frozen=True, kw_only=True)
class BatchNormReference:
    """The output, and the running statistics after the call (None when nothing is tracked)."""

    output: Reference
    running: RunningStatistics | None


def batch_norm(  # noqa: PLR0913 - the settings of a layer, by their usual names
    x: ArrayLike,
    running: RunningStatistics | None = None,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    training: bool,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    semantics: Semantics = CANONICAL["batch_norm"],
    arithmetic: Arithmetic | None = None,
) -> BatchNormReference:
    """What BatchNorm computes in one call, and how far an honest implementation may lie from it.

    Args:
        x: input of shape (N, C, *spatial), any number of spatial dimensions, empty ones included.
        running: the statistics before the call, from :func:`initial_statistics` or from the
            previous call's result; None when nothing is tracked.
        weight: shape (C,), or None for ones.
        bias: shape (C,), or None for zeros.
        training: whether the batch's own statistics normalise and enter the running ones.
        momentum: weight of the new value (canonical semantics); None averages all batches.
        eps: added to the variance inside the square root (canonical semantics); a negative one, too.
        semantics: which alternative to compute; the canonical one is that of the paper as torch 2.13
            documents it (https://docs.pytorch.org/docs/2.13/generated/torch.nn.BatchNorm2d.html).
        arithmetic: dtype and accuracy class the bound allows for; by default the dtype of ``x``
            (float64 for float64 input, else float32) and the widest class.

    Returns:
        The output (shape of ``x``) and the new running statistics. A batch without values leaves
        the statistics as they were.

    Raises:
        Refusal: a channel count that does not match, or what the semantics refuse: one value per
            channel in training, ``momentum=None``; a ``ValueError``.
        ValueError: any other argument that makes no sense.

    >>> import numpy as np
    >>> from normgauge import initial_statistics
    >>> x = np.array([[1.0], [3.0]], dtype=np.float32)
    >>> result = batch_norm(x, initial_statistics([0], [1]), training=True, momentum=0.5, eps=0)
    >>> result.output.value.ravel(), result.running.mean.value, result.running.var.value
    (array([-1.,  1.]), array([1.]), array([1.5]))
    """
    array = checked_input(x)
    formula, given = checked_formula(array, eps, semantics, arithmetic), checked_inputs(array, weight, bias)
    return _forward(given, Mode.checked(given, running, training, momentum, formula))


def batch_norm_backward(  # noqa: PLR0913 - the settings of a layer, by their usual names
    x: ArrayLike,
    dy: ArrayLike,
    running: RunningStatistics | None = None,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    training: bool,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    semantics: Semantics = CANONICAL["batch_norm"],
    arithmetic: Arithmetic | None = None,
) -> Gradients:
    """The gradients of sum(y * dy) for y the output of batch_norm(x, ...), and how far honest ones may lie from them.

    Where running statistics normalise, they are constants; where the batch's do, the gradient goes
    through them. Blended ones are constants for their old part.

    Args:
        x: input of shape (N, C, *spatial).
        dy: gradient of the output, of the shape of ``x``.
        running: the statistics *before* the call, as for :func:`batch_norm`.
        weight: shape (C,), or None for ones.
        bias: shape (C,), or None for zeros; only the gradients of some mistakes depend on it.
        training: as in :func:`batch_norm`.
        momentum: as in :func:`batch_norm`; it matters for the gradient only where blended statistics
            normalise.
        eps: as in :func:`batch_norm`.
        semantics: as in :func:`batch_norm`.
        arithmetic: as in :func:`batch_norm`; the bound holds for the closed form and for automatic
            differentiation.

    Returns:
        dx of the shape of ``x``, dweight and dbias of shape (C,).

    Raises:
        Refusal: what :func:`batch_norm` refuses; a ``ValueError``.
        ValueError: any other argument that makes no sense.

    >>> import numpy as np
    >>> from normgauge import initial_statistics
    >>> x = np.array([[1.0], [3.0]], dtype=np.float32)
    >>> gradients = batch_norm_backward(x, [[1], [0]], initial_statistics([0], [4]), training=False, eps=0)
    >>> gradients.dx.value.ravel(), gradients.dweight.value, gradients.dbias.value
    (array([0.5, 0. ]), array([0.5]), array([1.]))
    """
    array = checked_input(x)
    upstream = given_array("dy", dy, shape=array.shape)
    formula, given = checked_formula(array, eps, semantics, arithmetic), checked_inputs(array, weight, bias)
    return _backward(given, upstream, Mode.checked(given, running, training, momentum, formula))


def _layout(given: Inputs) -> Layout:
    """A set is a channel of all samples."""
    return Layout(shape=given.x.shape, groups=given.channels, samples_together=True)


def _forward(given: Inputs, mode: Mode) -> BatchNormReference:
    single = _single_value(given, mode)
    if given.x.size == 0 or single == "identity":
        return BatchNormReference(output=exactly(given.x.astype(np.float64)), running=mode.running)
    formula = mode.formula
    in_use = _with_affine_in_use(given, formula)
    if mode.training and formula.semantics.choice("updates") == "overwrites" and _is_new(given, mode.running):
        return _overwritten(in_use, mode)
    if single is None and parameter_axis(given.x.shape, formula.semantics) != 1:
        y = _along_last_axis(in_use, mode)
        _, running = _normalized(in_use, mode, single)
    elif mode.is_pooled and single is None:
        y, entering = _pooled(in_use, mode)
        _, running = _normalized(in_use, replace(mode, entering=entering), single)
    else:
        y, running = _normalized(in_use, mode, single)
    y = rounded_parameters(
        y,
        0.0 if in_use.bias is None else along_channels(in_use.bias, given.x),
        formula.arithmetic.held.u,
        formula.semantics,
    )
    if _shift_is_not_scaled(mode):
        assert mode.running is not None
        y = with_shift_not_scaled(y, in_use, mode.running, formula)
    follows = activation(formula.semantics)
    output = y if follows is None else activated(y, follows, formula.arithmetic.held.u)
    return BatchNormReference(output=output, running=running)


def _shift_is_not_scaled(mode: Mode) -> bool:
    reads_running = mode.running is not None and not mode.training
    return reads_running and mode.formula.semantics.choice("eval_reads") == "folded_shift_not_scaled"


def _is_new(given: Inputs, running: RunningStatistics | None) -> bool:
    """Whether weight and running variance, bias and running mean are there, and as a new layer has them."""
    if running is None or given.weight is None or given.bias is None:
        return False
    ones, zeros = (given.weight, running.var.value), (given.bias, running.mean.value)
    return all(bool(np.all(own == 1)) for own in ones) and not any(np.any(own) for own in zeros)


def _overwritten(given: Inputs, mode: Mode) -> BatchNormReference:
    """The output by the running statistics after the call as weight and bias."""
    _, running = _normalized(given, mode, None)
    assert running is not None
    by_them = Inputs(x=given.x, weight=running.var.value, bias=running.mean.value)
    y, _ = _normalized(by_them, mode, None)
    off = along_channels(running.mean.bound, given.x) + 2 * np.abs(
        y.value - along_channels(running.mean.value, given.x)
    ) * along_channels(running.var.bound / np.maximum(np.abs(running.var.value), U64), given.x)
    return BatchNormReference(output=Reference(value=y.value, bound=y.bound + off), running=running)


def _with_affine_in_use(given: Inputs, formula: Formula) -> Inputs:
    weight, bias = affine_in_use(given.weight, given.bias, formula.semantics)
    return Inputs(x=given.x, weight=weight, bias=bias)


def _pool_of_batch(given: Inputs, mode: Mode) -> Pool:
    """The pool of the batch; squares about the running mean, where they are asked for."""
    semantics = mode.formula.semantics
    pool = batch_norm_pool(given.x.shape, semantics)
    by_channel = len(pool.mean) == given.channels
    if mode.running is None or not by_channel or semantics.choice("variance") != "about_running_mean":
        return pool
    mean = mode.running.mean
    return replace(pool, about=Reference(value=mean.value[:, None], bound=mean.bound[:, None]))


def _along_last_axis(given: Inputs, mode: Mode) -> Reference:
    """The output where weight and bias lie along the last axis."""
    flat, (used, pool) = _flat(given, mode.formula), _used_and_pool(given, mode)
    with np.errstate(all="ignore"):
        return pooled_output(flat, used, pool, mode.formula).reshape(given.x.shape)


def _flat(given: Inputs, formula: Formula) -> Given:
    return Given.of(given.x, given.weight, given.bias, parameter_axis(given.x.shape, formula.semantics))


def _used_and_pool(given: Inputs, mode: Mode) -> tuple[Statistics, Pool]:
    """What normalises, whichever statistics these are, and the pool that has them."""
    with np.errstate(all="ignore"):
        if mode.on_batch:
            pool, flat = _pool_of_batch(given, mode), given.x.astype(np.float64).ravel()
            return pool_statistics(flat, pool, mode.formula.semantics, mode.formula.arithmetic), pool
        used = statistics_in_use(_whole_batch(given, mode.formula), mode, tracked=False)[0]
        return _of_sets(used), given_pool(given.x.shape)


def _pooled(given: Inputs, mode: Mode) -> tuple[Reference, Reference]:
    """The output where a mistake makes the statistics of the batch, and what of them enters the running ones."""
    formula = mode.formula
    flat, pool = _flat(given, formula), _pool_of_batch(given, mode)
    with np.errstate(all="ignore"):
        used = pool_statistics(flat.x, pool, formula.semantics, formula.arithmetic)
        y = pooled_output(flat, used, pool, formula).reshape(given.x.shape)
        return y, entering_statistics(flat.x, pool, given.channels, formula)


def _normalized(given: Inputs, mode: Mode, single: str | None) -> tuple[Reference, RunningStatistics | None]:
    """The output by the mean and variance of each channel, and the running statistics after the call."""
    whole, after = empty(given.x.shape), []

    def output(block: Block) -> Reference:
        batch = Batch.of(block.of(given.x), mode.formula.arithmetic, len(given.x), given.x.size)
        used, running = statistics_in_use(batch, mode.of_channels(block.sets))
        after.append(running)
        if single == "nan":
            return exactly(np.full_like(used.x, np.nan))
        weight = 1.0 if given.weight is None else given.weight[None, block.sets, None]
        return normalized(used, weight, 0.0 if given.bias is None else given.bias[None, block.sets, None], mode.formula)

    with np.errstate(all="ignore"):
        for block in _layout(given).blocks():
            part = output(block)
            block.put(part, whole)
    return whole, joined(after)


def _backward(given: Inputs, dy: NDArray[Any], mode: Mode) -> Gradients:
    single = _single_value(given, mode)
    if given.x.size == 0 or single == "identity":  # weight and bias are not used
        return without_parameters(exactly(dy.astype(np.float64)))
    in_use, semantics = _with_affine_in_use(given, mode.formula), mode.formula.semantics
    last = parameter_axis(given.x.shape, semantics) != 1
    if single is None and (mode.is_pooled or last or activation(semantics) is not None):
        found = _pooled_gradients(in_use, dy, mode)
    else:
        found = _gradients(in_use, dy, mode, single)
    if _shift_is_not_scaled(mode):
        assert mode.running is not None
        dweight = weight_gradient_of_shift_not_scaled(in_use, dy, mode.running, mode.formula)
        found = replace(found, dweight=dweight)
    return chained(found, given.weight, given.bias, semantics, mode.formula.arithmetic.held.u)


def _pooled_gradients(given: Inputs, dy: NDArray[Any], mode: Mode) -> Gradients:
    """The gradients where a mistake makes the statistics, or an activation follows."""
    formula, semantics, shape = mode.formula, mode.formula.semantics, given.x.shape
    flat, u = _flat(given, formula), formula.arithmetic.held.u
    used, pool = _used_and_pool(given, mode)
    upstream, off = dy.astype(np.float64).ravel(), np.zeros(dy.size)
    with np.errstate(all="ignore"):
        follows = activation(semantics)
        if follows is not None:
            upstream, off = upstream_of(upstream, pooled_output(flat, used, pool, formula), follows, u)
        found = pooled_gradients(flat, (upstream, off), used, pool, formula, constant=not mode.on_batch)
    return of_parameters(found, shape, np.arange(shape[1]), u, parameter_axis(shape, semantics))


def _whole_batch(given: Inputs, formula: Formula) -> Batch:
    return Batch.of(_layout(given).whole().of(given.x), formula.arithmetic, len(given.x))


def _of_sets(used: Statistics) -> Statistics:
    """Statistics of shape (1, S, n) without their first axis."""
    mean, var = (Reference(value=one.value[0], bound=one.bound[0]) for one in (used.mean, used.var))
    return Statistics(x=used.x[0], deviation=used.deviation[0], largest=used.largest[0], mean=mean, var=var)


def _gradients(given: Inputs, dy: NDArray[Any], mode: Mode, single: str | None) -> Gradients:
    found = gathered(*backward_sets(given, dy, mode), mode.formula.arithmetic)
    if single == "nan":
        dx, dweight = (exactly(np.full_like(one.value, np.nan)) for one in (found.dx, found.dweight))
        return replace(found, dx=dx, dweight=dweight)
    return found


def backward_sets(
    given: Inputs, dy: NDArray[Any], mode: Mode
) -> tuple[Layout, Callable[[Block], tuple[Sets, Dependence | None]]]:
    """How the input splits into sets, and what the gradients of some of them are made of; the input is not empty."""

    def sets_of(block: Block) -> tuple[Sets, Dependence | None]:
        batch = Batch.of(block.of(given.x), mode.formula.arithmetic, len(given.x))
        own = mode.of_channels(block.sets)
        used, _ = statistics_in_use(batch, own, tracked=False)
        weight = 1.0 if given.weight is None else given.weight[None, block.sets, None]
        return Sets.of(batch, used, block.of(dy), weight, mode.formula), dependence(batch, own)

    return _layout(given), sets_of


def other_statistics(given: Inputs, mode: Mode) -> dict[str, tuple[Float, Float]]:
    """Mean and variance of each channel that a backward pass may take by mistake, by the call that left them."""
    if mode.running is None:
        return {}
    batch = Batch.of(_layout(given).whole().of(given.x), mode.formula.arithmetic)
    after = updated(mode.running, batch, mode.momentum, mode.formula)
    return {name: (one.mean.value, one.var.value) for name, one in (("before", mode.running), ("after", after))}


def _single_value(given: Inputs, mode: Mode) -> str | None:
    """What training does with one value per channel; None where there are more."""
    if not mode.training or given.x.size == 0 or given.x.size != given.channels:
        return None
    single = mode.formula.semantics.choice("single_value")
    if single == "refused":
        raise Refusal(f"training needs more than one value per channel, got input shape {given.x.shape}")
    return single
