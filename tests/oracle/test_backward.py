"""Gradients: the exact ones to a few units roundoff, no honest ones outside the bound, and wrong ones outside of all.

The exact reference differentiates the definition of the output numerically, at 80 digits: it knows no
formula of a backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, Final

import honest
import mpmath
import numpy as np
import pytest
from honest import REGIMES, STATISTICS, SUMMATIONS, UNBIASED, UPDATES, Array, Machine, Statistics
from honest_backward import (
    OUTPUTS,
    SLOPES,
    THROUGH,
    UPSTREAM,
    Pass,
    channel_sums,
    closed_parameter,
    differentiated,
    parameter_of,
)
from honest_closed import closed, some_closed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import corners

from normgauge.oracle import (
    ACCURACY_CLASSES,
    AXES,
    Arithmetic,
    Gradients,
    Reference,
    Refusal,
    RunningStatistics,
    Semantics,
    batch_norm,
    batch_norm_backward,
    group_norm_backward,
    initial_statistics,
    semantics,
)

MP: Final = mpmath.mp.clone()
MP.dps = 80
U: Final = 2.0**-53
PLACEMENTS: Final = AXES["group_norm"][0].names
DTYPES: Final = ("float32", "float64")
KINDS: Final = ("dx", "dweight", "dbias")


@pytest.fixture(autouse=True)
def _honest_arithmetic_may_overflow() -> Any:
    with np.errstate(all="ignore"):
        yield


# --- exact gradients by differences ------------------------------------------------------------------


def real(values: Array) -> Array:
    return np.array([MP.mpf(float(v)) for v in np.ravel(values)], dtype=object).reshape(np.shape(values))


def moments(values: Sequence[Any] | Array, divisor: str) -> tuple[Any, Any]:
    n = len(values)
    mean = sum(values) / n
    return mean, sum((v - mean) ** 2 for v in values) / (n if divisor == "biased" else n - 1)


def reciprocal(var: Any, eps: float, placement: str) -> Any:
    exact_eps = MP.mpf(eps)
    if placement == "inside_sqrt":
        return 1 / MP.sqrt(var + exact_eps)
    if placement == "outside_sqrt":
        return 1 / (MP.sqrt(var) + exact_eps)
    return 1 / MP.sqrt(max(var, exact_eps))


Output = Callable[[Array, Array, Array], Array]


def group_norm_output(groups: int, eps: float, chosen: Semantics) -> Output:
    """y(x, weight, bias) of shape (N, C, L), from the definition."""
    interleaved = chosen.choices["grouping"] == "interleaved"

    def output(x: Array, weight: Array, bias: Array) -> Array:
        samples, channels, length = x.shape
        y = np.empty(x.shape, dtype=object)
        member = [c % groups if interleaved else c // (channels // groups) for c in range(channels)]
        for key in np.ndindex(samples, groups):
            inside = [c for c in range(channels) if member[c] == key[1]]
            values = [x[key[0], c, i] for c in inside for i in range(length)]
            mean, var = moments(values, chosen.choices["variance"])
            r = reciprocal(var, eps, chosen.choices["eps_placement"])
            for c in inside:
                p = key[1] if chosen.choices["affine_shape"] == "per_group" else c
                y[key[0], c] = weight[p] * (x[key[0], c] - mean) * r + bias[p]
        return y

    return output


def batch_norm_output(
    eps: float, chosen: Semantics, constants: tuple[Array, Array] | None, blend: tuple[Array, Array, float] | None
) -> Output:
    """y(x, weight, bias) with the batch's statistics, with ``constants``, or blended into old ones."""

    def output(x: Array, weight: Array, bias: Array) -> Array:
        y = np.empty(x.shape, dtype=object)
        for c in range(x.shape[1]):
            if constants is not None:
                mean, var = constants[0][c], constants[1][c]
            else:
                mean, var = moments(x[:, c].ravel(), chosen.choices["variance" if blend is None else "running_var"])
            if blend is not None:
                new = MP.mpf(blend[2])
                mean, var = (1 - new) * blend[0][c] + new * mean, (1 - new) * blend[1][c] + new * var
            y[:, c] = weight[c] * (x[:, c] - mean) * reciprocal(var, eps, chosen.choices["eps_placement"]) + bias[c]
        return y

    return output


def differences(output: Output, x: Array, dy: Array, weight: Array | None) -> tuple[Array, Array, Array]:
    """The gradients of sum(y * dy) by central differences."""
    channels = x.shape[1]
    given: list[Array] = [real(x), real(np.ones(channels) if weight is None else weight), real(np.zeros(channels))]
    upstream = real(dy)
    found = []
    for place, values in enumerate(given):
        gradient = np.empty(values.shape, dtype=object)
        for key in np.ndindex(values.shape):
            step = MP.mpf(10) ** -25 * (abs(values[key]) if place == 0 and values[key] else 1)
            ends = []
            for sign in (1, -1):
                moved = [v.copy() for v in given]
                moved[place][key] += sign * step
                ends.append(np.sum(output(*moved) * upstream))
            gradient[key] = (ends[0] - ends[1]) / (2 * step)
        found.append(gradient)
    return found[0], found[1], found[2]


