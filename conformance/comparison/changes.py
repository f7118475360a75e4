"""What differs between two sides: each fact that has another value, with its sort, and what was not compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from normgauge.conformance.comparison.effects import Effect, effect_of
from normgauge.conformance.comparison.pairing import Pair, Pairing, paired
from normgauge.conformance.comparison.sides import ANY, Member, Side
from normgauge.conformance.layers.registry import kind_of, requirements
from normgauge.results.facts import NOTHING, Change, Key, Kind, Value, change_of

#: The order in which differences are shown.
KINDS: Final[tuple[Kind, ...]] = (
    "semantics", "default", "requirement", "type", "statistics", "dtype", "documentation",
)  # fmt: skip
#: What says nothing of two different implementations: what one of them leaves open, and what its own text says.
_OPEN: Final = ("no longer decided", "newly decided")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One fact that is different, at ``dtypes``; ``effect`` is what the difference of an axis does to numbers."""

    kind: Kind
    subject: str
    dtypes: tuple[str, ...]
    change: Change
    a: Value
    b: Value
    effect: Effect | None = None


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Two implementations beside each other. ``same`` counts the equal facts by kind; ``dtypes`` are those of both.

    ``open`` has what only one of them has decided, where that is no change.
    """

    pair: Pair
    dtypes: tuple[str, ...]
    differences: tuple[Difference, ...]
    same: dict[Kind, int]
    open: tuple[Difference, ...] = ()
    not_compared: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two sides, compared. ``lost`` and ``new`` are the ids that only A or only B has, though both could be asked."""

    a: Side
    b: Side
    compared: tuple[Compared, ...]
    lost: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not (self.lost or self.new or any(one.differences for one in self.compared))


def compare(a: Side, b: Side) -> Comparison:
    """Two sides, pair by pair.

    Raises:
        NotComparable: nothing can be paired, or several implementations could be meant.
    """
    pairing = paired(a, b)
    lost, new = _only_in_one(a, b, pairing)
    remarks = [f"{side.name}: {remark}" for side in (a, b) for remark in side.remarks]
    remarks += _not_asked(a, b, pairing, lost, new)
    remarks += [
        f"{side.name}: not run: {' '.join(filter(None, (one.implementation or one.framework, one.dtype)))}: "
        f"{one.reason}"
        for side in (a, b)
        for one in side.not_run
    ]
    return Comparison(
        a=a,
        b=b,
        compared=tuple(compare_pair(pair) for pair in pairing.pairs),
        lost=tuple(lost),
        new=tuple(new),
        remarks=tuple(remarks),
    )


def compare_pair(pair: Pair) -> Compared:
    """Every fact of two implementations, at the dtypes of both."""
    dtypes = [one for one in pair.a.profiles if one in pair.b.profiles]
    about = {*pair.a.facts, *pair.b.facts}
    keys = [key for key in _ordered(pair) if key in about and (key.dtype in dtypes or key.kind == "dtype")]
    axes = {key.subject for key in keys if key.kind == "semantics"}
    same: dict[Kind, int] = {}
    found: list[tuple[Key, Change, Value, Value]] = []
    apart: dict[str, dict[str, None]] = {}
    for key in keys:
        if key.kind == "documentation" and not pair.same:
            continue
        before, after = _value(pair.a, key), _value(pair.b, key)
        if (before == NOTHING) != (after == NOTHING):
            if key.kind == "semantics" or (key.kind == "requirement" and _axis_of(key) not in axes):
                member = pair.b if before == NOTHING else pair.a
                apart.setdefault(member.name, {})[key.subject.partition(" ")[0]] = None
            continue
        change = change_of(key.kind, before, after)
        if change is None:
            same[key.kind] = same.get(key.kind, 0) + 1
        else:
            found.append((key, change, before, after))
    differences = _without_signatures(list(_merged(found, pair)))
    undecided = [] if pair.same else [one for one in differences if one.change in _OPEN]
    return Compared(
        pair=pair,
        dtypes=tuple(dtypes),
        differences=tuple(one for one in differences if one not in undecided),
        same=same,
        open=tuple(undecided),
        not_compared=tuple(_told(apart)),
    )


