"""What a release and a contributor rely on: the version, the changelog, the files and commands that pages name."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Final

from packaging.version import Version

import normgauge
from normgauge.conformance.cli.main import main

PROJECT: Final = Path(__file__).parents[2]
CONTRIBUTING: Final = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_version_has_one_source_and_a_section_of_the_changelog() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "normgauge.__version__"}
    sections = re.findall(r"^## (.*)$", (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    matched = [re.fullmatch(r"([\d.]+) \((unreleased|\d{4}-\d\d-\d\d)\)", section) for section in sections]
    assert all(matched), f"each section of CHANGELOG.md is 'VERSION (unreleased)' or 'VERSION (DAY)': {sections}"
    versions = [Version(one[1]) for one in matched if one]
    assert versions == sorted(set(versions), reverse=True)
    assert Version(normgauge.__version__) in versions
    assert [one[1] for one in matched[1:] if one and one[2] == "unreleased"] == []


def test_every_file_that_contributing_names_is_there() -> None:
    tops = "oracle|adapters|conformance|reports|results|tests|docs|face"
    named = set(re.findall(rf"`((?:{tops})/[\w/.]*)`", CONTRIBUTING)) | set(re.findall(r"\]\(([\w/.-]+)", CONTRIBUTING))
    assert len(named) > 30
    assert [name for name in sorted(named) if "NAME" not in name and not (PROJECT / name).exists()] == []


def test_the_page_of_commands_has_every_command() -> None:
    page = (PROJECT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^## ([\w-]+)$", page, re.MULTILINE)) == set(main.commands)
    assert set(re.findall(r"program-output\} normgauge ([\w-]+) --help$", page, re.MULTILINE)) == set(main.commands)


def test_every_hook_runs_a_part_of_lint_and_every_part_has_a_hook() -> None:
    (linters,) = (
        node.value
        for node in ast.parse((PROJECT / "noxfile.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LINTERS"
    )
    assert isinstance(linters, ast.Dict)
    hooks = re.findall(
        r"entry: nox -s lint -- (\w+)", (PROJECT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    )
    assert hooks == [ast.literal_eval(key) for key in linters.keys if key]
