"""What the README and the other pages say is true now."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

from frameworks import for_each, python_of

PROJECT = Path(__file__).parents[2]
README = (PROJECT / "README.md").read_text(encoding="utf-8")
CONSOLE = re.findall(r"```console\n(.*?)```", README, re.DOTALL)


def sessions() -> set[str]:
    """The names of the noxfile's sessions."""
    tree = ast.parse((PROJECT / "noxfile.py").read_text(encoding="utf-8"))
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and any("session" in ast.dump(d) for d in node.decorator_list)
    }


def pyproject() -> dict[str, Any]:
    return tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_nox_session_that_a_page_names_exists() -> None:
    pages = [README, *(page.read_text(encoding="utf-8") for page in PROJECT.glob("docs/*.md"))]
    pages.append((PROJECT / ".ci" / "run").read_text(encoding="utf-8"))
    named = {
        word.partition("(")[0]
        for text in pages
        for words in re.findall(r"nox -s ([a-z\"(), ]+)", text)
        for word in words.replace('"', "").replace(",", "").split()
        if word.partition("(")[0].isalpha()
    }
    assert {"conformance", "tests", "lint", "types"} <= named & sessions()
    assert named - sessions() <= {"and", "in", "or"}


def test_every_framework_session_is_a_registered_adapter_with_pins() -> None:
    project = pyproject()
    adapters = project["project"]["entry-points"]["normgauge.adapters"]
    assert adapters.keys() <= project["dependency-groups"].keys()
    framework = re.search(r'nox -s "conformance\((.+?)\)"', README)
    assert framework is not None
    assert framework[1] in adapters


def test_every_file_that_a_page_links_to_exists() -> None:
    for page in (PROJECT / "README.md", *PROJECT.glob("docs/*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


#: What a README's command runs: this project's commands and its Python script. The others are sessions of nox, which
#: continuous integration runs, and pip, which installs.
RUN: Final = ("normgauge ", "python test_kernel.py")
SECONDS: Final = re.compile(r" in [\d.]+ s$", re.MULTILINE)


def commands() -> list[tuple[str, str]]:
    """Each command of the README with the output below it."""
    parts = [part for block in CONSOLE for part in re.split(r"^\$ ", block, flags=re.MULTILINE) if part]
    return [(command, output) for command, _, output in (part.partition("\n") for part in parts)]


def printed(command: str, folder: Path) -> str:
    """The output of a command in a terminal: a run prints on stderr, the others on stdout."""
    words = shlex.split(command)
    program = [sys.executable, "-m", "normgauge.conformance.cli.main"] if words[0] == "normgauge" else [sys.executable]
    done = subprocess.run(
        [*program, *words[1:]], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "COLUMNS": "160"},
    )  # fmt: skip
    gate_fails = words[:2] == ["normgauge", "gate"]
    assert done.returncode == (1 if gate_fails else 0), done.stderr
    return done.stderr if words[:2] == ["normgauge", "run"] else done.stdout


def comparable(text: str) -> list[str]:
    """The lines of an output without its seconds, and without blanks at the ends of lines."""
    return [line.rstrip() for line in SECONDS.sub(" in s", text).splitlines()]


@for_each("mlx")
def test_every_command_of_the_readme_prints_what_the_readme_shows(framework: str, tmp_path: Path) -> None:
    """The commands run in their order and in one folder: the gate and the report read what the first one wrote."""
    python_of(framework)
    (script,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "test_kernel.py").write_text(script, encoding="utf-8")
    (tmp_path / "known.toml").write_text("", encoding="utf-8")
    ours = [(command, shown) for command, shown in commands() if command.startswith(RUN)]
    assert {command.split()[1] for command, _ in ours} >= {"run", "diagnose", "gate", "report", "test_kernel.py"}
    for command, shown in ours:
        assert shown.strip(), f"{command}: the README shows no output"
        assert comparable(printed(command, tmp_path)) == comparable(shown), command


def test_every_command_of_the_readme_is_run_or_is_one_of_nox_or_pip() -> None:
    for command, shown in commands():
        assert command.startswith((*RUN, "nox ", "python -m pip install ")), command
        assert command.startswith(RUN) or not shown.strip(), f"{command}: its output is not compared"
