"""Python text for operations, taken from the source of their functions."""

from __future__ import annotations

import ast
import copy
import functools
import importlib
import inspect
import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np

from normgauge.adapters.case import Array
from normgauge.adapters.operations import Name, Operation

#: Comments of a source that no user of a script needs.
_FOR_LINTERS: Final = re.compile(r"  # (type: ignore|noqa).*")


class Source:
    """Python text for operations, and what this text needs: imports and definitions out of the functions' modules."""

    def __init__(self, module: str, literal: Callable[[Array], str]) -> None:
        self._module, self._literal, self._set = module, literal, set[str]()
        self.imports: dict[str, None] = {}
        self._definitions: dict[tuple[str, str], str] = {}

    @property
    def definitions(self) -> list[str]:
        """In the order in which the modules have them."""
        known = {module: list(_top_level(module)) for module, _ in self._definitions}
        return [
            self._definitions[key]
            for key in sorted(self._definitions, key=lambda key: (key[0], known[key[0]].index(key[1])))
        ]

    def statement(self, operation: Operation, variables: Mapping[str, ast.expr]) -> list[str]:
        """The lines that do an operation, with expressions in place of some variables."""
        target = ", ".join(operation.gives)
        self._set.update(operation.gives)
        inline = self._inline(operation, variables)
        if isinstance(inline, ast.stmt):
            for inner in ast.walk(inline):
                if isinstance(inner, ast.With) and isinstance(inner.body[-1], ast.Return):
                    assert inner.body[-1].value is not None
                    inner.body[-1] = _assignment(target, inner.body[-1].value)
            return ast.unparse(ast.fix_missing_locations(inline)).splitlines()
        return ast.unparse(_assignment(target, inline or self.called(operation, variables))).splitlines()

    def expression(self, operation: Operation, variables: Mapping[str, ast.expr]) -> ast.expr:
        inline = self._inline(operation, variables)
        return inline if isinstance(inline, ast.expr) else self.called(operation, variables)

    def called(self, operation: Operation, variables: Mapping[str, ast.expr]) -> ast.expr:
        function = operation.function
        if isinstance(function, Name):
            name = self._value(function, variables)
        else:
            name = ast.Name(function.__name__)
            self.need(function.__module__, function.__name__)
        taken = [variables.get(one, ast.Name(one)) for one in operation.takes]
        values = {one: self._value(value, variables) for one, value in operation.values.items()}
        taken += [values.pop("value")] if "value" in values and not taken else []
        return ast.Call(name, taken, [ast.keyword(one, value) for one, value in values.items()])

    def _inline(self, operation: Operation, variables: Mapping[str, ast.expr]) -> ast.expr | ast.stmt | None:
        """What a function of a single statement says, with the arguments in place of its parameters."""
        if isinstance(operation.function, Name):
            return None
        module, name = operation.function.__module__, operation.function.__name__
        ((definition, _),) = _top_level(module)[name]
        assert isinstance(definition, ast.FunctionDef)
        body = definition.body[1:] if ast.get_docstring(definition) else definition.body
        if len(body) != 1 or definition.decorator_list:
            return None
        arguments = {one: variables.get(one, ast.Name(one)) for one in operation.takes}
        arguments |= {one: self._value(value, variables) for one, value in operation.values.items()}
        uses = [node.id for node in ast.walk(body[0]) if isinstance(node, ast.Name)]
        if any(
            uses.count(one) > 1 and not isinstance(value, ast.Name | ast.Constant) for one, value in arguments.items()
        ):
            return None
        self._need_names(module, body[0], but=arguments)
        inline = _WithArguments(arguments, definition.args).visit(copy.deepcopy(body[0]))
        return inline.value if isinstance(inline, ast.Return) else inline

    def _value(self, value: Any, variables: Mapping[str, ast.expr]) -> ast.expr:
        if isinstance(value, Operation):
            return self.expression(value, variables)
        if isinstance(value, Name):
            if value in variables:
                return variables[value]
            head = value.partition(".")[0]
            if head not in self._set:
                self.need(self._module, head)
            return parsed(value)
        if isinstance(value, np.ndarray):
            return parsed(self._literal(value))
        return parsed(repr(value) if not isinstance(value, float) or math.isfinite(value) else f"float('{value}')")

    def _need_names(self, module: str, node: ast.AST, but: Iterable[str] = ()) -> None:
        for name in {one.id for one in ast.walk(node) if isinstance(one, ast.Name)} - set(but):
            self.need(module, name)

    def need(self, module: str, name: str) -> None:
        """Take over what gives ``name`` its meaning in ``module``, and what that needs itself."""
        for node, text in _top_level(module).get(name, ()):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("normgauge."):
                self.need(str(node.module), name)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                self.imports[text] = None
            elif (module, name) not in self._definitions:
                self._definitions[module, name] = text
                self._need_names(module, node)


