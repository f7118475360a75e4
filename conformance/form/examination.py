"""A worker asked for everything that the protocol has: what was asked, and every fault of form."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from normgauge.adapters.dtypes import DTYPES
from normgauge.adapters.worker.protocol import encode_case
from normgauge.conformance.form import answers
from normgauge.conformance.form import hello as greeting
from normgauge.conformance.form.cases import Question, questions, related_questions, short_questions
from normgauge.conformance.form.faults import faults
from normgauge.conformance.form.session import Finding, Findings, Session, named
from normgauge.conformance.subjects.messages import Answer, Hello, hello_of
from normgauge.conformance.subjects.subject import CannotRun, Launch
from normgauge.conformance.subjects.worker_process import BATCH, longest_request

#: An operation that no worker knows.
_UNKNOWN: Final = "no-such-operation"


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What a worker was asked and what was wrong; ``not_asked`` has implementations, with the reason."""

    framework: str
    findings: tuple[Finding, ...]
    asked: tuple[str, ...]
    dtypes: tuple[str, ...]
    cases: int
    not_asked: tuple[str, ...]


def examine(launch: Launch) -> Examined:
    """Ask a worker, in a process for each dtype that it needs one for.

    Raises:
        CannotRun: it cannot be started, or says that it cannot load its framework.
    """
    asking = _Asking(launch)
    hello = asking.first()
    if hello is not None:
        asking.others(hello)
    return Examined(
        framework=hello.framework if hello is not None else launch.framework,
        findings=tuple(asking.findings.found),
        asked=tuple(asking.asked),
        dtypes=tuple(asking.dtypes),
        cases=asking.cases,
        not_asked=tuple(asking.not_asked),
    )


