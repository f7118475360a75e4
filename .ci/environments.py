"""The environments of the sessions, and of the workers: what is installed in them, and when again.

A session's environment has the project as a user installs it. A worker's has one release of a framework, without the
project. Nothing is installed in an environment that already has what is needed.
"""

import functools
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable

import filelock
import nox
import releases
import shared_files
from nox.command import CommandFailed
from packaging.requirements import Requirement

ROOT = pathlib.Path(__file__).parents[1]
PROJECT = releases.PROJECT
#: The frameworks that need another Python than the one nox runs in.
PYTHON: dict[str, str] = PROJECT["tool"]["normgauge"]["python"]
WHEELS = pathlib.Path("build/wheels")


class NotInstalled(Exception):
    """A worker's environment could not be made; the message says why."""


class NoPython(NotInstalled):
    """The Python that a framework needs is not here."""


def alone() -> filelock.FileLock:
    """A lock on what sessions that run side by side write together; use it in a `with`."""
    return filelock.FileLock("build/shared.lock")


#: Prints a digest of an environment: its interpreter, what pip noted of each distribution, and our own files there.
STATE = """
import hashlib, importlib.metadata, pathlib, sys, sysconfig
state = hashlib.sha256(sys.version.encode())
for record in sorted(one.read_text("RECORD") or "" for one in importlib.metadata.distributions()):
    state.update(record.encode())
for path in sorted(pathlib.Path(sysconfig.get_path("purelib"), "normgauge").rglob("*")):
    if path.is_file() and path.suffix != ".pyc":
        state.update(str(path).encode() + path.read_bytes())
print(state.hexdigest())
"""


def install(session: nox.Session, *requirements: str) -> str | None:
    """Have the project, as a user installs it, and these in the session's environment.

    Returns the digest of the project's files that are there now; nothing where that is not known.
    """
    if session.venv_backend == "none":
        session.install(".", *requirements)  # nox says why not
        return None
    needed = [*PROJECT["project"]["dependencies"], *requirements]
    return provide(session, "python", session.virtualenv.location, needed, session.install, project=True)


def provide(
    session: nox.Session,
    python: str,
    folder: str | pathlib.Path,
    requirements: list[str],
    pip: Callable[..., object],
    *,
    project: bool = False,
) -> str | None:
    """Have requirements, and the project, in an environment; pip runs only for what is not as its last run left it.

    Returns the digest of the project's files, where they are provided.

    ``pip`` gets the words behind `pip install`. A file in the environment's folder remembers what was asked for and
    the state that pip left. Where a file that a wheel is made of has changed, the project alone is installed again.
    Large files that other environments have too are on the disk once.
    """
    state = functools.partial(session.run_install, python, "-I", "-c", STATE, silent=True, log=False, external=True)
    now = state()
    if now is None:  # nox was told not to install
        return None
    stamp = pathlib.Path(folder, "provided.txt")
    last = stamp.read_text().splitlines() if stamp.exists() else []
    asked_for = [" ".join(requirements), *([digest(sources())] if project else [])]
    same = [last[:1] == now.split() and wish in last[1:] for wish in asked_for]
    steps = []
    if not same[0] or any(Requirement(one).url for one in requirements):  # what an address has may have changed
        steps.append(requirements)
    if not all(same[1:]):
        steps.append(["--no-deps", "--force-reinstall", str(wheel_of_now(session))])
    if steps:
        stamp.unlink(missing_ok=True)
        for words in steps:
            pip(*words)
        shared_files.share(pathlib.Path(folder), pathlib.Path(session.virtualenv.location).parent / "files")
        stamp.write_text("\n".join([state().strip(), *asked_for]))
    return asked_for[1] if project else None


def sources() -> list[pathlib.Path]:
    """The files that a wheel of the project is made of."""
    project, packages = PROJECT["project"], PROJECT["tool"]["setuptools"]["package-dir"]
    folders = {pathlib.PurePath(place).parts[0] for place in packages.values()}
    patterns = ["pyproject.toml", project["readme"], *project["license-files"], *(f"{one}/**/*" for one in folders)]
    found = {path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()}
    return sorted(path for path in found if "__pycache__" not in path.parts)


def digest(files: list[pathlib.Path]) -> str:
    """A digest of the names and contents of files."""
    lines = [f"{path.relative_to(ROOT).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:20]


def wheel_of_now(session: nox.Session) -> pathlib.Path:
    """A wheel of the project as it is now; built once, then kept.

    It is built from a copy of the files that are digested. Nothing else gets into it: no file that the digest leaves
    out, and no module that setuptools kept from an earlier build.
    """
    files = sources()
    kept = WHEELS / digest(files)
    with alone():
        if not kept.exists():
            WHEELS.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=WHEELS.parent) as scratch:
                copy, built = pathlib.Path(scratch, "project"), pathlib.Path(scratch, "wheel")
                for path in files:
                    (copy / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(path, copy / path.relative_to(ROOT))
                command = ["python", "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(built), str(copy)]
                session.run_install(*command, silent=True)
                built.rename(kept)
    (made,) = kept.glob("*.whl")
    return made


def worker(session: nox.Session, framework: str, name: str, requirements: list[str]) -> str:
    """The interpreter of an environment that holds these and nothing of ours; made once, then kept."""
    folder = pathlib.Path(session.virtualenv.location).parent / "workers" / name
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not python.exists():
        make_environment(folder, framework)
    log = folder / "install.log"

    def pip(*words: str) -> None:
        command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", *words]
        with log.open("w") as output:
            session.run_install(*command, external=True, stdout=output, stderr=subprocess.STDOUT)

    try:
        provide(session, str(python), folder, requirements, pip)
    except CommandFailed:
        said = log.read_text() if log.exists() else ""
        errors = re.findall("^ERROR: (.*)$", said, re.MULTILINE) or [f"pip failed, see {log}"]
        raise NotInstalled(f"{name} could not be installed: {errors[-1]}") from None
    return str(python)


def bare(session: nox.Session, framework: str, named: list[str]) -> str:
    """The interpreter of an environment with these releases of a framework: that of `conformance`, if it has them."""
    requirements, name = releases.asked(framework, named)
    folder = pathlib.Path(session.virtualenv.location).parent / f"conformance-{framework}"
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    stamp = folder / "provided.txt"
    needed = " ".join([*PROJECT["project"]["dependencies"], *requirements])
    if not named and python.exists() and stamp.exists() and needed in stamp.read_text().splitlines():
        return str(python)
    return worker(session, framework, name, requirements)


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
