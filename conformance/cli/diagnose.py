"""normgauge diagnose: one implementation on a terminal."""

from __future__ import annotations

import shlex

import click

from normgauge.adapters.dtypes import DTYPES
from normgauge.conformance.cli.errors import Mistake, NotRunnable
from normgauge.conformance.cli.frameworks import check_selection, framework_of
from normgauge.conformance.cli.interruption import ended_by_signals
from normgauge.conformance.cli.size_options import with_size_options
from normgauge.conformance.cli.terminal import print_diagnosis
from normgauge.conformance.cli.worker_options import WorkerOptions, with_worker_options
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import OwnSize, Wanted, is_pattern
from normgauge.conformance.subjects.subject import CannotRun
from normgauge.results.records import NotRun


@click.command()
@click.argument("implementation")
@click.option(
    "--framework",
    metavar="MODULE:CLASS",
    help="Adapter that has IMPLEMENTATION, if no registered framework has it.",
)
@click.option(
    "--dtype", default=DTYPES[0], show_default=True, type=click.Choice(DTYPES), help="Type of input and parameters."
)
@with_size_options
@with_worker_options
@ended_by_signals()
def diagnose(
    implementation: str, framework: str | None, dtype: str, worker: WorkerOptions, sizes: tuple[OwnSize, ...]
) -> None:
    """Print what one layer computes, with the evidence, and how it differs from torch's definition.

    IMPLEMENTATION is an id that `normgauge list` shows. The table has one row for each question about the layer, such
    as where eps stands. Below the table: defaults, accuracy, every difference, and what a port must write instead.

    Example: normgauge diagnose mlx.nn.GroupNorm
    """
    name = framework or ("exec" if worker.program is not None else framework_of(implementation))
    launch = worker.launch(name)
    check_selection([launch], [implementation])
    if is_pattern(implementation):
        raise Mistake(
            f"{implementation!r} is a pattern; diagnose takes one id. For several: normgauge run FRAMEWORK -i PATTERN"
        )
    wanted = Wanted(
        dtypes=(dtype,),
        implementations=(implementation,),
        in_process=worker.in_process,
        diagnosis_only=True,
        sizes=sizes,
    )
    try:
        records = list(run_framework(launch, wanted))
    except CannotRun as error:
        raise NotRunnable(str(error)) from None
    for record in records:
        if isinstance(record, NotRun):
            raise NotRunnable(record.reason)
    everything = ["normgauge", "run", name, *worker.words(), "-i", implementation, "--dtype", dtype]
    everything += [word for one in sizes for word in ("--shape", ",".join(map(str, one.shape)))]
    everything += ["--groups", str(sizes[0].groups)] if sizes else []
    print_diagnosis(records, everything=shlex.join(everything))
