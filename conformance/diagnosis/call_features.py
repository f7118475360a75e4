"""The features of a call that a decision rule may name: a table, in the order in which rules prefer them.

Settings and shape come first, then parameters, what happened before, the input's values and its place in memory.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from normgauge.adapters.case import ACTIONS, PARAMETERS, Array, Case, Step
from normgauge.adapters.dtypes import KNOWN_DTYPES
from normgauge.conformance.layers.kind import LayerKind
from normgauge.conformance.layers.registry import kind_of

#: The eps that most frameworks have by default.
USUAL_EPS: Final = 1e-5
#: The values of a new layer's parameters, by name.
_INITIAL: Final = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
Value = bool | float | str


@dataclass(frozen=True, eq=False, kw_only=True)
class Call:
    """One step of a case; ``number`` counts from 0."""

    case: Case
    number: int

    @property
    def step(self) -> Step:
        return self.case.steps[self.number]

    @property
    def kind(self) -> LayerKind:
        return kind_of(self.case.layer)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, *spatial); an input of the channel axis alone is one sample."""
        shape = self.step.x.shape
        return shape if len(shape) > 1 else (1, *shape)

    @property
    def positions(self) -> int:
        return math.prod(self.shape[2:])

    @property
    def groups(self) -> int | None:
        """G, or None where the kind of layer has no groups."""
        return self.case.settings.get("num_groups") if self.kind.grouped else None

    @property
    def per_group(self) -> float | None:
        """C/G."""
        return self.shape[1] / self.groups if self.groups else None

    @property
    def per_set(self) -> int:
        """How many values are normalised together."""
        return self.kind.values_per_set(self.shape, self.groups or 1)

    def setting(self, name: str) -> Value | None:
        """A setting of the case; None where it is None, or left to the layer."""
        found: Value | None = self.case.settings.get(name)
        return found

    def setting_is_none(self, name: str) -> bool | None:
        return self.case.settings[name] is None if name in self.case.settings else None

    @functools.cached_property
    def parameters(self) -> Mapping[str, Array]:
        """The parameters as they were given last, without what training has changed since."""
        given = dict(self.case.parameters)
        for step in self.case.steps[: self.number + 1]:
            for action in step.before:
                given.update(action.parameters)
        return given

    def has(self, name: str) -> bool:
        """Whether the layer has the parameter."""
        if name in {"weight", "bias"}:
            return bool(self.case.settings.get(name, True))
        return self.kind.tracks and bool(self.case.settings.get("track", True))

    def is_initial(self, name: str) -> bool:
        """Whether a parameter has the value of a new layer, or the layer does not have it."""
        value = self.parameters.get(name)
        return value is None or not self.has(name) or bool(np.all(value == _INITIAL[name]))

    @property
    def is_new(self) -> bool:
        return self.number == 0 and all(map(self.is_initial, PARAMETERS))

    def happened(self, action: str) -> bool:
        """Whether that was done to the layer before this call or an earlier one."""
        return any(one.name == action for step in self.case.steps[: self.number + 1] for one in step.before)

    @property
    def trained_before(self) -> bool:
        return any(step.mode == "train" for step in self.case.steps[: self.number])

    @functools.cached_property
    def finite(self) -> Array:
        x = self.step.x.astype(np.float64).ravel()
        return x[np.isfinite(x)]

    @property
    def largest(self) -> float | None:
        """The largest of |x|, of the finite ones."""
        return float(np.max(np.abs(self.finite))) if self.finite.size else None

    @property
    def constant(self) -> bool:
        return self.finite.size > 0 and float(np.ptp(self.finite)) == 0

    @property
    def mean_in_deviations(self) -> float | None:
        """|mean| / deviation of all values of x."""
        if not self.finite.size or self.constant:
            return None
        with np.errstate(all="ignore"):
            found = float(abs(np.mean(self.finite)) / np.std(self.finite))
        return found if math.isfinite(found) else None

    @property
    def subnormal(self) -> bool:
        smallest = 2.0 ** KNOWN_DTYPES[self.case.dtype].least_exponent
        return bool(np.any((self.finite != 0) & (np.abs(self.finite) < smallest)))


