"""Which implementation of one side is compared with which of the other, and why.

The same id is compared with itself. Otherwise the kind of layer is the same, then the mode, then the options of the
constructor; an implementation without options stands for its framework. Where several remain that compute differently,
the user must name one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from normgauge.conformance.comparison.sides import Member, NotComparable, Side, alike
from normgauge.conformance.layers.registry import kind_of

#: The kinds of facts that tell whether two implementations of a framework can stand for each other.
_TELLING: Final = ("semantics", "default")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two implementations, and why they are compared. ``same`` says that both have the same id."""

    a: Member
    b: Member
    why: str

    @property
    def same(self) -> bool:
        return self.a.name == self.b.name and self.a.framework == self.b.framework


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """The pairs, and the ids that only one of the sides has."""

    pairs: tuple[Pair, ...]
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()


def paired(a: Side, b: Side) -> Pairing:
    """The pairs of two sides: ids that both have, or else one implementation for each kind of layer.

    Raises:
        NotComparable: nothing can be paired, or several implementations could be meant.
    """
    common = [name for name, one in a.members.items() if name in b.members and _same(one, b.members[name])]
    if common and not (a.selected and b.selected and a.selected != b.selected):
        return Pairing(
            pairs=tuple(Pair(a=a.members[one], b=b.members[one], why="the same implementation") for one in common),
            only_a=tuple(one for one in a.members if one not in common),
            only_b=tuple(one for one in b.members if one not in common),
        )
    layers = [layer for layer in a.layers if layer in b.layers]
    if not layers:
        raise NotComparable(
            f"{a.name} has {_titles(a.layers)}, and {b.name} has {_titles(b.layers)}; "
            "name two sides with the same kind of layer"
        )
    return Pairing(pairs=tuple(_of_layer(a, b, layer) for layer in layers))


def _same(one: Member, other: Member) -> bool:
    return one.framework == other.framework and one.layer == other.layer


def _of_layer(a: Side, b: Side, layer: str) -> Pair:
    """The pair of a kind of layer: the one that stands for A, and its counterpart in B."""
    if not a.selected and b.selected:
        other, first = counterpart(b.members[b.selected], a)
        return Pair(a=other, b=b.members[b.selected], why=first)
    own, why = counterpart(None, a, layer)
    other, more = counterpart(own, b)
    return Pair(a=own, b=other, why="; ".join(part for part in (why, more) if part))


def counterpart(own: Member | None, side: Side, layer: str = "") -> tuple[Member, str]:
    """The member of a side that ``own`` is compared with, or that stands for its ``layer``, and why it is that one.

    Raises:
        NotComparable: the side has none, or several that compute differently.
    """
    layer = own.layer if own else layer
    candidates = side.of_layer(layer)
    if not candidates:
        raise NotComparable(f"{side.name} has no {kind_of(layer).title}; it has {', '.join(side.members)}")
    if side.selected:
        return side.members[side.selected], ""
    if own is not None and own.name in side.members:
        return side.members[own.name], "the same implementation"
    kept = _of_mode(own, candidates)
    kept, options = _of_options(own, kept)
    groups = _alike(kept)
    if len(groups) > 1:
        names = " or ".join(one.name for group in groups for one in group)
        raise NotComparable(
            f"{side.name} has several {kind_of(layer).title} layers, which compute differently: name one of {names}"
        )
    chosen = max(groups[0], key=lambda one: one.decided)
    return chosen, "; ".join(_reasons(chosen, groups[0], candidates, options))


def _of_mode(own: Member | None, candidates: Sequence[Member]) -> Sequence[Member]:
    same = [one for one in candidates if own and not own.plain and one.mode == own.mode]
    return same or [one for one in candidates if one.plain] or candidates


def _of_options(own: Member | None, candidates: Sequence[Member]) -> tuple[Sequence[Member], str]:
    """Those with the same options, or else those without options; and which of these it was."""
    same = [one for one in candidates if own and own.options and one.options == own.options]
    if same:
        return same, "of the same options"
    without = [one for one in candidates if not one.options]
    return (without, "of no options") if without else (candidates, "")


def _alike(candidates: Sequence[Member]) -> list[list[Member]]:
    """Those together that no decided axis or default tells apart."""
    groups: list[list[Member]] = []
    for one in candidates:
        for group in groups:
            if all(alike(one, other, _TELLING) for other in group):
                group.append(one)
                break
        else:
            groups.append([one])
    return groups


def _reasons(chosen: Member, group: Sequence[Member], candidates: Sequence[Member], options: str) -> Iterator[str]:
    same = [one.name for one in group if one is not chosen]
    if same:
        yield f"{chosen.name} stands for {', '.join(same)}, too: same formulas and defaults"
    others = [one.name for one in candidates if one.plain and one not in group]
    if others:
        kept = "has the same options" if options == "of the same options" else "is constructed without options"
        yield f"{chosen.name} {kept}; for another, name {' or '.join(others)}"


def _titles(layers: Sequence[str]) -> str:
    return " and ".join(kind_of(one).title for one in layers)
