"""Honest implementations in NumPy: every order of summation, kind of variance and form of the output in use.

Each works on sets of shape (B, n), rounds after every operation to its own dtype, and is vectorised over
B only, so the order of operations along n is the one that the name says. ``flush`` makes the arithmetic
treat subnormal numbers as zero, on the way in and on the way out, as GPUs and XLA do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from normgauge.oracle import rounded

Array = NDArray[Any]
Summation = Callable[["Machine", Array], Array]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The arithmetic of one dtype, with sums in a wider one where ``sums`` names it.

    NumPy has no bfloat16: its numbers are held in float32, whose sums, products, quotients and roots
    are those of bfloat16 once they are rounded (24 digits are enough for 8).
    """

    dtype: str
    flush: bool = False
    sums: str | None = None

    def __call__(self, value: Any) -> Array:
        """``value`` as this machine holds it; applied to the result of every single operation."""
        if self.dtype == "bfloat16":
            held, tiny = _bfloat16(np.asarray(value)), np.finfo("float32").tiny
        else:
            held, tiny = np.asarray(value, dtype=self.dtype), np.finfo(self.dtype).tiny
        if self.flush:
            held = np.where(np.abs(held) < tiny, held.dtype.type(0), held)
        return held

    @property
    def wide(self) -> Machine:
        """The machine that sums."""
        return self if self.sums in {None, self.dtype} else Machine(dtype=str(self.sums), flush=self.flush)

    def next(self, value: Array, towards: float) -> Array:
        """The neighbour of positive numbers."""
        if self.dtype != "bfloat16":
            return np.nextafter(value, self(towards))
        step = np.sign(towards - value).astype(np.int32) * (1 << 16)
        return (value.view(np.int32) + step).view(np.float32)


@dataclass(frozen=True, kw_only=True)
class Shading(Machine):
    """float32 as the languages of GPUs have it: each result up to 3 steps beside the nearest, which its digits choose.

    Integers are exact: what is made of them rounds once.
    """

    def __call__(self, value: Any) -> Array:
        nearest = super().__call__(value)
        bits = nearest.view(np.int32)
        steps = (bits.astype(np.int64) * 2654435761 >> 9) % 7 - 3
        off = (bits + steps.astype(np.int32)).view(np.float32)
        near = np.isfinite(off) & (np.abs(nearest) >= np.finfo(np.float32).tiny) & (nearest != np.rint(nearest))
        return np.where(near & (np.abs(off) >= np.finfo(np.float32).tiny), off, nearest)


