"""Orders of evaluation of the gradients that once lay outside the bound, each red under the bound that it had."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import honest
import numpy as np
import pytest
from honest import SUMMATIONS, Array, Machine, Statistics
from honest_backward import OUTPUTS, Pass, closed_parameter, differentiated, parameter_of
from honest_closed import CLOSED, CLOSED_BY_SET

from normgauge.oracle import Arithmetic, batch_norm_backward, initial_statistics, semantics

DTYPES: Final = ("float32", "float64")


@pytest.fixture(autouse=True)
def _honest_arithmetic_may_overflow() -> Any:
    with np.errstate(all="ignore"):
        yield


def normal(shape: tuple[int, int], seed: int = 16) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


@dataclass(frozen=True, kw_only=True)
class Outside:
    """Sets of ``n`` normal values times ``x``, a dy of mean 2 times ``dy``, a weight, and the form that lay outside."""

    form: str
    n: int = 64
    x: float = 1.0
    dy: float = 1.0
    weight: float = 1.0
    eps: float = 1e-5

    def ratio(self, flush: bool) -> float:
        f, shape = Machine(dtype="float32", flush=flush), (16, self.n)
        x, dy = f(self.x * normal(shape)), f(self.dy * (2 + normal(shape, 17)))
        p = Pass(
            f=f,
            x=x,
            dy=dy,
            weight=np.full(shape, f(self.weight)),
            statistics=honest.two_pass(f, x, SUMMATIONS["pairwise"]),
            eps=self.eps,
            placement="inside_sqrt",
            total=SUMMATIONS["pairwise"],
        )
        weight = np.full(len(x), self.weight, np.float32)
        arithmetic = Arithmetic("float32", "two_pass")
        found = batch_norm_backward(x.T, dy.T, weight=weight, training=True, eps=self.eps, arithmetic=arithmetic)
        return float(found.dx.ratio((CLOSED | CLOSED_BY_SET)[self.form](p).T).max())


#: What each forms on the way that is flushed, or leaves the range.
OUTSIDE: Final = {
    "weight r / n": Outside(form="closed_scale_over_n", n=1024, weight=4e-36),
    "weight r / n in XLA's order": Outside(form="closed_xla", n=1024, weight=4e-36),
    "weight r^3": Outside(form="closed_weighted_cube", x=1e8, weight=1e-15),
    "(x - mean) sum(g (x - mean))": Outside(form="closed_product_first", x=1e-7, weight=1e-27, eps=1e-12),
    "g / n": Outside(form="closed_shares", n=1024, dy=4e-36),
    "weight r^3 beyond the range": Outside(form="closed_weighted_cube", x=1e-5, weight=5e31, dy=1e-10),
    "(x - mean) sum(g (x - mean)) beyond the range": Outside(form="closed_product_first", x=1e17, weight=1e4),
}


@pytest.mark.parametrize("flush", [False, True])
@pytest.mark.parametrize("formed", OUTSIDE)
def test_what_a_form_of_dx_forms_on_the_way_may_underflow_or_overflow(formed: str, flush: bool) -> None:
    assert OUTSIDE[formed].ratio(flush) <= 1


def test_a_sum_and_n_times_an_element_may_overflow_where_each_is_in_range() -> None:
    x, dy = np.resize(np.array([1, -1], np.float32), (64, 1)), np.full((64, 1), -1.5e36, np.float32)
    dy[0] = 4e36
    found = batch_norm_backward(x, dy, training=True, arithmetic=Arithmetic("float32", "two_pass")).dx
    assert not found.excludes(np.where(dy > 0, np.inf, found.value))
    assert found.says_something()[1:].all()


def test_a_deviation_from_a_running_mean_may_overflow() -> None:
    """x - mean is infinite in float32, its product with dy = 0 is NaN; (sum(dy x) - mean sum(dy)) r is 0."""
    x, dy = np.full((2, 3), -3e38, np.float32), np.zeros((2, 3), np.float32)
    running = initial_statistics(np.full(3, 3e38), np.full(3, 1e38))
    found = batch_norm_backward(x, dy, running, training=False, arithmetic=Arithmetic("float32"))
    assert not found.dweight.excludes(np.full(3, np.nan))
    assert not found.dweight.excludes(np.zeros(3))


@pytest.mark.parametrize("placement", ["inside_sqrt", "outside_sqrt"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_variance_and_a_negative_eps_that_cancel_are_within_the_bound(dtype: str, placement: str) -> None:
    """Just above the pole and, outside the root, just below it, where r is negative."""
    rng, u = np.random.default_rng(18), float(np.finfo(dtype).eps)
    f, eps, held = Machine(dtype=dtype), -0.1, 0
    pole = 0.1 if placement == "inside_sqrt" else 0.01
    for ulps in (-40, -3, 3, 5, 40, 1000, 2**12, 2**20):
        var = np.full(4, f(pole * (1 + ulps * u)))
        x, dy = (rng.standard_normal((6, 4)).astype(dtype) for _ in range(2))
        found = batch_norm_backward(
            x,
            dy,
            initial_statistics(np.zeros(4), var),
            training=False,
            eps=eps,
            semantics=semantics("batch_norm", eps_placement=placement),
            arithmetic=Arithmetic(dtype, "two_pass"),
        )
        p = Pass(
            f=f,
            x=f(x.T),
            dy=f(dy.T),
            weight=np.ones((4, 6), dtype),
            statistics=Statistics(mean=f(np.zeros((4, 1))), var=f(var[:, None])),
            eps=eps,
            placement=placement,
            total=SUMMATIONS["sequential"],
        )
        assert not found.dx.excludes(f(p.dy * p.r).T)
        assert not found.dweight.excludes(closed_parameter(p))
        held += int(found.dx.says_something().sum())
    assert held > 100


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_negative_reciprocal_deviation_has_gradients_within_a_bound_that_excludes_wrong_ones(dtype: str) -> None:
    """Outside the root, with an eps below -sqrt(var)."""
    f, shape = Machine(dtype=dtype), (8, 16)
    x, dy = f(0.3 * normal(shape)), f(normal(shape, 19))
    p = Pass(
        f=f,
        x=x,
        dy=dy,
        weight=np.ones_like(x),
        statistics=honest.two_pass(f, x, SUMMATIONS["pairwise"]),
        eps=-0.5,
        placement="outside_sqrt",
        total=SUMMATIONS["pairwise"],
    )
    assert (p.r < 0).all()
    chosen = semantics("batch_norm", eps_placement="outside_sqrt")
    arithmetic = Arithmetic(dtype, "two_pass")
    found = batch_norm_backward(x.T, dy.T, training=True, eps=-0.5, semantics=chosen, arithmetic=arithmetic)
    assert found.dx.says_something().all()
    assert found.dx.excludes(found.dx.value * 1.01)
    for output in OUTPUTS:
        dx, parts = differentiated(p, output, "division", "operator")
        assert not found.dx.excludes(dx.T)
        assert not found.dweight.excludes(parameter_of(p, parts))
