"""What the kinds of layer have in common: weight and bias of a case, and what of its gradients a layer shows."""

from __future__ import annotations

from typing import Any

from normgauge.adapters.case import Case
from normgauge.oracle import Gradients, Reference


def affine(case: Case) -> dict[str, Any]:
    """Weight and bias, None where the layer has none or the initial ones."""
    return {name: case.parameters.get(name) if case.settings.get(name, True) else None for name in ("weight", "bias")}


def shown(gradients: Gradients, case: Case) -> dict[str, Reference]:
    """The gradients by name, of the parameters that the layer has."""
    found = {"dx": gradients.dx, "dweight": gradients.dweight, "dbias": gradients.dbias}
    return {name: one for name, one in found.items() if case.settings.get(name[1:], True)}
