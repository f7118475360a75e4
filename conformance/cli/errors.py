"""How a command ends when it cannot do what was asked: one line, and an exit code."""

from __future__ import annotations

from pathlib import Path

import click


class Mistake(click.ClickException):
    """A user's mistake: one line that names the value, what is allowed, and the remedy."""

    exit_code = 2


class NotRunnable(click.ClickException):
    """Something that was asked for could not be run."""

    exit_code = 3


def make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Mistake(f"the folder {path} cannot be made: {error.strerror}; give another one with --out") from None
