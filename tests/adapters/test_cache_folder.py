"""What is kept on disk between runs: where, how much of it, and that nothing of it shows in a result."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from normgauge.adapters.cache_folder import VARIABLE, cache_folder, keep_within, usable
from normgauge.adapters.case import Case, Step
from normgauge.adapters.registry import adapter_class
from normgauge.adapters.worker.protocol import dump_line, encode_case


@pytest.fixture
def _no_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (VARIABLE, "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("_no_folder_is_named")
@pytest.mark.parametrize(
    ("system", "named", "expected"),
    [
        ("linux", {}, "home/.cache/normgauge/jax"),
        ("linux", {"XDG_CACHE_HOME": "xdg"}, "xdg/normgauge/jax"),
        ("darwin", {"XDG_CACHE_HOME": "xdg"}, "home/Library/Caches/normgauge/jax"),
        ("win32", {}, "home/AppData/Local/normgauge/jax"),
        ("win32", {"LOCALAPPDATA": "local"}, "local/normgauge/jax"),
        ("linux", {VARIABLE: "ours", "XDG_CACHE_HOME": "xdg"}, "ours/jax"),
    ],
)
def test_the_folder_is_the_users_or_the_one_that_is_named(
    system: str, named: dict[str, str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    for name, value in named.items():
        monkeypatch.setenv(name, value and str(tmp_path / value))
    assert cache_folder("jax") == tmp_path / expected


def test_an_empty_name_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    assert cache_folder("jax") is None
    assert not any("CACHE" in name for name in adapter_class("flax").caching())


def test_a_folder_that_cannot_be_made_is_not_usable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert usable(tmp_path / "new" / "folder")
    assert (tmp_path / "new" / "folder").is_dir()
    assert not usable(tmp_path / "file" / "folder")


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    for age, name in enumerate(("newest", "read lately", "older", "oldest")):
        path = tmp_path / name / "entry"
        path.parent.mkdir()
        path.write_bytes(b"x" * 10)
        written = 1_000 if name == "read lately" else 1_000_000 - age
        os.utime(path, (1_000_000 - age, written))
    keep_within(tmp_path, 40)
    assert len(list(tmp_path.glob("*/entry"))) == 4
    keep_within(tmp_path, 25)
    assert {path.parent.name for path in tmp_path.glob("*/entry")} == {"newest", "read lately"}


@pytest.mark.parametrize("framework", ["flax", "keras-jax"])
def test_a_cache_that_the_user_names_is_left_alone(framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = adapter_class(framework)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    ours = chosen.caching()
    assert Path(ours["JAX_COMPILATION_CACHE_DIR"]).parent == cache_folder("jax")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", ours["JAX_COMPILATION_CACHE_DIR"])
    assert chosen.caching() == ours  # also after it has been applied
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "theirs")
    assert not any("CACHE" in name for name in chosen.caching())


@pytest.mark.slow
@pytest.mark.frameworks
@pytest.mark.skipif(importlib.util.find_spec("flax") is None, reason="flax is not installed")
def test_results_are_the_same_without_and_with_a_cache_and_with_a_damaged_one(tmp_path: Path) -> None:
    x = np.linspace(-3, 5, 36, dtype=np.float32).reshape(3, 4, 3)
    settings = {"num_channels": 4, "num_groups": 2, "eps": 1e-5}
    case = Case(
        layer="group_norm", dtype="float32", settings=settings, parameters={}, steps=(Step("train", x, np.cos(x)),)
    )

    def answer(folder: Path, **environment: str) -> bytes:
        message = {"op": "run", "implementation": "flax.linen.GroupNorm", "cases": [{"number": 1, **encode_case(case)}]}
        done = subprocess.run(
            [sys.executable, "-m", "normgauge.adapters.worker.main", "flax", "float32"],
            input=dump_line(message),
            env={**os.environ, VARIABLE: str(folder), **environment},
            stdout=subprocess.PIPE,
            check=True,
        )
        return done.stdout.splitlines()[1]

    without = answer(tmp_path / "unused", JAX_ENABLE_COMPILATION_CACHE="0")
    assert json.loads(without)["warnings"] == []
    assert not list((tmp_path / "unused").rglob("*-cache"))
    kept = tmp_path / "kept"
    assert answer(kept) == without
    entries = list(kept.rglob("*-cache"))
    assert entries
    written = {path: path.stat().st_mtime_ns for path in entries}
    assert answer(kept) == without
    assert {path: path.stat().st_mtime_ns for path in kept.rglob("*-cache")} == written
    for path in entries:
        path.write_bytes(path.read_bytes()[:50])
    assert answer(kept) == without
    assert all(path.stat().st_size > 50 for path in kept.rglob("*-cache"))
    (tmp_path / "file").touch()
    assert answer(tmp_path / "file") == without


@pytest.mark.parametrize("framework", ["flax", "keras-jax"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_users_script_names_no_cache(framework: str, dtype: str) -> None:
    """A script begins with what :meth:`Adapter.environment` says; a folder of this machine has no place there."""
    assert not any("CACHE" in name for name in adapter_class(framework).environment(dtype))