def held_against(got: Gradients, exact: tuple[Array, Array, Array], dtype: str) -> None:
    """The oracle's own error is far below the tightest bound."""
    share = 2.0**-22 if dtype == "float32" else 0.5
    for kind, truth in zip(KINDS, exact, strict=True):
        reference: Reference = getattr(got, kind)
        assert reference.value.shape == truth.shape
        assert reference.says_something().all()
        for key in np.ndindex(truth.shape):
            off = float(abs(MP.mpf(float(reference.value[key])) - truth[key]))
            assert off <= share * reference.bound[key] + 1e-30 * float(abs(truth[key])), (kind, key, truth[key])


def sample(rng: np.random.Generator, regime: str, shape: tuple[int, ...], dtype: str) -> Array:
    normal = rng.standard_normal(shape)
    return {
        "normal": normal,
        "mean 1000": 1000 + normal,
        "deviation sqrt(eps)/10": 3e-4 * normal,
        "outlier": np.where(np.arange(normal.size).reshape(shape) == 1, 1e4, normal),
        "small and large": np.ldexp(normal, rng.integers(-10, 10, shape)),
    }[regime].astype(dtype)


SAMPLES: Final = ("normal", "mean 1000", "deviation sqrt(eps)/10", "outlier", "small and large")


@pytest.mark.parametrize("regime", SAMPLES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_group_norm_backward_is_the_derivative_of_the_definition(dtype: str, regime: str) -> None:
    rng = np.random.default_rng([1, SAMPLES.index(regime), len(dtype)])
    for number in range(6):
        chosen = semantics(
            "group_norm",
            eps_placement=PLACEMENTS[number % 3],
            variance=("biased", "unbiased")[number % 2],
            grouping=("contiguous", "interleaved")[number // 3],
            affine_shape=("per_channel", "per_group")[number % 4 // 2],
        )
        x, dy = sample(rng, regime, (2, 4, 2), dtype), rng.standard_normal((2, 4, 2)).astype(dtype)
        weight = None if number == 5 else rng.standard_normal(4).astype(dtype)
        got = group_norm_backward(
            x, dy, 2, weight, eps=1e-5, semantics=chosen, arithmetic=Arithmetic(dtype, "two_pass")
        )
        held_against(got, differences(group_norm_output(2, 1e-5, chosen), x, dy, weight), dtype)


@pytest.mark.parametrize("mode", ["batch", "running", "blended", "evaluation", "untracked", "untracked initial"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_batch_norm_backward_is_the_derivative_of_the_definition(dtype: str, mode: str) -> None:
    rng = np.random.default_rng([2, len(mode), len(dtype)])
    for number, regime in enumerate(SAMPLES):
        chosen = semantics(
            "batch_norm",
            eps_placement=PLACEMENTS[number % 3],
            variance=("biased", "unbiased")[number % 2],
            running_var=("biased", "unbiased")[number // 2 % 2],
            training_normalizes_with=mode if mode in {"running", "blended"} else "batch",
            untracked_eval_uses="initial" if mode == "untracked initial" else "batch",
        )
        x, dy = sample(rng, regime, (3, 2, 2), dtype), rng.standard_normal((3, 2, 2)).astype(dtype)
        weight = None if number == 4 else rng.standard_normal(2).astype(dtype)
        old = rng.standard_normal(2), rng.random(2)
        constants = (real(old[0]), real(old[1])) if mode in {"running", "evaluation"} else None
        if mode == "untracked initial":
            constants = real(np.zeros(2)), real(np.ones(2))
        blend = (real(old[0]), real(old[1]), 0.25) if mode == "blended" else None
        got = batch_norm_backward(
            x,
            dy,
            None if mode.startswith("untracked") else initial_statistics(*old),
            weight,
            training=mode in {"batch", "running", "blended"},
            momentum=0.25,
            eps=1e-5,
            semantics=chosen,
            arithmetic=Arithmetic(dtype, "two_pass"),
        )
        held_against(got, differences(batch_norm_output(1e-5, chosen, constants, blend), x, dy, weight), dtype)


def slope_of(output: Callable[[Array], Array], values: Array, dy: Array) -> Array:
    """The gradient of sum(output * dy) by central differences in float64."""
    found, step = np.empty(values.shape), 1e-5
    for key in np.ndindex(values.shape):
        moved = [values.copy(), values.copy()]
        moved[0][key] += step
        moved[1][key] -= step
        found[key] = np.sum((output(moved[0]) - output(moved[1])) * dy) / (2 * step)
    return found


def forward(x: Array, weight: Array, tracked: RunningStatistics | None, **call: Any) -> Array:
    return batch_norm(x, tracked, weight, **call).output.value


@pytest.mark.parametrize("axis", [axis.name for axis in AXES["batch_norm"]])
def test_backward_follows_forward_on_every_value_of_every_axis(axis: str) -> None:
    """Also from running statistics that have seen batches, whose weights are not the momentum."""
    rng = np.random.default_rng([15, sum(map(ord, axis))])
    names = {a.name: a.names for a in AXES["batch_norm"]}
    for value in names[axis] * 4:
        choices = {name: str(rng.choice(values)) for name, values in names.items()} | {axis: value}
        if choices["momentum_none"] == "refused":
            choices["momentum_none"] = "fixed"
        chosen = semantics("batch_norm", **choices)
        x, dy = rng.standard_normal((4, 2, 2)), rng.standard_normal((4, 2, 2))
        weight, running = rng.standard_normal(2), initial_statistics(rng.standard_normal(2), rng.random(2))
        momentum = None if axis == "momentum_none" or rng.integers(3) == 0 else 0.3
        for step in range(int(rng.integers(3))):
            seen = batch_norm(x + step, running, training=True, momentum=momentum, semantics=chosen).running
            running = seen or running
        for training, tracked in ((True, running), (False, running), (False, None)):
            call: dict[str, Any] = {"training": training, "momentum": momentum, "eps": 0.01, "semantics": chosen}

            output = partial(forward, tracked=tracked, **call)
            got = batch_norm_backward(x, dy, tracked, weight, **call)
            by_x, by_weight = slope_of(partial(output, weight=weight), x, dy), slope_of(partial(output, x), weight, dy)
            np.testing.assert_allclose(got.dx.value, by_x, rtol=1e-6, atol=1e-7, err_msg=str(choices))
            np.testing.assert_allclose(got.dweight.value, by_weight, rtol=1e-7, atol=1e-7, err_msg=str(choices))


# --- honest implementations ----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Inputs of shape (B, n), and every random choice that goes with them."""

    rng: np.random.Generator
    f: Machine
    x: Array
    dy: Array
    per_set: bool  # BatchNorm's sets are channels; GroupNorm with one group has n channels
    weight: Array
    eps: float
    placement: str
    unbiased: bool
    old: tuple[Array, Array, float] | None

    @classmethod
    def of(cls, rng: np.random.Generator, dtype: str, regime: str, upstream: str, n: int, size: int) -> Draw:
        f, count = Machine(dtype=dtype, flush=bool(rng.integers(2))), max(2, size // n)
        x = REGIMES[regime](rng, (count, n)).astype(dtype)
        dy = UPSTREAM[upstream](rng, x).astype(dtype)
        per_set = bool(rng.integers(2))
        scale = rng.choice([1.0, 1.0, 1e-3, 1e-30, 1e-37, 1e10, 1e25])
        weight = (rng.standard_normal(count if per_set else n) * scale).astype(dtype)
        old = None
        if per_set and n > 1 and rng.integers(3) == 0:
            old = f(rng.standard_normal(count).astype(dtype)), f(rng.random(count).astype(dtype)), 0.25
        eps = float(rng.choice([1e-5, 1e-3, 0.5, 1e-12, 0.0, 1e-41]))
        return cls(
            rng=rng,
            f=f,
            x=x,
            dy=dy,
            per_set=per_set,
            weight=weight,
            eps=eps,
            placement=str(rng.choice(PLACEMENTS)),
            unbiased=n > 1 and rng.integers(3) == 0,
            old=old,
        )

    def reference(self, accuracy: str) -> Gradients:
        """dx of shape (B, n) for either layer."""
        arithmetic, divisor = Arithmetic(self.f.dtype, accuracy), "unbiased" if self.unbiased else "biased"
        given: dict[str, Any] = {"weight": self.weight, "eps": self.eps, "arithmetic": arithmetic}
        if not self.per_set:
            chosen = semantics("group_norm", eps_placement=self.placement, variance=divisor)
            return group_norm_backward(self.x, self.dy, 1, semantics=chosen, **given)
        chosen = semantics(
            "batch_norm",
            eps_placement=self.placement,
            variance=divisor,
            running_var=divisor,
            single_value="shift",
            training_normalizes_with="batch" if self.old is None else "blended",
        )
        running = None if self.old is None else initial_statistics(*self.old[:2])
        found = batch_norm_backward(
            self.x.T, self.dy.T, running, training=True, momentum=0.25, semantics=chosen, **given
        )
        return replace(found, dx=Reference(value=found.dx.value.T, bound=found.dx.bound.T))

    def of_pass(self, statistics: Statistics) -> Pass:
        f, rng = self.f, self.rng
        blended = None
        if self.old is not None:
            new = statistics.var[:, 0]
            if self.unbiased:
                new = UNBIASED[str(rng.choice(list(UNBIASED)))](f, new, self.x.shape[1])
            update = UPDATES[str(rng.choice(list(UPDATES)))]
            mean = update(f, self.old[0], statistics.mean[:, 0], self.old[2])
            var = update(f, self.old[1], new, self.old[2])
            blended = Statistics(mean=mean[:, None], var=var[:, None]), self.old[2]
        return Pass(
            f=f,
            x=f(self.x),
            dy=f(self.dy),
            weight=np.broadcast_to(f(self.weight)[:, None] if self.per_set else f(self.weight), self.x.shape),
            statistics=statistics,
            eps=self.eps,
            placement=self.placement,
            total=SUMMATIONS[str(rng.choice(list(SUMMATIONS)))],
            unbiased=self.unbiased,
            times_reciprocal=bool(rng.integers(2)),
            tie=float(rng.choice([1.0, 0.5, 0.0])),
            clamped=bool(rng.integers(2)),
            half_ulp=int(rng.integers(-1, 2)),
            blended=blended,
        )


def check(draw: Draw, names: list[str], each: int) -> int:
    """``each`` backward passes on every named kind of statistics, each against its own class."""
    rng, f = draw.rng, draw.f
    references = {accuracy: draw.reference(accuracy) for accuracy in {STATISTICS[name][0] for name in names}}
    held = 0
    for name in names:
        accuracy, measure = STATISTICS[name]
        reference, statistics = references[accuracy], measure(f, f(draw.x))
        ways = [way for way in THROUGH if way != "one_pass" or accuracy == "one_pass"]
        for _ in range(each):
            p = draw.of_pass(statistics)
            how = (str(rng.choice(list(OUTPUTS))), str(rng.choice(list(SLOPES))), str(rng.choice(ways)))
            dx, parts = differentiated(p, *how)
            inputs, weights, biases = [dx], [], []
            if draw.placement == "inside_sqrt" and not draw.unbiased and draw.old is None:
                inputs += some_closed(p, rng, by_set=draw.per_set)
            if draw.per_set:
                sums = channel_sums(p)
                weights += [parameter_of(p, parts), closed_parameter(p), sums[0]]
                biases.append(sums[1])
            else:
                weights.append(p.total(f, parts.T)[:, 0])
                biases.append(p.total(f, p.dy.T)[:, 0])
            for kind, found in zip(KINDS, (inputs, weights, biases), strict=True):
                for values in found:
                    ratio = getattr(reference, kind).ratio(values).max()
                    assert ratio <= 1, (kind, ratio, name, how, draw.placement, draw.eps, draw.unbiased, draw.old)
                    held += int(getattr(reference, kind).says_something().sum())
    return held


@pytest.mark.parametrize(("dtype", "regime"), corners(2, DTYPES, list(REGIMES)))
def test_every_honest_gradient_lies_within_the_bound_of_its_class(dtype: str, regime: str) -> None:
    rng = np.random.default_rng([3, DTYPES.index(dtype), list(REGIMES).index(regime)])
    held = 0
    for upstream in UPSTREAM:
        draw = Draw.of(rng, dtype, regime, upstream, int(rng.choice([1, 2, 2, 3, 4, 8, 33])), size=128)
        names = [str(name) for name in rng.choice(list(STATISTICS), 3, replace=False)]
        held += check(draw, names, each=2)
    assert held > 2_000


@pytest.mark.parametrize("dtype", DTYPES)
def test_long_sets_stay_within_the_bound_of_their_class(dtype: str) -> None:
    rng = np.random.default_rng([4, DTYPES.index(dtype)])
    for regime in ("normal", "mean 2^8", "outlier first", "sorted"):
        for upstream in ("normal", "aligned and constant"):
            draw = replace(Draw.of(rng, dtype, regime, upstream, 1024, size=2048), eps=1e-5)
            check(draw, ["two_pass sequential", "one_pass backward"], each=1)


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_honest_gradient_is_excluded_whatever_the_inputs(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(DTYPES))
    n = data.draw(st.integers(1, 5))
    finite = st.floats(allow_nan=False, allow_infinity=False, width=32 if dtype == "float32" else 64)
    near = st.sampled_from([0.0, 1.0, -1.0, 1.5, 2.0**-20, 2.0**20, 3.0]) | finite
    rows = st.lists(near, min_size=2 * n, max_size=2 * n)
    x, dy = (np.array(data.draw(rows), dtype=dtype).reshape(2, n) for _ in range(2))
    draw = Draw.of(np.random.default_rng(data.draw(st.integers(0, 2**32))), dtype, "normal", "normal", n, size=2 * n)
    weight = np.array(data.draw(st.lists(near, min_size=len(draw.weight), max_size=len(draw.weight))), dtype=dtype)
    eps = data.draw(st.sampled_from([0.0, 1e-5, 1e-12, 1.0]) | st.floats(0, 1e30))
    check(replace(draw, x=x, dy=dy, weight=weight, eps=eps), ["two_pass sequential", "welford", "one_pass pairwise"], 2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_honest_gradient_in_evaluation_lies_within_the_bound(dtype: str) -> None:
    rng = np.random.default_rng([5, len(dtype)])
    for regime in REGIMES:
        for upstream in UPSTREAM:
            draw = replace(Draw.of(rng, dtype, regime, upstream, 8, size=64), per_set=True, old=None, unbiased=False)
            f = draw.f
            weight = rng.standard_normal(8).astype(dtype)
            statistics = Statistics(mean=f(rng.standard_normal((8, 1))), var=f(rng.random((8, 1))))
            p = replace(draw, weight=weight).of_pass(statistics)
            reference = batch_norm_backward(
                draw.x.T,
                draw.dy.T,
                initial_statistics(statistics.mean[:, 0], statistics.var[:, 0]),
                weight,
                training=False,
                eps=draw.eps,
                semantics=semantics("batch_norm", eps_placement=draw.placement),
                arithmetic=Arithmetic(dtype, "two_pass"),
            )
            for output in OUTPUTS.values():
                up = output(p)
                assert not reference.dx.excludes(up.direct.T), (regime, upstream)
                assert not reference.dweight.excludes(parameter_of(p, up.dweight)), (regime, upstream)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_of_parameters_hold_over_samples_and_places(dtype: str) -> None:
    """torch's way: sums over the places of each sample's channel, then over the samples."""
    rng = np.random.default_rng([6, len(dtype)])
    f = Machine(dtype=dtype)
    for regime in ("normal", "mean 2^8", "deviation sqrt(eps)/30", "outlier"):
        x = REGIMES[regime](rng, (5, 6 * 4)).reshape(5, 6, 4).astype(dtype)
        dy = rng.standard_normal(x.shape).astype(dtype)
        found = group_norm_backward(x, dy, 3, arithmetic=Arithmetic(dtype, "two_pass"))
        sets = x.reshape(15, 8)
        statistics = honest.two_pass(f, sets, SUMMATIONS["pairwise"])
        r = f(f(1) / f(np.sqrt(f(statistics.var + f(1e-5)))))
        mean, r = (np.repeat(v.reshape(5, 3), 2, axis=1) for v in (statistics.mean, r))
        rows = [SUMMATIONS["sequential"](f, v.reshape(30, 4)).reshape(5, 6) for v in (dy, f(dy * x))]
        parts = f(f(rows[1] - f(rows[0] * mean)) * r)
        assert not found.dweight.excludes(SUMMATIONS["sequential"](f, parts.T)[:, 0])
        assert not found.dbias.excludes(SUMMATIONS["backward"](f, rows[0].T)[:, 0])


def test_a_sum_of_gradients_may_underflow_beside_products_that_do_not() -> None:
    """mean * sum(dy) is lost then, and sum(dy * x) is not."""
    f = Machine(dtype="float32", flush=True)
    x = np.full((4, 2), 1e3, np.float32)
    dy = np.tile(np.array([[2e-38, -1.5e-38]], np.float32), (4, 1))
    p = Pass(
        f=f,
        x=x,
        dy=dy,
        weight=np.ones_like(x),
        statistics=honest.one_pass(f, x, SUMMATIONS["pairwise"]),
        eps=1e-5,
        placement="inside_sqrt",
        total=SUMMATIONS["pairwise"],
    )
    for arithmetic in (Arithmetic("float32", accuracy) for accuracy in ACCURACY_CLASSES):
        found = batch_norm_backward(x.T, dy.T, training=True, arithmetic=arithmetic)
        weight, bias = channel_sums(p)
        assert (weight != 0).all()
        assert not found.dweight.excludes(weight)
        assert not found.dbias.excludes(bias)
        assert not found.dx.excludes(differentiated(p, "sums_of_products", "cube_last", "coefficients")[0].T)


def test_a_normalised_value_that_overflows_is_out_of_range_where_its_gradient_is_zero() -> None:
    """0 * inf is NaN, in a type where sum(dy * x_hat) itself is far from overflow."""
    f, total = Machine(dtype="float32"), SUMMATIONS["sequential"]
    x, dy, one = f([[1e25, 1.0]]), f([[0.0, 1.0]]), f([[1.0, 1.0]])
    evaluation = Pass(
        f=f,
        x=x,
        dy=dy,
        weight=one,
        statistics=Statistics(mean=f([[0.0]]), var=f([[1e-30]])),
        eps=0.0,
        placement="inside_sqrt",
        total=total,
    )
    running = initial_statistics([0.0], [float(f(1e-30))])
    given: dict[str, Any] = {"training": False, "eps": 0.0, "arithmetic": Arithmetic("float32")}
    weights = batch_norm_backward(x.T, dy.T, running, **given).dweight
    assert np.isnan(closed_parameter(evaluation)).all()
    assert not weights.excludes(closed_parameter(evaluation))


# --- the shape of the bounds -----------------------------------------------------------------------------


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_classes_are_nested(dtype: str, regime: str) -> None:
    rng = np.random.default_rng([7, list(REGIMES).index(regime)])
    for n in (1, 2, 4, 33):
        draw = Draw.of(rng, dtype, regime, "normal", n, size=64)
        found = [draw.reference(accuracy) for accuracy in ACCURACY_CLASSES]
        for tight, wide in pairwise(found):
            for kind in KINDS:
                assert (getattr(tight, kind).bound <= getattr(wide, kind).bound).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("accuracy", ACCURACY_CLASSES)
def test_ordinary_inputs_are_always_held_to_something(dtype: str, accuracy: str) -> None:
    """Also constant ones; only sqrt(var) has no derivative there."""
    rng = np.random.default_rng([8, len(dtype)])
    for regime in ("normal", "mean 4", "deviation sqrt(eps)/30", "constant", "outlier", "magnitudes", "tiny"):
        for upstream in ("normal", "constant", "aligned", "small", "large", "zero"):
            draw = replace(Draw.of(rng, dtype, regime, upstream, 8, size=64), old=None, unbiased=False, eps=1e-5)
            draw = replace(draw, weight=np.ones_like(draw.weight))
            for placement in PLACEMENTS:
                found = replace(draw, placement=placement).reference(accuracy)
                assert found.dweight.says_something().all()
                if placement != "outside_sqrt":
                    assert found.dx.says_something().all(), (regime, upstream)


def test_one_value_per_set_has_no_gradient() -> None:
    x, dy = np.array([[3.0, -7.5]], dtype=np.float32), np.array([[2.0, 1.0]], dtype=np.float32)
    found = group_norm_backward(x, dy, 2)
    np.testing.assert_array_equal(found.dx.value, 0)
    np.testing.assert_array_equal(found.dweight.value, 0)
    np.testing.assert_array_equal(found.dbias.value, dy[0])
    assert found.dx.excludes(dy)
    undefined = group_norm_backward(x, dy, 2, semantics=semantics("group_norm", variance="unbiased"))
    assert not undefined.dx.says_something().any()
    assert undefined.dbias.says_something().all()


def test_one_value_per_channel_in_training_follows_the_axis() -> None:
    x, dy = np.array([[3.0, -7.5]]), np.array([[2.0, 1.0]])

    def found(value: str) -> Gradients:
        return batch_norm_backward(x, dy, training=True, semantics=semantics("batch_norm", single_value=value))

    with pytest.raises(Refusal, match="more than one value per channel"):
        found("refused")
    np.testing.assert_array_equal(found("shift").dx.value, 0)
    np.testing.assert_array_equal(found("shift").dbias.value, dy[0])
    assert np.isnan(found("nan").dx.value).all()
    assert np.isnan(found("nan").dweight.value).all()
    np.testing.assert_array_equal(found("nan").dbias.value, dy[0])
    np.testing.assert_array_equal(found("identity").dx.value, dy)
    np.testing.assert_array_equal(found("identity").dweight.value, 0)
    np.testing.assert_array_equal(found("identity").dbias.value, 0)


@pytest.mark.parametrize("shape", [(0, 4), (2, 4, 0), (0, 4, 3)])
def test_an_input_without_values_has_gradients_of_zero(shape: tuple[int, ...]) -> None:
    x = np.zeros(shape, dtype=np.float32)
    for found in (group_norm_backward(x, x, 2), batch_norm_backward(x, x, training=True)):
        assert found.dx.value.shape == shape
        for parameter in (found.dweight, found.dbias):
            np.testing.assert_array_equal(parameter.value, np.zeros(4))
            np.testing.assert_array_equal(parameter.bound, np.zeros(4))


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_stays_in_its_set_and_its_parameters(poison: float) -> None:
    rng = np.random.default_rng(9)
    x, dy = (rng.standard_normal((2, 4, 3)).astype(np.float32) for _ in range(2))
    clean = group_norm_backward(x, dy, 2)
    spoilt = x.copy()
    spoilt[0, 1, 2] = poison
    found = group_norm_backward(spoilt, dy, 2)
    assert np.isnan(found.dx.value[0, :2]).all()
    assert (found.dx.bound[0, :2] == 0).all()
    assert np.isnan(found.dweight.value[:2]).all()
    assert (found.dweight.bound[:2] == 0).all()
    for kind in KINDS:
        got, want = getattr(found, kind), getattr(clean, kind)
        kept = (np.s_[0, 2:], np.s_[1]) if kind == "dx" else (np.s_[2:] if kind == "dweight" else np.s_[:],)
        for part in kept:
            np.testing.assert_array_equal(got.value[part], want.value[part])
            np.testing.assert_array_equal(got.bound[part], want.bound[part])


def test_a_gradient_that_is_nan_poisons_its_set_and_an_infinite_one_says_nothing() -> None:
    rng = np.random.default_rng(10)
    x, dy = (rng.standard_normal((2, 4, 3)).astype(np.float32) for _ in range(2))
    dy[0, 0, 0] = np.nan
    dy[1, 3, 0] = np.inf
    found = group_norm_backward(x, dy, 2)
    assert np.isnan(found.dx.value[0, :2]).all()
    assert (found.dx.bound[0, :2] == 0).all()
    assert np.isposinf(found.dx.bound[1, 2:]).all()
    assert found.dx.says_something()[0, 2:].all()
    for parameter in (found.dweight, found.dbias):
        assert np.isnan(parameter.value[0])
        assert parameter.excludes(np.zeros(4))
        np.testing.assert_array_equal(parameter.says_something(), [True, True, True, False])
    evaluation = batch_norm_backward(x, dy, initial_statistics(np.zeros(4), np.ones(4)), training=False).dx
    assert int(np.isnan(evaluation.value).sum()) == 1


def test_a_gradient_of_another_shape_is_refused() -> None:
    x = np.zeros((2, 4, 3))
    with pytest.raises(ValueError, match=r"dy must have shape \(2, 4, 3\), got \(2, 4\)"):
        group_norm_backward(x, np.zeros((2, 4)), 2)
    with pytest.raises(ValueError, match=r"dy must have shape \(2, 4, 3\), got \(4, 3\)"):
        batch_norm_backward(x, np.zeros((4, 3)), training=True)
    with pytest.raises(Refusal, match="divisible"):
        group_norm_backward(x, x, 3)


# --- what the bounds exclude -----------------------------------------------------------------------------


def wrong_input_gradients(p: Pass) -> dict[str, Array]:
    """Faulty closed forms of dx in the arithmetic of ``p``."""
    f, n = p.f, p.n
    x_hat, g = f(f(p.x - p.mean) * p.r), f(p.weight * p.dy)
    m1, m2 = p.over_n(p.sum(g)), p.over_n(p.sum(f(g * x_hat)))

    def put(m1: Array, m2: Array, r: Array = p.r) -> Array:
        return f(r * f(f(g - m1) - f(x_hat * m2)))

    zero = f(np.zeros_like(m1))
    return {
        "the mean taken as constant": put(zero, m2),
        "the variance taken as constant": put(m1, zero),
        "both taken as constants": put(zero, zero),
        "the unbiased divisor mixed in": put(m1, f(m2 * f(n / (n - 1)))),
        "the unbiased variance used": put(m1, m2, f(p.r * f(np.sqrt((n - 1) / n)))),
        "sums in place of means": put(p.sum(g), p.sum(f(g * x_hat))),
        "eps left out of the gradient of the root": put(m1, f(m2 * f(f(p.var + f(p.eps)) / p.var))),
        "the weight forgotten": closed(replace(p, weight=np.ones_like(p.weight))),
        "the weights in another order": closed(replace(p, weight=p.weight[:, ::-1])),
        "the sign of the variance's part": put(m1, -m2),
    }


WRONG: Final = (
    "the mean taken as constant",
    "the variance taken as constant",
    "both taken as constants",
    "the unbiased divisor mixed in",
    "the unbiased variance used",
    "sums in place of means",
    "eps left out of the gradient of the root",
    "the weight forgotten",
    "the weights in another order",
    "the sign of the variance's part",
)


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("n", [4, 8, 64])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_wrong_gradient_is_excluded_even_by_the_widest_class(dtype: str, n: int, wrong: str) -> None:
    rng, f = np.random.default_rng([11, n]), Machine(dtype=dtype)
    x = (rng.standard_normal((4, n)) * 3e-3).astype(dtype)
    dy = rng.standard_normal((4, n)).astype(dtype)
    weight = (1 + np.arange(n) / n).astype(dtype)
    statistics = honest.two_pass(f, x, SUMMATIONS["sequential"])
    spread = np.broadcast_to(weight, x.shape)
    p = Pass(
        f=f,
        x=x,
        dy=dy,
        weight=spread,
        statistics=statistics,
        eps=1e-5,
        placement="inside_sqrt",
        total=SUMMATIONS["sequential"],
    )
    reference = group_norm_backward(x, dy, 1, weight, arithmetic=Arithmetic(dtype)).dx
    assert not reference.excludes(closed(p))
    assert reference.excludes(wrong_input_gradients(p)[wrong])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gradient_through_the_statistics_of_evaluation_is_excluded_and_so_is_none_in_training(dtype: str) -> None:
    rng, f = np.random.default_rng(12), Machine(dtype=dtype)
    x, dy = (rng.standard_normal((3, 8)).astype(dtype) for _ in range(2))
    statistics = honest.two_pass(f, x, SUMMATIONS["sequential"])
    one = np.ones_like(x)
    p = Pass(
        f=f,
        x=x,
        dy=dy,
        weight=one,
        statistics=statistics,
        eps=1e-5,
        placement="inside_sqrt",
        total=SUMMATIONS["sequential"],
    )
    through, constant = closed(p).T, f(p.r * dy).T
    running = initial_statistics(statistics.mean[:, 0], statistics.var[:, 0])
    arithmetic = Arithmetic(dtype)
    evaluation = batch_norm_backward(x.T, dy.T, running, training=False, arithmetic=arithmetic).dx
    training = batch_norm_backward(x.T, dy.T, running, training=True, arithmetic=arithmetic).dx
    assert evaluation.excludes(through)
    assert not evaluation.excludes(constant)
    assert training.excludes(constant)
    assert not training.excludes(through)


@pytest.mark.parametrize("wrong", ["only one sample", "only one place", "a mean", "the weight in it", "not normalised"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_wrong_gradient_of_a_parameter_is_excluded(dtype: str, wrong: str) -> None:
    rng = np.random.default_rng(13)
    x, dy = (rng.standard_normal((3, 4, 5)).astype(dtype) for _ in range(2))
    weight = np.array([2.0, 0.5, -1.0, 3.0], dtype=dtype)
    found = group_norm_backward(x, dy, 2, weight, arithmetic=Arithmetic(dtype))
    sets = np.float64(x).reshape(3, 2, 10)
    x_hat = (sets - sets.mean(-1, keepdims=True)) / np.sqrt(sets.var(-1, keepdims=True) + 1e-5)
    parts = dy.astype(np.float64) * (x.astype(np.float64) if wrong == "not normalised" else x_hat.reshape(x.shape))
    taken: dict[str, Callable[[Array], Array]] = {
        "only one sample": lambda v: v[0].sum(-1),
        "only one place": lambda v: v[:, :, 0].sum(0),
        "a mean": lambda v: v.mean((0, 2)),
        "the weight in it": lambda v: weight * v.sum((0, 2)),
        "not normalised": lambda v: v.sum((0, 2)),
    }
    take = taken[wrong]
    assert found.dweight.excludes(take(parts))
    if wrong != "not normalised":
        assert found.dbias.excludes(take(dy.astype(np.float64)))
        assert not found.dweight.excludes(parts.sum((0, 2)))
    assert not found.dbias.excludes(np.float64(dy).sum((0, 2)))


def test_an_outside_root_has_no_derivative_at_zero_and_nothing_is_demanded_there() -> None:
    x = np.full((1, 4), 2.0, np.float32)
    dy = np.array([[1.0, 2.0, 3.0, 4.0]], np.float32)
    found = group_norm_backward(x, dy, 1, semantics=semantics("group_norm", eps_placement="outside_sqrt"))
    assert not found.dx.excludes(np.full((1, 4), np.nan))
    assert not group_norm_backward(x, dy, 1, eps=0.0).dx.says_something().any()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_larger_of_variance_and_eps_may_differentiate_to_either_side_where_they_meet(share: float) -> None:
    x, dy = np.array([[1.0, -1.0]], np.float32), np.array([[2.0, 1.0]], np.float32)
    chosen = semantics("group_norm", eps_placement="max_with_variance")
    found = group_norm_backward(x, dy, 1, eps=1.0, semantics=chosen).dx
    m1, m2 = 1.5, 0.5
    assert not found.excludes(dy - m1 - share * m2 * x)
    assert found.excludes(dy - m1 - 2.5 * m2 * x)  # the bound is symmetric about the side of the variance


def test_a_one_pass_variance_that_is_cut_lets_no_gradient_through_and_only_its_class_allows_that() -> None:
    x = (300 + np.random.default_rng(14).standard_normal((1, 8)) * 1e-2).astype(np.float32)
    dy = np.arange(8.0, dtype=np.float32)[None]
    cut = (dy - dy.mean()) / np.sqrt(np.float32(1e-5))
    for accuracy in ACCURACY_CLASSES:
        reference = group_norm_backward(x, dy, 1, arithmetic=Arithmetic("float32", accuracy)).dx
        assert reference.excludes(cut) == (accuracy != "one_pass")
