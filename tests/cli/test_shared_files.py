"""Large files that several environments have installed are on the disk once, and nothing else changes."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

LARGE = b"large" * 10_000
OTHER = b"other" * 10_000


@pytest.fixture(scope="module")
def shared_files() -> ModuleType:
    path = Path(__file__).parents[2] / ".ci" / "shared_files.py"
    spec = importlib.util.spec_from_file_location("shared_files", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def share(shared_files: ModuleType, tmp_path: Path) -> Callable[[Path], None]:
    return lambda environment: shared_files.share(environment, tmp_path / "files")


def environment(folder: Path, content: bytes, *, digest: str = "sha256=d", mode: int = 0o644) -> Path:
    """An environment with one package of one file, as pip would have installed it; returns the file."""
    packages = folder / "lib" / "python3.11" / "site-packages"
    (packages / "one-1.dist-info").mkdir(parents=True)
    file = packages / "one.so"
    file.write_bytes(content)
    file.chmod(mode)
    (packages / "one-1.dist-info" / "RECORD").write_text(f"one.so,{digest},{len(content)}\none-1.dist-info/RECORD,,\n")
    return file


def test_a_large_file_of_two_environments_is_there_once(share: Callable[[Path], None], tmp_path: Path) -> None:
    first, second = (environment(tmp_path / name, LARGE) for name in ("first", "second"))
    for name in ("first", "second"):
        share(tmp_path / name)
    assert first.samefile(second)
    assert first.read_bytes() == LARGE
    assert sorted(path.name for path in second.parent.iterdir()) == ["one-1.dist-info", "one.so"]


@pytest.mark.parametrize(
    ("content", "mode"),
    [(OTHER, 0o644), (LARGE, 0o755), (b"small", 0o644)],
    ids=["other content", "other permissions", "small"],
)
def test_what_differs_is_left_alone_whatever_its_digest(
    content: bytes, mode: int, share: Callable[[Path], None], tmp_path: Path
) -> None:
    first = environment(tmp_path / "first", LARGE if content != b"small" else content)
    second = environment(tmp_path / "second", content, mode=mode)
    for name in ("first", "second"):
        share(tmp_path / name)
    assert not first.samefile(second)
    assert second.read_bytes() == content
    assert second.stat().st_mode & 0o777 == mode


def test_a_file_that_pip_replaces_changes_in_no_other_environment(
    share: Callable[[Path], None], tmp_path: Path
) -> None:
    first, second = (environment(tmp_path / name, LARGE) for name in ("first", "second"))
    for name in ("first", "second"):
        share(tmp_path / name)
    second.unlink()
    second.write_bytes(OTHER)
    assert first.read_bytes() == LARGE


def test_what_no_environment_has_any_more_is_forgotten(share: Callable[[Path], None], tmp_path: Path) -> None:
    file = environment(tmp_path / "first", LARGE)
    share(tmp_path / "first")
    assert len(list((tmp_path / "files").iterdir())) == 1
    file.unlink()
    share(tmp_path / "first")
    assert list((tmp_path / "files").iterdir()) == []


def test_where_the_disk_knows_no_hard_links_everything_stays(
    share: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(95, "Operation not supported")

    file = environment(tmp_path / "first", LARGE)
    monkeypatch.setattr(os, "link", refused)
    share(tmp_path / "first")
    assert file.read_bytes() == LARGE
