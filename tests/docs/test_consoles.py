"""Every command of the pages on adapters runs, in its order, and prints what the page shows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
from consoles import Console, blocks, changed, commands, install_here

from normgauge.conformance.gating.entries import TO_BE_WRITTEN

DOCS: Final = Path(__file__).parents[2] / "docs"
TUTORIAL: Final = (DOCS / "own-adapter.md").read_text(encoding="utf-8")
PORT: Final = (DOCS / "own-port.md").read_text(encoding="utf-8")
CHECK: Final = "normgauge check mine_adapter:MineAdapter"
GATE: Final = "normgauge gate build/results --expectations known.toml"


@pytest.fixture
def console(tmp_path: Path) -> Console:
    folder, site = tmp_path / "here", tmp_path / "site"
    folder.mkdir()
    site.mkdir()
    own = {"python -m pip install . pytest": lambda folder, site: None, "python -m pip install .": install_here}
    return Console(folder=folder, site=site, own=own)


def without(entries: list[dict[str, Any]], *keys: str) -> list[dict[str, Any]]:
    return [{key: value for key, value in one.items() if key not in keys} for one in entries]


@pytest.mark.slow
def test_the_tutorial_on_adapters_prints_what_it_shows(console: Console) -> None:
    before, fault, after = re.split(r"(?=<!-- change: mine_adapter.py -->\n```diff\n-    def )", TUTORIAL)
    console.follow(before)
    console.exits[CHECK] = 1
    console.follow(fault)
    console.exits.clear()
    console.follow(after)
    assert console.ran[-1] == "normgauge check mine"


@pytest.mark.slow
def test_the_page_on_ports_prints_what_it_shows(console: Console) -> None:
    before, after = re.split(r"(?=<!-- file: known.toml -->)", PORT)
    console.exits.update({GATE: 1, f"{GATE} --suggest >> known.toml": 1})
    console.follow(before)
    suggested = tomllib.loads((console.folder / "known.toml").read_text(encoding="utf-8"))
    assert {one["reason"] for one in suggested["expected"]} == {TO_BE_WRITTEN}
    console.exits.clear()
    console.follow(after)
    written = tomllib.loads((console.folder / "known.toml").read_text(encoding="utf-8"))
    assert without(written["expected"], "reason") == without(suggested["expected"], "reason", "versions")
    assert written["supported"] == without(suggested["supported"], "versions")
    in_ci = [line for one in blocks(PORT) if one.language == "yaml" for line in re.findall(r"run: (.*)", one.text)]
    assert len(in_ci) == 2
    assert set(in_ci) <= set(console.ran)


def test_a_command_that_prints_something_else_or_fails_is_found(console: Console) -> None:
    console.follow(
        "```console\n$ echo a; echo b; echo c >&2\na\n...\nc\n$ mkdir in\n$ cd in\n$ echo numpy 1.2, in 3.4 s > x\n```"
    )
    console.follow("```console\n$ cat x\nnumpy 2.0, in 9 s\n```")
    for wrong in ("echo a\nb", "echo a", "false", "true\na"):
        with pytest.raises(AssertionError):
            console.follow(f"```console\n$ {wrong}\n```")


def test_a_file_is_written_and_changed_once(console: Console) -> None:
    console.follow(
        "<!-- file: a.txt -->\n```text\none\ntwo\n```\n\n<!-- change: a.txt -->\n```diff\n-two\n+three\n+four\n```"
    )
    assert (console.folder / "a.txt").read_text(encoding="utf-8") == "one\nthree\nfour\n"
    with pytest.raises(AssertionError, match="is there 2 times"):
        changed("a\nb\na\n", "-a\n+c\n")
    with pytest.raises(AssertionError, match="is there 0 times"):
        changed("a\n", "-b\n")
    assert commands("$ a\n1\n2\n$ b\n") == [("a", "1\n2\n"), ("b", "")]
