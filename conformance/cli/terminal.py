"""Records as text on a terminal: a line for each record of a run, a page for a diagnosis."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar
from rich.table import Column, Table
from rich.text import Text

from normgauge.adapters.layout import CHANNELS_FIRST
from normgauge.conformance.form.faults import cut
from normgauge.conformance.gating.expectations import UNDECIDED
from normgauge.reports.timeline.history import Timeline
from normgauge.results.departures import counted
from normgauge.results.grounds import ALWAYS_COUNTED, in_words, sort_of, word_for
from normgauge.results.records import (
    DIVERGENT,
    AxisMeasured,
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
from normgauge.results.semantics import semantics_of


def line_of(record: Record) -> str | None:
    """The text for a record, with markup; None for a record that only the result file has."""
    if isinstance(record, Profile):
        lines = [f"[bold]{escape(record.implementation)}[/] {record.dtype}: {escape(semantics_of(record))}"]
        lines += [f"  largest error: {_largest_of_typical(record)}"] if record.typical else []
        lines += [f"  [yellow]hazard[/] {escape(hazard)}" for hazard in record.hazards]
        return "\n".join(lines)
    if isinstance(record, Judgement) and record.verdict in DIVERGENT:
        return f"  {_difference(record)}: {_falls_with(record)}{escape(record.worded)}"
    if isinstance(record, Counterexample):
        stored = f" (stored in {record.stored})" if record.stored else ""
        return f"  [red]counterexample[/] {record.found}: {escape(record.sentence)}{escape(stored)}"
    if isinstance(record, NotRun):
        return f"[yellow]not run[/] {record.implementation or record.framework}: {escape(record.reason)}"
    if isinstance(record, Footer):
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in record.counts.items())
        counts = f"{in_words(record.departures, ALWAYS_COUNTED)} ({verdicts})" if verdicts else "nothing was checked"
        return f"{counts} in {record.seconds:.1f} s{_of_workers(record)}"
    return None


def _largest_of_typical(profile: Profile) -> str:
    """The largest error of an output in units of the typical error, and its word."""
    largest = max(profile.typical.values())
    words = word_for_error(largest, within_bound=profile.accuracy is not None or largest <= 1)
    return f"{largest:g} typical errors ({words})"


def _difference(judgement: Judgement) -> str:
    """The word for a difference, with markup, and the requirement with its ground."""
    colour = "yellow" if sort_of(judgement.verdict, judgement.ground) == "difference" else "red"
    ground = f" ({judgement.ground})" if judgement.ground else ""
    word = word_for(judgement.verdict, judgement.ground)
    return f"[{colour}]{word}[/] {judgement.requirement} {escape(judgement.title)}{ground}"


def _falls_with(judgement: Judgement) -> str:
    return f"falls with {judgement.falls_with}: " if judgement.falls_with else ""


def _of_workers(footer: Footer) -> str:
    """The seconds of all workers together, and the part for exploration."""
    if not footer.explored_cases:
        return ""
    explored = f"{footer.explored_seconds:.1f} s of it for {footer.explored_cases:,} explored cases"
    return f" (all workers together: {footer.worker_seconds:.1f} s, {explored})"


class Lines:
    """The lines of a run, one record after the other.

    Requirements without a verdict share a line, after the other judgements of the same layer and dtype. With ``quiet``,
    only what could not be run has a line.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._undecided: list[Judgement] = []

    def of(self, record: Record) -> Iterator[str]:
        if self._quiet and not (isinstance(record, NotRun) and record.failed):
            return
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
    """A line for the unsupported requirements and one for the undecided, with the first reason."""
    alike: dict[str, dict[str, str]] = {}
    for one in judgements:
        if one.verdict in UNDECIDED:
            alike.setdefault(one.verdict, {})[one.requirement] = _reason(one)
    for verdict, reasons in alike.items():
        first, *others = dict.fromkeys(reasons.values())
        more = f" (and {len(others)} more reason{'s' if len(others) > 1 else ''})" if others else ""
        yield f"  [yellow]{verdict}[/] {', '.join(reasons)}: {escape(first)}{more}"


def _reason(judgement: Judgement) -> str:
    """The reason for an undecided requirement, without the implementation and the case."""
    text = judgement.sentence.removeprefix(f"{judgement.implementation}: ")
    return text.partition(": ")[2] or text


def print_diagnosis(records: Sequence[Record], *, everything: str, quiet: bool = False) -> None:
    """Print the axes with their evidence, the defaults, the hazards and the differences of one implementation.

    ``everything`` is the command that checks all requirements. With ``quiet``, print the differences alone.
    """
    console = console_for()
    profile = next(r for r in records if isinstance(r, Profile))
    judgements = [r for r in records if isinstance(r, Judgement)]
    differences = [line for one in judgements if one.verdict in DIVERGENT for line in _difference_lines(one)]
    if quiet:
        lines = differences
    else:
        undecided = (line.strip() for line in undecided_lines(judgements))
        lines = [*_measured_lines(records, profile, judgements), *differences, *undecided]
    for line in lines:
        tell(console, line)
    if not quiet:  # its command can be pasted: a terminal must not break it
        console.print(
            f"{in_words(counted(records), ALWAYS_COUNTED)} in the {len(judgements)} requirements checked here. "
            f"A run checks all requirements, and can find more differences: {escape(everything)}",
            highlight=False,
            soft_wrap=True,
        )


def _layout_line(layout: str) -> str:
    """The layout of the input; another one than the canonical is no difference of formulas, and a port must permute."""
    if layout == CHANNELS_FIRST:
        return f"= layout of the input: {layout}"
    return f"≠ layout of the input: {layout}; canonical: {CHANNELS_FIRST}; permute the axes of x and of the output"


