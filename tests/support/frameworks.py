"""The real frameworks for the tests: each is measured at most once in a run of the tests, when a test first needs it.

The tests of one framework run in one process, so a worker or an interpreter that one of them started serves the next.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from normgauge.adapters.case import Case, Observation
from normgauge.adapters.registry import adapter_class
from normgauge.adapters.worker.protocol import case_id
from normgauge.conformance.subjects.conversation import ONE_THREAD
from normgauge.conformance.subjects.subject import Launch
from normgauge.conformance.subjects.worker_process import WorkerProcess
from normgauge.results.file import BrokenResults, read_records
from normgauge.results.records import Counterexample, Explored, Footer, Header, NotRun, Record

#: Framework name to the module that must be installed.
MODULES: Final = {
    "torch": "torch",
    "mlx": "mlx",
    "keras-jax": "keras",
    "keras-torch": "keras",
    "keras-tensorflow": "tensorflow",
    "keras-numpy": "keras",
    "flax": "flax",
}
RUNNER: Final = Path(__file__).with_name("runner.py")


#: What a run says of a dtype that its budget has no time for.
LEFT_OUT: Final = "is left out at the budget"
#: The marks of a test that needs a framework.
NEEDED: Final = (pytest.mark.frameworks, pytest.mark.slow)


def for_each(*frameworks: str) -> pytest.MarkDecorator:
    """Run a test once for each of these frameworks, which is its parameter ``framework``.

    It stands above other parameters: those tests run in one process whose last parameter is the same framework.
    """
    return pytest.mark.parametrize("framework", [pytest.param(one, marks=NEEDED) for one in frameworks])


def normgauge(*words: str) -> str:
    """What the command prints on standard output; it must succeed."""
    command = [sys.executable, "-m", "normgauge.conformance.cli.main", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "160"})
    assert done.returncode == 0, done.stderr
    return done.stdout


def python_of(framework: str) -> str:
    """The interpreter that has the framework; the test is skipped where none has it.

    One for another Python is the interpreter that ``NORMGAUGE_PYTHON_`` and its name in capitals points at.
    """
    elsewhere = os.environ.get(f"NORMGAUGE_PYTHON_{framework.upper()}")
    if elsewhere is None and importlib.util.find_spec(MODULES.get(framework, framework)) is None:
        if framework in MODULES and os.environ.get("NORMGAUGE_REQUIRE_FRAMEWORKS") == "1":
            pytest.fail(f"{framework} is not installed")
        pytest.skip(f"{framework} is not installed; `nox -s tests` installs what runs on its own Python")
    return elsewhere or sys.executable


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait until no other process is in this block with the same path."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class ResultFiles:
    """The result file of each framework, in a folder that all test processes share.

    One that was ``measured`` already is taken: a complete one in that folder, of the releases that are tested. Who
    names the folder answers for the code: `nox -s tests` puts there what the code that is tested has written. What
    is not there, the first test that asks for it measures. ``environment`` tells a framework's releases.

    Whatever the budget was, the file is the same: without exploration, which has tests of its own, and with every
    dtype; those that the budget left out are measured.
    """

    def __init__(self, folder: Path, environment: Callable[[str], Mapping[str, Any]], measured: Path | None) -> None:
        self._folder, self._environment, self._measured = folder, environment, measured

    def __call__(self, framework: str) -> Path:
        python_of(framework)
        path, failed = (self._folder / f"{framework}.{ending}" for ending in ("jsonl", "failed"))
        with locked(self._folder / f"{framework}.lock"):
            assert not failed.exists(), failed.read_text()
            if not path.exists():
                failed.write_text(f"{framework} was measured for another test, which failed with the reason")
                self._make(framework, path)
                failed.unlink()
        return path

    def _make(self, framework: str, path: Path) -> None:
        taken = self._taken(framework)
        if not taken:
            normgauge("run", framework, "--budget", "none", "--out", str(self._folder))
            return
        left_out = [one.dtype for one, _ in taken if isinstance(one, NotRun) and LEFT_OUT in one.reason and one.dtype]
        lines = [line for one, line in taken if not isinstance(one, NotRun) or LEFT_OUT not in one.reason]
        if left_out:
            rest = self._folder / "left out"
            dtypes = (word for dtype in left_out for word in ("--dtype", dtype))
            normgauge("run", framework, "--budget", "none", *dtypes, "--out", str(rest))
            lines[-1:] = (rest / path.name).read_bytes().splitlines(keepends=True)[1:]
        path.write_bytes(b"".join(lines))

    def _taken(self, framework: str) -> list[tuple[Record, bytes]]:
        """What was measured already, without exploration, with its lines; nothing where that was something else."""
        if self._measured is None or not (path := self._measured / f"{framework}.jsonl").exists():
            return []
        try:
            records = read_records(path)
        except BrokenResults:
            return []
        header = records[0]
        if not isinstance(header, Header) or not isinstance(records[-1], Footer):
            return []
        if any(getattr(header, name) != value for name, value in self._environment(framework).items()):
            return []
        lines = zip(records, path.read_bytes().splitlines(keepends=True), strict=True)
        return [(one, line) for one, line in lines if not isinstance(one, Explored | Counterexample)]


@functools.lru_cache(maxsize=1)
def records_in(path: Path) -> list[Record]:
    """What a result file holds; tests of one framework come one after the other."""
    return read_records(path)


class Interpreter:
    """An interpreter that runs one script after the other, each in a namespace of its own (runner.py).

    What the framework compiles it shares with the framework's workers.
    """

    def __init__(self, framework: str, python: str) -> None:
        self._process = subprocess.Popen(
            [python, str(RUNNER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **ONE_THREAD, **adapter_class(framework).caching()},
        )

    def printed(self, script: str) -> str:
        """What the script writes to standard output."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(script) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or "{}")
        assert answer, f"the interpreter ended with code {self._process.wait()}"
        assert answer["raised"] is None, answer["raised"]
        return str(answer["printed"])

    def close(self) -> None:
        self._process.communicate()


