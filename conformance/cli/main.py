"""The command line: one module for each command.

Exit codes: 0 success; 1 differences that are not in the list of known differences, or (compare) any difference; 2 a
mistake in the command; 3 a requested framework or layer could not be run; 130 interrupted; 128 + n ended by signal n.
"""

from __future__ import annotations

from typing import Final

import click

import normgauge
from normgauge.conformance.cli.accuracy import accuracy
from normgauge.conformance.cli.campaign import campaign
from normgauge.conformance.cli.check import check
from normgauge.conformance.cli.compare import compare
from normgauge.conformance.cli.diagnose import diagnose
from normgauge.conformance.cli.gate import gate
from normgauge.conformance.cli.identify import identify
from normgauge.conformance.cli.list import list_
from normgauge.conformance.cli.new_adapter import new_adapter
from normgauge.conformance.cli.profile import profile
from normgauge.conformance.cli.promote import promote
from normgauge.conformance.cli.recipe import recipe
from normgauge.conformance.cli.report import report
from normgauge.conformance.cli.run import run
from normgauge.conformance.cli.serve import serve
from normgauge.conformance.cli.timeline import timeline
from normgauge.conformance.cli.vectors import vectors


@click.group()
@click.version_option(normgauge.__version__)
def main() -> None:
    """Measure what a framework's GroupNorm and BatchNorm compute, and compare them with a float64 reference.

    Exit codes: 0 success; 1 differences that are not in the list of known differences, or (compare) any difference;
    2 a mistake in the command; 3 a requested framework or layer could not be run; 130 interrupted.

    Example: normgauge list
    """


#: In the order of `normgauge --help`.
COMMANDS: Final = (
    identify,
    run,
    campaign,
    check,
    diagnose,
    compare,
    recipe,
    profile,
    new_adapter,
    promote,
    list_,
    gate,
    accuracy,
    report,
    serve,
    timeline,
    vectors,
)

for command in COMMANDS:
    main.add_command(command)

if __name__ == "__main__":
    main()
