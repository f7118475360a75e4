"""The options for where a layer runs: interpreter, program, time limit."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import click

from normgauge.conformance.cli.errors import Mistake
from normgauge.conformance.cli.frameworks import adapter_of
from normgauge.conformance.subjects.subject import Launch, words_of

#: Seconds.
_TIME_LIMIT: Final = 60.0
_OPTIONS: Final = (
    click.option(
        "--python",
        default=sys.executable,
        metavar="PATH",
        help="Python interpreter in whose environment the framework is installed.  [default: this one]",
    ),
    click.option(
        "--exec",
        "program",
        metavar="COMMAND",
        help="Program that follows the worker protocol, such as 'node worker.mjs'.",
    ),
    click.option(
        "--time-limit",
        default=_TIME_LIMIT,
        show_default=True,
        type=click.FloatRange(min=0.1),
        help="Time limit per case, in seconds.",
    ),
    click.option(
        "--in-process",
        is_flag=True,
        help="Run the framework in this process, for debugging; a crash of the framework ends the command.",
    ),
    click.option(
        "--debug",
        is_flag=True,
        help="Show the traceback of each exception in an adapter, and everything that a worker writes to stderr.",
    ),
)


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """The values of the options; :meth:`launch` checks them."""

    python: str
    program: str | None
    time_limit: float
    in_process: bool
    debug: bool

    def words(self) -> list[str]:
        """The options as words of a command line, without those that have their default value."""
        words = ["--python", self.python] if self.python != sys.executable else []
        words += ["--exec", self.program] if self.program is not None else []
        words += ["--time-limit", f"{self.time_limit:g}"] if self.time_limit != _TIME_LIMIT else []
        return [*words, *(["--in-process"] if self.in_process else [])]

    def launch(self, framework: str) -> Launch:
        """How to start the worker.

        Raises:
            Mistake: options contradict each other, the command is empty, or the framework has no adapter.
        """
        if self.program is not None:
            if self.python != sys.executable:
                raise Mistake("--exec starts a program without Python, and --python is given; leave out one of them")
            return self._launch(framework, self._words(self.program))
        if self.in_process and self.python != sys.executable:
            raise Mistake("--in-process uses this interpreter, and --python names another; leave out one of them")
        adapter_of(framework)
        return self._launch(framework)

    def _launch(self, framework: str, program: tuple[str, ...] = ()) -> Launch:
        return Launch(
            framework=framework, python=self.python, program=program, time_limit=self.time_limit, debug=self.debug
        )

    def _words(self, program: str) -> tuple[str, ...]:
        if self.in_process:
            raise Mistake("--exec starts another process, and --in-process starts none; leave out one of them")
        try:
            return words_of(program)
        except ValueError as error:
            raise Mistake(f"--exec {error}") from None


def with_worker_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with these options; it receives them as one :class:`WorkerOptions`, ``worker``."""

    @functools.wraps(command)
    def collected(**given: Any) -> None:
        own = {field.name: given.pop(field.name) for field in dataclasses.fields(WorkerOptions)}
        command(worker=WorkerOptions(**own), **given)

    for option in reversed(_OPTIONS):
        collected = option(collected)
    return collected