def _value(member: Member, key: Key) -> Value:
    """A fact of a member. A known profile names an axis whose other values are all mistakes only if one is made."""
    found = member.facts.get(key, NOTHING)
    if found != NOTHING or key.kind != "semantics" or not member.profiles[key.dtype].known:
        return found
    axis = next((one for one in kind_of(member.layer).axes if one.name == key.subject), None)
    if axis is None or len(axis.values) > 1:
        return found
    return Value(text=axis.canonical, kind="same", meaning=axis.value(axis.canonical).meaning)


def _axis_of(key: Key) -> str | None:
    """The axis that a requirement is about."""
    known = requirements().get(key.subject.partition(" ")[0])
    return known.axis if known else None


def _ordered(pair: Pair) -> list[Key]:
    """The keys of both, by kind, then in the order of the catalogue."""
    axes = [axis.name for axis in kind_of(pair.a.layer).axes]
    keys = dict.fromkeys([*pair.a.facts, *pair.b.facts])

    def place(key: Key) -> tuple[int, int, str]:
        return KINDS.index(key.kind), axes.index(key.subject) if key.subject in axes else len(axes), key.subject

    return sorted(keys, key=place)


def _merged(found: Iterable[tuple[Key, Change, Value, Value]], pair: Pair) -> Iterator[Difference]:
    """The same difference at several dtypes as one."""
    together: dict[tuple[Kind, str, Change, str, str], list[tuple[Key, Value, Value]]] = {}
    for key, change, before, after in found:
        subject = "dtype" if key.kind == "dtype" else key.subject
        about = key.kind, subject, change, before.text, after.text
        together.setdefault(about, []).append((key, before, after))
    for (kind, subject, change, *_), alike in together.items():
        _, before, after = alike[0]
        effect = None
        if kind == "semantics" and before.decided and after.decided:
            effect = effect_of(pair.a.layer, pair.a.choices(), subject, after.text, before.text)
        yield Difference(
            kind=kind,
            subject=subject,
            dtypes=tuple(key.dtype for key, *_ in alike),
            change=change,
            a=before,
            b=after,
            effect=effect,
        )


def _without_signatures(differences: Sequence[Difference]) -> list[Difference]:
    """The differences, without those of a signature that the measured defaults have, too."""
    measured = {
        (one.subject.removeprefix("measured "), one.a.text, one.b.text)
        for one in differences
        if one.subject.startswith("measured ")
    }
    return [one for one in differences if (one.subject, one.a.text, one.b.text) not in measured]


def _told(apart: dict[str, dict[str, None]]) -> Iterator[str]:
    for name, subjects in apart.items():
        yield f"measured of {name} alone: {', '.join(subjects)}"


def _only_in_one(a: Side, b: Side, pairing: Pairing) -> tuple[list[str], list[str]]:
    """The ids that one side has and the other does not know, where both are of one framework."""
    lost = [one for one in pairing.only_a if b.known and one not in b.known]
    new = [one for one in pairing.only_b if a.known and one not in a.known]
    return lost, new


def _not_asked(a: Side, b: Side, pairing: Pairing, lost: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    for side, only, gone in ((a, pairing.only_a, lost), (b, pairing.only_b, new)):
        if rest := [one for one in only if one not in gone]:
            yield f"not compared, in {side.name} alone: {', '.join(rest)}"


def dtype_key(dtype: str) -> Key:
    """The key of the fact that a dtype is supported."""
    return Key(ANY, "dtype", dtype, dtype)


def title_of(member: Member) -> str:
    """The name of the kind of layer on a page."""
    return kind_of(member.layer).title
