"""Batch normalization (Ioffe and Szegedy, 2015, arXiv:1502.03167, algorithms 1 and 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from normgauge.oracle.backward import (
    Dependence,
    Gradients,
    Sets,
    Used,
    divisor_factor,
    may_be_cut,
    no_gradients,
    reciprocal_and_slope,
)
from normgauge.oracle.blocks import BLOCK, blocks
from normgauge.oracle.bounds import Arithmetic, StatisticsBound, blend_bound, read_bound, result_bound, statistics_bound
from normgauge.oracle.formats import format_of
from normgauge.oracle.group_norm import divided_by
from normgauge.oracle.input_gradient import input_gradient
from normgauge.oracle.moments import Float, Moments, moments
from normgauge.oracle.normalize import (
    checked_number,
    default_arithmetic,
    given_array,
    given_channels_first,
    normalized,
    real_array,
)
from normgauge.oracle.parameter_gradients import parameter_gradients, parameter_sums
from normgauge.oracle.reference import Reference, Refusal, exactly
from normgauge.oracle.running_statistics import (
    RunningStatistics,
    initial_statistics,
    joined,
    of_channels,
    weight_of_new,
)
from normgauge.oracle.semantics import CANONICAL, Semantics


@dataclass(frozen=True)
class BatchNormReference:
    """The output, and the running statistics after the call (None when nothing is tracked)."""

    output: Reference
    running: RunningStatistics | None


def batch_norm(
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
    >>> x = np.array([[1.0], [3.0]], dtype=np.float32)
    >>> result = batch_norm(x, initial_statistics([0], [1]), training=True, momentum=0.5, eps=0)
    >>> result.output.value.ravel(), result.running.mean.value, result.running.var.value
    (array([-1.,  1.]), array([1.]), array([1.5]))
    """
    arithmetic = arithmetic or default_arithmetic(x)
    given = given_channels_first(x)
    eps = checked_number("eps", eps)
    samples, channels, *spatial = given.shape
    scale = None if weight is None else real_array("weight", weight, shape=(channels,))
    shift = None if bias is None else real_array("bias", bias, shape=(channels,))
    momentum = _checked(channels, running, training, momentum, semantics)
    common: dict[str, Any] = {"eps": eps, "semantics": semantics, "arithmetic": arithmetic}
    if channels > 1 and given.size > max(BLOCK, channels):  # a channel is never divided
        value, bound = np.empty(given.shape), np.empty(given.shape)
        updated = []
        for _, part in blocks(1, channels, given.size // channels):
            own, affine = of_channels(running, part), (None if one is None else one[part] for one in (scale, shift))
            result = batch_norm(given[:, part], own, *affine, training=training, momentum=momentum, **common)
            value[:, part], bound[:, part] = result.output.value, result.output.bound
            updated.append(result.running)
        return BatchNormReference(Reference(value, bound), joined(updated))
    array = given.astype(np.float64)
    if array.size == 0:
        return BatchNormReference(Reference(array, np.zeros_like(array)), running)

    sets = array.swapaxes(0, 1).reshape(channels, -1)
    with np.errstate(all="ignore"):
        batch = _Batch.of(sets, arithmetic)
        if training:
            single = _single_value(batch, array.shape, semantics)
            if single == "identity":
                return BatchNormReference(exactly(array), running)
            if single == "nan":
                after = _training(batch, running, momentum, semantics, arithmetic)[1]
                return BatchNormReference(exactly(np.full_like(array, np.nan)), after)
            used, after = _training(batch, running, momentum, semantics, arithmetic)
        else:
            used, after = _evaluation(batch, running, semantics, arithmetic), running
        output = normalized(
            sets,
            deviation=used.deviation,
            largest=batch.m.max_abs,
            mean=used.mean,
            mean_bound=used.mean_bound,
            var=used.var,
            var_bound=used.var_bound,
            eps=eps,
            placement=semantics.choice("eps_placement"),
            weight=1.0 if scale is None else scale[:, None],
            bias=0.0 if shift is None else shift[:, None],
            arithmetic=arithmetic,
        )

    def restored(values: Float) -> Float:
        return values.reshape(channels, samples, *spatial).swapaxes(0, 1)

    return BatchNormReference(Reference(restored(output.value), restored(output.bound)), after)


def batch_norm_backward(
    x: ArrayLike,
    dy: ArrayLike,
    running: RunningStatistics | None = None,
    weight: ArrayLike | None = None,
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
    >>> x = np.array([[1.0], [3.0]], dtype=np.float32)
    >>> gradients = batch_norm_backward(x, [[1], [0]], initial_statistics([0], [4]), training=False, eps=0)
    >>> gradients.dx.value.ravel(), gradients.dweight.value, gradients.dbias.value
    (array([0.5, 0. ]), array([0.5]), array([1.]))
    """
    arithmetic = arithmetic or default_arithmetic(x)
    given = given_channels_first(x)
    upstream = given_array("dy", dy, shape=given.shape)
    eps = checked_number("eps", eps)
    samples, channels, *spatial = given.shape
    scale = None if weight is None else real_array("weight", weight, shape=(channels,))
    momentum = _checked(channels, running, training, momentum, semantics)
    common: dict[str, Any] = {"eps": eps, "semantics": semantics, "arithmetic": arithmetic}
    if channels > 1 and given.size > max(BLOCK, channels):  # a channel is never divided
        whole = Gradients(*(Reference(np.empty(s), np.empty(s)) for s in (given.shape, (channels,), (channels,))))
        for _, part in blocks(1, channels, given.size // channels):
            own, own_scale = of_channels(running, part), None if scale is None else scale[part]
            found = batch_norm_backward(
                given[:, part], upstream[:, part], own, own_scale, training=training, momentum=momentum, **common
            )
            whole.dx.value[:, part], whole.dx.bound[:, part] = found.dx.value, found.dx.bound
            whole.dweight.value[part], whole.dweight.bound[part] = found.dweight.value, found.dweight.bound
            whole.dbias.value[part], whole.dbias.bound[part] = found.dbias.value, found.dbias.bound
        return whole
    array, upstream = given.astype(np.float64), upstream.astype(np.float64)
    if array.size == 0:
        return no_gradients(array, channels)

    sets, dy_sets = (v.swapaxes(0, 1).reshape(channels, -1) for v in (array, upstream))
    with np.errstate(all="ignore"):
        batch = _Batch.of(sets, arithmetic)
        single = _single_value(batch, array.shape, semantics) if training else None
        if single == "identity":  # weight and bias are not used
            return Gradients(exactly(upstream), exactly(np.zeros(channels)), exactly(np.zeros(channels)))
        if training:
            used, _ = _training(batch, running, momentum, semantics, arithmetic, tracked=False)
        else:
            used = _evaluation(batch, running, semantics, arithmetic)
        cut = may_be_cut(batch.m, batch.bound)
        dependence = _dependence(batch, running, training, momentum, semantics, arithmetic)
        placement = semantics.choice("eps_placement")
        reciprocal = reciprocal_and_slope(used, eps, placement, cut, arithmetic)
        weights = 1.0 if scale is None else scale[:, None]
        passed = Sets.of(sets, dy_sets, weights, used, reciprocal, batch.m, batch.bound, arithmetic)
        dx = input_gradient(passed, dependence)
        dweight, dbias = parameter_gradients(parameter_sums(passed, 1), batch.m.n, arithmetic)
    if single == "nan":
        nothing = exactly(np.full_like(array, np.nan))
        return Gradients(nothing, exactly(np.full(channels, np.nan)), dbias)

    def restored(values: Float) -> Float:
        return values.reshape(channels, samples, *spatial).swapaxes(0, 1)

    return Gradients(Reference(restored(dx.value), restored(dx.bound)), dweight, dbias)


def _checked(
    channels: int, running: RunningStatistics | None, training: bool, momentum: Any, semantics: Semantics
) -> float | None:
    """The momentum, after the checks that both directions share."""
    if running is not None and running.mean.value.shape != (channels,):
        made_for = running.mean.value.shape[0] if running.mean.value.ndim else 0
        raise Refusal(f"the layer tracks {made_for} channels, the input has {channels}")
    if momentum is not None:
        return checked_number("momentum", momentum)
    if training and running is not None and semantics.choice("momentum_none") == "refused":
        raise Refusal("momentum=None is refused")
    return None


@dataclass(frozen=True)
class _Batch:
    """A batch as sets of shape (C, n) with its moments."""

    sets: Float
    m: Moments
    bound: StatisticsBound

    @classmethod
    def of(cls, sets: Float, arithmetic: Arithmetic) -> _Batch:
        m = moments(sets, compensated=arithmetic.dtype == "float64")
        return cls(sets, m, statistics_bound(m, arithmetic))

    def used(self, divisor: str, arithmetic: Arithmetic) -> Used:
        var, var_bound = divided_by(self.m.var, self.bound.var, self.m.n, divisor, arithmetic)
        return Used(self.m.deviation, self.m.mean, self.bound.mean, var, var_bound)


def _single_value(batch: _Batch, shape: tuple[int, ...], semantics: Semantics) -> str | None:
    """What training does with one value per channel; None where there are more."""
    single = semantics.choice("single_value") if batch.m.n == 1 else None
    if single == "refused":
        raise Refusal(f"training needs more than one value per channel, got input shape {shape}")
    return single


def _training(
    batch: _Batch,
    running: RunningStatistics | None,
    momentum: float | None,
    semantics: Semantics,
    arithmetic: Arithmetic,
    tracked: bool = True,
) -> tuple[Used, RunningStatistics | None]:
    """What normalises, and the running statistics after the batch, as they were where they are not ``tracked``."""
    divisor = "biased" if batch.m.n == 1 else semantics.choice("variance")
    if running is None:
        return batch.used(divisor, arithmetic), None
    source: Final = semantics.choice("training_normalizes_with")
    if source == "running":
        return _used_running(batch, running, arithmetic), running
    if source == "blended":
        after = _updated(batch, running, momentum, semantics, arithmetic)
        return _used_running(batch, after, arithmetic), after
    after = _updated(batch, running, momentum, semantics, arithmetic) if tracked else running
    return batch.used(divisor, arithmetic), after


def _evaluation(batch: _Batch, running: RunningStatistics | None, semantics: Semantics, arithmetic: Arithmetic) -> Used:
    if running is not None:
        return _used_running(batch, running, arithmetic)
    if semantics.choice("untracked_eval_uses") == "initial":
        channels = batch.sets.shape[0]
        return _used_running(batch, initial_statistics(np.zeros(channels), np.ones(channels)), arithmetic)
    return batch.used(semantics.choice("variance"), arithmetic)


def _dependence(
    batch: _Batch,
    running: RunningStatistics | None,
    training: bool,
    momentum: float | None,
    semantics: Semantics,
    arithmetic: Arithmetic,
) -> Dependence | None:
    """How the statistics in use depend on the batch; None where they are constants."""
    if running is None:
        if not training and semantics.choice("untracked_eval_uses") == "initial":
            return None
    elif not training or semantics.choice("training_normalizes_with") == "running":
        return None
    elif semantics.choice("training_normalizes_with") == "blended":
        step = running.steps + 1
        weight, divisor = weight_of_new(momentum, step, semantics)
        zero, one = np.zeros(1), np.ones(1)
        # The rounded weight is the blend of an old 0 and a new 1.
        weight_bound = blend_bound(
            old=zero,
            old_bound=zero,
            new=one,
            new_bound=zero,
            weight=weight,
            arithmetic=arithmetic,
            step=step,
            divisor=divisor,
        )
        factor = divisor_factor(batch.m.n, semantics.choice("running_var"))
        return Dependence(batch.m, batch.bound, weight, float(weight_bound[0]), factor)
    biased = training and batch.m.n == 1
    return Dependence.on_batch(batch.m, batch.bound, "biased" if biased else semantics.choice("variance"))


def _used_running(batch: _Batch, running: RunningStatistics, arithmetic: Arithmetic) -> Used:
    mean, var = running.mean.value[:, None], running.var.value[:, None]
    mean_bound = read_bound(mean, running.mean.bound[:, None], arithmetic)
    return Used(batch.sets - mean, mean, mean_bound, var, read_bound(var, running.var.bound[:, None], arithmetic))


def _updated(
    batch: _Batch,
    running: RunningStatistics,
    momentum: float | None,
    semantics: Semantics,
    arithmetic: Arithmetic,
) -> RunningStatistics:
    """The running statistics after ``batch``."""
    step = running.steps + 1
    weight, divisor = weight_of_new(momentum, step, semantics)
    buffer = arithmetic.result if running.dtype is None else format_of(running.dtype)
    var, var_bound = divided_by(batch.m.var, batch.bound.var, batch.m.n, semantics.choice("running_var"), arithmetic)

    # Mean and variance in one array of shape (2, C).
    old, old_bound = (
        np.array([running.mean.value, running.var.value]),
        np.array([running.mean.bound, running.var.bound]),
    )
    new = np.array([batch.m.mean[:, 0] + batch.m.mean_tail[:, 0], var[:, 0]])
    new_bound = np.array([batch.bound.mean[:, 0], var_bound[:, 0]])
    value = (0.0 if weight == 1 else (1 - weight) * old) + weight * new
    bound = blend_bound(
        old=old,
        old_bound=old_bound,
        new=new,
        new_bound=new_bound,
        weight=weight,
        arithmetic=arithmetic,
        step=step,
        divisor=divisor,
    )
    for _ in range(1 if divisor == 1 else 2):  # the average, and what it is divided from
        bound = result_bound(value, bound, arithmetic, buffer)
    nan = np.isnan(value)
    if nan.any():  # a NaN is demanded unless it comes of a statistic that was out of range
        bound = np.where(nan, np.where((new_bound == np.inf) | (old_bound == np.inf), np.inf, 0.0), bound)
    mean, variance = (Reference(*one) for one in zip(value, bound, strict=True))
    return RunningStatistics(mean, variance, step, running.dtype)
