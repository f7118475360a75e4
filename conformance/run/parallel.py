"""Where the tasks of a run are done: in this process one after the other, or in several processes at a time.

A task is one implementation at one dtype. Its records do not depend on where and when it is done, and come in the order
of the tasks. A lane has one worker at a time, which serves every dtype that it can.
"""

from __future__ import annotations

import collections
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Final, Protocol

from normgauge.conformance.diagnosis.reference_store import default_store
from normgauge.conformance.diagnosis.references import References
from normgauge.conformance.subjects.messages import Description, Hello
from normgauge.conformance.subjects.subject import CannotRun, Launch, Subject
from normgauge.conformance.subjects.worker_process import WorkerProcess

Progress = Callable[[str, int, int], None]
#: Seconds between two words of a lane on how far it is.
_PAUSE: Final = 0.1
#: Seconds in which a lane must end with its worker.
_TO_END: Final = 8.0


@dataclass(frozen=True, kw_only=True)
class Task:
    """An implementation, as its worker describes it, at one dtype."""

    number: int
    description: Description
    dtype: str


@dataclass(frozen=True, kw_only=True)
class CannotStart:
    """No worker could be started for a dtype: none of its tasks can be done."""

    reason: str


class Measure(Protocol):
    """What is done for a task: a function of the module level, so that a process can be told of it."""

    def __call__(
        self, subject: Subject, task: Task, references: References, progress: Progress, /
    ) -> Iterator[Any]: ...


class Lane:
    """A worker, the references that it is held to, and the tasks that are done with them, one after the other.

    ``kind`` starts it, or what runs cases in its place, for a dtype.
    """

    def __init__(self, launch: Launch, kind: Callable[[Launch, str], Subject] = WorkerProcess) -> None:
        self._launch, self._kind = launch, kind
        self._subject: Subject | None = None
        self._references: References | None = None
        self._failed: dict[str, str] = {}

    @property
    def greeting(self) -> Hello:
        """What the worker said that was started last."""
        assert self._subject is not None
        return self._subject.greeting

    def start(self, dtype: str) -> Subject:
        """A subject for ``dtype``: the one that is there if it serves that, too, else a new one in its place.

        Raises:
            CannotRun: it could not be started.
        """
        if self._subject is not None and dtype in self._subject.greeting.serves:
            return self._subject
        if dtype in self._failed:
            raise CannotRun(self._failed[dtype])
        if self._subject is not None:
            self._subject.close()
            self._subject = None
        try:
            self._subject = self._kind(self._launch, dtype)
        except CannotRun as error:
            self._failed[dtype] = str(error)
            raise
        return self._subject

    def do(self, task: Task, measure: Measure, progress: Progress) -> Iterator[Any]:
        """What ``measure`` yields, or why there is nothing."""
        try:
            subject = self.start(task.dtype)
        except CannotRun as error:
            yield CannotStart(reason=str(error))
            return
        if self._references is None:
            self._references = References(default_store())
        yield from measure(subject, task, self._references, progress)
        self._references.flush()

    def close(self) -> None:
        if self._subject is not None:
            self._subject.close()
            self._subject = None
        if self._references is not None:
            self._references.close()
            self._references = None


def processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Lanes:
    """Lanes in processes of their own, ``count`` of them: each starts its worker while the others do theirs.

    Raises:
        CannotRun: no worker could be started for the first of ``dtypes``.
        ChildProcessError: a process ended without a word.
    """

    def __init__(self, launch: Launch, dtypes: Sequence[str], count: int) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy open pipes and locks
        self._processes: dict[Connection, Any] = {}
        self._serves: dict[Connection, tuple[str, ...]] = {}
        self._last: dict[Connection, Task] = {}
        #: Those that have a task, or start their worker.
        self._busy: set[Connection] = set()
        try:
            for number in range(count):
                here, there = context.Pipe()
                process = context.Process(target=_run_lane, args=(there, launch, dtypes[number % len(dtypes)]))
                process.daemon = True
                process.start()
                there.close()
                self._processes[here] = process
            self._busy.update(self._processes)
            first = next(iter(self._processes))
            kind, content = self._received(first)
            if kind != "greeting":
                raise CannotRun(str(content))
            self.greeting: Hello = content
            self._serves[first] = self.greeting.serves
            self._busy.remove(first)
        except BaseException:
            self.close()
            raise

    def do(self, tasks: Sequence[Task], measure: Measure, progress: Progress) -> Iterator[tuple[Task, Any]]:
        """Every task with each thing that ``measure`` yields for it, the first task's first.

        Interrupted, it gives what has arrived of all tasks before it raises. An exception of a task is raised here.
        """
        waiting = list(tasks)
        arrived: dict[int, collections.deque[Any]] = {task.number: collections.deque() for task in tasks}
        ended: set[int] = set()
        try:
            for task in tasks:
                while True:
                    self._hand_out(waiting, measure)
                    while arrived[task.number]:
                        yield task, arrived[task.number].popleft()
                    if task.number in ended:
                        break
                    self._hear(arrived, ended, progress)
        except KeyboardInterrupt:
            for task in tasks:
                yield from ((task, item) for item in arrived[task.number])
            raise

    def _hand_out(self, waiting: list[Task], measure: Measure) -> None:
        """Give a task to every lane that has none, as long as there are any."""
        for lane in [one for one in self._processes if one not in self._busy][: len(waiting)]:
            task = self._chosen(waiting, lane)
            waiting.remove(task)
            self._last[lane] = task
            self._busy.add(lane)
            lane.send((task, measure))

    def _hear(self, arrived: Mapping[int, collections.deque[Any]], ended: set[int], progress: Progress) -> None:
        """Wait for a word of a lane that is at work, and take one of each that has something to say."""
        for lane in wait(list(self._busy)):
            assert isinstance(lane, Connection)
            kind, content = self._received(lane)
            if kind == "item":
                arrived[self._last[lane].number].append(content)
            elif kind == "progress":
                progress(*content)
            else:
                self._busy.remove(lane)
            if kind == "greeting":
                self._serves[lane] = content.serves
            elif kind == "done":
                ended.add(self._last[lane].number)

    def _chosen(self, waiting: Sequence[Task], lane: Connection) -> Task:
        """The next task for a lane: one that its worker serves, of its own family, or else of no other lane's."""
        serves, last = self._serves.get(lane, ()), self._last.get(lane)
        elsewhere = [_family(task) for other, task in self._last.items() if other is not lane]
        left = collections.Counter(_family(task) for task in waiting)

        def rank(task: Task) -> tuple[bool, bool, bool, int]:
            family = _family(task)
            own = last is not None and family == _family(last)
            return task.dtype not in serves, not own, family in elsewhere, -left[family]

        return min(waiting, key=rank)

    def _received(self, lane: Connection) -> tuple[str, Any]:
        try:
            kind, content = lane.recv()
        except EOFError:
            process = self._processes[lane]
            process.join()
            raise ChildProcessError(f"a process that measured ended with code {process.exitcode}") from None
        if kind == "raised":
            raise content
        return kind, content

    def close(self) -> None:
        for lane, process in self._processes.items():
            with contextlib.suppress(OSError):
                lane.close()
            process.terminate()
        for process in self._processes.values():
            process.join(_TO_END)
            process.kill()  # where it is still there; its worker ends with it all the same
            process.join()
        self._processes.clear()


def _family(task: Task) -> tuple[str, str]:
    """Tasks that are held to the same references."""
    return task.description.layer, task.dtype


def _end_with_parent() -> None:
    """End this process when the one that started it has ended, however that was."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _run_lane(pipe: Connection, launch: Launch, dtype: str) -> None:
    _end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and its worker with it
    lane = Lane(launch)
    shown = 0.0

    def show(label: str, done: int, total: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown >= _PAUSE:
            shown = now
            pipe.send(("progress", (label, done, total)))

    try:
        try:
            pipe.send(("greeting", lane.start(dtype).greeting))
        except CannotRun as error:
            pipe.send(("cannot", str(error)))
        while True:
            task, measure = pipe.recv()
            for item in lane.do(task, measure, show):
                pipe.send(("item", item))
            pipe.send(("done", None))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # nobody listens any more
    except Exception as error:
        with contextlib.suppress(OSError):
            pipe.send(("raised", error))
    finally:
        lane.close()