def _bfloat16(value: Array) -> Array:
    """The nearest numbers of eight digits, ties to even, as float32."""
    if value.dtype != np.float32:
        return rounded(value, "bfloat16").astype(np.float32)
    bits = value.view(np.uint32)
    nearest = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(value), value, nearest.view(np.float32))


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Mean and sum of squared deviations (or variance), each of shape (B, 1)."""

    mean: Array
    var: Array


# --- sums over the last axis -------------------------------------------------------------------------


def sequential(f: Machine, values: Array) -> Array:
    total = values[:, :1]
    for k in range(1, values.shape[1]):
        total = f(total + values[:, k : k + 1])
    return total


def backward(f: Machine, values: Array) -> Array:
    return sequential(f, values[:, ::-1])


def pairwise(f: Machine, values: Array) -> Array:
    while values.shape[1] > 1:
        odd = values[:, -1:] if values.shape[1] % 2 else values[:, :0]
        even = values[:, : values.shape[1] // 2 * 2]
        values = np.concatenate([f(even[:, 0::2] + even[:, 1::2]), odd], axis=1)
    return values


def blocked(f: Machine, values: Array, lanes: int = 8) -> Array:
    """``lanes`` running sums side by side, as SIMD code keeps them, then their pairwise sum."""
    if values.shape[1] <= lanes:
        return sequential(f, values)
    short = -values.shape[1] % lanes
    values = np.pad(values, [(0, 0), (0, short)])
    total = values[:, :lanes]
    for start in range(lanes, values.shape[1], lanes):
        total = f(total + values[:, start : start + lanes])
    return pairwise(f, total)


def _in_the_type_of_sums(total: Summation) -> Summation:
    """Sums are handed over in the type of intermediates, unless it is too short for one of them."""

    def summed(f: Machine, values: Array) -> Array:
        if f.wide is f:
            return total(f, values)
        wide = total(f.wide, f.wide(values))
        held = f(wide)
        return wide if np.any(np.isinf(held) & np.isfinite(wide)) else held

    return summed


SUMMATIONS: Final[dict[str, Summation]] = {
    total.__name__: _in_the_type_of_sums(total) for total in (sequential, backward, pairwise, blocked)
}


# --- mean and variance -------------------------------------------------------------------------------


Mean = Callable[[Machine, Array, Summation], Array]


def divided(f: Machine, values: Array, total: Summation) -> Array:
    """The sum, divided by n."""
    return f(total(f, values) / f(values.shape[1]))


def times_reciprocal(f: Machine, values: Array, total: Summation) -> Array:
    """The sum, multiplied by a rounded 1/n."""
    return _divided(f, total(f, values), values.shape[1], reciprocal=True)


def of_products(f: Machine, values: Array, total: Summation) -> Array:
    """Caffe: the product of a row with a vector of the rounded 1/n, in the type of sums."""
    wide, n = f.wide, values.shape[1]
    return total(f, wide((values if wide is f else wide(values)) * wide(wide(1) / wide(n))))


#: How a mean is made of a sum, and what that adds to the name of the statistics.
MEANS: Final[dict[str, Mean]] = {"": divided, " times 1/n": times_reciprocal, " of products": of_products}


def two_pass(f: Machine, x: Array, total: Summation, mean_of: Mean = divided) -> Statistics:
    """The mean first, then the mean of the squared deviations from it."""
    mean = mean_of(f, x, total)
    deviation = f(x - mean)
    return Statistics(mean=mean, var=mean_of(f, f(deviation * deviation), total))


def one_pass(f: Machine, x: Array, total: Summation, mean_of: Mean = divided) -> Statistics:
    """E[x^2] - E[x]^2, cut at zero."""
    mean = mean_of(f, x, total)
    square = mean_of(f, f(x * x), total)
    return Statistics(mean=mean, var=np.maximum(f(square - f(mean * mean)), f(0)))


def one_pass_of_sums(f: Machine, x: Array, total: Summation) -> Statistics:
    """(sum x^2 - (sum x)^2 / n) / n, cut at zero."""
    n, both = f(x.shape[1]), total(f, x)
    squares = f(total(f, f(x * x)) - f(f(both * both) / n))
    return Statistics(mean=f(both / n), var=np.maximum(f(squares / n), f(0)))


def welford(f: Machine, x: Array, *, reciprocal: bool = False) -> Statistics:
    """One value after the other."""
    mean, squares = _recursion(f, x, reciprocal=reciprocal)
    return Statistics(mean=mean, var=_divided(f, squares, x.shape[1], reciprocal))


def _recursion(f: Machine, x: Array, *, reciprocal: bool = False) -> tuple[Array, Array]:
    """Welford's mean and sum of squares. The first step from nothing is exact; of an infinity it leaves a NaN.

    A sum that is rounded to one of its two neighbours leaves the mean between the old one and the value, so that no
    summand of the squares is negative. Where sums err by more, as those of ``Shading``, the squares are cut at 0.
    """
    mean, squares = x[:, :1], f(x[:, :1] - x[:, :1])
    for k in range(1, x.shape[1]):
        value = x[:, k : k + 1]
        delta = f(value - mean)
        mean = f(mean + _divided(f, delta, k + 1, reciprocal))
        squares = f(squares + f(delta * f(value - mean)))
    return mean, np.maximum(squares, f(0)) if isinstance(f, Shading) else squares


def youngs_cramer(f: Machine, x: Array) -> Statistics:
    """Youngs and Cramer (1971): sums in place of means, S + (k x - T)^2 / (k (k - 1))."""
    total, squares = x[:, :1], f(np.zeros_like(x[:, :1]))
    for k in range(2, x.shape[1] + 1):
        value = x[:, k - 1 : k]
        total = f(total + value)
        delta = f(f(f(k) * value) - total)
        squares = f(squares + f(f(delta * delta) / f(k * (k - 1))))
    return Statistics(mean=f(total / f(x.shape[1])), var=f(squares / f(x.shape[1])))


def welford_in_lanes(f: Machine, x: Array, lanes: int = 8) -> Statistics:
    """Welford in ``lanes`` running statistics, then Chan, Golub and LeVeque's combination in a tree."""
    parts = []
    for lane in range(min(lanes, x.shape[1])):
        part = x[:, lane::lanes]
        parts.append((part.shape[1], *_recursion(f, part)))
    return _combined(f, parts, x.shape[1])


