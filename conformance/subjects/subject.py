"""What runs cases, and how it is started. The room's other modules are the two that exist."""

from __future__ import annotations

import ast
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import normgauge.adapters
from normgauge.adapters.case import Case, Element, Observation
from normgauge.adapters.debug import DEBUG
from normgauge.adapters.lacks import Lack, actions_in, lacking
from normgauge.adapters.registry import registered
from normgauge.conformance.subjects.messages import Hello

#: What stands in place of a script that a worker does not write.
NO_SCRIPT: Final = "# this worker writes no scripts\n"


def as_python(script: str) -> str:
    """``script`` where it is Python, else its lines as comments: lines of Python are appended to it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(script)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # A line ends wherever one does for Python, and what is no letter of a source file would end the file.
        lines = script.replace("\0", " ").replace("\f", " ").splitlines()
        return "".join(f"# {line}\n" for line in ("this worker's script is not Python:", *lines))
    return script if script.endswith("\n") else f"{script}\n"


class CannotRun(Exception):
    """A framework could not be started; the message says why and what helps."""


class Subject(Protocol):
    """Something that runs cases: a framework in a process that was started for ``dtype``."""

    dtype: str
    greeting: Hello
    restarts: int

    @property
    def given_up(self) -> bool:
        """Whether it ended so often that no more cases are run."""

    def begin(self) -> None:
        """Make ready for another implementation: restarts are counted from here."""

    def run(self, implementation: str, cases: Sequence[Case]) -> Iterator[Observation]:
        """The observation of each case, in order, as they come; the first are on their way when this returns."""

    def script(self, implementation: str, case: Case, about: str, element: Element | None = None) -> str:
        """The case as a program; of a large array it prints the ``element``, too."""

    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Target:
    """An implementation where it runs; ``ranks`` are those of its inputs."""

    subject: Subject
    implementation: str
    ranks: Sequence[int]

    def run(self, case: Case) -> Observation:
        (seen,) = self.subject.run(self.implementation, [case])
        return seen


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How to start a worker: for a known framework in some interpreter, or any program that speaks the protocol.

    It has ``time_limit`` seconds for each answer and ``hello_limit`` seconds to say hello. With ``debug`` our worker
    writes the tracebacks of an adapter, and whatever a worker writes to standard error is shown on the host's.
    """

    framework: str
    python: str = sys.executable
    program: tuple[str, ...] = ()
    time_limit: float = 60.0
    hello_limit: float = 120.0
    most_restarts: int = 8
    environment: Mapping[str, str] = field(default_factory=dict)
    debug: bool = False

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables of the worker, beside those of this process."""
        return {**self.environment, **({DEBUG: "1"} if self.debug else {})}

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


def words_of(command: str) -> tuple[str, ...]:
    """The words of a command, as a shell splits them.

    Raises:
        ValueError: it has none, or a quotation without an end.
    """
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise ValueError(f"{command!r} is not a command: {error}") from None
    if not words:
        raise ValueError("needs a command, such as 'node worker.mjs'")
    return words


def not_asked(greeting: Hello, lacks: Sequence[Lack], case: Case) -> str | None:
    """Why a layer cannot be asked this case, as far as the hello declares it; None where it can."""
    unknown = actions_in(case) - set(greeting.actions)
    return f"the worker does not know {', '.join(sorted(unknown))}" if unknown else lacking(lacks, case)


def asked_of(
    cases: Sequence[Case],
    absent: Callable[[Case], str | None],
    run: Callable[[Sequence[Case]], Iterator[Observation]],
) -> Iterator[Observation]:
    """The observations of ``cases``, of which ``run`` is given those alone that are not ``absent`` for a reason."""
    reasons = [absent(case) for case in cases]
    if not any(reasons):
        return run(cases)
    answers = run([case for case, why in zip(cases, reasons, strict=True) if why is None])
    return (next(answers) if why is None else Observation(unsupported=why) for why in reasons)


def with_right_shapes(case: Case, observation: Observation) -> Observation:
    """The observation; an output of another shape than its input's ends it as a death would."""
    for number, (step, result) in enumerate(zip(case.steps, observation.steps, strict=False), start=1):
        if result.output.shape != step.x.shape:
            how = f"step {number}: an output of shape {result.output.shape} for an input of shape {step.x.shape}"
            return Observation(died=how, warnings=observation.warnings)
    return observation
