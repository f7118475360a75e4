"""A worker that is asked for the form of what it writes: nothing that it does wrong ends the asking before it must."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from normgauge.adapters.worker.protocol import dump_line
from normgauge.conformance.form.faults import cut, shown
from normgauge.conformance.subjects.conversation import Conversation, Ended
from normgauge.conformance.subjects.subject import CannotRun, Launch
from normgauge.conformance.subjects.worker_process import LONGEST_HELLO, TO_EXIT

#: Lines of nonsense after which a worker is ended.
_MOST_NONSENSE: Final = 20
#: Bytes that the answer to one of the cases may have, which are all small.
_LONGEST_ANSWER: Final = 2**24
#: Seconds in which something unasked may arrive.
_UNASKED: Final = 0.05
_QUOTED: Final = 80


@dataclass(frozen=True, kw_only=True, order=True)
class Finding:
    """A fault of form: ``about`` a message, at a ``place`` in it, which may be empty."""

    about: str
    place: str
    what: str

    def __str__(self) -> str:
        if self.about == "hello" and self.place:
            return f"hello{'' if self.place.startswith('[') else '.'}{self.place}: {self.what}"
        return ": ".join(filter(None, (self.about, self.place, self.what)))


@dataclass(kw_only=True)
class Findings:
    """What was found, in the order in which it was."""

    found: list[Finding] = field(default_factory=list)

    def add(self, about: str, what: str, place: str = "") -> None:
        finding = Finding(about=about, place=place, what=what)
        if finding not in self.found:
            self.found.append(finding)


class Session:
    """One process of a worker, and those that follow when it ends where it should not; ``numbers`` are for requests.

    Raises:
        CannotRun: it cannot be started.
    """

    def __init__(self, launch: Launch, dtype: str, findings: Findings, numbers: Iterator[int]) -> None:
        self._launch, self._dtype, self._findings, self._numbers = launch, dtype, findings, numbers
        self._restarts = 0
        self._answered: set[int] = set()
        self._start()

    def _start(self) -> None:
        command = self._launch.command(self._dtype)
        try:
            self._talk = Conversation(command, self._launch.environment)
        except OSError as error:
            raise CannotRun(f"cannot start {command[0]}: {error.strerror or error}") from None

    def hello(self) -> dict[str, Any] | None:
        """What it says first; None, and a finding, where that is no object."""
        try:
            return self._object(self._launch.hello_limit, LONGEST_HELLO)
        except Ended as error:
            self._findings.add("hello", f"the worker {error} before it said hello{self._talk.last_words()}")
            return None

    def next_number(self) -> int:
        return next(self._numbers)

    def ask(self, request: Mapping[str, Any], due: Mapping[int, str]) -> dict[int, dict[str, Any]]:
        """The answers by their numbers; ``due`` has what to call each in a finding.

        An answer with a number that nobody knows is taken for the one that is due first.
        """
        waiting, answers = dict(due), dict[int, dict[str, Any]]()
        self._talk.send(dump_line(request))
        while waiting:
            first = next(iter(waiting))
            try:
                message = self._object(self._launch.time_limit, _LONGEST_ANSWER)
            except Ended as error:
                self._findings.add(waiting.pop(first), f"the worker {error}{self._talk.last_words()}")
                break
            number = message.get("number")
            known = isinstance(number, int) and not isinstance(number, bool)
            if known and number in self._answered and number not in waiting:
                self._findings.add(f"answer to case {number}", "is written again, after others")
                continue
            if not known or number not in waiting:
                if known:
                    self._findings.add(waiting[first], f"{shown(number)} where {first} is due", "number")
                number = first
            elif number != first:
                self._findings.add(waiting[number], f"comes before that to case {first}", "")
            self._answered.add(number)
            answers[number] = message
            del waiting[number]
        else:
            self._hear_what_nobody_asked_for()
        return answers

    def again(self) -> bool:
        """Start another process where the last one has ended; whether one runs now, and has said hello."""
        if self._talk.runs():
            return True
        self._talk.end()
        self._restarts += 1
        if self._restarts > self._launch.most_restarts:
            return False
        self._start()
        return self.hello() is not None

    def close(self) -> None:
        if self._talk.runs() and not self._talk.close(TO_EXIT):
            self._findings.add(
                "end", f"the worker still runs {TO_EXIT:g} s after the end of its standard input; it is to exit then"
            )
        self._talk.end()

    def _object(self, time_limit: float, longest: int) -> dict[str, Any]:
        """The next line that is a JSON object; the others are findings.

        Raises:
            Ended: there is none.
        """
        for _ in range(_MOST_NONSENSE):
            line = self._talk.line(time_limit, longest)
            if isinstance(message := _decoded(line), dict):
                return message
            self._findings.add("standard output", f"a line that is no JSON object: {_quoted(line)}")
        raise Ended(f"wrote {_MOST_NONSENSE} such lines")

    def _hear_what_nobody_asked_for(self) -> None:
        time.sleep(_UNASKED)
        for _ in range(_MOST_NONSENSE):
            if not self._talk.unread():
                return
            try:
                line = self._talk.line(_UNASKED, _LONGEST_ANSWER)
            except Ended as error:
                self._findings.add("standard output", f"the worker {error} after its answers{self._talk.last_words()}")
                return
            self._findings.add("standard output", f"a line though no answer is due: {_quoted(line)}")


def _decoded(line: bytes) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _quoted(line: bytes) -> str:
    text = line.rstrip(b"\n").decode(errors="backslashreplace")
    return cut(text, _QUOTED)


def named(numbers: Iterable[int], labels: Iterable[str]) -> dict[int, str]:
    """What an answer is called in a finding, by its number."""
    return {number: f"answer to case {number} ({label})" for number, label in zip(numbers, labels, strict=True)}
