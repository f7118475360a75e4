"""The commands that docs/compare.md shows, each with the output below it, and the comparison of both."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from click.testing import CliRunner

from normgauge.conformance.cli.main import main

PAGE: Final = (Path(__file__).parents[2] / "docs" / "compare.md").read_text(encoding="utf-8")
BLOCKS: Final = re.findall(r"```console\n\$ (.*?)\n(.*?)```", PAGE, re.DOTALL)
#: Those that read a result file of the adapter to copy; test_examples.py measures it and runs them.
PORT: Final = "numpy.jsonl"


def follows(shown: str, printed: Sequence[str]) -> bool:
    """Whether the shown lines are printed in this order; ``...`` stands for any rest of a line, or any lines."""
    pattern = "".join(
        "(?:.*\n)*?" if line == "..." else ".*".join(map(re.escape, line.split("..."))) + "\n"
        for line in shown.splitlines()
    )
    return re.match(pattern, "".join(f"{line}\n" for line in printed)) is not None


def check(command: str, shown: str) -> None:
    """Run a command of the page, and compare its output with the page."""
    done = CliRunner().invoke(main, shlex.split(command)[1:])
    assert done.exit_code in {0, 1}, done.output
    assert follows(shown, done.stdout.splitlines()), f"{command} prints:\n{done.stdout}"
