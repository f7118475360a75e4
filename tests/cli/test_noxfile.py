"""The noxfile's own logic: which requirements, which releases, which Python, and what is noted when one is missing."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("nox", reason="nox is not installed; pip install nox")

from nox.command import CommandFailed


@pytest.fixture(scope="module")
def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("noxfile", Path(__file__).parents[2] / "noxfile.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def noxfile(loaded: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The project's noxfile in an empty folder, with pins that do not move."""
    monkeypatch.chdir(tmp_path)
    pinned = {
        "mlx": ["mlx[cpu]==0.32.4; sys_platform != 'win32'", "mlx==0.32.4; sys_platform == 'win32'"],
        "keras-jax": ["keras==3.15.1", "jax==0.10.2"],
        "torch": ["torch==2.13.0"],
        "lucid": ["lucid-dl==2.12.8"],
    }
    monkeypatch.setattr(loaded, "pins", lambda *groups: [pin for group in groups for pin in pinned[group]])
    monkeypatch.setattr(loaded, "FRAMEWORKS", list(pinned))
    monkeypatch.setattr(loaded, "PYTHON", {"lucid": "3.14"})
    return loaded


class Stopped(Exception):
    """What a session's error and skip raise here: ``how`` it ended, and the message."""

    def __init__(self, how: str, message: str) -> None:
        super().__init__(message)
        self.how = how


class Session:
    """Stands in for nox's: notes what is run, and fails where it is told to."""

    def __init__(self, folder: Path, *posargs: str, fails: Callable[[tuple[str, ...]], bool] = lambda _: False) -> None:
        self.posargs = list(posargs)
        self.virtualenv = SimpleNamespace(location=str(folder / ".nox" / "session"))
        self.ran: list[tuple[str, ...]] = []
        self.notified: list[str] = []
        self.fails = fails
        self.says = ""

    def notify(self, name: str) -> None:
        self.notified.append(name)

    def run(self, *words: str, silent: bool = False, stdout: Any = None, **_: Any) -> str:
        self.ran.append(words)
        if stdout is not None:
            stdout.write(self.says)
            stdout.flush()
        if self.fails(words):
            raise CommandFailed("no")
        return self.says

    run_install = run

    def install(self, *words: str) -> None:
        self.run("install", *words)

    def error(self, message: str) -> None:
        raise Stopped("error", message)

    def skip(self, message: str) -> None:
        raise Stopped("skip", message)

    def ran_with(self, word: str) -> list[tuple[str, ...]]:
        return [words for words in self.ran if word in words]


@pytest.fixture
def environments(noxfile: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, str]]:
    """The environments that were made, without making any."""
    made: list[tuple[Path, str]] = []

    def make(folder: Path, framework: str) -> None:
        made.append((folder, framework))
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").touch()

    monkeypatch.setattr(noxfile, "make_environment", make)
    return made


def manifest(folder: str) -> dict[str, str]:
    return json.loads((Path(folder) / "manifest.json").read_text())


# --- which requirements -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("framework", "named", "requirements", "name"),
    [
        ("mlx", ["mlx[cpu]==0.31.2"], ["mlx[cpu]==0.31.2", "numpy"], "mlx-0.31.2"),
        ("mlx", ["mlx==0.25.2", "numpy<2"], ["mlx==0.25.2", "numpy<2"], "mlx-0.25.2-numpy-2"),
        ("mlx", ["mlx>=0.30,<0.32"], ["mlx<0.32,>=0.30", "numpy"], "mlx-0.32-0.30"),
        ("mlx", ["mlx"], ["mlx", "numpy"], "mlx-newest"),
        ("keras-jax", ["keras==3.10.0"], ["keras==3.10.0", "jax==0.10.2", "numpy"], "keras-jax-3.10.0"),
        ("keras-jax", ["Jax==0.9.0"], ["Jax==0.9.0", "keras==3.15.1", "numpy"], "keras-jax-Jax-0.9.0"),
        ("torch", ["torch==2.2.2"], ["torch==2.2.2", "numpy<2"], "torch-2.2.2"),
        ("torch", ["torch==2.2.2", "numpy==1.26.4"], ["torch==2.2.2", "numpy==1.26.4"], "torch-2.2.2-numpy-1.26.4"),
        ("torch", ["torch==2.3.0"], ["torch==2.3.0", "numpy"], "torch-2.3.0"),
        ("lucid", [], ["lucid-dl==2.12.8", "numpy"], "lucid"),
    ],
)
def test_a_named_requirement_stands_in_place_of_its_pin(
    framework: str, named: list[str], requirements: list[str], name: str, noxfile: ModuleType
) -> None:
    assert noxfile.asked(framework, named) == (requirements, name)


