"""Where implementations run: a worker process behind the line protocol, or this process for debugging."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

import msgspec

import normgauge.adapters
from normgauge.adapters.case import Case, Observation
from normgauge.adapters.registry import adapter_class, registered
from normgauge.adapters.script import script
from normgauge.adapters.worker.main import Adapters, hello
from normgauge.adapters.worker.protocol import PROTOCOL, decode_observation, dump_line, encode_case
from normgauge.conformance.requirements.inputs import SPATIAL
from normgauge.conformance.subjects.line_pipes import Lines
from normgauge.oracle.semantics import LAYER_KINDS

#: Cases sent in one request; the answers come back one by one.
BATCH: Final = 32
#: Of more answers than this several are taken at a time, after so many seconds.
_MANY: Final = 4
_PAUSE: Final = 1e-3
#: What is computed must not depend on the number of cores, and threads that wait for small work cost the most.
ONE_THREAD: Final = {"OMP_NUM_THREADS": "1"}
#: What stands in place of a script that a worker does not write.
NO_SCRIPT: Final = "# this worker writes no scripts\n"
#: How the end of an observation begins that was never made, because the worker had ended too often.
NOT_RUN: Final = "not run"
#: What every hello says (docs/protocol.md).
GREETING: Final = ("framework", "versions", "platform", "device", "dtypes", "implementations")
#: What it says of every implementation.
DESCRIPTION: Final = ("id", "layer", "layout", "names", "documentation", "ranks", "remedies", "signature_defaults")


class CannotRun(Exception):
    """A framework could not be started; the message says why and what helps."""


class Subject(Protocol):
    """Something that runs cases: a framework in a process that was started for ``dtype``."""

    dtype: str
    greeting: Mapping[str, Any]
    restarts: int

    @property
    def given_up(self) -> bool:
        """Whether it ended so often that no more cases are run."""

    def begin(self) -> None:
        """Make ready for another implementation: restarts are counted from here."""

    def run(self, implementation: str, cases: Sequence[Case]) -> Iterator[Observation]:
        """The observation of each case, in order, as they come; the first are on their way when this returns."""

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
            "from normgauge.adapters.worker.main import main; main(*sys.argv[1:])"
        )
        # By its path: what is registered here need not be registered in that interpreter.
        return [self.python, "-c", bootstrap, registered().get(self.framework, self.framework), dtype]


class WorkerProcess:
    """A worker and its restarts.

    A case that kills the worker or outlasts the time limit becomes an observation that says how, and
    the next case meets a new worker; after ``most_restarts`` for one implementation its remaining cases
    are not run.
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
        self._errors.clear()
        self._listener = threading.Thread(target=self._read_errors, args=(self._process,), daemon=True)
        self._listener.start()
        try:
            self.greeting = self._greeted()
        except CannotRun:
            self._kill()
            raise

    def _greeted(self) -> Mapping[str, Any]:
        greeting = self._answer(max(self.launch.time_limit, 120.0))
        if isinstance(greeting, str):
            last = self._last_words()
            raise CannotRun(f"{self.launch.framework}: the worker {greeting} before it said hello{last}")
        if "cannot_import" in greeting:
            raise CannotRun(
                f"{self.launch.framework} is not installed for {self.launch.command('')[0]}: "
                f"{greeting['cannot_import']}; install it there, or name an interpreter that has it with --python"
            )
        if greeting.get("protocol") != PROTOCOL:
            raise CannotRun(
                f"{self.launch.framework}: the worker speaks protocol {greeting.get('protocol')!r}, this is {PROTOCOL}"
            )
        missing = [name for name in GREETING if name not in greeting]
        if missing:
            raise CannotRun(f"{self.launch.framework}: the worker's hello lacks {', '.join(missing)}")
        for kin in _objects(self.launch.framework, greeting.get("kin", [])):
            if not {"id", "layer", "ranks"} <= kin.keys():
                raise CannotRun(f"{self.launch.framework}: the hello's kin lack id, layer or ranks: {kin!r:.80}")
        for described in _objects(self.launch.framework, greeting["implementations"]):
            missing = [name for name in DESCRIPTION if name not in described]
            if missing:
                raise CannotRun(f"{self.launch.framework}: the hello's implementations lack {', '.join(missing)}")
            ranks = described["ranks"]
            if not (isinstance(ranks, list) and ranks and set(ranks) <= set(SPATIAL)):
                raise CannotRun(
                    f"{self.launch.framework}: {described['id']} has ranks {ranks!r}; allowed: some of {list(SPATIAL)}"
                )
            if described["layer"] not in LAYER_KINDS:
                raise CannotRun(
                    f"{self.launch.framework}: {described['id']} is of layer {described['layer']!r}; "
                    f"allowed: {', '.join(LAYER_KINDS)}"
                )
        return greeting

    def _read_errors(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self._errors.append(line.decode(errors="replace").rstrip())

    def _last_words(self) -> str:
        self._listener.join(timeout=1)
        said = [line for line in self._errors if line.strip()]
        return f"; it last said: {said[-1].strip()}" if said else ""

    def _answer(self, time_limit: float) -> dict[str, Any] | str:
        """The next answer, or how the worker ended."""
        deadline = time.monotonic() + time_limit
        ended = False
        while True:
            try:
                pause = _PAUSE if self._due > _MANY else 0.0
                line = self._lines.receive(min(0.5, max(deadline - time.monotonic(), 0.01)), pause)
                break
            except TimeoutError:
                if ended:  # and a child of it keeps the pipe open
                    return _how_it_ended(self._process.returncode)
                ended = self._process.poll() is not None
                if not ended and time.monotonic() >= deadline:
                    self._kill()
                    return f"did not answer within {time_limit:g} s"
        if line is None:
            try:
                return _how_it_ended(self._process.wait(timeout=5))
            except subprocess.TimeoutExpired:
                self._kill()
                return "closed its standard output and went on"
        self._due -= 1
        try:
            answer = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError):
            self._kill()
            return f"answered with a line that is not JSON: {line[:80]!r}"
        return answer if isinstance(answer, dict) else f"answered with {type(answer).__name__}, not an object"

    def begin(self) -> None:
        self.restarts = 0
        if self._process.poll() is not None:  # given up, or could not be started again
            self._start()

    @property
    def given_up(self) -> bool:
        return self.restarts > self.launch.most_restarts

    def run(self, implementation: str, cases: Sequence[Case]) -> Iterator[Observation]:
        unknown = [actions_of(case) - set(self.greeting.get("actions", ())) for case in cases]
        if any(unknown):
            return self._of_those_known(implementation, cases, unknown)
        if cases and not self.given_up:
            self._ask(implementation, cases[:BATCH])
        return self._observations(implementation, cases)

    def _of_those_known(
        self, implementation: str, cases: Sequence[Case], unknown: Sequence[set[str]]
    ) -> Iterator[Observation]:
        answers = self.run(implementation, [case for case, lacking in zip(cases, unknown, strict=True) if not lacking])
        for lacking in unknown:
            if lacking:
                yield Observation(unsupported=f"the worker does not know {', '.join(sorted(lacking))}")
            else:
                yield next(answers)

    def _ask(self, implementation: str, cases: Sequence[Case]) -> None:
        self._due += len(cases)
        encoded = [encode_case(case) for case in cases]
        self._lines.send(dump_line({"op": "run", "implementation": implementation, "cases": encoded}))

    def _observations(self, implementation: str, cases: Sequence[Case]) -> Iterator[Observation]:
        done = 0
        while done < len(cases):
            if self.given_up:
                for _ in cases[done:]:
                    yield Observation(died=f"{NOT_RUN}: the worker had ended {self.restarts} times")
                return
            batch = cases[done : done + BATCH]
            if done:
                self._ask(implementation, batch)
            for number, case in enumerate(batch):
                answer = self._answer(self.launch.time_limit)
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
        answer = self._answer(self.launch.time_limit)
        if isinstance(answer, str):
            self._restart()
            return f"# no script: the worker {answer}\n"
        return str(answer.get("script", NO_SCRIPT))

    def _restart(self) -> None:
        self.restarts += 1
        self._kill()
        if not self.given_up:
            self._start()

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


