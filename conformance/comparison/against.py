"""The gate against a reference implementation: what a port does otherwise than the layer that it is a port of.

An axis or a measured default with another value fails, and so does a requirement that the port does not meet and the
reference does. A convention by which the reference gives another value than the canonical one must be kept, too. Where
the reference is wrong, or refuses, and the port is right, the port is better, and passes. Accuracy classes, names of
types and dtypes are notes. What only one of them has decided is not compared.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from normgauge.adapters.implementation_id import ImplementationId
from normgauge.conformance.comparison.changes import Compared, Difference, compare_pair
from normgauge.conformance.comparison.pairing import Pair, counterpart
from normgauge.conformance.comparison.sides import Member, NotComparable, Side, side_of
from normgauge.conformance.comparison.words import question_of, value_in_words
from normgauge.conformance.gating.entries import DOCUMENTATION
from normgauge.conformance.gating.expectations import Cell, Expectations, Measured
from normgauge.conformance.gating.gate import Surprise, check_implementations, not_run, not_whole, read_runs
from normgauge.conformance.layers.registry import kind_of
from normgauge.results.facts import Kind, Value
from normgauge.results.file import BrokenResults
from normgauge.results.records import Header, Profile, Record

_OUTSIDE: Final = "outside every class"
_RAISED: Final = re.compile(r"\w+(Error|Exception)\b")


@dataclass(kw_only=True)
class Against:
    """What a gate against a reference found: ``surprises`` fail, ``notes`` do not. ``pairs`` say what was compared."""

    reference: Side
    pairs: list[str] = field(default_factory=list)
    surprises: list[Surprise] = field(default_factory=list)
    better: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    met: int = 0
    equal: int = 0

    def lines(self) -> list[str]:
        """What was compared with what, then what fails, then the rest."""
        head = f"against {self.reference.name} ({self.reference.origin})"
        remarks = [f"{self.reference.name}: {one}" for one in self.reference.remarks]
        return [head, *remarks, *self.pairs, *map(str, self.surprises), *self.better, *self.notes]

    def summary(self) -> str:
        """The last line: how many of each there are."""
        kinds: Counter[str] = Counter()
        for one in self.surprises:
            kinds[one.kind] += one.judgements
        counts = [f"{kinds[kind]} {kind}" for kind in dict.fromkeys(("new", "gone", "changed", *kinds))]
        return ", ".join([f"{self.equal} equal facts", f"{self.met} known", *counts, f"{len(self.better)} better"])


def gate_against(
    paths: Sequence[Path], reference: Side, expectations: Expectations | None, place: str = "a file of your own"
) -> Against:
    """Compare each implementation of these result files with its counterpart in the reference.

    ``expectations`` are the differences from the reference that are accepted; more would be written in ``place``.

    Raises:
        BrokenResults: a file is not a result file, or a folder has none.
        BrokenExpectations: an entry does not fit these results.
        NotComparable: several implementations of the reference could be meant.
    """
    found = Against(reference=reference)
    runs, missing = read_runs(paths)
    if expectations is not None:
        check_implementations(expectations, runs.values())
    found.surprises += [not_run(row) for row in missing]
    for path, records in runs.items():
        found.surprises += not_whole(path, records)
        header = records[0]
        assert isinstance(header, Header)  # the reader refuses anything else
        if not any(isinstance(one, Profile) for one in records):
            continue
        own = _Gate(path=path, header=header, found=found, expectations=expectations, place=place)
        members = side_of(str(path), "", records).members
        own.check(members.values(), records)
    if not found.pairs and not found.surprises:
        raise BrokenResults(f"{' and '.join(map(str, paths))} has no measured implementation; run the framework again")
    return found


@dataclass(kw_only=True)
class _Gate:
    """One result file against the reference."""

    path: Path
    header: Header
    found: Against
    expectations: Expectations | None
    place: str
    met: set[Cell] = field(default_factory=set)

    def check(self, members: Iterable[Member], records: Sequence[Record]) -> None:
        compared = 0
        measured: dict[str, Member] = {}
        for member in members:
            measured[member.name] = member
            if not self.found.reference.of_layer(member.layer):
                title = kind_of(member.layer).title
                self.found.notes.append(f"not compared: {member.name}: the reference has no {title}")
                continue
            other, why = counterpart(member, self.found.reference)
            self._pair(compare_pair(Pair(a=other, b=member, why=why)))
            compared += 1
        if not compared:
            raise NotComparable(
                f"{self.path} and {self.found.reference.name} have no kind of layer in common; give another reference"
            )
        self._gone(measured)

    def _pair(self, compared: Compared) -> None:
        pair = compared.pair
        why = f": {pair.why}" if pair.why else ""
        dtypes = ", ".join(compared.dtypes) or "no common dtype"
        self.found.pairs.append(f"compared: {pair.b.name} with {pair.a.name} ({dtypes}){why}")
        self.found.equal += sum(compared.same.values())
        if not compared.dtypes or not (
            compared.same.get("semantics") or any(one.kind == "semantics" for one in compared.differences)
        ):
            what = f"nothing could be compared with {pair.a.name}; measure a dtype that both have"
            self.found.surprises.append(Surprise(kind="not run", where=self._where(pair.b), what=what))
        for difference in compared.differences:
            self._difference(compared, difference)
        for one in compared.open:
            where = f"{pair.b.name}: {', '.join(one.dtypes)}"
            self.found.notes.append(f"not compared: {where}: {one.subject}: {one.b.worded}, reference {one.a.worded}")
        self.found.notes += [f"not compared: {text}" for text in compared.not_compared]

    def _difference(self, compared: Compared, difference: Difference) -> None:
        member, other = compared.pair.b, compared.pair.a
        subject = question_of(member, difference)
        if difference.kind == "semantics":
            subject = f"{requirement_of(member, difference)} {subject}"
        said = f"{subject}: {value_in_words(difference.b)}; {other.name}: {value_in_words(difference.a)}"
        if difference.effect:
            said += f" ({difference.effect.where}: {difference.effect.b}, not {difference.effect.a})"
        where = f"{member.name}: {', '.join(difference.dtypes)}"
        if is_better(difference):
            self.found.better.append(f"better: {where}: {said}")
        elif not fails(difference):
            self.found.notes.append(f"note: {where}: {said}")
        else:
            self._hold(member, difference, said)

    def _hold(self, member: Member, difference: Difference, said: str) -> None:
        """A difference beside what is accepted."""
        left: list[str] = []
        for dtype in difference.dtypes:
            cell = Cell(member.name, dtype, requirement_of(member, difference))
            measured = Measured(
                cell=cell,
                framework=member.framework,
                title="",
                verdict="diverges",
                measured=difference.b.text,
                sentence=said,
                identity=ImplementationId.parse(member.name, member.mode),
            )
            held = self.expectations.hold(measured, self.header.versions) if self.expectations else None
            if held and held.expected:
                self.met.add(cell)
            if held and held.comparison == "met":
                self.found.met += 1
            elif held and held.comparison == "changed":
                what = held.told(self.place)
                self.found.surprises.append(
                    Surprise(kind="changed", where=f"{self._where(member)}: {dtype}", what=what)
                )
            else:
                left.append(dtype)
        if left:
            what = f"{said}; repair the layer, or add an entry to {self.place}"
            where = f"{self._where(member)}: {', '.join(left)}"
            self.found.surprises.append(Surprise(kind="new", where=where, what=what, judgements=len(left)))

    def _gone(self, measured: dict[str, Member]) -> None:
        """The accepted differences that the layers do not have any more."""
        for cell, one in self.expectations.about(measured) if self.expectations else ():
            if cell.dtype in measured[cell.implementation].profiles and cell not in self.met:
                name = self.found.reference.name
                what = f"{cell.requirement}: {one.entry.measured} is no difference from {name} now; remove {one.place}"
                where = f"{self._where(measured[cell.implementation])}: {cell.dtype}"
                self.found.surprises.append(Surprise(kind="gone", where=where, what=what))

    def _where(self, member: Member) -> str:
        return f"{self.path.name}: {member.name}"


def fails(difference: Difference) -> bool:
    """Whether a difference of the port, B, from the reference, A, fails the gate."""
    rule = _FAILS.get(difference.kind)
    return rule is not None and rule(difference)


def is_better(difference: Difference) -> bool:
    """Whether the port meets a requirement that the reference does not meet, where that is no choice of values.

    What the reference refuses as its convention, such as an eps of zero, the port may take.
    """
    a, b = difference.a, difference.b
    refused = not a.differs or _raises(a)
    return difference.kind == "requirement" and a.departs and refused and b.decided and not b.departs


def _requirement_fails(difference: Difference) -> bool:
    a, b = difference.a, difference.b
    if not (a.decided and b.decided):
        return b.decided and b.sort == "error"  # the reference is silent: the port must be right
    return not (_raises(a) and _raises(b))


def _raises(value: Value) -> bool:
    """Whether the measured value is an exception, by its name."""
    return value.departs and _RAISED.match(value.text) is not None


_FAILS: Final[Mapping[Kind, Callable[[Difference], bool]]] = {
    "semantics": lambda difference: True,
    "default": lambda difference: difference.subject.startswith("measured"),
    "statistics": lambda difference: difference.b.text == _OUTSIDE,
    "requirement": _requirement_fails,
}


def requirement_of(member: Member, difference: Difference) -> str:
    """The requirement that an entry in the list of accepted differences names."""
    if difference.kind == "requirement":
        return difference.subject.partition(" ")[0]
    if difference.kind == "default":
        return f"{DOCUMENTATION}{difference.subject.removeprefix('measured ')}"
    on_axis = (one.id for one in kind_of(member.layer).requirements if one.axis == difference.subject)
    return next(on_axis, f"{DOCUMENTATION}{difference.subject}")
