"""normgauge gate: compare result files with the list of known differences."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from normgauge.adapters.dtypes import DTYPES
from normgauge.adapters.registry import NoAdapter
from normgauge.conformance.cli.compare import folders_of
from normgauge.conformance.cli.errors import Mistake, NotRunnable
from normgauge.conformance.comparison.against import gate_against
from normgauge.conformance.comparison.measured import Measuring
from normgauge.conformance.comparison.sides import NotComparable
from normgauge.conformance.comparison.sources import SHIPPED, Sources
from normgauge.conformance.gating.entries import BrokenExpectations
from normgauge.conformance.gating.expectations import load_expectations
from normgauge.conformance.gating.gate import compare_results, suggestions
from normgauge.conformance.subjects.subject import CannotRun
from normgauge.results.file import BrokenResults


@click.command()
@click.argument("results", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--expectations",
    "places",
    multiple=True,
    metavar="FILE|FOLDER",
    type=click.Path(path_type=Path),
    help="List of known differences, instead of the one that normgauge ships (repeatable).",
)
@click.option(
    "--baseline",
    multiple=True,
    metavar="FILE|FOLDER",
    type=click.Path(path_type=Path),
    help="Earlier result files: each requirement with a verdict there must have a verdict now (repeatable).",
)
@click.option(
    "--against",
    metavar="REFERENCE",
    help="Compare with this implementation instead of the canonical semantics. REFERENCE is a framework such as torch "
    'or "keras[jax]", a release such as mlx@0.31.2, a layer, or a result file. A framework or a layer means its '
    "shipped profile. Only --expectations lists known differences then.",
)
@click.option(
    "--suggest", is_flag=True, help="Print entries for the new differences on stdout, everything else on stderr."
)
def gate(
    results: tuple[Path, ...], places: tuple[Path, ...], baseline: tuple[Path, ...], against: str | None, suggest: bool
) -> None:
    """Compare result files with the list of known differences.

    RESULTS are result files, or folders of them (default: build/results). Exits with 1 if anything else differs:

    \b
    - a difference or an exception that is not in the list;
    - a known difference that is gone or has changed;
    - a requirement that had a verdict before and has none now;
    - a framework or a layer that could not be run.

    Example: normgauge gate build/results
    """
    if against is not None:
        _gate_against(results, places, against, other=bool(baseline) or suggest)
        return
    try:
        gated = compare_results(results or (Path("build/results"),), load_expectations(places), baseline)
    except (BrokenResults, BrokenExpectations) as error:
        raise Mistake(str(error)) from None
    for line in (*gated.lines(), gated.summary()):
        click.echo(line, err=suggest)
    if suggest:
        click.echo(suggestions(gated), nl=False)
    elif gated.new:
        given = [word for place in places for word in ("--expectations", str(place))]
        command = ["normgauge", "gate", *map(str, results), *given, "--suggest"]
        click.echo(f"to print list entries for the new differences: {shlex.join(command)}", err=True)
    if gated.surprises:
        raise click.exceptions.Exit(1)


def _gate_against(results: tuple[Path, ...], places: tuple[Path, ...], against: str, *, other: bool) -> None:
    """Compare result files with a reference implementation; exits with 1 if anything differs that is not accepted."""
    if other:
        raise Mistake("--against is given with --baseline or --suggest; leave out one of them")
    sources = Sources(folders=folders_of(()), measure=Measuring(dtypes=DTYPES[:1]), prefer=SHIPPED)
    try:
        expectations = load_expectations(places) if places else None
        place = str(places[0]) if places else "a list: --expectations FILE"
        found = gate_against(results or (Path("build/results"),), sources.side(against), expectations, place)
    except (NotComparable, NoAdapter, BrokenResults, BrokenExpectations) as error:
        raise Mistake(str(error)) from None
    except CannotRun as error:
        raise NotRunnable(str(error)) from None
    for line in (*found.lines(), found.summary()):
        click.echo(line)
    if found.surprises:
        raise click.exceptions.Exit(1)
