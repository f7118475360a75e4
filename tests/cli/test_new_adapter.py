"""normgauge new-adapter: what it writes, and what it refuses; tests/docs/test_consoles.py runs the written project."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from normgauge.adapters.base import Adapter
from normgauge.conformance.cli.main import main
from normgauge.conformance.cli.new_adapter import rendered
from normgauge.conformance.gating.expectations import load_expectations

EXAMPLE: Final = Path(__file__).parents[2] / "docs" / "examples" / "numpy_adapter.py"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(*words: str) -> list[str]:
    done = CliRunner().invoke(main, ["new-adapter", *words])
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


def refused(*words: str) -> str:
    done = CliRunner().invoke(main, ["new-adapter", *words])
    assert done.exit_code == 2, done.output
    return done.output


def test_the_example_of_the_docs_is_what_the_command_writes() -> None:
    text = rendered("adapter.py.jinja", "numpy", source="docs/examples/numpy_adapter.py")
    assert text == EXAMPLE.read_text(encoding="utf-8")


def test_the_files_are_named_after_the_framework_and_the_last_line_is_the_next_command(folder: Path) -> None:
    *files, last = written("my-port")
    assert [line.split(":")[0] for line in files] == [
        "wrote my-port/my_port_adapter.py", "wrote my-port/known.toml",
        "wrote my-port/test_my_port_adapter.py", "wrote my-port/pyproject.toml",
    ]  # fmt: skip
    assert last == "next: cd my-port && normgauge check my_port_adapter:MyPortAdapter && python -m pytest"


def test_the_entry_point_and_the_list_of_known_differences_can_be_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written("my-port", "--out", "here")
    project = tomllib.loads(Path("here/pyproject.toml").read_text(encoding="utf-8"))
    ((name, value),) = project["project"]["entry-points"]["normgauge.adapters"].items()
    monkeypatch.syspath_prepend(folder / "here")
    loaded = importlib.metadata.EntryPoint(name, value, "normgauge.adapters").load()
    assert issubclass(loaded, Adapter)
    assert (name, loaded.framework) == ("my-port", "my-port")
    load_expectations((Path("here/known.toml"),))


def test_no_file_is_overwritten(folder: Path) -> None:
    written("mine")
    Path("mine/known.toml").write_text("# mine", encoding="utf-8")
    Path("mine/mine_adapter.py").unlink()
    assert "mine/known.toml exists, and no file is overwritten; give another folder with --out" in refused("mine")
    assert Path("mine/known.toml").read_text(encoding="utf-8") == "# mine"
    assert not Path("mine/mine_adapter.py").exists()


@pytest.mark.parametrize("name", ["Mine", "my_port", "9", "-mine", "mine-", "my--port", "../mine", "", "mein€"])
def test_a_name_that_is_no_name_of_a_package_is_refused(name: str, folder: Path) -> None:
    assert f"NAME is {name!r}; allowed are lower-case letters, digits and hyphens" in refused("--", name)
    assert list(folder.iterdir()) == []


def test_the_name_of_a_known_framework_is_refused(folder: Path) -> None:
    assert "NAME is 'torch', which normgauge has; choose another, such as my-torch" in refused("torch")


def test_a_folder_that_cannot_be_made_is_one_line(folder: Path) -> None:
    Path("taken").write_text("", encoding="utf-8")
    assert "--out taken is a file" in refused("mine", "--out", "taken")
