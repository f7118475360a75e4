"""An environment made on the machine of a worker, once, and kept: uv where it is there, else venv and pip."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import filelock
import msgspec

from normgauge.adapters.cache_folder import cache_folder
from normgauge.conformance.campaign.environments import Environment

#: Where a folder's environment is whole: what is installed, and what it took.
_MADE: Final = "made.json"
_ERRORS: Final = re.compile(r"^(?:ERROR|error): (.*)$|^\s*× (.*)$", re.MULTILINE)
#: Prints what is installed, one distribution a line.
_LIST: Final = """
import importlib.metadata
print(*sorted(f"{one.metadata['Name']}=={one.version}" for one in importlib.metadata.distributions()), sep="\\n")
"""


class CannotProvide(Exception):
    """An environment cannot be had; the message says why."""


class Provided(msgspec.Struct, frozen=True, kw_only=True):
    """An environment that is there.

    ``python`` is its interpreter, ``seconds`` is the time to make it, 0 where nothing is installed, and ``made`` says
    whether this call made it. ``tool`` made it, and ``installed`` what it holds, such as mlx==0.32.4.
    """

    python: str
    seconds: float = 0.0
    made: bool = False
    tool: str = ""
    installed: tuple[str, ...] = ()


def provide(environment: Environment, spare: Path) -> Provided:
    """The environment, which is made if it is not there. Other processes wait meanwhile.

    It is kept in the user's cache folder; in the folder ``spare`` if nothing is to be kept there.

    Raises:
        CannotProvide: its Python or a requirement cannot be had.
    """
    if not environment.install:
        return Provided(python=environment.python or sys.executable)
    folder = (cache_folder("environments") or spare) / environment.key
    folder.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder.with_name(f"{folder.name}.lock")):
        if (kept := _kept(folder)) is not None:
            return kept
        shutil.rmtree(folder, ignore_errors=True)
        begun = time.monotonic()
        try:
            tool = _make(environment, folder)
            python = _python_in(folder)
            listed = _run([python, "-I", "-c", _LIST], folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        found = Provided(
            python=python,
            seconds=round(time.monotonic() - begun, 3),
            made=True,
            tool=tool,
            installed=tuple(listed.split()),
        )
        part = folder / f"{_MADE}.part"
        part.write_bytes(msgspec.json.encode(msgspec.structs.replace(found, made=False)))
        part.replace(folder / _MADE)
        return found


def _kept(folder: Path) -> Provided | None:
    """The environment that an earlier call made; None where it is not whole."""
    with contextlib.suppress(OSError, msgspec.DecodeError):
        kept = msgspec.json.decode((folder / _MADE).read_bytes(), type=Provided)
        if os.access(kept.python, os.X_OK):
            return kept
    return None


def _make(environment: Environment, folder: Path) -> str:
    """Make it, and name what made it."""
    uv = shutil.which("uv")
    _make_empty(environment, folder, uv)
    python = _python_in(folder)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *environment.install]
    if uv is None:
        _run(pip, folder)
        return "venv and pip"
    try:
        _run([uv, "pip", "install", "--quiet", "--python", python, *environment.install], folder)
        return "uv"
    except CannotProvide:  # pip has a configuration of its own, with other indexes
        _run(pip, folder)
        return "uv and pip"


def _make_empty(environment: Environment, folder: Path, uv: str | None) -> None:
    version = environment.python
    ways = [[uv, "venv", "--quiet", "--seed", "--python", version or sys.executable]] if uv else []
    own = sys.executable if not version or version == f"{sys.version_info[0]}.{sys.version_info[1]}" else None
    interpreter = own or shutil.which(f"python{version}")
    ways += [[interpreter, "-m", "venv"]] if interpreter else []
    reason = f"{environment.framework} needs Python {version}, which was not found; install it, or install uv"
    for way in ways:
        shutil.rmtree(folder, ignore_errors=True)
        try:
            _run([*way, str(folder)], folder.parent)
        except CannotProvide as error:
            reason = str(error)
        else:
            return
    raise CannotProvide(reason)


def _python_in(folder: Path) -> str:
    return str(folder / ("Scripts" if os.name == "nt" else "bin") / "python")


def _run(command: Sequence[str], where: Path) -> str:
    """What a command prints.

    Raises:
        CannotProvide: it cannot be started, or fails.
    """
    clean = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    try:
        done = subprocess.run(command, cwd=where, env=clean, capture_output=True, text=True, check=False)
    except OSError as error:
        raise CannotProvide(f"cannot start {command[0]}: {error.strerror}; install it") from None
    if done.returncode:
        said = [a or b for a, b in _ERRORS.findall(done.stderr)] or done.stderr.strip().splitlines()[-1:]
        raise CannotProvide(f"{' '.join(command[:4])} failed: {said[-1] if said else 'without a word'}")
    return done.stdout
