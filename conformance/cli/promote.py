"""normgauge promote: make counterexamples part of every later run."""

from __future__ import annotations

from pathlib import Path

import click

from normgauge.conformance.cli.errors import Mistake
from normgauge.conformance.requirements.case_files import BrokenCase, read_case, write_case


@click.command()
@click.argument("counterexamples", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--to",
    default=Path("conformance/requirements/cases"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder of committed cases. Outside a checkout of normgauge, give it to run with --cases.",
)
def promote(counterexamples: tuple[Path, ...], to: Path) -> None:
    """Add counterexamples to the cases that every later run checks, for every layer.

    COUNTEREXAMPLES are the files that `normgauge run` stored.

    Example: normgauge promote build/results/counterexamples/mlx/mlx.nn.GroupNorm/group_norm-0123456789ab.json
    """
    if not to.is_dir():
        raise Mistake(f"--to {to}: there is no such folder; make it, or give another folder")
    try:
        stored = [read_case(path) for path in counterexamples]
        for one in stored:
            click.echo(f"promoted: {write_case(to, one)}")
    except BrokenCase as error:
        raise Mistake(str(error)) from None
    except OSError as error:
        raise Mistake(f"cannot write to {to}: {error.strerror}; give another folder with --to") from None
