"""normgauge run: run all checks on every implementation of a framework, and write a result file."""

from __future__ import annotations

import itertools
import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

import normgauge
from normgauge.adapters.dtypes import DTYPES
from normgauge.conformance.cli.errors import Mistake, NotRunnable, make_folder
from normgauge.conformance.cli.frameworks import check_selection, selected_of
from normgauge.conformance.cli.interruption import ended_by_signals
from normgauge.conformance.cli.output_options import Output, with_output_options
from normgauge.conformance.cli.size_options import with_size_options
from normgauge.conformance.cli.terminal import Lines, console_for, progress_on, tell
from normgauge.conformance.cli.worker_options import WorkerOptions, with_worker_options
from normgauge.conformance.exploration.budget import BUDGETS
from normgauge.conformance.requirements.case_files import BrokenCase, StoredCase, read_folder
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.parallel import processors
from normgauge.conformance.run.request import OwnSize, Wanted
from normgauge.conformance.subjects.subject import CannotRun, Launch
from normgauge.results.file import ResultsWriter, read_records
from normgauge.results.records import FORMAT, Footer, Header, NotRun, Record

_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9._+-]+")


@dataclass(frozen=True, kw_only=True)
class _RunOptions:
    implementation: tuple[str, ...]
    dtype: tuple[str, ...]
    out: Path
    name: str | None
    budget: str
    seed: int
    store: Path | None
    cases: tuple[Path, ...]
    jobs: int
    sizes: tuple[OwnSize, ...]
    output: Output


@click.command()
@click.argument("frameworks", nargs=-1, required=True)
@click.option(
    "--implementation",
    "-i",
    multiple=True,
    metavar="ID|PATTERN",
    help="Check only this layer (repeatable). `normgauge list` shows the ids. In a pattern, * stands for any text and "
    "? for one character; brackets are literal: 'torch.nn.*[strided]'.",
)
@click.option("--dtype", multiple=True, type=click.Choice(DTYPES), help="Check only this dtype (repeatable).")
@click.option(
    "--out",
    default=Path("build/results"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for the result files.",
)
@click.option("--name", help="Name of the result file without its suffix, such as mlx-0.31.2.  [default: FRAMEWORK]")
@click.option(
    "--budget",
    default="default",
    show_default=True,
    type=click.Choice(list(BUDGETS)),
    help="Number of random inputs beyond the fixed experiments; none skips this search.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the random inputs.")
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    help="Folder of stored counterexamples. They are run again first.  [default: counterexamples in --out]",
)
@click.option(
    "--cases",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder of committed cases from `normgauge promote` (repeatable).",
)
@with_size_options
@with_worker_options
@click.option(
    "--jobs",
    default=processors(),
    show_default="number of processors",
    type=click.IntRange(1),
    help="Number of layers that are measured at the same time.",
)
@with_output_options(
    quiet="Print nothing but what could not be run.",
    json="Print one JSON object on stdout: each result file with its counts.",
)
@ended_by_signals()
def run(frameworks: tuple[str, ...], worker: WorkerOptions, **given: Any) -> None:
    """Run all checks on each framework, and write one result file per framework.

    FRAMEWORKS are names from `normgauge list`, or module:Class of an adapter.

    Example: normgauge run torch mlx --out build/results
    """
    options = _RunOptions(**given)
    check_name(options.name, frameworks)
    _check_frameworks(frameworks, worker)
    dtypes = tuple(d for d in DTYPES if d in options.dtype) or DTYPES
    launches = [worker.launch(framework) for framework in frameworks]
    selected = [selected_of(launch, options.implementation) for launch in launches]
    check_selection(launches, options.implementation)
    committed = tuple(committed_cases(options.cases))
    store = options.store or options.out / "counterexamples"
    _checked(store)
    make_folder(options.out)
    wanted = Wanted(
        dtypes=dtypes,
        in_process=worker.in_process,
        budget=BUDGETS[options.budget],
        seed=options.seed,
        store=store,
        cases=committed,
        sizes=options.sizes,
        all_dtypes=not options.dtype,
    )
    written: dict[Path, bool] = {}
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", scratch)  # it writes beside the user's files otherwise
        for launch, own in zip(launches, selected, strict=True):
            if own or not options.implementation:
                path = options.out / f"{options.name or file_stem(launch.framework)}.jsonl"
                whole = replace(wanted, implementations=own)
                written |= _run_one(launch, whole, path, jobs=options.jobs, quiet=options.output.quiet)
    if options.output.as_json:
        click.echo(json.dumps({"results": [_data_of(path) for path in written]}, indent=1, ensure_ascii=False))
    if not all(written.values()):
        raise NotRunnable("some layers could not be run; the lines above name them, with the reason")


def _checked(store: Path) -> None:
    """Reject a broken counterexample before anything is measured or written."""
    try:
        list(read_folder(store))
    except BrokenCase as error:
        raise Mistake(str(error)) from None


