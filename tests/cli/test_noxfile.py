"""The noxfile's own logic: requirements, releases, Python, what is installed again, what is noted as missing.

And which result files the tests may take in place of measuring.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("nox", reason="nox is not installed; pip install nox")

from nox.command import CommandFailed


@pytest.fixture(scope="session")
def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("noxfile", Path(__file__).parents[2] / "noxfile.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def real_wheel(loaded: ModuleType) -> Callable[..., Path]:
    return loaded.environments.wheel_of_now


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
    tools = {"pictures": ["matplotlib==3.11.2"]}
    monkeypatch.setattr(
        loaded.releases, "pins", lambda *groups: [pin for group in groups for pin in (pinned | tools)[group]]
    )
    monkeypatch.setattr(loaded, "FRAMEWORKS", list(pinned))
    monkeypatch.setattr(loaded.environments, "PYTHON", {"lucid": "3.14"})
    monkeypatch.setattr(loaded.environments, "wheel_of_now", lambda session: Path(WHEEL))
    return loaded


WHEEL = "built.whl"
PROJECT_ALONE = ("install", "--no-deps", "--force-reinstall", WHEEL)


class Stopped(Exception):
    """What a session's error and skip raise here: ``how`` it ended, and the message."""

    def __init__(self, how: str, message: str) -> None:
        super().__init__(message)
        self.how = how


class Session:
    """Stands in for nox's: notes what is run, and fails where it is told to."""

    venv_backend = "virtualenv"
    parallel = False
    no_install = False
    install_only = False
    state = 0  # of every environment; pip changes it

    def __init__(self, folder: Path, *posargs: str, fails: Callable[[tuple[str, ...]], bool] = lambda _: False) -> None:
        self.posargs = list(posargs)
        self.virtualenv = SimpleNamespace(location=str(folder / ".nox" / "session"))
        Path(self.virtualenv.location).mkdir(parents=True, exist_ok=True)
        self.ran: list[tuple[str, ...]] = []
        self.notified: list[str] = []
        self.fails = fails
        self.says = ""
        self.passed: dict[str, str] = {}  # the environment variables of the last command

    def notify(self, name: str) -> None:
        self.notified.append(name)

    def run(
        self, *words: str, silent: bool = False, stdout: Any = None, env: dict[str, str] | None = None, **_: Any
    ) -> str:
        self.ran.append(words)
        self.passed = env or {}
        if words[:2] == ("normgauge", "run") and not self.install_only:
            (Path(words[words.index("--out") + 1]) / f"{words[words.index('--name') + 1]}.jsonl").write_text("measured")
        if stdout is not None:
            stdout.write(self.says)
            stdout.flush()
        if self.fails(words):
            raise CommandFailed("no")
        return self.says

    def run_install(self, *words: str, **more: Any) -> str | None:
        if self.no_install:
            return None
        if "-I" in words:
            return f"{self.state}\n"
        said = self.run(*words, **more)
        self.state += 1
        return said

    def install(self, *words: str) -> None:
        self.run_install("install", *words)

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

    monkeypatch.setattr(noxfile.environments, "make_environment", make)
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
    assert noxfile.releases.asked(framework, named) == (requirements, name)


def test_a_file_s_name_is_one_that_the_command_line_takes(noxfile: ModuleType) -> None:
    from normgauge.conformance.cli.run import _NOT_IN_A_NAME

    for text in ("mlx==1!0.1.dev0+local", "mlx @ https://example.org/a%20b?c", "mlx~=0.3,!=0.31"):
        _, name = noxfile.releases.asked("mlx", [text])
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
    with pytest.raises(noxfile.releases.Mistake) as mistake:
        noxfile.releases.asked("mlx", [named])
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
    assert noxfile.releases.requirement_of(framework, release) == requirement


