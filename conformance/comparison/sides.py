"""One side of a comparison: implementations with their facts, and where these come from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from normgauge.adapters.implementation_id import EAGER
from normgauge.conformance.layers.registry import kind_of, layer_kinds, requirements
from normgauge.results.facts import NOTHING, Key, Value, facts_of
from normgauge.results.facts import on_axes as judged_by_axis
from normgauge.results.records import Header, Judgement, NotRun, Profile, Record

#: The facts of one implementation: without its name.
Facts = Mapping[Key, Value]
#: In place of an implementation's name in a key: two implementations have the same keys.
ANY: Final = ""


class NotComparable(ValueError):
    """A side that cannot be compared; the message says which, what there is, and what to write instead."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One implementation of a side. ``profiles`` are its profiles by dtype."""

    name: str
    framework: str
    layer: str
    options: str
    mode: str
    profiles: Mapping[str, Profile]
    facts: Facts

    @property
    def plain(self) -> bool:
        """Whether it is called as it is."""
        return self.mode in {"", EAGER}

    @property
    def decided(self) -> int:
        """How many facts say what it does."""
        return sum(value.decided for value in self.facts.values())

    def choices(self) -> dict[str, str]:
        """The values of its axes, by the first dtype that has each; canonical where nothing is decided."""
        found = dict(kind_of(self.layer).canonical.choices)
        for profile in reversed(list(self.profiles.values())):
            found |= {axis.axis: axis.measured[0] for axis in profile.axes if len(axis.measured) == 1}
        return found


@dataclass(frozen=True, kw_only=True)
class Side:
    """What a user named. ``name`` is how, ``origin`` where it comes from; ``selected`` is the id of one of them.

    ``known`` are the ids that the framework has, whether they were run or not; ``not_run`` says what could not be run.
    """

    name: str
    origin: str
    members: Mapping[str, Member]
    selected: str = ""
    known: frozenset[str] = frozenset()
    not_run: tuple[NotRun, ...] = ()
    remarks: tuple[str, ...] = field(default=())

    def of_layer(self, layer: str) -> list[Member]:
        """The members of a kind of layer."""
        return [one for one in self.members.values() if one.layer == layer]

    @property
    def layers(self) -> list[str]:
        """The kinds of layer that it has, in their order."""
        return list(dict.fromkeys(one.layer for one in self.members.values()))


def side_of(name: str, origin: str, records: Sequence[Record], selected: str = "", remarks: Iterable[str] = ()) -> Side:
    """A side of the records of one run, or of several of different implementations.

    Raises:
        NotComparable: the records have no measured implementation, one of them twice, or not the ``selected`` one.
    """
    profiles = [one for one in records if isinstance(one, Profile) and one.layer in layer_kinds()]
    if not profiles:
        reasons = "; ".join(dict.fromkeys(one.reason for one in records if isinstance(one, NotRun) and one.failed))
        raise NotComparable(f"{name} ({origin}) has no measured implementation{': ' if reasons else ''}{reasons}")
    if selected and selected not in {one.implementation for one in profiles}:
        has = ", ".join(dict.fromkeys(one.implementation for one in profiles))
        raise NotComparable(f"{name}: {origin} does not have {selected}; it has {has}")
    kept = [one for one in profiles if selected in {"", one.implementation}]
    _refuse_two(name, kept)
    headers = [one for one in records if isinstance(one, Header)]
    return Side(
        name=name,
        origin=origin,
        members={one.name: one for one in _members(kept, records)},
        selected=selected,
        known=frozenset(identifier for one in headers for identifier in (*one.known, *one.implementations)),
        not_run=tuple(one for one in records if isinstance(one, NotRun) and one.failed),
        remarks=tuple(remarks),
    )


def _refuse_two(name: str, profiles: Sequence[Profile]) -> None:
    seen: set[tuple[str, str]] = set()
    for one in profiles:
        if (one.implementation, one.dtype) in seen:
            raise NotComparable(
                f"{name} has several runs of {one.implementation} at {one.dtype}; name one file, or one release: "
                f"{one.framework}@RELEASE"
            )
        seen.add((one.implementation, one.dtype))


def _members(profiles: Sequence[Profile], records: Sequence[Record]) -> Iterable[Member]:
    judgements = [one for one in records if isinstance(one, Judgement)]
    by_axis = {one.id for one in requirements().values() if one.rule == "axis"} | judged_by_axis(judgements)
    facts: dict[str, dict[Key, Value]] = {}
    for key, value in facts_of(profiles, judgements, by_axis):
        facts.setdefault(key.implementation, {})[key._replace(implementation=ANY)] = value
    absent = {one.dtype: one for one in records if isinstance(one, NotRun) and one.absent and one.dtype}
    by_name: dict[str, dict[str, Profile]] = {}
    for one in profiles:
        by_name.setdefault(one.implementation, {})[one.dtype] = one
    for name, own in by_name.items():
        first = next(iter(own.values()))
        gone = {Key(ANY, "dtype", dtype, dtype): Value(text="not supported", kind="none") for dtype in absent}
        yield Member(
            name=name,
            framework=first.framework,
            layer=first.layer,
            options=first.options,
            mode=first.mode,
            profiles=own,
            facts={**gone, **facts.get(name, {})},
        )


def both_decided(key: Key, one: Facts, other: Facts) -> bool:
    """Whether a fact is decided on both sides."""
    return all(facts.get(key, NOTHING).decided for facts in (one, other))


def alike(one: Member, other: Member, kinds: Collection[str]) -> bool:
    """Whether no fact of these kinds that both have decided differs."""
    keys = [key for key in one.facts if key.kind in kinds and both_decided(key, one.facts, other.facts)]
    return all(one.facts[key].text == other.facts[key].text for key in keys)
