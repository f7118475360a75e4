"""The sessions. `nox -s conformance` measures every framework, each in its own environment, then reports."""

import json
import pathlib

import nox
from nox.command import CommandFailed

nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"
nox.options.sessions = ["conformance"]

PROJECT = nox.project.load_toml("pyproject.toml")
#: Every group of pins named like a registered adapter is a framework.
FRAMEWORKS = list(PROJECT["project"]["entry-points"]["normgauge.adapters"])
RESULTS = pathlib.Path("build/results")


def pins(*groups: str) -> list[str]:
    return list(nox.project.dependency_groups(PROJECT, *groups))


@nox.session
@nox.parametrize("framework", FRAMEWORKS, ids=FRAMEWORKS)
def conformance(session: nox.Session, framework: str) -> None:
    """Measure one framework and write its result file; the report follows."""
    session.notify("report")
    note(framework, "its environment could not be installed; nox printed why")
    (RESULTS / f"{framework}.jsonl").unlink(missing_ok=True)
    try:
        session.install(".", *pins(framework))
    except CommandFailed:
        session.error(f"{framework} could not be installed; its row in the report says so")
    note(framework, "its run did not start; nox printed why")
    session.run("normgauge", "run", framework, "--out", str(RESULTS), *session.posargs)


@nox.session
def report(session: nox.Session) -> None:
    """Make build/report/index.html from the result files."""
    session.install(".")
    session.run("normgauge", "report", str(RESULTS), "--out", "build/report")


@nox.session
def tests(session: nox.Session) -> None:
    """Test the project itself, installed as a user has it, with the real frameworks beside it."""
    session.install(".", *pins("test", *FRAMEWORKS))
    session.run("python", "-m", "pytest", *session.posargs, env={"NORMGAUGE_REQUIRE_FRAMEWORKS": "1"})


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff, and the import contract."""
    session.install(".", *pins("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strict, on the installed packages."""
    session.install(".", *pins("types"))
    packages = [p for p in PROJECT["tool"]["setuptools"]["packages"] if p.count(".") == 1]  # -p takes what is below
    session.run("mypy", *(word for package in packages for word in ("-p", package)))


@nox.session
def benchmarks(session: nox.Session) -> None:
    """What things cost, as ratios measured side by side."""
    session.install(".", *pins("torch"))
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    session.run("python", "benchmarks/oracle_cost.py", *session.posargs, env=one_thread)


def note(framework: str, reason: str) -> None:
    """Say in the manifest that a framework was asked for; its result file, once there, says the rest."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    manifest = RESULTS / "manifest.json"
    asked = json.loads(manifest.read_text()) if manifest.exists() else {}
    manifest.write_text(json.dumps(asked | {framework: reason}, indent=1) + "\n")
