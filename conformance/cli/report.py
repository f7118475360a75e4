"""normgauge report: the page on a folder of result files."""

from __future__ import annotations

from pathlib import Path

import click

from normgauge.conformance.cli.answers import report_answers
from normgauge.conformance.cli.errors import check_folder, errors_in_one_line, make_folder, warn_of_interrupted
from normgauge.reports.page.page import write_report
from normgauge.reports.pictures import missing


@click.command()
@click.argument("results", default=Path("build/results"), type=click.Path(path_type=Path))
@click.option(
    "--out",
    default=Path("build/report"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for the page, index.html.",
)
def report(results: Path, out: Path) -> None:
    """Write the HTML report.

    RESULTS is a folder of result files (default: build/results).

    Example: normgauge report build/results --out build/report
    """
    check_folder(results, "report")
    make_folder(out)
    with errors_in_one_line(out):
        click.echo(f"report: {write_report(results, out / 'index.html', report_answers)}")
    if why := missing():
        click.echo(f"warning: the report has no pictures: {why}", err=True)
    warn_of_interrupted(results)
