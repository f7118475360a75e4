"""The semantics of registered layers as the list of known differences has it: where they are not canonical."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from packaging.version import Version

from normgauge.adapters.implementation_id import EAGER
from normgauge.adapters.registry import not_known, registered, registered_implementations
from normgauge.conformance.gating.expectations import Expectations
from normgauge.conformance.layers.registry import kind_of, requirements

#: Later than every release: an entry that ends with an earlier one is about the past.
_NEWEST: Final = Version("99999")


def known_choices(name: str, known: Expectations) -> dict[str, dict[str, str]]:
    """The axes on which the newest release of a layer is not canonical, by its kind.

    ``name`` is the id of a layer, or a framework: then its first GroupNorm and its first BatchNorm are meant.

    Raises:
        ValueError: no registered layer or framework has this name.
    """
    layers = {
        identifier: one.layer
        for identifier, (framework, one) in registered_implementations().items()
        if name == identifier or (name == framework and one.mode == EAGER)
    }
    if not layers:
        every = [*sorted(registered()), *sorted(registered_implementations())]
        raise ValueError(not_known("layer or framework", name, every))
    first = {layer: identifier for identifier, layer in reversed(layers.items())}
    return {layer: dict(_of(identifier, layer, known)) for layer, identifier in first.items()}


def _of(identifier: str, layer: str, known: Expectations) -> Mapping[str, str]:
    found = {}
    for one in known.all:
        requirement = requirements().get(one.entry.requirement)
        axis = requirement.axis if requirement is not None else None
        newest = all(specifier.contains(_NEWEST) for specifier in one.specifiers.values())
        if axis is None or identifier not in one.entry.implementations or not newest:
            continue
        if one.entry.measured in {value.name for value in kind_of(layer).axis(axis).every}:
            found[axis] = one.entry.measured
    return found
