"""The files of docs/findings and docs/upstream: what each must have, and how scripts are run and compared.

`nox -s findings` runs the scripts themselves.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import re
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

import findings
import pytest
from findings import CHAPTERS, FOLDERS, INDEX, PROJECT, BrokenFinding, Finding

from normgauge.conformance.layers.registry import requirements
from normgauge.conformance.remedies.catalogue import BATCH_NORM, GROUP_NORM

FINDINGS = findings.all_of("docs/findings")
REPORTS = findings.all_of("docs/upstream")
EVERY = [*FINDINGS, *REPORTS]
PINS = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
IN_NODE = [f"{name}=={release}" for name, release in findings.releases_in(str(PROJECT / "examples/tfjs")).items()]


def named(finding: Finding) -> str:
    return finding.path.stem


@pytest.mark.parametrize("finding", FINDINGS, ids=named)
def test_a_finding_says_what_a_reader_needs_to_judge_it(finding: Finding) -> None:
    front = finding.front
    assert front["title"]
    assert front["chapter"] in CHAPTERS
    assert set(front["requirements"]) <= set(requirements())
    assert isinstance(front["searched"], datetime.date)
    assert front["words"]
    for thread in front.get("threads", []):
        assert re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+/(issues|pull)/\d+", thread["url"])
        assert thread["says"]


@pytest.mark.parametrize("finding", EVERY, ids=named)
def test_each_environment_has_a_script_that_ends_well_and_its_output(finding: Finding) -> None:
    frameworks = {entry.name for entry in importlib.metadata.entry_points(group="normgauge.adapters")} | {
        findings.JAVASCRIPT
    }
    environments = finding.front["environments"]
    assert set(environments) <= frameworks
    assert set(finding.scripts) == set(finding.outputs) == set(environments)
    for output in finding.outputs.values():
        assert output.strip()
        assert "the script " not in output
    assert not any("normgauge" in script for script in finding.scripts.values())


@pytest.mark.parametrize("finding", EVERY, ids=named)
def test_the_releases_are_the_pinned_ones(finding: Finding) -> None:
    """A pin that moves makes every finding of its framework say so, until its scripts have run again."""
    pins = [pin for name in finding.front["environments"] for pin in PINS.get(name, IN_NODE)]
    for name, release in finding.front["releases"].items():
        assert any(re.match(rf"{re.escape(name)}(\[\w+\])?=={re.escape(release)}\b", pin) for pin in pins), name


@pytest.mark.parametrize("finding", EVERY, ids=named)
def test_every_number_of_the_text_is_in_the_script_or_in_what_it_prints(finding: Finding) -> None:
    assert findings.unprinted(finding) == []


@pytest.mark.parametrize("finding", FINDINGS, ids=named)
def test_the_number_that_a_port_is_told_is_that_of_the_remedy(finding: Finding) -> None:
    remedies = " ".join(one.sentence for one in (*GROUP_NORM, *BATCH_NORM) if one.key in finding.front["requirements"])
    told = " ".join(line for line in finding.prose.splitlines() if line.startswith("- A port"))
    numbers = re.compile(r"\b\d+e-\d+")
    assert not remedies or set(numbers.findall(told)) <= set(numbers.findall(remedies))


@pytest.mark.parametrize("finding", EVERY, ids=named)
def test_links_between_pages_lead_somewhere(finding: Finding) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", finding.prose):
        assert (finding.path.parent / target).exists(), target


def test_the_index_is_made_of_the_files() -> None:
    written = (PROJECT / INDEX).read_text(encoding="utf-8")
    assert written == findings.index(FINDINGS), "stale: run nox -s findings -- --write"


# --- how they are read, run and compared --------------------------------------------------------

TEXT = """+++
environments = ["torch", "mlx"]
+++

It is 1.25, and off by ~3e-7, see https://github.com/a/b/issues/987654 and GN-12 of torch 2.13.0.

```python torch
first = 1.25
```

```python
print(first)
```

