"""A case as a Python script that needs only the framework and NumPy, and prints what was measured."""

from __future__ import annotations

import ast
import base64
import copy
import functools
import importlib
import inspect
import itertools
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from normgauge.adapters.actions import StateRecipe, bare
from normgauge.adapters.base import Adapter, Recipe
from normgauge.adapters.case import PARAMETERS, Action, Array, Case, Implementation, Step
from normgauge.adapters.dtypes import KNOWN_DTYPES
from normgauge.adapters.operations import Name, Operation, ScriptedAdapter, shown_state

#: More values than this nobody reads: of such an array the first few are shown.
LARGE: Final = 4096
FIRST: Final = 64
#: After how many values a large array may repeat, for which its literal is short.
PERIODS: Final = (1, 8)


def numbers(values: Array, dtype: str) -> str:
    """The elements with as many digits as ``dtype`` needs; what a script prints and a report shows."""
    flat = np.asarray(values).ravel()
    more = f" ... ({flat.size} values)" if flat.size > LARGE else ""
    digits = KNOWN_DTYPES[dtype].printed
    return " ".join(format(float(v), digits) for v in flat[: FIRST if more else None]) + more or "(empty)"


def literal(values: Array, dtype: str) -> str:
    """``values`` as a NumPy expression that gives the same bits; bfloat16 as float32, which holds it exactly."""
    if values.size == 0:
        return f"np.zeros({values.shape}, dtype=np.{KNOWN_DTYPES[dtype].carrier})"
    if values.size > LARGE:
        return _large_literal(values, dtype)
    digits = KNOWN_DTYPES[dtype].printed

    def nested(part: Array) -> str:
        if part.ndim == 0:
            number = float(part)
            return format(number, digits) if np.isfinite(number) else f"float('{number}')"
        return "[" + ", ".join(nested(row) for row in part) + "]"

    return f"np.array({nested(values)}, dtype=np.{KNOWN_DTYPES[dtype].carrier})"


def _large_literal(values: Array, dtype: str) -> str:
    for period in PERIODS:
        start = values.ravel()[:period]
        if np.array_equal(np.resize(start, values.shape), values, equal_nan=True):
            return f"np.resize({literal(start, dtype)}, {values.shape})"
    carrier = KNOWN_DTYPES[dtype].carrier
    little = np.dtype(carrier).newbyteorder("<")
    packed = base64.b64encode(zlib.compress(values.astype(little).tobytes(), 9)).decode()
    source = f'zlib.decompress(base64.b64decode("{packed}"))'
    return f'np.frombuffer({source}, dtype="{little.str}").astype(np.{carrier}).reshape({values.shape})'


def arguments(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items())


def script(adapter: Adapter, identifier: str, case: Case, about: str) -> str:
    """The script for ``case``: it prints one line a result, ``step 1 output ...``."""
    implementation = adapter.implementation(identifier)
    if isinstance(adapter, ScriptedAdapter):
        written = _Body(adapter, implementation, case)
        return _script(adapter, identifier, case, about, written)
    recipe, about_state = adapter.recipe(implementation, case), adapter.state_recipe(implementation, case)
    versions = ", ".join(f"{name} {version}" for name, version in adapter.versions().items())
    lines = [
        f'"""{about}',
        "",
        f"{identifier}, measured with {versions}.",
        "x and y have the canonical layout (N, C, *spatial).",
        '"""',
        "",
        *_imports((*recipe.imports, *_needed(about_state, case), *_unpacking(case)), adapter.environment(case.dtype)),
        "",
        "",
        *_show(case),
        "",
        "",
        "try:",
        *(f"    {line}" for line in _body(recipe, case, about_state)),
        "except Exception as error:",
        '    print("raised", f"{type(error).__name__}: {error}")',
    ]
    return "\n".join(lines) + "\n"


def _script(adapter: ScriptedAdapter, identifier: str, case: Case, about: str, body: _Body) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in adapter.versions().items())
    lines = [
        f'"""{about}',
        "",
        f"{identifier}, measured with {versions}.",
        "x and y have the canonical layout (N, C, *spatial).",
        '"""',
        "",
        *_imports((*body.source.imports, *_unpacking(case)), adapter.environment(case.dtype)),
    ]
    for definition in body.source.definitions:
        lines += ["", "", *definition.splitlines()] if definition.startswith(("def", "@")) else ["", definition]
    lines += ["", "", *_show(case), "", "", "try:", *(f"    {line}" for line in body.lines)]
    lines += ["except Exception as error:", '    print("raised", f"{type(error).__name__}: {error}")']
    return "\n".join(lines) + "\n"


