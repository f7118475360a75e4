"""GroupNorm and BatchNorm put together of the honest parts, and what the oracle says of the same inputs.

One batch of sets serves both layers: the sets are BatchNorm's channels, and GroupNorm's groups in two samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import honest_backward
import numpy as np
from honest import (
    OUTPUTS,
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
from honest_backward import SLOPES, THROUGH, UPSTREAM, Pass, channel_sums, closed_parameter, differentiated
from honest_closed import CLOSED, CLOSED_BY_SET

from normgauge.oracle import (
    AXES,
    Arithmetic,
    Reference,
    batch_norm,
    batch_norm_backward,
    group_norm,
    group_norm_backward,
    initial_statistics,
    semantics,
)

Regime = Callable[[np.random.Generator, tuple[int, int]], Array]
SAMPLES: Final = 2  # of GroupNorm, and channels in each of its groups
PLACEMENTS: Final = AXES["group_norm"][0].names


@dataclass(frozen=True, kw_only=True)
class Implementation:
    """The kinds of statistics it takes in turn, the order of all its other sums, and the class it is held to."""

    accuracy: str
    statistics: tuple[str, ...]
    total: str


@dataclass(frozen=True)
class Draw:
    """Sets of shape (B, n), B = 2 G, n even; weight and bias of shape (B,), which is also GroupNorm's C = 2 G.

    As GroupNorm's input the sets have the shape (2, C, n / 2): every parameter sums n products in both layers.
    """

    x: Array
    dy: Array
    weight: Array
    bias: Array
    running_mean: Array  # before the step; of shape (B,)
    running_var: Array
    eps: float
    placement: str
    momentum: float
    flush: bool
    kinds: tuple[str, ...]  # the data of each of the G groups, in words

    @classmethod
    def of(cls, rng: np.random.Generator, store: Machine, regimes: Mapping[str, Regime], n: int, groups: int) -> Draw:
        """``groups`` groups of every regime, each regime with a dy of one kind."""
        upstream = {regime: str(rng.choice(list(UPSTREAM))) for regime in regimes}
        xs, dys = [], []
        for regime, kind in upstream.items():
            x = store(regimes[regime](rng, (SAMPLES * groups, n)))
            xs.append(x.reshape(SAMPLES, groups, n))
            dys.append(store(UPSTREAM[kind](rng, x)).reshape(SAMPLES, groups, n))
        x, dy = (np.concatenate(parts, axis=1).reshape(-1, n) for parts in (xs, dys))
        return cls(
            x,
            dy,
            store(rng.standard_normal(len(x)) * rng.choice([1.0, 1.0, 1.0, 1e-3, 1e-30, 1e10])),
            store(rng.standard_normal(len(x)) * rng.choice([1.0, 1e-4, 1e4])),
            *old_statistics(store, x),
            float(rng.choice([1e-5, 1e-5, 1e-3, 0.5, 1e-12])),
            str(rng.choice(PLACEMENTS)),
            float(rng.choice([0.1, 0.01, 0.25, 0.9, 1.0])),
            bool(rng.integers(2)),
            tuple(f"{regime}, dy {kind}" for regime, kind in upstream.items() for _ in range(groups)),
        )

    @classmethod
    def ordinary(cls, rng: np.random.Generator, store: Machine, n: int, groups: int) -> Draw:
        """Standard normal throughout, as the tables of tightness have it."""
        count = SAMPLES * groups
        x, dy = (store(rng.standard_normal((count, n))) for _ in range(2))
        weight, bias = (store(rng.standard_normal(count)) for _ in range(2))
        kinds = ("normal, dy normal",) * groups
        return cls(x, dy, weight, bias, *old_statistics(store, x), 1e-5, "inside_sqrt", 0.1, False, kinds)

    def as_groups(self, sets: Array) -> Array:
        """(B, n) as GroupNorm's (2, C, n / 2)."""
        return sets.reshape(SAMPLES, len(self.weight), -1)

    def by_parameter(self, sets: Array) -> Array:
        """(B, n) as (C, n): all that one of GroupNorm's parameters meets."""
        return self.as_groups(sets).swapaxes(0, 1).reshape(len(self.weight), -1)

    def by_group(self, parameter: Array) -> Array:
        """GroupNorm's parameter of shape (C,) as (B, n)."""
        shape = SAMPLES, len(parameter), self.x.shape[1] // SAMPLES
        return np.broadcast_to(parameter[:, None], shape).reshape(self.x.shape)

    def told(self, seed: list[int], quantity: str, how: Choices, place: int) -> str:
        """What is behind an element of a quantity, from its index along the first axis, in words."""
        parameter = quantity in {"group_norm dweight", "group_norm dbias"}
        kind = self.kinds[place // SAMPLES if parameter else place % len(self.kinds)]
        return f"n {self.x.shape[1]}, seed {seed}, {kind}, eps {self.eps:g} {self.placement}, {how}"


def old_statistics(store: Machine, x: Array) -> tuple[Array, Array]:
    """Running statistics of the size of the data."""
    return x[:, 0], store(store(x[:, 0] - x[:, 1]) ** 2)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """The ways to evaluate the same formulas that one run of an implementation takes."""

    statistics: str
    form: str = "plain"
    root: str = "inverse"
    closed: str = "closed"  # empty: automatic differentiation, as the next names it
    differentiated: tuple[str, str, str] = ("plain", "cube", "two_pass")
    dweight: str = "closed"
    update: str = "weigh_new"
    unbiased: str = "unbiased_by_factor"
    steps: int = 0  # of the root, backward
    tie: float = 1.0
    clamped: bool = False
    by_set: str = ""  # a closed form for one weight a set, in place of ``closed``, in BatchNorm

    @classmethod
    def of(cls, rng: np.random.Generator, implementation: Implementation, placement: str) -> Choices:
        def one(names: Iterable[str]) -> str:
            return str(rng.choice(list(names)))

        through = [way for way in THROUGH if way != "one_pass" or implementation.accuracy == "one_pass"]
        return cls(
            statistics=one(implementation.statistics),
            form=one(OUTPUTS),
            root=one(ROOTS),
            closed=one([*CLOSED, *[""] * (len(CLOSED) // 2)]) if placement == "inside_sqrt" else "",
            differentiated=(one(honest_backward.OUTPUTS), one(SLOPES), one(through)),
            dweight=one(["closed", "sums", "differentiated"]),
            update=one(UPDATES),
            unbiased=one(UNBIASED),
            steps=int(rng.integers(-1, 2)),
            tie=float(rng.choice([1.0, 0.5, 0.0])),
            clamped=bool(rng.integers(2)),
            by_set=one([*CLOSED_BY_SET, *[""] * len(CLOSED_BY_SET)]) if placement == "inside_sqrt" else "",
        )


# --- quantities: what an implementation gives, and what the oracle says ---------------------------------


def computed(implementation: Implementation, machine: Machine, draw: Draw, how: Choices) -> Iterator[tuple[str, Array]]:
    """Every quantity by name: y and dx of shape (B, n), the others (B,)."""
    f, n = machine, draw.x.shape[1]
    x, dy, weight, bias = f(draw.x), f(draw.dy), f(draw.weight), f(draw.bias)
    old = Statistics(mean=f(draw.running_mean), var=f(draw.running_var))
    total = SUMMATIONS[implementation.total]
    batch = STATISTICS[how.statistics][1](f, x)
    constants = Statistics(mean=old.mean[:, None], var=old.var[:, None])
    common: dict[str, Any] = {"eps": draw.eps, "placement": draw.placement}

    def output(statistics: Statistics, weight: Array, bias: Array) -> Array:
        return normalised(f, x, statistics, weight, bias, root=how.root, form=how.form, **common)

    def backward(statistics: Statistics, weight: Array) -> Pass:
        spread = np.broadcast_to(weight, x.shape)
        times = "times" in how.statistics
        loose: dict[str, Any] = {"tie": how.tie, "clamped": how.clamped, "half_ulp": how.steps}
        return Pass(
            f=f,
            x=x,
            dy=dy,
            weight=spread,
            statistics=statistics,
            total=total,
            times_reciprocal=times,
            **common,
            **loose,
        )

    def dx(p: Pass) -> Array:
        return CLOSED[how.closed](p) if how.closed else differentiated(p, *how.differentiated)[0]

    def parts(p: Pass) -> Array:
        """Each element's part of dweight."""
        by_form = honest_backward.OUTPUTS[how.differentiated[0]]
        return f(dy * f(f(x - p.mean) * p.r)) if how.dweight == "closed" else by_form(p).dweight

    yield "group_norm y", output(batch, draw.by_group(weight), draw.by_group(bias))
    p = backward(batch, draw.by_group(weight))
    yield "group_norm dx", dx(p)
    yield "group_norm dweight", total(f, draw.by_parameter(parts(p)))[:, 0]
    yield "group_norm dbias", total(f, draw.by_parameter(dy))[:, 0]

    yield "batch_norm y", output(batch, weight[:, None], bias[:, None])
    p = backward(batch, weight[:, None])
    yield "batch_norm dx", CLOSED_BY_SET[how.by_set](p) if how.by_set else dx(p)
    dbias = total(f, dy)[:, 0]
    yield "batch_norm dweight", channel_sums(p)[0] if how.dweight == "sums" else total(f, parts(p))[:, 0]
    yield "batch_norm dbias", dbias
    update, new = UPDATES[how.update], UNBIASED[how.unbiased](f, batch.var[:, 0], n)
    yield "batch_norm running_mean", update(f, old.mean, batch.mean[:, 0], draw.momentum)
    yield "batch_norm running_var", update(f, old.var, new, draw.momentum)

    yield "evaluation y", output(constants, weight[:, None], bias[:, None])
    p = backward(constants, weight[:, None])
    yield "evaluation dx", f(f(dy * weight[:, None]) * p.r)
    yield "evaluation dweight", closed_parameter(p) if how.dweight == "closed" else channel_sums(p)[0]
    yield "evaluation dbias", dbias


def references(draw: Draw, arithmetic: Arithmetic) -> dict[str, Reference]:
    """What the oracle says of the same quantities, in the same shapes."""
    found: dict[str, Reference] = {}
    same: dict[str, Any] = {"eps": draw.eps, "arithmetic": arithmetic}
    chosen = semantics("group_norm", eps_placement=draw.placement)
    x, dy, groups = draw.as_groups(draw.x), draw.as_groups(draw.dy), len(draw.kinds)
    found["group_norm y"] = group_norm(x, groups, draw.weight, draw.bias, semantics=chosen, **same)
    gradients = group_norm_backward(x, dy, groups, draw.weight, semantics=chosen, **same)
    found |= {f"group_norm {kind}": getattr(gradients, kind) for kind in ("dx", "dweight", "dbias")}

    chosen = semantics("batch_norm", eps_placement=draw.placement)
    running = initial_statistics(draw.running_mean, draw.running_var)
    for mode, training in (("batch_norm", True), ("evaluation", False)):
        call: dict[str, Any] = {"training": training, "momentum": draw.momentum, "semantics": chosen, **same}
        forward = batch_norm(draw.x.T, running, draw.weight, draw.bias, **call)
        gradients = batch_norm_backward(draw.x.T, draw.dy.T, running, draw.weight, **call)
        found[f"{mode} y"] = forward.output
        found |= {f"{mode} {kind}": getattr(gradients, kind) for kind in ("dx", "dweight", "dbias")}
        if training and forward.running is not None:
            found |= {f"{mode} running_mean": forward.running.mean, f"{mode} running_var": forward.running.var}
    return {name: in_sets(reference, draw) for name, reference in found.items()}


def in_sets(reference: Reference, draw: Draw) -> Reference:
    """A reference for y or dx of either layer, (2, C, n / 2) or (n, B), as (B, n); one for (B,) as it is."""
    if reference.value.ndim == 3:
        return Reference(value=reference.value.reshape(draw.x.shape), bound=reference.bound.reshape(draw.x.shape))
    return Reference(value=reference.value.T, bound=reference.bound.T)
