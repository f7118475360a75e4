"""What a kind of layer is to the suite: one record."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from normgauge.adapters.case import Case
from normgauge.conformance.remedies.remedy import Advice
from normgauge.conformance.requirements.requirement import Requirement
from normgauge.oracle import Arithmetic, Axis, Reference, Semantics, WrongGradients

#: For each step of a case, the quantities that it shows (docs/protocol.md names them); raises ``Refusal``.
Steps = Callable[[Case, Semantics, Arithmetic], Iterator[Mapping[str, Reference]]]
#: The known wrong gradients at a step (from 0) of a case; None where there are none.
KnownErrors = Callable[[Case, int, Semantics], WrongGradients | None]


def no_wrong_gradients(case: Case, step: int, semantics: Semantics) -> WrongGradients | None:
    return None


@dataclass(frozen=True, kw_only=True)
class LayerKind:
    """A kind of layer.

    ``steps`` goes through a case with the oracle, forward and backward. An input is cut into sets that are normalised
    together: with ``across_samples`` a set is a channel of all samples, otherwise channels of one sample, all of them
    or, with ``grouped``, ``num_groups`` equal parts. A kind that ``tracks`` has running statistics, a momentum, and
    another result in eval than in training. ``relations`` (conformance/verdicts/relations.py) hold between two calls.
    ``running_axes`` say how running statistics move, and nothing of the first output; ``training_statistics`` is the
    axis of those that normalise in training. ``advice`` says what a port writes instead of a plain call, or why nothing
    helps.
    """

    name: str
    title: str
    axes: tuple[Axis, ...]
    requirements: tuple[Requirement, ...]
    steps: Steps
    wrong_gradients: KnownErrors = no_wrong_gradients
    relations: tuple[str, ...] = ()
    advice: tuple[Advice, ...] = ()
    running_axes: tuple[str, ...] = ()
    training_statistics: str = ""
    across_samples: bool = False
    grouped: bool = False
    tracks: bool = False

    @functools.cached_property
    def canonical(self) -> Semantics:
        return Semantics(layer=self.name, choices={axis.name: axis.canonical for axis in self.axes})

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many values each axis has: the shape of the product of the axes."""
        return tuple(len(axis.values) for axis in self.axes)

    def at(self, point: tuple[int, ...], mistakes: Mapping[str, str] | None = None) -> Semantics:
        """The candidate at a point of the product of the axes, with ``mistakes`` in place of what it says on theirs."""
        choices = {axis.name: axis.names[i] for axis, i in zip(self.axes, point, strict=True)}
        return Semantics(layer=self.name, choices=choices | dict(mistakes or {}))

    def point_of(self, semantics: Semantics) -> tuple[int, ...]:
        """Where a candidate stands in the product of the axes."""
        return tuple(axis.names.index(semantics.choices[axis.name]) for axis in self.axes)

    def axis(self, name: str) -> Axis:
        return next(axis for axis in self.axes if axis.name == name)

    @property
    def apart_along(self) -> int:
        """The axis of an input along which other values change nothing: samples, or channels."""
        return 1 if self.across_samples else 0

    def sets(self, shape: tuple[int, ...], groups: int = 1) -> int:
        """How many sets an input of ``shape`` (N, C, *spatial) is cut into."""
        return shape[1] if self.across_samples else shape[0] * (groups if self.grouped else 1)

    def values_per_set(self, shape: tuple[int, ...], groups: int = 1) -> int:
        sets = self.sets(shape, groups)
        return math.prod(shape) // sets if sets else 0
