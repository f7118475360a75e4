"""Programs that break the protocol: each is told for what it did, in bounded time and memory, and the rest is measured.

The programs stand in ``tests/support/hostile.py``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from hostile import PROGRAMS, Program, whole
from memory import forget_peak, peak_memory
from processes import alive, ended_now

from normgauge.adapters.case import Case, Observation, Step
from normgauge.adapters.worker.protocol import dump_line, encode_case
from normgauge.conformance.layers.experiments import probes
from normgauge.conformance.subjects.messages import LONGEST_LINE
from normgauge.conformance.subjects.subject import CannotRun, Launch
from normgauge.conformance.subjects.worker_process import WorkerProcess, longest_request

CASE: Final = Case(
    layer="group_norm",
    dtype="float32",
    settings={"num_channels": 2, "num_groups": 1, "eps": 0.0},
    parameters={},
    steps=(Step("train", np.array([[1, 3]], np.float32)),),
)
#: MiB by which the host may grow; the largest answer that it takes has one.
MOST_MEMORY: Final = 96


def left(notes: Path) -> list[int]:
    return [process for process in map(int, notes.read_text().split()) if alive(process)]


def observed(launch: Launch, count: int = 4) -> list[Observation]:
    worker = WorkerProcess(launch, "float32")
    try:
        return list(worker.run("hostile.GroupNorm", [CASE] * count))
    finally:
        worker.close()


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(one, id=f"{one.family}: {one.name}", marks=[pytest.mark.slow] * (one.seconds > 10))
        for one in PROGRAMS
    ],
)
def test_a_hostile_program_costs_one_case(
    program: Program, tmp_path: Path, capfd: pytest.CaptureFixture[str], record_property: Callable[[str, object], None]
) -> None:
    notes = tmp_path / "notes"
    forget_peak()
    begun, before = time.monotonic(), peak_memory()
    if program.refused:
        with pytest.raises(CannotRun, match=program.refused):
            observed(program.launch(str(notes)))
    else:
        seen = observed(program.launch(str(notes)))
        ends = [one.died or "" for one in seen]
        assert len(ends) == len(program.ends)
        for end, pattern in zip(ends, program.ends, strict=True):
            assert bool(end) == bool(pattern), ends
            assert re.search(pattern, end), ends
            assert len(end) < 1200
        assert all(one.steps or one.raised for one in seen if not one.died)
        assert all(one.steps[0].output.tolist() == [[1, 3]] for one in seen if one.steps)
    seconds, grown = time.monotonic() - begun, (peak_memory() - before) / 1024
    told = capfd.readouterr()
    record_property("hostile", (program.family, round(seconds, 2), round(grown, 1)))
    assert ended_now(left(notes)) == []
    assert "Traceback" not in told.err + told.out
    named = re.findall(r"^process \d+, which a worker had started, was ended: sleep 600$", told.err, re.MULTILINE)
    assert len(named) == program.named, told.err
    assert seconds < program.seconds
    assert grown < MOST_MEMORY


def launched(body: str, tmp_path: Path) -> WorkerProcess:
    return WorkerProcess(whole("", "", body).launch(str(tmp_path / "notes")), "float32")


def test_what_comes_long_after_the_last_answer_is_charged_to_the_next_case(tmp_path: Path) -> None:
    """The two cases are answered and taken before anything more is written: only the next request meets it."""
    body = (
        "say(hello)\nfor case in cases():\n    say(answer(case))\n"
        "    if case['number'] == 2:\n        time.sleep(0.3)\n        write('late')\n"
    )
    worker = launched(body, tmp_path)
    try:
        first = list(worker.run("hostile.GroupNorm", [CASE] * 2))
        time.sleep(0.6)
        then = list(worker.run("hostile.GroupNorm", [CASE] * 2))
    finally:
        worker.close()
    assert [one.died for one in first] == [None, None]
    assert [one.died for one in then] == ["the worker wrote what nobody had asked for: b'late'", None]
    assert worker.restarts == 1


def test_what_comes_with_the_last_answer_is_charged_to_its_case(tmp_path: Path) -> None:
    body = (
        "say(hello)\nfor case in cases():\n    late = 'late' * (case['number'] == 2)\n"
        "    write(json.dumps(answer(case)) + '\\n' + late)\n"
    )
    worker = launched(body, tmp_path)
    try:
        seen = list(worker.run("hostile.GroupNorm", [CASE] * 2))
    finally:
        worker.close()
    assert [one.died for one in seen] == [None, "the worker wrote what nobody had asked for: b'late'"]


def test_what_comes_after_everything_is_told_on_standard_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    worker = launched("say(hello)\nwrite('late')\nsys.stdin.read()", tmp_path)
    time.sleep(0.2)
    worker.close()
    assert capfd.readouterr().err == "hostile: the worker wrote what nobody had asked for: b'late'\n"


@pytest.mark.parametrize(
    ("said", "script"),
    [
        ("{'number': one['number'], 'script': 'pass'}", "pass"),
        (
            "{'number': one['number'] - 1, 'script': 'pass'}",
            "# no script: the worker answered case 1 where 2 was due\n",
        ),
        ("{'script': 'pass'}", "# no script: the worker answered case null where 2 was due\n"),
        (
            "{'number': one['number'], 'script': 5}",
            "# no script: the worker gave a malformed answer: Expected `str | null`",
        ),
    ],
)
def test_a_script_carries_the_number_of_its_request(tmp_path: Path, said: str, script: str) -> None:
    body = (
        "say(hello)\nfor line in sys.stdin:\n    one = json.loads(line)\n"
        f"    say({said}) if one['op'] == 'script' else say(*map(answer, one['cases']))"
    )
    worker = launched(body, tmp_path)
    try:
        before = list(worker.run("hostile.GroupNorm", [CASE]))
        assert worker.script("hostile.GroupNorm", CASE, "about").startswith(script)
        after = list(worker.run("hostile.GroupNorm", [CASE] * 2))
    finally:
        worker.close()
    assert [one.died for one in before + after] == [None] * 3


# --- the longest line -----------------------------------------------------------------------------


def of_size(count: int) -> Case:
    return replace(CASE, steps=(Step("train", np.zeros((1, 2, count), np.float32)),))


TAKES_64_KIB: Final = """
say(hello | {"longest_line": 65536})
for line in sys.stdin:
    if len(line) > 65536: os._exit(9)
    say(*map(answer, json.loads(line)["cases"]))
