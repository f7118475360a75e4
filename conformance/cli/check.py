"""normgauge check: does a worker follow the protocol? Nothing is measured."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Final

import click

from normgauge.conformance.cli.errors import Mistake, NotRunnable
from normgauge.conformance.cli.interruption import ended_by_signals
from normgauge.conformance.cli.worker_options import WorkerOptions, with_worker_options
from normgauge.conformance.form.examination import Examined, examine
from normgauge.conformance.form.lines import lines_of
from normgauge.conformance.subjects.subject import CannotRun, Launch

#: The number of restarts after a worker has ended, or has not answered within the time limit.
_MOST_RESTARTS: Final = 3


@click.command()
@click.argument("framework", required=False)
@with_worker_options
@ended_by_signals()
def check(framework: str | None, worker: WorkerOptions) -> None:
    """Check that a worker follows the protocol, and list every fault in its messages.

    FRAMEWORK is the name of a registered framework, or module:Class of an adapter. With --exec it is only a name, and
    you can leave it out. The command sends a few small cases of every kind in the protocol. It does not check whether
    the numbers are right: use normgauge run for that. Exits with 1 if there is a fault.

    Example: normgauge check --exec "node worker.mjs"
    """
    if worker.in_process:
        raise Mistake("--in-process starts no worker process, and normgauge check reads its messages; leave it out")
    if framework is None and worker.program is None:
        raise Mistake("nothing to check; give --exec 'node worker.mjs', module:Class of an adapter, or a framework")
    launch = worker.launch(framework or "exec")
    try:
        examined = examine(replace(launch, most_restarts=_MOST_RESTARTS))
    except CannotRun as error:
        raise NotRunnable(str(error)) from None
    for reason in examined.not_asked:
        click.echo(f"skipped: {reason}")
    for line in lines_of(examined.findings):
        click.echo(line)
    click.echo(_closing(examined, launch))
    if examined.findings:
        raise click.exceptions.Exit(1)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _closing(examined: Examined, launch: Launch) -> str:
    layers, dtypes = _counted(len(examined.asked), "layer"), ", ".join(examined.dtypes)
    sent = f"{_counted(examined.cases, 'case')} for {layers} in {dtypes}, a script and an unknown op"
    if not examined.cases:
        sent = "nothing, because the hello cannot be used"
    if examined.findings:
        return f"{_counted(len(examined.findings), 'fault')}; sent: {sent}"
    name = launch.framework if not launch.program else f"NAME --exec {shlex.quote(shlex.join(launch.program))}"
    return f"no fault; sent: hello, {sent}. To check the numbers: normgauge run {name}"
