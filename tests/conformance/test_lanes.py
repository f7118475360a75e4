"""Several implementations at a time give what one after the other gives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from described import described

from normgauge.conformance.diagnosis.references import References
from normgauge.conformance.exploration.budget import BUDGETS
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.parallel import Lane, Lanes, Task
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.subject import CannotRun, Launch, Subject
from normgauge.results.records import Footer, Header, NotRun, Record

FAULTY = Launch(framework="faulty.adapter:FaultyAdapter")
WANTED = Wanted(
    dtypes=("float32", "float64"),
    implementations=("batch_norm.BiasedRunningVariance", "group_norm.OnePass"),
    budget=replace(BUDGETS["quick"], cases=64),
)


def without_times(records: list[Record]) -> list[Any]:
    timeless = [msgspec.structs.replace(r, started="") if isinstance(r, Header) else r for r in records]
    none = dict.fromkeys(("seconds", "explored_seconds", "worker_seconds"), 0.0)
    return [msgspec.structs.replace(r, **none) if isinstance(r, Footer) else r for r in timeless]


@pytest.mark.slow
def test_records_do_not_depend_on_the_number_of_jobs() -> None:
    one, two = (list(run_framework(FAULTY, WANTED, jobs=jobs)) for jobs in (1, 2))
    assert without_times(one) == without_times(two)
    assert len(one) > 100
    for jobs, footer in ((1, one[-1]), (2, two[-1])):
        assert isinstance(footer, Footer)
        assert 0 < footer.explored_seconds < footer.worker_seconds <= jobs * footer.seconds


def tasks(*counts: int) -> list[Task]:
    layers = ("group_norm", "batch_norm")
    return [
        Task(
            number=n,
            description=described("counting", layers[n % 2], signature_defaults={"count": count}),
            dtype="float32",
        )
        for n, count in enumerate(counts)
    ]


def counted(subject: Subject, task: Task, references: References, progress: Any) -> Iterator[int]:
    count = task.description.signature_defaults["count"]
    for number in range(count):
        progress("counting", number, count)
        yield number


def failing(subject: Subject, task: Task, references: References, progress: Any) -> Iterator[str]:
    yield "before"
    if task.description.signature_defaults["count"] == 0:
        os._exit(3)
    raise ValueError("no such thing")


def worker_of(subject: Subject, task: Task, references: References, progress: Any) -> Iterator[int]:
    yield id(subject)


@pytest.fixture
def lanes() -> Iterator[Lanes]:
    found = Lanes(FAULTY, ("float32",), 2)
    yield found
    found.close()


@pytest.mark.slow
def test_results_come_in_the_order_of_the_tasks(lanes: Lanes) -> None:
    found = [(task.number, item) for task, item in lanes.do(tasks(3, 0, 2, 1), counted, lambda *_: None)]
    assert found == [(0, 0), (0, 1), (0, 2), (2, 0), (2, 1), (3, 0)]


@pytest.mark.slow
def test_an_exception_of_a_task_is_raised_here(lanes: Lanes) -> None:
    with pytest.raises(ValueError, match="no such thing"):
        list(lanes.do(tasks(1), failing, lambda *_: None))


def test_a_process_that_ends_without_a_word_is_told(lanes: Lanes) -> None:
    with pytest.raises(ChildProcessError, match="ended with code 3"):
        list(lanes.do(tasks(0), failing, lambda *_: None))


@pytest.mark.slow
def test_closed_lanes_have_ended_their_workers() -> None:
    lanes = Lanes(FAULTY, ("float32", "float64"), 2)
    processes = list(lanes._processes.values())
    lanes.close()
    assert not any(process.is_alive() for process in processes)


def test_a_framework_that_cannot_be_started_is_told_before_anything_else() -> None:
    with pytest.raises(CannotRun, match="no-such-python"):
        Lanes(Launch(framework="torch", python="no-such-python"), ("float32",), 2)


def test_a_worker_serves_every_dtype_that_needs_its_environment() -> None:
    lane = Lane(FAULTY)
    try:
        found = [
            one
            for dtype in ("float32", "float64")
            for one in lane.do(Task(number=0, description=described("any"), dtype=dtype), worker_of, lambda *_: None)
        ]
    finally:
        lane.close()
    assert len(set(found)) == 1


@pytest.mark.slow
def test_a_dtype_that_no_worker_can_be_started_for_is_told_once(tmp_path: Any) -> None:
    said = {**dict.fromkeys(("framework", "platform", "device"), "x"), "versions": {}, "protocol": 2}
    described = {"layer": "group_norm", "layout": "", "names": {}, "documentation": "", "ranks": [2], "remedies": {}}
    said["implementations"] = [{"id": name, "signature_defaults": {}, **described} for name in ("one", "other")]
    said["dtypes"] = ["float32", "float64"]
    program = tmp_path / "worker.py"
    program.write_text(
        "import json, sys\n"
        f"if sys.argv[1] == 'float64': sys.exit('no such type')\nprint(json.dumps({said!r}), flush=True)\n"
        "for line in sys.stdin:\n"
        "    for case in json.loads(line)['cases']:\n"
        "        said = {'number': case['number'], 'steps': [], 'warnings': [], 'unsupported': '-'}\n"
        "        print(json.dumps(said), flush=True)\n"
    )
    launch = Launch(framework="program", program=("python", str(program)))
    for jobs in (1, 2):
        records = list(run_framework(launch, Wanted(dtypes=("float32", "float64")), jobs=jobs))
        (told,) = [one for one in records if isinstance(one, NotRun) and one.dtype == "float64"]
        assert "no such type" in told.reason
