"""Faults of a backward pass: one for each known wrong gradient, by the name that it must be given.

They are written over axes of (N, G, D, P), samples, groups, channels of a group and positions, in the type of x, as a
kernel has them; of BatchNorm a group is a channel. The oracle's forms are written over numbers of elements.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from faulty.group_norm import Array, EpsOutside, GroupNorm, Interleaved, Unbiased
from normgauge.oracle import rounded

Found = Mapping[str, Array]
Fault = Callable[["Parts"], Found]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A backward pass. ``mean`` and ``var`` normalise; ``given`` says that they are no function of x.

    ``others`` are the running statistics before and after the call, where there are some.
    """

    x: Array
    dy: Array
    w: Array
    mean: Array
    var: Array
    eps: Any
    axes: tuple[int, ...]
    row: int
    given: bool
    others: Mapping[str, tuple[Array, Array]]

    @property
    def together(self) -> bool:
        """Whether it is BatchNorm."""
        return 0 in self.axes

    @property
    def r(self) -> Array:
        return 1 / np.sqrt(self.var + self.eps)

    @property
    def x_hat(self) -> Array:
        return (self.x - self.mean) * self.r

    @property
    def g(self) -> Array:
        return self.dy * self.w

    @property
    def n(self) -> int:
        return int(np.prod([self.x.shape[axis] for axis in self.axes]))

    def avg(self, values: Array) -> Array:
        return values.mean(axis=self.axes, keepdims=True)

    def total(self, values: Array) -> Array:
        """Of each channel."""
        return np.broadcast_to(values, self.x.shape).sum(axis=(0, 3)).ravel()

    def dx(self, **changes: Any) -> Array:
        """r * (g - m1 - x_hat * m2), or r * g where the statistics are given; any of these may be another."""
        r, x_hat, g = changes.get("r", self.r), changes.get("x_hat", self.x_hat), changes.get("g", self.g)
        if self.given and not changes.get("through"):
            return r * g
        m1, m2 = changes.get("m1", self.avg(g)), changes.get("m2", self.avg(g * x_hat))
        return r * (g - changes.get("a", 1) * m1 - changes.get("b", 1) * x_hat * m2)

    def by(self, x_hat: Array, r: Array, **changes: Any) -> dict[str, Array]:
        """dx and dweight with another normalised input."""
        return {"dx": self.dx(r=r, x_hat=x_hat, **changes), "dweight": self.total(self.dy * x_hat)}

    def by_statistics(self, mean: Array, var: Array, **changes: Any) -> dict[str, Array]:
        r = 1 / np.sqrt(var + self.eps)
        return self.by((self.x - mean) * r, r, **changes)

    def right(self) -> dict[str, Array]:
        return {"dx": self.dx(), "dweight": self.total(self.dy * self.x_hat), "dbias": self.total(self.dy)}


def _type(p: Parts, value: float) -> Any:
    return p.x.dtype.type(value)


def _over(p: Parts) -> Any:
    return _type(p, p.n / max(p.n - 1, 1))


def _outside(p: Parts) -> Array:
    return 1 / (np.sqrt(p.var) + p.eps)


