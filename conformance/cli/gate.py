"""normgauge gate: result files beside the list of known divergences."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from normgauge.conformance.cli.errors import Mistake
from normgauge.conformance.gating.entries import BrokenExpectations
from normgauge.conformance.gating.expectations import load_expectations
from normgauge.conformance.gating.gate import hold, suggestions
from normgauge.results.file import BrokenResults


@click.command()
@click.argument("results", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--expectations",
    "places",
    multiple=True,
    metavar="FILE|FOLDER",
    type=click.Path(path_type=Path),
    help="Known divergences, in place of those of normgauge (repeatable).",
)
@click.option(
    "--baseline",
    multiple=True,
    metavar="FILE|FOLDER",
    type=click.Path(path_type=Path),
    help="Earlier results: what was decided there must be decided now (repeatable).",
)
@click.option("--suggest", is_flag=True, help="Print the entries that are missing; all else goes to stderr.")
def gate(results: tuple[Path, ...], places: tuple[Path, ...], baseline: tuple[Path, ...], suggest: bool) -> None:
    """Hold RESULTS, files or folders of them (build/results), against what is expected of them.

    It ends with 1 when something deviates: a divergence or an exception that nothing expects, an expected one that is
    gone or measured otherwise, something that was decided and is not, something that could not be run.

    Example: normgauge gate build/results
    """
    try:
        gated = hold(results or (Path("build/results"),), load_expectations(places), baseline)
    except (BrokenResults, BrokenExpectations) as error:
        raise Mistake(str(error)) from None
    for line in (*gated.lines(), gated.summary()):
        click.echo(line, err=suggest)
    if suggest:
        click.echo(suggestions(gated), nl=False)
    elif gated.new:
        given = [word for place in places for word in ("--expectations", str(place))]
        command = ["normgauge", "gate", *map(str, results), *given, "--suggest"]
        click.echo(f"`{shlex.join(command)}` writes the entries for what is new", err=True)
    if gated.surprises:
        raise click.exceptions.Exit(1)
