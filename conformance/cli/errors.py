"""How a command ends when it cannot do what was asked: one line, and an exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from normgauge.results.file import BrokenResults, is_complete


class Mistake(click.ClickException):
    """A user's mistake: one line that names the value, what is allowed, and the remedy."""

    exit_code = 2


class NotRunnable(click.ClickException):
    """Something that was asked for could not be run."""

    exit_code = 3


#: How the names of files end that someone may take --out to ask for.
_OF_FILES: Final = frozenset({".html", ".htm", ".md", ".svg", ".json", ".jsonl", ".txt", ".pdf"})


def make_folder(path: Path) -> None:
    if path.is_file():
        raise Mistake(f"{path} is a file; give a folder with --out, such as --out {path.parent / 'build'}")
    if path.suffix.lower() in _OF_FILES and not path.is_dir():
        raise Mistake(f"{path} is the name of a file; give the folder that the files go into: --out {path.parent}")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Mistake(f"the folder {path} cannot be made: {error.strerror}; give another one with --out") from None


def check_folder(results: Path, command: str) -> None:
    if results.is_file():
        raise Mistake(f"{results} is one result file; give its folder: normgauge {command} {results.parent}")
    if not results.is_dir():
        raise Mistake(
            f"{results} is not a folder of result files; make one with: normgauge run FRAMEWORK --out {results}"
        )


def warn_of_interrupted(results: Path) -> None:
    """Name the result files in the folder that have no end: what is made of them is not complete."""
    for path in sorted(results.glob("*.jsonl")):
        if not is_complete(path):
            click.echo(f"warning: {path} has no end: its run was interrupted; run it again", err=True)


@contextmanager
def told_in_one_line(folder: Path) -> Iterator[None]:
    try:
        yield
    except BrokenResults as error:
        raise Mistake(str(error)) from None
    except OSError as error:
        named = error.filename or folder
        raise Mistake(f"{named} cannot be written: {error.strerror}; give another folder with --out") from None