class _Body:
    """The lines that do what the adapter does on a case, and show what comes out."""

    def __init__(self, adapter: ScriptedAdapter, implementation: Implementation, case: Case) -> None:
        self.source, self.lines = _Source(adapter.module.__name__, case.dtype), list[str]()
        self._adapter, self._implementation, self._case = adapter, implementation, case
        self._operations = adapter.known_operations(implementation)
        self._done: set[str] = set()
        names = shown_state(implementation, case)
        self._do(adapter.construction(implementation, case))
        for number, step in enumerate(case.steps, start=1):
            self.lines.append(f"# step {number}: {', '.join([*map(str, step.before), step.mode])}")
            for action in step.before:
                self._act(action)
            self._call(step)
            for name, shown in self._shown(step, names):
                self.lines.append(f'show("step {number} {name}", {shown})')
            if step.inspect:
                trainable = _parsed(f"[{', '.join(f'{name!r} in trainable' for name in PARAMETERS)}]")
                self._do([replace(self._operations.trainable, gives=("trainable",))])
                self.lines.append(f'show("step {number} trainable", {ast.unparse(trainable)})')

    def _do(self, steps: Iterable[Operation], **variables: ast.expr) -> None:
        for step in steps:
            if step.once and step.gives[0] in self._done:
                continue
            self._done.update(step.gives if step.once else ())
            self.lines += self.source.statement(step, variables)

    def _act(self, action: Action) -> None:
        known = self._operations.actions
        if action.name == "save_load" and "save" in known:
            self._do(known["save"])
            self._done.clear()
            self._do(self._adapter.construction(self._implementation, bare(self._case)))
            self._do(known["load"])
        elif action.name in known:
            self._do(known[action.name], momentum=_parsed(repr(action.value)))
        else:
            self.lines.append(f"raise NotImplementedError({str(action)!r})")

    def _call(self, step: Step) -> None:
        self._give("x", step.x, self._adapter.native(self._implementation, step.x))
        if step.dy is not None:
            self._give("dy", step.dy, self._adapter.native_upstream(self._implementation, step.dy))
        self._do((self._operations.call if step.dy is None else self._operations.gradients)[step.mode])

    def _give(self, name: str, value: Array, native: Operation) -> None:
        self.lines.append(f"{name} = {literal(value, self._case.dtype)}")
        self._do([replace(native, gives=(name,))], value=ast.Name(name))

    def _shown(self, step: Step, names: Iterable[str]) -> Iterator[tuple[str, str]]:
        """What a step shows and the expression for it, in the order in which an adapter does."""
        canonical, vector, read = self._operations.canonical, self._operations.vector, self._operations.read
        yield "output", self._text(canonical if step.x.ndim > 1 else vector, ast.Name("y"))
        for name in names:
            if step.inspect or name.startswith("running_"):
                yield name, self._text(vector, self.source.expression(read[name], {}))
        for name in () if step.dy is None else ("x", *(name for name in ("weight", "bias") if name in names)):
            one = _parsed(f"gradients['d{name}']")
            shown = self._operations.gradient or (canonical if name == "x" and step.x.ndim > 1 else vector)
            yield f"d{name}", self._text(shown, one)

    def _text(self, operation: Operation, value: ast.expr) -> str:
        return ast.unparse(self.source.expression(operation, {"value": value}))


class _Source:
    """Python text for operations, and what this text needs: imports and definitions out of the functions' modules."""

    def __init__(self, module: str, dtype: str) -> None:
        self._module, self._dtype, self._set = module, dtype, set[str]()
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
        return ast.unparse(_assignment(target, inline or self._called(operation, variables))).splitlines()

    def expression(self, operation: Operation, variables: Mapping[str, ast.expr]) -> ast.expr:
        inline = self._inline(operation, variables)
        return inline if isinstance(inline, ast.expr) else self._called(operation, variables)

    def _called(self, operation: Operation, variables: Mapping[str, ast.expr]) -> ast.expr:
        function = operation.function
        if isinstance(function, Name):
            name = self._value(function, variables)
        else:
            name = ast.Name(function.__name__)
            self._need(function.__module__, function.__name__)
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
        if any(uses.count(one) > 1 and not isinstance(value, ast.Name) for one, value in arguments.items()):
            return None
        self._need_names(module, body[0], but=arguments)
        inline = _WithArguments(arguments).visit(copy.deepcopy(body[0]))
        return inline.value if isinstance(inline, ast.Return) else inline

    def _value(self, value: Any, variables: Mapping[str, ast.expr]) -> ast.expr:
        if isinstance(value, Operation):
            return self.expression(value, variables)
        if isinstance(value, Name):
            if value in variables:
                return variables[value]
            head = value.partition(".")[0]
            if head not in self._set:
                self._need(self._module, head)
            return _parsed(value)
        if isinstance(value, np.ndarray):
            return _parsed(literal(value, self._dtype))
        return _parsed(repr(value) if not isinstance(value, float) or math.isfinite(value) else f"float('{value}')")

    def _need_names(self, module: str, node: ast.AST, but: Iterable[str] = ()) -> None:
        for name in {one.id for one in ast.walk(node) if isinstance(one, ast.Name)} - set(but):
            self._need(module, name)

    def _need(self, module: str, name: str) -> None:
        """Take over what gives ``name`` its meaning in ``module``, and what that needs itself."""
        for node, text in _top_level(module).get(name, ()):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("normgauge."):
                self._need(str(node.module), name)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                self.imports[text] = None
            elif (module, name) not in self._definitions:
                self._definitions[module, name] = text
                self._need_names(module, node)


