"""Writes docs/remedies.md: every remedy with the source of the function that the tests run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from normgauge.conformance.layers.registry import kind_of
from normgauge.conformance.remedies.catalogue import BATCH_NORM, GROUP_NORM
from normgauge.conformance.remedies.remedy import Advice, NotMended, Remedy

PAGE: Final = Path(__file__).parents[2] / "docs" / "remedies.md"
HEAD: Final = """# Remedies

A remedy says what a port must write instead. The report prints it beside a difference with this cause. Every remedy
is a function that tests run: `tests/conformance/test_remedies.py` on layers with the fault, `nox -s remedies` on every
layer of the frameworks that has it. The function receives a case for the canonical layer, and the layer of the port.
Its result must be inside the error bound of the canonical semantics. Some remedies change a framework's own layer, such
as an argument of its constructor; they name the framework. `python tests/support/remedies_page.py` writes this page.
"""


def _cause(advice: Advice) -> str:
    if advice.cause:
        return f"{advice.key}: {advice.cause.words}"
    return f"{kind_of(advice.layer).title}, `{advice.key}`"


def _limits(advice: Advice) -> str:
    named = (advice.packages, advice.classes, advice.backends, advice.modes, advice.options, advice.dtypes)
    return "; ".join(", ".join(one) for one in named if one) or "any"


def _functions(advice: Remedy) -> list[Callable[..., Any]]:
    return [advice.apply] if advice.apply else list(dict.fromkeys(advice.natively.values()))


def _lines() -> Iterator[str]:
    known = [one for one in (*GROUP_NORM, *BATCH_NORM) if isinstance(one, Remedy)]
    yield HEAD
    yield "| cause | for | sentence | function |\n| --- | --- | --- | --- |"
    for one in known:
        names = ", ".join(f"`{function.__qualname__.partition('.')[0]}`" for function in _functions(one))
        yield f"| {_cause(one)} | {_limits(one)} | {one.sentence} | {names} |"
    yield "\n## Differences without a remedy\n\n| cause | reason |\n| --- | --- |"
    for never in (*GROUP_NORM, *BATCH_NORM):
        if isinstance(never, NotMended):
            yield f"| {_cause(never)} | {never.sentence} |"
    modules = dict.fromkeys(inspect.getmodule(function) for one in known for function in _functions(one))
    for module in modules:
        assert module is not None
        yield f"\n## {module.__name__.removeprefix('normgauge.').replace('.', '/')}.py\n\n```python"
        yield f"{inspect.getsource(module).rstrip()}\n```"


def page() -> str:
    return "\n".join(_lines()) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
