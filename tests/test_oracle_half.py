"""Half precision: no honest implementation lies outside the bound of its precision, and wrong ones lie outside.

A layer of type float16 or bfloat16 computes in float32 and rounds its results (``float32``), holds what is
elementwise in its own type and sums in float32 (``stored``), or does everything in its own type (``half``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
    Array,
    Machine,
    Statistics,
    normalised,
)
from honest_backward import (
    CLOSED,
    SLOPES,
    THROUGH,
    UPSTREAM,
    Pass,
    channel_sums,
    closed_parameter,
    closed_weight_last,
    differentiated,
    parameter_of,
)
from honest_backward import OUTPUTS as OUTPUTS_BACKWARD

from normgauge.oracle import (
    ACCURACY_CLASSES,
    AXES,
    Arithmetic,
    Gradients,
    Reference,
    batch_norm,
    batch_norm_backward,
    group_norm,
    group_norm_backward,
    initial_statistics,
    precisions,
    rounded,
    semantics,
)

DTYPES: Final = ("float16", "bfloat16")
LEVELS: Final = ("float32", "stored", "half")
PLACEMENTS: Final = AXES["group_norm"][0].names
LENGTHS: Final = (1, 2, 3, 8, 33)
KINDS: Final = ("dx", "dweight", "dbias")
Regime = Callable[[np.random.Generator, tuple[int, ...]], Array]


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


@pytest.fixture(autouse=True)
def _honest_arithmetic_may_overflow() -> Any:
    with np.errstate(all="ignore"):
        yield


def arithmetic_of(dtype: str, level: str, accuracy: str) -> Arithmetic:
    return precisions(dtype, accuracy)[LEVELS.index(level)]


@dataclass(frozen=True)
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
        f = Machine(held.held.name, flush=bool(rng.integers(2)), sums=held.dtype)
        store, count = Machine(dtype), max(2, size // n)
        x = store(regimes(dtype)[regime](rng, (count, n)))
        dy = store(UPSTREAM[upstream](rng, np.float64(x)))
        per_set = bool(rng.integers(2))
        scale = rng.choice([1.0, 1.0, 1e-3, 1e-7, 300.0, *([1e-37, 1e20] if dtype == "bfloat16" else [])])
        weight = store(rng.standard_normal(count if per_set else n) * scale)
        bias = store(rng.standard_normal(count if per_set else n) * rng.choice([1.0, 1e-4, 1e4]))
        eps = float(rng.choice([1e-5, 1e-3, 0.5, 1e-12, 0.0]))
        unbiased = n > 1 and rng.integers(4) == 0
        return cls(rng, dtype, level, f, x, dy, per_set, weight, bias, eps, str(rng.choice(PLACEMENTS)), unbiased)

    @property
    def chosen(self) -> dict[str, str]:
        return {"eps_placement": self.placement, "variance": "unbiased" if self.unbiased else "biased"}

    def forward(self, accuracy: str, level: str = "") -> Reference:
        given = {"eps": self.eps, "arithmetic": arithmetic_of(self.dtype, level or self.level, accuracy)}
        if not self.per_set:
            chosen = semantics("group_norm", **self.chosen)
            return group_norm(self.x, 1, self.weight, self.bias, semantics=chosen, **given)
        chosen = semantics("batch_norm", single_value="shift", **self.chosen)
        found = batch_norm(self.x.T, None, self.weight, self.bias, training=True, semantics=chosen, **given).output
        return Reference(found.value.T, found.bound.T)

    def gradients(self, accuracy: str, level: str = "") -> Gradients:
        given = {"eps": self.eps, "arithmetic": arithmetic_of(self.dtype, level or self.level, accuracy)}
        if not self.per_set:
            chosen = semantics("group_norm", **self.chosen)
            return group_norm_backward(self.x, self.dy, 1, self.weight, semantics=chosen, **given)
        chosen = semantics("batch_norm", single_value="shift", **self.chosen)
        found = batch_norm_backward(self.x.T, self.dy.T, None, self.weight, training=True, semantics=chosen, **given)
        return Gradients(Reference(found.dx.value.T, found.dx.bound.T), found.dweight, found.dbias)

    def spread(self, parameter: Array) -> Array:
        return np.broadcast_to(self.f(parameter)[:, None] if self.per_set else self.f(parameter), self.x.shape)

    def output(self, statistics: Statistics, form: str, root: str) -> Array:
        f, var = self.f, statistics.var
        if self.unbiased:
            var = UNBIASED[str(self.rng.choice(list(UNBIASED)))](f, var, self.x.shape[1])
        used, parameters = Statistics(statistics.mean, var), (self.spread(self.weight), self.spread(self.bias))
        how: dict[str, Any] = {"eps": self.eps, "placement": self.placement, "root": root, "form": form}
        return Machine(self.dtype)(normalised(f, f(self.x), used, *parameters, **how))

    def of_pass(self, statistics: Statistics) -> Pass:
        rng = self.rng
        return Pass(
            self.f,
            self.f(self.x),
            self.f(self.dy),
            self.spread(self.weight),
            statistics,
            self.eps,
            self.placement,
            SUMMATIONS[str(rng.choice(list(SUMMATIONS)))],
            unbiased=self.unbiased,
            times_reciprocal=bool(rng.integers(2)),
            tie=float(rng.choice([1.0, 0.5, 0.0])),
            clamped=bool(rng.integers(2)),
            half_ulp=int(rng.integers(-1, 2)),
        )


def check_outputs(draw: Draw, names: list[str]) -> int:
    """Every named kind of statistics in every form, against its own class; returns the elements held."""
    references = {accuracy: draw.forward(accuracy) for accuracy in ACCURACY_CLASSES}
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
    rng, f, store = draw.rng, draw.f, Machine(draw.dtype)
    references = {accuracy: draw.gradients(accuracy) for accuracy in ACCURACY_CLASSES}
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
                inputs.append(CLOSED[str(rng.choice(list(CLOSED)))](p))
            if draw.placement == "inside_sqrt" and not draw.unbiased and draw.per_set:
                inputs.append(closed_weight_last(p))
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


@pytest.mark.parametrize(("dtype", "regime"), CASES)
@pytest.mark.parametrize("level", LEVELS)
def test_every_honest_output_lies_within_the_bound_of_its_precision(level: str, dtype: str, regime: str) -> None:
    rng = np.random.default_rng([1, LEVELS.index(level), CASES.index((dtype, regime))])
    held = sum(check_outputs(Draw.of(rng, dtype, level, regime, n, size=128), list(STATISTICS)) for n in LENGTHS)
    assert held > 10_000 or level != "float32"


@pytest.mark.parametrize(("dtype", "regime"), CASES)
@pytest.mark.parametrize("level", LEVELS)
def test_every_honest_gradient_lies_within_the_bound_of_its_precision(level: str, dtype: str, regime: str) -> None:
    rng = np.random.default_rng([2, LEVELS.index(level), CASES.index((dtype, regime))])
    held = 0
    for upstream in UPSTREAM:
        n = int(rng.choice([1, 2, 2, 3, 4, 8, 33]))
        draw = Draw.of(rng, dtype, level, regime, n, size=64, upstream=upstream)
        held += check_gradients(draw, [str(name) for name in rng.choice(list(STATISTICS), 4, replace=False)], each=1)
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
