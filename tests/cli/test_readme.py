"""What the README and the other pages say is true now."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from frameworks import for_each, normgauge, python_of

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


def test_the_example_for_a_unit_test_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[[")


def test_every_file_that_a_page_links_to_exists() -> None:
    for page in (PROJECT / "README.md", *PROJECT.glob("docs/*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


@for_each("mlx")
def test_the_diagnosis_in_the_readme_is_what_the_command_prints(framework: str) -> None:
    python_of(framework)
    (shown,) = [block for block in CONSOLE if "normgauge diagnose" in block]
    command, _, expected = shown.partition("\n")
    assert command.startswith(f"$ normgauge diagnose {framework}.")
    told = normgauge(*command.removeprefix("$ normgauge ").split())
    assert [line.rstrip() for line in told.splitlines()] == expected.rstrip("\n").splitlines()
