"""normgauge compare: what differs between two implementations, files, releases or profiles."""

from __future__ import annotations

import json
from pathlib import Path

import click

from normgauge.adapters.dtypes import DTYPES
from normgauge.adapters.registry import NoAdapter, registered_implementations
from normgauge.conformance.cli.errors import Mistake, NotRunnable
from normgauge.conformance.cli.interruption import ended_by_signals
from normgauge.conformance.cli.output_options import with_no_color
from normgauge.conformance.cli.terminal import console_for, progress_on, tell_lines
from normgauge.conformance.comparison.changes import compare as compared
from normgauge.conformance.comparison.measured import Measuring
from normgauge.conformance.comparison.sides import NotComparable
from normgauge.conformance.comparison.sources import Sources
from normgauge.conformance.comparison.words import data_of, lines_of, markdown_of
from normgauge.conformance.subjects.subject import CannotRun
from normgauge.results.file import BrokenResults


@click.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option(
    "--dtype",
    multiple=True,
    type=click.Choice(DTYPES),
    help="Types that are measured now, or read from a shipped profile (repeatable).  [default: float32]",
)
@click.option(
    "--all-checks", is_flag=True, help="Run all checks on what is measured now, not only those of a diagnosis."
)
@click.option(
    "--in",
    "folders",
    multiple=True,
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Folder with result files of releases (repeatable).  [default: build/results, build/timeline/*]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as one JSON object.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the comparison as Markdown, with tables.")
@with_no_color
@ended_by_signals()
def compare(a: str, b: str, dtype: tuple[str, ...], all_checks: bool, folders: tuple[Path, ...], **form: bool) -> None:
    """Compare two implementations: formulas, defaults, types, accuracy, requirements, support.

    A and B are each one of these:

    \b
    - a framework or a layer: torch, "keras[jax]", torch.nn.GroupNorm, module:Class;
      it is measured now if it is installed, else the profile that normgauge ships is read
    - a release: mlx@0.31.2, from a result file in --in or from a shipped profile;
      torch@now and torch@shipped name one of the two
    - a result file, a folder of result files, or a profile
    - any of these with ::ID, which selects one layer: mlx.jsonl::mlx.nn.GroupNorm

    Exits with 0 if nothing differs, with 1 if something differs.

    Example: normgauge compare torch@shipped mlx@shipped
    """
    if all(form.values()):
        raise Mistake("--json and --markdown are given; leave out one of them")
    with progress_on(console_for(stderr=True)) as progress:
        task = progress.add_task("compare", total=None)

        def show(label: str, done: int, total: int) -> None:
            progress.update(task, description=label, completed=done, total=total)

        dtypes = tuple(one for one in DTYPES if one in dtype) or DTYPES[:1]
        measure = Measuring(
            dtypes=dtypes,
            everything=all_checks,
            layers=layers_named(a, b),
            progress=show,
        )
        sources = Sources(folders=folders_of(folders), measure=measure, dtypes=dtypes)
        try:
            found = compared(sources.side(a), sources.side(b))
        except (NotComparable, BrokenResults, NoAdapter) as error:
            raise Mistake(str(error)) from None
        except CannotRun as error:
            raise NotRunnable(str(error)) from None
    if form["as_json"]:
        click.echo(json.dumps(data_of(found), indent=1, ensure_ascii=False))
    elif form["as_markdown"]:
        click.echo(markdown_of(found), nl=False)
    else:
        tell_lines(lines_of(found))
    if not found.same:
        raise click.exceptions.Exit(1)


def folders_of(given: tuple[Path, ...]) -> list[Path]:
    """The folders in which releases are looked for.

    Raises:
        Mistake: a given one is no folder.
    """
    for folder in given:
        if not folder.is_dir():
            raise Mistake(f"--in {folder} is not a folder; give a folder with result files")
    return list(given) or [Path("build/results"), *sorted(Path("build/timeline").glob("*"))]


def layers_named(*texts: str) -> frozenset[str]:
    """The kinds of layer of the implementations that are named; empty where whole frameworks are."""
    known = registered_implementations()
    names = (text.partition("::")[2] or text.partition("@")[0] for text in texts)
    return frozenset(known[name][1].layer for name in names if name in known)
