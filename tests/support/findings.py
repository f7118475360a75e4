"""The files of docs/findings/ and docs/upstream/: read, run and compared, and the index made of them.

A file begins with TOML between two lines of `+++`, then Markdown. A fence of `python` (of `javascript` for
TensorFlow.js) is the script, a fence of
`output` is what the script printed; words behind either name the environments that the fence is for (none: all of
them). The scripts of an environment are one, in their order. A number written as `~3e-5` is the size of a rounding
error: another processor may give up to four times more or less. Every other number must come out as written.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]
FOLDERS = ("docs/findings", "docs/upstream")
INDEX = "docs/findings.md"
#: The chapters, in the order of the index.
CHAPTERS = (
    "Semantics", "Empty inputs", "Checks", "Precision", "State", "Modes", "Lucid", "Documentation",
    "Not reported by the suite",
)  # fmt: skip
#: Seconds that a script may take, TensorFlow's start included.
TIME_LIMIT = 120
#: How far apart two sizes of a rounding error may lie and be called the same.
SIZE_FACTOR = 4.0
#: The environment whose scripts are JavaScript; its interpreter is the folder that has its packages.
JAVASCRIPT = "tfjs"
FENCE = re.compile(r"^```(python|javascript|output)((?: [a-z-]+)*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SIZE = re.compile(r"~(\d+(?:\.\d+)?(?:e[-+]?\d+)?)")


class BrokenFinding(Exception):
    """A file that cannot be read as a finding: one line with its name, what is wrong, and what is allowed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """One file: its front matter, its text, and by environment the script and what it printed."""

    path: Path
    front: Mapping[str, Any]
    text: str
    scripts: Mapping[str, str]
    outputs: Mapping[str, str]

    @property
    def prose(self) -> str:
        """The text without its fences."""
        return FENCE.sub("", self.text)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """A line that a script prints otherwise than its file says; nothing where one of them has no such line."""

    written: str | None
    printed: str | None


def read(path: Path) -> Finding:
    """The finding that a file holds.

    Raises:
        BrokenFinding: no front matter, front matter that is no TOML, or a fence for an environment that is not listed.
    """
    whole = path.read_text(encoding="utf-8")
    parts = whole.split("+++\n", 2)
    if len(parts) != 3 or parts[0]:
        raise BrokenFinding(f"{path.name}: begin with TOML between two lines of +++")
    try:
        front = tomllib.loads(parts[1])
    except tomllib.TOMLDecodeError as error:
        raise BrokenFinding(f"{path.name}: the front matter is no TOML: {error}") from None
    environments = list(front.get("environments", []))
    fences: dict[str, dict[str, str]] = {"script": {}, "output": {}}
    for language, words, content in FENCE.findall(parts[2]):
        kind = "output" if language == "output" else "script"
        for environment in words.split() or environments:
            if environment not in environments:
                raise BrokenFinding(f"{path.name}: a fence for {environment!r}; listed are {', '.join(environments)}")
            if kind == "output" and environment in fences[kind]:
                raise BrokenFinding(f"{path.name}: two fences of output for {environment!r}; one is allowed")
            fences[kind][environment] = fences[kind].get(environment, "") + content
    return Finding(path=path, front=front, text=parts[2], scripts=fences["script"], outputs=fences["output"])


def all_of(folder: str = FOLDERS[0]) -> list[Finding]:
    """The findings of a folder, by their file names."""
    return [read(path) for path in sorted((PROJECT / folder).glob("*.md")) if path.name != "README.md"]


# --- running ------------------------------------------------------------------------------------


def printed_by(script: str, python: str, environment: str) -> str:
    """What a script prints in an environment; the last line of an error where it ends with one."""
    variables = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "OMP_NUM_THREADS": "1",
    }
    if environment.startswith("keras-"):
        variables["KERAS_BACKEND"] = environment.removeprefix("keras-")
    with tempfile.TemporaryDirectory() as scratch:
        if environment == JAVASCRIPT:
            file, packages = Path(scratch, "script.mjs"), Path(scratch, "node_modules")
            packages.symlink_to(Path(python, "node_modules").resolve())
            ours, command = {file, packages}, ["node", str(file)]
        else:
            file = Path(scratch, "script.py")
            ours, command = {file}, [python, "-I", "-B", "-W", "ignore", str(file)]
        file.write_text(script, encoding="utf-8")
        try:
            done = subprocess.run(
                command, cwd=scratch, env=variables, capture_output=True, text=True, timeout=TIME_LIMIT, check=False
            )
        except subprocess.TimeoutExpired:
            return f"the script did not end within {TIME_LIMIT} s\n"
        left = sorted(path.name for path in Path(scratch).iterdir() if path not in ours)
    if left:
        return f"{done.stdout}the script left files where it ran: {', '.join(left)}\n"
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        return f"{done.stdout}the script ended with an error: {last[0]}\n"
    return done.stdout


