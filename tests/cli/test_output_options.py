"""What the commands print: on a terminal of 80 columns, without colours, with --quiet, and as JSON."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Final

import click
import gates
import pytest
from click.testing import CliRunner

from normgauge.conformance.cli.output_options import with_no_color
from normgauge.conformance.cli.terminal import Lines, console_for, tell
from normgauge.conformance.gating.annotations import github_annotation
from normgauge.conformance.gating.gate import Surprise
from normgauge.results.file import ResultsWriter
from normgauge.results.records import Footer, NotRun

NORMGAUGE: Final = (sys.executable, "-m", "normgauge.conformance.cli.main")
COMPARE: Final = ("compare", "torch@shipped", "mlx@shipped")


def on_a_terminal(*words: str, columns: int = 80) -> str:
    """What a command prints on a terminal of this width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "NO_COLOR"}}
    process = subprocess.Popen(
        [*NORMGAUGE, *words], stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL, env=env | {"TERM": "xterm"}
    )
    os.close(theirs)
    parts = []
    try:
        while part := os.read(ours, 65536):
            parts.append(part)
    except OSError:  # Linux says so that the other end is closed
        pass
    process.wait()
    os.close(ours)
    return b"".join(parts).decode().replace("\r\n", "\n")


def test_a_terminal_of_80_columns_gets_lines_that_fit_and_a_pipe_gets_each_line_whole() -> None:
    narrow = on_a_terminal(*COMPARE)
    piped = subprocess.run([*NORMGAUGE, *COMPARE], capture_output=True, text=True, check=False).stdout
    assert max(map(len, piped.splitlines())) > 80
    assert max(map(len, narrow.splitlines())) <= 80
    assert narrow.split() == piped.split()


@pytest.mark.parametrize("how", ["option", "environment"])
def test_no_color_leaves_no_escape_code(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)

    @click.command()
    @with_no_color
    def command() -> None:
        tell(console_for(), "[red]wrong[/] [bold]x[/]")

    assert "\x1b[" in CliRunner().invoke(command).stdout
    if how == "environment":
        monkeypatch.setenv("NO_COLOR", "1")
    done = CliRunner().invoke(command, ["--no-color"] if how == "option" else [])
    assert done.stdout == "wrong x\n"


@pytest.mark.parametrize("command", ["run", "gate", "diagnose"])
def test_the_help_has_the_options_and_fits_in_80_columns(command: str) -> None:
    done = subprocess.run([*NORMGAUGE, command, "--help"], capture_output=True, text=True, check=True).stdout
    assert all(option in done for option in ("--quiet", "--json", "--no-color"))
    assert max(map(len, done.splitlines())) <= 80


def test_a_gate_as_json_and_quiet_has_the_difference_alone(tmp_path: Path) -> None:
    results = tmp_path / "mlx.jsonl"
    with ResultsWriter(results) as writer:
        for record in (gates.header(), gates.judgement(), Footer(counts={}, seconds=1.0)):
            writer.write(record)
    listed = tmp_path / "known.toml"
    listed.write_text("# no difference is known\n", encoding="utf-8")
    own = (str(results), "--expectations", str(listed))
    whole = gates.gated(*own)
    (line,) = [line for line in whole.stdout.splitlines() if line.startswith("new: ")]
    quiet = gates.gated(*own, "--quiet")
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (1, f"{line}\n", "")
    data = json.loads(gates.gated(*own, "--json").stdout)
    assert data["passed"] is False
    (difference,) = data["differences"]
    assert line == f"new: {difference['where']}: {difference['what']}"


def test_an_annotation_escapes_what_github_reads_as_its_own() -> None:
    surprise = Surprise(kind="not run", where="a.jsonl: x", what="100% of\n::error::it, failed")
    assert github_annotation(surprise, "a,b:c%.toml") == (
        "::error file=a%2Cb%3Ac%25.toml,title=normgauge%3A not run::a.jsonl: x: 100%25 of ::error::it, failed"
    )


def test_a_quiet_run_says_only_what_could_not_be_run() -> None:
    lines = Lines(quiet=True)
    assert [*lines.of(gates.judgement())] == []
    assert [*lines.of(NotRun(framework="mlx", reason="no such module"))] == ["[yellow]not run[/] mlx: no such module"]
