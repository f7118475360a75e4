"""What pytest collects and runs: a framework, its implementations, an item for each requirement.

An implementation is measured once, at the first of its items that is run, with the engine and the
expectations that the command line has.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from normgauge.conformance.diagnosis.reference_store import default_store
from normgauge.conformance.diagnosis.references import References
from normgauge.conformance.gating.entries import DOCUMENTATION, BrokenExpectations
from normgauge.conformance.gating.expectations import (
    Cell,
    Held,
    Measured,
    of_claims,
    of_judgement,
)
from normgauge.conformance.layers.registry import kind_of
from normgauge.conformance.pytest_plugin.asked import Collected, asked_of
from normgauge.conformance.run.measure import measure
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.subject import NO_SCRIPT, CannotRun, Subject
from normgauge.conformance.subjects.worker_process import WorkerProcess
from normgauge.results.records import Judgement, NotRun, Profile

#: The item for what the documentation claims, beside those for the requirements.
CLAIMS: Final = DOCUMENTATION.strip()


class Deviates(Exception):
    """What was measured is not what is required, or not what was expected of it."""


class Conformance:
    """The hooks of a pytest run with ``--normgauge``."""

    def __init__(self, config: pytest.Config) -> None:
        self.asked = asked_of(config)
        self.selected = self._take_own_arguments(config, self.asked.ids)

    @staticmethod
    def _take_own_arguments(config: pytest.Config, ids: Collection[str]) -> Sequence[str]:
        """Take from pytest's arguments the node ids of this tree, and the folder that it would look in by itself.

        That one stays where nobody has written the option for this run: where it is in `addopts`.
        """
        asked_now = any(word.partition("=")[0] == "--normgauge" for word in config.invocation_params.args)
        if asked_now and config.args_source is not pytest.Config.ArgsSource.ARGS:
            config.args = []
        named = {argument: argument.partition("::")[0] for argument in config.args}
        # pytest shows every id as if it were a path relative to the current folder.
        own = {argument: os.path.basename(path) for argument, path in named.items() if os.path.basename(path) in ids}
        config.args = [argument for argument in config.args if argument not in own]
        return [path + argument.removeprefix(named[argument]) for argument, path in own.items()]

    def pytest_report_header(self) -> str:
        count = sum(map(len, self.asked.implementations.values()))
        dtypes = ", ".join(self.asked.dtypes)
        return f"normgauge: {', '.join(self.asked.implementations)}: {count} implementation(s) in {dtypes}"

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        report = yield
        if isinstance(collector, pytest.Session):
            nodes = [
                Framework.from_parent(collector, name=framework, conformance=self)
                for framework, implementations in self.asked.implementations.items()
                if implementations
            ]
            report.result = [*nodes, *(report.result or ())]
        return report

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """With ``-n``: all items of an implementation go to one process; other tests are spread as ever."""
        if config.getoption("dist") != "load":
            return None
        from xdist.scheduler import LoadScopeScheduling

        ids = {one.id for implementations in self.asked.implementations.values() for one in implementations}

        class ByImplementation(LoadScopeScheduling):  # type: ignore[misc]  # it comes without types
            def _split_scope(self, nodeid: str) -> str:
                implementation = nodeid.partition("::")[0]
                return implementation if implementation in ids else nodeid

        return ByImplementation(config, log)


class Framework(pytest.Collector):
    """One framework, and the workers in which it runs, until its last item is done."""

    def __init__(self, *, conformance: Conformance, **node: Any) -> None:
        super().__init__(nodeid=node["name"], **node)
        self.asked, self.selected = conformance.asked, conformance.selected
        #: What could not be run, and whether an item has said so: one does.
        self.problems: dict[str, bool] = {}
        self._subjects: dict[str, Subject | CannotRun] = {}
        self.references = References(default_store())

    def collect(self) -> Iterator[Layer]:
        for implementation in self.asked.implementations[self.name]:
            yield Layer.from_parent(self, implementation=implementation)

    def subject(self, dtype: str) -> Subject:
        """The framework at this dtype.

        Raises:
            CannotRun: it could not be started, now or before.
        """
        started = [one for one in self._subjects.values() if not isinstance(one, CannotRun)]
        serving = (one for one in started if dtype in one.greeting.serves)
        if dtype not in self._subjects and (known := next(serving, None)) is not None:
            self._subjects[dtype] = known
        if dtype not in self._subjects:
            try:
                self._subjects[dtype] = WorkerProcess(self.asked.launches[self.name], dtype)
            except CannotRun as error:
                self._subjects[dtype] = error
        subject = self._subjects[dtype]
        if isinstance(subject, CannotRun):
            raise subject
        return subject

    def teardown(self) -> None:
        """Called when no item of this framework is next, also after a failure or an interrupt."""
        for subject in self._subjects.values():
            if not isinstance(subject, CannotRun):
                subject.close()
        self._subjects.clear()
        self.references.close()


class Layer(pytest.Collector):
    """One implementation, and what was measured of it."""

    parent: Framework

    def __init__(self, *, implementation: Collected, **node: Any) -> None:
        super().__init__(name=implementation.id, nodeid=implementation.id, **node)
        self.implementation = implementation
        self.found: dict[Cell, Measured] = {}
        self.judgements: dict[Cell, Judgement] = {}
        #: By dtype: why there is nothing.
        self.absent: dict[str, str] = {}
        self.versions: Mapping[str, str] = {}
        self._measured = False

    def collect(self) -> Iterator[RequirementItem]:
        asked = kind_of(self.implementation.layer).requirements
        titles = {one.id: f"{one.id} {one.title}" for one in asked if set(one.dtypes) & set(self.dtypes)}
        for requirement, title in {**titles, CLAIMS: CLAIMS}.items():
            item = RequirementItem.from_parent(self, name=title, requirement=requirement)
            selected = self.parent.selected
            if not selected or self.nodeid in selected or item.nodeid in selected:
                yield item

    @property
    def dtypes(self) -> tuple[str, ...]:
        return self.parent.asked.dtypes

    def measure_once(self) -> None:
        if self._measured:
            return
        for dtype in self.dtypes:
            try:
                self._measure(self.parent.subject(dtype), dtype)
            except CannotRun as error:
                self.absent[dtype] = str(error)
                self.parent.problems.setdefault(str(error), False)
        self._measured = True

    def _measure(self, subject: Subject, dtype: str) -> None:
        greeting = subject.greeting
        self.versions = greeting.versions
        if dtype not in greeting.dtypes:
            self._is_without(dtype, f"{dtype} is not in the framework's list of dtypes")
            return
        description = next((one for one in greeting.implementations if one.id == self.name), None)
        if description is None:
            raise CannotRun(f"{self.name} does not exist in {_versions(self.versions)}")
        if dtype not in description.dtypes:
            self._is_without(dtype, f"this implementation runs in {' and '.join(description.dtypes)} only")
            return
        if missing := description.missing:
            raise CannotRun(missing)
        wanted = Wanted(dtypes=(dtype,), implementations=(self.name,))
        for record in measure(subject, description, dtype, wanted, self.parent.references):
            if isinstance(record, Judgement):
                one = of_judgement(record, self.implementation.identity)
                self.found[one.cell] = one
                self.judgements[one.cell] = record
            elif isinstance(record, NotRun):
                raise CannotRun(f"{record.implementation} {record.dtype}: {record.reason}")
            elif isinstance(record, Profile):
                self.found |= {one.cell: one for one in of_claims(record)}

    def _is_without(self, dtype: str, why: str) -> None:
        """Note that there is no such dtype.

        Raises:
            CannotRun: an expectation says that it is supported, or two do.
        """
        self.absent[dtype] = why
        try:
            lost = self.parent.asked.expectations.lost(self.name, dtype, why, self.versions)
        except BrokenExpectations as error:
            raise CannotRun(str(error)) from None
        if lost is not None:
            raise CannotRun(f"{self.name} {dtype}: {lost}")


class RequirementItem(pytest.Item):
    """One requirement for one implementation, in every dtype; or the claims of its documentation."""

    parent: Layer

    def __init__(self, *, requirement: str, **node: Any) -> None:
        super().__init__(**node)
        self.requirement = requirement

    def reportinfo(self) -> tuple[os.PathLike[str], None, str]:
        return self.config.rootpath / self.parent.name, None, f"{self.parent.name} {self.name}"

    def setup(self) -> None:
        """Measure the implementation. The first item that needs a framework fails if the framework cannot be run."""
        self.parent.measure_once()
        problems = self.parent.parent.problems
        for problem, is_told in problems.items():
            if not is_told:
                problems[problem] = True
                pytest.fail(f"could not be run: {problem}", pytrace=False)

    def runtest(self) -> None:
        found = [one for one in self.parent.found.values() if self._is_about(one.cell)]
        if not found:
            pytest.skip(f"{self.name}: {self._why_nothing()}")
        expectations = self.parent.parent.asked.expectations
        try:
            held = [expectations.hold(one, self.parent.versions) for one in found]
        except BrokenExpectations as error:
            raise Deviates(str(error)) from None
        deviating = [one for one in held if one.comparison in {"new", "gone", "changed"}]
        if deviating:
            raise Deviates(self._report(deviating))
        known = [(one, one.expected.why) for one in held if one.expected is not None]
        if known:
            pytest.xfail(_joined([(one.found.cell.dtype, why) for one, why in known], self._dtypes))
            raise Deviates(self._report([one for one, _ in known]))  # with --runxfail
        doubtful = [one for one in found if one.verdict not in {"conforms", "agrees"}]
        if doubtful and not (self.requirement == CLAIMS and any(one.verdict == "agrees" for one in found)):
            reasons = [(one.cell.dtype, f"{one.verdict}: {one.sentence}") for one in doubtful]
            pytest.skip(f"{self.name}: {_joined(reasons, self._dtypes)}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        return str(excinfo.value) if isinstance(excinfo.value, Deviates) else super().repr_failure(excinfo, style)

    def _why_nothing(self) -> str:
        return "; ".join(dict.fromkeys(self.parent.absent.values())) or "not checked for this implementation"

    @property
    def _dtypes(self) -> list[str]:
        """Those in which there is something to judge."""
        return [one.cell.dtype for one in self.parent.found.values() if self._is_about(one.cell)]

    def _is_about(self, cell: Cell) -> bool:
        return cell.requirement == self.requirement or (
            self.requirement == CLAIMS and cell.requirement.startswith(DOCUMENTATION)
        )

    def _report(self, found: Sequence[Held]) -> str:
        """The differences, and what to do about each; dtypes with the same text share it."""
        asked = self.parent.parent.asked
        alike: dict[str, list[Measured]] = {}
        for one in found:
            file = asked.expectations.file_for(one.found.framework, "--normgauge-expectations")
            alike.setdefault(one.told(file), []).append(one.found)
        unexpected = {one.found.cell for one in found if one.comparison == "new"}
        parts = []
        for what, own in alike.items():
            first = own[0]
            about = first.sentence if first.divergent else what
            rows = [("in", ", ".join(one.cell.dtype for one in own))]
            judgement = self.parent.judgements.get(first.cell)
            if judgement is not None and first.divergent:
                rows += self._rows(judgement)
            rows += [("to do", what)] if about != what else []
            if first.cell in unexpected:
                rows.append(("entry", asked.command_for_entries(self.parent.parent.name, self.parent.name)))
            parts.append("\n".join([about, *(f"  {name:<9} {text}" for name, text in rows)]))
        return "\n\n".join(parts)

    def _rows(self, judgement: Judgement) -> Iterator[tuple[str, str]]:
        example = judgement.example
        if example is not None:
            yield "settings", ", ".join(f"{name}={value}" for name, value in sorted(example.settings.items()))
            yield "shapes", ", ".join(str(tuple(shape)) for shape in example.shapes)
            for name, lines in ({"inputs": example.inputs} | example.rows).items():
                yield from ((name, line) for line in lines)
        if judgement.remedy:
            yield "remedy", judgement.remedy
        if judgement.ground:
            yield "ground", judgement.ground
        if judgement.not_mended:
            yield "no remedy", judgement.not_mended
        yield "source", judgement.source
        if example is not None and example.script != NO_SCRIPT:
            path = self._stored(judgement, example.script)
            if path is not None:
                yield "script", f"{path} (needs {judgement.framework} and NumPy alone)"

    def _stored(self, judgement: Judgement, script: str) -> str | None:
        """The path of the script in pytest's cache; None without a cache."""
        cache = getattr(self.config, "cache", None)
        if cache is None:
            return None
        name = f"{judgement.implementation}-{judgement.requirement}-{judgement.dtype}"
        path: Path = cache.mkdir("normgauge") / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}.py"
        path.write_text(script, encoding="utf-8")
        relative = os.path.relpath(path, self.config.invocation_params.dir)
        return str(path) if relative.startswith(os.pardir) else relative


def _joined(reasons: Sequence[tuple[str, str]], dtypes: Collection[str]) -> str:
    """The reasons, each with its dtypes unless it applies to all."""
    about: dict[str, list[str]] = {}
    for dtype, reason in reasons:
        about.setdefault(reason, []).append(dtype)
    return "; ".join(
        reason if set(own) == set(dtypes) else f"{', '.join(dict.fromkeys(own))}: {reason}"
        for reason, own in about.items()
    )


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())
