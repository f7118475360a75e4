"""Group normalization (Wu and He, 2018, arXiv:1803.08494, equations 1, 2 and 7)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from normgauge.oracle.arithmetic import Arithmetic
from normgauge.oracle.backward import Dependence, Gradients, Sets
from normgauge.oracle.blocks import Block, Layout
from normgauge.oracle.gradients import gathered, without_parameters
from normgauge.oracle.moments import Float
from normgauge.oracle.normalize import Formula, normalized
from normgauge.oracle.reference import Reference, empty
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
    formula = checked_formula(array, eps, semantics, arithmetic)
    return _forward(checked_inputs(array, weight, bias), groups, formula)


def _forward(given: Inputs, groups: int, formula: Formula) -> Reference:
    whole = empty(given.x.shape)
    if given.x.size == 0:
        return whole
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
    array = checked_input(x)
    upstream = given_array("dy", dy, shape=array.shape)
    groups, formula = checked_groups(num_groups, array.shape[1]), checked_formula(array, eps, semantics, arithmetic)
    return _backward(checked_inputs(array, weight), upstream, groups, formula)


def _backward(given: Inputs, dy: NDArray[Any], groups: int, formula: Formula) -> Gradients:
    if given.x.size == 0:
        return without_parameters(empty(given.x.shape))
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
