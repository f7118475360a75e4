"""Tasks in processes of their own, several at a time, with their results in the order of the tasks."""

from __future__ import annotations

import collections
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

Progress = Callable[[str, int, int], None]
#: A generator function of the module level: the task's arguments, then its progress.
Task = Callable[..., Iterator[Any]]


def processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side(task: Task, arguments: Sequence[tuple[Any, ...]], jobs: int, progress: Progress) -> Iterator[Any]:
    """What ``task(*own, progress)`` yields for each of ``arguments``, the first task's first.

    Interrupted, it gives what has arrived of all tasks before it raises.

    Raises:
        ChildProcessError: a process ended without a word. An exception of a task is raised here.
    """
    context = multiprocessing.get_context("spawn")  # a fork would copy open pipes and locks
    waiting = collections.deque(enumerate(arguments))
    running: dict[Connection, tuple[int, Any]] = {}
    arrived: list[collections.deque[Any]] = [collections.deque() for _ in arguments]
    ended: set[int] = set()
    turn = 0
    try:
        while turn < len(arguments):
            while waiting and len(running) < jobs:
                number, own = waiting.popleft()
                here, there = context.Pipe(duplex=False)
                process = context.Process(target=_child, args=(there, task, own), daemon=True)
                process.start()
                there.close()
                running[here] = (number, process)
            while arrived[turn]:
                yield arrived[turn].popleft()
            if turn in ended:
                turn += 1
                continue
            for pipe in wait(list(running)):
                assert isinstance(pipe, Connection)
                number, process = running[pipe]
                if not _received(pipe, process, arrived[number], progress):
                    ended.add(number)
                    del running[pipe]
                    process.join()
    except KeyboardInterrupt:
        for rest in arrived:
            yield from rest
        raise
    finally:
        for _, process in running.values():
            process.terminate()
            process.join()


def _received(pipe: Connection, process: Any, arrived: collections.deque[Any], progress: Progress) -> bool:
    """Take one message; whether there may be more."""
    try:
        kind, content = pipe.recv()
    except EOFError:
        process.join()
        raise ChildProcessError(f"a process that measured ended with code {process.exitcode}") from None
    if kind == "item":
        arrived.append(content)
    elif kind == "progress":
        progress(*content)
    elif kind == "raised":
        raise content
    return bool(kind != "end")


def _child(pipe: Connection, task: Task, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process

    def show(label: str, done: int, total: int) -> None:
        pipe.send(("progress", (label, done, total)))

    try:
        for item in task(*arguments, show):
            pipe.send(("item", item))
        pipe.send(("end", None))
    except BrokenPipeError:
        pass  # nobody listens any more
    except Exception as error:
        pipe.send(("raised", error))
