"""The gate: compare result files with the list of known differences. Each new difference has a line with the remedy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from normgauge.adapters.dtypes import DTYPES
from normgauge.adapters.registry import load_adapter, registered, registered_implementations
from normgauge.conformance.gating.expectations import (
    UNDECIDED,
    Cell,
    Expectations,
    Measured,
    identity_of,
    of_claims,
    of_judgement,
)
from normgauge.conformance.layers.registry import requirements
from normgauge.results.file import read_records
from normgauge.results.folder import read_folder
from normgauge.results.grounds import in_words
from normgauge.results.records import Counterexample, Footer, Header, Judgement, NotRun, Profile, Record

Kind = Literal["new", "gone", "changed", "not run", "counterexample", "interrupted"]
#: The kinds that a summary always counts; the others only where there are some.
_ALWAYS: Final = ("new", "gone", "changed")


@dataclass(frozen=True, kw_only=True)
class Surprise:
    """A difference between the results and the list of known differences: its kind, its place, what to do about it.

    ``judgements`` is the number of judgements with the same text, at several dtypes.
    """

    kind: Kind
    where: str
    what: str
    judgements: int = 1

    def __str__(self) -> str:
        return " ".join(f"{self.kind}: {self.where}: {self.what}".split())


@dataclass(kw_only=True)
class Gated:
    """What a gate found.

    ``met`` are the expected departures that were measured, by their sort; ``hazards`` need not be expected.
    ``unchecked`` are the cells that something is expected of and that were not measured; ``unpinned`` is what is
    undecided of each implementation and dtype whose support nothing says. ``incomparable`` has a line for each file
    whose requirements are not those of an earlier one.
    """

    met: Counter[str] = field(default_factory=Counter)
    hazards: int = 0
    surprises: list[Surprise] = field(default_factory=list)
    unchecked: dict[Path, list[Cell]] = field(default_factory=dict)
    new: list[tuple[Measured, Header]] = field(default_factory=list)
    unpinned: list[tuple[str, str, tuple[str, ...], Header]] = field(default_factory=list)
    incomparable: list[str] = field(default_factory=list)

    def summary(self) -> str:
        counts: Counter[str] = Counter()
        for one in self.surprises:
            counts[one.kind] += one.judgements
        sorts = f" ({in_words(self.met)})" if self.met.keys() - {"departure"} else ""
        words = [f"{self.met.total()} known{sorts}", *(f"{counts[kind]} {kind}" for kind in _ALWAYS)]
        words += [f"{count} {kind}" for kind, count in sorted(counts.items()) if kind not in _ALWAYS]
        words.append(f"{sum(map(len, self.unchecked.values()))} not checked")
        return ", ".join([*words, *([in_words({"hazard": self.hazards})] if self.hazards else [])])

    def lines(self) -> list[str]:
        """A line for each difference from the list, then the entries that were not checked."""
        lines = [line for path, cells in self.unchecked.items() for line in _not_checked(path, cells)]
        return [*map(str, self.surprises), *lines, *self.incomparable]


def compare_results(paths: Sequence[Path], expectations: Expectations, baseline: Sequence[Path] = ()) -> Gated:
    """Compare result files, and those in folders, with the list of known differences and with earlier result files.

    Raises:
        BrokenResults: a file is not a result file, or a folder has none.
        BrokenExpectations: an entry does not fit these results.
    """
    gated = Gated()
    runs, missing = read_runs(paths)
    earlier, _ = read_runs(baseline)
    check_implementations(expectations, runs.values())
    for row in missing:
        gated.surprises.append(not_run(row))
    for path, records in runs.items():
        _gate_one(path, records, expectations, gated)
        gated.surprises += _lost_since(earlier, path, records)
        gated.incomparable += _only_in_one(earlier, path, records)
    return gated


def read_runs(paths: Sequence[Path]) -> tuple[dict[Path, list[Record]], list[NotRun]]:
    """The records of every result file, and what a folder's manifest asked for in vain.

    Raises:
        BrokenResults: a file is not a result file, or a folder has none.
    """
    runs: dict[Path, list[Record]] = {}
    missing: list[NotRun] = []
    for path in paths:
        if path.is_dir():
            own, absent = read_folder(path)
            runs |= own
            missing += absent
        else:
            runs[path] = read_records(path)
    return runs, missing


def check_implementations(expectations: Expectations, runs: Iterable[Sequence[Record]]) -> None:
    """Refuse expectations of what nobody has: no registered framework, and no program that was run.

    An older file tells only what was selected of a program: beside one, nothing is refused.

    Raises:
        BrokenExpectations: an entry names such an implementation.
    """
    headers = [record for records in runs for record in records if isinstance(record, Header)]
    if all(header.framework in registered() or header.known for header in headers):
        own = {identifier for header in headers for identifier in (*header.implementations, *header.known)}
        expectations.check_implementations({*registered_implementations(), *own})


def _gate_one(path: Path, records: Sequence[Record], expectations: Expectations, gated: Gated) -> None:
    header = records[0]
    assert isinstance(header, Header)  # the reader refuses anything else
    measured = _measured(records)
    if unknown := sorted({one.requirement for one in records if isinstance(one, Judgement)} - {*requirements()}):
        what = (
            f"{', '.join(unknown)}: not a requirement of this version (the results are from {header.suite}); "
            "run the framework again"
        )
        gated.surprises.append(Surprise(kind="changed", where=path.name, what=what, judgements=len(unknown)))
        measured = {cell: one for cell, one in measured.items() if cell.requirement not in unknown}
    _compare(path, header, measured, expectations, gated)
    _hold_support(path, header, measured, expectations, gated)
    gated.surprises += _lost_dtypes(path, header, records, expectations)
    if unchecked := [cell for cell in _expected(records, header, expectations) if cell not in measured]:
        gated.unchecked[path] = unchecked
    gated.surprises += not_whole(path, records)
    gated.hazards += sum(len(record.hazards) for record in records if isinstance(record, Profile))


def not_whole(path: Path, records: Sequence[Record]) -> Iterator[Surprise]:
    """What could not be run, the counterexamples, and whether the run was interrupted."""
    for record in records:
        if isinstance(record, NotRun) and record.failed:
            yield not_run(record, f"{path.name}: ")
        elif isinstance(record, Counterexample):
            yield _unknown_counterexample(record, path)
    if not any(isinstance(record, Footer) for record in records):
        yield Surprise(kind="interrupted", where=str(path), what="the run did not finish; run it again")


def _expected(records: Sequence[Record], header: Header, expectations: Expectations) -> Iterator[Cell]:
    """The cells of a run that something is expected of: not those of a dtype that the framework does not have."""
    own = {i: one for i, (framework, one) in registered_implementations().items() if framework == header.framework}
    has = load_adapter(header.framework).dtypes() if own else DTYPES
    absent = {one.dtype for one in records if isinstance(one, NotRun) and not one.failed and not one.implementation}
    for cell, one in expectations.about({*own, *header.implementations}):
        known = own.get(cell.implementation)
        if cell.dtype in absent or cell.dtype not in (known.made_for if known and known.made_for else has):
            continue
        if known and known.way.thorough and cell.implementation not in header.implementations:
            continue  # not asked for at this budget
        if not header.versions or one.applies(header.versions):
            yield cell


def _measured(records: Sequence[Record]) -> dict[Cell, Measured]:
    found: dict[Cell, Measured] = {}
    identities = {one.implementation: identity_of(one) for one in records if isinstance(one, Profile)}
    for record in records:
        if isinstance(record, Judgement):
            one = of_judgement(record, identities.get(record.implementation))
            found[one.cell] = one
        elif isinstance(record, Profile):
            found |= {one.cell: one for one in of_claims(record)}
    return found


def _compare(
    path: Path, header: Header, measured: Mapping[Cell, Measured], expectations: Expectations, gated: Gated
) -> None:
    """Count what is as expected, and tell what is not, in a line for all of which the same is to be said."""
    alike: dict[tuple[Kind, str], dict[str, list[str]]] = {}
    for cell, found in measured.items():
        held = expectations.hold(found, header.versions)
        comparison = held.comparison
        if comparison == "met":
            gated.met[found.sort] += 1
        elif comparison != "conforms":
            requirement = f"{cell.requirement} {found.title}".strip()
            what = f"{requirement}: {held.told(expectations.file_for(found.framework))}"
            dtypes_of = alike.setdefault((comparison, what), {})
            dtypes_of.setdefault(cell.implementation, []).append(cell.dtype)
        if comparison == "new":
            gated.new.append((found, header))
    for (kind, what), dtypes_of in alike.items():
        for dtypes, implementations in by_dtypes(dtypes_of).items():
            where = f"{path.name}: {', '.join(implementations)}: {', '.join(dtypes)}"
            gated.surprises.append(
                Surprise(kind=kind, where=where, what=what, judgements=len(implementations) * len(dtypes))
            )


def _hold_support(
    path: Path, header: Header, measured: Mapping[Cell, Measured], expectations: Expectations, gated: Gated
) -> None:
    """Tell what is supposed to be decided and is not even asked; note where nothing says what is supported."""
    for (implementation, dtype), verdicts in _by_implementation(measured).items():
        layer = next(requirements()[one].layer for one in verdicts)
        own = [one for one in requirements().values() if one.layer == layer and dtype in one.dtypes]
        asked = [one.id for one in own if not one.derivative]
        undecided = [one for one in asked if verdicts.get(one, "cannot tell") in UNDECIDED]
        support = expectations.support_of(implementation, dtype, header.versions)
        if support is None:
            gated.unpinned.append((implementation, dtype, tuple(undecided), header))
            continue
        if missing := [one for one in undecided if one not in verdicts and one not in support.entry.undecided]:
            where = f"{path.name}: {implementation}: {dtype}"
            what = (
                f"{', '.join(missing)}: no longer checked, but supported {support.place} requires a verdict; "
                "find the reason, or add it to `undecided` there"
            )
            gated.surprises.append(Surprise(kind="changed", where=where, what=what, judgements=len(missing)))


def _lost_dtypes(
    path: Path, header: Header, records: Sequence[Record], expectations: Expectations
) -> Iterator[Surprise]:
    """The dtypes that the framework does not have any more, where an entry says that they are supported."""
    for record in records:
        if not (isinstance(record, NotRun) and record.absent and record.dtype):
            continue
        for implementation in header.implementations:
            if what := expectations.lost(implementation, record.dtype, record.reason, header.versions):
                yield Surprise(kind="changed", where=f"{path.name}: {implementation}: {record.dtype}", what=what)


def _by_implementation(measured: Mapping[Cell, Measured]) -> dict[tuple[str, str], dict[str, str]]:
    """By implementation and dtype: the verdict of each requirement."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for cell, one in measured.items():
        if cell.requirement in requirements():
            found.setdefault((cell.implementation, cell.dtype), {})[cell.requirement] = one.verdict
    return found


