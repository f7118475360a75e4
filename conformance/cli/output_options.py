"""Options for what a command prints: --quiet, --json and --no-color."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import click


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a command prints: the usual lines, fewer of them, or JSON."""

    quiet: bool
    as_json: bool


def _without_color(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        context.color = False  # click.echo and console_for read it


with_no_color: Final[Callable[[Any], Any]] = click.option(
    "--no-color",
    is_flag=True,
    expose_value=False,
    callback=_without_color,
    help="Print no colours and no bold text. NO_COLOR=1 does the same.",
)


def with_output_options(*, quiet: str, json: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator for a command that receives an :class:`Output`, ``output``; the arguments are the options' help."""
    options = (
        click.option("--quiet", "-q", is_flag=True, help=quiet),
        click.option("--json", "as_json", is_flag=True, help=json),
        with_no_color,
    )

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def collected(*, quiet: bool, as_json: bool, **given: Any) -> None:
            command(output=Output(quiet=quiet, as_json=as_json), **given)

        for option in reversed(options):
            collected = option(collected)
        return collected

    return decorated
