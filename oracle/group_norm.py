"""Group normalization (Wu and He, 2018, arXiv:1803.08494, equations 1, 2 and 7)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from normgauge.oracle.alternatives import (
    activated,
    activation,
    affine_in_use,
    chained,
    eps_of_sets,
    parameter_axis,
    rounded_parameters,
    upstream_of,
)
from normgauge.oracle.arithmetic import Arithmetic
from normgauge.oracle.backward import Dependence, Sets
from normgauge.oracle.blocks import Block, Layout
from normgauge.oracle.gradients import gathered, without_parameters
from normgauge.oracle.moments import Float
from normgauge.oracle.normalize import Formula, along_channels, normalized
from normgauge.oracle.pooled import Given, is_pooled, of_parameters, pool_statistics, pooled_gradients, pooled_output
from normgauge.oracle.pools import group_norm_pool
from normgauge.oracle.reference import Gradients, Reference, empty
from normgauge.oracle.semantics import CANONICAL, Semantics
from normgauge.oracle.statistics import Batch
from normgauge.oracle.validation import (
    Inputs,
    checked_formula,
    checked_groups,
    checked_input,
    checked_inputs,
    given_array,
)


def group_norm(  # noqa: PLR0913 - the settings of a layer, by their usual names
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
    array = checked_input(x)
    groups = checked_groups(num_groups, array.shape[1], num_channels)
    formula = _checked_formula(array, groups, eps, semantics, arithmetic)
    return _forward(checked_inputs(array, weight, bias), groups, formula)


def _checked_formula(
    x: NDArray[Any], groups: int, eps: float, semantics: Semantics, arithmetic: Arithmetic | None
) -> Formula:
    formula = checked_formula(x, eps, semantics, arithmetic)
    return replace(formula, eps=eps_of_sets(formula.eps, x[:1].size // groups, semantics))


def _forward(given: Inputs, groups: int, formula: Formula) -> Reference:
    if given.x.size == 0:
        return empty(given.x.shape)
    used, u = _in_use(given, formula.semantics), formula.arithmetic.held.u
    y = _pooled(used, groups, formula) if _is_pooled(used, formula.semantics) else _normalized(used, groups, formula)
    y = rounded_parameters(y, 0.0 if used.bias is None else along_channels(used.bias, used.x), u, formula.semantics)
    follows = activation(formula.semantics)
    return y if follows is None else activated(y, follows, u)


def _in_use(given: Inputs, semantics: Semantics) -> Inputs:
    """With the weight that multiplies and the bias that is added after it."""
    weight, bias = affine_in_use(given.weight, given.bias, semantics)
    return Inputs(x=given.x, weight=weight, bias=bias)


def _is_pooled(given: Inputs, semantics: Semantics) -> bool:
    has_parameters = given.weight is not None or given.bias is not None
    indexed = has_parameters and (
        semantics.choice("affine_shape") not in ("per_channel", "per_group")
        or parameter_axis(given.x.shape, semantics) != 1
    )
    return indexed or is_pooled(semantics, "grouping", ("contiguous", "interleaved"))


def _pooled(given: Inputs, groups: int, formula: Formula) -> Reference:
    """The output where a mistake makes the statistics."""
    flat = _flat(given, groups, formula.semantics)
    pool = group_norm_pool(given.x.shape, groups, formula.semantics)
    with np.errstate(all="ignore"):
        used = pool_statistics(flat.x, pool, formula.semantics, formula.arithmetic)
        return pooled_output(flat, used, pool, formula).reshape(given.x.shape)


def _flat(given: Inputs, groups: int, semantics: Semantics) -> Given:
    index = _parameter_of(given.channels, groups, semantics)
    weight, bias = (None if one is None else one[index] for one in (given.weight, given.bias))
    return Given.of(given.x, weight, bias, parameter_axis(given.x.shape, semantics))


def _parameter_of(channels: int, groups: int, semantics: Semantics) -> NDArray[np.intp]:
    """Which entry of weight and bias a channel uses."""
    number, shape = np.arange(channels), semantics.choice("affine_shape")
    if shape == "per_channel":
        return number
    if shape == "per_place_in_group":
        return number % (channels // groups)
    if shape == "interleaved_order":
        return number.reshape(-1, groups).T.ravel()
    return number % groups if semantics.choice("grouping") == "interleaved" else number // (channels // groups)


def _normalized(given: Inputs, groups: int, formula: Formula) -> Reference:
    whole = empty(given.x.shape)
    layout = layout_of(given.x.shape, groups, formula.semantics)
    weight, bias = (_by_set(one, layout, formula.semantics) for one in (given.weight, given.bias))
    divisor = formula.semantics.choice("variance")

    def output(block: Block) -> Reference:
        used = Batch.of(block.of(given.x), formula.arithmetic).statistics(divisor, formula.arithmetic)
        if weight is not None or bias is not None:
            used = used.by_channel(layout.channels)
        own_weight = 1.0 if weight is None else weight[block.sets]
        return normalized(used, own_weight, 0.0 if bias is None else bias[block.sets], formula)

    with np.errstate(all="ignore"):
        for block in layout.blocks():
            part = output(block)
            block.put(part, whole)
    return whole


def group_norm_backward(  # noqa: PLR0913 - the settings of a layer, by their usual names
    x: ArrayLike,
    dy: ArrayLike,
    num_groups: int,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
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
        bias: shape (C,), or None for zeros; only the gradients of some mistakes depend on it.
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
    array = checked_input(x)
    upstream = given_array("dy", dy, shape=array.shape)
    groups = checked_groups(num_groups, array.shape[1])
    formula = _checked_formula(array, groups, eps, semantics, arithmetic)
    return _backward(checked_inputs(array, weight, bias), upstream, groups, formula)


def _backward(given: Inputs, dy: NDArray[Any], groups: int, formula: Formula) -> Gradients:
    if given.x.size == 0:
        return without_parameters(empty(given.x.shape))
    used, pooled = _in_use(given, formula.semantics), _is_pooled(given, formula.semantics)
    if pooled or activation(formula.semantics) is not None:
        found = _pooled_gradients(used, dy, groups, formula)
    else:
        found = _gradients(used, dy, groups, formula)
    return chained(found, given.weight, given.bias, formula.semantics, formula.arithmetic.held.u)


def _pooled_gradients(given: Inputs, dy: NDArray[Any], groups: int, formula: Formula) -> Gradients:
    flat, semantics = _flat(given, groups, formula.semantics), formula.semantics
    pool, u = group_norm_pool(given.x.shape, groups, semantics), formula.arithmetic.held.u
    upstream, off = dy.astype(np.float64).ravel(), np.zeros(dy.size)
    with np.errstate(all="ignore"):
        used = pool_statistics(flat.x, pool, semantics, formula.arithmetic)
        follows = activation(semantics)
        if follows is not None:
            upstream, off = upstream_of(upstream, pooled_output(flat, used, pool, formula), follows, u)
        found = pooled_gradients(flat, (upstream, off), used, pool, formula)
    index, axis = _parameter_of(given.channels, groups, semantics), parameter_axis(given.x.shape, semantics)
    return of_parameters(found, given.x.shape, index, u, axis)


def _gradients(given: Inputs, dy: NDArray[Any], groups: int, formula: Formula) -> Gradients:
    layout, sets_of = backward_sets(given, dy, groups, formula)
    per_set = formula.semantics.choice("affine_shape") == "per_group"
    return gathered(layout, sets_of, formula.arithmetic, per_set=per_set)


def backward_sets(
    given: Inputs, dy: NDArray[Any], groups: int, formula: Formula
) -> tuple[Layout, Callable[[Block], tuple[Sets, Dependence]]]:
    """How the input splits into sets, and what the gradients of some of them are made of; the input is not empty."""
    layout, divisor = layout_of(given.x.shape, groups, formula.semantics), formula.semantics.choice("variance")
    weight = _by_set(given.weight, layout, formula.semantics)
    if weight is not None:  # for each element of a set
        weight = np.repeat(weight, layout.n // layout.channels).reshape(1, groups, layout.n)

    def sets_of(block: Block) -> tuple[Sets, Dependence]:
        batch = Batch.of(block.of(given.x), formula.arithmetic)
        own = 1.0 if weight is None else weight[:, block.sets]
        used = batch.statistics(divisor, formula.arithmetic)
        return Sets.of(batch, used, block.of(dy), own, formula), Dependence.on_batch(batch, divisor)

    return layout, sets_of


def layout_of(shape: tuple[int, ...], groups: int, semantics: Semantics) -> Layout:
    """Each sample's channels in groups: adjacent ones, or every G-th one."""
    order = None
    if semantics.choice("grouping") == "interleaved":
        order = np.arange(shape[1]).reshape(-1, groups).T.ravel()
    return Layout(shape=shape, groups=groups, order=order)


def _by_set(parameter: Float | None, layout: Layout, semantics: Semantics) -> Float | None:
    """A parameter of shape (C,) for each channel of each group, of shape (G, C / G, 1)."""
    if parameter is None:
        return None
    if semantics.choice("affine_shape") == "per_group":
        parameter = np.repeat(parameter[: layout.groups], layout.channels)
    elif layout.order is not None:
        parameter = parameter[layout.order]
    return parameter.reshape(layout.groups, -1, 1)
