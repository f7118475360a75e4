"""What all tests share: the faulty layers in worker processes, and the real frameworks, each measured once at most."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from frameworks import Frameworks, ResultFiles, records_in
from references import InMemory

from normgauge.conformance.run import parallel
from normgauge.results.records import Record

TESTS = Path(__file__).parent


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are processors: tests wait for workers, for limits of time, and for the last one."""
    return parallel.processors() + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """How tests are spread over processes, unless ``--dist`` says otherwise."""
    if config.getoption("dist") != "load":
        return None
    from scheduling import Together

    return Together(config, log)


@pytest.fixture(scope="session", autouse=True)
def _faulty_layers_are_importable_in_workers() -> None:
    """Worker processes import ``faulty`` from this folder, as this process does."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)


@pytest.fixture(scope="session")
def references() -> InMemory:
    """The oracle's references that the tests of this process have asked for."""
    return InMemory()


@pytest.fixture(autouse=True)
def _references_are_evaluated_once(references: InMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured in this process shares its references; other processes have the store on disk."""
    monkeypatch.setattr(parallel, "default_store", lambda: references)


@pytest.fixture(scope="session")
def frameworks() -> Iterator[Frameworks]:
    """The worker processes of a framework, and those that run its scripts."""
    started = Frameworks()
    yield started
    started.close()


@pytest.fixture(scope="session")
def result_files(tmp_path_factory: pytest.TempPathFactory, frameworks: Frameworks) -> ResultFiles:
    """The result file of a framework, by its name."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "results"
    folder.mkdir(exist_ok=True)
    measured = os.environ.get("NORMGAUGE_MEASURED")
    return ResultFiles(folder, lambda name: frameworks(name).environment(), Path(measured) if measured else None)


@pytest.fixture
def results(framework: str, result_files: ResultFiles) -> Path:
    """The result file of the framework that the test has as its parameter."""
    return result_files(framework)


@pytest.fixture
def records(results: Path) -> list[Record]:
    """What that result file holds."""
    return records_in(results)