def test_with_is_taken_out_of_the_words_and_the_rest_is_passed_on(noxfile: ModuleType) -> None:
    words = ["--with", "a==1", "--dtype", "float32", "--with=b==2", "-i", "x"]
    assert noxfile.releases.taken("--with", words) == (["a==1", "b==2"], ["--dtype", "float32", "-i", "x"])
    assert noxfile.releases.taken("--with", ["--with"]) == ([""], [])


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
    with pytest.raises(noxfile.releases.Mistake) as mistake:
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
    assert session.ran[:4] == [
        (python, "-m", "pip", "install", "--disable-pip-version-check", "mlx[cpu]==0.31.2", "numpy"),
        ("install", *noxfile.PROJECT["project"]["dependencies"]),
        PROJECT_ALONE,
        ("normgauge", "run", "mlx", *named, "--dtype", "float32"),
    ]
    assert session.notified == ["report"]
    noxfile.conformance(session, "mlx")
    assert len(environments) == 1  # used again


def test_the_pinned_release_is_measured_in_the_session_s_own_environment(noxfile: ModuleType, tmp_path: Path) -> None:
    session = Session(tmp_path)
    noxfile.conformance(session, "torch")
    (install, project, run, *_) = session.ran
    assert install == ("install", *noxfile.PROJECT["project"]["dependencies"], "torch==2.13.0", "numpy")
    assert project == PROJECT_ALONE
    assert run == ("normgauge", "run", "torch", "--name", "torch", "--out", "build/results")


def test_a_framework_that_needs_another_python_gets_an_environment_with_it(
    noxfile: ModuleType, environments: list[tuple[Path, str]], tmp_path: Path
) -> None:
    session = Session(tmp_path)
    noxfile.conformance(session, "lucid")
    assert environments == [(tmp_path / ".nox" / "workers" / "lucid", "lucid")]
    assert PROJECT_ALONE in session.ran
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

    monkeypatch.setattr(noxfile.environments.subprocess, "run", fails)
    monkeypatch.setattr(noxfile.environments.shutil, "which", lambda _: uv)
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


def test_side_by_side_nox_knows_no_session_that_follows(noxfile: ModuleType, tmp_path: Path) -> None:
    session = Session(tmp_path)
    session.parallel = True
    noxfile.conformance(session, "torch")
    assert session.notified == []  # nox would end the session with an error


def test_what_sessions_side_by_side_note_is_all_there(noxfile: ModuleType) -> None:
    names = [f"framework {number}" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: noxfile.note(Path("build/results"), name, "why"), names))
    assert manifest("build/results") == dict.fromkeys(names, "why")


# --- what is installed again --------------------------------------------------------------------


