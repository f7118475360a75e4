"""A framework in a worker process, behind the line protocol (docs/protocol.md)."""

from __future__ import annotations

import collections
import functools
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

from normgauge.adapters.case import Case, Element, Observation
from normgauge.adapters.worker.protocol import dump_line, encode_case, encode_element
from normgauge.conformance.layers.registry import layer_kinds
from normgauge.conformance.subjects.conversation import QUOTED, Conversation, Ended, in_one_line
from normgauge.conformance.subjects.messages import (
    Answer,
    Hello,
    Nonsense,
    ScriptAnswer,
    answer_of,
    hello_in,
    lacks_of,
)
from normgauge.conformance.subjects.subject import NO_SCRIPT, CannotRun, Launch, as_python, asked_of, not_asked

#: Cases sent in one request; the answers come back one by one.
BATCH: Final = 32
#: With more than ``_MANY`` answers to come, several are read together, every ``_PAUSE`` seconds.
_MANY: Final = 4
_PAUSE: Final = 1e-3
#: Bytes that a hello may have; most of it is documentation.
LONGEST_HELLO: Final = 2**22
#: Seconds that a worker gets to exit when its standard input has ended.
TO_EXIT: Final = 5.0
#: Bytes of an answer's texts, and of everything that it says of one value of the case.
_TEXTS: Final = 2**20
_A_VALUE: Final = 64
#: Bytes of a case beside its values: of the case itself, and of each array.
_A_CASE: Final = 2**12
_AN_ARRAY: Final = 2**9

_Kind = TypeVar("_Kind", Answer, ScriptAnswer)


