"""Every `--help` has an example, and each example is a command that is accepted and that runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click
import numpy as np
import pytest
from click.testing import CliRunner
from compare_page import BLOCKS, PORT, check
from pages import everything, header, profile, run, write

import normgauge
from normgauge.conformance.cli.main import main
from normgauge.results.file import read_records
from normgauge.results.records import Judgement

ADAPTER: Final = Path(__file__).parents[2] / "docs" / "examples" / "numpy_adapter.py"
COMMANDS: Final[Mapping[str, click.Command]] = {
    "normgauge": main,
    **main.commands,
    **{
        f"{name} {below}": command
        for name, group in main.commands.items()
        if isinstance(group, click.Group)
        for below, command in group.commands.items()
    },
}
#: Examples that need a framework or a program beside normgauge, or that end only when they are told to: they are parsed
#: here and run in other tests.
NEEDS_MORE: Final = ("run", "campaign", "diagnose", "check", "promote", "vectors", "serve")


def examples_of(command: click.Command) -> list[list[str]]:
    """The words of each example of a command's help."""
    lines = re.findall(r"^\s*Examples?: *(normgauge .*)$", command.help or "", re.MULTILINE)
    return [shlex.split(line) for line in lines]


EXAMPLES: Final = [words[1:] for command in COMMANDS.values() for words in examples_of(command)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the results and the arrays that the examples name."""
    monkeypatch.chdir(tmp_path)
    for place in ("build/results", "build/timeline/mlx"):
        Path(place).mkdir(parents=True)
    for number, records in enumerate(everything()):
        write(Path(f"build/results/{number}.jsonl"), records)
    for release in ("0.31.2", "0.32.4"):
        of = header("mlx", "mlx.nn.GroupNorm", versions={"mlx": release})
        write(Path(f"build/timeline/mlx/{release}.jsonl"), [of, *run(profile("mlx.nn.GroupNorm"), framework="mlx")[1:]])
    x = np.random.default_rng(0).normal(size=(2, 64, 3)).astype("float32")
    weight = np.linspace(0.5, 2, 64, dtype="float32")
    np.save("x.npy", x)
    np.save("y.npy", normgauge.group_norm(x, 32, weight).value.astype("float32"))
    np.savez("bn.npz", weight=weight)
    for words in EXAMPLES:
        for word in (word for word in words if word.endswith(".json")):
            Path(word).parent.mkdir(parents=True, exist_ok=True)
            Path(word).write_text("{}", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_an_example_of_it(name: str) -> None:
    examples = examples_of(COMMANDS[name])
    assert examples
    assert name == "normgauge" or all(" ".join(words[1:]).startswith(name) for words in examples)


@pytest.mark.parametrize("words", EXAMPLES, ids=" ".join)
def test_an_example_is_accepted(words: list[str], folder: Path) -> None:
    main.commands[words[0]].make_context(words[0], words[1:])


@pytest.mark.parametrize("words", [words for words in EXAMPLES if words[0] not in NEEDS_MORE], ids=" ".join)
def test_an_example_runs(words: list[str], folder: Path) -> None:
    done = CliRunner().invoke(main, words)
    assert done.exit_code in ({0, 1} if words[0] in {"gate", "compare"} else {0}), done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert done.output


@pytest.mark.slow
def test_the_adapter_to_copy_has_the_right_form_and_conforms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ADAPTER.parent)
    name = f"{ADAPTER.stem}:NumpyAdapter"
    checked = CliRunner().invoke(main, ["check", name])
    assert checked.exit_code == 0, checked.output
    words = ["run", name, "--dtype", "float32", "--budget", "none", "--name", "numpy", "--out", str(tmp_path)]
    ran = CliRunner().invoke(main, words)
    assert ran.exit_code == 0, ran.output
    verdicts = {
        one.requirement: one.verdict for one in read_records(tmp_path / "numpy.jsonl") if isinstance(one, Judgement)
    }
    monkeypatch.chdir(tmp_path)
    for command, shown in (block for block in BLOCKS if PORT in block[0]):
        check(command, shown)
    assert CliRunner().invoke(main, ["gate", PORT, "--against", "torch"]).exit_code == 0
    assert CliRunner().invoke(main, ["gate", PORT, "--against", "mlx"]).exit_code == 1
    assert {"GN-01", "GN-02", "GN-24"} <= {name for name, verdict in verdicts.items() if verdict == "conforms"}
    assert set(verdicts.values()) == {"conforms", "unsupported"}
