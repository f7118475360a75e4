"""The command line: normgauge run, diagnose, promote, list, gate, report, accuracy, timeline.

Exit codes: 0 done, 1 something deviates from the expectations, 2 the user's mistake, 3 something that was asked
for could not be run, 130 interrupted.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NoReturn

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import normgauge
from normgauge.adapters.base import Adapter
from normgauge.adapters.registry import NoAdapter, load_adapter, not_known, registered
from normgauge.conformance.cli.errors import Mistake, NotRunnable, make_folder
from normgauge.conformance.cli.show import accuracy, report, timeline
from normgauge.conformance.cli.terminal import console_for, line_of, print_diagnosis, progress_on
from normgauge.conformance.exploration.explored import BUDGETS
from normgauge.conformance.gating.expectations import BrokenExpectations, load_expectations
from normgauge.conformance.gating.gate import hold, suggestions
from normgauge.conformance.requirements.case_files import BrokenCase, StoredCase, read_case, read_folder, write_case
from normgauge.conformance.requirements.requirement import DTYPES
from normgauge.conformance.run.engine import Wanted, run_framework
from normgauge.conformance.run.parallel import processors
from normgauge.conformance.subjects.subject import CannotRun, Launch
from normgauge.results.file import BrokenResults, ResultsWriter
from normgauge.results.records import FORMAT, Footer, Header, NotRun, Record

_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9._+-]+")
_WORKER_OPTIONS: Final = (
    click.option("--python", default=sys.executable, metavar="PATH", help="Interpreter that has the framework."),
    click.option("--exec", "program", metavar="COMMAND", help="Any program that speaks the worker protocol."),
    click.option(
        "--time-limit",
        default=60.0,
        show_default=True,
        type=click.FloatRange(min=0.1),
        help="Seconds a case.",
    ),
    click.option("--in-process", is_flag=True, help="Run in this process, for debugging; a crash is a crash."),
)


@click.group()
@click.version_option(normgauge.__version__)
def main() -> None:
    """Measure what a framework's GroupNorm and BatchNorm really compute."""


def _with_worker_options(command: click.decorators.FC) -> click.decorators.FC:
    for option in reversed(_WORKER_OPTIONS):
        command = option(command)
    return command


@main.command()
@click.argument("frameworks", nargs=-1, required=True)
@click.option("--implementation", "-i", multiple=True, help="Only this one (repeatable); see `normgauge list`.")
@click.option("--dtype", multiple=True, type=click.Choice(DTYPES), help="Only this one (repeatable).")
@click.option("--out", default=Path("build/results"), show_default=True, type=click.Path(path_type=Path))
@click.option("--name", help="Name of the result file, such as mlx-0.31.2.  [default: the framework's]")
@click.option(
    "--budget",
    default="default",
    show_default=True,
    type=click.Choice(list(BUDGETS)),
    help="How much to explore beyond the experiments.",
)
@click.option("--seed", default=0, show_default=True, help="Where exploration starts.")
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    help="Folder of counterexamples, replayed first.  [default: counterexamples in --out]",
)
@click.option("--cases", multiple=True, type=click.Path(path_type=Path), help="Folder of promoted cases (repeatable).")
@_with_worker_options
@click.option(
    "--jobs", default=processors(), show_default="processors", type=click.IntRange(1), help="Implementations at a time."
)
def run(
    frameworks: tuple[str, ...],
    implementation: tuple[str, ...],
    dtype: tuple[str, ...],
    out: Path,
    name: str | None,
    budget: str,
    seed: int,
    store: Path | None,
    cases: tuple[Path, ...],
    python: str,
    program: str | None,
    time_limit: float,
    in_process: bool,
    jobs: int,
) -> None:
    """Ask every question of FRAMEWORKS and write one result file for each.

    Example: normgauge run torch mlx --out build/results
    """
    _check_name(name, frameworks)
    dtypes = tuple(d for d in DTYPES if d in dtype) or DTYPES
    launches = [_launch(framework, python, program, time_limit, in_process) for framework in frameworks]
    selected = [_selected(launch, implementation) for launch in launches]
    for one in implementation:
        if not any(one in own for own in selected):
            _unknown("implementation", one, [known for launch in launches for known in _known(launch)])
    committed = tuple(_committed(cases))
    store = store or out / "counterexamples"
    _checked(store)
    make_folder(out)
    wanted = Wanted(dtypes, (), in_process, False, budget, seed, store, committed, all_dtypes=not dtype)
    failed = False
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", scratch)  # it writes beside the user's files otherwise
        for launch, own in zip(launches, selected, strict=True):
            if own or not implementation:
                stem = name or _NOT_IN_A_NAME.sub("-", launch.framework)
                failed |= not _run_one(launch, replace(wanted, implementations=own), out / f"{stem}.jsonl", jobs)
    if failed:
        raise NotRunnable("not everything could be run; the lines above say what and why")


