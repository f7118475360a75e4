"""No honest implementation lies outside the bound of its class, and wrong ones lie outside of all."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pytest
from honest import (
    OUTPUTS,
    REGIMES,
    ROOTS,
    STATISTICS,
    SUMMATIONS,
    UNBIASED,
    UPDATES,
    Array,
    Machine,
    Statistics,
    normalised,
    two_pass,
)
from samples import corners

from normgauge.oracle import (
    ACCURACY_CLASSES,
    AXES,
    Arithmetic,
    Reference,
    RunningStatistics,
    batch_norm,
    distance,
    group_norm,
    initial_statistics,
    semantics,
)
from normgauge.oracle.bounds import statistics_bound
from normgauge.oracle.moments import U64, moments
from normgauge.oracle.normalize import Output, forward_bound
from normgauge.oracle.running_statistics import Weight, blend_bound
from normgauge.oracle.statistics import Batch
from normgauge.oracle.statistics import Statistics as Used

PLACEMENTS: Final = AXES["group_norm"][0].names
DTYPES: Final = ("float32", "float64")
LENGTHS: Final = (1, 2, 3, 4, 8, 33, 100)
MOMENTA: Final = (0.0, 1e-3, 0.1, 0.25, 0.9, 0.999, 1.0)
WEIGHS: Final = ("new", "old")
#: Weights that scale to subnormal numbers and up to large ones.
WEIGHT_SIZES: Final = (1.0, 1.0, 1e-3, 1e-30, 1e-34, 1e-37, 1e10, 1e25)


@pytest.fixture(autouse=True)
def _honest_arithmetic_may_overflow() -> Any:
    with np.errstate(all="ignore"):
        yield


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One set of inputs, and every random choice that goes with it."""

    machine: Machine
    x: Array
    weight: Array
    bias: Array
    eps: float
    placement: str
    rng: np.random.Generator

    @classmethod
    def of(cls, rng: np.random.Generator, dtype: str, regime: str, n: int, size: int) -> Draw:
        machine = Machine(dtype=dtype, flush=bool(rng.integers(2)))
        x = REGIMES[regime](rng, (max(2, size // n), n)).astype(dtype)
        weight = (rng.standard_normal(n) * rng.choice(WEIGHT_SIZES)).astype(dtype)
        bias = (rng.standard_normal(n) * rng.choice([1.0, 1e-4, 1e4])).astype(dtype)
        eps = float(rng.choice([1e-5, 1e-3, 0.5, 1e-12]))
        return cls(
            machine=machine, x=x, weight=weight, bias=bias, eps=eps, placement=str(rng.choice(PLACEMENTS)), rng=rng
        )

    def reference(self, accuracy: str) -> Reference:
        return group_norm(
            self.x,
            1,
            self.weight,
            self.bias,
            eps=self.eps,
            semantics=semantics("group_norm", eps_placement=self.placement),
            arithmetic=Arithmetic(self.machine.dtype, accuracy),
        )

    def output(self, statistics: Statistics, form: str, root: str) -> Array:
        f = self.machine
        return normalised(
            f,
            f(self.x),
            statistics,
            f(self.weight),
            f(self.bias),
            eps=self.eps,
            placement=self.placement,
            root=root,
            form=form,
        )


def check_outputs(draw: Draw, names: list[str]) -> int:
    """Every named kind of statistics in two forms, against its own class; returns the elements held."""
    references = {accuracy: draw.reference(accuracy) for accuracy in ACCURACY_CLASSES}
    held = 0
    for name in names:
        accuracy, measure = STATISTICS[name]
        statistics = measure(draw.machine, draw.machine(draw.x))
        for form in draw.rng.choice(list(OUTPUTS), 2, replace=False):
            root = str(draw.rng.choice(list(ROOTS)))
            ratio = references[accuracy].ratio(draw.output(statistics, str(form), root))
            assert ratio.max() <= 1, (name, form, root, draw.placement, draw.eps, draw.machine)
            held += int(references[accuracy].says_something().sum())
    return held


@pytest.mark.parametrize(("dtype", "regime"), corners(2, DTYPES, list(REGIMES)))
def test_every_honest_output_lies_within_the_bound_of_its_class(dtype: str, regime: str) -> None:
    rng = np.random.default_rng([1, DTYPES.index(dtype), list(REGIMES).index(regime)])
    held = sum(check_outputs(Draw.of(rng, dtype, regime, n, size=128), list(STATISTICS)) for n in LENGTHS)
    assert held > 20_000  # x 44 parametrisations


@pytest.mark.parametrize("regime", ["normal", "mean 2^8", "deviation sqrt(eps)", "outlier first", "sorted"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_long_sets_stay_within_the_bound_of_their_class(dtype: str, regime: str) -> None:
    rng = np.random.default_rng([2, DTYPES.index(dtype), list(REGIMES).index(regime)])
    names = ["two_pass sequential", "two_pass pairwise", "welford", "one_pass backward"]
    assert check_outputs(Draw.of(rng, dtype, regime, 4096, size=8192), names) > 0


@pytest.mark.parametrize("n", [8, 64, 512])
def test_a_sum_whose_roundings_all_have_one_sign_comes_near_the_bound_of_its_mean(n: int) -> None:
    """Positive numbers, then negative ones, each chosen among 64 so that its addition rounds up the most."""
    rng, sets = np.random.default_rng(17), 64
    total, x = np.zeros(sets, np.float32), np.zeros((sets, n), np.float32)
    for k in range(n):
        offered = ((1 if k < n // 2 else -1) * (1 + 0.1 * rng.random((64, sets)))).astype(np.float32)
        gained = (total + offered).astype(np.float64) - (total.astype(np.float64) + offered)
        x[:, k] = np.take_along_axis(offered, gained.argmax(axis=0)[None], axis=0)[0]
        total = total + x[:, k]
    batch = Batch.of(x.astype(np.float64), Arithmetic("float32", "two_pass"))
    mean = Reference(value=batch.m.mean + batch.m.mean_tail, bound=batch.bound.mean)
    assert 0.2 < mean.ratio(two_pass(Machine(dtype="float32"), x, SUMMATIONS["sequential"]).mean).max() <= 1


@pytest.mark.parametrize("momentum", MOMENTA)
@pytest.mark.parametrize("weighs", WEIGHS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_honest_running_statistic_lies_within_the_bound_of_its_class(
    dtype: str, weighs: str, momentum: float
) -> None:
    """Three steps, then evaluation with what came of them.

    Every regime meets every kind of statistics in one of these tests, and each test has all regimes and all kinds.
    """
    number = WEIGHS.index(weighs) * len(MOMENTA) + MOMENTA.index(momentum)
    rng = np.random.default_rng([3, DTYPES.index(dtype), number])
    given = momentum if weighs == "new" else 1 - momentum
    for i, regime in enumerate(REGIMES):
        for j, name in enumerate(STATISTICS):
            if (i + j) % (len(WEIGHS) * len(MOMENTA)) == number:
                check_running(rng, Life.of(rng, dtype, regime, name, weighs, given), channels=128)


@dataclass(frozen=True, kw_only=True)
class Life:
    """An honest BatchNorm layer: sets of shape (C, n) are its batches."""

    machine: Machine
    regime: str
    name: str
    momentum: float
    weighs: str
    divisor: str
    update: str
    n: int

    @classmethod
    def of(cls, rng: np.random.Generator, dtype: str, regime: str, name: str, weighs: str, given: float) -> Life:
        return cls(
            machine=Machine(dtype=dtype, flush=bool(rng.integers(2))),
            regime=regime,
            name=name,
            momentum=given,
            weighs=weighs,
            divisor=str(rng.choice(["unbiased", "biased"])),
            update=str(rng.choice(list(UPDATES))),
            n=int(rng.choice([2, 3, 8, 20])),
        )

    @property
    def weight_of_new(self) -> float:
        return self.momentum if self.weighs == "new" else 1 - self.momentum

    def step(self, rng: np.random.Generator, x: Array, mean: Array, var: Array) -> tuple[Array, Array]:
        f = self.machine
        statistics = STATISTICS[self.name][1](f, f(x))
        new = statistics.var[:, 0]
        if self.divisor == "unbiased":
            new = UNBIASED[str(rng.choice(list(UNBIASED)))](f, new, self.n)
        update = UPDATES[self.update]
        return update(f, mean, statistics.mean[:, 0], self.weight_of_new), update(f, var, new, self.weight_of_new)


def check_running(rng: np.random.Generator, life: Life, channels: int) -> None:
    f = life.machine
    accuracy = STATISTICS[life.name][0]
    chosen = semantics("batch_norm", running_var=life.divisor, momentum_weighs=life.weighs)
    start = f(rng.standard_normal(channels) * rng.choice([1.0, 1e3, 1e-20])), f(rng.random(channels))
    mean, var = start
    running: RunningStatistics | None = initial_statistics(*start)
    for _ in range(3):
        x = REGIMES[life.regime](rng, (channels, life.n)).astype(f.dtype)
        mean, var = life.step(rng, x, mean, var)
        arithmetic = Arithmetic(f.dtype, accuracy)
        running = batch_norm(
            x.T, running, training=True, momentum=life.momentum, semantics=chosen, arithmetic=arithmetic
        ).running
        assert running is not None
        assert running.mean.ratio(mean).max() <= 1, life
        assert running.var.ratio(var).max() <= 1, life
    wanted = batch_norm(x.T, running, training=False, semantics=chosen, arithmetic=arithmetic).output
    one, none = f(np.ones((channels, 1))), f(np.zeros((channels, 1)))
    for form in rng.choice(list(OUTPUTS), 3, replace=False):
        got = normalised(f, f(x), Statistics(mean=mean[:, None], var=var[:, None]), one, none, eps=1e-5, form=str(form))
        assert wanted.ratio(got.T).max() <= 1, (life, form)


@pytest.mark.parametrize("weight", [0.5, 0.1, 0.01, 1e-3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_honest_zero_debiased_average_lies_within_the_bound(dtype: str, weight: float) -> None:
    """haiku's: a hidden average from zero, divided by 1 - (1 - w)^t."""
    rng = np.random.default_rng([4, DTYPES.index(dtype), int(weight * 1000)])
    f, channels, n = Machine(dtype=dtype), 64, 8
    kept, hidden = f(1 - weight), [f(np.zeros(channels)), f(np.zeros(channels))]
    running: RunningStatistics | None = initial_statistics(np.full(channels, 100.0), np.ones(channels))
    for step in range(1, 9):
        x = (rng.standard_normal((channels, n)) + rng.choice([0.0, 8.0])).astype(dtype)
        statistics = two_pass(f, x, SUMMATIONS["sequential"])
        new = statistics.mean[:, 0], UNBIASED["unbiased_by_factor"](f, statistics.var[:, 0], n)
        hidden = [f(f(h * kept) + f(v * f(f(1) - kept))) for h, v in zip(hidden, new, strict=True)]
        mean, var = (f(h / f(f(1) - f(kept**step))) for h in hidden)
        running = batch_norm(
            x.T,
            running,
            training=True,
            momentum=weight,
            semantics=semantics("batch_norm", bootstrap="zero_debiased"),
            arithmetic=Arithmetic(dtype, "two_pass"),
        ).running
        assert running is not None
        assert running.mean.ratio(mean).max() <= 1
        assert running.var.ratio(var).max() <= 1


@pytest.mark.parametrize(("weighs", "momentum"), [("new", 0.0), ("old", 1.0)])
def test_a_zero_debiased_average_that_no_batch_enters_stays_what_it_was(weighs: str, momentum: float) -> None:
    chosen = semantics("batch_norm", bootstrap="zero_debiased", momentum_weighs=weighs)
    start = initial_statistics(np.full(3, 5.0), np.full(3, 2.0))
    running: RunningStatistics | None = start
    for _ in range(2):
        x = np.arange(12, dtype=np.float32).reshape(4, 3)
        running = batch_norm(x, running, training=True, momentum=momentum, semantics=chosen).running
        assert running is not None
        assert running.mean.value.tolist() == start.mean.value.tolist()
        assert running.var.value.tolist() == start.var.value.tolist()


# --- the shape of the bounds -------------------------------------------------------------------------


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_classes_are_nested(dtype: str, regime: str) -> None:
    rng = np.random.default_rng([5, list(REGIMES).index(regime)])
    for n in LENGTHS:
        draw = Draw.of(rng, dtype, regime, n, size=64)
        m = moments(draw.x.astype(np.float64), compensated=dtype == "float64")
        bounds = [statistics_bound(m, Arithmetic(dtype, accuracy)) for accuracy in ACCURACY_CLASSES]
        outputs = [draw.reference(accuracy).bound for accuracy in ACCURACY_CLASSES]
        for tight, wide in pairwise(bounds):
            assert (tight.mean <= wide.mean).all()
            assert (tight.var <= wide.var).all()
        for tight_output, wide_output in pairwise(outputs):
            assert (tight_output <= wide_output).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_slack_of_a_forward_bound_covers_its_evaluation(dtype: str) -> None:
    """The formula in rational numbers, with the five factors (1 + u) that a term needs, is never above the bound."""
    rng = np.random.default_rng([7, DTYPES.index(dtype)])
    arithmetic = Arithmetic(dtype)
    u, eta = Fraction(arithmetic.u), Fraction(arithmetic.smallest_normal)
    for _ in range(200):
        x, x_hat, mean, weight, bias = (rng.standard_normal((1, 4)) * 10.0 ** rng.uniform(-3, 3) for _ in range(5))
        r, relative, mean_bound = (
            10.0 ** rng.uniform(low, high, (1, 1)) for low, high in ((-3, 3), (-15, 1), (-15, 1))
        )
        y = weight * x_hat + bias
        mean_used, largest = Reference(value=mean[:, :1], bound=mean_bound), np.abs(x).max()[None]
        used = Used(x=x, deviation=x, largest=largest, mean=mean_used, var=mean_used)
        given = {"x_hat": x_hat, "y": y, "reciprocal": r, "relative": relative, "weight": weight, "bias": bias}
        bound = forward_bound(Output(used=used, **given), arithmetic)
        given |= {"x": x, "mean": mean[:, :1], "mean_bound": mean_bound}
        for i in range(4):
            own = {name: Fraction(float(np.broadcast_to(value, (1, 4))[0, i])) for name, value in given.items()}
            size = 2 * abs(own["x"]) + 3 * abs(own["mean"])
            local = u * (abs(own["x_hat"]) + own["reciprocal"] * size)
            moved = own["reciprocal"] * own["mean_bound"] + local + 5 * eta * own["reciprocal"]
            d_x_hat = (1 + own["relative"]) * moved + 2 * eta + abs(own["x_hat"]) * own["relative"]
            flushed = eta * abs(own["x_hat"]) + eta * own["reciprocal"] * (1 + own["relative"])
            honest = abs(own["weight"]) * d_x_hat + flushed + u * (3 * abs(own["bias"]) + abs(own["y"]))
            roundings = Fraction(U64) * (5 * abs(own["weight"] * own["x_hat"]) + 2 * abs(own["y"]))
            least = (1 + 5 * u) * honest + 5 * eta + roundings
            assert least <= Fraction(float(bound[0, i])) <= least * (1 + 32 * u)


def test_a_bound_is_never_below_the_rounding_of_the_exact_result() -> None:
    x = np.random.default_rng(6).standard_normal((8, 8)).astype(np.float32)
    reference = group_norm(x, 2, arithmetic=Arithmetic("float32", "two_pass"))
    assert (reference.bound >= np.abs(reference.value) * 2.0**-24).all()


def test_a_sum_too_long_for_the_type_is_not_held_to_anything() -> None:
    """From n u = 1 on no error constant exists; gamma must not turn negative."""
    long = moments(np.ones((1, 4)), compensated=False)
    bound = statistics_bound(long.__class__(**{**long.__dict__, "n": 2**24}), Arithmetic("float32"))
    assert np.isinf(bound.mean).all()
    assert np.isinf(bound.var).all()


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("name", STATISTICS)
def test_a_constant_channel_is_within_the_bound_although_the_root_has_no_derivative_at_zero(
    name: str, placement: str
) -> None:
    accuracy, measure = STATISTICS[name]
    machine = Machine(dtype="float32")
    for value in (1e-20, 0.1, 3.3, 12345.678, 1e15):
        x = np.full((2, 6), value, dtype=np.float32)
        weight, bias = np.ones(6, np.float32), np.zeros(6, np.float32)
        chosen = semantics("group_norm", eps_placement=placement)
        reference = group_norm(x, 1, weight, bias, semantics=chosen, arithmetic=Arithmetic("float32", accuracy))
        for form in OUTPUTS:
            y = normalised(machine, x, measure(machine, x), weight, bias, eps=1e-5, placement=placement, form=form)
            assert not reference.excludes(y), (value, form)


def test_eps_zero_on_a_constant_channel_says_nothing() -> None:
    reference = group_norm(np.full((1, 4), 2.0, np.float32), 1, eps=0.0)
    assert np.isposinf(reference.bound).all()
    assert not reference.excludes(np.full((1, 4), np.nan))


@pytest.mark.parametrize("eps", [1e-40, 1e-44, 1e-50])
@pytest.mark.parametrize("flush", [False, True])
def test_an_eps_below_the_normal_numbers_may_be_flushed(eps: float, flush: bool) -> None:
    machine = Machine(dtype="float32", flush=flush)
    x = np.random.default_rng(8).standard_normal((16, 4)).astype(np.float32) * np.float32(1e-19)
    reference = group_norm(x, 1, eps=eps, arithmetic=Arithmetic("float32", "two_pass"))
    statistics = two_pass(machine, x, SUMMATIONS["sequential"])
    y = normalised(machine, x, statistics, machine(1), machine(0), eps=eps)
    assert not reference.excludes(y)


# --- out of range ------------------------------------------------------------------------------------


def test_a_group_with_nan_or_infinity_demands_nan_and_leaves_the_other_groups_alone() -> None:
    clean = np.random.default_rng(9).standard_normal((2, 4, 3)).astype(np.float32)
    for poison in (np.nan, np.inf, -np.inf):
        for accuracy in ACCURACY_CLASSES:
            x = clean.copy()
            x[0, 0, 0] = poison
            arithmetic = Arithmetic("float32", accuracy)
            got, want = group_norm(x, 2, arithmetic=arithmetic), group_norm(clean, 2, arithmetic=arithmetic)
            assert np.isnan(got.value[0, :2]).all()
            assert (got.bound[0, :2] == 0).all()
            assert got.excludes(np.nan_to_num(got.value))
            np.testing.assert_array_equal(got.value[0, 2:], want.value[0, 2:])
            np.testing.assert_array_equal(got.bound[1], want.bound[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("accuracy", ACCURACY_CLASSES)
def test_an_infinity_may_make_the_running_statistics_infinite_or_nan_but_no_number(dtype: str, accuracy: str) -> None:
    """A sum keeps an infinity; Welford's next step makes a NaN of it. Two values that are combined keep it, too."""
    x, start = np.array([[np.inf], [1.0], [2.0]], dtype=dtype), initial_statistics([0.0], [1.0])
    running = batch_norm(x, start, training=True, arithmetic=Arithmetic(dtype, accuracy)).running
    assert running is not None
    for mean in (np.inf, np.nan):
        assert not running.mean.excludes([mean])
    assert not running.var.excludes([np.nan])
    assert running.var.excludes([np.inf]) == (accuracy == "two_pass")
    assert running.var.excludes([1.0])
    after = batch_norm(np.ones_like(x), running, training=True, arithmetic=Arithmetic(dtype, accuracy)).running
    assert after is not None
    assert after.var.excludes([np.inf]) == (accuracy == "two_pass")
    assert after.var.excludes([1.0])
    output = batch_norm(x, running, training=False, arithmetic=Arithmetic(dtype, accuracy)).output
    assert not output.excludes(np.full((3, 1), np.nan))


def test_the_variance_of_one_infinity_may_be_anything_where_parts_are_combined() -> None:
    """A tree of single values has nothing to combine."""
    chosen = semantics("batch_norm", single_value="shift", running_var="biased")
    for accuracy in ACCURACY_CLASSES:
        call: dict[str, Any] = {"training": True, "semantics": chosen, "arithmetic": Arithmetic("float32", accuracy)}
        running = batch_norm([[np.inf]], initial_statistics([0.0], [1.0]), **call).running
        assert running is not None
        assert running.var.excludes([0.9]) == (accuracy == "two_pass")


@pytest.mark.parametrize("dtype", DTYPES)
def test_infinities_of_both_signs_have_no_mean(dtype: str) -> None:
    x = np.array([[np.inf], [1.0], [2.0]], dtype=dtype)
    x[1] = -np.inf
    running = batch_norm(x, initial_statistics([0.0], [1.0]), training=True).running
    assert running is not None
    assert not running.mean.excludes([np.nan])
    assert running.mean.excludes([np.inf])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", STATISTICS)
def test_sums_and_squares_that_overflow_are_out_of_range(dtype: str, name: str) -> None:
    accuracy, measure = STATISTICS[name]
    machine, largest = Machine(dtype=dtype), float(np.finfo(dtype).max)
    spread = np.linspace(-1.0, 1.0, 6)[None, :]
    for size in (0.9 * largest, 4 * largest**0.5, largest**0.5, largest**0.5 / 4, largest**0.5 / 64):
        for shift in (0.0, 1.0):
            x = np.asarray((spread * 0.1 + shift) * size / 1.1, dtype=dtype)
            reference = group_norm(x, 1, arithmetic=Arithmetic(dtype, accuracy))
            for form in OUTPUTS:
                y = normalised(machine, x, measure(machine, x), machine(1), machine(0), eps=1e-5, form=form)
                assert not reference.excludes(y), (size, shift, form)
    assert reference.says_something().all()


@pytest.mark.parametrize("form", OUTPUTS)
def test_an_intermediate_that_overflows_in_any_form_is_out_of_range(form: str) -> None:
    """x * scale leaves the range although (x - mean) * scale does not."""
    machine = Machine(dtype="float32")
    for mean, var, weight in ((1e30, 1e-20, 1.0), (1e20, 1.0, 1e25), (1.0, 1e-30, 1e30), (1e5, 1.0, 1e-42)):
        x = np.array([[mean], [mean * 1.5]], dtype=np.float32)
        parameters = np.array([weight], np.float32)
        reference = batch_norm(x, initial_statistics([mean], [var]), parameters, training=False, eps=0.0).output
        statistics = Statistics(mean=machine([[mean]]), var=machine([[var]]))
        y = normalised(machine, x.T, statistics, parameters, machine(0), eps=0.0, form=form)
        assert not reference.excludes(y.T), (mean, var, weight)


@pytest.mark.parametrize("form", OUTPUTS)
@pytest.mark.parametrize("flush", [False, True])
def test_a_scale_below_the_normal_numbers_is_within_the_bound(form: str, flush: bool) -> None:
    """weight * reciprocal has few bits, and its error is multiplied by x, not by x - mean."""
    machine = Machine(dtype="float32", flush=flush)
    rng = np.random.default_rng(10)
    mean = np.float32(1e10)
    x = (mean + rng.standard_normal((8, 4)) * 1e9).astype(np.float32)
    weight = (rng.standard_normal(4) * 1e-32).astype(np.float32)
    statistics = initial_statistics(np.full(4, mean), np.full(4, np.float32(1e18)))
    reference = batch_norm(x, statistics, weight, training=False).output
    used = Statistics(mean=machine(np.full((4, 1), mean)), var=machine(np.full((4, 1), 1e18)))
    y = normalised(machine, machine(x.T), used, machine(weight)[:, None], machine(0), eps=1e-5, form=form)
    assert not reference.excludes(y.T)


@pytest.mark.parametrize("form", OUTPUTS)
def test_a_flushed_product_is_within_the_bound_in_any_order_of_multiplication(form: str) -> None:
    """weight * (x - mean) may be flushed before a large reciprocal multiplies it."""
    machine = Machine(dtype="float32", flush=True)
    x = (np.random.default_rng(15).standard_normal((64, 4)) * 1e-5).astype(np.float32)
    weight = np.array([1e-33, -3e-34, 1e-30, 2e-38], np.float32)
    reference = batch_norm(x, None, weight, training=True).output
    statistics = two_pass(machine, machine(x.T), SUMMATIONS["pairwise"])
    y = normalised(machine, machine(x.T), statistics, machine(weight)[:, None], machine(0), eps=1e-5, form=form)
    assert not reference.excludes(y.T)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, -0.5, 3.0])
def test_a_running_statistic_has_a_bound_for_every_momentum_and_none_when_out_of_range(weight: float) -> None:
    one, far = np.ones(1), np.full(1, np.inf)

    def blended(old_bound: Array, new_bound: Array) -> Array:
        old, new = Reference(value=one, bound=old_bound), Reference(value=2 * one, bound=new_bound)
        return blend_bound(old, new, Weight(new=weight), Arithmetic("float32"))

    bound = blended(one * 1e-6, one * 1e-6)
    assert (bound >= 1e-6 * max(abs(weight), abs(1 - weight))).all()
    assert np.isposinf(blended(one, far)).all()
    assert np.isposinf(blended(far, one)).all()


@pytest.mark.parametrize("accuracy", ACCURACY_CLASSES)
def test_one_value_per_set_gives_the_bias_and_no_unbiased_variance(accuracy: str) -> None:
    x = np.array([[3.0, -7.5]], dtype=np.float32)
    arithmetic = Arithmetic("float32", accuracy)
    bias = [0.5, 0.25]
    reference = group_norm(x, 2, bias=bias, arithmetic=arithmetic)
    np.testing.assert_array_equal(reference.value, [bias])
    assert reference.says_something().all()
    assert reference.excludes(x)
    undefined = group_norm(x, 2, semantics=semantics("group_norm", variance="unbiased"), arithmetic=arithmetic)
    assert not undefined.says_something().any()


# --- what the bounds exclude -------------------------------------------------------------------------


def telling_sets(dtype: str, eps: float, count: int = 4) -> tuple[Array, Array, Array]:
    """Data whose deviation is a tenth of sqrt(eps), n = 8, with weights that differ."""
    rng = np.random.default_rng(12)
    x = (rng.standard_normal((count, 8)) * eps**0.5 / 10).astype(dtype)
    return x, (1 + np.arange(8) / 4).astype(dtype), (np.arange(8) / 8).astype(dtype)


WRONG: Final[dict[str, dict[str, Any]]] = {
    "unbiased variance": {"unbiased": True},
    "eps outside the root": {"placement": "outside_sqrt"},
    "the larger of variance and eps": {"placement": "max_with_variance"},
    "eps larger by 1e-4": {"eps": 1e-5 * (1 + 1e-4)},
    "eps smaller by 1e-4": {"eps": 1e-5 * (1 - 1e-4)},
    "permuted channels": {"permuted": True},
    "no bias": {"bias": False},
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", ["two_pass sequential", "welford", "one_pass pairwise"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_wrong_formula_is_excluded_even_by_the_widest_class(dtype: str, name: str, wrong: str) -> None:
    how = WRONG[wrong]
    x, weight, bias = telling_sets(dtype, 1e-5)
    reference = group_norm(x, 1, weight, bias, eps=1e-5, arithmetic=Arithmetic(dtype))
    f = Machine(dtype=dtype)
    statistics = STATISTICS[name][1](f, x)
    honest = normalised(f, x, statistics, weight, bias, eps=1e-5)
    assert not reference.excludes(honest)
    if how.get("unbiased"):
        statistics = Statistics(mean=statistics.mean, var=UNBIASED["unbiased_by_factor"](f, statistics.var, 8))
    y = normalised(
        f,
        x,
        statistics,
        weight[::-1] if how.get("permuted") else weight,
        bias if how.get("bias", True) else f(0),
        eps=how.get("eps", 1e-5),
        placement=how.get("placement", "inside_sqrt"),
    )
    assert reference.excludes(y)


@pytest.mark.parametrize("wrong", ["momentum weighs the old", "biased", "no momentum"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_wrong_running_statistics_are_excluded_even_by_the_widest_class(dtype: str, wrong: str) -> None:
    x = np.random.default_rng(13).standard_normal((4, 8)).astype(dtype)
    f = Machine(dtype=dtype)
    statistics = two_pass(f, x, SUMMATIONS["sequential"])
    old_mean, old_var = f(np.full(4, 8.0)), f(np.full(4, 8.0))
    running = batch_norm(x.T, initial_statistics(old_mean, old_var), training=True, momentum=0.3).running
    assert running is not None
    weight = {"momentum weighs the old": 0.7, "biased": 0.3, "no momentum": 0.1}[wrong]
    new = statistics.var[:, 0]
    if wrong != "biased":
        new = UNBIASED["unbiased_by_factor"](f, new, 8)
    assert running.var.excludes(UPDATES["weigh_new"](f, old_var, new, weight))
    right = UNBIASED["unbiased_by_factor"](f, statistics.var[:, 0], 8)
    assert not running.var.excludes(UPDATES["weigh_new"](f, old_var, right, 0.3))


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_semantics_of_group_norm_are_told_apart_by_one_case(dtype: str) -> None:
    """DESIGN.md's measure: a distance above 1 means that no output satisfies both."""
    rng = np.random.default_rng(14)
    shape = (2, 8, 2)
    deviations = np.logspace(-4.5, 0, 8)[None, :, None]
    x = (rng.standard_normal(shape) * deviations + rng.permutation(8)[None, :, None] * deviations).astype(dtype)
    weight, bias = 1 + np.arange(8) / 4, np.arange(8) / 8
    chosen = [
        semantics("group_norm", eps_placement=e, grouping=g, variance=v, affine_shape=a)
        for e in PLACEMENTS
        for g in ("contiguous", "interleaved")
        for v in ("biased", "unbiased")
        for a in ("per_channel", "per_group")
    ]
    found = [group_norm(x, 4, weight, bias, semantics=s, arithmetic=Arithmetic(dtype)) for s in chosen]
    assert min(distance(a, b) for i, a in enumerate(found) for b in found[:i]) > 1