def parsed(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _assignment(target: str, value: ast.expr) -> ast.stmt:
    """``value`` as a statement, assigned to ``target`` where there is one."""
    statement = ast.parse(f"{target} = 0" if target else "0").body[0]
    assert isinstance(statement, ast.Assign | ast.Expr)
    statement.value = value
    return statement


@functools.cache
def _top_level(module: str) -> Mapping[str, list[tuple[ast.stmt, str]]]:
    """The statements of a module that give a name its meaning, and their text; an import has one name here."""
    source = inspect.getsource(importlib.import_module(module))
    found: dict[str, list[tuple[ast.stmt, str]]] = {}
    for node in ast.parse(source).body:
        named: list[tuple[str, ast.stmt]] = []
        if isinstance(node, ast.FunctionDef):
            named = [(node.name, node)]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            named = [(ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target), node)]
        elif isinstance(node, ast.Import):
            named = [(one.asname or one.name.partition(".")[0], ast.Import([one])) for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            named = [(one.asname or one.name, ast.ImportFrom(node.module, [one], node.level)) for one in node.names]
        for name, one in named:
            text = _without_annotations(source, node) if one is node else ast.unparse(one)
            found.setdefault(name, []).append((ast.parse(text).body[0], text))
    return found


def _without_annotations(source: str, node: ast.stmt) -> str:
    """The text of a statement without the annotations in it."""
    starts = [0, *itertools.accumulate(map(len, source.encode().splitlines(keepends=True)))]
    text = bytearray(source.encode()[: starts[node.end_lineno or 0]])
    annotated = [(one, getattr(one, "returns", None) or getattr(one, "annotation", None)) for one in ast.walk(node)]
    annotations = [(one, annotation) for one, annotation in annotated if annotation is not None]
    for one, annotation in sorted(annotations, key=lambda pair: (-pair[1].lineno, -pair[1].col_offset)):
        begin = starts[annotation.lineno - 1] + annotation.col_offset
        end = starts[annotation.end_lineno - 1] + annotation.end_col_offset
        if isinstance(one, ast.arg) and text[end : end + 3] == b" = ":
            text[end : end + 3] = b"="
        del text[len(text[:begin].rstrip(b" ->" if hasattr(one, "returns") else b" :")) : end]
    first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", ()))])
    return _FOR_LINTERS.sub("", text[starts[first - 1] :].decode()).rstrip()


class _WithArguments(ast.NodeTransformer):
    """Arguments in place of parameters; an attribute whose name is an argument is written with a dot."""

    def __init__(self, arguments: Mapping[str, ast.expr], parameters: ast.arguments) -> None:
        named = {one.arg for one in (*parameters.args, *parameters.kwonlyargs)}
        self._arguments = arguments
        self._others = [ast.keyword(name, value) for name, value in arguments.items() if name not in named]

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._arguments.get(node.id, node)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        node.keywords = [one for given in node.keywords for one in ([given] if given.arg else self._others)]
        return _attribute(node) if ast.unparse(node.func) == "getattr" else node

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        self.generic_visit(node)
        if isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "setattr":
            return ast.Assign([_attribute(node.value)], node.value.args[2])
        return node


def _attribute(call: ast.Call) -> ast.Attribute:
    name = call.args[1]
    assert isinstance(name, ast.Constant)
    return ast.Attribute(call.args[0], str(name.value))
