"""A case as a Python script that needs only the framework and NumPy, and prints what was measured."""

from __future__ import annotations

import ast
import base64
import functools
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from normgauge.adapters.actions import bare
from normgauge.adapters.base import OF_PARAMETERS, Adapter
from normgauge.adapters.case import PARAMETERS, Action, Array, Case, Element, Implementation, Step, derivatives_of
from normgauge.adapters.dtypes import KNOWN_DTYPES
from normgauge.adapters.functions import LARGE, shown, shown_in_part
from normgauge.adapters.memory_layouts import LAYOUTS
from normgauge.adapters.operations import Operation, ScriptedAdapter, do, shown_state
from normgauge.adapters.source import Source, parsed

#: After how many values a large array may repeat, for which its literal is short.
PERIODS: Final = (1, 8)


def numbers(values: Array, dtype: str) -> str:
    """The elements with as many digits as ``dtype`` needs; what a script prints and a report shows."""
    return shown_in_part(values, KNOWN_DTYPES[dtype].printed)


def held_by(values: Array, dtype: str) -> str:
    """``dtype``, or that of the array where it is a parameter of another one."""
    carried = values.dtype.name
    if carried == KNOWN_DTYPES[dtype].carrier and (carried == dtype or _is_short(values)):
        return dtype
    return carried if carried in KNOWN_DTYPES else dtype


def _is_short(values: Array) -> bool:
    """Whether float32 values are bfloat16: the last 16 bits of each are 0."""
    return values.dtype == np.float32 and not np.any(np.ascontiguousarray(values).view(np.uint32) & 0xFFFF)


def literal(values: Array, dtype: str) -> str:
    """``values`` as a NumPy expression that gives the same bits; bfloat16 as float32, which holds it exactly."""
    if values.size == 0:
        return f"np.zeros({values.shape}, dtype=np.{KNOWN_DTYPES[dtype].carrier})"
    if values.size > LARGE:
        return _large_literal(values, dtype)
    dtype = held_by(values, dtype)
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


def script(adapter: Adapter, identifier: str, case: Case, about: str, element: Element | None = None) -> str:
    """The script for ``case``: it prints one line a result, ``step 1 output ...``.

    Of a large array the first values are printed, and the ``element``, where it is one of that array.

    Of an adapter that is not made of operations it has the inputs alone.
    """
    versions = ", ".join(f"{name} {version}" for name, version in adapter.versions().items())
    about = f"{about}\n\n{identifier}, measured with {versions}.\nx and y have the canonical layout (N, C, *spatial).\n"
    imports = ["import numpy as np", *(["import base64", "import zlib"] if _is_large(case) else [])]
    definitions: list[str] = []
    if isinstance(adapter, ScriptedAdapter):
        body = _Body(adapter, adapter.implementation(identifier), case, element)
        lines, definitions = body.lines, body.source.definitions
        imports += body.source.imports
    else:
        lines = _inputs(case)
    return "\n".join(
        [
            f'"""{about}"""',
            "",
            *_imports(imports, adapter.environment(case.dtype)),
            *(f"\n\n{one}" if one.startswith(("def", "@")) else f"\n{one}" for one in definitions),
            "\n\ntry:",
            *(f"    {line}" for line in lines),
            "except Exception as error:",
            '    print("raised", f"{type(error).__name__}: {error}")',
            "",
        ]
    )


def _is_large(case: Case) -> bool:
    return any(step.x.size > LARGE for step in case.steps)


def _imports(imports: Iterable[str], environment: Mapping[str, str]) -> list[str]:
    """The import block; what the framework reads from the environment stands before it."""
    settings = [f"os.environ[{name!r}] = {value!r}" for name, value in environment.items()]
    before = ["import os", "", *settings, ""] if settings else []
    return [*before, *sorted(set(imports) - set(before))]


def _inputs(case: Case) -> list[str]:
    lines = [f"settings = {dict(sorted(case.settings.items()))!r}"]
    lines += [f"{name} = {literal(value, case.dtype)}" for name, value in case.parameters.items()]
    for number, step in enumerate(case.steps, start=1):
        given = {"x": step.x} if step.dy is None else {"x": step.x, "dy": step.dy}
        lines.append(f"# {_about(number, step)}")
        lines += [f"{name} = {literal(value, case.dtype)}" for name, value in given.items()]
    return [*lines, "raise NotImplementedError('the adapter does not say what a user writes')"]


def _about(number: int, step: Step) -> str:
    return f"step {number}: {', '.join([*map(str, step.before), step.mode])}"


