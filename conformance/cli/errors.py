"""Errors of the command line: one line on stderr, and an exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from normgauge.reports.pictures import NoPictures
from normgauge.results.file import BrokenResults, is_complete


class Mistake(click.ClickException):
    """A mistake in the command: one line that names the value, what is allowed, and the remedy."""

    exit_code = 2


class NotRunnable(click.ClickException):
    """A requested framework or layer that could not be run."""

    exit_code = 3


#: Suffixes of a file that a user may give to --out by mistake.
_OF_FILES: Final = frozenset({".html", ".htm", ".md", ".svg", ".json", ".jsonl", ".txt", ".pdf"})


def make_folder(path: Path, option: str = "--out") -> None:
    """Make the folder that ``option`` names."""
    if path.is_file():
        raise Mistake(f"{option} {path} is a file; give a folder, such as {option} {path.parent / 'build'}")
    if path.suffix.lower() in _OF_FILES and not path.is_dir():
        raise Mistake(f"{option} {path} is a file name; give the folder for the files: {option} {path.parent}")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Mistake(f"{option} {path}: cannot make this folder: {error.strerror}; give another folder") from None


def check_folder(results: Path, command: str) -> None:
    if results.is_file():
        raise Mistake(f"{results} is a file; give the folder of result files: normgauge {command} {results.parent}")
    if not results.is_dir():
        raise Mistake(f"there is no folder {results}; make result files with: normgauge run FRAMEWORK --out {results}")


def warn_of_interrupted(results: Path) -> None:
    """Warn of each result file in the folder whose run did not finish."""
    for path in sorted(results.glob("*.jsonl")):
        if not is_complete(path):
            click.echo(f"warning: {path} is not complete: the run did not finish; run it again", err=True)


@contextmanager
def errors_in_one_line(folder: Path) -> Iterator[None]:
    try:
        yield
    except BrokenResults as error:
        raise Mistake(str(error)) from None
    except NoPictures as error:
        raise NotRunnable(str(error)) from None
    except OSError as error:
        named = error.filename or folder
        raise Mistake(f"cannot write {named}: {error.strerror}; give another folder with --out") from None