#: The terms and factors of dx, and what normalises.
TERMS: Final[Mapping[str, Fault]] = {
    "mean and variance taken as constants": lambda p: {"dx": p.r * p.g},
    "the mean taken as a constant": lambda p: {"dx": p.dx(a=0)},
    "the variance taken as a constant": lambda p: {"dx": p.dx(b=0)},
    "the mean's term twice": lambda p: {"dx": p.dx(a=2)},
    "the variance's term twice": lambda p: {"dx": p.dx(b=2)},
    "the sign of the mean's part": lambda p: {"dx": p.dx(a=-1)},
    "the sign of the variance's part": lambda p: {"dx": p.dx(b=-1)},
    "the divisor n - 1 mixed in": lambda p: {"dx": p.dx(b=_over(p))},
    "both means divided by n - 1": lambda p: {"dx": p.dx(a=_over(p), b=_over(p))},
    "sums in place of means": lambda p: {"dx": p.dx(a=_type(p, p.n), b=_type(p, p.n))},
    "the means divided by the samples alone": lambda p: {"dx": _means_over(p, p.x.shape[0])},
    "the means divided by the positions alone": lambda p: {"dx": _means_over(p, p.x.shape[3])},
    "the means divided by n times the samples": lambda p: {"dx": _means_over(p, p.n * p.x.shape[0])},
    "the weight left out": lambda p: {"dx": p.dx(g=p.dy)},
    "the weight left out of the sums": lambda p: {"dx": p.dx(m1=p.avg(p.dy), m2=p.avg(p.dy * p.x_hat))},
    "the weight multiplied in twice": lambda p: {"dx": p.dx(g=p.g * p.w)},
    "the weight of the next channel": lambda p: {"dx": p.dx(g=p.dy * np.roll(p.w.ravel(), -1).reshape(p.w.shape))},
    "the weight of the first channel in every channel": lambda p: {"dx": p.dx(g=p.dy * p.w[:, :1, :1])},
    "x not normalised": lambda p: {"dx": p.dx(x_hat=p.x), "dweight": p.total(p.dy * p.x)},
    "x_hat's mean left out": lambda p: p.by(p.x * p.r, p.r),
    "the reciprocal deviation left out": lambda p: {
        "dx": p.dx() / p.r, "dweight": p.total(p.dy * (p.x - p.mean)),
    },
    "multiplied by the deviation": lambda p: {
        "dx": p.dx() / p.r**2, "dweight": p.total(p.dy * (p.x - p.mean) / p.r),
    },
    "eps left out of the variance's part": lambda p: {"dx": p.dx(b=(p.var + p.eps) / p.var)},
    "eps left out": lambda p: p.by((p.x - p.mean) / np.sqrt(p.var), 1 / np.sqrt(p.var)),
    "eps added twice": lambda p: p.by_statistics(p.mean, p.var + p.eps),
    "eps outside the root, unlike the forward pass": lambda p: p.by((p.x - p.mean) * _outside(p), _outside(p), b=(
        (np.sqrt(p.var) + p.eps) / np.sqrt(p.var)
    )),
    "the larger of variance and eps, unlike the forward pass": lambda p: p.by(
        (p.x - p.mean) / np.sqrt(np.maximum(p.var, p.eps)), 1 / np.sqrt(np.maximum(p.var, p.eps)), b=p.var >= p.eps
    ),
    "dy taken as 1": lambda p: {
        "dx": p.dx(g=np.broadcast_to(p.w, p.x.shape)), "dweight": p.total(p.x_hat), "dbias": p.total(np.ones_like(p.x)),
    },
}  # fmt: skip


def _means_over(p: Parts, count: int) -> Array:
    share = _type(p, p.n / count)
    return p.dx(a=share, b=share)


def _channels(p: Parts) -> Array:
    return np.arange(p.x.shape[1] * p.x.shape[2]).reshape(p.x.shape[1:3])


def _taken(values: Array, groups: Array) -> Array:
    """Of each channel, the value of a group."""
    return values[:, groups, 0, 0][..., None]


#: From a value of each set that of another one.
_GROUPS: Final[Mapping[str, Callable[[Parts, Array], Array]]] = {
    "the next group": lambda p, v: np.roll(v, -1, axis=1),
    "the previous group": lambda p, v: np.roll(v, 1, axis=1),
    "the first group": lambda p, v: v[:, :1],
    "group c mod G": lambda p, v: _taken(v, _channels(p) % p.x.shape[1]),
    "the next sample": lambda p, v: np.roll(v, -1, axis=0),
    "the previous sample": lambda p, v: np.roll(v, 1, axis=0),
    "the first sample": lambda p, v: v[:1],
    "the last sample": lambda p, v: v[-1:],
}
_CHANNELS: Final[Mapping[str, Callable[[Parts, Array], Array]]] = {
    "the next channel": lambda p, v: np.roll(v, -1, axis=1),
    "the previous channel": lambda p, v: np.roll(v, 1, axis=1),
    "the first channel": lambda p, v: v[:, :1],
}