class _Body:
    """The lines that do what the adapter does on a case, and show what comes out."""

    def __init__(
        self, adapter: ScriptedAdapter, implementation: Implementation, case: Case, element: Element | None = None
    ) -> None:
        self.source, self.lines = (
            Source(adapter.functions(implementation).__name__, functools.partial(literal, dtype=case.dtype)),
            list[str](),
        )
        self._adapter, self._implementation, self._case = adapter, implementation, case
        self._operations = adapter.known_operations(implementation)
        self._done: set[str] = set()
        self._shower = shown_in_part if _is_large(case) else shown
        names = shown_state(implementation, case)
        self._do(adapter.construction(implementation, case))
        for number, step in enumerate(case.steps, start=1):
            self.lines.append(f"# {_about(number, step)}")
            for action in step.before:
                self._act(action, step)
            self._call(step)
            for name, value in self._shown(step, names):
                self._show(f"step {number} {name}", value)
                if element is not None and (element.step, element.quantity) == (number, name):
                    index = ", ".join(map(str, element.index))
                    self._show(str(element), ast.Subscript(value, parsed(f"({index},)")))
            if step.inspect:
                self._do([replace(self._operations.trainable, gives=("trainable",))])
                marks = ", ".join(f"{name!r} in trainable" for name in PARAMETERS)
                self._show(f"step {number} trainable", parsed(f"[{marks}]"))

    def _do(self, steps: Iterable[Operation], **variables: ast.expr) -> None:
        for step in steps:
            if step.once and step.gives[0] in self._done:
                continue
            self._done.update(step.gives if step.once else ())
            self.lines += self.source.statement(step, variables)

    def _act(self, action: Action, step: Step) -> None:
        known = self._operations.actions
        if action.name == "save_load" and "save" in known:
            self._do(known["save"])
            self._done.clear()
            self._do(self._adapter.construction(self._implementation, bare(self._case)))
            self._do(known["load"])
        elif action.name == "another_layer":
            self._another(step)
        elif action.name == "set_parameters":
            given = action.parameters.items()
            self._do(self._adapter.parameter(self._implementation, self._case, name, value) for name, value in given)
        elif action.name in known:
            self._do(known[action.name], momentum=parsed(repr(action.value)))
        else:
            self.lines.append(f"raise NotImplementedError({str(action)!r})")

    def _another(self, step: Step) -> None:
        """Another layer is made and trained; then all names stand for what belongs to the layer of the case again."""
        construction = list(self._adapter.construction(self._implementation, bare(self._case)))
        done = set(self._done)
        names = ", ".join(dict.fromkeys([*(name for one in construction for name in one.gives), *sorted(done)]))
        self.lines.append(f"kept = ({names},)")
        self._done.clear()
        self._do(construction)
        self._call(Step("train", -step.x))
        self.lines.append(f"({names},) = kept")
        self._done = done

    def _call(self, step: Step) -> None:
        self._give("x", step.x, step.layout, self._adapter.native(self._implementation, step.x))
        if step.dy is not None:
            self._give("dy", step.dy, step.dy_layout, self._adapter.native_upstream(self._implementation, step.dy))
        known = self._operations.call if step.dy is None else self._operations.gradients
        known = self._operations.derivatives[step.derivative] if step.derivative else known
        if step.mode not in known:
            self.lines.append("raise NotImplementedError('no automatic differentiation')")
        self._do(known.get(step.mode, ()))

    def _give(self, name: str, value: Array, layout: str, native: Operation) -> None:
        self.lines.append(f"{name} = {literal(value, self._case.dtype)}")
        if layout:
            self._do([do(LAYOUTS[layout], name)], value=ast.Name(name))
        self._do([replace(native, gives=(name,))], value=ast.Name(name))

    def _shown(self, step: Step, names: Iterable[str]) -> Iterator[tuple[str, ast.expr]]:
        """What a step shows and the expression for it, in the order in which an adapter does."""
        canonical, vector, read = self._operations.canonical, self._operations.vector, self._operations.read
        yield "output", self._of(canonical if step.x.ndim > 1 else vector, ast.Name("y"))
        for name in names:
            if step.inspect or name.startswith("running_"):
                yield name, self._of(vector, self.source.expression(read[name], {}))
        for name in derivatives_of(step, names):
            one = parsed(f"gradients['{name}']")
            plain = vector if name in OF_PARAMETERS or step.x.ndim == 1 else canonical
            yield name, self._of(self._operations.gradient or plain, one)

    def _of(self, operation: Operation, value: ast.expr) -> ast.expr:
        return self.source.expression(operation, {"value": value})

    def _show(self, name: str, value: ast.expr) -> None:
        digits = {} if self._case.dtype == "float32" else {"digits": KNOWN_DTYPES[self._case.dtype].printed}
        text = self.source.called(do(self._shower, **digits), {"values": value})
        self.lines.append(f'print("{name}", {ast.unparse(text)})')
