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
from faulty.faults.fault import BATCH, GROUP, Fault, Mistake
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
#: The layers as they are before a step is replaced.
WITHOUT: Final = tuple(
    Fault(mistake=Mistake(name="without a fault", why="", named="", change={}), kind=kind, family="none")
    for kind in (GROUP, BATCH)
)
BY_ID: Final = {one.id: one for one in (*FAULTS, *WITHOUT)}


def _implementation(fault: Fault) -> Implementation:
    names = _GROUP_NAMES if fault.kind == GROUP else _BATCH_NAMES
    return Implementation(class_path=fault.id, layer=fault.kind, layout="N, C, *", names=names, documentation="")


class FaultsAdapter(FaultyAdapter):
    """Serves a layer a fault, and the layers without one whose steps the faults replace."""

    framework = "faults"
    implementations = tuple(map(_implementation, (*FAULTS, *WITHOUT)))

    def layer_class(self, implementation: Implementation) -> Any:
        return BY_ID[implementation.id].layer
