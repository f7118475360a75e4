"""normgauge recipe: every command of docs/recipes.md prints what the page shows, and its mistakes have one error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner
from consoles import Console

from normgauge.conformance.cli.main import main

PAGE: Final = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
PAIR: Final = ("torch.nn.BatchNorm2d", "keras.layers.BatchNormalization[jax]")


def test_every_command_of_the_page_prints_what_it_shows(tmp_path: Path) -> None:
    folder, site = tmp_path / "here", tmp_path / "site"
    folder.mkdir()
    site.mkdir()
    console = Console(folder=folder, site=site)
    console.follow(PAGE)
    assert len(console.ran) == 3


def test_the_code_is_printed_with_the_words_on_a_fold() -> None:
    done = CliRunner().invoke(main, ["recipe", *PAIR])
    assert done.exit_code == 0, done.output
    assert "momentum=1 - momentum" in done.output
    assert "normgauge.fold_batch_norm" in done.output
    compile(done.output, "recipe", "exec")


def test_json_has_the_code_and_what_it_does_not_do() -> None:
    done = CliRunner().invoke(main, ["recipe", *PAIR, "--json"])
    data = json.loads(done.output)
    assert (data["from"], data["to"], data["impossible"], data["verified"]) == (*PAIR, [], None)
    assert any(text.startswith("momentum=None: ") for text in data["does_not"])
    assert "def call(" in data["code"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["recipe", "torch.nn.GroupNrm", PAIR[1]], "did you mean torch.nn.GroupNorm"),
        (["recipe", *PAIR, "--python", "torch=x"], "--python has no effect without --verify"),
        (["recipe", *PAIR, "--verify", "--python", "torch=no-such"], "needs FRAMEWORK=PATH"),
    ],
)
def test_a_mistake_has_one_error(words: list[str], error: str) -> None:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert error in done.output