def _recursively(f: Machine, x: Array, measure: Callable[[Machine, Array], Statistics]) -> Statistics:
    """The whole recursion in the type of sums."""
    return _in(f.wide, f, x, measure)


def _in_float32(f: Machine, x: Array, measure: Callable[[Machine, Array], Statistics]) -> Statistics:
    """In the type of sums, or in float32 where that is narrower: squares of sums do not fit into half precision."""
    wide = f.wide
    if wide.dtype in {"float16", "bfloat16"}:
        wide = Machine(dtype="float32", flush=f.flush)
    return _in(wide, f, x, measure)


def _in(wide: Machine, f: Machine, x: Array, measure: Callable[[Machine, Array], Statistics]) -> Statistics:
    if wide is f:
        return measure(f, x)
    found = measure(wide, wide(x))
    return Statistics(mean=f(found.mean), var=f(found.var))


def combined_singles(f: Machine, x: Array) -> Statistics:
    """Chan, Golub and LeVeque's combination from single values upwards."""
    zero = f(np.zeros_like(x[:, :1]))
    return _combined(f, [(1, x[:, k : k + 1], zero) for k in range(x.shape[1])], x.shape[1])


def _combined(f: Machine, parts: list[tuple[int, Array, Array]], n: int) -> Statistics:
    while len(parts) > 1:
        pairs = zip(parts[0::2], parts[1::2], strict=False)
        merged = [_merged(f, *(sorted(pair, key=lambda part: -part[0]))) for pair in pairs]
        parts = merged + parts[len(parts) // 2 * 2 :]
    _, mean, squares = parts[0]
    return Statistics(mean=mean, var=f(squares / f(n)))


def _merged(f: Machine, a: tuple[int, Array, Array], b: tuple[int, Array, Array]) -> tuple[int, Array, Array]:
    """The smaller part ``b`` enters ``a``."""
    delta = f(b[1] - a[1])
    share = f(f(b[0]) / f(a[0] + b[0]))
    mean = f(a[1] + f(delta * share))
    between = f(f(f(delta * delta) * f(a[0])) * share)
    return a[0] + b[0], mean, f(f(a[2] + b[2]) + between)


def _divided(f: Machine, value: Array, n: int, reciprocal: bool) -> Array:
    return f(value * f(f(1) / f(n))) if reciprocal else f(value / f(n))


WELFORD: Final[dict[str, Callable[[Machine, Array], Statistics]]] = {
    "welford": welford,
    "welford times 1/k": partial(welford, reciprocal=True),
    "welford in lanes": welford_in_lanes,
    "welford in a tree": combined_singles,
}
#: Every kind of statistics with the accuracy class it belongs to.
STATISTICS: Final[dict[str, tuple[str, Callable[[Machine, Array], Statistics]]]] = {
    **{
        f"{kind.__name__} {name}{how}": (kind.__name__, partial(kind, total=total, mean_of=mean_of))
        for kind in (two_pass, one_pass)
        for name, total in SUMMATIONS.items()
        for how, mean_of in MEANS.items()
    },
    **{
        f"one_pass {name} of sums": (
            "one_pass",
            partial(_in_float32, measure=partial(one_pass_of_sums, total=total)),
        )
        for name, total in SUMMATIONS.items()
    },
    **{name: ("welford", partial(_recursively, measure=measure)) for name, measure in WELFORD.items()},
    "youngs and cramer": ("welford", partial(_in_float32, measure=youngs_cramer)),
}


# --- reciprocal deviation and output -----------------------------------------------------------------


def inverse(f: Machine, s: Array) -> Array:
    return f(f(1) / f(np.sqrt(s)))


def two_ulp_high(f: Machine, s: Array) -> Array:
    """A step above ``inverse``, itself good to 1 ulp: what a library's ``rsqrt`` may return."""
    return beside(f, inverse(f, s), np.inf)


def two_ulp_low(f: Machine, s: Array) -> Array:
    return beside(f, inverse(f, s), 0.0)


def beside(f: Machine, r: Array, towards: float) -> Array:
    """The neighbours of reciprocal roots, but of 0 and of an infinity, which every library has exactly."""
    return np.where(np.isfinite(r) & (r != 0), f.next(r, towards), r)


ROOTS: Final = {root.__name__: root for root in (inverse, two_ulp_high, two_ulp_low)}


@dataclass(frozen=True, kw_only=True)
class Affine:
    """What an output is made of: statistics, the deviation and its reciprocal, each (B, 1); parameters broadcast."""

    mean: Array
    deviation: Array
    r: Array
    weight: Array
    bias: Array


def plain(f: Machine, x: Array, a: Affine) -> Array:
    """((x - mean) r) w + b"""
    return f(f(f(f(x - a.mean) * a.r) * a.weight) + a.bias)


def folded(f: Machine, x: Array, a: Affine) -> Array:
    """(x - mean) (w r) + b"""
    return f(f(f(x - a.mean) * f(a.weight * a.r)) + a.bias)


def fused(f: Machine, x: Array, a: Affine) -> Array:
    """x c + (b - mean c), c = w r"""
    scale = f(a.weight * a.r)
    return f(f(x * scale) + f(a.bias - f(a.mean * scale)))


def weight_first(f: Machine, x: Array, a: Affine) -> Array:
    """(w (x - mean)) r + b"""
    return f(f(f(a.weight * f(x - a.mean)) * a.r) + a.bias)


def quotient(f: Machine, x: Array, a: Affine) -> Array:
    """((x - mean) / d) w + b"""
    return f(f(f(f(x - a.mean) / a.deviation) * a.weight) + a.bias)


def algorithm_2(f: Machine, x: Array, a: Affine) -> Array:
    """(w / d) x + (b - (w mean) / d), line 11 of the paper's algorithm 2: ncnn's"""
    return f(f(f(a.weight / a.deviation) * x) + f(a.bias - f(f(a.weight * a.mean) / a.deviation)))


def separate(f: Machine, x: Array, a: Affine) -> Array:
    """(x r) w + (b - (mean r) w)"""
    return f(f(f(x * a.r) * a.weight) + f(a.bias - f(f(a.mean * a.r) * a.weight)))


def difference_of_products(f: Machine, x: Array, a: Affine) -> Array:
    """((x r) w - (mean r) w) + b"""
    return f(f(f(f(x * a.r) * a.weight) - f(f(a.mean * a.r) * a.weight)) + a.bias)


def bias_in_mean(f: Machine, x: Array, a: Affine) -> Array:
    """(x - (mean - b / s)) s, s = w r; the folded form where b / s leaves the range, as with a weight of 0"""
    scale = f(a.weight * a.r)
    moved = f(x - f(a.mean - f(a.bias / scale)))
    return np.where(np.isfinite(moved), f(moved * scale), folded(f, x, a))


OUTPUTS: Final[dict[str, Callable[[Machine, Array, Affine], Array]]] = {
    form.__name__: form
    for form in (
        plain,
        folded,
        fused,
        weight_first,
        quotient,
        algorithm_2,
        separate,
        difference_of_products,
        bias_in_mean,
    )
}


def normalised(
    f: Machine,
    x: Array,
    statistics: Statistics,
    weight: Array,
    bias: Array,
    *,
    eps: float,
    placement: str = "inside_sqrt",
    root: str = "inverse",
    form: str = "plain",
) -> Array:
    """The output for sets ``x`` of shape (B, n); ``weight`` and ``bias`` broadcast with it."""
    if placement == "outside_sqrt":
        deviation = f(f(np.sqrt(statistics.var)) + f(eps))
        r = f(f(1) / deviation)
    else:
        under = f(statistics.var + f(eps)) if placement == "inside_sqrt" else np.maximum(statistics.var, f(eps))
        deviation, r = f(np.sqrt(under)), ROOTS[root](f, under)
    return OUTPUTS[form](f, x, Affine(mean=statistics.mean, deviation=deviation, r=r, weight=weight, bias=bias))


# --- running statistics ------------------------------------------------------------------------------


def weigh_new(f: Machine, old: Array, new: Array, momentum: float) -> Array:
    """torch: momentum is given, the weight of the old value is 1 - momentum."""
    return f(f(f(f(1) - f(momentum)) * old) + f(f(momentum) * new))


def weigh_old(f: Machine, old: Array, new: Array, momentum: float) -> Array:
    """keras: the weight of the old value is given, that of the new one is 1 minus it."""
    kept = f(1 - momentum)
    return f(f(kept * old) + f(f(f(1) - kept) * new))


def step_towards(f: Machine, old: Array, new: Array, momentum: float) -> Array:
    """TensorFlow's moving average: old - (old - new) * (1 - decay)."""
    return f(old - f(f(old - new) * f(f(1) - f(1 - momentum))))


def step_back(f: Machine, old: Array, new: Array, momentum: float) -> Array:
    """new + (1 - m) (old - new): torch.lerp from a half on, and averages that name their decay."""
    return f(new + f(f(f(1) - f(momentum)) * f(old - new)))


UPDATES: Final = {update.__name__: update for update in (weigh_new, weigh_old, step_towards, step_back)}


def unbiased_by_factor(f: Machine, var: Array, n: int) -> Array:
    return f(var * f(f(n) / f(n - 1)))


def unbiased_by_product(f: Machine, var: Array, n: int) -> Array:
    return f(f(var * f(n)) / f(n - 1))


UNBIASED: Final = {form.__name__: form for form in (unbiased_by_factor, unbiased_by_product)}


# --- data --------------------------------------------------------------------------------------------


def _ratio(power: int) -> Callable[[np.random.Generator, tuple[int, int]], Array]:
    return lambda rng, shape: 2.0**power + rng.standard_normal(shape)


def _scaled(size: float) -> Callable[[np.random.Generator, tuple[int, int]], Array]:
    return lambda rng, shape: size * rng.standard_normal(shape)


def _outlier(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    x = rng.standard_normal(shape)
    x[np.arange(shape[0]), rng.integers(0, shape[1], shape[0])] = 1e4
    return x


def _outlier_first(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    x = rng.standard_normal(shape)
    x[:, 0] = -3e3
    return x


def _two_values(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    low = rng.standard_normal((shape[0], 1))
    return np.where(rng.random(shape) < 0.5, low, low + rng.random((shape[0], 1)))


def _near_powers_of_two(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Values just above powers of two, where the unit roundoff is worst, and all of one sign."""
    return np.ldexp(1 + rng.random(shape) * 2.0**-10, rng.integers(-2, 2, shape))


def _magnitudes(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    return np.ldexp(rng.standard_normal(shape), rng.integers(-12, 12, shape))


#: Data by regime: shape (B, n), float64, to be rounded to the machine's dtype; powers are float32's.
REGIMES: Final[dict[str, Callable[[np.random.Generator, tuple[int, int]], Array]]] = {
    "normal": _scaled(1.0),
    "mean 4": _ratio(2),
    "mean 2^8": _ratio(8),
    "mean 2^16": _ratio(16),
    "mean 2^23": _ratio(23),
    "deviation sqrt(eps)": _scaled(2.0**-8.3),
    "deviation sqrt(eps)/30": _scaled(1e-4),
    "deviation eps": _scaled(1e-5),
    "constant": lambda rng, shape: np.broadcast_to(rng.standard_normal((shape[0], 1)) * 1e3, shape).copy(),
    "two values": _two_values,
    "outlier": _outlier,
    "outlier first": _outlier_first,
    "sorted": lambda rng, shape: np.sort(rng.standard_normal(shape), axis=1),
    "positive": lambda rng, shape: rng.exponential(size=shape),
    "just above powers of two": _near_powers_of_two,
    "magnitudes": _magnitudes,
    "integers": lambda rng, shape: rng.integers(-4, 5, shape).astype(float),
    "tiny": _scaled(1e-25),
    "near the smallest normal": _scaled(3e-38),
    "subnormal": _scaled(1e-41),
    "huge": _scaled(1e15),
    "near overflow": _scaled(3e17),
}