_OF_ANOTHER: Final = ("the statistics of {}", "the sums of {}", "the statistics of {}, and its sums")


def _another_set(take: Callable[[Parts, Array], Array], what: str) -> Fault:
    def of(p: Parts) -> Found:
        sums = {"m1": take(p, p.avg(p.g)), "m2": take(p, p.avg(p.g * p.x_hat))}
        if what == "the sums of {}":
            return {"dx": p.dx(**sums)}
        return p.by_statistics(take(p, p.mean), take(p, p.var), **(sums if what.endswith("sums") else {}))

    return of


#: Axes in place of the right ones.
_AXES: Final[Mapping[bool, Mapping[str, tuple[int, ...]]]] = {
    False: {
        "each channel alone": (3,),
        "each position alone": (2,),
        "the whole sample": (1, 2, 3),
        "the group in all samples": (0, 2, 3),
    },
    True: {"each sample's channel alone": (3,), "a position's channel alone": (0,)},
}


def _other_axes(axes: tuple[int, ...], what: str) -> Fault:
    def avg(values: Array) -> Array:
        return values.mean(axis=axes, keepdims=True)

    def of(p: Parts) -> Found:
        if what == "the means of {}":
            return {"dx": p.dx(m1=avg(p.g), m2=avg(p.g * p.x_hat))}
        mean = avg(p.x)
        var = avg(np.square(p.x - mean))
        r = 1 / np.sqrt(var + p.eps)
        x_hat = (p.x - mean) * r
        sums = {"m1": avg(p.g), "m2": avg(p.g * x_hat)} if what.endswith("means") else {}
        return p.by(x_hat, r, **sums)

    return of


def _at(axis: int, part: slice) -> Callable[[Parts], Array]:
    """1 in a part of an axis, else 0."""

    def mask(p: Parts) -> Array:
        found = np.zeros(tuple(n if i == axis else 1 for i, n in enumerate(p.x.shape)), p.x.dtype)
        np.moveaxis(found, axis, 0)[part] = 1
        return found

    return mask


def _rows(first: bool) -> Callable[[Parts], Array]:
    return lambda p: _at(3, slice(p.row) if first else slice(-p.row, None))(p)


_PARTS: Final[Mapping[str, tuple[int, Callable[[Parts], Array]]]] = {
    "the first sample": (0, _at(0, slice(1))),
    "the last sample": (0, _at(0, slice(-1, None))),
    "the first position": (3, _at(3, slice(1))),
    "the last position": (3, _at(3, slice(-1, None))),
    "the first row": (3, _rows(True)),
    "the last row": (3, _rows(False)),
    "the first channel of a group": (2, _at(2, slice(1))),
    "the last channel of a group": (2, _at(2, slice(-1, None))),
}


def _of_a_part(axis: int, mask: Callable[[Parts], Array], out: bool, counted: bool) -> Fault:
    def of(p: Parts) -> Found:
        if p.row == 0 and axis == 3:  # there are no positions
            return {}
        m = 1 - mask(p) if out else mask(p)
        found = {} if axis == 2 or counted else {"dweight": p.total(m * p.dy * p.x_hat), "dbias": p.total(m * p.dy)}
        if axis in p.axes:
            share = np.maximum(p.avg(np.broadcast_to(m, p.x.shape)), _type(p, 1 / p.n)) if counted else 1
            found["dx"] = p.dx(m1=p.avg(m * p.g) / share, m2=p.avg(m * p.g * p.x_hat) / share)
        return found

    return of


