"""normgauge accuracy: accuracy classes and error curves, as Markdown and SVG."""

from __future__ import annotations

from pathlib import Path

import click

from normgauge.conformance.cli.errors import check_folder, make_folder, told_in_one_line, warn_of_interrupted
from normgauge.reports.accuracy_files import write_accuracy


@click.command()
@click.argument("results", default=Path("build/results"), type=click.Path(path_type=Path))
@click.option("--out", default=Path("build/accuracy"), show_default=True, type=click.Path(path_type=Path))
def accuracy(results: Path, out: Path) -> None:
    """Write the accuracy classes and error curves of the result files in the folder RESULTS, as Markdown and SVG.

    Example: normgauge accuracy build/results --out docs
    """
    check_folder(results, "accuracy")
    make_folder(out)
    with told_in_one_line(out):
        for path in write_accuracy(results, out):
            click.echo(f"written: {path}")
    warn_of_interrupted(results)
