"""From a name to semantics: `canonical`, or values of axes."""

from __future__ import annotations

from collections.abc import Sequence

from normgauge.conformance.layers.registry import kind_of
from normgauge.conformance.vectors.export import CANONICAL


def choices_named(text: str, layers: Sequence[str]) -> dict[str, dict[str, str]]:
    """The axes on which a semantics is not canonical, by layer; ``text`` is ``axis=value,axis=value`` or ``canonical``.

    Raises:
        ValueError: no layer has such an axis or value; the message has those that there are.
    """
    if text == CANONICAL:
        return {}
    found: dict[str, dict[str, str]] = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        axes = {(layer, axis.name): axis for layer in layers for axis in kind_of(layer).axes}
        own = {layer: axis for (layer, known), axis in axes.items() if known == name}
        if not equals or not own:
            allowed = ", ".join(dict.fromkeys(known for _, known in axes))
            raise ValueError(f"{part.strip()!r} names no axis; allowed: AXIS=VALUE, with an axis of {allowed}")
        having = {layer for layer, axis in own.items() if value in {one.name for one in axis.every}}
        if not having:
            allowed = ", ".join(dict.fromkeys(one.name for axis in own.values() for one in axis.every))
            raise ValueError(f"axis {name} has no value {value!r}; allowed: {allowed}")
        for layer in having:
            found.setdefault(layer, {})[name] = value
    return found
