"""Plans: what exploration draws. A plan is a shape, settings, a data regime and a seed; NumPy makes its cases.

Hypothesis draws few small choices a plan and shrinks them; a plan stands for several cases of one shape, so
that drawing, encoding and the oracle cost little a case.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from normgauge.adapters.case import Action, Array, Case, Step
from normgauge.adapters.dtypes import KNOWN_DTYPES
from normgauge.conformance.layers.registry import kind_of
from normgauge.conformance.requirements.inputs import cast
from normgauge.conformance.requirements.magnitudes import MAGNITUDES

#: Cases of one plan, alike in everything but their numbers: where a call takes longer than drawing a plan does.
CASES_A_PLAN: Final = 8
#: The same where a call costs less than that.
MANY_CASES_A_PLAN: Final = 4 * CASES_A_PLAN


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that decides a plan's cases. ``shape`` is (N, C, *spatial); ``modes`` has one a step.

    ``groups`` is 1 for BatchNorm. ``statistics`` says whether running statistics are given or initial,
    ``relation`` names the relation that the cases are held to beside everything else; ``differentiated`` says
    whether gradients are asked for, too. ``layout`` and ``dy_layout`` say how x and dy lie in memory, ``beside``
    whether another layer is made and trained before each call. ``parameters`` names the type of weight and bias where
    it is not that of x. ``cases`` counts them.
    """

    layer: str
    dtype: str
    shape: tuple[int, ...]
    groups: int
    regime: str
    seed: int
    eps: float
    weight: bool
    bias: bool
    modes: tuple[str, ...]
    momentum: float | None = None
    track: bool = False
    statistics: bool = False
    relation: str | None = None
    differentiated: bool = False
    layout: str = ""
    dy_layout: str = ""
    beside: bool = False
    parameters: str = ""
    cases: int = CASES_A_PLAN

    def __str__(self) -> str:
        kind = kind_of(self.layer)
        parts = [f"shape {self.shape}"]
        parts += [f"G={self.groups}"] if kind.grouped else []
        parts += [f"{self.regime.replace('_', ' ')} numbers", f"seed {self.seed}", f"eps={self.eps:g}"]
        if kind.tracks:
            parts += [" ".join(self.modes)]
            parts += [f"momentum={self.momentum:g}" if self.momentum is not None else "momentum=None"]
            parts += [] if self.track else ["nothing tracked"]
            parts += ["running statistics given"] if self.statistics else []
        parts += [] if self.weight else ["no weight"]
        parts += [] if self.bias else ["no bias"]
        parts += ["with gradients"] if self.differentiated else []
        parts += [f"x {self.layout}"] if self.layout else []
        parts += [f"dy {self.dy_layout}"] if self.dy_layout else []
        parts += ["another layer beside it"] if self.beside else []
        parts += [f"parameters of {self.parameters}"] if self.parameters else []
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class _Draw:
    """What a regime has at hand: random numbers, the dtype, the eps; arrays are (cases, N, C, *spatial)."""

    random: np.random.Generator
    dtype: str
    eps: float
    shape: tuple[int, ...]

    def normal(self) -> Array:
        return np.asarray(self.random.standard_normal(self.shape))

    def upstream(self) -> Array:
        """A gradient of the output: eighths with a mean, of either sign."""
        return np.asarray(self.random.integers(-12, 21, self.shape) / 8)

    def power_of_ten(self, low: float, high: float) -> Array:
        """10 to a uniform power, one for each case."""
        exponents = self.random.uniform(low, high, (self.shape[0], *(1,) * (len(self.shape) - 1)))
        powers: Array = np.power(10.0, exponents)
        return powers

    def each_channel(self) -> tuple[int, ...]:
        """The shape of one number for each channel of each case."""
        return (self.shape[0], 1, self.shape[2], *(1,) * (len(self.shape) - 3))

    def first_half_alike(self, values: Array) -> Array:
        """``values``, one for each channel, with the first channel's for all in the first half of the cases."""
        half = self.shape[0] // 2
        values[:half] = values[:half, :, :1]
        return values

    def one_element(self) -> tuple[Array, ...]:
        """An index of one element of each case."""
        return (np.arange(self.shape[0]), *(self.random.integers(0, n, self.shape[0]) for n in self.shape[1:]))


def _whole(draw: _Draw) -> Array:
    return draw.random.integers(-8, 9, draw.shape).astype(np.float64)


def _large_mean(draw: _Draw) -> Array:
    """A mean for each channel; in the first half of the cases the same one for all, as a group meets it."""
    most = MAGNITUDES[draw.dtype].large_means[-1] * np.log10(2)
    means = draw.first_half_alike(draw.random.uniform(-1, 1, draw.each_channel()))
    return np.asarray(draw.normal() + draw.power_of_ten(0, most) * means)


def _near_eps(draw: _Draw) -> Array:
    return np.asarray(draw.normal() * draw.eps**0.5 * draw.power_of_ten(-1.5, 1.5))


