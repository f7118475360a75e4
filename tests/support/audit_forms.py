"""What the audit searches over: a case, its mutations, and the record of a form.

A form is one order of evaluation of a formula that somebody ships, in NumPy, at the precision of its machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
from honest import REGIMES, Array, Machine, Statistics
from honest_backward import UPSTREAM

from normgauge.oracle import AXES

PLACEMENTS: Final = AXES["group_norm"][0].names
#: Some are below the normal numbers, some negative, some beyond the range of a half type.
EPS: Final = (1e-5, 1e-5, 1e-5, 1e-3, 1e-3, 0.5, 0.5, 1e-12, 1e-12, 0.0, 1e-40, -1e-3, -0.5, 7e4)
MOMENTA: Final = (0.1, 0.01, 0.5, 0.9, 0.999, 1e-3, 0.0, 1.0)
LENGTHS: Final = (1, 2, 2, 3, 3, 4, 5, 6, 8, 12, 17, 33)
#: Of the kinds of running variance; the last two are negative.
SHARES: Final = (0.3, 0.2, 0.2, 0.1, 0.1, 0.05, 0.05)
SIZES: Final = (1.0, 1.0, 1.0, 1e-4, 1e4, 1e-30, 1e10, 1e-38)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all sets of a case share. ``momentum`` weighs the new value."""

    eps: float
    placement: str
    momentum: float
    divisor: str  # of the running variance

    @classmethod
    def of(cls, rng: np.random.Generator, placements: tuple[str, ...]) -> Settings:
        return cls(
            eps=float(rng.choice(EPS)),
            placement=str(rng.choice(placements)),
            momentum=float(rng.choice(MOMENTA)),
            divisor=str(rng.choice(["biased", "unbiased"])),
        )


@dataclass(frozen=True, kw_only=True)
class Data:
    """Sets that climb side by side, B channels of a batch: x and dy of shape (B, n), the rest of shape (B, 1)."""

    x: Array
    dy: Array
    weight: Array
    bias: Array
    old_mean: Array
    old_var: Array

    @classmethod
    def of(cls, rng: np.random.Generator, settings: Settings, shape: tuple[int, int]) -> Data:
        """Rows of four regimes, and of every size."""
        one = (shape[0], 1)

        def mixed(regimes: Mapping[str, Callable[..., Array]], *given: Any) -> Array:
            drawn = [regimes[str(name)](rng, *given) for name in rng.choice(list(regimes), 4)]
            return np.choose(rng.integers(4, size=one), drawn)

        x = mixed(REGIMES, shape)
        apart = x[:, :1] - x[:, -1:]
        near = abs(settings.eps) * (1 + rng.integers(-8, 9, one) * 2.0**-23)
        var = (apart**2 + 1e-3, rng.random(one), near, near**2, rng.random(one) * 1e-38, -near, -0.1 * rng.random(one))
        return cls(
            x=x,
            dy=mixed(UPSTREAM, x),
            weight=_parameter(rng, one),
            bias=_parameter(rng, one),
            old_mean=x[:, :1] + rng.choice([0.0, 1.0, 100.0], one) * apart,
            old_var=var[int(rng.choice(len(var), p=SHARES))],
        )

    def held(self, store: Machine) -> Data:
        """As the type of inputs holds them."""
        return Data(**{name: store(value) for name, value in self.parts()})

    def parts(self) -> list[tuple[str, Array]]:
        return [(field.name, getattr(self, field.name)) for field in fields(self)]

    def mutated(self, rng: np.random.Generator) -> Data:
        """Each set with some of its numbers moved, by a few units of the last place or by a factor: of x, of another
        part, or of all parts."""
        parts = len(fields(self))
        chosen = rng.integers(2 * parts, size=(len(self.x), 1))
        changed = {}
        for place, (name, value) in enumerate(self.parts()):
            here = (chosen == place) | ((chosen == parts) & (name == "x")) | (chosen > parts)
            some = here & (rng.random(value.shape) < rng.choice([0.2, 0.5, 1.0]))
            changed[name] = np.where(some, _moved(rng, np.asarray(value, dtype=np.float64)), value)
        return Data(**changed)

    def better_of(self, other: Data, is_better: Array) -> Data:
        mine, theirs = dict(self.parts()), dict(other.parts())
        return Data(**{name: np.where(is_better[:, None], theirs[name], mine[name]) for name in mine})


def _parameter(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Normal, or just above a power of two, where the unit roundoff is worst."""
    near = np.ldexp(1 + 2.0**-8 * rng.random(shape), rng.integers(-8, 3, shape))
    return np.where(rng.random(shape) < 0.7, rng.standard_normal(shape) * rng.choice(SIZES, shape), near)


def _moved(rng: np.random.Generator, value: Array) -> Array:
    """Every number moved in one of the ways, drawn for each row."""
    ways = (
        value * (1 + rng.integers(-4, 5, value.shape) * 2.0**-23),
        value * (1 + rng.integers(-9, 10, value.shape) * 2.0 ** -rng.integers(10, 24, value.shape)),
        value * (1 + rng.integers(-4, 5, value.shape) * 2.0**-52),
        value * 2.0 ** rng.integers(-3, 4, value.shape),
        value * (1 + 0.1 * rng.standard_normal(value.shape)),
        -value,
        np.broadcast_to(value[:, :1], value.shape),
        np.ldexp(1 + rng.integers(0, 3, value.shape) * 2.0**-23, np.frexp(value)[1]),
    )
    return np.choose(rng.integers(len(ways), size=(len(value), 1)), ways)


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a form is given, in the type of inputs."""

    settings: Settings
    data: Data

    def of_old(self) -> Statistics:
        """The running statistics."""
        return Statistics(mean=self.data.old_mean, var=self.data.old_var)

    def read_by(self, f: Machine) -> Case:
        """As ``f`` reads it: subnormal numbers may count as zero."""
        return replace(self, data=self.data.held(Machine(dtype=f.dtype, flush=f.flush)))


@dataclass(frozen=True, kw_only=True)
class Form:
    """An order of evaluation.

    ``quantity`` is one of ``audit.QUANTITIES``, ``accuracy`` the class that it is held to. ``evaluate`` gets the
    machine, which rounds the result of each operation, and a case as that machine reads it; it returns an array of
    shape (B, n) for y and dx, (B,) for the others. ``placements`` are those that the form is written for, ``rungs`` the
    names of those that it computes in, all where there is none.
    """

    quantity: str
    accuracy: str
    evaluate: Callable[[Machine, Case], Array]
    placements: tuple[str, ...] = PLACEMENTS
    rungs: tuple[str, ...] = ()

    def is_in(self, rung: str, quantity: str, accuracy: str) -> bool:
        """Whether it computes that quantity in that class, in that type."""
        return (self.quantity, self.accuracy) == (quantity, accuracy) and (not self.rungs or rung in self.rungs)