def committed_cases(folders: Sequence[Path]) -> Iterator[StoredCase]:
    """The cases of the folders that --cases names."""
    for folder in folders:
        if not folder.is_dir():
            raise Mistake(f"--cases {folder} is not a folder; give one that `normgauge promote --to` wrote")
        try:
            yield from (stored for _, stored in read_folder(folder))
        except BrokenCase as error:
            raise Mistake(str(error)) from None


def check_name(name: str | None, frameworks: Sequence[str]) -> None:
    """Reject what cannot be the name of the only result file."""
    if name is None:
        return
    if len(frameworks) > 1:
        raise Mistake(
            f"--name {name!r} names one result file, and {len(frameworks)} frameworks write one each; "
            "name one framework, or leave out --name"
        )
    if not name or name.startswith(".") or _NOT_IN_A_NAME.search(name):
        raise Mistake(
            f"--name {name!r} cannot be the name of a result file; allowed are letters, digits and . _ + -, "
            "with no dot at the start; give the folder with --out"
        )


def _check_frameworks(frameworks: Sequence[str], worker: WorkerOptions) -> None:
    """Reject two runs into one file, and one program under two names."""
    if worker.program is not None and len(frameworks) > 1:
        raise Mistake(f"--exec starts one program, and {len(frameworks)} frameworks are named; name one")
    stems = [file_stem(framework) for framework in frameworks]
    for framework, stem in zip(frameworks, stems, strict=True):
        if stems.count(stem) > 1:
            raise Mistake(
                f"framework {framework!r} is named twice, and both runs would write {stem}.jsonl; name it once"
            )


def file_stem(framework: str) -> str:
    """The name of a framework as that of a file."""
    return _NOT_IN_A_NAME.sub("-", framework)


def _data_of(path: Path) -> dict[str, Any]:
    """A result file in a few words, for JSON: ``differences`` counts by sort, ``verdicts`` by verdict."""
    records = read_records(path)
    header, footer = records[0], records[-1]
    assert isinstance(header, Header)  # the reader refuses anything else
    assert isinstance(footer, Footer)  # the run was whole
    missing = (one for one in records if isinstance(one, NotRun) and one.failed)
    return {
        "framework": header.framework,
        "file": str(path),
        "differences": footer.departures,
        "verdicts": footer.counts,
        "not_run": [{"layer": one.implementation, "dtype": one.dtype, "reason": one.reason} for one in missing],
        "seconds": footer.seconds,
    }


def _run_one(launch: Launch, wanted: Wanted, path: Path, *, jobs: int, quiet: bool) -> dict[Path, bool]:
    """Run one framework and write the result file ``path``; the written file, and whether everything could be run."""
    console = console_for(stderr=True)
    with progress_on(console, quiet=quiet) as progress:
        task = progress.add_task(launch.framework, total=None)

        def show(label: str, done: int, total: int) -> None:
            progress.update(task, description=label, completed=done, total=total)

        records = run_framework(launch, wanted, show, jobs)
        beside = path.with_suffix(".not-run.jsonl")
        try:
            records = itertools.chain([next(records)], records)
        except CannotRun as error:
            records = _nothing_ran(launch, wanted, error)
            if path.exists():  # a gate on the folder must not take what was measured before for this run
                progress.console.print(f"earlier results kept: {path}", highlight=False, soft_wrap=True)
                return {beside: write_records(records, beside, progress.console, quiet=quiet)}
        else:
            beside.unlink(missing_ok=True)
        return {path: write_records(records, path, progress.console, quiet=quiet)}


def write_records(records: Iterator[Record], path: Path, console: Console, *, quiet: bool = False) -> bool:
    """Append the records to a new file at ``path`` as they come; True if everything could be run."""
    complete, lines = True, Lines(quiet=quiet)
    try:
        with ResultsWriter(path) as writer:
            for record in records:
                writer.write(record)
                complete &= not (isinstance(record, NotRun) and record.failed)
                for line in lines.of(record):
                    tell(console, line)
    except BrokenCase as error:
        raise Mistake(str(error)) from None
    except OSError as error:
        raise Mistake(f"cannot write {path}: {error.strerror}; give another folder with --out") from None
    except KeyboardInterrupt:
        console.print(f"interrupted; the results so far are in {path}", highlight=False, soft_wrap=True)
        raise
    if not quiet:
        console.print(f"results: {path}", highlight=False, soft_wrap=True)
    return complete


def _nothing_ran(launch: Launch, wanted: Wanted, error: CannotRun) -> Iterator[Record]:
    """The records of a framework that could not be started."""
    suite = normgauge.__version__
    yield Header(
        format=FORMAT,
        suite=suite,
        framework=launch.framework,
        versions={},
        python="",
        platform="",
        numpy="",
        device="",
        dtypes=list(wanted.dtypes),
        implementations=[],
        started="",
    )
    yield NotRun(framework=launch.framework, reason=str(error))
    yield Footer(counts={"not run": 1}, seconds=0.0)
