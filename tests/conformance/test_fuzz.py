"""Edited hellos and answers: a few hundred, always the same. ``nox -s fuzz`` goes on for as long as wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mutants
import pytest
from fuzz import Fuzz, Tally, host_on
from recorded import Recorded, recordings

from normgauge.conformance.subjects import messages, worker_process

NUMBERS = range(200)


@pytest.fixture(scope="module")
def recorded() -> list[Recorded]:
    return recordings()


def tally_of(recorded: list[Recorded], folder: Path, numbers: range = NUMBERS) -> Tally:
    tally = Tally()
    fuzz = Fuzz(seed=1, recorded=recorded, folder=folder)
    for number in numbers:
        fuzz.once(number, tally)
    return tally


def test_edited_streams_end_in_what_the_protocol_says(recorded: list[Recorded], tmp_path: Path) -> None:
    tally = tally_of(recorded, tmp_path)
    assert list(tally.findings.values()) == []
    assert tally.streams == {"replayed": len(NUMBERS) - 1, "process": 1}
    assert {"measured", "raised", "malformed", "not JSON", "ended", "refused", "script"} <= set(tally.outcomes)
    assert set(tally.edits) >= set(mutants.TREE)


def test_a_whole_run_on_edited_answers_is_judged_and_written(recorded: list[Recorded], tmp_path: Path) -> None:
    tally = tally_of(recorded, tmp_path, range(499, 500))
    assert list(tally.findings.values()) == []
    assert tally.streams == {"engine": 1}
    assert tally.outcomes["conforms"]
    assert tally.outcomes["diverges"] + tally.outcomes["crashes"] + tally.outcomes["raises"]


def test_an_exception_of_the_host_is_a_finding(
    recorded: list[Recorded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def strict(self: Any) -> Any:
        raise KeyError(self.dtype)

    monkeypatch.setattr(messages.Numbers, "array", strict)
    tally = tally_of(recorded, tmp_path, range(40))
    assert any(kind.startswith("KeyError in test_fuzz.py, strict") for kind in tally.findings)


def test_a_message_of_many_lines_is_a_finding(
    recorded: list[Recorded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_process.WorkerProcess, "_last_words", lambda self: self._kill() or "\nTraceback")
    tally = tally_of(recorded, tmp_path, range(40))
    assert any(kind.startswith("Unlike in fuzz.py, told_well: a message with what") for kind in tally.findings)


def test_the_recorded_lines_as_they_are_are_measured(recorded: list[Recorded], tmp_path: Path) -> None:
    for one in recorded:
        stream = tmp_path / "stream"
        stream.write_bytes(b"".join(one.lines))
        assert list(host_on(stream, one, "replayed"))[:3] == ["measured"] * 3
        assert list(host_on(stream, one, "process"))[:3] == ["measured"] * 3
