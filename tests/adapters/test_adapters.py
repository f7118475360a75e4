"""What adapters say of their frameworks before these are imported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from normgauge.adapters.registry import adapter_class, registered
from normgauge.adapters.torch.modes import MODES


def test_frameworks_that_compile_for_every_shape_say_so() -> None:
    compiling = {name for name in registered() if adapter_class(name).compiles}
    assert compiling == {"flax", "keras-jax"}
    compiled = [one for name in registered() for one in adapter_class(name).implementations if one.mode == "compile"]
    assert compiled
    assert all(one.way.compiles for one in compiled)


def test_what_compiles_is_not_there_without_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "c++"))
    assert MODES["compile"].missing() == (
        f"torch.compile needs a C++ compiler; there is no {tmp_path / 'c++'} here (the variable CXX names another)"
    )
    monkeypatch.setenv("CXX", sys.executable)
    assert MODES["compile"].missing() is None