def _lost_since(earlier: Mapping[Path, Sequence[Record]], path: Path, records: Sequence[Record]) -> Iterator[Surprise]:
    """What an earlier result file had decided and this one has not, of the implementations and dtypes in both."""
    now = _by_implementation(_measured(records))
    for before, own in earlier.items():
        for (implementation, dtype), verdicts in _by_implementation(_measured(own)).items():
            if (implementation, dtype) not in now:
                continue
            after = now[implementation, dtype]
            for requirement, verdict in verdicts.items():
                new = after.get(requirement, "not checked")
                if verdict not in UNDECIDED and new in {*UNDECIDED, "not checked", "raises"} and new != verdict:
                    where = f"{path.name}: {implementation}: {dtype}"
                    what = f"{requirement}: {verdict} in {before}, now {new}; find the reason"
                    yield Surprise(kind="changed", where=where, what=what)


def _only_in_one(earlier: Mapping[Path, Sequence[Record]], path: Path, records: Sequence[Record]) -> Iterator[str]:
    """What only one of two files was asked of the implementations and dtypes in both: nothing compares that."""
    now = _asked(records)
    for before, own in earlier.items():
        then = _asked(own)
        both = now.keys() & then.keys()
        gone = {one for about in both for one in then[about] - now[about] if one not in requirements()}
        new = {one for about in both for one in now[about] - then[about]}
        if gone:
            yield f"not compared: {before}: {', '.join(sorted(gone))}: not a requirement of this version"
        if new:
            yield f"not compared: {path.name}: {', '.join(sorted(new))}: not checked in {before}"