def _checked(store: Path) -> None:
    """Refuse a broken counterexample before anything is measured or written."""
    try:
        list(read_folder(store))
    except BrokenCase as error:
        raise Mistake(str(error)) from None


def _committed(folders: Sequence[Path]) -> Iterator[StoredCase]:
    for folder in folders:
        if not folder.is_dir():
            raise Mistake(f"--cases {folder} is no folder; give one that `normgauge promote --to` wrote")
        try:
            yield from (stored for _, stored in read_folder(folder))
        except BrokenCase as error:
            raise Mistake(str(error)) from None


def _check_name(name: str | None, frameworks: Sequence[str]) -> None:
    if name is None:
        return
    if len(frameworks) > 1:
        raise Mistake(f"--name {name!r} is for one result file, and {len(frameworks)} frameworks write one each")
    if not name or name.startswith(".") or _NOT_IN_A_NAME.search(name):
        raise Mistake(
            f"--name {name!r} cannot name a result file; allowed are letters, digits and . _ + -, "
            "with no dot in front; the folder is given with --out"
        )


def _run_one(launch: Launch, wanted: Wanted, path: Path, jobs: int) -> bool:
    """Run one framework into the result file ``path``; whether all of it could be run."""
    console = console_for(stderr=True)
    with progress_on(console) as progress:
        task = progress.add_task(launch.framework, total=None)

        def show(label: str, done: int, total: int) -> None:
            progress.update(task, description=label, completed=done, total=total)

        records = run_framework(launch, wanted, show, jobs)
        try:
            records = itertools.chain([next(records)], records)
        except CannotRun as error:
            if path.exists():
                progress.console.print(f"[yellow]not run[/] {escape(str(error))}", highlight=False, soft_wrap=True)
                progress.console.print(f"kept: the earlier results in {path}", highlight=False, soft_wrap=True)
                return False
            records = _nothing_ran(launch, wanted, error)
        return _write(records, path, progress.console)


def _write(records: Iterator[Record], path: Path, console: Console) -> bool:
    """Append the records to a new file at ``path`` as they come; whether everything asked for could be run."""
    complete = True
    try:
        with ResultsWriter(path) as writer:
            for record in records:
                writer.write(record)
                complete &= not (isinstance(record, NotRun) and record.failed)
                line = line_of(record)
                if line:
                    console.print(line, highlight=False, soft_wrap=True)
    except BrokenCase as error:
        raise Mistake(str(error)) from None
    except OSError as error:
        raise Mistake(f"{path} cannot be written: {error.strerror}; give another folder with --out") from None
    except KeyboardInterrupt:
        console.print(f"interrupted; what was measured so far is in {path}", highlight=False, soft_wrap=True)
        raise click.exceptions.Exit(130) from None
    console.print(f"results: {path}", highlight=False, soft_wrap=True)
    return complete


def _nothing_ran(launch: Launch, wanted: Wanted, error: CannotRun) -> Iterator[Record]:
    """The records of a framework that could not be started: a file that says so."""
    suite = normgauge.__version__
    yield Header(FORMAT, suite, launch.framework, {}, "", "", "", "", list(wanted.dtypes), [], "")
    yield NotRun(launch.framework, str(error))
    yield Footer({"not run": 1}, 0.0)


@main.command()
@click.argument("implementation")
@click.option("--framework", help="Where it belongs, if not to a registered framework: module:Class of an adapter.")
@click.option("--dtype", default="float32", show_default=True, type=click.Choice(DTYPES))
@_with_worker_options
def diagnose(
    implementation: str,
    framework: str | None,
    dtype: str,
    python: str,
    program: str | None,
    time_limit: float,
    in_process: bool,
) -> None:
    """Print what IMPLEMENTATION computes, axis by axis, with the evidence, and where it diverges.

    Example: normgauge diagnose mlx.nn.GroupNorm
    """
    framework = framework or ("exec" if program is not None else _framework_of(implementation))
    launch = _launch(framework, python, program, time_limit, in_process)
    wanted = Wanted((dtype,), (implementation,), in_process, diagnosis_only=True)
    try:
        records = list(run_framework(launch, wanted))
    except CannotRun as error:
        raise NotRunnable(str(error)) from None
    for record in records:
        if isinstance(record, NotRun):
            raise NotRunnable(record.reason)
    print_diagnosis(records)


