"""The sessions. `nox -s conformance` measures every framework, each in its own environment, then reports.

What follows `--` goes to `normgauge run`, except:
`nox -s "conformance(mlx)" -- --with "mlx[cpu]==0.31.2"` measures another release, beside the pinned one;
`nox -s timeline -- mlx` measures a selection of releases (all: `-- mlx --all`; these: `-- mlx 0.31.2 0.32.4`).
"""

import itertools
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import nox
from nox.command import CommandFailed
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"
nox.options.sessions = ["conformance"]

PROJECT = nox.project.load_toml(pathlib.Path(__file__).with_name("pyproject.toml"))
#: Every group of pins named like a registered adapter is a framework.
FRAMEWORKS = list(PROJECT["project"]["entry-points"]["normgauge.adapters"])
#: The frameworks that need another Python than the one nox runs in.
PYTHON: dict[str, str] = PROJECT["tool"]["normgauge"]["python"]
#: By framework: the releases of a timeline, and what an old release needs.
RELEASES: dict[str, dict] = PROJECT["tool"]["normgauge"]["releases"]
#: A framework without a list has in its timeline the last patch of each of this many minor releases.
MINOR_RELEASES = 8
RESULTS = pathlib.Path("build/results")
TIMELINES = pathlib.Path("build/timeline")


@nox.session
@nox.parametrize("framework", FRAMEWORKS, ids=FRAMEWORKS)
def conformance(session: nox.Session, framework: str) -> None:
    """Measure one framework, write its result file and hold it against what is expected; the report follows."""
    session.notify("report")
    named, options = taken("--with", session.posargs)
    try:
        requirements, name = asked(framework, named)
    except Mistake as mistake:
        session.error(str(mistake))
    note(RESULTS, name, "its environment could not be installed; nox printed why")
    (RESULTS / f"{name}.jsonl").unlink(missing_ok=True)
    where = ["--name", name]
    try:
        if named or framework in PYTHON:
            where += ["--python", worker(session, framework, name, requirements)]
            session.install(".")
        else:
            session.install(".", *requirements)
    except NoPython as missing:
        note(RESULTS, name, str(missing))
        session.skip(str(missing))
    except NotInstalled as failed:
        note(RESULTS, name, str(failed))
        session.error(str(failed))
    except CommandFailed:
        session.error(f"{framework} could not be installed; its row in the report says so")
    note(RESULTS, name, "its run did not start; nox printed why")
    session.run("normgauge", "run", framework, *where, "--out", str(RESULTS), *options)
    session.run("normgauge", "gate", str(RESULTS / f"{name}.jsonl"))


@nox.session
def timeline(session: nox.Session) -> None:
    """Measure several releases of one framework and show what changed: -- mlx, -- mlx 0.31.2 0.32.4."""
    session.install(".")
    try:
        framework, releases, options = chosen(session)
    except Mistake as mistake:
        session.error(str(mistake))
    folder = TIMELINES / framework
    for old in (folder / MANIFEST, *folder.glob("*.jsonl")):
        old.unlink(missing_ok=True)
    for release in releases:
        requirements, name = asked(framework, [requirement_of(framework, release)])
        try:
            python = worker(session, framework, name, requirements)
        except NoPython as missing:
            session.error(str(missing))
        except NotInstalled as failed:
            note(folder, name, str(failed))
            continue
        note(folder, name, "its run did not start; nox printed why")
        command = ["normgauge", "run", framework, "--name", name, "--python", python, "--out", str(folder), *options]
        session.run(*command, success_codes=[0, 1, 3])  # 2 is a mistake in the options, alike for every release
    session.run("normgauge", "timeline", str(folder))


@nox.session
def report(session: nox.Session) -> None:
    """Make build/report/index.html from the result files."""
    session.install(".")
    session.run("normgauge", "report", str(RESULTS), "--out", "build/report")


@nox.session
def tests(session: nox.Session) -> None:
    """Test the project itself, installed as a user has it, with the real frameworks beside it."""
    session.install(".", *pins("test", "ci", *(name for name in FRAMEWORKS if name not in PYTHON)))
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
    session.run("python", "benchmarks/exploration_speed.py", env=one_thread)


