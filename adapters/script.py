"""A case as a Python script that needs only the framework and NumPy, and prints what was measured."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from normgauge.adapters.actions import StateRecipe
from normgauge.adapters.base import Adapter, Recipe
from normgauge.adapters.case import CARRIERS, PARAMETERS, Array, Case, Step

DIGITS = {"float16": ".5g", "bfloat16": ".4g", "float32": ".9g", "float64": ".17g"}

#: More values than this nobody reads: of such an array the first few are shown.
LARGE: Final = 4096
FIRST: Final = 64
#: After how many values a large array may repeat, for which its literal is short.
PERIODS: Final = (1, 8)


def numbers(values: Array, dtype: str) -> str:
    """The elements with as many digits as ``dtype`` needs; what a script prints and a report shows."""
    flat = np.asarray(values).ravel()
    more = f" ... ({flat.size} values)" if flat.size > LARGE else ""
    return " ".join(format(float(v), DIGITS[dtype]) for v in flat[: FIRST if more else None]) + more or "(empty)"


def literal(values: Array, dtype: str) -> str:
    """``values`` as a NumPy expression that gives the same bits; bfloat16 as float32, which holds it exactly."""
    if values.size == 0:
        return f"np.zeros({values.shape}, dtype=np.{CARRIERS[dtype]})"
    if values.size > LARGE:
        return _large_literal(values, dtype)
    digits = DIGITS[dtype]

    def nested(part: Array) -> str:
        if part.ndim == 0:
            number = float(part)
            return format(number, digits) if np.isfinite(number) else f"float('{number}')"
        return "[" + ", ".join(nested(row) for row in part) + "]"

    return f"np.array({nested(values)}, dtype=np.{CARRIERS[dtype]})"


def _large_literal(values: Array, dtype: str) -> str:
    for period in PERIODS:
        start = values.ravel()[:period]
        if np.array_equal(np.resize(start, values.shape), values, equal_nan=True):
            return f"np.resize({literal(start, dtype)}, {values.shape})"
    little = np.dtype(CARRIERS[dtype]).newbyteorder("<")
    packed = base64.b64encode(zlib.compress(values.astype(little).tobytes(), 9)).decode()
    source = f'zlib.decompress(base64.b64decode("{packed}"))'
    return f'np.frombuffer({source}, dtype="{little.str}").astype(np.{CARRIERS[dtype]}).reshape({values.shape})'


def arguments(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items())


def script(adapter: Adapter, identifier: str, case: Case, about: str) -> str:
    """The script for ``case``: it prints one line a result, ``step 1 output ...``."""
    implementation = adapter.implementation(identifier)
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


def _is_large(case: Case) -> bool:
    return any(step.x.size > LARGE for step in case.steps)


def _unpacking(case: Case) -> tuple[str, ...]:
    return ("import base64", "import zlib") if _is_large(case) else ()


def _show(case: Case) -> tuple[str, ...]:
    """The function that prints a result as :func:`numbers` tells it."""
    if not _is_large(case):
        return (
            "def show(name, values):",
            f'    print(name, " ".join(format(float(v), "{DIGITS[case.dtype]}")',
            '                         for v in np.asarray(values).ravel()) or "(empty)")',
        )
    return (
        "def show(name, values):",
        "    flat = np.asarray(values).ravel()",
        f'    more = f" ... ({{flat.size}} values)" if flat.size > {LARGE} else ""',
        f'    print(name, " ".join(format(float(v), "{DIGITS[case.dtype]}")',
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
