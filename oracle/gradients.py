"""The gradients of a whole input, gathered from those of its blocks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from normgauge.oracle.arithmetic import Arithmetic
from normgauge.oracle.backward import Dependence, Sets
from normgauge.oracle.blocks import Block, Layout
from normgauge.oracle.input_gradient import input_gradient
from normgauge.oracle.parameter_gradients import ParameterSums, parameter_gradients, parameter_sums
from normgauge.oracle.reference import Gradients, Reference, empty


def without_parameters(dx: Reference) -> Gradients:
    """The gradients where nothing depends on weight and bias."""
    dweight, dbias = (Reference(value=value, bound=bound) for value, bound in np.zeros((2, 2, dx.value.shape[1])))
    return Gradients(dx=dx, dweight=dweight, dbias=dbias)


def gathered(
    layout: Layout,
    sets_of: Callable[[Block], tuple[Sets, Dependence | None]],
    arithmetic: Arithmetic,
    *,
    per_set: bool = False,
) -> Gradients:
    """The gradients for all blocks of ``layout``.

    ``per_set`` tells of one parameter for each set, in place of each channel; entries without a parameter are 0.
    """
    found, parts = without_parameters(empty(layout.shape)), 1 if per_set else layout.channels
    sums: dict[int, tuple[Block, ParameterSums]] = {}
    with np.errstate(all="ignore"):
        for block in layout.blocks():
            dx, own = _of_sets(*sets_of(block), parts)
            block.put(dx, found.dx)
            first = block.sets.start
            sums[first] = block, sums[first][1] + own if first in sums else own
        for block, own in sums.values():
            places = block.sets if per_set else block.channels
            of_parameters = parameter_gradients(own, layout.samples * layout.n // parts, arithmetic)
            for whole, one in zip((found.dweight, found.dbias), of_parameters, strict=True):
                whole.value[places], whole.bound[places] = one.value, one.bound
    return found


def _of_sets(s: Sets, dependence: Dependence | None, parts: int) -> tuple[Reference, ParameterSums]:
    """dx and what the parameters' gradients are made of; the sets are let go before the next ones are made."""
    return input_gradient(s, dependence), parameter_sums(s, parts)
