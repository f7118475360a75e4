"""One of the two layers of a recipe: what its profile says, and how its code is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from normgauge.adapters.case import Implementation
from normgauge.adapters.implementation_id import EAGER
from normgauge.adapters.registry import load_adapter, registered_implementations
from normgauge.adapters.writing import Writing
from normgauge.conformance.comparison.sides import Member, NotComparable
from normgauge.conformance.comparison.sources import SHIPPED, Sources
from normgauge.results.records import Profile

#: The type that profiles are of, and recipes for.
DTYPE = "float32"


@dataclass(frozen=True, kw_only=True)
class RecipeLayer:
    """An implementation with its profile of float32. ``versions`` are those that it was measured with."""

    implementation: Implementation
    framework: str
    profile: Profile
    writing: Writing
    versions: str

    @property
    def id(self) -> str:
        """The id of the implementation."""
        return self.implementation.id

    def values(self, axis: str) -> tuple[str, ...]:
        """The values of an axis that the measurement leaves; empty where the profile does not have the axis."""
        return next((tuple(one.measured) for one in self.profile.axes if one.axis == axis), ())

    def default(self, setting: str) -> str | None:
        """The default of a setting, as measured or else as its signature has it."""
        found = next((one for one in self.profile.defaults if one.setting == setting), None)
        return None if found is None else found.rounded() or found.signature


def layer_named(sources: Sources, text: str) -> RecipeLayer:
    """The layer that a text names: an implementation, with ``@RELEASE`` where it is not the newest profile.

    Raises:
        NotComparable: no layer has this name, several could be meant, or there is no code for it.
        BrokenResults: a file that is no result file.
        NoAdapter: a module:Class that is no adapter.
    """
    side = sources.side(text)
    plain = [one for one in side.members.values() if one.mode in {"", EAGER}]
    if len(plain) != 1:
        raise NotComparable(f"{text} has several layers: name one of {' or '.join(one.name for one in plain)}")
    return layer_of_member(plain[0], side.origin)


def layers_of(sources: Sources, framework: str) -> list[RecipeLayer]:
    """Every layer of a framework's profile that is called plainly."""
    side = sources.side(framework)
    return [layer_of_member(one, side.origin) for one in side.members.values() if one.mode in {"", EAGER}]


def siblings(sources: Sources, layer: RecipeLayer) -> list[RecipeLayer]:
    """The other ways to construct the class of a layer that the newest shipped profile has."""
    own, path = layer.implementation, layer.implementation.class_path
    found = layers_of(sources, f"{layer.framework}@{SHIPPED}") if ":" not in layer.framework else []
    return [one for one in found if one.implementation.class_path == path and one.id != own.id]


def layer_of_member(member: Member, origin: str) -> RecipeLayer:
    """The layer of a side that comes from ``origin``.

    Raises:
        NotComparable: there is no code for it, or it was not measured in float32.
    """
    known = registered_implementations()
    if member.name not in known:
        raise NotComparable(f"{member.name} is not an implementation of a registered adapter: there is no code for it")
    framework, implementation = known[member.name]
    writing = load_adapter(framework).writing(implementation)
    if writing is None:
        raise NotComparable(f"the adapter {framework!r} does not say how code is written; add a method `writing` to it")
    if DTYPE not in member.profiles:
        raise NotComparable(f"{member.name} was not measured in {DTYPE}; a recipe is for {DTYPE}")
    return RecipeLayer(
        implementation=replace(implementation, ranks=writing.ranks or implementation.ranks),
        framework=framework,
        profile=member.profiles[DTYPE],
        writing=writing,
        versions=_versions(origin),
    )


def _versions(origin: str) -> str:
    """The releases at the front of where a side comes from."""
    parts: Sequence[str] = origin.split(", ")
    return ", ".join(part for part in parts if not part.startswith(("measured", "shipped", "profile")))
