"""normgauge promote: counterexamples become committed cases."""

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
    help="Folder of committed cases; runs outside this project's source read it with --cases.",
)
def promote(counterexamples: tuple[Path, ...], to: Path) -> None:
    """Make stored COUNTEREXAMPLES committed cases: from then on they are judged, in every implementation.

    Example: normgauge promote build/results/counterexamples/mlx/mlx.nn.GroupNorm/group_norm-0123456789ab.json
    """
    if not to.is_dir():
        raise Mistake(f"there is no folder {to}; make it, or name another one with --to")
    try:
        stored = [read_case(path) for path in counterexamples]
        for one in stored:
            click.echo(f"promoted: {write_case(to, one)}")
    except BrokenCase as error:
        raise Mistake(str(error)) from None
    except OSError as error:
        raise Mistake(f"{to} cannot be written: {error.strerror}; name another folder with --to") from None
