"""Which result files the tests take in place of measuring, and what they take of them."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import frameworks
import numpy as np
import pytest
from frameworks import LEFT_OUT, Frameworks, ResultFiles
from pages import counterexample, explored, header, judgement, profile, run, write

from normgauge.results.file import read_records
from normgauge.results.records import Footer, Header, Judgement, NotRun, Record

HERE: dict[str, Any] = {
    "versions": {"torch": "1.2.3"}, "python": "3.11.7", "platform": "Linux", "numpy": "2.4.6", "device": "cpu",
}  # fmt: skip


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was measured, in the words of the command, without measuring. The tests run on what ``HERE`` says."""
    asked: list[str] = []

    def measure(_: str, framework: str, *words: str) -> None:
        asked.append(" ".join([framework, *words[:-2]]))
        Path(words[-1]).mkdir(exist_ok=True)
        write(Path(words[-1]) / f"{framework}.jsonl", run(BY_THE_TESTS))

    monkeypatch.setattr(frameworks, "normgauge", measure)
    monkeypatch.setattr(frameworks, "python_of", lambda _: sys.executable)
    return asked


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A folder with the result file of a run with exploration, of what the tests run on."""
    folder = tmp_path / "given"
    folder.mkdir()
    write(folder / "torch.jsonl", [*AS_MEASURED[:-1], counterexample(), explored(), AS_MEASURED[-1]])
    return folder


AS_MEASURED: list[Record] = [
    header(**HERE, budget="default"),
    profile(),
    judgement(),
    Footer(counts={"conforms": 1}, seconds=1.5),
]


BY_THE_TESTS = judgement(sentence="measured by the tests", dtype="float16")
MEASURED = "torch --budget none"


def taken(folder: Path, given: Path | None) -> list[Record]:
    folder.mkdir(exist_ok=True)
    return read_records(ResultFiles(folder, lambda _: HERE, given)("torch"))


def test_what_was_measured_is_taken_without_its_exploration(measured: list[str], given: Path, tmp_path: Path) -> None:
    assert taken(tmp_path / "own", given) == AS_MEASURED
    (given / "torch.jsonl").unlink()
    assert taken(tmp_path / "own", given) == AS_MEASURED  # once for all tests
    assert measured == []


def test_what_was_not_measured_is_measured_once(measured: list[str], given: Path, tmp_path: Path) -> None:
    (given / "torch.jsonl").unlink()
    for folder in (None, given):
        assert taken(tmp_path / "own", folder) != AS_MEASURED
    assert measured == [MEASURED]


def test_the_dtypes_that_the_budget_left_out_are_measured(measured: list[str], given: Path, tmp_path: Path) -> None:
    nowhere = NotRun(framework="torch", reason="the framework has no float64 here", dtype="float64", failed=False)
    halves = [
        NotRun(framework="torch", reason=f"{one} {LEFT_OUT} quick", dtype=one, failed=False)
        for one in ("float16", "bfloat16")
    ]
    write(given / "torch.jsonl", [AS_MEASURED[0], nowhere, *halves, *AS_MEASURED[1:]])
    assert taken(tmp_path / "own", given) == [AS_MEASURED[0], nowhere, *AS_MEASURED[1:-1], *run(BY_THE_TESTS)[1:]]
    assert measured == [f"{MEASURED} --dtype float16 --dtype bfloat16"]


def of_another(**changed: Any) -> Callable[[list[Record]], list[Record]]:
    return lambda records: [header(**{**HERE, **changed}), *records[1:]]


@pytest.mark.parametrize(
    "change",
    [
        of_another(versions={"torch": "1.2.4"}),
        of_another(versions={"torch": "1.2.3", "jax": "0.1"}),
        of_another(python="3.12.0"),
        of_another(numpy="2.4.7"),
        of_another(platform="Darwin"),
        of_another(device="gpu"),
        lambda records: records[:-1],
        lambda _: [],
    ],
    ids=["release", "releases", "Python", "NumPy", "platform", "device", "interrupted", "empty"],
)
def test_what_was_measured_otherwise_or_is_not_complete_is_measured(
    change: Callable[[list[Record]], list[Record]], measured: list[str], given: Path, tmp_path: Path
) -> None:
    write(given / "torch.jsonl", change(AS_MEASURED))
    assert [one for one in taken(tmp_path, given) if isinstance(one, Judgement)] == [BY_THE_TESTS]
    assert measured == [MEASURED]


def test_what_the_tests_run_on_is_what_a_worker_says_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frameworks, "python_of", lambda _: sys.executable)
    started = Frameworks()
    try:
        here = started("faulty.adapter:FaultyAdapter").environment()
    finally:
        started.close()
    assert set(here) == set(HERE) <= set(Header.__struct_fields__)
    assert here["python"] == platform.python_version()
    assert here["numpy"] == np.__version__
    assert here["versions"] == {"numpy": np.__version__}  # which the faulty layers are made of
