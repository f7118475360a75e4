"""The options of the pytest plugin, checked."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from normgauge.adapters.dtypes import DTYPES
from normgauge.adapters.implementation_id import ImplementationId
from normgauge.adapters.registry import (
    NoAdapter,
    load_adapter,
    not_known,
    registered,
    registered_implementations,
)
from normgauge.conformance.gating.entries import BrokenExpectations
from normgauge.conformance.gating.expectations import Expectations, load_expectations
from normgauge.conformance.run.request import is_named
from normgauge.conformance.subjects.subject import CannotRun, Launch, words_of
from normgauge.conformance.subjects.worker_process import WorkerProcess


@dataclass(frozen=True, kw_only=True)
class Collected:
    """An implementation, as far as it is known before it is measured."""

    id: str
    layer: str
    identity: ImplementationId
    thorough: bool


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is measured and how it is started, by framework; in which dtypes; what is expected of it.

    ``ids`` are those of all implementations of these frameworks, also of those that are not measured.
    """

    launches: Mapping[str, Launch]
    implementations: Mapping[str, Sequence[Collected]]
    ids: Collection[str]
    dtypes: tuple[str, ...]
    expectations: Expectations
    expected_in: Sequence[str]

    def command_for_entries(self, framework: str, implementation: str) -> str:
        """The command that writes what is to be expected of an implementation."""
        launch = self.launches[framework]
        run = ["normgauge", "run", framework, "-i", implementation, "--budget", "none"]
        run += ["--python", launch.python] if launch.python != sys.executable else []
        run += ["--exec", shlex.join(launch.program)] if launch.program else []
        places = [word for place in self.expected_in for word in ("--expectations", place)]
        return f"{shlex.join(run)}; {shlex.join(['normgauge', 'gate', *places, '--suggest'])}"


def asked_of(config: pytest.Config) -> Asked:
    """What the options say.

    Raises:
        pytest.UsageError: one makes no sense, or the program of ``--normgauge-exec`` cannot be started.
    """
    dtypes = config.getoption("--normgauge-dtype") or DTYPES
    if not set(dtypes) <= set(DTYPES):
        allowed = f"{', '.join(DTYPES[:-1])} and {DTYPES[-1]}"
        raise pytest.UsageError(f"--normgauge-dtype takes {allowed}, got {', '.join(dtypes)}")
    dtypes = tuple(dtype for dtype in DTYPES if dtype in dtypes)
    places: Sequence[str] = config.getoption("--normgauge-expectations") or ()
    try:
        launches = {one.framework: one for one in _launches(config)}
        known = {framework: list(_collected(launch, dtypes[0])) for framework, launch in launches.items()}
        ids = [one.id for own in known.values() for one in own]
        expectations = load_expectations(tuple(map(Path, places)))
        expectations.check_implementations({*registered_implementations(), *ids})
    except (NoAdapter, BrokenExpectations, CannotRun) as error:
        raise pytest.UsageError(str(error)) from None
    chosen: Sequence[str] = config.getoption("--normgauge-implementation") or ()
    for pattern in chosen:
        if not any(is_named(one, [pattern]) for one in ids):
            listed = all(framework in registered() for framework in launches)
            raise pytest.UsageError(not_known("implementation", pattern, ids, listed=listed))
    return Asked(
        launches=launches,
        implementations={
            framework: [one for one in own if (is_named(one.id, chosen) if chosen else not one.thorough)]
            for framework, own in known.items()
        },
        ids=ids,
        dtypes=dtypes,
        expectations=expectations,
        expected_in=places,
    )


def _launches(config: pytest.Config) -> Iterator[Launch]:
    frameworks = list(dict.fromkeys(config.getoption("--normgauge")))
    python, program = config.getoption("--normgauge-python"), config.getoption("--normgauge-exec")
    if program is None:
        yield from (Launch(framework=one, python=python) for one in frameworks)
        return
    if python != sys.executable:
        raise pytest.UsageError(
            "--normgauge-exec starts a program without Python, and --normgauge-python is given; leave out one of them"
        )
    if len(frameworks) > 1:
        raise pytest.UsageError(
            f"--normgauge-exec starts one program, and {len(frameworks)} frameworks are named; name one"
        )
    try:
        yield Launch(framework=frameworks[0], program=words_of(program))
    except ValueError as error:
        raise pytest.UsageError(f"--normgauge-exec {error}") from None


def _collected(launch: Launch, dtype: str) -> Iterator[Collected]:
    """The implementations of a framework; a program is started for them, once, for its hello."""
    if launch.program:
        with contextlib.closing(WorkerProcess(launch, dtype)) as worker:
            for said in worker.greeting.implementations:
                yield Collected(id=said.id, layer=said.layer, identity=said.identity, thorough=said.thorough)
    else:
        for one in load_adapter(launch.framework).implementations:
            yield Collected(id=one.id, layer=one.layer, identity=one.identity, thorough=one.way.thorough)
