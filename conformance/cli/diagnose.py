"""normgauge diagnose: one implementation on a terminal."""

from __future__ import annotations

import shlex

import click
import msgspec

from normgauge.adapters.callables.adapter import LAYERS, LAYOUTS
from normgauge.adapters.callables.libraries import LIBRARIES
from normgauge.adapters.dtypes import DTYPES
from normgauge.conformance.cli.errors import Mistake, NotRunnable
from normgauge.conformance.cli.frameworks import check_selection, framework_of, function_of
from normgauge.conformance.cli.interruption import ended_by_signals
from normgauge.conformance.cli.output_options import Output, with_output_options
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
@click.option("--layer", type=click.Choice(LAYERS), help="Function: kind of layer.  [default: as its parameters show]")
@click.option(
    "--layout", type=click.Choice([one.replace(" ", "_") for one in LAYOUTS]), help="Function: where the channels are."
)
@click.option(
    "--arrays", type=click.Choice([*LIBRARIES]), help="Function: library of its arrays.  [default: as its code shows]"
)
@with_size_options
@with_worker_options
@with_output_options(
    quiet="Print only the differences, each with its remedy.",
    json="Print the records of the diagnosis as one JSON array, as in a result file.",
)
@ended_by_signals()
def diagnose(
    implementation: str,
    framework: str | None,
    dtype: str,
    worker: WorkerOptions,
    sizes: tuple[OwnSize, ...],
    output: Output,
    **words: str | None,
) -> None:
    """Print what one layer computes, with the evidence, and how it differs from torch's definition.

    IMPLEMENTATION is an id that `normgauge list` shows, or MODULE:FUNCTION for a function of your own with the
    parameters x, num_groups, weight, bias and eps. The table has one row for each question about the layer, such as
    where eps stands. Below the table: defaults, accuracy, every difference, and what a port must write instead.

    Example: normgauge diagnose mlx.nn.GroupNorm
    """
    given = {name: value for name, value in words.items() if value is not None}
    is_function = ":" in implementation and framework is None and worker.program is None
    if given and not is_function:
        raise Mistake(f"--{next(iter(given))} describes a function; give MODULE:FUNCTION, or leave the option out")
    if is_function:
        name, implementation = function_of(implementation, given)
    else:
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
    if output.as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(records, order="deterministic"), indent=1))
    else:
        print_diagnosis(records, everything=shlex.join(everything), quiet=output.quiet)