def releases_in(python: str) -> dict[str, str]:
    """The releases of everything that an environment has, without what marks a build."""
    if (named := Path(python, "package.json")).exists():
        asked = json.loads(named.read_text(encoding="utf-8"))["dependencies"]
        return {name.rpartition("/")[2]: release for name, release in asked.items()}
    script = "import importlib.metadata as m; [print(d.name, d.version.split('+')[0]) for d in m.distributions()]"
    return dict(line.split() for line in printed_by(script, python, "").splitlines())


def differences(written: str, printed: str) -> list[Difference]:
    """The lines in which two outputs differ; sizes of rounding errors may differ by :data:`SIZE_FACTOR`."""
    lines, others = written.splitlines(), printed.splitlines()
    longest = max(len(lines), len(others))
    pairs = [(_at(lines, i), _at(others, i)) for i in range(longest)]
    return [Difference(written=one, printed=other) for one, other in pairs if not _alike(one, other)]


def _at(lines: Sequence[str], index: int) -> str | None:
    return lines[index] if index < len(lines) else None


def _alike(one: str | None, other: str | None) -> bool:
    if one is None or other is None or SIZE.sub("~", one).split() != SIZE.sub("~", other).split():
        return one == other
    sizes = zip(map(float, SIZE.findall(one)), map(float, SIZE.findall(other)), strict=True)
    return all(a == b or (a and b and 1 / SIZE_FACTOR <= a / b <= SIZE_FACTOR) for a, b in sizes)


# --- numbers ------------------------------------------------------------------------------------

#: What is no measured number.
NO_NUMBER = re.compile(
    "|".join(
        (
            r"https?://\S+",
            r"\]\([^)]*\)",  # the target of a link
            r"\b(?:GN|BN)-\d+\b",
            r"x86-64",
            r"Python(?: version:)? \d+\.\d+",
            r"\b\d+\.\d+\.\d+\b",  # a release
            r"\b\w*[A-Za-z_][\w.]*\b(?=\()",  # a function
            r"\b[A-Za-z_]+\w*\d\w*\b",  # a name with digits
            r"\b[0-9a-f]*[a-f][0-9a-f]{6,}\b",  # a commit
        )
    )
)
WRITTEN = re.compile(r"(?<![\w.])[-−~]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w])")
#: Small whole numbers are words (two layers, 3 samples) as often as results.
SMALL = frozenset(range(11))


def numbers_in(text: str) -> set[float]:
    """The numbers that a text has, without those in links, names and releases; whole numbers up to ten are left out."""
    found = {
        float(word.lstrip("~").replace("−", "-").replace(",", "")) for word in WRITTEN.findall(NO_NUMBER.sub(" ", text))
    }
    return {number for number in found if abs(number) not in SMALL}


def unprinted(finding: Finding) -> list[float]:
    """The numbers of the prose that neither a script nor its output has."""
    made = {
        abs(float(word.lstrip("~").replace(",", "")))
        for text in (*finding.scripts.values(), *finding.outputs.values(), str(finding.front))
        for word in re.findall(r"\d+(?:\.\d+)?(?:e[-+]?\d+)?|\.\d+", text)
    }
    return sorted(number for number in numbers_in(finding.prose) if abs(number) not in made)


# --- the index ----------------------------------------------------------------------------------


def index(findings: Sequence[Finding]) -> str:
    """The page docs/findings.md."""
    lines = [
        "# Findings",
        "",
        "One file per finding, each with a script that needs the framework and NumPy alone and prints every number of",
        "the text. `nox -s findings` runs the scripts and compares. This page is made from the files:",
        "`nox -s findings -- --write`. All was measured on x86-64 processors under Linux.",
        "",
        "How a file is written: [findings/README.md](findings/README.md).",
        "",
        "*Threads* counts the public threads on the same behaviour. The file names them, and the words that were",
        "searched.",
    ]
    for chapter in CHAPTERS:
        rows = [_row(one) for one in findings if one.front["chapter"] == chapter]
        if rows:
            lines += ["", f"## {chapter}", "", "| finding | requirements | measured with | threads |"]
            lines += ["| --- | --- | --- | --- |", *rows]
    return "\n".join(lines) + "\n"


