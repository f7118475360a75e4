"""Six ways to write the same layer, each a choice among the honest functions of ``tests/support``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from honest import (
    STATISTICS,
    SUMMATIONS,
    UNBIASED,
    UPDATES,
    Array,
    Machine,
    Statistics,
    Summation,
)
from honest_backward import Pass
from honest_closed import CLOSED


@dataclass(frozen=True, kw_only=True)
class Style:
    """The functions that a layer is made of; ``last``: it takes its input, and adds, with the channels last.

    ``form`` is that of the output (``honest.OUTPUTS``), ``dx`` that of the input's gradient, ``total`` adds for the
    gradients; ``update`` and ``unbiased`` are for running statistics.
    """

    statistics: Callable[[Machine, Array], Statistics]
    form: str
    dx: Callable[[Pass], Array]
    total: Summation
    update: Callable[[Machine, Array, Array, float], Array] = UPDATES["weigh_new"]
    unbiased: Callable[[Machine, Array, int], Array] = UNBIASED["unbiased_by_factor"]
    last: bool = False


# --- sums by einsum ---------------------------------------------------------------------------------


def contracted(f: Machine, values: Array) -> Array:
    """The sum of each row."""
    return f(np.einsum("bn->b", values)[:, None])


def inner(f: Machine, a: Array, b: Array) -> Array:
    """The sum of products of each row; what is between product and sum is einsum's."""
    return f(np.einsum("bn,bn->b", a, b)[:, None])


def two_pass_by_einsum(f: Machine, x: Array) -> Statistics:
    n = f(x.shape[1])
    mean = f(contracted(f, x) / n)
    deviation = f(x - mean)
    return Statistics(mean=mean, var=f(inner(f, deviation, deviation) / n))


def closed_by_einsum(p: Pass) -> Array:
    """r (g - mean(g) - x_hat mean(g x_hat))"""
    f = p.f
    x_hat, g = f(f(p.x - p.mean) * p.r), f(p.weight * p.dy)
    m1, m2 = p.over_n(contracted(f, g)), p.over_n(inner(f, g, x_hat))
    return f(p.r * f(f(g - m1) - f(x_hat * m2)))


STYLES: Final[Mapping[str, Style]] = {
    "two_pass": Style(
        statistics=STATISTICS["two_pass sequential"][1],
        form="plain",
        dx=CLOSED["closed"],
        total=SUMMATIONS["sequential"],
    ),
    "welford": Style(
        statistics=STATISTICS["welford"][1],
        form="folded",
        dx=CLOSED["closed"],
        total=SUMMATIONS["sequential"],
        unbiased=UNBIASED["unbiased_by_product"],
    ),
    "einsum": Style(
        statistics=two_pass_by_einsum,
        form="weight_first",
        dx=closed_by_einsum,
        total=contracted,
        update=UPDATES["weigh_old"],
    ),
    "channels_last": Style(
        statistics=STATISTICS["two_pass pairwise times 1/n"][1],
        form="folded",
        dx=CLOSED["closed_with_sums"],
        total=SUMMATIONS["pairwise"],
        update=UPDATES["weigh_old"],
        unbiased=UNBIASED["unbiased_by_product"],
        last=True,
    ),
    "blocked": Style(
        statistics=STATISTICS["two_pass blocked"][1],
        form="plain",
        dx=CLOSED["closed_with_sums"],
        total=SUMMATIONS["blocked"],
        update=UPDATES["step_towards"],
    ),
    "fused": Style(
        statistics=STATISTICS["two_pass pairwise"][1],
        form="fused",
        dx=CLOSED["closed_fused"],
        total=SUMMATIONS["pairwise"],
        update=UPDATES["step_towards"],
    ),
}