def _parsed(text: str) -> ast.expr:
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
        del text[len(text[:begin].rstrip(b" ->" if hasattr(one, "returns") else b" :")) : end]
    first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", ()))])
    return text[starts[first - 1] :].decode().rstrip()


class _WithArguments(ast.NodeTransformer):
    """Arguments in place of parameters; an attribute whose name is an argument is written with a dot."""

    def __init__(self, arguments: Mapping[str, ast.expr]) -> None:
        self._arguments = arguments

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._arguments.get(node.id, node)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
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


def _is_large(case: Case) -> bool:
    return any(step.x.size > LARGE for step in case.steps)


def _unpacking(case: Case) -> tuple[str, ...]:
    return ("import base64", "import zlib") if _is_large(case) else ()


def _show(case: Case) -> tuple[str, ...]:
    """The function that prints a result as :func:`numbers` tells it."""
    if not _is_large(case):
        return (
            "def show(name, values):",
            f'    print(name, " ".join(format(float(v), "{KNOWN_DTYPES[case.dtype].printed}")',
            '                         for v in np.asarray(values).ravel()) or "(empty)")',
        )
    return (
        "def show(name, values):",
        "    flat = np.asarray(values).ravel()",
        f'    more = f" ... ({{flat.size}} values)" if flat.size > {LARGE} else ""',
        f'    print(name, " ".join(format(float(v), "{KNOWN_DTYPES[case.dtype].printed}")',
        f'                         for v in flat[:{FIRST} if more else None]) + more or "(empty)")',
    )


def _needed(about_state: StateRecipe, case: Case) -> tuple[str, ...]:
    return about_state.imports if any(step.before for step in case.steps) else ()


def _imports(imports: Iterable[str], environment: Mapping[str, str]) -> list[str]:
    """The import block; what the framework reads from the environment stands before it."""
    settings = [f"os.environ[{name!r}] = {value!r}" for name, value in environment.items()]
    before = ["import os", "", *settings, ""] if settings else []
    return [*before, *sorted({"import numpy as np", *imports})]


def _body(recipe: Recipe, case: Case, about_state: StateRecipe) -> list[str]:
    body = list(recipe.construct)
    for number, step in enumerate(case.steps, start=1):
        body += [f"# step {number}: {', '.join([*map(str, step.before), step.mode])}"]
        for action in step.before:
            lines = about_state.actions.get(action.name, (f"raise NotImplementedError({str(action)!r})",))
            body += [line.replace("VALUE", repr(action.value)) for line in lines]
        body += [
            f"x = {literal(step.x, case.dtype)}",
            *_call(recipe, step, case.dtype),
            f'show("step {number} output", y)',
        ]
        body += [f'show("step {number} {name}", {text})' for name, text in _state(recipe, case, step, about_state)]
        if step.dy is not None:
            shown = {"dx": "dx", **recipe.gradients}
            body += [f'show("step {number} {name}", {text})' for name, text in shown.items()]
        if step.inspect:
            marks = ", ".join(f"{name!r} in trainable" for name in PARAMETERS)
            body += [
                f"trainable = {about_state.inspect.get('trainable', '()')}",
                f'show("step {number} trainable", [{marks}])',
            ]
    return body


def _state(recipe: Recipe, case: Case, step: Step, about_state: StateRecipe) -> list[tuple[str, str]]:
    """What a step shows of the state, in the order in which an adapter does."""
    parameters = [name for name in ("weight", "bias") if step.inspect and case.settings.get(name, True)]
    return [*((name, about_state.inspect.get(name, "()")) for name in parameters), *recipe.state.items()]


def _call(recipe: Recipe, step: Step, dtype: str) -> tuple[str, ...]:
    if step.dy is None:
        return recipe.call[step.mode]
    nothing = ("raise NotImplementedError('no automatic differentiation')",)
    return f"dy = {literal(step.dy, dtype)}", *recipe.backward.get(step.mode, nothing)
