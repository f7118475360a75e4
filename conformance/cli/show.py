"""The commands that show results: normgauge report, normgauge accuracy, normgauge timeline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from normgauge.conformance.cli.errors import Mistake, make_folder
from normgauge.conformance.cli.terminal import console_for, table_of_changes
from normgauge.reports.accuracy_files import write_accuracy
from normgauge.reports.page.page import write_report
from normgauge.reports.timeline.files import write_timeline
from normgauge.results.file import BrokenResults

RESULTS = click.Path(path_type=Path)


@click.command()
@click.argument("results", default=Path("build/results"), type=RESULTS)
@click.option("--out", default=Path("build/report"), show_default=True, type=RESULTS)
def report(results: Path, out: Path) -> None:
    """Make the HTML report from the result files in the folder RESULTS.

    Example: normgauge report build/results --out build/report
    """
    _check_folder(results, "report")
    make_folder(out)
    with _told_in_one_line(out):
        click.echo(f"report: {write_report(results, out / 'index.html')}")


@click.command()
@click.argument("results", default=Path("build/results"), type=RESULTS)
@click.option("--out", default=Path("build/accuracy"), show_default=True, type=RESULTS)
def accuracy(results: Path, out: Path) -> None:
    """Write the accuracy classes and error curves of the result files in the folder RESULTS, as Markdown and SVG.

    Example: normgauge accuracy build/results --out docs
    """
    _check_folder(results, "accuracy")
    make_folder(out)
    with _told_in_one_line(out):
        for path in write_accuracy(results, out):
            click.echo(f"written: {path}")


@click.command()
@click.argument("results", type=RESULTS)
@click.option("--out", type=RESULTS, help="Folder for the pages.  [default: RESULTS]")
def timeline(results: Path, out: Path | None) -> None:
    """Show what changed between the releases of one framework, from a result file for each in the folder RESULTS.

    `nox -s timeline -- mlx` makes the result files and calls this.

    Example: normgauge timeline build/timeline/mlx
    """
    _check_folder(results, "timeline")
    folder = out or results
    make_folder(folder)
    with _told_in_one_line(folder):
        told, written = write_timeline(results, folder)
    console = console_for()
    if told.transitions:
        console.print(table_of_changes(told))
    else:
        measured = ", ".join(told.releases) or "no release"
        said = f"nothing changed between {measured}" if len(told.releases) > 1 else f"nothing to compare: {measured}"
        console.print(f"{told.framework}: {said}", highlight=False, soft_wrap=True, markup=False)
    for one in told.not_run:
        name = " ".join(part for part in (one.implementation or one.framework, one.dtype) if part)
        console.print(f"not run: {name}: {one.reason}", highlight=False, soft_wrap=True, markup=False)
    for path in written:
        console.print(f"written: {path}", highlight=False, soft_wrap=True, markup=False)


def _check_folder(results: Path, command: str) -> None:
    if results.is_file():
        raise Mistake(f"{results} is one result file; give its folder: normgauge {command} {results.parent}")
    if not results.is_dir():
        raise Mistake(
            f"{results} is not a folder of result files; make one with: normgauge run FRAMEWORK --out {results}"
        )


@contextmanager
def _told_in_one_line(folder: Path) -> Iterator[None]:
    try:
        yield
    except BrokenResults as error:
        raise Mistake(str(error)) from None
    except OSError as error:
        named = error.filename or folder
        raise Mistake(f"{named} cannot be written: {error.strerror}; give another folder with --out") from None
