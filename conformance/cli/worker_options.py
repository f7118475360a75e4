"""The options that say where an implementation runs: which interpreter, which program, how long."""

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
    click.option("--python", default=sys.executable, metavar="PATH", help="Interpreter that has the framework."),
    click.option("--exec", "program", metavar="COMMAND", help="Any program that speaks the worker protocol."),
    click.option(
        "--time-limit",
        default=_TIME_LIMIT,
        show_default=True,
        type=click.FloatRange(min=0.1),
        help="Seconds a case.",
    ),
    click.option("--in-process", is_flag=True, help="Run in this process, for debugging; a crash is a crash."),
    click.option(
        "--debug",
        is_flag=True,
        help="Show the traceback of each exception that an adapter meets, those of refusals among them, and whatever "
        "else a worker writes to standard error.",
    ),
)


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """What the options say; :meth:`launch` checks it for a framework."""

    python: str
    program: str | None
    time_limit: float
    in_process: bool
    debug: bool

    def words(self) -> list[str]:
        """The options again, as they are written on a command line: those that differ from what is the default."""
        words = ["--python", self.python] if self.python != sys.executable else []
        words += ["--exec", self.program] if self.program is not None else []
        words += ["--time-limit", f"{self.time_limit:g}"] if self.time_limit != _TIME_LIMIT else []
        return [*words, *(["--in-process"] if self.in_process else [])]

    def launch(self, framework: str) -> Launch:
        """How to start the worker.

        Raises:
            Mistake: options that contradict each other, no command, or a framework that there is no adapter of.
        """
        if self.program is not None:
            if self.python != sys.executable:
                raise Mistake("--exec names a program of its own, --python an interpreter for ours; leave out one")
            return self._launch(framework, self._words(self.program))
        if self.in_process and self.python != sys.executable:
            raise Mistake("--python names another interpreter, --in-process asks for this one; leave out one of them")
        adapter_of(framework)
        return self._launch(framework)

    def _launch(self, framework: str, program: tuple[str, ...] = ()) -> Launch:
        return Launch(
            framework=framework, python=self.python, program=program, time_limit=self.time_limit, debug=self.debug
        )

    def _words(self, program: str) -> tuple[str, ...]:
        if self.in_process:
            raise Mistake("--exec names a program of its own, --in-process asks for this one; leave out one of them")
        try:
            return words_of(program)
        except ValueError as error:
            raise Mistake(f"--exec {error}") from None


def with_worker_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with these options, which it gets as one :class:`WorkerOptions`, ``worker``."""

    @functools.wraps(command)
    def collected(**given: Any) -> None:
        own = {field.name: given.pop(field.name) for field in dataclasses.fields(WorkerOptions)}
        command(worker=WorkerOptions(**own), **given)

    for option in reversed(_OPTIONS):
        collected = option(collected)
    return collected
