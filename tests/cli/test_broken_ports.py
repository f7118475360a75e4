"""A correct port passes the gate and pytest; the same port with a part that raises does not, in either."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner, Result

from normgauge.conformance.cli.main import main
from normgauge.conformance.gating.entries import TO_BE_WRITTEN

TESTS: Final = Path(__file__).parents[1]
#: What each broken port raises, and the verdicts in the last line of its run.
BROKEN: Final = {
    "RankFiveRaises": "IndexError",
    "EvalRaises": "AttributeError",
    "BackwardRaises": "TypeError",
    "Misspelt": "AttributeError",
}
pytestmark = pytest.mark.slow


def normgauge(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def run(port: str, folder: Path) -> Result:
    asked = (f"faulty.ports:{port}", "--dtype", "float32", "--budget", "none", "--out", str(folder), "--jobs", "1")
    return normgauge("run", *asked, "--name", "port")


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The expectations of the correct port, as the gate suggests them."""
    folder = tmp_path_factory.mktemp("port")
    assert run("Port", folder / "results").exit_code == 0
    suggested = normgauge("gate", str(folder / "results"), "--expectations", str(empty(folder)), "--suggest")
    (folder / "known.toml").write_text(suggested.stdout.replace(TO_BE_WRITTEN, "known"))
    return folder / "known.toml"


def empty(folder: Path) -> Path:
    (folder / "empty.toml").write_text("")
    return folder / "empty.toml"


def under_pytest(port: str, known: Path) -> subprocess.CompletedProcess[str]:
    words = [f"--normgauge=faulty.ports:{port}", "--normgauge-dtype=float32", f"--normgauge-expectations={known}"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs", *words],
        cwd=known.parent,
        env={"PYTHONPATH": str(TESTS), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_correct_port_passes(known: Path, tmp_path: Path) -> None:
    done = run("Port", tmp_path)
    assert done.exit_code == 0
    assert re.search(r"^0 errors, 0 differences .*\(\d+ conforms\) in ", done.output, re.MULTILINE)  # and nothing else
    gated = normgauge("gate", str(tmp_path), "--expectations", str(known))
    assert gated.exit_code == 0, gated.output
    assert under_pytest("Port", known).returncode == 0


@pytest.mark.parametrize("port", BROKEN)
def test_a_port_with_a_part_that_raises_fails(port: str, known: Path, tmp_path: Path) -> None:
    done = run(port, tmp_path)
    assert BROKEN[port] in done.output
    assert done.exit_code == (3 if port == "Misspelt" else 0)
    for expected in (known, empty(tmp_path)):
        gated = normgauge("gate", str(tmp_path / "port.jsonl"), "--expectations", str(expected))
        assert gated.exit_code == 1, gated.output
        assert BROKEN[port] in gated.output
    tested = under_pytest(port, known)
    assert tested.returncode == 1, tested.stdout
    assert BROKEN[port] in tested.stdout


def test_the_port_that_raises_everywhere_says_that_nothing_was_measured(tmp_path: Path) -> None:
    done = run("Misspelt", tmp_path)
    said = "nothing was measured: 0 of "
    assert done.output.count(said) == 2
    assert "AttributeError in construct: 'super' object has no attribute 'constuct'" in done.output
