"""Half precision: no honest implementation lies outside the bound of its precision, and wrong ones lie outside.

A layer of type float16 or bfloat16 computes in float32 and rounds its results (``float32``), holds what is
elementwise in its own type and sums in float32 (``stored``), or does everything in its own type (``half``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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
)
from honest_backward import OUTPUTS as OUTPUTS_BACKWARD
from honest_backward import (
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
from samples import corners

from normgauge.oracle import (
    ACCURACY_CLASSES,
    AXES,
    Arithmetic,
    Gradients,
    Reference,
    batch_norm,
    batch_norm_backward,
    distance,
    group_norm,
    group_norm_backward,
    initial_statistics,
    precisions,
    rounded,
    semantics,
)
from normgauge.oracle.bounds import read_bound
from normgauge.oracle.statistics import Batch, divided_by

DTYPES: Final = ("float16", "bfloat16")
LEVELS: Final = ("float32", "stored", "half")
PLACEMENTS: Final = AXES["group_norm"][0].names
LENGTHS: Final = (1, 2, 3, 8, 33)
KINDS: Final = ("dx", "dweight", "dbias")
Regime = Callable[[np.random.Generator, tuple[int, int]], Array]


def _normal(size: float, mean: float = 0.0) -> Regime:
    return lambda rng, shape: mean + size * rng.standard_normal(shape)


#: Where float16 and bfloat16 are at their limits; the rest is that of float32, where float16 holds it.
HALF_REGIMES: Final[dict[str, Regime]] = {
    "mean 16": _normal(1.0, 16.0),
    "squares near overflow": _normal(100.0),
    "sums near overflow": _normal(200.0, 3e3),
    "near the largest": _normal(1e4),
    "half subnormal": _normal(1e-6),
    "half smallest normal": _normal(6e-5),
    "deviation 1e-3 about 1": _normal(1e-3, 1.0),
}
#: Nothing but zeros or infinities in float16.
BEYOND_FLOAT16: Final = {
    "mean 2^16",
    "mean 2^23",
    "tiny",
    "near the smallest normal",
    "subnormal",
    "huge",
    "near overflow",
}


def regimes(dtype: str) -> dict[str, Regime]:
    return {
        name: regime
        for name, regime in (REGIMES | HALF_REGIMES).items()
        if not (dtype == "float16" and name in BEYOND_FLOAT16)
    }


CASES: Final = [(dtype, regime) for dtype in DTYPES for regime in regimes(dtype)]


def named(value: tuple[str, str] | str) -> str:
    return value if isinstance(value, str) else "-".join(value)


@pytest.fixture(autouse=True)
def _honest_arithmetic_may_overflow() -> Any:
    with np.errstate(all="ignore"):
        yield


def arithmetic_of(dtype: str, level: str, accuracy: str) -> Arithmetic:
    return precisions(dtype, accuracy)[LEVELS.index(level)]


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Inputs of shape (B, n) that ``dtype`` holds, and every random choice that goes with them."""

    rng: np.random.Generator
    dtype: str
    level: str
    f: Machine
    x: Array
    dy: Array
    per_set: bool  # BatchNorm's sets are channels; GroupNorm with one group has n channels
    weight: Array
    bias: Array
    eps: float
    placement: str
    unbiased: bool = False

    @classmethod
    def of(
        cls, rng: np.random.Generator, dtype: str, level: str, regime: str, n: int, size: int, upstream: str = "normal"
    ) -> Draw:
        held = arithmetic_of(dtype, level, "one_pass")
        f = Machine(dtype=held.held.name, flush=bool(rng.integers(2)), sums=held.dtype)
        store, count = Machine(dtype=dtype), max(2, size // n)
        x = store(regimes(dtype)[regime](rng, (count, n)))
        dy = store(UPSTREAM[upstream](rng, x.astype(np.float64)))
        per_set = bool(rng.integers(2))
        scale = rng.choice([1.0, 1.0, 1e-3, 1e-7, 300.0, *([1e-37, 1e20] if dtype == "bfloat16" else [])])
        weight = store(rng.standard_normal(count if per_set else n) * scale)
        bias = store(rng.standard_normal(count if per_set else n) * rng.choice([1.0, 1e-4, 1e4]))
        eps = float(rng.choice([1e-5, 1e-3, 0.5, 1e-12, 0.0]))
        unbiased = n > 1 and rng.integers(4) == 0
        return cls(
            rng=rng,
            dtype=dtype,
            level=level,
            f=f,
            x=x,
            dy=dy,
            per_set=per_set,
            weight=weight,
            bias=bias,
            eps=eps,
            placement=str(rng.choice(PLACEMENTS)),
            unbiased=unbiased,
        )

    @property
    def chosen(self) -> dict[str, str]:
        return {"eps_placement": self.placement, "variance": "unbiased" if self.unbiased else "biased"}

    def forward(self, accuracy: str, level: str = "") -> Reference:
        eps, arithmetic = self.eps, arithmetic_of(self.dtype, level or self.level, accuracy)
        if not self.per_set:
            chosen = semantics("group_norm", **self.chosen)
            return group_norm(self.x, 1, self.weight, self.bias, eps=eps, semantics=chosen, arithmetic=arithmetic)
        chosen = semantics("batch_norm", single_value="shift", **self.chosen)
        found = batch_norm(
            self.x.T, None, self.weight, self.bias, training=True, eps=eps, semantics=chosen, arithmetic=arithmetic
        ).output
        return Reference(value=found.value.T, bound=found.bound.T)

    def gradients(self, accuracy: str, level: str = "") -> Gradients:
        eps, arithmetic = self.eps, arithmetic_of(self.dtype, level or self.level, accuracy)
        if not self.per_set:
            chosen = semantics("group_norm", **self.chosen)
            return group_norm_backward(
                self.x, self.dy, 1, self.weight, eps=eps, semantics=chosen, arithmetic=arithmetic
            )
        chosen = semantics("batch_norm", single_value="shift", **self.chosen)
        found = batch_norm_backward(
            self.x.T, self.dy.T, None, self.weight, training=True, eps=eps, semantics=chosen, arithmetic=arithmetic
        )
        return replace(found, dx=Reference(value=found.dx.value.T, bound=found.dx.bound.T))

    def spread(self, parameter: Array) -> Array:
        return np.broadcast_to(self.f(parameter)[:, None] if self.per_set else self.f(parameter), self.x.shape)

    def output(self, statistics: Statistics, form: str, root: str) -> Array:
        f, var = self.f, statistics.var
        if self.unbiased:
            var = UNBIASED[str(self.rng.choice(list(UNBIASED)))](f, var, self.x.shape[1])
        used, parameters = Statistics(mean=statistics.mean, var=var), (self.spread(self.weight), self.spread(self.bias))
        how: dict[str, Any] = {"eps": self.eps, "placement": self.placement, "root": root, "form": form}
        return Machine(dtype=self.dtype)(normalised(f, f(self.x), used, *parameters, **how))

    def of_pass(self, statistics: Statistics) -> Pass:
        rng = self.rng
        return Pass(
            f=self.f,
            x=self.f(self.x),
            dy=self.f(self.dy),
            weight=self.spread(self.weight),
            statistics=statistics,
            eps=self.eps,
            placement=self.placement,
            total=SUMMATIONS[str(rng.choice(list(SUMMATIONS)))],
            unbiased=self.unbiased,
            times_reciprocal=bool(rng.integers(2)),
            tie=float(rng.choice([1.0, 0.5, 0.0])),
            clamped=bool(rng.integers(2)),
            half_ulp=int(rng.integers(-1, 2)),
        )


def check_outputs(draw: Draw, names: list[str]) -> int:
    """Every named kind of statistics in two forms, against its own class; returns the elements held."""
    references = {accuracy: draw.forward(accuracy) for accuracy in {STATISTICS[name][0] for name in names}}
    held = 0
    for name in names:
        accuracy, measure = STATISTICS[name]
        statistics = measure(draw.f, draw.f(draw.x))
        for form in draw.rng.choice(list(OUTPUTS), 2, replace=False):
            root = str(draw.rng.choice(list(ROOTS)))
            ratio = references[accuracy].ratio(draw.output(statistics, form, root))
            assert ratio.max() <= 1, (ratio.max(), name, form, root, draw.placement, draw.eps, draw.f)
            held += int(references[accuracy].says_something().sum())
    return held


def check_gradients(draw: Draw, names: list[str], each: int) -> int:
    """``each`` backward passes on every named kind of statistics, each against its own class."""
    rng, f, store = draw.rng, draw.f, Machine(dtype=draw.dtype)
    references = {accuracy: draw.gradients(accuracy) for accuracy in {STATISTICS[name][0] for name in names}}
    held = 0
    for name in names:
        accuracy, measure = STATISTICS[name]
        statistics = measure(f, f(draw.x))
        ways = [way for way in THROUGH if way != "one_pass" or accuracy == "one_pass"]
        for _ in range(each):
            p = draw.of_pass(statistics)
            how = (str(rng.choice(list(OUTPUTS_BACKWARD))), str(rng.choice(list(SLOPES))), str(rng.choice(ways)))
            dx, parts = differentiated(p, *how)
            inputs = [dx]
            if draw.placement == "inside_sqrt" and not draw.unbiased:
                inputs += some_closed(p, rng, by_set=draw.per_set)
            if draw.per_set:
                sums = channel_sums(p)
                weights, biases = [parameter_of(p, parts), closed_parameter(p), sums[0]], [sums[1]]
            else:
                weights, biases = [p.total(f, parts.T)[:, 0]], [p.total(f, p.dy.T)[:, 0]]
            for kind, found in zip(KINDS, (inputs, weights, biases), strict=True):
                reference = getattr(references[accuracy], kind)
                for values in found:
                    ratio = reference.ratio(store(values)).max()
                    assert ratio <= 1, (kind, ratio, name, how, draw.placement, draw.eps, draw.unbiased, f)
                    held += int(reference.says_something().sum())
    return held


@pytest.mark.parametrize(("level", "case"), corners(3, LEVELS, CASES), ids=named)
def test_every_honest_output_lies_within_the_bound_of_its_precision(level: str, case: tuple[str, str]) -> None:
    """Every kind of statistics at two or three of the lengths."""
    dtype, regime = case
    rng = np.random.default_rng([1, LEVELS.index(level), CASES.index((dtype, regime))])
    held = 0
    for number, n in enumerate(LENGTHS):
        names = list(STATISTICS)[number % 2 :: 2]
        held += check_outputs(Draw.of(rng, dtype, level, regime, n, size=256), names)
    assert held > 10_000 or level != "float32"


@pytest.mark.parametrize(("level", "case"), corners(3, LEVELS, CASES), ids=named)
def test_every_honest_gradient_lies_within_the_bound_of_its_precision(level: str, case: tuple[str, str]) -> None:
    dtype, regime = case
    rng = np.random.default_rng([2, LEVELS.index(level), CASES.index((dtype, regime))])
    held = 0
    for upstream in UPSTREAM:
        n = int(rng.choice([1, 2, 2, 3, 4, 8, 33]))
        draw = Draw.of(rng, dtype, level, regime, n, size=128, upstream=upstream)
        held += check_gradients(draw, [str(name) for name in rng.choice(list(STATISTICS), 2, replace=False)], each=1)
    assert held > 1_000 or level != "float32"


# --- the shape of the bounds -------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "regime"), CASES)
def test_each_precision_allows_whatever_a_tighter_one_allows(dtype: str, regime: str) -> None:
    """Also through running statistics, and in evaluation."""
    rng = np.random.default_rng([3, CASES.index((dtype, regime))])
    for n in (1, 2, 3, 33):
        draw = Draw.of(rng, dtype, "half", regime, n, size=16)
        for accuracy in ACCURACY_CLASSES:
            found = []
            for level in LEVELS:
                gradients = draw.gradients(accuracy, level)
                found.append([draw.forward(accuracy, level), *(getattr(gradients, kind) for kind in KINDS)])
                running = initial_statistics(rounded(np.ones(len(draw.x)), dtype), np.ones(len(draw.x)))
                given: dict[str, Any] = {"arithmetic": arithmetic_of(dtype, level, accuracy)}
                given["semantics"] = semantics("batch_norm", single_value="shift", running_var="biased")
                after = batch_norm(draw.x.T, running, training=True, **given).running
                assert after is not None
                output = batch_norm(draw.x.T, after, training=False, **given).output
                found[-1] += [after.mean, after.var, output]
            for tight, wide in pairwise(found):
                for number, (a, b) in enumerate(zip(tight, wide, strict=True)):
                    np.testing.assert_array_equal(a.value, b.value)
                    assert (a.bound <= b.bound).all(), (number, n, accuracy)


# --- rounding ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_rounding_is_that_of_numpy_where_numpy_has_the_type(dtype: str) -> None:
    rng = np.random.default_rng(4)
    info = np.finfo(dtype)
    values = np.ldexp(rng.standard_normal(100_000), rng.integers(info.minexp - 40, info.maxexp + 4, 100_000))
    steps = np.float64(info.smallest_subnormal) * np.arange(-9, 9) / 2  # ties
    for given in (values, steps, np.float64(info.max) * (1 + np.float64(info.eps) / 4 * np.arange(-4, 4))):
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(rounded(given, dtype), given.astype(dtype).astype(np.float64))


def test_rounding_to_bfloat16_is_to_the_nearest_of_its_numbers() -> None:
    """All 65,280 finite ones, what lies between two of them, and where they end."""
    numbers = np.arange(1 << 16, dtype=np.uint32) << 16
    numbers = np.sort(numbers.view(np.float32).astype(np.float64)[np.isfinite(numbers.view(np.float32))])
    np.testing.assert_array_equal(rounded(numbers, "bfloat16"), numbers)
    low, high = numbers[:-1], numbers[1:]
    middle = low / 2 + high / 2
    for share, wanted in ((0.49, low), (0.51, high)):
        np.testing.assert_array_equal(rounded(low + share * (high - low), "bfloat16"), wanted)
    even = (np.abs(high).astype(np.float32).view(np.uint32) >> 16) % 2 == 0
    np.testing.assert_array_equal(rounded(middle, "bfloat16"), np.where(even, high, low))
    largest, step = numbers[-1], numbers[-1] - numbers[-2]
    beyond = [largest + 0.499 * step, largest + 0.5 * step, -largest - step, np.inf, np.nan, -0.0]
    got = rounded(beyond, "bfloat16")
    np.testing.assert_array_equal(got, [largest, np.inf, -np.inf, np.inf, np.nan, 0.0])
    assert np.signbit(got[-1])
    assert rounded(1.0 + 2.0**-8 + 2.0**-40, "bfloat16") == 1.0 + 2.0**-7  # by way of float32 it would be 1


# --- statistics ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_honest_mean_and_variance_lies_within_the_bound_of_its_precision(dtype: str, level: str) -> None:
    """Where the output hides them: what it costs besides is more."""
    rng = np.random.default_rng([9, DTYPES.index(dtype), LEVELS.index(level)])
    for regime, draw_x in regimes(dtype).items():
        for name in rng.choice(list(STATISTICS), 8, replace=False):
            accuracy, measure = STATISTICS[str(name)]
            arithmetic, n = arithmetic_of(dtype, level, accuracy), int(rng.choice([2, 2, 3, 8]))
            f = Machine(dtype=arithmetic.held.name, flush=bool(rng.integers(2)), sums=arithmetic.dtype)
            x = Machine(dtype=dtype)(draw_x(rng, (256, n)))
            batch, found = Batch.of(x.astype(np.float64), arithmetic), measure(f, f(x))
            mean = Reference(value=batch.m.mean + batch.m.mean_tail, bound=batch.bound.mean)
            biased, unbiased = (divided_by(batch, divisor, arithmetic) for divisor in ("biased", "unbiased"))
            way = str(rng.choice(list(UNBIASED)))
            assert mean.ratio(found.mean).max() <= 1, (regime, name)
            assert biased.ratio(found.var).max() <= 1, (regime, name)
            assert unbiased.ratio(UNBIASED[way](f, found.var, n)).max() <= 1, (regime, name, way)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_given_statistic_may_be_rounded_before_use_unless_float32_computes(dtype: str) -> None:
    values = np.random.default_rng(10).standard_normal(1000) * np.logspace(-6, 4, 1000)
    single, *narrow = precisions(dtype)
    off = np.abs(rounded(values, dtype) - values)
    np.testing.assert_array_equal(read_bound(values, 0 * values, single), 0)
    for arithmetic in narrow:
        assert (off <= read_bound(values, 0 * values, arithmetic)).all()


# --- running statistics and long sets ------------------------------------------------------------------


@pytest.mark.parametrize("buffer", ["storage", "float32"])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_honest_running_statistic_lies_within_the_bound_of_its_precision(
    dtype: str, level: str, buffer: str
) -> None:
    """Three steps, each rounded to the type of the buffers, then evaluation with what came of them."""
    rng = np.random.default_rng([5, DTYPES.index(dtype), LEVELS.index(level), len(buffer)])
    store, keep = Machine(dtype=dtype), Machine(dtype="float32" if buffer == "float32" else dtype)
    for regime, draw_x in regimes(dtype).items():
        for name in rng.choice(list(STATISTICS), 3, replace=False):
            accuracy, measure = STATISTICS[str(name)]
            momentum = float(rng.choice([0.0, 1e-3, 0.1, 0.1, 0.9, 1.0]))
            arithmetic = arithmetic_of(dtype, level, accuracy)
            f = Machine(dtype=arithmetic.held.name, flush=bool(rng.integers(2)), sums=arithmetic.dtype)
            divisor, update = str(rng.choice(["unbiased", "biased"])), UPDATES[str(rng.choice(list(UPDATES)))]
            how: dict[str, Any] = {"arithmetic": arithmetic, "momentum": momentum}
            how["semantics"] = semantics("batch_norm", running_var=divisor)
            n, channels = int(rng.choice([2, 3, 8, 20])), 24
            mean, var = keep(rng.standard_normal(channels) * rng.choice([1.0, 1e3])), keep(rng.random(channels))
            running = initial_statistics(mean, var, dtype="float32" if buffer == "float32" else None)
            for _ in range(3):
                x = store(draw_x(rng, (channels, n)))
                found = measure(f, f(x))
                new = found.var[:, 0]
                if divisor == "unbiased":
                    new = UNBIASED[str(rng.choice(list(UNBIASED)))](f, new, n)
                mean, var = (
                    keep(update(f, f(old), got, momentum)) for old, got in ((mean, found.mean[:, 0]), (var, new))
                )
                after = batch_norm(x.T, running, training=True, **how).running
                assert after is not None
                running = after
                for reference, got in ((running.mean, mean), (running.var, var)):
                    assert reference.ratio(got).max() <= 1, (regime, name, divisor, update)
            wanted = batch_norm(x.T, running, training=False, **how).output
            one, none = f(np.ones((channels, 1))), f(np.zeros((channels, 1)))
            form, used = str(rng.choice(list(OUTPUTS))), Statistics(mean=f(mean)[:, None], var=f(var)[:, None])
            y = store(normalised(f, f(x), used, one, none, eps=1e-5, form=form))
            assert wanted.ratio(y.T).max() <= 1, (regime, name, form)


@pytest.mark.parametrize("dtype", DTYPES)
def test_buffers_in_float32_are_held_to_more(dtype: str) -> None:
    x = rounded(np.random.default_rng(6).standard_normal((8, 4)), dtype)
    arithmetic = arithmetic_of(dtype, "float32", "one_pass")
    found = [
        batch_norm(x, initial_statistics([0.5] * 4, [1.0] * 4, dtype=buffer), training=True, arithmetic=arithmetic)
        for buffer in (None, "float32")
    ]
    half, single = (result.running for result in found)
    assert half is not None
    assert single is not None
    assert (single.var.bound * 100 < half.var.bound).all()
    assert half.mean.excludes(rounded(half.mean.value, dtype)) is False
    assert single.mean.excludes(rounded(single.mean.value, dtype))


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_long_sets_are_held_to_something_unless_their_sums_are_in_half_precision(dtype: str, level: str) -> None:
    rng = np.random.default_rng([7, LEVELS.index(level)])
    for regime in ("normal", "mean 4", "sorted"):
        store, draw = Machine(dtype=dtype), Draw.of(rng, dtype, level, regime, 4096, size=8192)
        draw = replace(draw, per_set=False, eps=1e-5, placement="inside_sqrt", unbiased=False)
        draw = replace(draw, weight=store(np.ones(4096)), bias=store(np.zeros(4096)))
        held = check_outputs(draw, ["two_pass sequential", "two_pass pairwise", "welford", "one_pass backward"])
        assert (held > 0) == (level != "half")
        check_gradients(draw, ["two_pass sequential", "one_pass backward"], each=1)


# --- range -------------------------------------------------------------------------------------------


def test_half_sums_that_overflow_are_out_of_range_for_half_sums_alone() -> None:
    """Squares of float16 overflow from 256 on; float32 has room for them."""
    x = rounded(300 * np.array([[-1.0, 1.0, 2.0, -2.0, 0.5, -0.5, 1.5, -1.5]]), "float16")
    single, stored, half = (group_norm(x, 1, arithmetic=arithmetic) for arithmetic in precisions("float16"))
    assert single.says_something().all()
    assert not stored.says_something().any()
    assert not half.says_something().any()
    assert single.excludes(np.zeros_like(x))  # what an infinite variance gives
    assert not half.excludes(np.zeros_like(x))
    gradients = [
        group_norm_backward(x, np.ones_like(x), 1, arithmetic=arithmetic) for arithmetic in precisions("float16")
    ]
    assert gradients[0].dx.says_something().all()
    assert not gradients[2].dx.says_something().any()


def test_a_result_beyond_the_storage_type_is_out_of_range() -> None:
    x, weight = np.array([[-1.0, 1.0, 3.0, -3.0]]), np.array([1.0, 1.0, 6e4, 6e4])
    reference = group_norm(x, 1, weight, arithmetic=arithmetic_of("float16", "float32", "one_pass"))
    np.testing.assert_array_equal(reference.says_something(), [[True, True, False, False]])
    running = batch_norm(
        400 * x.T,
        initial_statistics([0.0], [1.0]),
        training=True,
        momentum=1.0,
        arithmetic=arithmetic_of("float16", "float32", "one_pass"),
    ).running
    assert running is not None
    assert running.mean.says_something().all()
    assert not running.var.says_something().any()


@pytest.mark.parametrize("eps", [1e-12, 1e-8])
def test_an_eps_that_float16_does_not_hold_counts_in_float32_and_may_be_zero_in_half(eps: float) -> None:
    x = np.zeros((1, 4)) + rounded(1e-3, "float16")
    single, *narrow = (group_norm(x, 1, eps=eps, arithmetic=a) for a in precisions("float16"))
    assert single.says_something().all()
    assert single.excludes(np.full((1, 4), np.nan))
    for reference in narrow:
        assert not reference.excludes(np.full((1, 4), np.nan))


def test_a_result_may_be_a_subnormal_half_but_not_flushed_unless_intermediates_are_halves_too() -> None:
    x, weight = np.array([[-1.0, 1.0]]), rounded([3e-6, 3e-6], "float16")
    y = rounded(x * weight, "float16")
    for arithmetic in precisions("float16"):
        reference = group_norm(x, 1, weight, eps=0.0, arithmetic=arithmetic)
        assert not reference.excludes(y)
        assert reference.excludes(np.zeros_like(x)) == (arithmetic.held.name == "float32")


# --- what the bounds exclude -------------------------------------------------------------------------


PAIRS: Final = {
    "eps inside or outside": ("eps_placement", "inside_sqrt", "outside_sqrt"),
    "eps inside or the larger": ("eps_placement", "inside_sqrt", "max_with_variance"),
    "eps outside or the larger": ("eps_placement", "outside_sqrt", "max_with_variance"),
    "variance": ("variance", "biased", "unbiased"),
    "grouping": ("grouping", "contiguous", "interleaved"),
    "affine shape": ("affine_shape", "per_channel", "per_group"),
}
#: Pairs that no input of `told_apart` separates: bfloat16 rounds the statistics more than n - 1 for n changes them.
INSEPARABLE: Final = {("bfloat16", "half", "variance")}


def told_apart(dtype: str, level: str, pair: str) -> float:
    """The largest distance of the output under the two values of an axis, by the widest class, at n = 4."""
    axis, *values = PAIRS[pair]
    arithmetic, weight, found = arithmetic_of(dtype, level, "one_pass"), 1 + np.arange(8) / 4, []
    pattern = np.array([[-1.0, 1.0], [1.0, -1.0]] * 4)
    size = np.array([1.0, 2.0, 1.0, 0.5, 1.0, 3.0, 1.0, 0.25])[:, None]
    for eps in (1e-5, 1e-3, 0.1):
        for ratio in (0.1, 0.3, 1.0, 30.0):
            x = rounded(pattern * size * ratio * np.sqrt(eps), dtype)[None]
            how: dict[str, Any] = {"eps": eps, "arithmetic": arithmetic}
            pairs = (group_norm(x, 4, weight, semantics=semantics("group_norm", **{axis: v}), **how) for v in values)
            found.append(distance(*pairs))
    return max(found)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_some_input_tells_two_semantics_apart_but_for_what_half_sums_blur(dtype: str, level: str, pair: str) -> None:
    assert (told_apart(dtype, level, pair) > 1) == ((dtype, level, pair) not in INSEPARABLE)


@pytest.mark.parametrize("n", [4, 8, 16])
@pytest.mark.parametrize("dtype", DTYPES)
def test_wrong_formulas_are_excluded_where_float32_computes(dtype: str, n: int) -> None:
    rng, f, store = np.random.default_rng([8, n]), Machine(dtype="float32"), Machine(dtype=dtype)
    x = store(rng.standard_normal((4, n)) * 3e-4)
    dy, weight = store(rng.standard_normal((4, n))), store(1 + np.arange(n) / n)
    statistics = STATISTICS["two_pass sequential"][1](f, f(x))
    biased, unbiased = statistics, Statistics(mean=statistics.mean, var=f(statistics.var * f(n / (n - 1))))
    arithmetic = arithmetic_of(dtype, "float32", "one_pass")
    reference = group_norm(x, 1, weight, arithmetic=arithmetic)

    def output(used: Statistics, placement: str = "inside_sqrt", eps: float = 1e-5) -> Array:
        return store(normalised(f, f(x), used, f(weight), f(0), eps=eps, placement=placement))

    assert not reference.excludes(output(biased))
    assert reference.excludes(output(biased, "outside_sqrt"))
    assert reference.excludes(output(biased, "max_with_variance"))
    assert reference.excludes(output(biased, eps=1.05e-5))
    large = store(np.float64(x) * 1e3)
    wide = Statistics(mean=f(unbiased.mean * f(1e3)), var=f(unbiased.var * f(1e6)))
    y = store(normalised(f, f(large), wide, f(weight), f(0), eps=1e-5))
    assert group_norm(large, 1, weight, arithmetic=arithmetic).excludes(y)
    p = Pass(
        f=f,
        x=f(large),
        dy=f(dy),
        weight=np.broadcast_to(f(weight), x.shape),
        statistics=STATISTICS["two_pass sequential"][1](f, f(large)),
        eps=1e-5,
        placement="inside_sqrt",
        total=SUMMATIONS["sequential"],
    )
    gradient = group_norm_backward(large, dy, 1, weight, arithmetic=arithmetic).dx
    assert not gradient.excludes(store(closed(p)))
    assert gradient.excludes(store(f(p.r * f(p.weight * p.dy))))  # the statistics taken as constants
    assert gradient.excludes(store(closed(replace(p, weight=np.ones_like(p.weight)))))
