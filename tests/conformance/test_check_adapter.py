"""check_adapter: every fault of a class that is no adapter yet, and those that only its answers have."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest
from faulty.adapter import FaultyAdapter

from normgauge.adapters.base import Adapter
from normgauge.adapters.case import Implementation
from normgauge.testing import WrongAdapter, check_adapter

EXAMPLE: Final = Path(__file__).parents[2] / "docs" / "examples" / "numpy_adapter.py"


def layer(**changes: Any) -> Implementation:
    given = {"class_path": "m.Layer", "layer": "group_norm", "layout": "N, C, *", "names": {}, "documentation": ""}
    return Implementation(**{**given, **changes})


class Unwritten(Adapter):
    """No attribute and no method."""


class WrongWords(FaultyAdapter):
    implementations = (
        layer(names={"groups": "num_groups"}),
        layer(layer="layer_norm"),
        "m.Layer",  # type: ignore[assignment]
    )


def faults_of(adapter: Any) -> list[str]:
    with pytest.raises(WrongAdapter) as raised:
        check_adapter(adapter)
    first, *lines = str(raised.value).splitlines()
    assert first.endswith(f"has {len(lines)} fault{'' if len(lines) == 1 else 's'}:")
    return [line.removeprefix("- ") for line in lines]


def test_every_missing_method_and_attribute_is_named() -> None:
    found = faults_of(Unwritten)
    assert [line.partition(" is")[0] for line in found] == [
        *(f"the method {name}" for name in sorted(Unwritten.__abstractmethods__)),
        *(f"the class attribute {name}" for name in ("framework", "distribution", "implementations")),
    ]
    assert "the method forward is missing; write it: The layer's native output on a native input" in found


def test_a_wrong_word_in_an_implementation_is_named_with_what_is_allowed() -> None:
    groups, kind, entry = faults_of(WrongWords)
    assert groups.startswith("m.Layer: names has 'groups'; allowed: num_channels, num_groups,")
    assert kind.startswith("m.Layer: the layer 'layer_norm' is not known; allowed: ")
    assert entry == "implementations has 'm.Layer'; each must be a normgauge.adapters.case.Implementation"


@pytest.mark.parametrize("given", [object, FaultyAdapter("float32"), "mine:Adapter", None])
def test_what_is_no_adapter_class_is_one_fault(given: object) -> None:
    (line,) = faults_of(given)
    assert line.endswith("is no adapter; derive a class from normgauge.adapters.base.Adapter, and give the class")


def test_a_class_that_no_worker_can_import_is_a_fault() -> None:
    class Local(FaultyAdapter):
        pass

    assert "the class is in a function" in faults_of(Local)[0]
    Local.__module__ = "__main__"
    assert "the class is in a script or a notebook" in faults_of(Local)[0]
    Local.__module__, Local.__qualname__ = "faulty.adapter", "FaultyAdapter"
    assert faults_of(Local) == [
        "faulty.adapter:FaultyAdapter is not this class; give it the name under which its module has it"
    ]


# --- with a worker --------------------------------------------------------------------------------


def module_of(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example with another text, imported from a folder in which nobody stands."""
    name = "changed_adapter"
    (folder / f"{name}.py").write_text(text.replace('"float64", "float16")', ")"), encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module(name)
    monkeypatch.setitem(sys.modules, name, module)
    return module


@pytest.mark.slow
def test_a_right_adapter_has_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_adapter(module_of(EXAMPLE.read_text(encoding="utf-8"), tmp_path, monkeypatch).NumpyAdapter)


@pytest.mark.slow
def test_a_method_that_is_not_written_and_an_output_in_another_layout_are_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert text.count("def reset(self, layer: Any)") == text.count("return np.asarray(value)\n\n    def elements") == 1
    text = text.replace("def reset(self, layer: Any)", "def other(self, layer: Any)")
    text = text.replace("return np.asarray(value)\n\n    def elements", "return value.T\n\n    def elements")
    module = module_of(text, tmp_path, monkeypatch)
    found = "\n".join(faults_of(module.NumpyAdapter))
    assert "NumpyAdapter.reset is not written; write it, or" in found
    assert "actions=('reset',)" in found
    assert "steps[0].output" in found


@pytest.mark.slow
def test_a_framework_that_cannot_be_imported_is_one_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    start = "\n    def __init__(self, dtype: str) -> None:\n        import no_such_framework\n"
    module = module_of(
        text.replace('    framework = "numpy"\n', f'    framework = "numpy"\n{start}'), tmp_path, monkeypatch
    )
    assert faults_of(module.NumpyAdapter) == [
        "the worker cannot load its framework: ModuleNotFoundError: No module named 'no_such_framework'"
    ]
