"""The oracle's values against exact rational arithmetic; only the square root is rounded, at 60 digits.

The exact reference below is written from the definitions, element by element, and shares no code and no
formula with the oracle: a cumulative average is a sum divided by a count, a zero-debiased average is a
hidden average and its divisor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

import mpmath
import numpy as np
import pytest
from honest import OUTPUTS, STATISTICS, Machine, normalised
from numpy.typing import NDArray
from samples import corners

from normgauge.oracle import (
    AXES,
    Arithmetic,
    BatchNormReference,
    Reference,
    Refusal,
    RunningStatistics,
    Semantics,
    batch_norm,
    group_norm,
    initial_statistics,
    semantics,
)

Array = NDArray[Any]
Affine = Array | Sequence[float] | None
PerChannel = Array | Sequence[Any]
U: Final = 2.0**-53
#: What underflow costs a single operation.
QUANTUM: Final = 2.0**-1074
DIGITS: Final = 60
MP: Final = mpmath.mp.clone()
MP.dps = DIGITS

#: Roundings between the exact value and the oracle's, relative to |weight * x_hat|: the deviation 2, the
#: variance 7.5 with 2 more for n / (n - 1), halved by the root, the reciprocal root 2.5, two products.
#: Rounded up.
ROUNDINGS: Final = 12
#: The float32 bound has a unit roundoff 2^29 times the oracle's. Of the mean, the oracle's two passes lose
#: (n + 3) units of mean|x - mean|, the bound allows (n - 1) / 2 units of the deviation and more of the
#: mean: at worst, n = 2, ten times less; as a power of two, 16 / 2^29.
FAR_BELOW: Final = 2.0**-25

PLACEMENTS: Final = AXES["group_norm"][0].names


def exact(values: Array) -> Array:
    """Every element as the fraction that it is."""
    made = np.array([Fraction(float(v)) for v in np.ravel(values)], dtype=object)
    return made.reshape(np.shape(values))


def real(value: Fraction) -> Any:
    return MP.mpf(value.numerator) / MP.mpf(value.denominator)


def moments(values: Sequence[Fraction], divisor: str = "biased") -> tuple[Fraction, Fraction | None]:
    """The mean and the variance; None for the unbiased variance of one value."""
    n = len(values)
    mean = sum(values, Fraction(0)) / n
    squares = sum(((v - mean) ** 2 for v in values), Fraction(0))
    if divisor == "biased":
        return mean, squares / n
    return mean, squares / (n - 1) if n > 1 else None


def reciprocal(var: Fraction, eps: Fraction, placement: str) -> Any:
    """The reciprocal deviation, None where it is infinite."""
    if placement == "inside_sqrt":
        deviation = MP.sqrt(real(var + eps))
    elif placement == "outside_sqrt":
        deviation = MP.sqrt(real(var)) + real(eps)
    else:
        deviation = MP.sqrt(real(max(var, eps)))
    return 1 / deviation if deviation else None


@dataclass(kw_only=True)
class Element:
    """An exact output, and what the oracle's error is measured against."""

    y: Any
    scaled: float  # |weight * x_hat|
    slope: float  # |weight| * reciprocal deviation
    spread: float  # standard deviation times reciprocal deviation, at most 1


def element(value: Fraction, mean: Fraction, var: Fraction, r: Any, weight: Fraction, bias: Fraction) -> Element:
    scaled = real(weight * (value - mean)) * r
    return Element(
        y=scaled + real(bias),
        scaled=float(abs(scaled)),
        slope=float(abs(real(weight)) * r),
        spread=float(MP.sqrt(real(max(var, Fraction(0)))) * r),
    )