def _sums() -> Iterator[tuple[str, bool, Fault]]:
    """The name, whether it is of BatchNorm, and the fault."""
    for together, table in ((False, _GROUPS), (True, _CHANNELS)):
        for (words, take), what in itertools.product(table.items(), _OF_ANOTHER):
            yield what.format(words), together, _another_set(take, what)
        for (words, axes), what in itertools.product(
            _AXES[together].items(), ("the statistics of {}", "the means of {}", "the statistics of {}, and its means")
        ):
            yield what.format(words), together, _other_axes(axes, what)
        for (words, (axis, mask)), out, counted in itertools.product(_PARTS.items(), (False, True), (False, True)):
            if (axis in (3, 2 - 2 * together)) or (not counted and axis == 0):
                ending = f"{'left out' if out else 'alone'}{', and means of what is summed' * counted}"
                yield f"{words} {ending}", together, _of_a_part(axis, mask, out, counted)


def _next_x_hat(p: Parts) -> Found:
    r, x_hat = (np.roll(np.broadcast_to(v, p.x.shape), -1, axis=1) for v in (p.r, p.x_hat))
    return {"dx": p.r * p.g} if p.given else {"dx": p.dx(r=r, x_hat=x_hat)}


def _of_first_values(count: Callable[[int], int]) -> Fault:
    """dx with the sums over so many values of a set, sample by sample or channel by channel."""

    def of(p: Parts) -> Found:
        def avg(values: Array) -> Array:
            order = np.moveaxis(values, 1, 0) if p.together else values
            flat = order.reshape(p.x.shape[1], -1) if p.together else order.reshape(*p.x.shape[:2], -1)
            total = flat[..., : count(p.n)].sum(axis=-1) / _type(p, p.n)
            return total.reshape(1, -1, 1, 1) if p.together else total[..., None, None]

        return {"dx": p.dx(m1=avg(p.g), m2=avg(p.g * p.x_hat))}

    return of


