"""docs/compare.md: its commands print what it shows, and its tables are those of the shipped profiles."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pairwise
import pytest
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


@pytest.mark.parametrize(("command", "shown"), [block for block in BLOCKS if PORT not in block[0]])
def test_a_command_of_the_page_prints_what_the_page_shows(
    command: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check(command, shown)


def test_what_is_not_printed_is_seen() -> None:
    assert follows("...\nb ...\n", ["a", "b 12", "c"])
    assert not follows("...\nb 13\n", ["a", "b 12", "c"])
    assert not follows("b ...\n", ["a", "b 12"])


def test_the_tables_are_those_of_the_shipped_profiles() -> None:
    between = PAGE.partition(pairwise.BEGIN)[2].partition(pairwise.END)[0]
    assert between.strip() == pairwise.tables().strip(), "python tests/support/pairwise.py --write docs/compare.md"
