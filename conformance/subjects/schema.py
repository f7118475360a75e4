"""The JSON Schema of the worker protocol, generated from the classes of ``messages.py`` and ``requests.py``."""

from __future__ import annotations

import functools
import json
from importlib.resources import files
from typing import Any, Final

import msgspec

from normgauge.adapters.worker.protocol import PROTOCOL
from normgauge.conformance.subjects.messages import MESSAGES, Message
from normgauge.conformance.subjects.requests import REQUESTS

_FILE: Final = "protocol.schema.json"


def schema() -> dict[str, Any]:
    """The schema that is published: of any message, in either direction. Under ``$defs`` each kind has its own."""
    kinds: list[type[Message]] = [*MESSAGES.values(), *REQUESTS.values()]
    found, components = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:normgauge:worker-protocol:{PROTOCOL}",
        "title": f"a message of the worker protocol, version {PROTOCOL}",
        "anyOf": list(found),
        "$defs": components,
    }


@functools.cache
def published() -> dict[str, Any]:
    """The schema as it is shipped."""
    read: dict[str, Any] = json.loads(files(__package__).joinpath(_FILE).read_text("utf-8"))
    return read


if __name__ == "__main__":
    print(json.dumps(schema(), indent=1))