def _row(finding: Finding) -> str:
    front = finding.front
    releases = ", ".join(f"{name} {version}" for name, version in front["releases"].items())
    same = [thread for thread in front.get("threads", []) if not thread.get("near")]
    wanted = ", ".join(front["requirements"]) or "–"
    return f"| [{front['title']}](findings/{finding.path.name}) | {wanted} | {releases} | {len(same) or 'none found'} |"


# --- the command --------------------------------------------------------------------------------


def with_outputs(finding: Finding, printed: Mapping[str, str]) -> str:
    """The file's text with these outputs in place of its own; environments that print the same share a fence."""
    text = FENCE.sub(lambda fence: "" if fence[1] == "output" else fence[0], finding.path.read_text(encoding="utf-8"))
    together: dict[str, list[str]] = {}
    for environment in finding.front["environments"]:
        together.setdefault(printed.get(environment, finding.outputs.get(environment, "")), []).append(environment)
    everywhere = len(together) == 1
    fences = [
        f"```output{'' if everywhere else ' ' + ' '.join(names)}\n{output}```" for output, names in together.items()
    ]
    return text.rstrip("\n") + "\n\n" + "\n\n".join(fences) + "\n"


def _jobs(pythons: Mapping[str, str], words: Sequence[str]) -> Iterator[tuple[Finding, str]]:
    for folder in FOLDERS:
        for finding in all_of(folder):
            if not words or any(word in finding.path.stem for word in words):
                yield from ((finding, name) for name in finding.front["environments"] if name in pythons)


def main() -> int:
    """Run the scripts in the given environments; 1 where one of them prints something else than its file says."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("words", nargs="*", help="parts of file names; without any, every file")
    parser.add_argument("--pythons", required=True, help="JSON: the interpreter of each environment, by its name")
    parser.add_argument("--write", action="store_true", help="write what was printed into the files, and the index")
    parser.add_argument("--jobs", type=int, default=1, help="how many scripts at a time")
    asked = parser.parse_args()
    pythons = json.loads(asked.pythons)
    jobs = list(_jobs(pythons, asked.words))
    printed = []
    with ThreadPoolExecutor(asked.jobs) as pool:
        for job, output in zip(jobs, pool.map(lambda job: _run(job[0], job[1], pythons), jobs), strict=True):
            printed.append(output)
            report(*job, output)
    changed = sum(bool(changes(*job, output)) for job, output in zip(jobs, printed, strict=True))
    if asked.write:
        write(jobs, printed, pythons)
    numbers = sum(len(re.findall(r"\d+(?:\.\d+)?(?:e[-+]?\d+)?", output)) for output in printed)
    print(f"{len(jobs)} scripts run, {numbers} numbers compared, {changed} scripts differ")
    return 1 if changed and not asked.write else 0


def _run(finding: Finding, environment: str, pythons: Mapping[str, str]) -> str:
    return printed_by(finding.scripts[environment], pythons[environment], environment)


def changes(finding: Finding, environment: str, output: str) -> list[Difference]:
    """The lines that a script prints otherwise than its file says."""
    return differences(finding.outputs.get(environment, ""), output)


def report(finding: Finding, environment: str, output: str) -> None:
    """Print whether a finding is as it was in one environment, and what differs."""
    found = changes(finding, environment, output)
    print(f"{finding.path.name} in {environment}: {'gone or changed' if found else 'as written'}", flush=True)
    for difference in found:
        print(f"  written: {difference.written}")
        print(f"  printed: {difference.printed}")


def write(jobs: Sequence[tuple[Finding, str]], printed: Sequence[str], pythons: Mapping[str, str]) -> None:
    """Write outputs and releases into their files, as far as they differ, and the index."""
    by_file: dict[Path, dict[str, str]] = {}
    for (finding, environment), output in zip(jobs, printed, strict=True):
        kept = output if changes(finding, environment, output) else finding.outputs.get(environment, "")
        by_file.setdefault(finding.path, {})[environment] = kept
    installed = {python: releases_in(python) for python in set(pythons.values())}
    for path, outputs in by_file.items():
        text = with_outputs(read(path), outputs)
        there = {key: one for name in outputs for key, one in installed[pythons[name]].items()}
        releases = read(path).front["releases"].items()
        line = ", ".join(f'{name} = "{there.get(name, release)}"' for name, release in releases)
        path.write_text(
            re.sub(r"^releases = .*$", f"releases = {{ {line} }}", text, count=1, flags=re.M), encoding="utf-8"
        )
    (PROJECT / INDEX).write_text(index(all_of()), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
