"""normgauge check: whether a worker speaks the protocol, before anything is measured."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import click

from normgauge.conformance.cli.errors import Mistake, NotRunnable
from normgauge.conformance.cli.interruption import ended_by_signals
from normgauge.conformance.cli.worker_options import WorkerOptions, with_worker_options
from normgauge.conformance.form.examination import Examined, examine
from normgauge.conformance.form.session import Finding
from normgauge.conformance.subjects.subject import CannotRun, Launch

#: How often a worker is started again after it has ended, or has not answered within the time limit.
_MOST_RESTARTS: Final = 3


@click.command()
@click.argument("framework", required=False)
@with_worker_options
@ended_by_signals()
def check(framework: str | None, worker: WorkerOptions) -> None:
    """Check the form of everything that a worker writes, and list all faults with their places.

    FRAMEWORK is a registered one or module:Class of an adapter; with --exec it is only a name and can be left out.
    Some small cases are sent, of every kind in the protocol. Whether the numbers are right is not checked.

    Example: normgauge check --exec "node worker.mjs"
    """
    if worker.in_process:
        raise Mistake("normgauge check is about what a worker process writes; leave out --in-process")
    if framework is None and worker.program is None:
        raise Mistake("name what to check: --exec 'node worker.mjs', module:Class of an adapter, or a framework")
    launch = worker.launch(framework or "exec")
    try:
        examined = examine(replace(launch, most_restarts=_MOST_RESTARTS))
    except CannotRun as error:
        raise NotRunnable(str(error)) from None
    for reason in examined.not_asked:
        click.echo(f"not asked: {reason}")
    for line in _lines(examined.findings):
        click.echo(line)
    click.echo(_closing(examined, launch))
    if examined.findings:
        raise click.exceptions.Exit(1)


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    """A line for each fault; answers that have the same one at the same place are in one."""
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        is_answer = finding.about.startswith("answer to case")
        mistake = (
            ("", _general(finding.place), _general(finding.what)) if is_answer else (finding.about, str(finding), "")
        )
        groups.setdefault(mistake, []).append(finding)
    for first, *others in groups.values():
        same = f" (and so in {len(others)} more: {_numbers(others)})" if others else ""
        yield f"{first}{same}"


def _general(text: str) -> str:
    """``text`` without its numbers: what one mistake says of many cases."""
    return re.sub(r"\d+", "#", text)


def _numbers(findings: Sequence[Finding]) -> str:
    told = dict.fromkeys(re.sub(r"^answer to (.*?) \(.*$", r"\1", one.about) for one in findings)
    listed = ", ".join(itertools.islice(told, 5))
    return f"{listed}, ..." if len(told) > 5 else listed


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _closing(examined: Examined, launch: Launch) -> str:
    layers, dtypes = _counted(len(examined.asked), "layer"), ", ".join(examined.dtypes)
    asked = f"{_counted(examined.cases, 'case')} of {layers} in {dtypes}, a script and an unknown op"
    if not examined.cases:
        asked = "nothing, for want of a hello that can be used"
    if examined.findings:
        return f"{_counted(len(examined.findings), 'fault')} of form; asked: {asked}"
    name = launch.framework if not launch.program else f"NAME --exec {shlex.quote(shlex.join(launch.program))}"
    return f"no fault of form; asked: hello, {asked}. Whether the numbers are right: normgauge run {name}"
