"""Remedies for the type that a layer computes in, and for the one that it returns."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from normgauge.adapters.case import Array, Case, Observation, Step, StepResult
from normgauge.adapters.dtypes import KNOWN_DTYPES
from normgauge.adapters.implementation_id import EAGER
from normgauge.conformance.remedies.calls import cast, with_results
from normgauge.conformance.remedies.parameters import permuted
from normgauge.conformance.remedies.remedy import Apply, Layer

_WIDE: Final = "float32"


def in_float32(case: Case, layer: Layer) -> Observation:
    """Hold the layer in float32, call it on the input in float32, and cast the output and dx back."""

    def wide(values: Array) -> Array:
        return values.astype(_WIDE)

    def widened(step: Step) -> Step:
        return replace(step, x=wide(step.x), dy=None if step.dy is None else wide(step.dy))

    parameters = {name: wide(value) for name, value in case.parameters.items()}
    own = layer.other(mode=EAGER) if layer.identity.mode == "mixed" else layer
    seen = own.run(replace(case, dtype=_WIDE, parameters=parameters, steps=tuple(map(widened, case.steps))))

    def narrowed(_: int, result: StepResult) -> StepResult:
        gradients = {name: cast(value, case.dtype) for name, value in result.gradients.items()}
        return replace(result, output=cast(result.output, case.dtype), dtype=case.dtype, gradients=gradients)

    return with_results(seen, narrowed)


def output_cast(case: Case, layer: Layer) -> Observation:
    """Cast the output to the type of the input."""
    carrier = KNOWN_DTYPES[case.dtype].carrier

    def narrowed(_: int, result: StepResult) -> StepResult:
        return replace(result, output=cast(result.output, case.dtype).astype(carrier), dtype=case.dtype)

    return with_results(layer.run(case), narrowed)


def instead(**changes: str) -> Apply:
    """Construct the layer with other ``options``, on another ``backend`` or in another ``mode``."""

    def apply(case: Case, layer: Layer) -> Observation:
        return layer.other(**changes).run(case)

    return apply


def in_place_of_its_kin(case: Case, layer: Layer) -> Observation:
    """Call this layer, a GroupNorm, in place of the InstanceNorm or LayerNorm that departs."""
    return layer.run(case)


def plain_and_permuted(case: Case, layer: Layer) -> Observation:
    """Leave out the layer's options, and permute the channels for groups that are interleaved then."""
    return permuted(case, layer.other(options=""))
