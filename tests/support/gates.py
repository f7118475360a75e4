"""Result files and expectations made by hand, and the gate on them."""

from __future__ import annotations

from pathlib import Path

import pages
from click.testing import CliRunner, Result

from normgauge.conformance.cli.main import main
from normgauge.results.file import ResultsWriter
from normgauge.results.records import (
    Claim,
    Counterexample,
    Footer,
    Header,
    Judgement,
    Profile,
    Record,
    Verdict,
)

INTERLEAVED = """
[[expected]]
implementations = ["mlx.nn.GroupNorm"]
dtypes = ["float32", "float64"]
versions = { mlx = ">=0.30,<1" }
requirement = "GN-02"
measured = "interleaved"
reason = "it is the default"
url = "https://example.org/thread"
"""


BOTH = 'dtypes = ["float32", "float64"]'
SINGLE = 'dtypes = ["float32"]'


def gated(*words: str) -> Result:
    return CliRunner().invoke(main, ["gate", *words])


def one_line(result: Result) -> str:
    """The error, which must be one line, no traceback, and the user's mistake."""
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    return line


def header(framework: str = "mlx", **versions: str) -> Header:
    return pages.header(
        framework, "mlx.nn.GroupNorm", versions=versions or {"mlx": "0.32.4"}, dtypes=["float32"], started="now"
    )


def judgement(
    requirement: str = "GN-02",
    verdict: Verdict = "diverges",
    measured: str = "interleaved",
    implementation: str = "mlx.nn.GroupNorm",
    dtype: str = "float32",
) -> Judgement:
    return pages.judgement(
        implementation,
        verdict,
        framework="mlx",
        requirement=requirement,
        title="a title",
        dtype=dtype,
        measured=measured,
        sentence=f"{implementation}: {measured or verdict}",
    )


def profile(*claims: Claim) -> Profile:
    return pages.profile("mlx.nn.GroupNorm", claims=list(claims))


def counterexample() -> Counterexample:
    return pages.counterexample(
        "mlx.nn.GroupNorm",
        signature="huge mean",
        measured="0 instead of 1",
        sentence="it departs",
        stored="stored/0123.json",
    )


class Folder:
    """A folder with result files and a file of expectations, and the gate on them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.results = path / "results"
        self.results.mkdir()

    def write(self, *records: Record, name: str = "mlx", footer: bool = True, start: Header | None = None) -> None:
        with ResultsWriter(self.results / f"{name}.jsonl") as writer:
            for record in [start or header(), *records, *([Footer(counts={}, seconds=1.0)] if footer else [])]:
                writer.write(record)

    def gate(self, expected: str = INTERLEAVED, *words: str) -> Result:
        (self.path / "known.toml").write_text(expected, encoding="utf-8")
        return gated(str(self.results), "--expectations", str(self.path / "known.toml"), *words)


def lines(result: Result, code: int) -> list[str]:
    assert result.exit_code == code, result.output
    return result.stdout.splitlines()
