"""Whether a class is an adapter that can be run, and which of its answers have the wrong form."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any, Final

from normgauge.adapters.base import Adapter
from normgauge.adapters.case import PARAMETERS, SETTINGS, Implementation
from normgauge.conformance.form.examination import examine
from normgauge.conformance.form.lines import lines_of
from normgauge.conformance.layers.registry import layer_kinds
from normgauge.conformance.subjects.subject import CannotRun, Launch

#: The class attributes that have no default, and what each holds.
_ATTRIBUTES: Final = {
    "framework": (str, "the framework's name, a text"),
    "distribution": (str, "the name of the installed package whose version is reported, a text"),
    "implementations": (tuple, "a tuple of Implementation, one for each layer"),
}
#: Restarts of a worker that ended or did not answer.
_MOST_RESTARTS: Final = 3


class WrongAdapter(AssertionError):
    """An adapter has faults; the message has one line for each, with what is allowed or what to do."""


def check_adapter(adapter: type[Adapter], *, time_limit: float = 60.0) -> None:
    """Nothing, if the adapter has the right form; the numbers of its layers are not checked.

    The class is checked first, without its framework. Then a worker process runs a few small cases of every kind on
    each layer, as ``normgauge check module:Class`` does (docs/protocol.md).

    Args:
        adapter: a subclass of :class:`normgauge.adapters.base.Adapter` at the top of a module that can be imported.
        time_limit: seconds that one case may take.

    Raises:
        WrongAdapter: the class or an answer has a fault, or the framework cannot be imported.
    """
    found = list(_faults_of_class(adapter))
    if not found:
        folder = _folder_of(adapter)
        path = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH", ""))))
        launch = Launch(
            framework=f"{adapter.__module__}:{adapter.__qualname__}",
            time_limit=time_limit,
            environment={"PYTHONPATH": path},
        )
        try:
            found = list(lines_of(examine(replace(launch, most_restarts=_MOST_RESTARTS)).findings))
        except CannotRun as error:
            found = [str(error)]
    if found:
        name = getattr(adapter, "__name__", repr(adapter))
        count = f"{len(found)} fault{'' if len(found) == 1 else 's'}"
        raise WrongAdapter("\n".join((f"{name} has {count}:", *(f"- {line}" for line in found))))


def _faults_of_class(adapter: Any) -> Iterator[str]:
    """What is wrong before the framework is imported."""
    if not (inspect.isclass(adapter) and issubclass(adapter, Adapter)):
        yield f"{adapter!r} is no adapter; derive a class from normgauge.adapters.base.Adapter, and give the class"
        return
    for name in sorted(getattr(adapter, "__abstractmethods__", ())):
        yield f"the method {name} is missing; write it: {_first_line(getattr(adapter, name))}"
    for name, (kind, what) in _ATTRIBUTES.items():
        value = getattr(adapter, name, None)
        if not isinstance(value, kind) or not value:
            yield f"the class attribute {name} is {value!r}; it must be {what}"
    implementations = getattr(adapter, "implementations", ())
    for one in implementations if isinstance(implementations, tuple) else ():
        yield from _faults_of_implementation(one)
    yield from _faults_of_place(adapter)


def _faults_of_implementation(one: Any) -> Iterator[str]:
    if not isinstance(one, Implementation):
        yield f"implementations has {one!r}; each must be a normgauge.adapters.case.Implementation"
        return
    if one.layer not in layer_kinds():
        yield f"{one.class_path}: the layer {one.layer!r} is not known; allowed: {', '.join(layer_kinds())}"
    known = (*SETTINGS, *PARAMETERS)
    for name in one.names:
        if name not in known:
            yield f"{one.class_path}: names has {name!r}; allowed: {', '.join(known)}"


def _faults_of_place(adapter: type[Adapter]) -> Iterator[str]:
    """What hinders a worker process from importing the class."""
    module, path = adapter.__module__, adapter.__qualname__
    if module == "__main__" or "<locals>" in path:
        where = "a script or a notebook" if module == "__main__" else "a function"
        yield f"the class is in {where}, where a worker process cannot import it; move it to the top of a module"
        return
    try:
        there: Any = reduce(getattr, path.split("."), sys.modules.get(module))
    except AttributeError:
        there = None
    if there is not adapter:
        yield f"{module}:{path} is not this class; give it the name under which its module has it"


def _folder_of(adapter: type[Adapter]) -> str:
    """The folder from which the adapter's module is imported."""
    file = getattr(sys.modules[adapter.__module__], "__file__", None)
    if file is None:
        return ""
    path = Path(file).resolve()
    depth = adapter.__module__.count(".") + (path.stem == "__init__")
    return str(path.parents[depth])


def _first_line(method: Any) -> str:
    return (inspect.getdoc(method) or "").partition("\n")[0].rstrip(".")
