"""Where implementations run: a worker process behind the line protocol, or this process for debugging."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import normgauge.adapters
from normgauge.adapters.base import Case, Observation
from normgauge.adapters.script import script
from normgauge.adapters.wire import PROTOCOL, decode_observation, dump_line, encode_case
from normgauge.adapters.worker import hello, make_adapter

#: Cases sent in one request; the answers come back one by one.
BATCH: Final = 32


class CannotRun(Exception):
    """A framework could not be started; the message says why and what helps."""


class Subject(Protocol):
    """Something that runs cases: a framework at one dtype."""

    greeting: Mapping[str, Any]
    restarts: int

    def run(self, implementation: str, cases: Sequence[Case]) -> Iterator[Observation]:
        """The observation of each case, in order, as they come."""

    def script(self, implementation: str, case: Case, about: str) -> str: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Launch:
    """How to start a worker: for a known framework in some interpreter, or any program that speaks the protocol."""

    framework: str
    python: str = sys.executable
    program: tuple[str, ...] = ()
    time_limit: float = 60.0
    most_restarts: int = 8
    environment: Mapping[str, str] = field(default_factory=dict)

    def command(self, dtype: str) -> list[str]:
        if self.program:
            return [*self.program, dtype]
        # The worker needs this package's adapters and NumPy, whatever else that interpreter has.
        parent = Path(next(iter(normgauge.adapters.__path__))).parent
        bootstrap = (
            "import sys, types; package = types.ModuleType('normgauge'); "
            f"package.__path__ = [{str(parent)!r}]; sys.modules['normgauge'] = package; "
            "from normgauge.adapters.worker import main; main(*sys.argv[1:])"
        )
        return [self.python, "-c", bootstrap, self.framework, dtype]


class WorkerProcess:
    """A worker and its restarts.

    A case that kills the worker or outlasts the time limit becomes an observation that says how, and
    the next case meets a new worker; after ``most_restarts`` the remaining cases are not run.
    """

    def __init__(self, launch: Launch, dtype: str) -> None:
        self.launch, self.dtype = launch, dtype
        self.restarts = 0
        self.greeting: Mapping[str, Any] = {}
        self._errors: collections.deque[str] = collections.deque(maxlen=20)
        self._start()

    def _start(self) -> None:
        command = self.launch.command(self.dtype)
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, **self.launch.environment},
                start_new_session=True,
            )
        except OSError as error:
            raise CannotRun(f"cannot start {command[0]}: {error.strerror or error}") from None
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._errors.clear()
        self._threads = [
            threading.Thread(target=self._read_answers, args=(self._process, self._lines), daemon=True),
            threading.Thread(target=self._read_errors, args=(self._process,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        greeting = self._answer(max(self.launch.time_limit, 120.0))
        if isinstance(greeting, str):
            last = self._last_words()
            raise CannotRun(f"{self.launch.framework}: the worker {greeting} before it said hello{last}")
        if "cannot_import" in greeting:
            raise CannotRun(
                f"{self.launch.framework} is not installed for {self.launch.python}: {greeting['cannot_import']}"
            )
        if greeting.get("protocol") != PROTOCOL:
            raise CannotRun(
                f"{self.launch.framework}: the worker speaks protocol {greeting.get('protocol')!r}, this is {PROTOCOL}"
            )
        self.greeting = greeting

    @staticmethod
    def _read_answers(process: subprocess.Popen[bytes], lines: queue.Queue[bytes | None]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    def _read_errors(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self._errors.append(line.decode(errors="replace").rstrip())

    def _last_words(self) -> str:
        self._threads[1].join(timeout=1)
        said = [line for line in self._errors if line.strip()]
        return f"; it last said: {said[-1].strip()}" if said else ""

    def _answer(self, time_limit: float) -> dict[str, Any] | str:
        """The next answer, or how the worker ended."""
        try:
            line = self._lines.get(timeout=time_limit)
        except queue.Empty:
            self._kill()
            return f"did not answer within {time_limit:g} s"
        if line is None:
            return _how_it_ended(self._process.wait())
        try:
            answer = json.loads(line)
        except ValueError:
            self._kill()
            return f"answered with a line that is not JSON: {line[:80]!r}"
        return answer if isinstance(answer, dict) else f"answered with {type(answer).__name__}, not an object"

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the worker is gone; reading the answer tells how
            self._process.stdin.write(dump_line(message))
            self._process.stdin.flush()

    def run(self, implementation: str, cases: Sequence[Case]) -> Iterator[Observation]:
        done = 0
        while done < len(cases):
            if self.restarts > self.launch.most_restarts:
                for _ in cases[done:]:
                    yield Observation(died=f"not run: the worker had ended {self.restarts} times")
                return
            batch = cases[done : done + BATCH]
            encoded = [encode_case(case) for case in batch]
            self._send({"op": "run", "implementation": implementation, "cases": encoded})
            for _ in batch:
                answer = self._answer(self.launch.time_limit)
                done += 1
                if isinstance(answer, str):
                    yield Observation(died=f"the worker {answer}{self._last_words()}")
                    self._restart()
                    break
                yield _observed(answer)

    def script(self, implementation: str, case: Case, about: str) -> str:
        message = {
            "op": "script",
            "implementation": implementation,
            "case": encode_case(case),
            "about": about,
        }
        self._send(message)
        answer = self._answer(self.launch.time_limit)
        if isinstance(answer, str):
            self._restart()
            return f"# no script: the worker {answer}\n"
        return str(answer.get("script", "# this worker writes no scripts\n"))

    def _restart(self) -> None:
        self.restarts += 1
        self._kill()
        if self.restarts <= self.launch.most_restarts:
            self._start()

    def _kill(self) -> None:
        """End the worker and everything it started."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def close(self) -> None:
        if self._process.stdin is not None and self._process.poll() is None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=5)
        self._kill()


def _observed(answer: Mapping[str, Any]) -> Observation:
    try:
        return decode_observation(answer)
    except (KeyError, TypeError, ValueError) as error:
        return Observation(died=f"the worker gave a malformed answer: {type(error).__name__}: {error}")


def _how_it_ended(code: int) -> str:
    if code < 0:
        return f"was ended by signal {signal.Signals(-code).name}"
    return f"exited with code {code}"


class InProcess:
    """The framework in this process: for a debugger. A crash here is a crash of everything."""

    def __init__(self, launch: Launch, dtype: str) -> None:
        try:
            self._adapter = make_adapter(launch.framework, dtype)
        except ImportError as error:
            raise CannotRun(f"{launch.framework} is not installed for {sys.executable}: {error}") from None
        self.greeting: Mapping[str, Any] = json.loads(dump_line(hello(self._adapter)))
        self.restarts = 0

    def run(self, implementation: str, cases: Sequence[Case]) -> Iterator[Observation]:
        for case in cases:
            yield self._adapter.run(implementation, case)

    def script(self, implementation: str, case: Case, about: str) -> str:
        return script(self._adapter, implementation, case, about)

    def close(self) -> None:
        pass
