"""The framework in this process, for a debugger or for a unit test."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import msgspec

from normgauge.adapters.base import Adapter
from normgauge.adapters.case import Case, Element, Observation
from normgauge.adapters.registry import adapter_class
from normgauge.adapters.script import script
from normgauge.adapters.worker.main import Adapters, hello
from normgauge.adapters.worker.protocol import dump_line
from normgauge.conformance.subjects.messages import hello_of, lacks_of
from normgauge.conformance.subjects.subject import CannotRun, Launch, asked_of, not_asked


class InProcess:
    """The framework in this process: for a debugger, or a function that a unit test has, by the adapter ``chosen``.

    A crash here is a crash of everything.
    """

    #: What each framework read from the environment when it was imported here; it reads it once.
    _imported: ClassVar[dict[str, Mapping[str, str]]] = {}

    def __init__(self, launch: Launch, dtype: str, chosen: type[Adapter] | None = None) -> None:
        self.dtype = dtype
        os.environ.update(launch.variables)
        wanted = (chosen or adapter_class(launch.framework)).environment(dtype)
        if dict(self._imported.setdefault(launch.framework, wanted)) != dict(wanted):
            raise CannotRun(
                f"{launch.framework} reads its environment once a process, and {dtype} needs another: "
                "choose one with --dtype, or leave out --in-process"
            )
        try:
            self._adapters = Adapters(chosen or launch.framework, dtype)
        except ImportError as error:
            raise CannotRun(
                f"{launch.framework} is not installed for {sys.executable}: {error}; install it there"
            ) from None
        self.greeting = hello_of(msgspec.json.decode(dump_line(hello(self._adapters))), dtype)
        self.restarts = 0
        self.given_up = False

    def begin(self) -> None:
        pass

    def run(self, implementation: str, cases: Sequence[Case]) -> Iterator[Observation]:
        def observed(asked: Sequence[Case]) -> Iterator[Observation]:
            return (self._adapters.of(case.dtype).run(implementation, case) for case in asked)

        lacks = lacks_of(self.greeting, implementation)
        return asked_of(cases, lambda case: not_asked(self.greeting, lacks, case), observed)

    def script(self, implementation: str, case: Case, about: str, element: Element | None = None) -> str:
        return script(self._adapters.of(case.dtype), implementation, case, about, element)

    def close(self) -> None:
        pass
