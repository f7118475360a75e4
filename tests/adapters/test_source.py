"""Text for operations is taken from the source of their functions."""

from __future__ import annotations

import numpy as np
import pytest
import written

from normgauge.adapters.case import Array
from normgauge.adapters.operations import Name, Operation, do
from normgauge.adapters.source import Source, parsed


def literal(values: Array) -> str:
    return f"np.array({values.tolist()})"


def source() -> Source:
    return Source("written", literal)


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        (do(written.halved, "y", value=Name("x")), "y = x / SCALE"),
        (do(written.set_scale, name="scale", value=np.ones(2)), "layer.scale = np.array([1.0, 1.0])"),
        (do(written.in_context, "y"), "with np.errstate(all='ignore'):\n    y = layer(x)"),
        (do(written.call, "y", training=True), "y = layer(x, training=True)"),
        (do(written.call), "layer(x)"),
        (do(written.halved, "y", value=do(written.halved, value=Name("x"))), "y = x / SCALE / SCALE"),
        (
            do(Name("np.full"), "y, z", shape=(2,), fill_value=float("inf")),
            "y, z = np.full(shape=(2,), fill_value=float('inf'))",
        ),
    ],
)
def test_a_function_of_one_statement_stands_where_it_is_called(operation: Operation, text: str) -> None:
    assert "\n".join(source().statement(operation, {})) == text


def test_a_function_whose_argument_would_stand_twice_is_called() -> None:
    twice = do(written.doubled, "y")
    assert source().statement(twice, {"value": parsed("x")}) == ["y = x + x"]
    assert source().statement(twice, {"value": parsed("f(x)")}) == ["y = doubled(f(x))"]


def test_a_longer_function_comes_whole_but_for_annotations_and_words_to_linters() -> None:
    given = source()
    assert given.statement(do(written.rooted, "root"), {}) == ["root = rooted(x)"]
    assert given.definitions == [
        "def rooted(x):\n    def inner(y=1.0):  # kept\n        return math.sqrt(x) * y\n\n    return inner"
    ]
    assert list(given.imports) == ["import math"]


def test_what_a_function_needs_comes_with_it() -> None:
    given = source()
    given.statement(do(written.halved, "y"), {"value": parsed("x")})
    given.statement(do(written.cached, "y"), {})
    given.statement(do(written.turned, "y"), {"value": parsed("x")})
    assert set(given.imports) == {"import functools", "import numpy as np"}
    texts = [one.splitlines()[0] for one in given.definitions]
    assert texts == ["def channels_first(value):", "SCALE = 2.0", "@functools.cache", "def turned(value):"]