def test_a_file_s_name_is_one_that_the_command_line_takes(noxfile: ModuleType) -> None:
    from normgauge.conformance.cli import _NOT_IN_A_NAME

    for text in ("mlx==1!0.1.dev0+local", "mlx @ https://example.org/a%20b?c", "mlx~=0.3,!=0.31"):
        _, name = noxfile.asked("mlx", [text])
        assert not _NOT_IN_A_NAME.search(name), name


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("torch==2.0", "--with 'torch==2.0': mlx is not made of torch; allowed: mlx, numpy"),
        ("mlx=0.31.2", "--with 'mlx=0.31.2' is no requirement: Expected"),
        ("", "--with '' is no requirement: "),
    ],
)
def test_a_wrong_requirement_is_one_line(named: str, told: str, noxfile: ModuleType) -> None:
    with pytest.raises(noxfile.Mistake) as mistake:
        noxfile.asked("mlx", [named])
    assert str(mistake.value).startswith(told)
    assert "\n" not in str(mistake.value)
    assert str(mistake.value).endswith(("allowed: mlx, numpy", "write it like 'mlx[cpu]==0.32.4'"))


@pytest.mark.parametrize(
    ("framework", "release", "requirement"),
    [
        ("mlx", "0.26.3", "mlx==0.26.3"),
        ("mlx", "0.26.5", "mlx[cpu]==0.26.5"),
        ("torch", "2.2.2", "torch==2.2.2"),
        ("keras-jax", "3.9.2", "keras==3.9.2"),
    ],
)
def test_a_release_is_installed_as_the_table_says(
    framework: str, release: str, requirement: str, noxfile: ModuleType
) -> None:
    assert noxfile.requirement_of(framework, release) == requirement


def test_with_is_taken_out_of_the_words_and_the_rest_is_passed_on(noxfile: ModuleType) -> None:
    words = ["--with", "a==1", "--dtype", "float32", "--with=b==2", "-i", "x"]
    assert noxfile.taken("--with", words) == (["a==1", "b==2"], ["--dtype", "float32", "-i", "x"])
    assert noxfile.taken("--with", ["--with"]) == ([""], [])


# --- which releases -----------------------------------------------------------------------------

LISTED = "mlx (0.10.1)\nAvailable versions: 0.10.1, 0.10.0, 0.9.2, 0.9.1, 0.8.0\n  INSTALLED: 0.9.1\n"


def chosen(noxfile: ModuleType, *words: str, says: str = LISTED) -> tuple[str, list[str], list[str]]:
    session = Session(Path(), *words)
    session.says = says
    return noxfile.chosen(session)


def test_without_a_list_the_table_s_selection_is_measured(noxfile: ModuleType) -> None:
    framework, releases, options = chosen(noxfile, "mlx")
    assert framework == "mlx"
    assert {"0.21.1", "0.25.2", "0.26.5", "0.29.4", "0.31.2", "0.32.0", "0.32.1", "0.32.4"} <= set(releases)
    assert options == ["--time-limit", "10", "--budget", "none"]


def test_without_a_selection_the_last_patch_of_each_minor_release_is_measured(noxfile: ModuleType) -> None:
    assert chosen(noxfile, "torch")[1] == ["0.8.0", "0.9.2", "0.10.1"]


