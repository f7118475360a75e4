"""What a worker says of an implementation, where a test cares for a part of it only."""

from __future__ import annotations

from typing import Any

from normgauge.conformance.subjects.messages import Description


def described(identifier: str, layer: str = "group_norm", **others: Any) -> Description:
    required = {"layout": "", "names": {}, "documentation": "", "ranks": (2,), "remedies": {}, "signature_defaults": {}}
    return Description(**{"id": identifier, "layer": layer, **required, **others})
