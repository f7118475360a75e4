"""The engine: run the cases of a framework's implementations, diagnose, judge, and yield records."""

from __future__ import annotations

import contextlib
import datetime
import functools
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import normgauge
from normgauge.adapters.dtypes import FULL
from normgauge.adapters.registry import not_known
from normgauge.conformance.diagnosis.references import References
from normgauge.conformance.layers.registry import digests
from normgauge.conformance.run.measure import measure
from normgauge.conformance.run.parallel import CannotStart, Lane, Lanes, Measure, Progress, Task
from normgauge.conformance.run.request import Wanted, is_named, is_pattern
from normgauge.conformance.subjects.in_process import InProcess
from normgauge.conformance.subjects.messages import Hello
from normgauge.conformance.subjects.subject import CannotRun, Launch, Subject
from normgauge.conformance.subjects.worker_process import WorkerProcess
from normgauge.results.departures import sorts_in
from normgauge.results.records import (
    FORMAT,
    Counterexample,
    Explored,
    Footer,
    Header,
    NotRun,
    Record,
)


@dataclass(frozen=True, kw_only=True)
class Took:
    """What an implementation at one dtype took, and its exploration as a part of that; it goes into the footer."""

    seconds: float = 0.0
    explored_cases: int = 0
    explored_seconds: float = 0.0

    def __add__(self, other: Took) -> Took:
        return Took(
            seconds=self.seconds + other.seconds,
            explored_cases=self.explored_cases + other.explored_cases,
            explored_seconds=self.explored_seconds + other.explored_seconds,
        )


def run_framework(
    launch: Launch,
    wanted: Wanted,
    progress: Progress = lambda *_: None,
    jobs: int | None = None,
    subject: Callable[[Launch, str], Subject] | None = None,
) -> Iterator[Record]:
    """Every record of one framework's run, in the order of the result file.

    ``jobs`` tasks are done at a time, in processes of their own: what is drawn does not depend on their number. By
    default this process does them, one after the other. ``subject`` makes what runs the cases at a dtype, in place of a
    worker; this process does them then.

    Raises:
        CannotRun: the framework could not be started at the first dtype wanted.
    """
    begun, tally, without = time.monotonic(), Tally(), set[str]()
    lanes = _lanes(launch, wanted, jobs) if subject is None else _lane(launch, wanted, subject)
    with contextlib.closing(lanes):
        greeting = lanes.greeting
        _check_selection(greeting, wanted)
        yield header_of(greeting.framework, wanted, greeting)
        left_out = list(left_out_of(greeting, wanted))
        yield from left_out
        tasks = tasks_of(greeting, wanted, {one.dtype for one in left_out})
        for task, found in _done(lanes, tasks, functools.partial(_measured, wanted), progress):
            if isinstance(found, Took):
                tally.took += found
            elif not isinstance(found, CannotStart):
                yield tally.counted(found)
            elif task.dtype not in without:
                without.add(task.dtype)
                yield tally.counted(NotRun(framework=greeting.framework, reason=found.reason, dtype=task.dtype))
    yield tally.footer(round(time.monotonic() - begun, 3))