"""


def test_requests_are_cut_and_no_case_is_sent_that_is_longer_than_the_worker_takes(tmp_path: Path) -> None:
    worker = launched(TAKES_64_KIB, tmp_path)
    try:
        seen = list(worker.run("hostile.GroupNorm", [*[of_size(1000)] * 40, of_size(100_000), of_size(1)]))
        assert worker.restarts == 0
    finally:
        worker.close()
    assert [one.died for one in seen] == [None] * 42
    assert [one.unsupported for one in seen[:40]] == [None] * 40
    assert (seen[40].unsupported or "").startswith("the worker takes lines of 65,536 bytes, the case may have 1,0")
    assert seen[41].steps


def test_a_line_longer_than_the_worker_said_is_too_long(tmp_path: Path) -> None:
    body = "say(hello | {'longest_line': 65536})\nfor case in cases(): say(answer(case, warnings=['x' * 65536]))"
    worker = launched(body, tmp_path)
    try:
        (seen,) = worker.run("hostile.GroupNorm", [CASE])
    finally:
        worker.close()
    assert seen.died == "the worker wrote a line of more than 65,536 bytes"


@pytest.mark.parametrize(("told", "longest"), [(2**17, 2**17), (10**18, LONGEST_LINE), (10**30, LONGEST_LINE)])
def test_the_host_bounds_the_longest_line(tmp_path: Path, told: int, longest: int) -> None:
    worker = launched(f"say(hello | {{'longest_line': {told}}}); sys.stdin.read()", tmp_path)
    worker.close()
    assert worker.greeting.longest_line == longest


@pytest.mark.parametrize("told", ["5", "0", "-1", "'1 MB'", "None", "1e6"])
def test_a_longest_line_that_is_none_is_refused(tmp_path: Path, told: str) -> None:
    with pytest.raises(CannotRun, match=r"^hostile: the worker's hello cannot be used: .*`\$\.longest_line`"):
        launched(f"say(hello | {{'longest_line': {told}}}); sys.stdin.read()", tmp_path)


def test_no_request_is_longer_than_it_is_taken_for() -> None:
    for probe in [*probes("group_norm", "float64", (2, 3, 4, 5)), *probes("batch_norm", "float64", (2, 3, 4, 5))]:
        assert len(dump_line(encode_case(probe.case) | {"number": 2**53})) <= longest_request(probe.case) < LONGEST_LINE
