"""normgauge timeline: what changed between releases of one framework."""

from __future__ import annotations

from pathlib import Path

import click

from normgauge.conformance.cli.errors import check_folder, errors_in_one_line, make_folder, warn_of_interrupted
from normgauge.conformance.cli.terminal import console_for, table_of_changes
from normgauge.reports.timeline.files import write_timeline


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for the pages and the picture.  [default: RESULTS]"
)
def timeline(results: Path, out: Path | None) -> None:
    """Show what changed between the releases of one framework.

    RESULTS is a folder with one result file for each release. `nox -s timeline -- mlx` makes these files and calls
    this command.

    Example: normgauge timeline build/timeline/mlx
    """
    check_folder(results, "timeline")
    folder = out or results
    make_folder(folder)
    with errors_in_one_line(folder):
        told, written = write_timeline(results, folder)
    warn_of_interrupted(results)
    console = console_for()
    if told.transitions:
        console.print(table_of_changes(told))
    else:
        measured = ", ".join(told.releases) or "no release"
        said = f"nothing changed between {measured}" if len(told.releases) > 1 else f"nothing to compare: {measured}"
        console.print(f"{told.framework}: {said}", highlight=False, soft_wrap=True, markup=False)
    for remark in told.remarks:
        console.print(remark, highlight=False, soft_wrap=True, markup=False)
    for one in told.not_run:
        name = " ".join(part for part in (one.implementation or one.framework, one.dtype) if part)
        console.print(f"not run: {name}: {one.reason}", highlight=False, soft_wrap=True, markup=False)
    for path in written:
        console.print(f"written: {path}", highlight=False, soft_wrap=True, markup=False)
