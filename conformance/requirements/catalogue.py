"""All chapters together."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Final

from normgauge.conformance.requirements.accuracy_curves import ACCURACY
from normgauge.conformance.requirements.affine import AFFINE
from normgauge.conformance.requirements.axes import AXES
from normgauge.conformance.requirements.committed_cases import COMMITTED
from normgauge.conformance.requirements.gradients import GRADIENTS_CHAPTER
from normgauge.conformance.requirements.half_precision import HALF_PRECISION
from normgauge.conformance.requirements.higher_derivatives import HIGHER_DERIVATIVES
from normgauge.conformance.requirements.memory_layouts import MEMORY_LAYOUTS
from normgauge.conformance.requirements.parameter_types import PARAMETER_TYPES
from normgauge.conformance.requirements.parameters import PARAMETERS_CHAPTER
from normgauge.conformance.requirements.ranges import RANGES
from normgauge.conformance.requirements.refusals import REFUSALS
from normgauge.conformance.requirements.related_layers import RELATED_LAYERS
from normgauge.conformance.requirements.requirement import Requirement
from normgauge.conformance.requirements.running_statistics import RUNNING_STATISTICS
from normgauge.conformance.requirements.saved_state import SAVED_STATE
from normgauge.conformance.requirements.settings import SETTINGS
from normgauge.conformance.requirements.shapes import SHAPES
from normgauge.conformance.requirements.side_effects import SIDE_EFFECTS
from normgauge.conformance.requirements.sizes import SIZES
from normgauge.conformance.requirements.special_values import SPECIAL_VALUES

_CHAPTERS = (
    AXES, SETTINGS, SHAPES, AFFINE, RUNNING_STATISTICS, REFUSALS, SIDE_EFFECTS, GRADIENTS_CHAPTER,
    HIGHER_DERIVATIVES, SPECIAL_VALUES, ACCURACY, SAVED_STATE, MEMORY_LAYOUTS, PARAMETERS_CHAPTER, PARAMETER_TYPES,
    HALF_PRECISION, RANGES, SIZES, RELATED_LAYERS, COMMITTED,
)  # fmt: skip

#: Ids of requirements that are gone, with the reason: they are never used again.
RETIRED: Final[Mapping[str, str]] = {}


def of_layer(layer: str) -> tuple[Requirement, ...]:
    """The requirements of a kind of layer, in the order of their numbers."""
    own = (one for one in itertools.chain.from_iterable(_CHAPTERS) if one.layer == layer)
    return tuple(sorted(own, key=lambda one: one.id))
