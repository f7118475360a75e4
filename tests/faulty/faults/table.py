"""All faults, and the adapter that serves them."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Final

from faulty.adapter import _BATCH_NAMES, _GROUP_NAMES, FaultyAdapter
from faulty.faults import (
    affine,
    centre,
    eps,
    gradients,
    precision,
    refusals,
    running,
    sets,
    sizes,
    state,
    stored,
)
from faulty.faults.fault import GROUP, Fault
from normgauge.adapters.case import Implementation

FAMILIES: Final[tuple[ModuleType, ...]] = (
    sets,
    centre,
    eps,
    affine,
    running,
    stored,
    sizes,
    gradients,
    precision,
    state,
    refusals,
)
FAULTS: Final = tuple(
    Fault(mistake=mistake, kind=kind, family=module.FAMILY)
    for module in FAMILIES
    for mistake in module.MISTAKES
    for kind in mistake.kinds
)
BY_ID: Final = {one.id: one for one in FAULTS}


class FaultsAdapter(FaultyAdapter):
    """Serves a layer a fault."""

    framework = "faults"
    implementations = tuple(
        Implementation(
            class_path=one.id,
            layer=one.kind,
            layout="N, C, *",
            names=_GROUP_NAMES if one.kind == GROUP else _BATCH_NAMES,
            documentation="",
        )
        for one in FAULTS
    )

    def layer_class(self, implementation: Implementation) -> Any:
        return BY_ID[implementation.id].layer