def test_all_takes_every_release_that_pip_lists(noxfile: ModuleType) -> None:
    assert chosen(noxfile, "mlx", "--all", "--dtype", "float32")[1:] == (
        ["0.8.0", "0.9.1", "0.9.2", "0.10.0", "0.10.1"],
        ["--time-limit", "10", "--budget", "none", "--dtype", "float32"],
    )


def test_named_releases_are_measured_from_old_to_new(noxfile: ModuleType) -> None:
    assert chosen(noxfile, "mlx", "0.32.4", "0.9", "0.32.4", "--time-limit", "3")[1:] == (
        ["0.9", "0.32.4"],
        ["--time-limit", "10", "--budget", "none", "--time-limit", "3"],
    )


@pytest.mark.parametrize(
    ("words", "says", "told"),
    [
        ((), LISTED, "say which framework's releases: nox -s timeline -- mlx; known are mlx, keras-jax, torch, lucid"),
        (("mxl",), LISTED, "say which framework's releases"),
        (("mlx", "newest"), LISTED, "name releases as in: nox -s timeline -- mlx 1.2.3 1.3.0"),
        (("mlx", "0.1", "--all"), LISTED, "leave out one of them"),
        (("mlx", "--all"), "ERROR: No matching distribution", "pip could not list the releases of mlx; name some"),
    ],
)
def test_a_timeline_of_nothing_is_one_line(words: tuple[str, ...], says: str, told: str, noxfile: ModuleType) -> None:
    with pytest.raises(noxfile.Mistake) as mistake:
        chosen(noxfile, *words, says=says)
    assert told in str(mistake.value)


def test_the_releases_are_listed_for_the_python_that_runs_them(noxfile: ModuleType) -> None:
    session = Session(Path(), "lucid", "--all")
    session.says = LISTED
    noxfile.chosen(session)
    assert session.ran == [
        ("python", "-m", "pip", "index", "versions", "lucid-dl", "--only-binary", ":all:", "--python-version", "3.14")
    ]


# --- the sessions -------------------------------------------------------------------------------


def test_another_release_is_measured_beside_the_pinned_one(
    noxfile: ModuleType, environments: list[tuple[Path, str]], tmp_path: Path
) -> None:
    session = Session(tmp_path, "--with", "mlx[cpu]==0.31.2", "--dtype", "float32")
    noxfile.conformance(session, "mlx")
    folder = tmp_path / ".nox" / "workers" / "mlx-0.31.2"
    python = str(folder / "bin" / "python")
    assert environments == [(folder, "mlx")]
    named = ("--name", "mlx-0.31.2", "--python", python, "--out", "build/results")
    assert session.ran[:3] == [
        (python, "-m", "pip", "install", "--disable-pip-version-check", "mlx[cpu]==0.31.2", "numpy"),
        ("install", "."),
        ("normgauge", "run", "mlx", *named, "--dtype", "float32"),
    ]
    assert session.notified == ["report"]
    noxfile.conformance(session, "mlx")
    assert len(environments) == 1  # used again


def test_the_pinned_release_is_measured_in_the_session_s_own_environment(noxfile: ModuleType, tmp_path: Path) -> None:
    session = Session(tmp_path)
    noxfile.conformance(session, "torch")
    (install, run, *_) = session.ran
    assert install[:3] == ("install", ".", "torch==2.13.0")
    assert run == ("normgauge", "run", "torch", "--name", "torch", "--out", "build/results")


def test_a_framework_that_needs_another_python_gets_an_environment_with_it(
    noxfile: ModuleType, environments: list[tuple[Path, str]], tmp_path: Path
) -> None:
    session = Session(tmp_path)
    noxfile.conformance(session, "lucid")
    assert environments == [(tmp_path / ".nox" / "workers" / "lucid", "lucid")]
    assert ("install", ".") in session.ran
    run, gate = session.ran_with("normgauge")
    assert "--python" in run
    assert gate == ("normgauge", "gate", "build/results/lucid.jsonl")