@pytest.fixture
def project(noxfile: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project in place of ours: a package with data, and what stands beside it."""
    root = tmp_path / "checkout"
    for name in (
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "oracle/reference.py",
        "oracle/data/known.toml",
        "tests/test.py",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("value = 1\n")
    monkeypatch.setattr(noxfile.environments, "ROOT", root)
    packages = {"package-dir": {"normgauge.oracle": "oracle", "normgauge.oracle.data": "oracle/data"}}
    about = {"readme": "README.md", "license-files": ["LICEN*"], "dependencies": ["numpy>=1"]}
    monkeypatch.setattr(noxfile.environments, "PROJECT", {"project": about, "tool": {"setuptools": packages}})
    return root


@pytest.fixture
def session(project: Path, noxfile: ModuleType, tmp_path: Path) -> Session:
    """A session with an environment that holds the project and torch."""
    session = Session(tmp_path)
    noxfile.environments.install(session, "torch==2.13.0")
    assert session.ran == [("install", "numpy>=1", "torch==2.13.0"), PROJECT_ALONE]
    session.ran.clear()
    return session


def test_an_environment_that_holds_what_is_asked_for_is_left_alone(noxfile: ModuleType, session: Session) -> None:
    noxfile.environments.install(session, "torch==2.13.0")
    assert session.ran == []


@pytest.mark.parametrize(
    "name",
    ["oracle/reference.py", "oracle/data/known.toml", "oracle/data/new.json", "pyproject.toml", "README.md", "LICENSE"],
)
def test_after_a_change_of_any_packaged_file_the_project_alone_is_installed_again(
    name: str, noxfile: ModuleType, project: Path, session: Session
) -> None:
    (project / name).write_text("value = 2\n")
    noxfile.environments.install(session, "torch==2.13.0")
    assert session.ran == [PROJECT_ALONE]
    noxfile.environments.install(session, "torch==2.13.0")
    assert session.ran == [PROJECT_ALONE]


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.rename(path.with_name("renamed.py"))])
def test_after_a_module_is_gone_the_project_is_installed_again(
    change: Callable[[Path], Any], noxfile: ModuleType, project: Path, session: Session
) -> None:
    change(project / "oracle" / "reference.py")
    noxfile.environments.install(session, "torch==2.13.0")
    assert session.ran == [PROJECT_ALONE]


def test_what_no_wheel_holds_is_no_reason_to_install(noxfile: ModuleType, project: Path, session: Session) -> None:
    (project / "tests" / "test.py").write_text("value = 2\n")
    (project / "oracle" / "__pycache__").mkdir()
    (project / "oracle" / "__pycache__" / "reference.pyc").write_text("compiled")
    noxfile.environments.install(session, "torch==2.13.0")
    assert session.ran == []


def test_after_a_change_of_a_pin_the_project_is_not_installed_again(noxfile: ModuleType, session: Session) -> None:
    noxfile.environments.install(session, "torch==2.13.1")
    assert session.ran == [("install", "numpy>=1", "torch==2.13.1")]


def test_an_environment_that_somebody_changed_is_installed_anew(noxfile: ModuleType, session: Session) -> None:
    session.state += 1
    noxfile.environments.install(session, "torch==2.13.0")
    assert session.ran == [("install", "numpy>=1", "torch==2.13.0"), PROJECT_ALONE]


def test_after_an_installation_that_failed_everything_is_tried_again(noxfile: ModuleType, session: Session) -> None:
    session.fails = lambda words: "torch==2.13.1" in words
    with pytest.raises(CommandFailed):
        noxfile.environments.install(session, "torch==2.13.1")
    session.fails = lambda _: False
    session.ran.clear()
    noxfile.environments.install(session, "torch==2.13.0")
    assert session.ran == [("install", "numpy>=1", "torch==2.13.0"), PROJECT_ALONE]


def test_what_has_an_address_is_installed_every_time(noxfile: ModuleType, session: Session) -> None:
    own = "mlx @ file:///home/me/mlx"
    for _ in range(2):
        session.ran.clear()
        noxfile.environments.install(session, own)
        assert session.ran == [("install", "numpy>=1", own)]


def test_no_install_installs_nothing_and_remembers_nothing(
    noxfile: ModuleType, project: Path, session: Session
) -> None:
    (project / "oracle" / "reference.py").write_text("value = 2\n")
    session.no_install = True
    noxfile.environments.install(session, "torch==2.13.0")
    assert session.ran == []
    session.no_install = False
    noxfile.environments.install(session, "torch==2.13.0")
    assert session.ran == [PROJECT_ALONE]


def test_a_worker_s_environment_that_holds_its_release_is_left_alone(
    noxfile: ModuleType, environments: list[tuple[Path, str]], tmp_path: Path
) -> None:
    session = Session(tmp_path)
    python = noxfile.environments.worker(session, "mlx", "mlx-0.31.2", ["mlx==0.31.2"])
    assert len(session.ran_with("mlx==0.31.2")) == 1
    assert noxfile.environments.worker(session, "mlx", "mlx-0.31.2", ["mlx==0.31.2"]) == python
    assert len(session.ran_with("mlx==0.31.2")) == 1
    noxfile.environments.worker(session, "mlx", "mlx-0.31.2", ["mlx==0.31.2", "numpy<2"])
    assert len(session.ran_with("mlx==0.31.2")) == 2


def test_a_worker_s_environment_and_a_session_s_have_equal_large_files_once(
    noxfile: ModuleType, project: Path, environments: list[tuple[Path, str]], tmp_path: Path
) -> None:
    session, installed = Session(tmp_path), []
    for folder in (Path(session.virtualenv.location), tmp_path / ".nox" / "workers" / "mlx"):
        record = folder / "lib" / "site-packages" / "mlx-0.dist-info" / "RECORD"
        record.parent.mkdir(parents=True)
        record.write_text("mlx.so,sha256=0,65536\n")
        installed.append(record.parents[1] / "mlx.so")
        installed[-1].write_bytes(bytes(65_536))
    noxfile.environments.install(session)
    noxfile.environments.worker(session, "mlx", "mlx", ["mlx"])
    assert installed[0].samefile(installed[1])


# --- what the tests need not measure again ------------------------------------------------------


def given_to_tests(noxfile: ModuleType, folder: Path) -> set[str]:
    """The result files that the tests are given."""
    session = Session(folder / "tests")
    noxfile.tests(session)
    assert session.ran[-1] == ("python", "-m", "pytest")
    assert session.passed["NORMGAUGE_REQUIRE_FRAMEWORKS"] == "1"
    return {path.name for path in Path(session.passed["NORMGAUGE_MEASURED"]).iterdir()}


@pytest.fixture
def measured(noxfile: ModuleType, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session that has measured mlx."""
    monkeypatch.setattr(noxfile, "FRAMEWORKS", ["mlx", "torch", "lucid"])
    pinned = {"mlx": ["mlx==0.32.4"], "torch": ["torch==2.13.0"], "lucid": ["lucid-dl==2.12.8"]}
    monkeypatch.setattr(
        noxfile.releases, "pins", lambda *groups: [pin for group in groups for pin in pinned.get(group, [])]
    )
    session = Session(tmp_path)
    noxfile.conformance(session, "mlx")
    return session


def test_what_was_measured_with_the_code_that_is_tested_is_given_to_the_tests(
    measured: Session, noxfile: ModuleType, tmp_path: Path
) -> None:
    assert given_to_tests(noxfile, tmp_path) == {"mlx.jsonl"}
    noxfile.conformance(measured, "torch")
    assert given_to_tests(noxfile, tmp_path) == {"mlx.jsonl", "torch.jsonl"}


def test_what_the_tests_are_given_stays_as_it_was_measured(
    measured: Session, noxfile: ModuleType, tmp_path: Path
) -> None:
    given_to_tests(noxfile, tmp_path)
    Path("build/results/mlx.jsonl").write_text("measured anew")
    assert Path("build/measured/mlx.jsonl").read_text() == "measured"


def test_after_a_change_of_the_code_nothing_is_given_to_the_tests_until_it_is_measured(
    measured: Session, noxfile: ModuleType, project: Path, tmp_path: Path
) -> None:
    given_to_tests(noxfile, tmp_path)
    (project / "oracle" / "reference.py").write_text("value = 2\n")
    assert given_to_tests(noxfile, tmp_path) == set()
    noxfile.conformance(measured, "mlx")
    assert given_to_tests(noxfile, tmp_path) == {"mlx.jsonl"}


def test_what_continuous_integration_measures_is_given_to_the_tests(
    measured: Session, noxfile: ModuleType, tmp_path: Path
) -> None:
    Path("build/results/mlx.code").unlink()
    noxfile.conformance(Session(tmp_path, "--few"), "mlx")
    assert given_to_tests(noxfile, tmp_path) == {"mlx.jsonl"}


def test_continuous_integration_measures_few_random_inputs_in_every_dtype(noxfile: ModuleType, tmp_path: Path) -> None:
    session = Session(tmp_path, "--few")
    noxfile.conformance(session, "mlx")
    (words,) = [words for words in session.ran if words[:2] == ("normgauge", "run")]
    budget, number, *dtypes = words[words.index("--out") + 2 :]
    assert (budget, number) == ("--budget", "quick")
    assert dtypes[::2] == ["--dtype"] * 4
    assert set(dtypes[1::2]) == {"float32", "float64", "float16", "bfloat16"}


def test_where_jax_compiles_it_measures_one_half_type(loaded: ModuleType) -> None:
    assert loaded.few_inputs("flax")[3::2] == ["float32", "float64", "bfloat16"]
    assert loaded.few_inputs("keras-jax") == loaded.few_inputs("flax")
    assert set(loaded.FEW_DTYPES) <= set(loaded.FRAMEWORKS)


@pytest.mark.parametrize(("command", "given"), [("run", set()), ("gate", {"mlx.jsonl"})])
def test_a_run_that_failed_is_not_given_to_the_tests_but_one_that_departs_is(
    command: str, given: set[str], measured: Session, noxfile: ModuleType, tmp_path: Path
) -> None:
    with pytest.raises(CommandFailed):
        noxfile.conformance(Session(tmp_path, fails=lambda words: command in words), "mlx")
    assert given_to_tests(noxfile, tmp_path) == given


@pytest.mark.parametrize("words", [("--dtype", "float32"), ("--budget", "thorough"), ("--with", "mlx==0.31.2")])
def test_a_run_that_was_asked_for_something_else_is_not_given_to_the_tests(
    words: tuple[str, ...], measured: Session, noxfile: ModuleType, environments: Any, tmp_path: Path
) -> None:
    Path("build/results/mlx.code").unlink()
    noxfile.conformance(Session(tmp_path, *words), "mlx")
    assert given_to_tests(noxfile, tmp_path) == set()


def test_what_was_installed_only_is_not_given_to_the_tests(
    measured: Session, noxfile: ModuleType, tmp_path: Path
) -> None:
    session = Session(tmp_path)
    session.install_only = True
    noxfile.conformance(session, "mlx")
    assert given_to_tests(noxfile, tmp_path) == set()


def test_where_it_is_not_known_what_code_ran_nothing_is_given_to_the_tests(
    measured: Session, noxfile: ModuleType, tmp_path: Path
) -> None:
    for change in ({"no_install": True}, {"venv_backend": "none"}):
        session = Session(tmp_path)
        vars(session).update(change)
        noxfile.tests(session)
        assert list(Path(session.passed["NORMGAUGE_MEASURED"]).iterdir()) == []
        noxfile.conformance(session, "mlx")
        assert given_to_tests(noxfile, tmp_path) == set()


def test_what_is_edited_while_pip_runs_is_not_what_was_installed(
    noxfile: ModuleType, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, before = Session(tmp_path), noxfile.environments.digest(noxfile.environments.sources())
    edited = project / "oracle" / "reference.py"
    monkeypatch.setattr(session, "install", lambda *_: edited.write_text("value = 2\n"))
    assert (
        noxfile.environments.install(session, "torch==2.13.0")
        == before
        != noxfile.environments.digest(noxfile.environments.sources())
    )


def test_what_runs_on_another_python_is_not_given_to_the_tests(
    measured: Session, noxfile: ModuleType, environments: Any, tmp_path: Path
) -> None:
    noxfile.conformance(measured, "lucid")
    assert given_to_tests(noxfile, tmp_path) == {"mlx.jsonl"}


# --- for real -----------------------------------------------------------------------------------


def run(*words: str | Path, **_: Any) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


#: A build backend that needs nothing from an index, and like setuptools keeps what it built before.
BACKEND = """
import pathlib, shutil, zipfile

def build_wheel(directory, *_):
    kept = pathlib.Path("kept")
    kept.mkdir(exist_ok=True)
    for path in pathlib.Path("oracle").glob("*.py"):
        shutil.copy(path, kept)
    with zipfile.ZipFile(pathlib.Path(directory, "normgauge-1-py3-none-any.whl"), "w") as wheel:
        for path in kept.iterdir():
            wheel.write(path, f"normgauge/oracle/{path.name}")
        about = {"METADATA": "Metadata-Version: 2.1\\nName: normgauge\\nVersion: 1", "RECORD": ""}
        about["WHEEL"] = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any"
        for name, text in about.items():
            wheel.writestr(f"normgauge-1.dist-info/{name}", text)
    return "normgauge-1-py3-none-any.whl"
"""


@pytest.mark.slow
def test_the_code_that_runs_is_the_code_of_the_checkout(
    real_wheel: Callable[..., Path],
    noxfile: ModuleType,
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(noxfile.environments, "wheel_of_now", real_wheel)
    (project / "oracle" / "backend.py").write_text(BACKEND)
    build = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["oracle"]\n'
    (project / "pyproject.toml").write_text(build)
    folder = tmp_path / "environment"
    noxfile.environments.make_environment(folder, "mlx")
    python = folder / "bin" / "python"
    session = SimpleNamespace(
        run_install=lambda word, *more, **_: run(python if word == "python" else word, *more),
        virtualenv=SimpleNamespace(location=str(folder)),
    )
    installed: list[str] = []

    def provided() -> str:
        def pip(*words: str) -> None:
            installed.append(run(python, "-m", "pip", "install", *words))

        noxfile.environments.provide(session, str(python), folder, ["pip"], pip, project=True)
        (package,) = folder.glob("lib/python*/site-packages/normgauge/oracle")
        value = run(python, "-c", "from normgauge.oracle import reference; print(reference.value)")
        return f"{sorted(path.name for path in package.glob('*.py'))} {value.strip()}"

    module = project / "oracle" / "reference.py"
    (project / "oracle" / "old.py").write_text("")
    assert provided() == "['backend.py', 'old.py', 'reference.py'] 1"
    linked = tmp_path / "linked.py"  # as another environment has the large files
    (installed_module,) = folder.glob("lib/python*/site-packages/normgauge/oracle/reference.py")
    linked.hardlink_to(installed_module)
    module.write_text("value = 2\n")
    (project / "oracle" / "old.py").unlink()
    assert provided() == "['backend.py', 'reference.py'] 2"
    assert linked.read_text() == "value = 1\n"
    times = len(installed)
    assert provided() == "['backend.py', 'reference.py'] 2"
    assert len(installed) == times
    (copy,) = folder.glob("lib/python*/site-packages/normgauge/oracle/reference.py")
    copy.write_text("value = 30\n")
    assert provided() == "['backend.py', 'reference.py'] 2"


def test_an_environment_is_made_with_the_python_that_nox_runs_in(noxfile: ModuleType, tmp_path: Path) -> None:
    noxfile.environments.make_environment(tmp_path / "own", "mlx")
    python = tmp_path / "own" / "bin" / "python"
    told = subprocess.run([python, "-m", "pip", "list"], capture_output=True, text=True, check=True)
    assert "normgauge" not in told.stdout


def test_a_python_that_does_not_exist_is_not_found(noxfile: ModuleType, tmp_path: Path) -> None:
    noxfile.environments.PYTHON["torch"] = "3.99"
    with pytest.raises(
        noxfile.environments.NoPython, match=r"torch needs Python 3\.99, which was not found; install it"
    ):
        noxfile.environments.make_environment(tmp_path / "own", "torch")


# --- the scripts of the findings ----------------------------------------------------------------


def pythons_of(session: Session) -> dict[str, str]:
    """The interpreters that the scripts are given."""
    (run,) = session.ran_with("tests/support/findings.py")
    return json.loads(run[run.index("--pythons") + 1])


def test_scripts_run_in_the_environments_that_conformance_made(
    noxfile: ModuleType, environments: list[tuple[Path, str]], tmp_path: Path
) -> None:
    folder = tmp_path / ".nox" / "conformance-torch"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").touch()
    needed = [*noxfile.PROJECT["project"]["dependencies"], "torch==2.13.0", "numpy"]
    (folder / "provided.txt").write_text("\n".join(["0", " ".join(needed), "digest"]))
    session = Session(tmp_path, "bfloat16", "--write")
    noxfile.findings(session)
    workers = tmp_path / ".nox" / "workers"
    assert pythons_of(session) == {
        "torch": str(folder / "bin" / "python"),
        **{name: str(workers / name / "bin" / "python") for name in ("mlx", "keras-jax", "lucid")},
        **({"tfjs": "examples/tfjs"} if noxfile.environments.shutil.which("npm") else {}),
    }
    assert session.ran[-1][-2:] == ("bfloat16", "--write")
    assert [name for _, name in environments] == ["mlx", "keras-jax", "lucid"]


def test_another_release_runs_the_scripts_of_its_frameworks_alone(
    noxfile: ModuleType, environments: list[tuple[Path, str]], tmp_path: Path
) -> None:
    session = Session(tmp_path, "--with", "mlx[cpu]==0.31.2")
    noxfile.findings(session)
    python = tmp_path / ".nox" / "workers" / "mlx-0.31.2" / "bin" / "python"
    assert pythons_of(session) == {"mlx": str(python)}


def test_a_release_of_no_framework_is_one_line(noxfile: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(Stopped, match="no framework is made of it") as stopped:
        noxfile.findings(Session(tmp_path, "--with", "caffe==1.0"))
    assert stopped.value.how == "error"