@nox.session
def soak(session: nox.Session) -> None:
    """Hold honest implementations against the bounds of their class, millions of elements each."""
    session.install(".")
    session.run("python", "tests/support/soak.py", *session.posargs)


# --- what is asked for --------------------------------------------------------------------------

MANIFEST = "manifest.json"


class Mistake(Exception):
    """The user's: one line that names the value, what is allowed, and the remedy."""


def note(folder: pathlib.Path, name: str, reason: str) -> None:
    """Say in the manifest that something was asked for; its result file, once there, says the rest."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / MANIFEST
    noted = json.loads(manifest.read_text()) if manifest.exists() else {}
    manifest.write_text(json.dumps(noted | {name: reason}, indent=1) + "\n")


def pins(*groups: str) -> list[str]:
    return list(nox.project.dependency_groups(PROJECT, *groups))


def pinned(framework: str) -> list[Requirement]:
    """A framework's pins, as far as they are for this platform; the first is the framework's own."""
    everywhere = map(Requirement, pins(framework))
    return [pin for pin in everywhere if pin.marker is None or pin.marker.evaluate()]


def taken(option: str, words: list[str]) -> tuple[list[str], list[str]]:
    """The values of a repeatable option (`--with X`, `--with=X`), and the words without it."""
    values, others = [], []
    left = iter(words)
    for word in left:
        if word == option:
            values.append(next(left, ""))
        elif word.startswith(f"{option}="):
            values.append(word.partition("=")[2])
        else:
            others.append(word)
    return values, others


def asked(framework: str, named: list[str]) -> tuple[list[str], str]:
    """What a worker has installed, with ``named`` in place of its pins, and the name of its result file."""
    own = pinned(framework)
    wanted = [requirement(framework, text) for text in named]
    name = "-".join([framework, *(part_of_name(one, own[0]) for one in wanted)])
    for more in (needed(framework, wanted), own, [Requirement("numpy")]):  # what comes first is kept
        wanted += [one for one in more if not among(one, wanted)]
    return [str(one) for one in wanted], name


def requirement(framework: str, text: str) -> Requirement:
    """One that a user names to replace a pin of a framework."""
    own = pinned(framework)
    try:
        one = Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        like = str(own[0]).partition(";")[0]
        raise Mistake(f"--with {text!r} is no requirement: {reason}; write it like {like!r}") from None
    if not among(one, [*own, Requirement("numpy")]):
        known = ", ".join(dict.fromkeys([*(pin.name for pin in own), "numpy"]))
        raise Mistake(f"--with {text!r}: {framework} is not made of {one.name}; allowed: {known}")
    return one


def among(one: Requirement, others: list[Requirement]) -> bool:
    """Whether the distribution that a requirement is about is one of the others'."""
    return canonicalize_name(one.name) in {canonicalize_name(other.name) for other in others}


def release_of(one: Requirement) -> str | None:
    """The only release that a requirement allows, if there is one."""
    exact = [clause.version for clause in one.specifier if clause.operator == "==" and "*" not in clause.version]
    return exact[0] if exact and len(one.specifier) == 1 else None


def needed(framework: str, wanted: list[Requirement]) -> list[Requirement]:
    """What the table of releases adds for the release of the framework that is wanted."""
    at = next((release_of(one) for one in wanted if among(one, pinned(framework)[:1])), None)
    table = RELEASES.get(framework, {}).get("needs", {})
    texts = [text for where, more in table.items() if at and Version(at) in SpecifierSet(where) for text in more]
    return [Requirement(text.format(release=at)) for text in texts]


def requirement_of(framework: str, release: str) -> str:
    """What installs this release of a framework: its pin's name and extras, unless the table knows better."""
    own = pinned(framework)[0]
    extras = f"[{','.join(sorted(own.extras))}]" if own.extras else ""
    usual = f"{own.name}{extras}=={release}"
    return next((str(one) for one in needed(framework, [Requirement(usual)]) if among(one, [own])), usual)