Read = Callable[[Call], Value | None]


@dataclass(frozen=True, kw_only=True)
class Flag:
    """What holds of a call or does not, in words for either; ``of`` is None where it cannot be asked."""

    of: Read
    yes: str
    no: str = ""


@dataclass(frozen=True, kw_only=True)
class Number:
    """A number, in words for at least a value, at most that, and exactly that.

    A count has words for ``above`` and ``fewer``, too. ``said`` has better words for some of these.
    """

    of: Read
    at_least: str
    below: str
    exactly: str
    above: str = ""
    fewer: str = ""
    said: Mapping[str, str] = field(default_factory=dict)

    @property
    def counts(self) -> bool:
        """Whether the numbers are whole."""
        return bool(self.above)

    def words(self, template: str, value: float) -> str:
        text = template.format(f"{value:,.0f}" if self.counts else f"{value:.4g}")
        return self.said.get(text, text)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of a few values, in words for some of them."""

    of: Read
    words: str


Feature = Flag | Number | Choice


def _count(of: Read, singular: str, plural: str) -> Number:
    said = {
        f"with 1 {plural}": f"with 1 {singular}",
        f"with at most 1 {plural}": f"with at most 1 {singular}",
        f"with more than 1 {plural}": f"with more than 1 {singular}",
        f"with 0 {plural}": f"without {plural}",
        f"with at most 0 {plural}": f"without {plural}",
        f"with more than 0 {plural}": f"with {plural}",
    }
    return Number(
        of=of, above=f"with more than {{}} {plural}", below=f"with at most {{}} {plural}",
        exactly=f"with {{}} {plural}", at_least=f"with {{}} {plural} or more", fewer=f"with fewer than {{}} {plural}",
        said=said,
    )  # fmt: skip


def _odd(of: Callable[[Call], float | None]) -> Read:
    return lambda call: None if (value := of(call)) is None else value % 2 == 1


def _power_of_two(of: Callable[[Call], float | None]) -> Read:
    def found(call: Call) -> bool | None:
        value = of(call)
        return None if value is None else value > 0 and math.log2(value) % 1 == 0

    return found


def _after(action: str) -> Flag:
    return Flag(of=lambda call: call.happened(action), yes=f"after {action.replace('_', ' ')}")


#: In the order in which a rule prefers them.
FEATURES: Final[tuple[Feature, ...]] = (
    Flag(of=lambda call: call.step.dy is not None, yes="with gradients", no="without gradients"),
    Choice(of=lambda call: {"train": "training"}.get(call.step.mode, call.step.mode), words="in {}"),
    Choice(of=lambda call: call.step.x.ndim, words="at rank {}"),
    Flag(of=lambda call: call.groups and call.groups == 1, yes="with G = 1", no="with G > 1"),
    Flag(of=lambda call: call.groups and call.groups == call.shape[1], yes="with G = C", no="with G < C"),
    _count(lambda call: call.positions, "position", "positions"),
    _count(lambda call: call.shape[0], "sample", "samples"),
    _count(lambda call: call.shape[1], "channel", "channels"),
    _count(lambda call: call.groups, "group", "groups"),
    _count(lambda call: call.per_group, "channel a group", "channels a group"),
    _count(lambda call: call.per_set, "value a set", "values a set"),
    _count(lambda call: call.step.x.size, "element", "elements"),
    Flag(
        of=_odd(lambda call: call.positions),
        yes="with an odd number of positions",
        no="with an even number of positions",
    ),
    Flag(of=_odd(lambda call: call.per_group), yes="with an odd C/G", no="with an even C/G"),
    Flag(of=_power_of_two(lambda call: call.per_group), yes="with C/G a power of two", no="with C/G no power of two"),
    Flag(of=_power_of_two(lambda call: call.shape[1]), yes="with C a power of two", no="with C no power of two"),
    Flag(of=_odd(lambda call: call.per_set), yes="with an odd number of values a set"),
    Flag(of=_odd(lambda call: call.shape[0]), yes="with an odd number of samples", no="with an even number of samples"),
    Number(
        of=lambda call: call.setting("eps"),
        at_least="with an eps of at least {}",
        below="with an eps of at most {}",
        exactly="with an eps of {}",
    ),
    Flag(
        of=lambda call: call.setting("eps") == USUAL_EPS, yes="with an eps of 1e-05", no="with an eps other than 1e-05"
    ),
    Flag(of=lambda call: call.setting_is_none("momentum"), yes="with momentum None", no="with a momentum"),
    Number(
        of=lambda call: call.setting("momentum"),
        at_least="with a momentum of at least {}",
        below="with a momentum of at most {}",
        exactly="with a momentum of {}",
    ),
    Flag(
        of=lambda call: bool(call.case.settings.get("track", True)) if call.kind.tracks else None,
        yes="with tracked statistics",
        no="without tracked statistics",
    ),
    Flag(of=lambda call: call.is_new, yes="of a new layer"),
    Flag(of=lambda call: call.is_initial("weight"), yes="with a weight of 1 or none", no="with a weight other than 1"),
    Flag(of=lambda call: call.is_initial("bias"), yes="with a bias of 0 or none", no="with a bias other than 0"),
    Flag(of=lambda call: call.has("weight"), yes="with a weight", no="without a weight"),
    Flag(of=lambda call: call.has("bias"), yes="with a bias", no="without a bias"),
    Flag(
        of=lambda call: call.has("weight") and bool(np.any(call.parameters.get("weight", np.ones(1)) < 0)),
        yes="with a negative weight",
    ),
    Flag(
        of=lambda call: (
            call.is_initial("running_mean") and call.is_initial("running_var") if call.kind.tracks else None
        ),
        yes="with initial running statistics",
        no="with running statistics that were given",
    ),
    Number(
        of=lambda call: call.number + 1,
        above="after call {}",
        below="up to call {}",
        exactly="in call {}",
        at_least="from call {} on",
        fewer="before call {}",
        said={"after call 1": "from the second call on", "up to call 1": "in the first call"},
    ),
    Flag(of=lambda call: call.trained_before, yes="after a call in training", no="before any call in training"),
    *(_after(action) for action in ACTIONS),
    Flag(
        of=lambda call: call.finite.size < call.step.x.size, yes="with a NaN or an infinity in x", no="with a finite x"
    ),
    Flag(of=lambda call: call.constant, yes="with a constant x", no="with an x that varies"),
    Flag(of=lambda call: call.subnormal, yes="with subnormal values in x"),
    Number(
        of=lambda call: call.mean_in_deviations,
        at_least="with a |mean| of at least {} deviations",
        below="with a |mean| of at most {} deviations",
        exactly="with a |mean| of {} deviations",
    ),
    Number(
        of=lambda call: call.largest,
        at_least="with a largest |x| of at least {}",
        below="with a largest |x| of at most {}",
        exactly="with a largest |x| of {}",
    ),
    Flag(
        of=lambda call: None if call.step.dy is None else call.step.layout != call.step.dy_layout,
        yes="with x and dy in different memory layouts",
        no="with x and dy in the same memory layout",
    ),
    Choice(of=lambda call: call.step.layout or "dense", words="with x {} in memory"),
    Choice(
        of=lambda call: None if call.step.dy is None else call.step.dy_layout or "dense", words="with dy {} in memory"
    ),
    Flag(
        of=lambda call: bool(call.case.dtypes),
        yes="with parameters of another type than x",
        no="with parameters of the type of x",
    ),
)