class _Asking:
    def __init__(self, launch: Launch) -> None:
        self._launch, self.findings, self.cases = launch, Findings(), 0
        self._numbers = itertools.count(1)
        self.asked, self.dtypes, self.not_asked = dict[str, None](), dict[str, None](), dict[str, None]()

    def first(self) -> Hello | None:
        """Ask everything in one dtype, the first that the worker has; its hello, as far as it can be used."""
        with self._process(DTYPES[0]) as (session, hello):
            if hello is None:
                return None
            if DTYPES[0] in hello.dtypes:
                self._everything(session, hello, DTYPES[0])
                return hello
        dtype = next(iter(hello.dtypes), DTYPES[0])
        with self._process(dtype) as (session, again):
            if again is not None:
                self._everything(session, again, dtype)
        return again

    def others(self, hello: Hello) -> None:
        """Ask a case of each implementation in every other dtype, and start it for one that it does not have."""
        for dtype in hello.dtypes:
            if dtype not in self.dtypes:
                with self._process(dtype) as (session, own):
                    if own is not None:
                        self._forward(session, own, dtype)
        for dtype in [one for one in DTYPES if one not in hello.dtypes][:1]:
            if dtype != DTYPES[0]:  # it was started for that one first
                with self._process(dtype):
                    pass

    @contextmanager
    def _process(self, dtype: str) -> Iterator[tuple[Session, Hello | None]]:
        """A worker that was started for ``dtype``, with its hello."""
        session = Session(self._launch, dtype, self.findings, self._numbers)
        try:
            message = session.hello()
            yield session, None if message is None else self._greeted(message, dtype)
        finally:
            session.close()

    def _greeted(self, message: dict[str, Any], dtype: str) -> Hello | None:
        found = greeting.faults_of(message, dtype)
        for fault in found:
            self.findings.add("hello", fault.what, fault.place)
        if "cannot_import" in message:
            if not found:
                raise CannotRun(f"the worker cannot load its framework: {message['cannot_import']}")
            return None
        if not found:
            try:
                return hello_of(message, dtype)
            except ValueError as error:
                self.findings.add("hello", str(error))
        return None if any(one.place == "protocol" for one in found) else greeting.usable(message, dtype)

    def _everything(self, session: Session, hello: Hello, dtype: str) -> None:
        self.dtypes[dtype] = None
        for described in hello.implementations:
            why = "it runs at the budget thorough only" if described.thorough else described.missing
            if why is not None:
                self.not_asked[f"{described.id}: {why}"] = None
            elif not described.dtypes or dtype in described.dtypes:
                self._ask(session, hello, described.id, questions(hello, described, dtype))
        for layer in hello.kin:
            self._ask(session, hello, layer.id, related_questions(hello, layer, dtype))
        self._script(session, hello, dtype)
        self._unknown(session)
        for other in hello.serves:
            if other not in self.dtypes:
                self._forward(session, hello, other)

    def _forward(self, session: Session, hello: Hello, dtype: str) -> None:
        self.dtypes[dtype] = None
        for described in hello.implementations:
            if described.missing is None and not described.thorough and dtype in (described.dtypes or hello.dtypes):
                self._ask(session, hello, described.id, short_questions(hello, described, dtype))

    def _ask(self, session: Session, hello: Hello, layer: str, pending: Sequence[Question]) -> None:
        """Ask these questions of a layer; the one at which a worker ends is left out, and the next begins behind it."""
        self.asked[layer] = None
        while pending:
            if not session.again():
                self.findings.add(layer, f"{len(pending)} cases were not asked: the worker had ended too often")
                return
            batch = _as_many_as_fit(pending, hello.longest_line)
            numbered = {session.next_number(): question for question in batch}
            labels = [f"{layer}, {question.case.dtype}, {question.label}" for question in batch]
            cases = [{"number": number, **encode_case(question.case)} for number, question in numbered.items()]
            due = named(numbered, labels)
            got = session.ask({"op": "run", "implementation": layer, "cases": cases}, due)
            for number, message in got.items():
                self._check(message, numbered[number], due[number])
            self.cases += min(len(got) + 1, len(cases))  # with the one at which the worker ended
            left = [question for number, question in numbered.items() if number not in got]
            pending = [*left[1:], *pending[len(batch) :]]

    def _check(self, message: dict[str, Any], question: Question, about: str) -> None:
        found = answers.faults_of(message, question)
        for fault in found:
            self.findings.add(about, fault.what, fault.place)
        if not found:
            try:
                msgspec.convert(message, Answer).observation()
            except ValueError as error:
                self.findings.add(about, str(error))

    def _script(self, session: Session, hello: Hello, dtype: str) -> None:
        """Ask for a script; a worker that writes none says so."""
        for described in [one for one in hello.implementations if one.id in self.asked][:1]:
            for question in questions(hello, described, dtype)[:1]:
                request = {
                    "op": "script",
                    "implementation": described.id,
                    "case": encode_case(question.case),
                    "about": "the form of scripts",
                }
                self._one(session, request, f"script of {described.id}", ("ScriptAnswer", "ErrorAnswer"))

    def _unknown(self, session: Session) -> None:
        self._one(session, {"op": _UNKNOWN}, "an unknown op", ("ErrorAnswer",))

    def _one(self, session: Session, request: dict[str, Any], label: str, kinds: Sequence[str]) -> None:
        """A request with one answer, which is to be of one of these kinds."""
        if not session.again():
            return
        number = session.next_number()
        due = {number: f"answer to request {number} ({label})"}
        for message in session.ask({**request, "number": number}, due).values():
            kind = "ErrorAnswer" if "error" in message else kinds[0]
            for fault in faults(kind, message):
                self.findings.add(due[number], fault.what, fault.place)


def _as_many_as_fit(pending: Sequence[Question], longest: int) -> Sequence[Question]:
    """As many of the first questions as one request may have."""
    count, length = 1, longest_request(pending[0].case)
    for question in pending[1:BATCH]:
        length += longest_request(question.case)
        if length > longest:
            break
        count += 1
    return pending[:count]