def part_of_name(one: Requirement, main: Requirement) -> str:
    """A requirement as a part of a file's name: its release alone where it is the framework's own."""
    said = re.sub(r"[^A-Za-z0-9.+]+", "-", release_of(one) or one.url or str(one.specifier)).strip("-") or "newest"
    return said if among(one, [main]) else f"{one.name}-{said}"


def chosen(session: nox.Session) -> tuple[str, list[str], list[str]]:
    """The framework and the releases that a timeline is asked for, and the options for each run."""
    framework, *words = session.posargs or [""]
    if framework not in FRAMEWORKS:
        raise Mistake(f"say which framework's releases: nox -s timeline -- mlx; known are {', '.join(FRAMEWORKS)}")
    releases = list(itertools.takewhile(lambda word: not word.startswith("-"), words))
    options = ["--time-limit", "10", "--budget", "none", *words[len(releases) :]]  # of two the later holds
    if "--all" in options:
        options.remove("--all")
        if releases:
            raise Mistake("--all takes every release, a list takes some; leave out one of them")
        releases = listed(session, framework)
    releases = releases or RELEASES.get(framework, {}).get("default") or last_patches(listed(session, framework))
    try:
        return framework, sorted(dict.fromkeys(releases), key=Version), options
    except InvalidVersion as error:
        raise Mistake(f"{error}; name releases as in: nox -s timeline -- {framework} 1.2.3 1.3.0") from None


def listed(session: nox.Session, framework: str) -> list[str]:
    """Every release that has a wheel for this platform and Python, oldest first, as pip finds them."""
    name = pinned(framework)[0].name
    command = ["python", "-m", "pip", "index", "versions", name, "--only-binary", ":all:"]
    if framework in PYTHON:
        command += ["--python-version", PYTHON[framework]]
    try:
        told = str(session.run(*command, silent=True))
        (versions,) = re.findall("^Available versions: (.*)$", told, re.MULTILINE)
    except (CommandFailed, ValueError):
        raise Mistake(f"pip could not list the releases of {name}; name some: -- {framework} 1.2.3 1.3.0") from None
    return sorted(versions.split(", "), key=Version)


def last_patches(releases: list[str]) -> list[str]:
    """The last release of each minor one, of the newest few."""
    minors = {Version(release).release[:2]: release for release in releases}
    return list(minors.values())[-MINOR_RELEASES:]


# --- the environment of a worker ----------------------------------------------------------------


class NotInstalled(Exception):
    """A worker's environment could not be made; the message says why."""


class NoPython(NotInstalled):
    """The Python that a framework needs is not here."""


def worker(session: nox.Session, framework: str, name: str, requirements: list[str]) -> str:
    """The interpreter of an environment that holds these and nothing of ours; made once, then kept."""
    folder = pathlib.Path(session.virtualenv.location).parent / "workers" / name
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not python.exists():
        make_environment(folder, framework)
    log = folder / "install.log"
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", *requirements]
    with log.open("w") as output:
        try:
            session.run_install(*command, external=True, stdout=output, stderr=subprocess.STDOUT)
        except CommandFailed:
            errors = re.findall("^ERROR: (.*)$", log.read_text(), re.MULTILINE) or [f"pip failed, see {log}"]
            raise NotInstalled(f"{name} could not be installed: {errors[-1]}") from None
    return str(python)


def make_environment(folder: pathlib.Path, framework: str) -> None:
    """An environment with the Python that the framework needs, which uv may fetch."""
    version = PYTHON.get(framework)
    ways = [[sys.executable, "-m", "virtualenv", "--no-periodic-update", *(["-p", version] if version else [])]]
    if version and shutil.which("uv"):
        ways.append(["uv", "venv", "--seed", "--python", version])
    for way in ways:
        shutil.rmtree(folder, ignore_errors=True)
        done = subprocess.run([*way, str(folder)], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
    if version is None:
        raise NotInstalled(f"no environment could be made in {folder}: {done.stderr.strip()[-300:]}")
    missing = f"{framework} needs Python {version}, which was not found"
    if len(ways) > 1:
        raise NoPython(f"{missing} and which uv could not fetch; install it")
    raise NoPython(f"{missing}; install it, or install uv (pip install uv), which fetches it")