def _huge(draw: _Draw) -> Array:
    """Squares near the largest number of the type, and a little beyond."""
    half = KNOWN_DTYPES[draw.dtype].greatest_exponent * math.log10(2) / 2
    return draw.normal() * draw.power_of_ten(half - 3, half + 1)


def _tiny(draw: _Draw) -> Array:
    """From the smallest number of the type to where squares are lost."""
    dtype = KNOWN_DTYPES[draw.dtype]
    least = math.log10(dtype.smallest_subnormal)
    return draw.normal() * draw.power_of_ten(least, dtype.least_exponent * math.log10(2) / 2)


def _constant(draw: _Draw) -> Array:
    """A constant a channel; in the first half of the cases the same one for all."""
    values = draw.first_half_alike(draw.random.integers(-64, 65, draw.each_channel()) / 8)
    return np.broadcast_to(values, draw.shape).copy()


def _outlier(draw: _Draw) -> Array:
    x = draw.normal()
    x[draw.one_element()] *= 10.0**4
    return x


def _graded(draw: _Draw) -> Array:
    """Every channel with a magnitude of its own, over six decades."""
    return draw.normal() * 10.0 ** draw.random.uniform(-3, 3, draw.each_channel())


def _with_nan(draw: _Draw) -> Array:
    x = draw.normal()
    x[draw.one_element()] = np.nan
    return x


def _with_infinity(draw: _Draw) -> Array:
    x = draw.normal()
    x[draw.one_element()] = draw.random.choice([-np.inf, np.inf], draw.shape[0])
    return x


#: Plain numbers first: Hypothesis shrinks towards the beginning.
REGIMES: Final[Mapping[str, Callable[[_Draw], Array]]] = {
    "whole": _whole,
    "normal": _Draw.normal,
    "constant": _constant,
    "outlier": _outlier,
    "graded": _graded,
    "near_eps": _near_eps,
    "large_mean": _large_mean,
    "huge": _huge,
    "tiny": _tiny,
    "with_nan": _with_nan,
    "with_infinity": _with_infinity,
}


def cases_of(plan: Plan) -> list[Case]:
    """The plan's cases: the same parameters, other numbers."""
    random = np.random.Generator(np.random.PCG64([plan.seed, *plan.shape]))
    draw = _Draw(random=random, dtype=plan.dtype, eps=plan.eps, shape=(plan.cases, *plan.shape))
    settings: dict[str, Any] = {"num_channels": plan.shape[1], "eps": plan.eps}
    kind = kind_of(plan.layer)
    if kind.grouped:
        settings["num_groups"] = plan.groups
    if kind.tracks:
        settings |= {"momentum": plan.momentum, "track": plan.track}
    settings |= {"weight": plan.weight, "bias": plan.bias}
    parameters = _parameters(plan, random)
    with np.errstate(over="ignore", under="ignore"):
        inputs = [cast(REGIMES[plan.regime](draw), plan.dtype) for _ in plan.modes]
    upstream = [cast(draw.upstream(), plan.dtype) if plan.differentiated else None for _ in plan.modes]
    inputs = [_held_by(plan.layout, x) for x in inputs]
    upstream = [None if dy is None else _held_by(plan.dy_layout, dy) for dy in upstream]
    common: dict[str, Any] = {"before": (Action("another_layer"),) if plan.beside else (), "layout": plan.layout}
    return [
        Case(
            layer=plan.layer,
            dtype=plan.dtype,
            settings=settings,
            parameters=parameters,
            dtypes=dict.fromkeys({"weight", "bias"} & parameters.keys(), plan.parameters) if plan.parameters else {},
            steps=tuple(
                Step(mode, x[number], None if dy is None else dy[number], dy_layout=plan.dy_layout, **common)
                for mode, x, dy in zip(plan.modes, inputs, upstream, strict=True)
            ),
        )
        for number in range(plan.cases)
    ]


def _held_by(layout: str, values: Array) -> Array:
    """``values``, of shape (cases, N, C, *spatial), as the layout can hold them: one sample N times where expanded."""
    return np.repeat(values[:, :1], values.shape[1], axis=1) if layout == "expanded" else values


def _parameters(plan: Plan, random: np.random.Generator) -> dict[str, Array]:
    """Multiples of 1/8: a weight up to 2 of either sign, a bias, means near 0 and variances near 1."""

    def eighths(low: int, high: int, dtype: str) -> Array:
        return cast(random.integers(low, high, plan.shape[1]) / 8, dtype)

    affine = plan.parameters or plan.dtype

    parameters = {}
    if plan.weight:
        parameters["weight"] = eighths(-16, 17, affine)
    if plan.bias:
        parameters["bias"] = eighths(-16, 17, affine)
    if plan.statistics:
        parameters |= {
            "running_mean": eighths(-16, 17, plan.dtype),
            "running_var": eighths(1, 33, plan.dtype),
        }
    return parameters
