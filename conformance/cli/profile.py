"""normgauge profile: a small file of what result files say of one release of a framework."""

from __future__ import annotations

from pathlib import Path

import click

from normgauge.conformance.cli.errors import Mistake, make_folder
from normgauge.conformance.comparison.profiles import profile_of
from normgauge.results.file import BrokenResults
from normgauge.results.profiles import text_of


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILES...", type=click.Path(path_type=Path))
@click.option(
    "--out",
    default=Path("build/profiles"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for the profile.",
)
@click.option("--name", help="Name of the profile without its suffix, such as mlx-0.31.2.  [default: FRAMEWORK]")
def profile(files: tuple[Path, ...], out: Path, name: str | None) -> None:
    """Write the profile of one release: formulas, defaults, types, accuracy classes, verdicts.

    FILES are result files of one release of a framework; each may have a part of the layers or dtypes. A profile has
    at most 60 kilobytes and no evidence. `normgauge compare` and `normgauge gate --against` read it.

    Example: normgauge profile build/results/0.jsonl --out build/profiles
    """
    try:
        made = profile_of(files)
    except BrokenResults as error:
        raise Mistake(str(error)) from None
    make_folder(out)
    path = out / f"{name or made.framework.replace(':', '-')}.json"
    text = text_of(made)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Mistake(f"cannot write {path}: {error.strerror}; give another folder with --out") from None
    click.echo(f"profile: {path}, {len(text.encode()) / 1024:.0f} KB, {len(made.implementations)} layers")
