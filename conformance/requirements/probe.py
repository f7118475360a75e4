"""A probe: a case, the requirement that it is a case of, and what is judged in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from normgauge.adapters.case import Action, Array, Case, Step
from normgauge.conformance.requirements.inputs import biases, cast, weights

#: Those that a step with an upstream gradient has.
GRADIENTS: Final = ("dx", "dweight", "dbias")
#: What a step can show; the parameters, and what a derivative asks for, where it is asked for them.
QUANTITIES: Final = (
    "output", "running_mean", "running_var", *GRADIENTS, "weight", "bias", "trainable",
    "second_x", "second_dy", "second_weight", "jvp", "jvp_of_jvp",
)  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True)
class Probe:
    """One case of an experiment, equal to itself alone.

    ``diagnoses`` marks the cases whose joint evidence selects the semantics; the others are judged
    against it. ``special`` marks those of them that only one requirement is about. ``measures`` names a
    setting that the case leaves to the implementation's default. ``quantities`` is what is judged here;
    what else shows in the case is judged elsewhere, once. ``needs`` is a requirement without which the
    case means nothing: where that follows no known alternative, there is nothing to hold the case to. ``without`` is
    the case without what its requirement is about: it is asked as well (``judged`` is False of it), and where it
    departs, too, the case tells nothing. ``curve`` names the axis of the error curve of which each step is a point.
    """

    label: str
    case: Case
    requirement: str = ""
    diagnoses: bool = False
    special: bool = False
    measures: str | None = None
    quantities: tuple[str, ...] = QUANTITIES
    needs: str | None = None
    without: Case | None = None
    judged: bool = True
    curve: str | None = None

    def of(self, requirement: str) -> tuple[Probe, ...]:
        """The same as a case of this requirement, and the one that is asked beside it."""
        own = replace(self, requirement=requirement)
        if self.without is None:
            return (own,)
        return (own, replace(own, label=f"{self.label}: without that", case=self.without, without=None, judged=False))


def make_case(
    layer: str,
    dtype: str,
    settings: Mapping[str, Any],
    steps: Sequence[tuple[str, Array] | tuple[str, Array, Array]],
    parameters: Mapping[str, Array] | None = None,
) -> Case:
    """A case whose arrays are cast to ``dtype``; by default with a weight and a bias.

    Steps are a mode, an input and, to differentiate it, an upstream gradient.
    """
    channels = settings["num_channels"]
    if parameters is None:
        parameters = {}
        if settings.get("weight", True):
            parameters["weight"] = weights(channels)
        if settings.get("bias", True):
            parameters["bias"] = biases(channels)
    return Case(
        layer=layer,
        dtype=dtype,
        settings=dict(settings),
        parameters={name: cast(value, dtype) for name, value in parameters.items()},
        steps=tuple(_step(mode, [cast(values, dtype) for values in arrays]) for mode, *arrays in steps),
    )


def beside_another(case: Case) -> Case:
    """The case with another layer made and trained before every step but the first."""
    first, *others = case.steps
    met = (replace(step, before=(*step.before, Action("another_layer"))) for step in others)
    return replace(case, steps=(first, *met))


def _step(mode: str, arrays: Sequence[Array]) -> Step:
    return Step(mode, arrays[0], arrays[1] if len(arrays) > 1 else None)