def printed_alone(python: str, script: str) -> str:
    """What the script writes to standard output in a process of its own, as a user runs it."""
    environment = {**os.environ, **ONE_THREAD}
    command = [python, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def head_of(script: str) -> str:
    """The part of a script, after its docstring, that sets the environment and imports."""
    return script.split('"""')[2].strip().partition("\n\n\n")[0]


class Processes:
    """The processes of one framework, started when they are needed: its workers, and those that run its scripts."""

    def __init__(self, framework: str) -> None:
        self.framework, self.python = framework, python_of(framework)
        self._workers: list[WorkerProcess] = []
        self._interpreters: dict[bool, Interpreter] = {}
        self._heads: set[str] = set()
        self._seen: dict[tuple[str, str], Observation] = {}

    def worker(self, dtype: str) -> WorkerProcess:
        for started in self._workers:
            if dtype in started.greeting.serves:
                return started
        self._workers.append(WorkerProcess(Launch(framework=self.framework, python=self.python), dtype))
        return self._workers[-1]

    def environment(self) -> dict[str, Any]:
        """What a worker says of the releases and the machine it runs on, in the words of a result file's header."""
        said = self.worker("float32").greeting
        return {name: getattr(said, name) for name in ("versions", "python", "numpy", "platform", "device")}

    def observation(self, identifier: str, case: Case) -> Observation:
        """What came out of a case, which is run once."""
        key = identifier, case_id(case)
        if key not in self._seen:
            (self._seen[key],) = self.worker(case.dtype).run(identifier, [case])
        return self._seen[key]

    def printed(self, script: str, dtype: str) -> list[str]:
        """The lines that a script for this dtype prints.

        The first script with its environment and imports runs alone, as a user runs it. The next ones with the same
        run one after the other in one process, which has nothing else imported or set. float64 has a process apart,
        for which some frameworks are set up otherwise.
        """
        head, double = head_of(script), dtype == "float64"
        if head not in self._heads:
            self._heads.add(head)
            return printed_alone(self.python, script).splitlines()
        if double not in self._interpreters:
            self._interpreters[double] = Interpreter(self.framework, self.python)
        return self._interpreters[double].printed(script).splitlines()

    def close(self) -> None:
        started: list[WorkerProcess | Interpreter] = [*self._workers, *self._interpreters.values()]
        for process in started:
            process.close()


class Frameworks:
    """The processes of a framework, until another framework is asked for."""

    def __init__(self) -> None:
        self._current: Processes | None = None

    def __call__(self, framework: str) -> Processes:
        if self._current is None or self._current.framework != framework:
            self.close()
            self._current = Processes(framework)
        return self._current

    def close(self) -> None:
        if self._current is not None:
            self._current.close()
            self._current = None