def exact_group_norm(x: Array, groups: int, weight: Affine, bias: Affine, eps: float, chosen: Semantics) -> Array:
    values = exact(x)
    channels = x.shape[1]
    size = channels // groups
    out = np.empty(x.shape, dtype=object)
    interleaved = chosen.choices["grouping"] == "interleaved"
    for sample in range(x.shape[0]):
        for group in range(groups):
            members = [c for c in range(channels) if (c % groups if interleaved else c // size) == group]
            mean, var = moments([v for c in members for v in np.ravel(values[sample, c])], chosen.choices["variance"])
            r = None if var is None else reciprocal(var, Fraction(eps), chosen.choices["eps_placement"])
            for c in members:
                index = group if chosen.choices["affine_shape"] == "per_group" else c
                w = Fraction(1) if weight is None else Fraction(float(weight[index]))
                b = Fraction(0) if bias is None else Fraction(float(bias[index]))
                for place in np.ndindex(x.shape[2:]):
                    key = (sample, c, *place)
                    out[key] = None if var is None or r is None else element(values[key], mean, var, r, w, b)
    return out


@dataclass
class ExactBatchNorm:
    """A living layer in fractions."""

    mean: list[Fraction]
    var: list[Fraction | None]
    seen: list[tuple[list[Fraction], list[Fraction | None]]] = field(default_factory=list)

    def train(self, x: Array, momentum: float | None, chosen: Semantics) -> None:
        channels = [exact(x[:, c]).ravel() for c in range(x.shape[1])]
        pairs = [moments(list(values), chosen.choices["running_var"]) for values in channels]
        self.seen.append(([mean for mean, _ in pairs], [var for _, var in pairs]))
        self.mean = [self._next(0, c, momentum, chosen) for c in range(x.shape[1])]
        self.var = [self._next(1, c, momentum, chosen) for c in range(x.shape[1])]

    def _next(self, kind: int, channel: int, momentum: float | None, chosen: Semantics) -> Any:
        measured = [batch[kind][channel] for batch in self.seen]
        batches = [value for value in measured if value is not None]
        if len(batches) < len(measured):
            return None
        if momentum is None and chosen.choices["momentum_none"] == "cumulative":
            return sum(batches, Fraction(0)) / len(batches)
        given = Fraction(0.1 if momentum is None else momentum)
        bootstrap = "plain" if momentum is None else chosen.choices["bootstrap"]
        new = given if chosen.choices["momentum_weighs"] == "new" or momentum is None else 1 - given
        if bootstrap == "first_batch" and len(batches) == 1:
            return batches[-1]
        if bootstrap == "zero_debiased":
            hidden = Fraction(0)
            for value in batches:
                hidden = (1 - new) * hidden + new * value
            return hidden / (1 - (1 - new) ** len(batches))
        old = (self.mean, self.var)[kind][channel]
        assert old is not None, "after a batch without a variance there is none in any later step"
        return (1 - new) * old + new * batches[-1]


def exact_output(
    x: Array, mean: PerChannel, var: PerChannel, weight: Affine, bias: Affine, eps: float, place: str
) -> Array:
    """The output of BatchNorm from given statistics, one of each per channel."""
    values = exact(x)
    out = np.empty(x.shape, dtype=object)
    for c in range(x.shape[1]):
        r = None if var[c] is None else reciprocal(var[c], Fraction(eps), place)
        w = Fraction(1) if weight is None else Fraction(float(weight[c]))
        b = Fraction(0) if bias is None else Fraction(float(bias[c]))
        for key in np.ndindex(x.shape):
            if key[1] == c:
                out[key] = None if r is None else element(values.item(key), mean[c], var[c], r, w, b)
    return out


# --- cases -------------------------------------------------------------------------------------------


def data(regime: str, rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    normal = rng.standard_normal(shape)
    wide = {
        "normal": normal,
        "mean 1e8, deviation 1": 1e8 + normal,
        "mean 2^40, deviation 2^-10": 2.0**40 + normal * 2.0**-10,
        "constant channels": np.broadcast_to(rng.standard_normal((1, shape[1], *(1,) * (len(shape) - 2))), shape),
        "subnormal": normal * (1e-42 if dtype == "float32" else 1e-312),
        "huge": normal * (1e17 if dtype == "float32" else 1e150),
        "tiny": normal * 1e-30,
        "deviation sqrt(eps)/10": normal * 3e-4,
        "one outlier": np.where(np.arange(normal.size).reshape(shape) == normal.size // 2, 1e6, normal),
        "magnitudes": np.ldexp(normal, rng.integers(-20, 20, shape)),
    }[regime]
    return wide.astype(dtype)


REGIMES: Final = (
    "normal",
    "mean 1e8, deviation 1",
    "mean 2^40, deviation 2^-10",
    "constant channels",
    "subnormal",
    "huge",
    "tiny",
    "deviation sqrt(eps)/10",
    "one outlier",
    "magnitudes",
)


def shaped(rng: np.random.Generator) -> tuple[int, ...]:
    """(N, C, *spatial) of rank 2 to 5 with at most some 100 elements."""
    rank = int(rng.integers(2, 6))
    return (int(rng.integers(1, 4)), int(rng.integers(1, 9)), *(int(v) for v in rng.integers(1, 4, rank - 2)))


def parameter(rng: np.random.Generator, channels: int, dtype: str) -> Array | None:
    return rng.standard_normal(channels).astype(dtype) if rng.random() < 0.6 else None


def eps_of(rng: np.random.Generator) -> float:
    return float(rng.choice([1e-5, 1e-3, 0.5, 1e-12]))


def drawn(rng: np.random.Generator, layer: str, fixed: dict[str, str]) -> Semantics:
    """Random semantics with the ``fixed`` choices."""
    return semantics(layer, **{axis.name: fixed.get(axis.name, str(rng.choice(axis.names))) for axis in AXES[layer]})


def every_value(layer: str) -> list[dict[str, str]]:
    return [{axis.name: name} for axis in AXES[layer] for name in axis.names]


def named(value: dict[str, str] | str) -> str:
    """The name of a parameter: an axis and its value, or what the parameter is."""
    return value if isinstance(value, str) else "=".join(*value.items())


def distance_from(value: float, truth: Any) -> float:
    return float(abs(MP.mpf(float(value)) - truth))


def mean_error(values: Array) -> float:
    """What compensated summation loses of a mean (moments.py derives it)."""
    return float(2 * (np.log2(values.size) + 3) ** 2 * U**2 * np.mean(np.abs(np.float64(values))) + QUANTUM)


def check_output(got: Reference, truth: Array, dtype: str, lost: Callable[[tuple[int, ...]], float]) -> int:
    """Every element is as near the exact one as derived, and inside the bound; returns how many were held."""
    held = 0
    for key in np.ndindex(truth.shape):
        want: Element | None = truth.item(key)
        if want is None:
            assert np.isnan(got.value[key]) or np.isposinf(got.bound[key]), key
            continue
        if np.isposinf(got.bound[key]):
            continue
        held += 1
        off = distance_from(got.value.item(key), want.y)
        assert off <= got.bound[key], key
        if dtype == "float64":
            size = float(abs(want.y))
            allowed = U * (ROUNDINGS * want.scaled + 2 * size) + 2 * QUANTUM * (1 + want.slope)
            # The mean enters x - mean, and the variance by sigma times twice its error.
            allowed += want.slope * lost(key) * (2 + want.scaled)
            assert off <= allowed, (key, off / (U * (want.scaled + size)))
        else:
            assert off <= FAR_BELOW * got.bound[key], key
    return held


# --- group norm --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fixed", every_value("group_norm"), ids=named)
@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_group_norm_computes_the_exact_value_to_a_few_units_roundoff(
    fixed: dict[str, str], regime: str, dtype: str
) -> None:
    rng = np.random.default_rng([REGIMES.index(regime), len(str(fixed)), len(dtype), sum(map(ord, str(fixed)))])
    held = 0
    for _ in range(3):
        shape = shaped(rng)
        channels = shape[1]
        groups = int(rng.choice([g for g in range(1, channels + 1) if channels % g == 0]))
        x = data(regime, rng, shape, dtype)
        weight, bias, eps = parameter(rng, channels, dtype), parameter(rng, channels, dtype), eps_of(rng)
        chosen = drawn(rng, "group_norm", fixed)
        got = group_norm(x, groups, weight, bias, eps=eps, semantics=chosen, arithmetic=Arithmetic(dtype, "two_pass"))

        def lost(key: tuple[int, ...], x: Array = x) -> float:
            return mean_error(x[key[0]]) * x.shape[1]  # mean|x| of a group is at most C / size of the sample's

        held += check_output(got, exact_group_norm(x, groups, weight, bias, eps, chosen), dtype, lost)
    assert held or fixed.get("variance") == "unbiased"


def test_a_negative_eps_is_added_as_it_is_and_below_the_variance_alone() -> None:
    """Where var + eps < 0 every result is no number; where it is 0, which one comes out says nothing."""
    x = np.array([[1.0, 3.0]], np.float32)
    for eps in (-0.75, -1.0, -2.0):
        outputs = (group_norm(x, 1, eps=eps), batch_norm(x.T, None, training=True, eps=eps).output)
        for got in outputs:
            first, second = got.value.ravel()
            if eps == -0.75:
                assert -first == second == 2.0
                assert (got.bound < 1e-4).all()
            elif eps == -1.0:
                assert not got.says_something().any()
            else:
                assert np.isnan([first, second]).all()
                assert got.says_something().all()


@pytest.mark.parametrize("weight", [None, [2.0, -1.0, 0.5, 0.0]])
@pytest.mark.parametrize("bias", [None, [0.0, 1.0, -3.0, 0.25]])
def test_weight_and_bias_are_optional_each_by_itself(weight: list[float] | None, bias: list[float] | None) -> None:
    x = np.arange(24.0).reshape(2, 4, 3) ** 2
    truth = exact_group_norm(x, 2, weight, bias, 1e-5, semantics("group_norm"))
    held = check_output(group_norm(x, 2, weight, bias), truth, "float64", lambda _: mean_error(x))
    assert held == x.size
    statistics = initial_statistics(np.arange(4.0), np.arange(4.0) + 1)
    truth = exact_output(x, exact(np.arange(4.0)), exact(np.arange(4.0) + 1), weight, bias, 1e-5, "inside_sqrt")
    got = batch_norm(x, statistics, weight, bias, training=False).output
    assert check_output(got, truth, "float64", nothing) == x.size


# --- batch norm --------------------------------------------------------------------------------------


def check_running(got: RunningStatistics, exactly: ExactBatchNorm, allowed: dict[str, Array], dtype: str) -> None:
    for name, reference, truth in (("mean", got.mean, exactly.mean), ("var", got.var, exactly.var)):
        for c, want in enumerate(truth):
            if want is None:
                assert np.isposinf(reference.bound[c])
                continue
            if np.isposinf(reference.bound[c]):
                continue
            off = distance_from(reference.value[c], real(want))
            assert off <= reference.bound[c], (name, c)
            if dtype == "float64":
                assert off <= allowed[name][c], (name, c, off, allowed[name][c])
            else:
                assert off <= FAR_BELOW * reference.bound[c], (name, c)


def step_allowance(
    before: dict[str, Array], old: tuple[Array, Array], batch: Array, step: int, layer: Layer
) -> dict[str, Array]:
    """What float64 may lose of the running statistics in one more step.

    The weight and its complement carry an absolute error of U, or of U times the roundings of a
    difference of numbers near 1 where they are debiased; the blend itself and the parts it is made of
    cost 5 U.
    """
    weight = weight_of_new(layer.momentum, step, layer.chosen)
    factors = U * (1 + debiasing(layer.momentum, step, layer.chosen))
    sets = np.moveaxis(batch.astype(np.float64), 1, 0).reshape(batch.shape[1], -1)
    lost = np.array([mean_error(s) for s in sets])
    mean, var = np.abs(sets.mean(axis=1)), sets.var(axis=1) * sets.shape[1] / max(sets.shape[1] - 1, 1)
    # The float64 estimates above serve as sizes only; their own error is of second order, but for the
    # variance of nearly constant data, whose error is that of its mean, squared.
    slack = (sets.shape[1] * U * np.abs(sets).max(axis=1)) ** 2
    made = {}
    for name, o, new, own in (
        ("mean", old[0], mean + lost, lost),
        ("var", old[1], var + slack, 10 * U * (var + slack) + 4 * lost * np.sqrt(var + slack) + 2 * lost**2),
    ):
        blend = abs(1 - weight) * np.abs(o) + abs(weight) * new
        made[name] = abs(1 - weight) * before[name] + abs(weight) * own + 5 * U * blend + 4 * QUANTUM
        made[name] = made[name] + factors * (np.abs(o) + new)
    return made


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A BatchNorm layer and what it is called with."""

    channels: int
    chosen: Semantics
    momentum: float | None
    weight: Array | None
    bias: Array | None
    eps: float
    dtype: str

    @classmethod
    def drawn(cls, rng: np.random.Generator, fixed: dict[str, str], channels: int, dtype: str) -> Layer:
        chosen = drawn(rng, "batch_norm", fixed)
        # Where the weight of the batch is 0, a zero-debiased average is 0 / 0.
        extremes = [] if chosen.choices["bootstrap"] == "zero_debiased" else [0.0, 1.0]
        momentum: float | None = float(rng.choice([0.1, 0.3, 0.9, 0.5, 0.01, *extremes]))
        if "momentum_none" in fixed or rng.random() < 0.2:
            momentum = None
        weight, bias = parameter(rng, channels, dtype), parameter(rng, channels, dtype)
        return cls(
            channels=channels, chosen=chosen, momentum=momentum, weight=weight, bias=bias, eps=eps_of(rng), dtype=dtype
        )

    def call(self, x: Array, running: RunningStatistics | None, *, training: bool) -> BatchNormReference:
        return batch_norm(
            x,
            running,
            self.weight,
            self.bias,
            training=training,
            momentum=self.momentum,
            eps=self.eps,
            semantics=self.chosen,
            arithmetic=Arithmetic(self.dtype, "two_pass"),
        )

    def truth(self, x: Array, pairs: Sequence[tuple[Fraction | None, Fraction | None]]) -> Array:
        """The exact output from a mean and a variance per channel."""
        mean, var = zip(*pairs, strict=True)
        place = self.chosen.choices["eps_placement"]
        return exact_output(x, mean, var, self.weight, self.bias, self.eps, place)

    def of_batch(self, x: Array, divisor: str) -> Array:
        return self.truth(x, [moments(list(exact(x[:, c]).ravel()), divisor) for c in range(self.channels)])

    def of_running(self, x: Array, running: RunningStatistics) -> Array:
        """From the oracle's own running statistics: their error is checked by itself."""
        pairs = zip(running.mean.value, running.var.value, strict=True)
        known = [np.isfinite(mean) and np.isfinite(var) for mean, var in zip(*_values(running), strict=True)]
        return self.truth(
            x, [(Fraction(m), Fraction(v)) if k else (None, None) for (m, v), k in zip(pairs, known, strict=True)]
        )

    def refused(self, single: bool) -> bool:
        none = self.momentum is None and self.chosen.choices["momentum_none"] == "refused"
        return none or (single and self.chosen.choices["single_value"] == "refused")

    def identity(self, single: bool) -> bool:
        return single and self.chosen.choices["single_value"] == "identity"

    def check(self, got: Reference, truth: Array, lost: Callable[[tuple[int, ...]], float]) -> None:
        check_output(got, truth, self.dtype, lost)


def _values(running: RunningStatistics) -> tuple[Array, Array]:
    return running.mean.value, running.var.value


def nothing(_: tuple[int, ...]) -> float:
    return 0.0


@pytest.mark.parametrize(
    ("fixed", "regime", "dtype"), corners(3, every_value("batch_norm"), REGIMES, ["float32", "float64"]), ids=named
)
def test_batch_norm_computes_the_exact_values_over_several_steps(
    fixed: dict[str, str], regime: str, dtype: str
) -> None:
    rng = np.random.default_rng([7, REGIMES.index(regime), len(dtype), sum(map(ord, str(fixed)))])
    shape = shaped(rng)
    if "single_value" in fixed and regime in REGIMES[::2]:
        shape = (1, shape[1], *(1,) * (len(shape) - 2))
    n = int(np.prod(shape)) // shape[1]
    layer = Layer.drawn(rng, fixed, shape[1], dtype)
    if layer.refused(n == 1):
        with pytest.raises(Refusal):
            layer.call(data(regime, rng, shape, dtype), initial_statistics(*np.ones((2, shape[1]))), training=True)
        return
    start = rng.standard_normal(shape[1]), rng.random(shape[1]) + 0.5
    running, exactly = initial_statistics(*start), ExactBatchNorm(*(list(exact(s)) for s in start))
    allowed = {"mean": np.zeros(shape[1]), "var": np.zeros(shape[1])}
    for step in range(1, 4):
        x = data(regime, rng, shape, dtype)
        result = layer.call(x, running, training=True)
        if layer.identity(n == 1):
            np.testing.assert_array_equal(result.output.value, x)
            assert result.running is running
            continue
        if layer.chosen.choices["training_normalizes_with"] == "running":
            assert result.running is running
        else:
            exactly.train(x, layer.momentum, layer.chosen)
            allowed = step_allowance(allowed, _values(running), x, step, layer)
            assert result.running is not None
            running = result.running
            check_running(running, exactly, allowed, dtype)
        check_training_output(layer, x, result.output, running)
        check_evaluation(layer, x, running)


def check_training_output(layer: Layer, x: Array, got: Reference, running: RunningStatistics) -> None:
    n = x.size // layer.channels
    if n == 1 and layer.chosen.choices["single_value"] == "nan":
        assert np.isnan(got.value).all()
        assert (got.bound == 0).all()
    elif layer.chosen.choices["training_normalizes_with"] != "batch":
        layer.check(got, layer.of_running(x, running), nothing)
    else:
        truth = layer.of_batch(x, "biased" if n == 1 else layer.chosen.choices["variance"])
        layer.check(got, truth, lambda key: mean_error(x[:, key[1]]))


def check_evaluation(layer: Layer, x: Array, running: RunningStatistics) -> None:
    layer.check(layer.call(x, running, training=False).output, layer.of_running(x, running), nothing)
    untracked = layer.call(x, None, training=False).output
    if layer.chosen.choices["untracked_eval_uses"] == "initial":
        layer.check(untracked, layer.truth(x, [(Fraction(0), Fraction(1))] * layer.channels), nothing)
    else:
        truth = layer.of_batch(x, layer.chosen.choices["variance"])
        layer.check(untracked, truth, lambda key: mean_error(x[:, key[1]]))


def weight_of_new(momentum: float | None, step: int, chosen: Semantics) -> float:
    if momentum is None:
        return 1 / step if chosen.choices["momentum_none"] == "cumulative" else 0.1
    new = momentum if chosen.choices["momentum_weighs"] == "new" else 1 - momentum
    if chosen.choices["bootstrap"] == "zero_debiased":
        return float(Fraction(new) / (1 - (1 - Fraction(new)) ** step))
    return 1.0 if chosen.choices["bootstrap"] == "first_batch" and step == 1 else new


def debiasing(momentum: float | None, step: int, chosen: Semantics) -> float:
    """The roundings of 1 - (1 - w)^step relative to itself, where the semantics divide by it."""
    if momentum is None or chosen.choices["bootstrap"] != "zero_debiased":
        return 0.0
    kept = 1 - (momentum if chosen.choices["momentum_weighs"] == "new" else 1 - momentum)
    return (step + 2) * kept**step / (1 - kept**step) + 2


# --- honest float64 against the exact values ---------------------------------------------------------


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("place", PLACEMENTS)
def test_honest_float64_lies_within_the_bound_of_its_class_about_the_exact_value(name: str, place: str) -> None:
    """The oracle's value is not taken for granted: |honest - exact| <= bound, and the oracle nearer still."""
    rng = np.random.default_rng([11, list(STATISTICS).index(name), PLACEMENTS.index(place)])
    accuracy, measure = STATISTICS[name]
    machine = Machine(dtype="float64")
    chosen = semantics("group_norm", eps_placement=place)
    for regime in REGIMES:
        n = int(rng.choice([2, 3, 8, 20]))
        x = data(regime, rng, (2, n), "float64")
        weight, bias = rng.standard_normal(n), rng.standard_normal(n)
        got = group_norm(x, 1, weight, bias, eps=1e-5, semantics=chosen, arithmetic=Arithmetic("float64", accuracy))
        truth = exact_group_norm(x, 1, weight, bias, 1e-5, chosen)
        for form in OUTPUTS:
            y = normalised(machine, x, measure(machine, x), weight, bias, eps=1e-5, placement=place, form=form)
            for key in np.ndindex(y.shape):
                assert distance_from(y.item(key), truth.item(key).y) <= got.bound[key], (regime, form, key)
