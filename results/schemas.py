"""JSON Schemas that are generated from records and published beside them."""

from __future__ import annotations

from typing import Any

import msgspec


def schema_of(kind: type, name: str, title: str, version: int) -> dict[str, Any]:
    """The JSON Schema of one kind of record; ``name`` is its part of the id ``urn:normgauge:NAME:VERSION``."""
    (found,), components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:normgauge:{name}:{version}",
        "title": f"{title}, format {version}",
        **found,
        "$defs": components,
    }
