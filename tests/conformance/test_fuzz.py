"""Edited hellos and answers: a few hundred, always the same. ``nox -s fuzz`` goes on for as long as wanted."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import mutants
import pytest
from fuzz import LONGEST_REASON, Fuzz, Replayed, Tally, host_on, told_well
from recorded import Recorded, recordings

from normgauge.conformance.subjects import conversation, messages
from normgauge.conformance.subjects.subject import CannotRun, Launch
from normgauge.conformance.subjects.worker_process import WorkerProcess

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
    monkeypatch.setattr(conversation.Conversation, "last_words", lambda self: self.end() or "\nTraceback")
    tally = tally_of(recorded, tmp_path, range(40))
    assert any(kind.startswith("Unlike in fuzz.py, told_well: a message with what") for kind in tally.findings)


def test_the_recorded_lines_as_they_are_are_measured(recorded: list[Recorded], tmp_path: Path) -> None:
    for one in recorded:
        stream = tmp_path / "stream"
        stream.write_bytes(b"".join(one.lines))
        assert list(host_on(stream, one, "replayed"))[:3] == ["measured"] * 3
        assert list(host_on(stream, one, "process"))[:3] == ["measured"] * 3


def described(**changes: Any) -> dict[str, Any]:
    texts = dict.fromkeys(("layout", "documentation"), "") | {"id": "a.Norm", "layer": "group_norm", "ranks": [2]}
    return texts | {name: {} for name in ("names", "remedies", "signature_defaults")} | changes


REMEDY = "docs/protocol.md says what it has, and `normgauge check` lists every fault of it"


@pytest.mark.parametrize(
    ("hello", "ending"),
    [
        pytest.param(
            {"implementations": [described(layer="x" * 900_000)]}, "xxx'; allowed: group_norm, batch_norm", id="layer"
        ),
        pytest.param(
            {"implementations": [described(id="\x1b[2J\n", layer="x")]},
            f"at `$.implementations[0].id`; {REMEDY}",
            id="an id with orders to the terminal",
        ),
        pytest.param(
            {"implementations": [described(id="x" * 900_000)]},
            f"Expected `str` of length <= 300 - at `$.implementations[0].id`; {REMEDY}",
            id="a long id",
        ),
        pytest.param(
            {"implementations": [described()] * 2},
            "has the id 'a.Norm' twice; an id is one implementation's",
            id="id twice",
        ),
        pytest.param(
            {"cannot_import": "ImportError: a\nb\x1b[2J"},
            "ImportError: a b [2J; install it there, or name an interpreter that has it with --python",
            id="an exception of several lines",
        ),
        pytest.param({"cannot_import": "x" * 900_000}, "with --python", id="a long exception"),
    ],
)
def test_a_hello_is_refused_in_one_short_line(
    hello: dict[str, Any], ending: str, recorded: list[Recorded], tmp_path: Path
) -> None:
    refusal = refused(hello, recorded[0], tmp_path)
    told_well(refusal, LONGEST_REASON)
    assert refusal.endswith(ending)


def test_a_hello_of_as_many_ids_as_fit_is_read_in_seconds(recorded: list[Recorded], tmp_path: Path) -> None:
    begun = time.monotonic()
    many = [described(id=str(number)) for number in range(25_000)]
    assert refused({"implementations": [*many, many[0]]}, recorded[0], tmp_path).endswith(
        "the worker's hello has the id '0' twice; an id is one implementation's"
    )
    assert time.monotonic() - begun < 10


def refused(hello: dict[str, Any], recorded: Recorded, folder: Path) -> str:
    """Why a worker with this hello cannot be run."""
    (folder / "stream").write_bytes(json.dumps(json.loads(recorded.lines[0]) | hello).encode() + b"\n")
    launch = Launch(framework="fuzz", program=(str(folder / "stream"),))
    with patch.object(conversation, "KeptProcess", Replayed), pytest.raises(CannotRun) as refusal:
        WorkerProcess(launch, recorded.dtype)
    return str(refusal.value)
