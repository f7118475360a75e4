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
        wide = total(f.wide, f.wide(values))
        held = f(wide)
        return wide if f.wide != f and np.any(np.isinf(held) & np.isfinite(wide)) else held

    return summed


SUMMATIONS: Final[dict[str, Summation]] = {
    total.__name__: _in_the_type_of_sums(total) for total in (sequential, backward, pairwise, blocked)
}


# --- mean and variance -------------------------------------------------------------------------------


def two_pass(f: Machine, x: Array, total: Summation, *, reciprocal: bool = False) -> Statistics:
    """The mean first, then the mean of the squared deviations from it."""
    mean = _divided(f, total(f, x), x.shape[1], reciprocal)
    deviation = f(x - mean)
    return Statistics(mean=mean, var=_divided(f, total(f, f(deviation * deviation)), x.shape[1], reciprocal))


def one_pass(f: Machine, x: Array, total: Summation, *, reciprocal: bool = False) -> Statistics:
    """E[x^2] - E[x]^2, cut at zero."""
    mean = _divided(f, total(f, x), x.shape[1], reciprocal)
    square = _divided(f, total(f, f(x * x)), x.shape[1], reciprocal)
    return Statistics(mean=mean, var=np.maximum(f(square - f(mean * mean)), f(0)))


def welford(f: Machine, x: Array, *, reciprocal: bool = False) -> Statistics:
    """One value after the other."""
    mean, squares = f(np.zeros_like(x[:, :1])), f(np.zeros_like(x[:, :1]))
    for k in range(x.shape[1]):
        value = x[:, k : k + 1]
        delta = f(value - mean)
        mean = f(mean + _divided(f, delta, k + 1, reciprocal))
        squares = f(squares + f(delta * f(value - mean)))
    return Statistics(mean=mean, var=_divided(f, squares, x.shape[1], reciprocal))


def welford_in_lanes(f: Machine, x: Array, lanes: int = 8) -> Statistics:
    """Welford in ``lanes`` running statistics, then Chan, Golub and LeVeque's combination in a tree."""
    parts = []
    for lane in range(min(lanes, x.shape[1])):
        part = x[:, lane::lanes]
        count, mean, squares = 0, f(np.zeros_like(x[:, :1])), f(np.zeros_like(x[:, :1]))
        for count in range(1, part.shape[1] + 1):
            value = part[:, count - 1 : count]
            delta = f(value - mean)
            mean = f(mean + f(delta / f(count)))
            squares = f(squares + f(delta * f(value - mean)))
        parts.append((count, mean, squares))
    return _combined(f, parts, x.shape[1])


def _recursively(f: Machine, x: Array, measure: Callable[[Machine, Array], Statistics]) -> Statistics:
    """The whole recursion in the type of sums."""
    found = measure(f.wide, f.wide(x))
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
        f"{kind.__name__} {name}{' times 1/n' * reciprocal}": (
            kind.__name__,
            partial(kind, total=total, reciprocal=reciprocal),
        )
        for kind in (two_pass, one_pass)
        for name, total in SUMMATIONS.items()
        for reciprocal in (False, True)
    },
    **{name: ("welford", partial(_recursively, measure=measure)) for name, measure in WELFORD.items()},
}


# --- reciprocal deviation and output -----------------------------------------------------------------


def inverse(f: Machine, s: Array) -> Array:
    return f(f(1) / f(np.sqrt(s)))


def two_ulp_high(f: Machine, s: Array) -> Array:
    """A step above ``inverse``, itself good to 1 ulp: what a library's ``rsqrt`` may return."""
    r = inverse(f, s)
    return np.where(np.isfinite(r), f.next(r, np.inf), r)


def two_ulp_low(f: Machine, s: Array) -> Array:
    r = inverse(f, s)
    return np.where(np.isfinite(r), f.next(r, 0.0), r)


ROOTS: Final = {root.__name__: root for root in (inverse, two_ulp_high, two_ulp_low)}


def plain(f: Machine, x: Array, mean: Array, r: Array, weight: Array, bias: Array) -> Array:
    return f(f(f(f(x - mean) * r) * weight) + bias)


def folded(f: Machine, x: Array, mean: Array, r: Array, weight: Array, bias: Array) -> Array:
    return f(f(f(x - mean) * f(weight * r)) + bias)


def fused(f: Machine, x: Array, mean: Array, r: Array, weight: Array, bias: Array) -> Array:
    scale = f(weight * r)
    return f(f(x * scale) + f(bias - f(mean * scale)))


def weight_first(f: Machine, x: Array, mean: Array, r: Array, weight: Array, bias: Array) -> Array:
    return f(f(f(weight * f(x - mean)) * r) + bias)


OUTPUTS: Final[dict[str, Callable[..., Array]]] = {form.__name__: form for form in (plain, folded, fused, weight_first)}


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
    if placement == "inside_sqrt":
        r = ROOTS[root](f, f(statistics.var + f(eps)))
    elif placement == "outside_sqrt":
        r = f(f(1) / f(f(np.sqrt(statistics.var)) + f(eps)))
    else:
        r = ROOTS[root](f, np.maximum(statistics.var, f(eps)))
    return OUTPUTS[form](f, x, statistics.mean, r, weight, bias)


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


UPDATES: Final = {update.__name__: update for update in (weigh_new, weigh_old, step_towards)}


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
