"""Mutants of the plain layers: one line of their source is another, and an adapter that serves them.

cosmic-ray makes them (:func:`made`); those that are argued to be equivalent stand in a table and need no cosmic-ray.
"""

from __future__ import annotations

import ast
import functools
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Final

from faulty.adapter import _BATCH_NAMES, _GROUP_NAMES, FaultyAdapter

from correct import plain_batch_norm, plain_group_norm
from normgauge.adapters.case import Implementation
from normgauge.adapters.layout import CHANNELS_FIRST

SOURCES: Final[Mapping[str, str]] = {
    kind: Path(str(module.__file__)).read_text(encoding="utf-8")
    for kind, module in (("group_norm", plain_group_norm), ("batch_norm", plain_batch_norm))
}
CLASSES: Final[Mapping[str, str]] = {"group_norm": "GroupNorm", "batch_norm": "BatchNorm"}
#: Operators of cosmic-ray that are told the names of variables; none is told here.
TOLD: Final = frozenset({"VariableReplacer", "VariableInserter"})


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A line of a method of a plain layer, without its indentation, and what stands in its place."""

    kind: str
    method: str
    line: str
    becomes: str

    @functools.cached_property
    def source(self) -> str:
        """The source of the layer with that line in place of the other.

        Raises:
            ValueError: the method does not have the line, or has it twice.
        """
        lines = SOURCES[self.kind].splitlines(keepends=True)
        (layer,) = (one for one in ast.parse(SOURCES[self.kind]).body if isinstance(one, ast.ClassDef))
        (method,) = (one for one in layer.body if isinstance(one, ast.FunctionDef) and one.name == self.method)
        places = range(method.lineno - 1, method.end_lineno or 0)
        found = [place for place in places if lines[place].strip() == self.line]
        if len(found) != 1:
            raise ValueError(f"{self.method} of {self.kind} has the line {self.line!r} {len(found)} times")
        lines[found[0]] = lines[found[0]].replace(self.line, self.becomes)
        return "".join(lines)

    @functools.cached_property
    def layer(self) -> Any:
        """The class.

        Raises:
            Exception: what its source raises when it is imported.
        """
        module = ModuleType(self.kind)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python on what a mutant compares or calls
            exec(compile(self.source, self.kind, "exec", dont_inherit=True), vars(module))
        return vars(module)[CLASSES[self.kind]]


def made() -> tuple[Mutant, ...]:
    """Every mutant of the plain layers that cosmic-ray's operators make, each once."""
    return tuple(dict.fromkeys(mutant for kind in SOURCES for mutant in _made_of(kind)))


def _made_of(kind: str) -> Iterator[Mutant]:
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    for name in operator_names():
        if name.rpartition("/")[2] in TOLD:
            continue
        operator = get_operator(name)()
        places = sum(len(list(operator.mutation_positions(node))) for node in ast_nodes(get_ast(SOURCES[kind])))
        for number in range(places):
            yield _mutant(kind, mutate_code(SOURCES[kind], operator, number))


def _mutant(kind: str, source: str) -> Mutant:
    """The mutant with this source.

    Raises:
        ValueError: not exactly one line of a method is another.
    """
    before, after = SOURCES[kind].splitlines(), source.splitlines()
    changed = [place for place, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]
    methods = [one for one in ast.walk(ast.parse(SOURCES[kind])) if isinstance(one, ast.FunctionDef)]
    (place,) = changed
    (method,) = (one.name for one in methods if one.lineno <= place + 1 <= (one.end_lineno or 0))
    mutant = Mutant(kind=kind, method=method, line=before[place].strip(), becomes=after[place].strip())
    if mutant.source != source:
        raise ValueError(f"{mutant} does not make the source that cosmic-ray made")
    return mutant


def numbered(mutants: Iterable[Mutant]) -> dict[str, Mutant]:
    """By id."""
    return {f"{one.kind}.Mutant{number}": one for number, one in enumerate(mutants)}


def implementations(mutants: Mapping[str, Mutant]) -> tuple[Implementation, ...]:
    names = {"group_norm": _GROUP_NAMES, "batch_norm": _BATCH_NAMES}
    return tuple(
        Implementation(
            class_path=identifier, layer=one.kind, layout=CHANNELS_FIRST, names=names[one.kind], documentation=""
        )
        for identifier, one in mutants.items()
    )


class MutantsAdapter(FaultyAdapter):
    """Serves a layer per mutant; ``mutants`` has them by id."""

    framework = "mutants"
    mutants: ClassVar[Mapping[str, Mutant]]

    def layer_class(self, implementation: Implementation) -> Any:
        return self.mutants[implementation.id].layer
