"""docs/compare.md: its commands print what it shows, and its tables are those of the shipped profiles."""

from __future__ import annotations

from pathlib import Path

import pairwise
import pytest
from compare_page import BLOCKS, PAGE, PORT, check, follows


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
