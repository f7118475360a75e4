"""How records look on a terminal: a line each while a run goes on, a page for a diagnosis."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar
from rich.table import Column, Table

from normgauge.conformance.gating.expectations import UNDECIDED
from normgauge.reports.timeline.history import Timeline
from normgauge.results.departures import counted
from normgauge.results.grounds import ALWAYS_COUNTED, in_words, sort_of, word_for
from normgauge.results.records import (
    DIVERGENT,
    Counterexample,
    DefaultMeasured,
    Footer,
    Header,
    Judgement,
    NotRun,
    Profile,
    Record,
    Witness,
)
from normgauge.results.rounding import word_for as word_for_error


def line_of(record: Record) -> str | None:
    """What a run prints of a record, with markup; None for what it keeps to the file."""
    if isinstance(record, Profile):
        told = [f"{a.axis}={'/'.join(a.measured)}" for a in record.axes if a.canonical not in a.measured]
        found = ", ".join(told) or "canonical" if record.known else "follows no known alternative"
        undecided = [a.axis for a in record.axes if a.canonical in a.measured and len(a.measured) > 1]
        if len(undecided) == len(record.axes):
            found = "nothing measured"
        elif undecided:
            found += f" (not decided: {', '.join(undecided)})"
        lines = [f"[bold]{escape(record.implementation)}[/] {record.dtype}: {found}"]
        lines += [f"  largest error: {_largest_of_typical(record)}"] if record.typical else []
        lines += [f"  [yellow]hazard[/] {escape(hazard)}" for hazard in record.hazards]
        return "\n".join(lines)
    if isinstance(record, Judgement) and record.verdict in DIVERGENT:
        return f"  {_departure(record)}: {_falls_with(record)}{escape(record.measured)}"
    if isinstance(record, Counterexample):
        kept = f" (kept in {record.stored})" if record.stored else ""
        return f"  [red]counterexample[/] {record.found}: {escape(record.sentence)}{escape(kept)}"
    if isinstance(record, NotRun):
        return f"[yellow]not run[/] {record.implementation or record.framework}: {escape(record.reason)}"
    if isinstance(record, Footer):
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in record.counts.items())
        said = f"{in_words(record.departures, ALWAYS_COUNTED)} ({verdicts})" if verdicts else "nothing judged"
        return f"{said} in {record.seconds:.1f} s{_of_workers(record)}"
    return None


def _largest_of_typical(profile: Profile) -> str:
    """The largest error of an output beside the typical error, and the words for that."""
    largest = max(profile.typical.values())
    words = word_for_error(largest, within_bound=profile.accuracy is not None or largest <= 1)
    return f"{largest:g} typical errors ({words})"


def _departure(judgement: Judgement) -> str:
    """The word for a departure, with markup, and the requirement with its ground."""
    colour = "yellow" if sort_of(judgement.verdict, judgement.ground) == "difference" else "red"
    ground = f" ({judgement.ground})" if judgement.ground else ""
    word = word_for(judgement.verdict, judgement.ground)
    return f"[{colour}]{word}[/] {judgement.requirement} {escape(judgement.title)}{ground}"


def _falls_with(judgement: Judgement) -> str:
    return f"falls with {judgement.falls_with}: " if judgement.falls_with else ""


def _of_workers(footer: Footer) -> str:
    """How long the workers were at work, which may be longer than the run, and which part of that was exploration."""
    if not footer.explored_cases:
        return ""
    explored = f"{footer.explored_seconds:.1f} s for {footer.explored_cases:,} explored cases"
    return f" ({footer.worker_seconds:.1f} s of all workers together, of it {explored})"


class Lines:
    """The lines that a run prints of its records, one record after the other.

    What is undecided of an implementation at a dtype has one line for each verdict, after its other judgements.
    """

    def __init__(self) -> None:
        self._undecided: list[Judgement] = []

    def of(self, record: Record) -> Iterator[str]:
        if isinstance(record, Judgement) and record.verdict in UNDECIDED:
            self._undecided.append(record)
            return
        if not isinstance(record, Judgement):
            yield from undecided_lines(self._undecided)
            self._undecided.clear()
        line = line_of(record)
        if line:
            yield line


def undecided_lines(judgements: Iterable[Judgement]) -> Iterator[str]:
    """A line for each verdict that decides nothing: the requirements, and the first reasons."""
    alike: dict[str, dict[str, str]] = {}
    for one in judgements:
        if one.verdict in UNDECIDED:
            alike.setdefault(one.verdict, {})[one.requirement] = _reason(one)
    for verdict, reasons in alike.items():
        first, *others = dict.fromkeys(reasons.values())
        more = f" (and {len(others)} more reason{'s' if len(others) > 1 else ''})" if others else ""
        yield f"  [yellow]{verdict}[/] {', '.join(reasons)}: {escape(first)}{more}"


def _reason(judgement: Judgement) -> str:
    """Why it is undecided, without the implementation and the case."""
    text = judgement.sentence.removeprefix(f"{judgement.implementation}: ")
    return text.partition(": ")[2] or text


def print_diagnosis(records: Sequence[Record], *, everything: str) -> None:
    """The axes with their evidence, the defaults, the hazards and the divergences of one implementation.

    ``everything`` is the command that asks all requirements of it.
    """
    console = console_for()
    header = next(r for r in records if isinstance(r, Header))
    profile = next(r for r in records if isinstance(r, Profile))
    judgements = [r for r in records if isinstance(r, Judgement)]
    versions = ", ".join(f"{name} {version}" for name, version in header.versions.items())
    console.print(f"[bold]{escape(profile.implementation)}[/]  {versions}, {profile.dtype}", highlight=False)
    if not profile.known:
        console.print("follows no known alternative; the nearest is shown")
    table = Table("axis", "measured", "canonical", "what excludes the others", box=None, pad_edge=False)
    for axis in profile.axes:
        by_axis = [w for j in judgements for w in j.witnesses if w.against_axis == axis.axis]
        measured = axis.measured[0] if len(axis.measured) == 1 else "not told apart"
        same = axis.measured == [axis.canonical]
        evidence = "\n".join(_excluded(w) for w in by_axis)
        table.add_row(axis.axis, measured if same else f"[red]{measured}[/]", axis.canonical, escape(evidence))
    console.print(table)
    for default in profile.defaults:
        console.print(f"default {default.setting}: {_default(default)}", highlight=False)
    accuracy = f"{profile.accuracy.replace('_', '-')} statistics" if profile.accuracy else "outside every class"
    console.print(f"accuracy: {accuracy}")
    if profile.typical:
        by_length = ", ".join(f"{ratio:g} at n = {int(n):,}" for n, ratio in profile.typical.items())
        largest = _largest_of_typical(profile)
        console.print(f"largest error: {largest}; by n: {by_length}", highlight=False, soft_wrap=True)
    for hazard in profile.hazards:
        console.print(f"[yellow]hazard[/]: {escape(hazard)}", highlight=False, soft_wrap=True)
    divergent = [j for j in judgements if j.verdict in DIVERGENT]
    for judgement in divergent:
        console.print(
            f"{_departure(judgement)}: {_falls_with(judgement)}{escape(judgement.sentence)}",
            highlight=False,
            soft_wrap=True,
        )
        if judgement.remedy:
            console.print(f"  remedy: {escape(judgement.remedy)}", highlight=False, soft_wrap=True)
        if judgement.not_mended:
            console.print(f"  {escape(judgement.not_mended)}", highlight=False, soft_wrap=True)
    for line in undecided_lines(judgements):
        console.print(line.strip(), highlight=False, soft_wrap=True)
    console.print(
        f"{in_words(counted(records), ALWAYS_COUNTED)} in the {len(judgements)} requirements asked here; "
        f"all of them: {escape(everything)}",
        highlight=False,
        soft_wrap=True,
    )


def table_of_changes(timeline: Timeline) -> Table:
    """What each release changed, a line a change."""
    table = Table("release", "what", "before", "now", Column("where", overflow="fold"), box=None, pad_edge=False)
    table.title, table.title_justify = f"{timeline.framework}: {', '.join(timeline.releases)}", "left"
    for _, release, changes in timeline.transitions:
        for number, change in enumerate(changes):
            thread = change.thread
            where = ", ".join(f"{name} ({note})" if note else name for name, note in thread.members)
            values = (thread.sign(value) + value.text for value in (change.before, change.after))
            table.add_row("" if number else release, *map(escape, (thread.name, *values, where)))
    return table


def _excluded(by: Witness) -> str:
    if by.margin is None and not by.observed.replace(".", "").lstrip("-").isdigit():
        return f"not {by.against_value}: {by.observed.splitlines()[0][:70]}"
    size = "infinitely far" if by.margin is None else f"{by.margin:.1e} bounds away"
    return f"not {by.against_value}: got {by.observed}, it gives {by.expected} ± {by.bound} ({size})"


def _default(default: DefaultMeasured) -> str:
    if default.rounded() is None:
        return "not measured"
    return f"{default.rounded()} measured (between {default.low:.12g} and {default.high:.12g})"


def console_for(*, stderr: bool = False) -> Console:
    """A console that is wide where nobody looks at it."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=160)


def progress_on(console: Console) -> ProgressBar:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    return ProgressBar(*columns, console=console, transient=True, disable=not console.is_terminal)