def actions_of(case: Case) -> set[str]:
    """The names of what is done to the layer between the calls; ``inspect`` where its state is asked for."""
    inspected = {"inspect"} if any(step.inspect for step in case.steps) else set()
    return inspected | {action.name for step in case.steps for action in step.before}


def with_right_shapes(case: Case, observation: Observation) -> Observation:
    """The observation; an output of another shape than its input's ends it as a death would."""
    for number, (step, result) in enumerate(zip(case.steps, observation.steps, strict=False), start=1):
        if result.output.shape != step.x.shape:
            how = f"step {number}: an output of shape {result.output.shape} for an input of shape {step.x.shape}"
            return Observation(died=how, warnings=observation.warnings)
    return observation


def _objects(framework: str, value: Any) -> list[dict[str, Any]]:
    if not (isinstance(value, list) and all(isinstance(one, dict) for one in value)):
        raise CannotRun(f"{framework}: the hello's implementations and kin must be lists of objects, got {value!r:.80}")
    return value


def _observed(answer: Mapping[str, Any], case: Case) -> Observation:
    try:
        seen = decode_observation(answer)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return Observation(died=f"the worker gave a malformed answer: {type(error).__name__}: {error}")
    asked, got = len(case.steps), len(seen.steps)
    if got > asked or (got < asked and seen.raised is None and seen.unsupported is None):
        return Observation(died=f"the worker gave a malformed answer: {got} results for {asked} steps")
    return seen


def _how_it_ended(code: int) -> str:
    if code < 0:
        known = {one.value: one.name for one in signal.Signals}
        return f"was ended by signal {known.get(-code, -code)}"
    return f"exited with code {code}"


class InProcess:
    """The framework in this process: for a debugger. A crash here is a crash of everything."""

    #: What each framework read from the environment when it was imported here; it reads it once.
    _imported: ClassVar[dict[str, Mapping[str, str]]] = {}

    def __init__(self, launch: Launch, dtype: str) -> None:
        self.dtype = dtype
        wanted = adapter_class(launch.framework).environment(dtype)
        if dict(self._imported.setdefault(launch.framework, wanted)) != dict(wanted):
            raise CannotRun(
                f"{launch.framework} reads its environment once a process, and {dtype} needs another: "
                "choose one with --dtype, or leave out --in-process"
            )
        try:
            self._adapters = Adapters(launch.framework, dtype)
        except ImportError as error:
            raise CannotRun(
                f"{launch.framework} is not installed for {sys.executable}: {error}; install it there"
            ) from None
        self.greeting: Mapping[str, Any] = json.loads(dump_line(hello(self._adapters)))
        self.restarts = 0
        self.given_up = False

    def begin(self) -> None:
        pass

    def run(self, implementation: str, cases: Sequence[Case]) -> Iterator[Observation]:
        for case in cases:
            yield self._adapters.of(case.dtype).run(implementation, case)

    def script(self, implementation: str, case: Case, about: str) -> str:
        return script(self._adapters.of(case.dtype), implementation, case, about)

    def close(self) -> None:
        pass
