"""Runs the console blocks of a page in their order, and compares what they print.

A comment `<!-- file: NAME -->` above a block makes it the text of that file, `<!-- change: NAME -->` a change of it: in
a block of language `diff`, lines with `-` are replaced by those with `+` that follow them. `...` in an output stands
for any lines.
"""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_BLOCK: Final = re.compile(r"(?:<!-- (file|change): (\S+) -->\n)?^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
#: What differs from run to run and from release to release, and what stands for it.
_MASKS: Final = (
    (re.compile(r"\b(in|limit) ?[\d.]+ ?s\b"), r"\1 S s"),
    (re.compile(r"numpy( = \">=| )[\d.]+"), r"numpy\1VERSION"),
)
_LOOSE: Final = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
#: Of the pytest that runs this.
_NOT_INHERITED: Final = ("PYTEST_", "NORMGAUGE_", "COV_")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block: its language, its text, and the file that it is or changes."""

    language: str
    text: str
    file: str
    changes: str


def blocks(page: str) -> Iterator[Block]:
    for what, name, language, text in _BLOCK.findall(page):
        named = {"file": name if what == "file" else "", "changes": name if what == "change" else ""}
        yield Block(language=language, text=text, **named)


def commands(text: str) -> list[tuple[str, str]]:
    """Each command of a console block, with the output below it."""
    parts = [part for part in re.split(r"^\$ ", text, flags=re.MULTILINE) if part]
    return [(command, output) for command, _, output in (part.partition("\n") for part in parts)]


def changed(text: str, change: str) -> str:
    """``text`` with each run of lines with ``-`` replaced by the lines with ``+`` after it."""
    for old, new in re.findall(r"((?:^-.*\n)+)((?:^\+.*\n)*)", change, re.MULTILINE):
        before, after = (re.sub(r"^.", "", lines, flags=re.MULTILINE) for lines in (old, new))
        assert text.count(before) == 1, f"the text to change is there {text.count(before)} times:\n{before}"
        text = text.replace(before, after)
    return text


def install_here(folder: Path, into: Path) -> None:
    """What `python -m pip install .` does, without pip and the network: build the wheel, and unpack it."""
    build = "import sys, setuptools.build_meta as backend; into, sys.argv = sys.argv[1], sys.argv[:1]; "
    build += "print(backend.build_wheel(into))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(into)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = into.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(into)


@dataclass(kw_only=True)
class Console:
    """A terminal in which a page's commands run; ``site`` is where its installs go, ``exits`` has codes that are not 0.

    ``own`` has commands that are run by a function, which is given the folder and the ``site``.
    """

    folder: Path
    site: Path
    exits: dict[str, int] = field(default_factory=dict)
    own: Mapping[str, Callable[[Path, Path], None]] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)

    def follow(self, page: str) -> None:
        """Do everything that the page says, and compare each output."""
        for block in blocks(page):
            if block.file:
                (self.folder / block.file).write_text(block.text, encoding="utf-8")
            elif block.changes:
                path = self.folder / block.changes
                path.write_text(changed(path.read_text(encoding="utf-8"), block.text), encoding="utf-8")
            elif block.language == "console":
                for command, shown in commands(block.text):
                    self._compare(command, shown)

    def _compare(self, command: str, shown: str) -> None:
        self.ran.append(command)
        printed = self._run(command)
        wanted, got = _masked(shown), _masked(printed)
        assert doctest.OutputChecker().check_output(wanted, got, _LOOSE), (
            f"$ {command}\n{got}\nthe page shows\n{wanted}"
        )

    def _run(self, command: str) -> str:
        if command.startswith("cd "):
            self.folder = self.folder / command.removeprefix("cd ")
            return ""
        if command in self.own:
            self.own[command](self.folder, self.site)
            return ""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
        path = os.pathsep.join((str(Path(sys.executable).parent), inherited.get("PATH", "")))
        done = subprocess.run(
            ["/bin/sh", "-c", command], cwd=self.folder, text=True, check=False, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env={**inherited, "PATH": path, "COLUMNS": "160", "PYTHONPATH": str(self.site)},
        )  # fmt: skip
        assert done.returncode == self.exits.get(command, 0), f"$ {command}\n{done.stdout}"
        return done.stdout


def _masked(text: str) -> str:
    for pattern, instead in _MASKS:
        text = pattern.sub(instead, text)
    return text
