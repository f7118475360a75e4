"""One call of a layer and what came of it, in canonical layout, with every setting given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from normgauge.adapters.case import Case, Observation, Step, StepResult
from normgauge.conformance.diagnosis.candidates import Seen
from normgauge.conformance.layers.kind import LayerKind
from normgauge.conformance.layers.registry import kind_of
from normgauge.conformance.requirements.probe import Probe

Array = NDArray[Any]
#: Quantities of the shape of x; the others have the shape (C,).
LIKE_X: Final = ("output", "dx")
#: Those of the shape (C,) that are sums over all samples.
SUMMED: Final = ("dweight", "dbias")
RUNNING: Final = ("running_mean", "running_var")


@dataclass(frozen=True)
class _Shown(StepResult):
    """What a step gave, where not everything was kept: the output may be missing."""

    only: Mapping[str, Array] = field(default_factory=dict, kw_only=True)

    @property
    def quantities(self) -> dict[str, Array]:
        return dict(self.only)


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """A call and what came of it.

    ``settings`` has ``eps``, and by the kind of layer ``num_groups`` or ``momentum``. ``parameters`` has those of
    weight, bias, running_mean and running_var that the layer has, of shape (C,), as they were before the call.
    ``observed`` has output and dx of the shape of x, (N, C, *spatial), and dweight, dbias and the running statistics
    after the call, of shape (C,).
    """

    layer: str
    dtype: str
    training: bool
    settings: Mapping[str, Any]
    x: Array
    dy: Array | None = None
    parameters: Mapping[str, Array] = field(default_factory=dict)
    observed: Mapping[str, Array] = field(default_factory=dict)

    @property
    def kind(self) -> LayerKind:
        return kind_of(self.layer)

    @property
    def channels(self) -> int:
        return int(self.x.shape[1])

    @property
    def groups(self) -> int:
        return int(self.settings.get("num_groups", 1))

    def case(self) -> Case:
        """The call as a case: weight and bias as far as they are given, and what is tracked."""
        settings = {**self.settings, "num_channels": self.channels}
        settings |= {name: name in self.parameters for name in ("weight", "bias")}
        if self.kind.tracks:
            settings["track"] = bool({*RUNNING} & {*self.parameters, *self.observed})
        running = {name: values for name, values in {**self.observed, **self.parameters}.items() if name in RUNNING}
        return Case(
            layer=self.layer,
            dtype=self.dtype,
            settings=settings,
            parameters=dict(self.parameters),
            steps=(Step(mode="train" if self.training else "eval", x=self.x, dy=self.dy),),
            dtypes={name: values.dtype.name for name, values in running.items() if values.dtype.name != self.dtype},
        )

    def seen(self) -> Seen:
        """The call as a probe of the diagnosis, with what was observed on it."""
        shown = _Shown(output=np.empty(0), dtype=self.dtype, state={}, only=self.observed)
        return Seen(probe=Probe(label="", case=self.case(), diagnoses=True), observation=Observation(steps=(shown,)))

    def restricted(self, samples: slice, channels: NDArray[np.intp], groups: int = 1) -> Question:
        """The same call for some samples and some channels, which make up so many groups.

        What sums over other samples, too, is left out.
        """

        def like_x(values: Array) -> Array:
            return np.ascontiguousarray(_channels_of(values[samples], channels, axis=1))

        whole = samples in (slice(None), slice(0, len(self.x)))
        observed = {
            name: like_x(values) if name in LIKE_X else _channels_of(values, channels, axis=0)
            for name, values in self.observed.items()
            if whole or name not in SUMMED
        }
        settings = {**self.settings, "num_groups": groups} if self.kind.grouped else self.settings
        return Question(
            layer=self.layer,
            dtype=self.dtype,
            training=self.training,
            settings=settings,
            x=like_x(self.x),
            dy=None if self.dy is None else like_x(self.dy),
            parameters={name: _channels_of(one, channels, axis=0) for name, one in self.parameters.items()},
            observed=observed,
        )


def _channels_of(values: Array, channels: NDArray[np.intp], axis: int) -> Array:
    """Some channels: without a copy where they are adjacent."""
    first, last = int(channels[0]), int(channels[-1])
    adjacent = last - first + 1 == len(channels) and bool(np.all(np.diff(channels) == 1))
    if adjacent:
        part = slice(first, last + 1)
        return values[:, part] if axis else values[part]
    return values.take(channels, axis=axis)
