"""The command line: normgauge run, check, diagnose, promote, list, gate, report, accuracy, timeline.

Exit codes: 0 done, 1 something deviates from the expectations, 2 the user's mistake, 3 something that was asked
for could not be run, 130 interrupted; 128 and the number of the signal that ended it, where it was another.
"""

from __future__ import annotations

import click

import normgauge
from normgauge.conformance.cli.accuracy import accuracy
from normgauge.conformance.cli.check import check
from normgauge.conformance.cli.diagnose import diagnose
from normgauge.conformance.cli.gate import gate
from normgauge.conformance.cli.list import list_
from normgauge.conformance.cli.promote import promote
from normgauge.conformance.cli.report import report
from normgauge.conformance.cli.run import run
from normgauge.conformance.cli.timeline import timeline


@click.group()
@click.version_option(normgauge.__version__)
def main() -> None:
    """Measure what a framework's GroupNorm and BatchNorm really compute."""


for command in (run, check, diagnose, promote, list_, gate, accuracy, report, timeline):
    main.add_command(command)

if __name__ == "__main__":
    main()