def _measured_lines(records: Sequence[Record], profile: Profile, judgements: Sequence[Judgement]) -> Iterator[str]:
    """The lines of a diagnosis above its differences."""
    header = next(r for r in records if isinstance(r, Header))
    versions = ", ".join(f"{name} {version}" for name, version in header.versions.items())
    yield f"[bold]{escape(profile.implementation)}[/]  {versions}, {profile.dtype}"
    yield escape(_layout_line(profile.layout))
    if not profile.known:
        yield "follows no known alternative; the values below are the nearest"
    for axis in profile.axes:
        witnesses = [w for j in judgements for w in j.witnesses if w.against_axis == axis.axis]
        yield from _axis_lines(axis, witnesses)
    for default in profile.defaults:
        yield f"default {default.setting}: {_default(default)}"
    accuracy = f"{profile.accuracy.replace('_', '-')} statistics" if profile.accuracy else "outside every class"
    yield f"accuracy: {accuracy}"
    if profile.typical:
        by_length = ", ".join(f"{ratio:g} at n = {int(n):,}" for n, ratio in profile.typical.items())
        yield f"largest error: {_largest_of_typical(profile)}; {by_length} values"
    yield from (f"[yellow]hazard[/]: {escape(hazard)}" for hazard in profile.hazards)


def _difference_lines(judgement: Judgement) -> Iterator[str]:
    """A difference with its sentence, its remedy, and what the remedy does not mend."""
    yield f"{_difference(judgement)}: {_falls_with(judgement)}{escape(judgement.sentence)}"
    if judgement.remedy:
        yield f"  remedy: {escape(judgement.remedy)}"
    if judgement.not_mended:
        yield f"  {escape(judgement.not_mended)}"


def table_of_changes(timeline: Timeline) -> Table:
    """The changes of each release, one line per change."""
    table = Table("release", "subject", "before", "now", Column("layers", overflow="fold"), box=None, pad_edge=False)
    table.title, table.title_justify = f"{timeline.framework}: {', '.join(timeline.releases)}", "left"
    for _, release, changes in timeline.transitions:
        for number, change in enumerate(changes):
            thread = change.thread
            where = ", ".join(f"{name} ({note})" if note else name for name, note in thread.members)
            values = (thread.sign(value) + value.worded for value in (change.before, change.after))
            table.add_row("" if number else release, *map(escape, (thread.name, *values, where)))
    return table


def _axis_lines(axis: AxisMeasured, witnesses: Sequence[Witness]) -> Iterator[str]:
    """The question of an axis with the measured answer; below it, the evidence against each other answer."""
    same = axis.measured == [axis.canonical]
    sign = "[green]=[/]" if same else "[yellow]?[/]" if axis.canonical in axis.measured else "[red]≠[/]"
    answer = escape(" or ".join(axis.worded(value) for value in axis.measured) or "nothing measured")
    answer = f"unknown: {answer}" if len(axis.measured) > 1 else answer
    yield f"{sign} {escape(axis.question)}? {answer if same else f'[red]{answer}[/]'}"
    if axis.canonical not in axis.measured and not any(one.against_value == axis.canonical for one in witnesses):
        yield f"    canonical: {escape(axis.worded(axis.canonical))}"
    for one in witnesses:
        word = "canonical" if one.against_value == axis.canonical else "excluded"
        yield f"    {word}: {escape(axis.worded(one.against_value))}{escape(_evidence(one))}"


def _evidence(witness: Witness) -> str:
    """The measured number beside the number of the excluded value."""
    if witness.margin is None and not witness.observed.replace(".", "").lstrip("-").isdigit():
        return f"; measured: {cut(witness.observed.splitlines()[0], 120)}"
    size = "infinitely far" if witness.margin is None else f"{witness.margin:.1e} bounds"
    return f", which gives {witness.expected} ± {witness.bound}; measured: {witness.observed} ({size} away)"


def _default(default: DefaultMeasured) -> str:
    if default.rounded() is None:
        return "not measured"
    return f"{default.rounded()} measured (between {default.low:.12g} and {default.high:.12g})"


def console_for(*, stderr: bool = False) -> Console:
    """A console; with a fixed width of 160 characters where the output is not a terminal.

    Without colours and bold text after --no-color, and with NO_COLOR in the environment.
    """
    context = click.get_current_context(silent=True)
    plain = bool(os.environ.get("NO_COLOR")) or (context is not None and context.color is False)
    system: Literal["auto"] | None = None if plain else "auto"
    console = Console(stderr=stderr, color_system=system)
    return console if console.is_terminal else Console(stderr=stderr, color_system=system, width=160)


def tell(console: Console, text: str, *, markup: bool = True) -> None:
    """Print a line. A terminal breaks it between words and keeps its indent; anything else gets it whole."""
    if not console.file.isatty():
        console.print(text, highlight=False, soft_wrap=True, markup=markup)
        return
    for line in text.split("\n"):
        words = line.lstrip()
        indent = " " * (len(line) - len(words))
        styled = Text.from_markup(words) if markup else Text(words)
        for part in styled.wrap(console, console.width - len(indent)):
            console.print(indent, part, sep="", highlight=False, soft_wrap=True)


def tell_lines(lines: Iterable[str], *, stderr: bool = False) -> None:
    """Print lines without markup."""
    console = console_for(stderr=stderr)
    for line in lines:
        tell(console, line, markup=False)


def progress_on(console: Console, *, quiet: bool = False) -> ProgressBar:
    """The progress bar of a command; a terminal shows it, except after --quiet."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    return ProgressBar(*columns, console=console, transient=True, disable=quiet or not console.is_terminal)
