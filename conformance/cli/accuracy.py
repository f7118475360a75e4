"""normgauge accuracy: accuracy classes and error curves, as Markdown and SVG."""

from __future__ import annotations

from pathlib import Path

import click

from normgauge.conformance.cli.errors import check_folder, errors_in_one_line, make_folder, warn_of_interrupted
from normgauge.reports.accuracy_files import write_accuracy


@click.command()
@click.argument("results", default=Path("build/results"), type=click.Path(path_type=Path))
@click.option(
    "--out",
    default=Path("build/accuracy"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for the tables and pictures.",
)
def accuracy(results: Path, out: Path) -> None:
    """Write tables and pictures of the measured errors, as Markdown and SVG.

    RESULTS is a folder of result files (default: build/results). Errors are relative to the largest exact value.

    Example: normgauge accuracy build/results --out docs
    """
    check_folder(results, "accuracy")
    make_folder(out)
    with errors_in_one_line(out):
        for path in write_accuracy(results, out):
            click.echo(f"written: {path}")
    warn_of_interrupted(results)