@pytest.mark.parametrize(
    ("uv", "told"),
    [
        (None, "lucid needs Python 3.14, which was not found; install it, or install uv (pip install uv), which"),
        ("/bin/uv", "lucid needs Python 3.14, which was not found and which uv could not fetch; install it"),
    ],
)
def test_a_python_that_is_not_here_is_a_skip_and_a_row_with_the_remedy(
    uv: str | None, told: str, noxfile: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def fails(command: list[str], **_: Any) -> SimpleNamespace:
        tried.append(command[0])
        return SimpleNamespace(returncode=1, stderr="failed to find interpreter")

    monkeypatch.setattr(noxfile.subprocess, "run", fails)
    monkeypatch.setattr(noxfile.shutil, "which", lambda _: uv)
    session = Session(tmp_path)
    with pytest.raises(Stopped) as stopped:
        noxfile.conformance(session, "lucid")
    assert stopped.value.how == "skip"
    assert str(stopped.value).startswith(told)
    assert manifest("build/results") == {"lucid": str(stopped.value)}
    assert session.ran == []  # nothing is installed in vain
    assert tried == ([sys.executable] if uv is None else [sys.executable, "uv"])


def test_a_release_that_cannot_be_installed_is_an_error_and_a_row_with_pip_s_words(
    noxfile: ModuleType, environments: list[tuple[Path, str]], tmp_path: Path
) -> None:
    session = Session(tmp_path, "--with", "mlx==0.1.0", fails=lambda words: "mlx==0.1.0" in words)
    session.says = "WARNING: slow\nERROR: No matching distribution found for mlx==0.1.0\n"
    with pytest.raises(Stopped) as stopped:
        noxfile.conformance(session, "mlx")
    told = "mlx-0.1.0 could not be installed: No matching distribution found for mlx==0.1.0"
    assert (stopped.value.how, str(stopped.value)) == ("error", told)
    assert manifest("build/results") == {"mlx-0.1.0": told}
    assert not session.ran_with("normgauge")


def test_a_wrong_requirement_ends_the_session_before_anything_is_installed(noxfile: ModuleType, tmp_path: Path) -> None:
    session = Session(tmp_path, "--with", "torch==1.0")
    with pytest.raises(Stopped, match="mlx is not made of torch"):
        noxfile.conformance(session, "mlx")
    assert session.ran == []


def test_a_timeline_measures_each_release_and_goes_on_after_one_that_does_not_install(
    noxfile: ModuleType, environments: list[tuple[Path, str]], tmp_path: Path
) -> None:
    folder = tmp_path / "build" / "timeline" / "mlx"
    folder.mkdir(parents=True)
    (folder / "mlx-0.1.0.jsonl").write_text("of another list")
    session = Session(tmp_path, "mlx", "0.31.2", "0.30.99", "0.32.0", fails=lambda words: "mlx[cpu]==0.30.99" in words)
    session.says = "ERROR: No matching distribution found for mlx==0.30.99\n"
    noxfile.timeline(session)
    runs = session.ran_with("run")
    assert [words[words.index("--name") + 1] for words in runs] == ["mlx-0.31.2", "mlx-0.32.0"]
    assert "No matching distribution" in manifest(str(folder))["mlx-0.30.99"]
    assert session.ran[-1] == ("normgauge", "timeline", "build/timeline/mlx")
    assert not (folder / "mlx-0.1.0.jsonl").exists()


# --- for real -----------------------------------------------------------------------------------


def test_an_environment_is_made_with_the_python_that_nox_runs_in(noxfile: ModuleType, tmp_path: Path) -> None:
    noxfile.make_environment(tmp_path / "own", "mlx")
    python = tmp_path / "own" / "bin" / "python"
    told = subprocess.run([python, "-m", "pip", "list"], capture_output=True, text=True, check=True)
    assert "normgauge" not in told.stdout


def test_a_python_that_does_not_exist_is_not_found(noxfile: ModuleType, tmp_path: Path) -> None:
    noxfile.PYTHON["torch"] = "3.99"
    with pytest.raises(noxfile.NoPython, match=r"torch needs Python 3\.99, which was not found; install it"):
        noxfile.make_environment(tmp_path / "own", "torch")
