"""normgauge gate: compare result files with the list of known differences."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from normgauge.adapters.dtypes import DTYPES
from normgauge.adapters.registry import NoAdapter
from normgauge.conformance.cli.compare import folders_of
from normgauge.conformance.cli.errors import Mistake, NotRunnable
from normgauge.conformance.cli.output_options import Output, with_output_options
from normgauge.conformance.cli.terminal import tell_lines
from normgauge.conformance.comparison.against import Against, gate_against
from normgauge.conformance.comparison.measured import Measuring
from normgauge.conformance.comparison.sides import NotComparable
from normgauge.conformance.comparison.sources import SHIPPED, Sources
from normgauge.conformance.gating.annotations import ANNOTATIONS, data_of
from normgauge.conformance.gating.entries import BrokenExpectations
from normgauge.conformance.gating.expectations import load_expectations
from normgauge.conformance.gating.gate import Gated, compare_results
from normgauge.conformance.gating.suggest import suggestions
from normgauge.conformance.subjects.subject import CannotRun
from normgauge.results.file import BrokenResults


@dataclass(frozen=True, kw_only=True)
class _Options:
    places: tuple[Path, ...]
    baseline: tuple[Path, ...]
    against: str | None
    suggest: bool
    annotations: str | None
    output: Output


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
    "--annotations",
    type=click.Choice([*ANNOTATIONS]),
    help="Also print each line that fails as an annotation of this CI system, on stderr.",
)
@click.option(
    "--suggest", is_flag=True, help="Print entries for the new differences on stdout, everything else on stderr."
)
@with_output_options(
    quiet="Print only the lines that fail.",
    json="Print one JSON object: passed, the summary, and each difference with its kind, place and remedy.",
)
def gate(results: tuple[Path, ...], output: Output, **given: Any) -> None:
    """Compare result files with the list of known differences.

    RESULTS are result files, or folders of them (default: build/results). Exits with 1 if anything else differs:

    \b
    - a difference or an exception that is not in the list;
    - a known difference that is gone or has changed;
    - a requirement that had a verdict before and has none now;
    - a framework or a layer that could not be run.

    Example: normgauge gate build/results
    """
    options = _Options(**given, output=output)
    _check_options(options)
    results = results or (Path("build/results"),)
    try:
        found = _against(results, options) if options.against is not None else _gated(results, options)
    except (NotComparable, NoAdapter, BrokenResults, BrokenExpectations) as error:
        raise Mistake(str(error)) from None
    except CannotRun as error:
        raise NotRunnable(str(error)) from None
    _print(found, options)
    if isinstance(found, Gated) and options.suggest:
        click.echo(suggestions(found), nl=False)
    elif isinstance(found, Gated) and found.new and not output.quiet:
        lists = [word for place in options.places for word in ("--expectations", str(place))]
        command = ["normgauge", "gate", *map(str, results), *lists, "--suggest"]
        click.echo(f"to print list entries for the new differences: {shlex.join(command)}", err=True)
    if found.surprises:
        raise click.exceptions.Exit(1)


def _check_options(options: _Options) -> None:
    """Reject options that contradict each other."""
    if options.against is not None and (options.baseline or options.suggest):
        raise Mistake("--against is given with --baseline or --suggest; leave out one of them")
    if options.output.as_json and options.suggest:
        raise Mistake("--json and --suggest are given; leave out one of them")


def _gated(results: tuple[Path, ...], options: _Options) -> Gated:
    return compare_results(results, load_expectations(options.places), options.baseline)


def _against(results: tuple[Path, ...], options: _Options) -> Against:
    """The differences from a reference implementation that are not accepted."""
    sources = Sources(folders=folders_of(()), measure=Measuring(dtypes=DTYPES[:1]), prefer=SHIPPED)
    expectations = load_expectations(options.places) if options.places else None
    place = str(options.places[0]) if options.places else "a list: --expectations FILE"
    assert options.against is not None
    return gate_against(results, sources.side(options.against), expectations, place)


def _print(found: Gated | Against, options: _Options) -> None:
    """Print what the gate found, as lines or as JSON; annotations on stderr."""
    if options.annotations is not None:
        place = str(options.places[0]) if options.places else ""
        for one in found.surprises:  # the CI system reads whole lines, so nothing may break them
            click.echo(ANNOTATIONS[options.annotations](one, place), err=True)
    if options.output.as_json:
        data = {"passed": not found.surprises, "differences": data_of(found.surprises), "summary": found.summary()}
        click.echo(json.dumps(data, indent=1, ensure_ascii=False))
    else:
        lines = map(str, found.surprises) if options.output.quiet else (*found.lines(), found.summary())
        tell_lines(lines, stderr=options.suggest)