class WorkerProcess:
    """A worker and its restarts.

    A case that kills the worker or outlasts the time limit becomes an observation that says how, and
    the next case meets a new worker; after ``most_restarts`` for one implementation its remaining cases
    are not run.
    """

    def __init__(self, launch: Launch, dtype: str) -> None:
        self.launch, self.dtype = launch, dtype
        self.restarts = 0
        self._last_number = 0  # none is used again, by no worker that follows either
        self.greeting = self._start()

    def _start(self) -> Hello:
        command = self.launch.command(self.dtype)
        try:
            self._talk = Conversation(command, self.launch.variables, echo=self.launch.debug)
        except OSError as error:
            raise CannotRun(f"cannot start {command[0]}: {error.strerror or error}") from None
        #: The numbers of the answers that are due, in order.
        self._due: collections.deque[int] = collections.deque()
        #: What the worker did unasked.
        self._unasked: str | None = None
        try:
            return self._greeted()
        except BaseException:
            self._talk.end()
            raise

    def _greeted(self) -> Hello:
        framework = self.launch.framework
        try:
            hello = hello_in(self._talk.line(self.launch.hello_limit, LONGEST_HELLO), self.dtype)
        except (Ended, Nonsense) as error:
            raise CannotRun(f"{framework}: the worker {error} before it said hello{self._talk.last_words()}") from None
        except ImportError as error:
            raise CannotRun(
                f"{framework} is not installed for {self.launch.command('')[0]}: "
                f"{in_one_line(str(error))}; install it there, or name an interpreter that has it with --python"
            ) from None
        except ValueError as error:
            raise CannotRun(f"{framework}: {error}") from None
        for described in hello.implementations:
            if described.layer not in layer_kinds():
                raise CannotRun(
                    f"{framework}: {in_one_line(described.id)[:QUOTED]} is of layer {described.layer[:QUOTED]!r}; "
                    f"allowed: {', '.join(layer_kinds())}"
                )
        return hello

    def _answer(self, kind: type[_Kind], case: Case) -> _Kind:
        """The answer that is due next, which is about ``case``.

        Raises:
            Ended: there is none, or more than one was written.
            Nonsense: it is none.
            ValueError: it is malformed.
        """
        if self._unasked is not None:
            raise Ended(self._unasked)
        longest = min(longest_answer(case), self.greeting.longest_line)
        line = self._talk.line(self.launch.time_limit, longest, _PAUSE if len(self._due) > _MANY else 0.0)
        answer = answer_of(line, kind, self._due.popleft())
        if self._wrote_unasked():
            raise Ended(self._unasked)
        return answer

    def _wrote_unasked(self) -> bool:
        """Whether the worker has written something though no answer is due."""
        if not self._due and (written := self._talk.unread()):
            self._unasked = f"wrote what nobody had asked for: {written[:80]!r}"
        return self._unasked is not None

    def begin(self) -> None:
        self.restarts = 0
        if not self._talk.runs():  # given up, or could not be started again
            self.greeting = self._start()

    @property
    def given_up(self) -> bool:
        return self.restarts > self.launch.most_restarts

    def run(self, implementation: str, cases: Sequence[Case]) -> Iterator[Observation]:
        lacks = lacks_of(self.greeting, implementation)

        def absent(case: Case) -> str | None:
            if (length := longest_request(case)) > self.greeting.longest_line:
                return f"the worker takes lines of {self.greeting.longest_line:,} bytes, the case may have {length:,}"
            return not_asked(self.greeting, lacks, case)

        return asked_of(cases, absent, functools.partial(self._run, implementation))

    def _run(self, implementation: str, cases: Sequence[Case]) -> Iterator[Observation]:
        batch = self._ask(implementation, cases) if cases and not self.given_up else ()
        return self._observations(implementation, cases, batch)

    def _ask(self, implementation: str, cases: Sequence[Case]) -> Sequence[Case]:
        """Send as many of the first cases as one request may have; those that were sent."""
        count, length = 1, longest_request(cases[0])
        for case in cases[1:BATCH]:
            length += longest_request(case)
            if length > self.greeting.longest_line:
                break
            count += 1
        encoded = [{"number": self._next_number(), **encode_case(case)} for case in cases[:count]]
        self._send(
            {"op": "run", "implementation": implementation, "cases": encoded}, [one["number"] for one in encoded]
        )
        return cases[:count]

    def _next_number(self) -> int:
        self._last_number += 1
        return self._last_number

    def _send(self, request: dict[str, Any], numbers: Sequence[int]) -> None:
        """Send a request with these numbers; not to a worker that has written unasked, which is told later."""
        if not self._wrote_unasked():
            self._talk.send(dump_line(request))
        self._due.extend(numbers)

    def _observations(self, implementation: str, cases: Sequence[Case], batch: Sequence[Case]) -> Iterator[Observation]:
        done = 0
        while done < len(cases):
            if self.given_up:
                for _ in cases[done:]:
                    yield Observation(died=f"not run: the worker had ended {self.restarts} times", asked=False)
                return
            for case in batch or self._ask(implementation, cases[done:]):
                done += 1
                try:
                    seen = _observed(self._answer(Answer, case), case)
                except ValueError as error:  # msgspec's own errors are such, too
                    seen = Observation(died=f"the worker gave a malformed answer: {error}")
                except (Ended, Nonsense) as error:
                    seen = Observation(died=f"the worker {error}{self._talk.last_words()}")
                    self._restart()  # before the answer is given: nobody may ask for the next one
                    yield seen
                    break
                yield seen
            batch = ()

    def script(self, implementation: str, case: Case, about: str, element: Element | None = None) -> str:
        if self.given_up:
            return f"# no script: the worker had ended {self.restarts} times\n"
        number = self._next_number()
        message = {
            "op": "script",
            "number": number,
            "implementation": implementation,
            "case": encode_case(case),
            "about": about,
            **encode_element(element),
        }
        self._send(message, [number])
        try:
            written = self._answer(ScriptAnswer, case).script
            return as_python(written) if written else NO_SCRIPT
        except ValueError as error:
            return f"# no script: the worker gave a malformed answer: {error}\n"
        except (Ended, Nonsense) as error:
            self._restart()
            return f"# no script: the worker {error}\n"

    def _restart(self) -> None:
        self.restarts += 1
        self._talk.end()
        if not self.given_up:
            self.greeting = self._start()

    def close(self) -> None:
        """End the worker: at once where it owes an answer that nobody waits for, else as it likes to end."""
        if self._talk.runs() and not self._due:
            if self._wrote_unasked():
                print(f"{self.launch.framework}: the worker {self._unasked}", file=sys.stderr)
            self._talk.close(TO_EXIT)
        self._talk.end()


def longest_request(case: Case) -> int:
    """How many bytes ``case`` may have in a request."""
    arrays = [one for step in case.steps for one in (step.x, step.dy) if one is not None]
    arrays += [value for _, value in case.parameter_arrays()]
    return _A_CASE + sum(_AN_ARRAY + 4 * (array.nbytes // 3 + 1) for array in arrays)


def longest_answer(case: Case) -> int:
    """How many bytes an answer to ``case`` may have: several float64 arrays of its size in base64, and texts."""
    channels = int(case.settings.get("num_channels", 0))
    values = sum(int(step.x.size) + channels for step in case.steps)
    return _TEXTS + _A_VALUE * values


def _observed(answer: Answer, case: Case) -> Observation:
    """What the answer says.

    Raises:
        ValueError: it is malformed.
    """
    seen = answer.observation()
    asked, got = len(case.steps), len(seen.steps)
    if got > asked or (got < asked and seen.raised is None):
        raise ValueError(f"{got} results for {asked} steps")
    return seen