```output torch
1.25
```
"""


def written(tmp_path: Path, text: str = TEXT) -> Finding:
    path = tmp_path / "one.md"
    path.write_text(text, encoding="utf-8")
    return findings.read(path)


def test_the_scripts_of_an_environment_are_one(tmp_path: Path) -> None:
    finding = written(tmp_path)
    assert finding.scripts == {"torch": "first = 1.25\nprint(first)\n", "mlx": "print(first)\n"}
    assert finding.outputs == {"torch": "1.25\n"}


def test_a_number_that_nothing_prints_is_found(tmp_path: Path) -> None:
    assert findings.unprinted(written(tmp_path)) == [3e-7]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("no front matter", "one.md: begin with TOML between two lines of +++"),
        ("+++\nenvironments = \n+++\n", "one.md: the front matter is no TOML: "),
        (TEXT.replace("python torch", "python flax"), "one.md: a fence for 'flax'; listed are torch, mlx"),
        (TEXT + "\n```output\n2\n```\n", "one.md: two fences of output for 'torch'; one is allowed"),
    ],
)
def test_a_file_of_another_form_is_one_line(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(BrokenFinding) as broken:
        written(tmp_path, text)
    assert str(broken.value).startswith(told)


@pytest.mark.parametrize(
    ("before", "now", "differ"),
    [
        ("mean 1.5\n", "mean 1.5\n", False),
        ("mean 1.5\n", "mean 1.50001\n", True),
        ("off by ~3e-07\n", "off by ~9e-07\n", False),
        ("off by ~3e-07\n", "off by ~3e-06\n", True),
        ("off by ~3e-07\n", "right\n", True),
        ("off by ~0\n", "off by ~1e-9\n", True),
        ("one\n", "one\ntwo\n", True),
        ("one\ntwo\n", "one\n", True),
    ],
)
def test_only_sizes_of_rounding_errors_may_differ(before: str, now: str, differ: bool) -> None:
    assert bool(findings.differences(before, now)) is differ


def test_what_a_script_prints_and_how_it_fails() -> None:
    assert findings.printed_by("print(1 + 1)", sys.executable, "torch") == "2\n"
    failed = findings.printed_by("print(1)\nraise ValueError('too bad')", sys.executable, "torch")
    assert failed == "1\nthe script ended with an error: ValueError: too bad\n"
    left = findings.printed_by("open('x.npz', 'w').close()", sys.executable, "torch")
    assert left == "the script left files where it ran: x.npz\n"
    assert findings.printed_by("import os; print(os.environ['KERAS_BACKEND'])", sys.executable, "keras-jax") == "jax\n"


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not on PATH")
def test_a_script_in_javascript_has_the_packages_of_its_folder(tmp_path: Path) -> None:
    package = tmp_path / "node_modules" / "two"
    package.mkdir(parents=True)
    (package / "package.json").write_text('{"name": "two", "type": "module", "exports": "./two.js"}')
    (package / "two.js").write_text("export const two = 2;")
    script = 'import { two } from "two";\nconsole.log(two);\n'
    assert findings.printed_by(script, str(tmp_path), findings.JAVASCRIPT) == "2\n"
    failed = findings.printed_by(script + "throw new Error('too bad');", str(tmp_path), findings.JAVASCRIPT)
    assert failed.startswith("2\nthe script ended with an error: ")


def test_outputs_are_written_once_for_those_that_print_the_same(tmp_path: Path) -> None:
    finding = written(tmp_path)
    alike = findings.with_outputs(finding, {"torch": "7\n", "mlx": "7\n"})
    assert alike.endswith("```\n\n```output\n7\n```\n")
    apart = findings.with_outputs(finding, {"torch": "7\n", "mlx": "8\n"})
    assert apart.endswith("```output torch\n7\n```\n\n```output mlx\n8\n```\n")


def test_the_command_tells_what_is_gone_and_writes_only_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    front = {
        "title": "T",
        "chapter": "Modes",
        "requirements": [],
        "releases": {"torch": "1"},
        "environments": ["torch"],
    }
    toml = "\n".join(f"{key} = {as_toml(value)}" for key, value in front.items())
    (tmp_path / "docs" / "findings").mkdir(parents=True)
    path = tmp_path / "docs" / "findings" / "one.md"
    path.write_text(f"+++\n{toml}\n+++\n\n```python\nprint(1.5)\n```\n\n```output\n2.5\n```\n", encoding="utf-8")
    monkeypatch.setattr(findings, "PROJECT", tmp_path)
    command = ["findings.py", "--pythons", f'{{"torch": "{Path(sys.executable).as_posix()}"}}']
    monkeypatch.setattr(sys, "argv", command)
    assert findings.main() == 1
    told = capsys.readouterr().out
    assert "one.md in torch: gone or changed\n  written: 2.5\n  printed: 1.5\n" in told
    assert "1 scripts run, 1 numbers compared, 1 scripts differ" in told
    monkeypatch.setattr(sys, "argv", [*command, "--write"])
    assert findings.main() == 0
    assert path.read_text(encoding="utf-8").endswith("```output\n1.5\n```\n")
    assert "[T](findings/one.md)" in (tmp_path / INDEX).read_text(encoding="utf-8")


def as_toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f'{key} = "{one}"' for key, one in value.items()) + " }"
    return str(value).replace("'", '"') if isinstance(value, list) else f'"{value}"'


# --- reports for maintainers --------------------------------------------------------------------

#: What the trackers' templates ask for; MLX's asks for issues that no AI wrote, so there are facts alone.
TEMPLATES = {
    "pytorch/pytorch": ("### 🐛 Describe the bug", "### Versions"),
    "keras-team/keras": (
        "**System information**",
        "**Describe the problem**",
        "**Describe the current behavior**",
        "**Describe the expected behavior**",
    ),
    "google/flax": (
        "### System information",
        "### Problem you have encountered:",
        "### What you expected to happen:",
        "### Steps to reproduce:",
    ),
    "tensorflow/tfjs": (
        "**System information**",
        "**Describe the current behavior**",
        "**Describe the expected behavior**",
        "**Standalone code to reproduce the issue**",
    ),
    "ml-explore/mlx": ("no AI wrote", "## Expected", "## Versions"),
}


@pytest.mark.parametrize("report", REPORTS, ids=named)
def test_a_report_has_what_a_maintainer_needs(report: Finding) -> None:
    (script,) = report.scripts.values()
    assert len(script.splitlines()) <= 15
    tracker = re.match(r"https://github\.com/([\w.-]+/[\w.-]+)/issues/new", report.front["tracker"])
    assert tracker is not None
    for part in (*TEMPLATES[tracker[1]], "## Cause", "## Suggested change", "## Near threads"):
        assert part in report.text, part
    assert re.search(rf"https://github\.com/{tracker[1]}/blob/v[\d.]+/\S+#L\d+", report.text), "a permalink by tag"
    assert (PROJECT / FOLDERS[0] / f"{report.front['finding']}.md").exists()
    assert f"]({report.path.name})" in (PROJECT / FOLDERS[1] / "README.md").read_text(encoding="utf-8")
