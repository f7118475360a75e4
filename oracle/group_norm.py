"""Group normalization (Wu and He, 2018, arXiv:1803.08494, equations 1, 2 and 7)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from normgauge.oracle.backward import (
    Dependence,
    Gradients,
    Sets,
    Used,
    may_be_cut,
    no_gradients,
    reciprocal_and_slope,
)
from normgauge.oracle.blocks import blocks
from normgauge.oracle.bounds import Arithmetic, statistics_bound
from normgauge.oracle.input_gradient import input_gradient
from normgauge.oracle.moments import U64, Float, moments
from normgauge.oracle.normalize import (
    checked_count,
    checked_number,
    default_arithmetic,
    given_array,
    given_channels_first,
    normalized,
    real_array,
)
from normgauge.oracle.parameter_gradients import ParameterSums, parameter_gradients, parameter_sums
from normgauge.oracle.reference import Reference, Refusal, exactly
from normgauge.oracle.semantics import CANONICAL, Semantics

_Order = np.ndarray[tuple[int], np.dtype[np.intp]]


def group_norm(
    x: ArrayLike,
    num_groups: int,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
    num_channels: int | None = None,
    semantics: Semantics = CANONICAL["group_norm"],
    arithmetic: Arithmetic | None = None,
) -> Reference:
    """What GroupNorm computes, and how far an honest implementation may lie from it.

    Args:
        x: input of shape (N, C, *spatial), any number of spatial dimensions, empty ones included.
        num_groups: G, a divisor of C.
        weight: shape (C,), or None for ones.
        bias: shape (C,), or None for zeros.
        eps: added to the variance inside the square root (canonical semantics); a negative one, too.
        num_channels: the channel count the layer was made for, when it was made for one.
        semantics: which alternative to compute; the canonical one is that of the paper as
            torch 2.13 documents it (https://docs.pytorch.org/docs/2.13/generated/torch.nn.GroupNorm.html).
        arithmetic: dtype and accuracy class the bound allows for; by default the dtype of ``x``
            (float64 for float64 input, else float32) and the widest class.

    Returns:
        A reference of the shape of ``x``.

    Raises:
        Refusal: G does not divide C, or C is not ``num_channels``; a ``ValueError``.
        ValueError: any other argument that makes no sense.

    >>> import numpy as np
    >>> x = np.array([[0, 1, 10, 11]], dtype=np.float32)
    >>> group_norm(x, 2, eps=0).value
    array([[-1.,  1., -1.,  1.]])
    """
    arithmetic = arithmetic or default_arithmetic(x)
    array = given_channels_first(x)
    groups = checked_count("num_groups", num_groups)
    eps = checked_number("eps", eps)
    samples, channels = array.shape[:2]
    if num_channels is not None and channels != num_channels:
        raise Refusal(f"the layer has num_channels={num_channels}, the input has {channels} channels")
    if channels % groups:
        raise Refusal(f"num_channels must be divisible by num_groups: got num_channels={channels}, num_groups={groups}")
    scale = None if weight is None else real_array("weight", weight, shape=(channels,))
    shift = None if bias is None else real_array("bias", bias, shape=(channels,))
    value, bound = np.empty(array.shape), np.empty(array.shape)
    if array.size == 0:
        return Reference(value, bound)

    order = _channel_order(channels, groups, semantics.choice("grouping"))
    size, n = channels // groups, array.size // (samples * groups)
    scale = None if scale is None else _of_channels(scale, order, groups, semantics)
    shift = None if shift is None else _of_channels(shift, order, groups, semantics)
    with np.errstate(all="ignore"):
        for some, sets in blocks(samples, groups, n):
            members = _members(order, sets, size)
            part = array[some, members]
            result = _forward(
                part.astype(np.float64).reshape(len(part), -1, n),
                None if scale is None else scale[sets],
                None if shift is None else shift[sets],
                eps=eps,
                semantics=semantics,
                arithmetic=arithmetic,
            )
            value[some, members] = result.value.reshape(part.shape)
            bound[some, members] = result.bound.reshape(part.shape)
    return Reference(value, bound)


def _forward(
    grouped: Float,
    weight: Float | None,
    bias: Float | None,
    *,
    eps: float,
    semantics: Semantics,
    arithmetic: Arithmetic,
) -> Reference:
    """The output for sets of shape (N, G, n); weight and bias of shape (G, C / G, 1)."""
    m = moments(grouped, compensated=arithmetic.dtype == "float64")
    bound = statistics_bound(m, arithmetic)
    var, var_bound = divided_by(m.var, bound.var, m.n, semantics.choice("variance"), arithmetic)
    of_sets, values, deviation = [m.max_abs, m.mean, bound.mean, var, var_bound], grouped, m.deviation
    given = weight if weight is not None else bias
    if given is not None:  # a row for each channel
        shape = (len(grouped), *given.shape[:2], -1)
        values, deviation = values.reshape(shape), deviation.reshape(shape)
        of_sets = [one[..., None] for one in of_sets]
    largest, mean, mean_bound, var, var_bound = of_sets
    return normalized(
        values,
        deviation=deviation,
        largest=largest,
        mean=mean,
        mean_bound=mean_bound,
        var=var,
        var_bound=var_bound,
        eps=eps,
        placement=semantics.choice("eps_placement"),
        weight=1.0 if weight is None else weight,
        bias=0.0 if bias is None else bias,
        arithmetic=arithmetic,
    )


def group_norm_backward(
    x: ArrayLike,
    dy: ArrayLike,
    num_groups: int,
    weight: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
    semantics: Semantics = CANONICAL["group_norm"],
    arithmetic: Arithmetic | None = None,
) -> Gradients:
    """The gradients of sum(y * dy) for y = group_norm(x, ...), and how far honest ones may lie from them.

    Args:
        x: input of shape (N, C, *spatial).
        dy: gradient of the output, of the shape of ``x``.
        num_groups: G, a divisor of C.
        weight: shape (C,), or None for ones.
        eps: as in :func:`group_norm`.
        semantics: as in :func:`group_norm`.
        arithmetic: as in :func:`group_norm`; the bound holds for the closed form and for automatic
            differentiation.

    Returns:
        dx of the shape of ``x``, dweight and dbias of shape (C,). With one parameter for each group,
        the entries from G on are 0.

    Raises:
        Refusal: G does not divide C; a ``ValueError``.
        ValueError: any other argument that makes no sense.

    >>> import numpy as np
    >>> x = np.array([[1, 3, -1, 1]], dtype=np.float32)
    >>> gradients = group_norm_backward(x, [[1, 0, 0, 0]], 2, eps=0)
    >>> gradients.dx.value, gradients.dweight.value, gradients.dbias.value
    (array([[0., 0., 0., 0.]]), array([-1.,  0.,  0.,  0.]), array([1., 0., 0., 0.]))
    """
    arithmetic = arithmetic or default_arithmetic(x)
    array = given_channels_first(x)
    upstream = given_array("dy", dy, shape=array.shape)
    groups = checked_count("num_groups", num_groups)
    eps = checked_number("eps", eps)
    samples, channels = array.shape[:2]
    if channels % groups:
        raise Refusal(f"num_channels must be divisible by num_groups: got num_channels={channels}, num_groups={groups}")
    scale = None if weight is None else real_array("weight", weight, shape=(channels,))
    if array.size == 0:
        return no_gradients(array.astype(np.float64), channels)

    order = _channel_order(channels, groups, semantics.choice("grouping"))
    size, n = channels // groups, array.size // (samples * groups)
    per_group = semantics.choice("affine_shape") == "per_group"
    own_scale: Float | None = None
    if scale is not None:
        own_scale = np.repeat(_of_channels(scale, order, groups, semantics), n // size).reshape(1, groups, n)
    value, bound = np.empty(array.shape), np.empty(array.shape)
    sums: dict[int, tuple[slice, ParameterSums]] = {}
    with np.errstate(all="ignore"):
        for some, sets in blocks(samples, groups, n):
            members = _members(order, sets, size)
            part = array[some, members]
            dx, own = _backward(
                part.astype(np.float64).reshape(len(part), -1, n),
                upstream[some, members].astype(np.float64).reshape(len(part), -1, n),
                1.0 if own_scale is None else own_scale[:, sets],
                1 if per_group else size,
                eps=eps,
                semantics=semantics,
                arithmetic=arithmetic,
            )
            value[some, members] = dx.value.reshape(part.shape)
            bound[some, members] = dx.bound.reshape(part.shape)
            sums[sets.start] = sets, sums[sets.start][1] + own if sets.start in sums else own
        count = samples * n // (1 if per_group else size)
        dweight, dbias = exactly(np.zeros(channels)), exactly(np.zeros(channels))
        for sets, own in sums.values():
            places = sets if per_group else _members(order, sets, size)
            for whole, one in zip((dweight, dbias), parameter_gradients(own, count, arithmetic), strict=True):
                whole.value[places], whole.bound[places] = one.value, one.bound
    return Gradients(Reference(value, bound), dweight, dbias)


def _backward(
    grouped: Float,
    dy: Float,
    weight: Float | float,
    parts: int,
    *,
    eps: float,
    semantics: Semantics,
    arithmetic: Arithmetic,
) -> tuple[Reference, ParameterSums]:
    """dx for sets of shape (N, G, n), and what the parameters' gradients are made of."""
    m = moments(grouped, compensated=arithmetic.dtype == "float64")
    bound = statistics_bound(m, arithmetic)
    divisor = semantics.choice("variance")
    used = Used(m.deviation, m.mean, bound.mean, *divided_by(m.var, bound.var, m.n, divisor, arithmetic))
    cut = may_be_cut(m, bound)
    reciprocal = reciprocal_and_slope(used, eps, semantics.choice("eps_placement"), cut, arithmetic)
    sets = Sets.of(grouped, dy, weight, used, reciprocal, m, bound, arithmetic)
    return input_gradient(sets, Dependence.on_batch(m, bound, divisor)), parameter_sums(sets, parts)


def divided_by(var: Float, var_bound: Float, n: int, divisor: str, arithmetic: Arithmetic) -> tuple[Float, Float]:
    """The variance with divisor n (``biased``) or n - 1 (``unbiased``), and its bound.

    One value has no unbiased variance: NaN with an infinite bound, to which nobody is held.
    """
    if divisor == "biased":
        return var, var_bound
    if n == 1:
        return np.full_like(var, np.nan), np.full_like(var, np.inf)
    factor, held = n / (n - 1), arithmetic.held
    bound = (var_bound * (1 + 4 * held.u) + (2 * held.u + 2 * U64) * var) * factor
    out_of_range = (var_bound == np.inf) | (n * (var + var_bound) > held.largest)
    return var * factor, np.where(out_of_range, np.inf, bound)  # also beside a variance that is NaN


def _channel_order(channels: int, groups: int, grouping: str) -> _Order | None:
    """The order that makes each group's channels adjacent; None where they are."""
    if grouping == "interleaved":
        return np.arange(channels).reshape(channels // groups, groups).T.ravel()
    return None


def _members(order: _Order | None, sets: slice, size: int) -> slice | _Order:
    """The channels of some groups: a slice, which copies nothing, where they lie together."""
    places = slice(sets.start * size, sets.stop * size)
    return places if order is None else order[places]


def _of_channels(parameter: Float, order: _Order | None, groups: int, semantics: Semantics) -> Float:
    """A parameter of shape (C,) for each channel of each group, of shape (G, C / G, 1)."""
    if semantics.choice("affine_shape") == "per_group":
        parameter = np.repeat(parameter[:groups], len(parameter) // groups)
    elif order is not None:
        parameter = parameter[order]
    return parameter.reshape(groups, -1, 1)