#: The sums of dx over the first values of a set.
FIRST: Final[Mapping[str, Fault]] = {
    "the first position alone, of the first channel or sample of a set, in the sums of dx": _of_first_values(
        lambda n: 1
    ),
    "a part of the set alone, its first half, in the sums of dx": _of_first_values(lambda n: (n + 1) // 2),
}


def _scaled(count: Callable[[Parts], int]) -> Fault:
    return lambda p: {name: value / _type(p, count(p)) for name, value in p.right().items() if name != "dx"}


#: What becomes of the results.
RESULTS: Final[Mapping[str, Fault]] = {
    "a mean in place of a sum": _scaled(lambda p: p.x.shape[0] * p.x.shape[3]),
    "the sum divided by the samples": _scaled(lambda p: p.x.shape[0]),
    "the sum divided by the positions": _scaled(lambda p: p.x.shape[3]),
    "the weight multiplied in": lambda p: {"dweight": p.total(p.g * p.x_hat), "dbias": p.total(p.g)},
    "dweight and dbias swapped": lambda p: {"dweight": p.total(p.dy), "dbias": p.total(p.dy * p.x_hat)},
    "dy passed through as well": lambda p: {"dx": p.dx() + p.dy},
    "the sign flipped": lambda p: {name: -value for name, value in p.right().items()},
    "no gradient: 0 everywhere": lambda p: {name: np.zeros_like(value) for name, value in p.right().items()},
    "the sums of the channels before added": lambda p: {
        name: np.cumsum(value) for name, value in p.right().items() if name != "dx"
    },
    "that of the first channel in every channel": lambda p: {
        name: np.repeat(value[:1], len(value)) for name, value in p.right().items() if name != "dx"
    },
    "that of the first sample in every sample": lambda p: {"dx": np.repeat(p.dx()[:1], len(p.x), axis=0)},
    "the sums rounded to float16": lambda p: _rounded(p, "float16"),
    "the sums rounded to bfloat16": lambda p: _rounded(p, "bfloat16"),
}
#: Of GroupNorm alone.
OF_GROUPS: Final[Mapping[str, Fault]] = {
    "the weights of the first group in every group": lambda p: {"dx": p.dx(g=p.dy * p.w[:, :1])},
    "the weight multiplied in after the sums": lambda p: {"dx": p.w * p.dx(g=p.dy)},
    "the sum divided by the elements of a group": _scaled(lambda p: p.n),
    "that of the first group in every group": lambda p: {"dx": np.repeat(p.dx()[:, :1], p.x.shape[1], axis=1)},
}


def _rounded(p: Parts, dtype: str) -> Found:
    def half(values: Array) -> Array:
        return rounded(values, dtype).astype(p.x.dtype)

    m1, m2 = (half(p.avg(v) * p.n) / p.n for v in (p.g, p.g * p.x_hat))
    found = p.right()
    return {"dx": p.dx(m1=m1, m2=m2), "dweight": half(found["dweight"]), "dbias": half(found["dbias"])}


def _of_another_call(which: str, through: bool, given: bool) -> Fault:
    def of(p: Parts) -> Found:
        if p.given is not given or not p.others:
            return {}
        mean = p.avg(p.x)
        mean, var = (mean, p.avg(np.square(p.x - mean))) if which == "batch" else p.others[which]
        found = p.by_statistics(mean, var, through=True)
        return found if through else found | {"dx": p.g / np.sqrt(var + p.eps)}

    return of


def _through_the_batch(p: Parts) -> Found:
    if not p.given:
        return {}
    left = p.dy - p.avg(p.dy) - p.x_hat * p.avg(p.dy * p.x_hat)
    return {"dx": p.dx(through=True), "dweight": p.total(left * p.x_hat), "dbias": p.total(left)}


#: The statistics of another call, of BatchNorm alone.
CALLS: Final[Mapping[str, Fault]] = {
    "differentiated through the statistics of the batch": _through_the_batch,
    **{
        f"{words}, {ending}": _of_another_call(which, through, given)
        for given, which, words in (
            (False, "before", "the running statistics in place of the batch's"),
            (False, "after", "the running statistics after this batch in place of the batch's"),
            (True, "batch", "the batch's statistics in place of the running ones"),
            (True, "after", "the running statistics as this batch would update them"),
        )
        for through, ending in ((False, "as constants"), (True, "differentiated through"))
    },
}

#: Every fault by its name and the kind of layer.
FAULTS: Final[Mapping[tuple[str, str], Fault]] = {
    **{(name, kind): of for name, of in {**TERMS, **FIRST, **RESULTS}.items() for kind in ("group_norm", "batch_norm")},
    ("x_hat and the statistics of another group, the next one", "group_norm"): _next_x_hat,
    ("x_hat and the statistics of another channel, the next one", "batch_norm"): _next_x_hat,
    **{(name, "group_norm"): of for name, of in OF_GROUPS.items()},
    **{(name, "batch_norm"): of for name, of in CALLS.items()},
    **{(name, "batch_norm" if together else "group_norm"): of for name, together, of in _sums()},
}
#: What can go wrong only under other semantics: the layer that has them, and the fault.
ELSEWHERE: Final[Mapping[str, tuple[type[GroupNorm], Mapping[str, str], Fault]]] = {
    "the divisor n mixed in": (Unbiased, {"variance": "unbiased"}, lambda p: {"dx": p.dx()}),
    "eps inside the root, unlike the forward pass": (EpsOutside, {"eps_placement": "outside_sqrt"}, Parts.right),
    **{
        what.format("group c // (C / G)"): (
            Interleaved,
            {"grouping": "interleaved"},
            _another_set(lambda p, v: _taken(v, _channels(p).reshape(p.x.shape[2], -1).T // p.x.shape[2]), what),
        )
        for what in _OF_ANOTHER
    },
}