def _asked(records: Sequence[Record]) -> dict[tuple[str, str], set[str]]:
    """By implementation and dtype: the requirements that were judged."""
    found: dict[tuple[str, str], set[str]] = {}
    for one in records:
        if isinstance(one, Judgement):
            found.setdefault((one.implementation, one.dtype), set()).add(one.requirement)
    return found


def by_dtypes(dtypes_of: Mapping[str, Iterable[str]]) -> dict[tuple[str, ...], list[str]]:
    """The implementations that have the same dtypes, together."""
    together: dict[tuple[str, ...], list[str]] = {}
    for implementation, dtypes in dtypes_of.items():
        together.setdefault(tuple(dtypes), []).append(implementation)
    return together


def not_run(record: NotRun, run: str = "") -> Surprise:
    """What could not be run, and why."""
    where = " ".join(word for word in (record.implementation or record.framework, record.dtype) if word)
    return Surprise(kind="not run", where=f"{run}{where}", what=f"could not be run: {record.reason}")


def _unknown_counterexample(record: Counterexample, path: Path) -> Surprise:
    return Surprise(
        kind="counterexample",
        where=f"{path.name}: {record.implementation} {record.dtype}",
        what=f"new counterexample ({record.kind}, {record.signature}): {record.sentence}; "
        f"its input and script are in {record.stored or path}; repair the layer, or keep the case with "
        "normgauge promote",
    )


def _not_checked(path: Path, cells: Iterable[Cell]) -> list[str]:
    by_run: dict[tuple[str, str], dict[str, None]] = {}
    for cell in cells:
        by_run.setdefault((cell.implementation, cell.dtype), {})[cell.requirement] = None
    return [f"not checked: {path.name}: {run} {dtype}: {', '.join(asked)}" for (run, dtype), asked in by_run.items()]
