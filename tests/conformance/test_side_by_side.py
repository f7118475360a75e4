"""Several dtypes at a time give what one after the other gives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from normgauge.conformance.engine import Wanted, run_framework
from normgauge.conformance.side_by_side import side_by_side
from normgauge.conformance.subjects import Launch
from normgauge.reports.records import Footer, Header, Record

FAULTY = Launch("faulty.adapter:FaultyAdapter")
WANTED = Wanted(("float32", "float64"), ("batch_norm.BiasedRunningVariance", "group_norm.OnePass"), budget="quick")


def without_times(records: list[Record]) -> list[Any]:
    timeless = [msgspec.structs.replace(r, started="") if isinstance(r, Header) else r for r in records]
    return [msgspec.structs.replace(r, seconds=0, explored_seconds=0) if isinstance(r, Footer) else r for r in timeless]


def test_records_do_not_depend_on_the_number_of_jobs() -> None:
    one, two = (without_times(list(run_framework(FAULTY, WANTED, jobs=jobs))) for jobs in (1, 2))
    assert one == two
    assert len(one) > 100


def counted(count: int, progress: Any) -> Iterator[int]:
    for number in range(count):
        progress("counting", number, count)
        yield number


def failing(what: str, progress: Any) -> Iterator[str]:
    yield "before"
    if what == "exit":
        os._exit(3)
    raise ValueError(what)


def test_results_come_in_the_order_of_the_tasks() -> None:
    shown: list[tuple[str, int, int]] = []
    found = list(side_by_side(counted, [(3,), (0,), (2,)], 2, lambda *one: shown.append(one)))
    assert found == [0, 1, 2, 0, 1]
    assert len(shown) == 5


def test_an_exception_of_a_task_is_raised_here() -> None:
    found = side_by_side(failing, [("no such thing",), ("another",)], 1, lambda *_: None)
    assert next(found) == "before"
    with pytest.raises(ValueError, match="no such thing"):
        next(found)


def test_a_process_that_ends_without_a_word_is_told() -> None:
    found = side_by_side(failing, [("exit",)], 1, lambda *_: None)
    with pytest.raises(ChildProcessError, match="ended with code 3"):
        list(found)
