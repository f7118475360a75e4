"""A framework in a worker process, behind the line protocol (docs/protocol.md)."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from normgauge.adapters.case import Case, Observation
from normgauge.adapters.worker.protocol import dump_line, encode_case
from normgauge.conformance.layers.registry import layer_kinds
from normgauge.conformance.subjects.line_pipes import Lines, LineTooLong
from normgauge.conformance.subjects.messages import Answer, Hello, ScriptAnswer, hello_of
from normgauge.conformance.subjects.subject import NO_SCRIPT, CannotRun, Launch, asked_of

#: Cases sent in one request; the answers come back one by one.
BATCH: Final = 32
#: With more than ``_MANY`` answers to come, several are read together, every ``_PAUSE`` seconds.
_MANY: Final = 4
_PAUSE: Final = 1e-3
#: What is computed must not depend on the number of cores, and threads that wait for small work cost the most.
ONE_THREAD: Final = {"OMP_NUM_THREADS": "1"}
#: Bytes that a hello may have; most of it is documentation.
_LONGEST_HELLO: Final = 2**24
#: Bytes of an answer's texts, and of everything that it says of one value of the case.
_TEXTS: Final = 2**20
_A_VALUE: Final = 64
#: Bytes of standard error that are kept, how many are read at a time, and how many characters are quoted.
_KEPT: Final = 2**14
_CHUNK: Final = 2**16
_QUOTED: Final = 1000


class WorkerProcess:
    """A worker and its restarts.

    A case that kills the worker or outlasts the time limit becomes an observation that says how, and
    the next case meets a new worker; after ``most_restarts`` for one implementation its remaining cases
    are not run.
    """

    def __init__(self, launch: Launch, dtype: str) -> None:
        self.launch, self.dtype = launch, dtype
        self.restarts = 0
        self._errors = b""
        self.greeting = self._start()

    def _start(self) -> Hello:
        command = self.launch.command(self.dtype)
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**ONE_THREAD, **os.environ, **self.launch.environment},
                start_new_session=True,
            )
        except OSError as error:
            raise CannotRun(f"cannot start {command[0]}: {error.strerror or error}") from None
        self._released = False
        self._due = 1  # the hello
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._lines = Lines(self._process.stdin, self._process.stdout)
        self._errors = b""
        self._listener = threading.Thread(target=self._read_errors, args=(self._process,), daemon=True)
        self._listener.start()
        try:
            return self._greeted()
        except CannotRun:
            self._kill()
            raise

    def _greeted(self) -> Hello:
        framework = self.launch.framework
        greeting = self._answer(max(self.launch.time_limit, 120.0), _LONGEST_HELLO)
        if isinstance(greeting, str):
            raise CannotRun(f"{framework}: the worker {greeting} before it said hello{self._last_words()}")
        if "cannot_import" in greeting:
            raise CannotRun(
                f"{framework} is not installed for {self.launch.command('')[0]}: "
                f"{greeting['cannot_import']}; install it there, or name an interpreter that has it with --python"
            )
        try:
            hello = hello_of(greeting, self.dtype)
        except ValueError as error:
            raise CannotRun(f"{framework}: {error}") from None
        for described in hello.implementations:
            if described.layer not in layer_kinds():
                raise CannotRun(
                    f"{framework}: {described.id} is of layer {described.layer!r}; allowed: {', '.join(layer_kinds())}"
                )
        return hello

    def _read_errors(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        while chunk := os.read(process.stderr.fileno(), _CHUNK):
            self._errors = (self._errors + chunk)[-_KEPT:]

    def _last_words(self) -> str:
        self._listener.join(timeout=1)
        said = [line.strip() for line in self._errors.decode(errors="replace").splitlines() if line.strip()]
        return f"; it last said: {said[-1][-_QUOTED:]}" if said else ""

    def _answer(self, time_limit: float, longest: int) -> dict[str, Any] | str:
        """The next answer, of at most ``longest`` bytes, or how the worker ended."""
        line = self._line(time_limit, longest)
        if isinstance(line, str):
            return line
        self._due -= 1
        try:
            answer = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError):
            self._kill()
            return f"answered with a line that is not JSON: {line[:80]!r}"
        return answer if isinstance(answer, dict) else f"answered with {type(answer).__name__}, not an object"

    def _line(self, time_limit: float, longest: int) -> bytes | str:
        """The next line, or how the worker ended."""
        deadline = time.monotonic() + time_limit
        ended = False
        while True:
            try:
                pause = _PAUSE if self._due > _MANY else 0.0
                line = self._lines.receive(min(0.5, max(deadline - time.monotonic(), 0.01)), longest, pause)
                break
            except LineTooLong:
                self._kill()
                return f"wrote a line of more than {longest:,} bytes"
            except TimeoutError:
                if ended:  # and a child of it keeps the pipe open
                    return _how_it_ended(self._process.returncode)
                ended = self._process.poll() is not None
                if not ended and time.monotonic() >= deadline:
                    self._kill()
                    return f"did not answer within {time_limit:g} s"
        return self._closed() if line is None else line

    def _closed(self) -> str:
        """How a worker ended that has closed its standard output."""
        try:
            return _how_it_ended(self._process.wait(timeout=5))
        except subprocess.TimeoutExpired:
            self._kill()
            return "closed its standard output and went on"

    def begin(self) -> None:
        self.restarts = 0
        if self._process.poll() is not None:  # given up, or could not be started again
            self.greeting = self._start()

    @property
    def given_up(self) -> bool:
        return self.restarts > self.launch.most_restarts

    def run(self, implementation: str, cases: Sequence[Case]) -> Iterator[Observation]:
        return asked_of(self.greeting, implementation, cases, functools.partial(self._run, implementation))

    def _run(self, implementation: str, cases: Sequence[Case]) -> Iterator[Observation]:
        if cases and not self.given_up:
            self._ask(implementation, cases[:BATCH])
        return self._observations(implementation, cases)

    def _ask(self, implementation: str, cases: Sequence[Case]) -> None:
        self._due += len(cases)
        encoded = [encode_case(case) for case in cases]
        self._lines.send(dump_line({"op": "run", "implementation": implementation, "cases": encoded}))

    def _observations(self, implementation: str, cases: Sequence[Case]) -> Iterator[Observation]:
        done = 0
        while done < len(cases):
            if self.given_up:
                for _ in cases[done:]:
                    yield Observation(died=f"not run: the worker had ended {self.restarts} times", asked=False)
                return
            batch = cases[done : done + BATCH]
            if done:
                self._ask(implementation, batch)
            for number, case in enumerate(batch):
                answer = self._answer(self.launch.time_limit, longest_answer(case))
                done += 1
                if isinstance(answer, dict) and answer.get("number") != number:
                    answer = f"answered case {answer.get('number')!r} where {number} was due"
                if isinstance(answer, str):
                    seen = Observation(died=f"the worker {answer}{self._last_words()}")
                    self._restart()  # before the answer is given: nobody may ask for the next one
                    yield seen
                    break
                yield _observed(answer, case)

    def script(self, implementation: str, case: Case, about: str) -> str:
        if self.given_up:
            return f"# no script: the worker had ended {self.restarts} times\n"
        message = {
            "op": "script",
            "implementation": implementation,
            "case": encode_case(case),
            "about": about,
        }
        self._due += 1
        self._lines.send(dump_line(message))
        answer = self._answer(self.launch.time_limit, longest_answer(case))
        if isinstance(answer, str):
            self._restart()
            return f"# no script: the worker {answer}\n"
        try:
            return msgspec.convert(answer, ScriptAnswer).script or NO_SCRIPT
        except msgspec.ValidationError as error:
            return f"# no script: the worker gave a malformed answer: {error}\n"

    def _restart(self) -> None:
        self.restarts += 1
        self._kill()
        if not self.given_up:
            self.greeting = self._start()

    def _kill(self) -> None:
        """End the worker and everything it started, and let go of its pipes."""
        if self._released:  # its number may be another process's by now
            return
        self._released = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._lines.close()
        self._listener.join(timeout=1)
        # A thread still at work has a grandchild at the other end; closing under it would block.
        if self._process.stderr is not None and not self._listener.is_alive():
            self._process.stderr.close()

    def close(self) -> None:
        """End the worker: at once where it owes an answer that nobody waits for, else as it likes to end."""
        if self._process.poll() is None and not self._due:
            with contextlib.suppress(BrokenPipeError):
                self._lines.close_requests()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=5)
        self._kill()


def longest_answer(case: Case) -> int:
    """How many bytes an answer to ``case`` may have: several float64 arrays of its size in base64, and texts."""
    channels = int(case.settings.get("num_channels", 0))
    values = sum(int(step.x.size) + channels for step in case.steps)
    return _TEXTS + _A_VALUE * values


def _observed(answer: dict[str, Any], case: Case) -> Observation:
    try:
        seen = msgspec.convert(answer, Answer).observation()
    except ValueError as error:  # msgspec's own errors are such, too
        return Observation(died=f"the worker gave a malformed answer: {error}")
    asked, got = len(case.steps), len(seen.steps)
    if got > asked or (got < asked and seen.raised is None):
        return Observation(died=f"the worker gave a malformed answer: {got} results for {asked} steps")
    return seen


def _how_it_ended(code: int) -> str:
    if code < 0:
        known = {one.value: one.name for one in signal.Signals}
        return f"was ended by signal {known.get(-code, -code)}"
    return f"exited with code {code}"