@main.command()
@click.argument("counterexamples", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--to",
    default=Path("conformance/requirements/cases"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder of committed cases; runs outside this project's source read it with --cases.",
)
def promote(counterexamples: tuple[Path, ...], to: Path) -> None:
    """Make stored COUNTEREXAMPLES committed cases: from then on they are judged, in every implementation.

    Example: normgauge promote build/results/counterexamples/mlx/mlx.nn.GroupNorm/group_norm-0123456789ab.json
    """
    if not to.is_dir():
        raise Mistake(f"there is no folder {to}; make it, or name another one with --to")
    try:
        stored = [read_case(path) for path in counterexamples]
        for one in stored:
            click.echo(f"promoted: {write_case(to, one)}")
    except BrokenCase as error:
        raise Mistake(str(error)) from None
    except OSError as error:
        raise Mistake(f"{to} cannot be written: {error.strerror}; name another folder with --to") from None


@main.command(name="list")
def list_() -> None:
    """List the frameworks and implementations that can be asked, and which are installed here."""
    table = Table("framework", "installed here", "implementation", "layout", box=None, pad_edge=False)
    for name, adapter in _loadable().items():
        if isinstance(adapter, str):
            table.add_row(name, "broken", escape(adapter), "")
            continue
        try:
            installed = importlib.metadata.version(adapter.distribution)
        except importlib.metadata.PackageNotFoundError:
            installed = "no"
        for number, implementation in enumerate(adapter.implementations):
            first = (name, installed) if number == 0 else ("", "")
            table.add_row(*first, escape(implementation.id), implementation.layout)
    console_for().print(table)


@main.command()
@click.argument("results", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--expectations",
    "places",
    multiple=True,
    metavar="FILE|FOLDER",
    type=click.Path(path_type=Path),
    help="Known divergences, in place of those of normgauge (repeatable).",
)
@click.option("--suggest", is_flag=True, help="Print entries that expect what is new; all else goes to stderr.")
def gate(results: tuple[Path, ...], places: tuple[Path, ...], suggest: bool) -> None:
    """Hold RESULTS, files or folders of them (build/results), against what is expected of them.

    It ends with 1 when something deviates: a divergence that nothing expects, an expected one that is gone or
    measured otherwise, something that could not be run.

    Example: normgauge gate build/results
    """
    try:
        gated = hold(results or (Path("build/results"),), load_expectations(places))
    except (BrokenResults, BrokenExpectations) as error:
        raise Mistake(str(error)) from None
    for line in (*gated.lines(), gated.summary()):
        click.echo(line, err=suggest)
    if suggest:
        click.echo(suggestions(gated.new), nl=False)
    if gated.surprises:
        raise click.exceptions.Exit(1)


def _launch(framework: str, python: str, program: str | None, time_limit: float, in_process: bool) -> Launch:
    if program is not None:
        return Launch(framework, python, _words(program, in_process), time_limit)
    if in_process and python != sys.executable:
        raise Mistake("--python names another interpreter, --in-process asks for this one; leave out one of them")
    _adapter(framework)
    return Launch(framework, python, (), time_limit)


def _words(program: str, in_process: bool) -> tuple[str, ...]:
    if in_process:
        raise Mistake("--exec names a program of its own, --in-process asks for this one; leave out one of them")
    try:
        words = tuple(shlex.split(program))
    except ValueError as error:
        raise Mistake(f"--exec {program!r} is not a command: {error}") from None
    if not words:
        raise Mistake("--exec needs a command, such as --exec 'node worker.mjs'")
    return words


def _adapter(framework: str) -> type[Adapter]:
    try:
        return load_adapter(framework)
    except NoAdapter as error:
        raise Mistake(str(error)) from None


def _loadable() -> dict[str, type[Adapter] | str]:
    """Every registered adapter, or why it cannot be loaded: one broken registration disables no other."""
    found: dict[str, type[Adapter] | str] = {}
    for name in sorted(registered()):
        try:
            found[name] = _adapter(name)
        except Mistake as mistake:
            found[name] = mistake.message
    return found


def _framework_of(implementation: str) -> str:
    known = {
        one.id: name
        for name, adapter in _loadable().items()
        if not isinstance(adapter, str)
        for one in adapter.implementations
    }
    if implementation not in known:
        _unknown("implementation", implementation, sorted(known))
    return known[implementation]


def _known(launch: Launch) -> list[str]:
    """The implementations of a framework, as far as they are known before it is started."""
    return [] if launch.program else [one.id for one in _adapter(launch.framework).implementations]


def _selected(launch: Launch, implementations: Sequence[str]) -> tuple[str, ...]:
    """Which of ``implementations`` to ask of this framework; a program of its own is asked all, and says."""
    return tuple(one for one in implementations if launch.program or one in _known(launch))


def _unknown(what: str, given: str, known: Sequence[str]) -> NoReturn:
    raise Mistake(not_known(what, given, known))


main.add_command(accuracy)
main.add_command(report)
main.add_command(timeline)

if __name__ == "__main__":
    main()
