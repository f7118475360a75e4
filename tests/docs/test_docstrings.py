"""The docstrings of the public API: those that the site shows, and what a function of `normgauge` must say."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

import normgauge
import normgauge.testing
from normgauge import oracle

PROJECT: Final = Path(__file__).parents[2]
API: Final = "\n".join(page.read_text(encoding="utf-8") for page in sorted((PROJECT / "docs" / "api").glob("*.md")))
MODULES: Final = sorted(set(re.findall(r"automodule:: ([\w.]+)", API)))
#: The modules for users' own code. Each name of theirs is on the site.
FOR_USERS: Final = (normgauge, normgauge.testing)
FUNCTIONS: Final = {
    f"{module.__name__}.{name}": found
    for module in FOR_USERS
    for name in module.__all__
    if inspect.isfunction(found := getattr(module, name, None))
}
#: Modules with an example, and pages with one.
EXAMPLES: Final = sorted(
    ".".join(("normgauge", *path.relative_to(PROJECT).with_suffix("").parts))
    for top in ("oracle", "adapters", "conformance", "results", "reports")
    for path in (PROJECT / top).rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)
PAGES: Final = sorted(page for page in (PROJECT / "docs").glob("*.md") if ">>> " in page.read_text(encoding="utf-8"))


def public(owner: Any, module: str) -> Iterator[tuple[str, Any]]:
    """The functions, classes, methods and properties that are defined in a module and have a public name."""
    for name, found in vars(owner).items():
        inner = getattr(found, "__func__", getattr(found, "fget", getattr(found, "func", found)))
        if name.startswith("_") or getattr(inner, "__module__", None) != module:
            continue
        if inspect.isfunction(inner) or inspect.isclass(inner):
            yield f"{owner.__name__}.{name}", inner
        if inspect.isclass(inner):
            yield from public(inner, module)


def shown_of(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """What the site shows of a module: its `__all__`, wherever that is defined, or what it defines."""
    if not hasattr(module, "__all__"):
        yield from public(module, module.__name__)
    for name in getattr(module, "__all__", ()):
        found = getattr(module, name)
        if inspect.isfunction(found) or inspect.isclass(found):
            yield name, found
        if inspect.isclass(found):
            yield from public(found, found.__module__)


@pytest.mark.parametrize("name", MODULES)
def test_all_that_the_site_shows_of_a_module_has_a_docstring(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    assert [path for path, found in shown_of(module) if not found.__doc__] == []


@pytest.mark.parametrize("module", FOR_USERS, ids=lambda module: module.__name__)
def test_the_site_shows_every_name_for_users(module: ModuleType) -> None:
    shown = set(re.findall(rf"auto(?:function|class|exception):: {module.__name__}\.(\w+)$", API, re.MULTILINE))
    assert set(module.__all__) - {"__version__"} == shown


def arguments(function: Callable[..., Any]) -> dict[str, str]:
    """What the section `Args` says of each argument."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", inspect.getdoc(function) or "", re.DOTALL | re.MULTILINE)
    entries = re.split(r"^    (?=\w+: )", section[1], flags=re.MULTILINE) if section else []
    return {name: text for name, colon, text in (entry.partition(": ") for entry in entries) if colon}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_of_normgauge_says_shapes_errors_and_source(name: str) -> None:
    function = FUNCTIONS[name]
    parameters = [one for one in inspect.signature(function).parameters.values() if one.kind is not one.VAR_KEYWORD]
    said = arguments(function)
    arrays = [one.name for one in parameters if "ArrayLike" in str(one.annotation)]
    text = inspect.getdoc(function) or ""
    if arrays or said:
        elsewhere = re.search(r"other arguments are those of :func:", text)
        assert list(said) == [one.name for one in parameters if one.name in said or not elsewhere]
    assert [array for array in arrays if not re.search(r"\bshape\b|as in :func:", said[array])] == []
    assert "Raises:\n" in text
    if "semantics" in said:
        assert "Returns:\n" in text
        assert re.search(r"https?://|arXiv", text) or "as in :func:" in said["semantics"]


@pytest.mark.parametrize("name", [one for one in oracle.__all__ if inspect.isfunction(getattr(oracle, one))])
def test_a_function_of_the_oracle_that_takes_arrays_says_their_shapes(name: str) -> None:
    function = getattr(oracle, name)
    arrays = [one for one in inspect.signature(function).parameters.values() if "ArrayLike" in str(one.annotation)]
    assert not arrays or re.search(r"\bshapes?\b", inspect.getdoc(function) or "", re.IGNORECASE)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_a_module_are_true(name: str) -> None:
    tried = doctest.testmod(importlib.import_module(name))
    assert tried.attempted
    assert not tried.failed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_examples_of_a_page_are_true(page: Path) -> None:
    tried = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert tried.attempted
    assert not tried.failed