class Tally:
    """What goes into the footer; ``took`` is what the tasks took together."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._departures: Counter[str] = Counter()
        self.took = Took()

    def counted(self, record: Record) -> Record:
        """The record, which is counted now."""
        if word := _counted_as(record):
            self._counts[word] += 1
        self._departures.update(sorts_in(record))
        return record

    def footer(self, seconds: float) -> Footer:
        """The last record of a run that took ``seconds``."""
        counts = dict(sorted(self._counts.items()))
        return Footer(
            counts=counts,
            departures=dict(sorted(self._departures.items())),
            seconds=seconds,
            explored_cases=self.took.explored_cases,
            explored_seconds=round(self.took.explored_seconds, 3),
            worker_seconds=round(self.took.seconds, 3),
        )


def _lanes(launch: Launch, wanted: Wanted, jobs: int | None) -> Lanes | Lane:
    if jobs is None or wanted.in_process:
        return _lane(launch, wanted, InProcess if wanted.in_process else WorkerProcess)
    named = 0 if any(map(is_pattern, wanted.implementations)) else len(wanted.implementations)
    most = len(wanted.dtypes) * (named or jobs)
    return Lanes(launch, wanted.dtypes, min(jobs, most))


def _lane(launch: Launch, wanted: Wanted, subject: Callable[[Launch, str], Subject]) -> Lane:
    lane = Lane(launch, subject)
    lane.start(wanted.dtypes[0])
    return lane


def left_out_of(greeting: Hello, wanted: Wanted) -> Iterator[NotRun]:
    """The dtypes that are not measured, with the reason: the framework has none, or the budget leaves it out."""
    compiles = any(one.compiles for one in greeting.implementations if wanted.selects(one))
    no_half = compiles and wanted.all_dtypes and not wanted.budget.compiles_half
    lacking = [dtype for dtype in wanted.dtypes if dtype not in greeting.dtypes]
    for dtype in lacking:
        reason = f"{dtype} is not in the framework's list of dtypes"
        yield NotRun(framework=greeting.framework, reason=reason, dtype=dtype, failed=False, absent=True)
    for dtype in wanted.dtypes:
        if no_half and dtype not in lacking and dtype not in FULL:
            reason = f"{dtype} is left out at the budget {wanted.budget.name}: every dtype is compiled anew"
            yield NotRun(framework=greeting.framework, reason=reason, dtype=dtype, failed=False)


def tasks_of(greeting: Hello, wanted: Wanted, left_out: Collection[str | None]) -> list[Task]:
    """Every implementation at every dtype, one dtype after the other."""
    selected = [one for one in greeting.implementations if wanted.selects(one)]
    dtypes = [dtype for dtype in wanted.dtypes if dtype not in left_out]
    asked = [(one, dtype) for dtype in dtypes for one in selected if dtype in one.dtypes]
    return [Task(number=number, description=one, dtype=dtype) for number, (one, dtype) in enumerate(asked)]


def _done(
    lanes: Lanes | Lane, tasks: Sequence[Task], measured: Measure, progress: Progress
) -> Iterator[tuple[Task, Record | Took | CannotStart]]:
    if isinstance(lanes, Lanes):
        yield from lanes.do(tasks, measured, progress)
        return
    for task in tasks:
        yield from ((task, found) for found in lanes.do(task, measured, progress))


def _measured(
    wanted: Wanted, subject: Subject, task: Task, references: References, progress: Progress
) -> Iterator[Record | Took]:
    """Every record of one implementation at one dtype, and what it took."""
    description, dtype, framework = task.description, task.dtype, subject.greeting.framework
    if missing := description.missing:
        yield NotRun(framework=framework, reason=missing, implementation=description.id, dtype=dtype)
        return
    begun = last = time.monotonic()
    try:
        for record in measure(subject, description, dtype, wanted, references, progress):
            yield record
            if isinstance(record, Explored):
                yield Took(explored_cases=record.cases, explored_seconds=time.monotonic() - last)
            if not isinstance(record, Counterexample):
                last = time.monotonic()
    except CannotRun as error:
        yield NotRun(framework=framework, reason=str(error), implementation=description.id, dtype=dtype)
    yield Took(seconds=time.monotonic() - begun)


def _counted_as(record: Record) -> str:
    """The word of the footer under which a record is counted; empty for what is not."""
    if isinstance(record, NotRun):
        return "not run"
    if isinstance(record, Counterexample):
        return "counterexamples"
    return getattr(record, "verdict", "")


def _check_selection(greeting: Hello, wanted: Wanted) -> None:
    known = [description.id for description in greeting.implementations]
    for selected in wanted.implementations:
        named = [one for one in greeting.implementations if is_named(one.id, [selected])]
        if not named:
            raise CannotRun(not_known("implementation", selected, known, listed=False))
        dtypes = list(dict.fromkeys(dtype for one in named for dtype in one.dtypes))
        if not {*wanted.dtypes} & {*dtypes}:
            made_for, asked = " and ".join(dtypes), " and ".join(wanted.dtypes)
            raise CannotRun(f"{selected} is made for {made_for}, not for {asked}")
    selects = [one for one in greeting.implementations if wanted.selects(one)]
    for size in wanted.sizes:
        if not any(len(size.shape) in one.ranks for one in selects):
            ranks = " and ".join(map(str, sorted({rank for one in selects for rank in one.ranks})))
            given = ",".join(map(str, size.shape))
            raise CannotRun(
                f"--shape {given} has rank {len(size.shape)}, and what is run takes rank {ranks}; "
                "give as many numbers as a rank that it takes"
            )


def header_of(framework: str, wanted: Wanted, greeting: Hello) -> Header:
    """The first record of a run that a worker with this hello is asked for."""
    return Header(
        format=FORMAT,
        suite=normgauge.__version__,
        framework=framework,
        versions=greeting.versions,
        python=greeting.python,
        platform=greeting.platform,
        numpy=greeting.numpy,
        device=greeting.device,
        dtypes=list(wanted.dtypes),
        implementations=[
            described.id
            for described in greeting.implementations
            if wanted.selects(described) and {*wanted.dtypes} & {*described.dtypes}
        ],
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        budget=wanted.budget.name,
        seed=wanted.seed,
        known=[described.id for described in greeting.implementations],
        catalogue=digests(),
    )
