"""References evaluated once and kept: the same values and bounds bit for bit, whatever becomes of the store."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from references import InMemory

from normgauge.adapters.cache_folder import VARIABLE
from normgauge.adapters.case import Action, Case
from normgauge.conformance.diagnosis import reference_store
from normgauge.conformance.diagnosis.predictions import Prediction, predict
from normgauge.conformance.diagnosis.reference_store import ReferenceStore, code_digest
from normgauge.conformance.diagnosis.references import References
from normgauge.conformance.layers.experiments import probes
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.subject import Launch
from normgauge.oracle import Arithmetic, Semantics, candidates
from normgauge.results.records import Footer, Header

FLOAT32 = Arithmetic("float32")


@pytest.fixture
def _references_are_evaluated_once() -> None:
    """Not here: what is tested is the store on disk."""


def cases(layer: str = "batch_norm") -> list[Case]:
    """Small cases of every kind: steps, gradients, refusals, empty inputs, special values."""
    return [
        one.case
        for one in probes(layer, "float32", (2, 4))
        if not one.curve and "eps" in one.case.settings and one.case.steps[0].x.size < 2**10
    ][::6]


def some(layer: str) -> list[Semantics]:
    every = list(candidates(layer))
    return every[:: len(every) // 8]


def bits(prediction: Prediction) -> Any:
    steps = [{n: (r.value.shape, r.value.tobytes(), r.bound.tobytes()) for n, r in s.items()} for s in prediction.steps]
    return steps, prediction.refused


def asked(references: References, layer: str) -> list[Any]:
    return [bits(references.predict(case, one, FLOAT32)) for case in cases(layer) for one in some(layer)]


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["group_norm", "batch_norm"])
def test_references_are_those_of_the_oracle_evaluated_and_from_the_store(layer: str, tmp_path: Path) -> None:
    plain = [bits(predict(case, one, FLOAT32)) for case in cases(layer) for one in some(layer)]
    first = References(ReferenceStore.at(tmp_path))
    assert asked(first, layer) == plain
    assert 0 < first.evaluated < first.asked
    first.close()
    again = References(ReferenceStore.at(tmp_path))
    assert asked(again, layer) == plain
    assert again.evaluated == 0


@pytest.mark.slow
def test_what_was_read_is_noted_as_the_oracle_notes_it(tmp_path: Path) -> None:
    seen: set[str] = set()
    for _ in range(2):
        references = References(ReferenceStore.at(tmp_path))
        for case in cases():
            evaluated, kept = (replace(some("batch_norm")[0], read=set()) for _ in range(2))
            predict(case, evaluated, FLOAT32)
            references.predict(case, kept, FLOAT32)
            assert kept.read == evaluated.read
            seen |= evaluated.read or set()
        references.close()
    assert seen


def test_a_case_that_differs_in_anything_has_another_digest() -> None:
    (case,) = [one.case for one in probes("batch_norm", "float32", (4,)) if one.requirement == "BN-28"][:1]
    first, *rest = case.steps
    values = {"weight": np.ones(8, np.float32), "bias": np.ones(8, np.float32)}
    sets = [Action("set_parameters", parameters={name: value}) for name, value in values.items()]
    sets.append(Action("set_parameters", parameters={"weight": values["weight"] * 2}))
    others = [
        replace(case, dtype="float64"),
        replace(case, layer="group_norm"),
        replace(case, settings={**case.settings, "eps": np.nextafter(case.settings["eps"], 1).item()}),
        replace(case, settings={**case.settings, "momentum": None}),
        replace(case, parameters={}),
        replace(case, dtypes={"weight": "float32"}),
        replace(case, dtypes={"weight": "float16"}),
        replace(case, parameters={name: value + 1 for name, value in case.parameters.items()}),
        replace(case, steps=(replace(first, mode="eval" if first.mode == "train" else "train"), *rest)),
        replace(case, steps=(replace(first, x=-first.x), *rest)),
        replace(case, steps=(replace(first, x=first.x[:, :, ::-1]), *rest)),
        replace(case, steps=(replace(first, x=first.x.reshape(*first.x.shape[:2], -1)), *rest)),
        replace(case, steps=(replace(first, dy=first.x), *rest)),
        replace(case, steps=(replace(first, inspect=not first.inspect), *rest)),
        replace(case, steps=tuple(replace(step, before=()) for step in case.steps)),
        *(replace(case, steps=(replace(first, before=(one,)), *rest)) for one in sets),
    ]
    assert len({one.digest for one in [case, *others]}) == len(others) + 1
    assert replace(case).digest == case.digest


def damaged(path: Path, how: str) -> None:
    if how == "another file":
        path.write_text("no database\n" * 1000)
    elif how == "cut short":
        os.truncate(path, path.stat().st_size // 2)
    else:
        connection = sqlite3.connect(path)
        with connection:
            if how == "wrong bytes":
                connection.execute("UPDATE reference SET entries = substr(entries, 1, 50)")
            elif how == "no entries":
                connection.execute("UPDATE reference SET entries = x'93', checksum = ?", (3137613171,))
            else:
                connection.execute("DROP TABLE reference")
        connection.close()


@pytest.mark.parametrize("how", ["another file", "cut short", "wrong bytes", "no entries", "no table"])
def test_a_damaged_store_is_thrown_away(how: str, tmp_path: Path) -> None:
    first = References(ReferenceStore.at(tmp_path))
    expected = asked(first, "group_norm")
    first.close()
    (path,) = tmp_path.glob("*.sqlite")
    damaged(path, how)
    for evaluates in (True, False):
        again = References(ReferenceStore.at(tmp_path))
        assert asked(again, "group_norm") == expected
        again.close()
        assert evaluates or how == "no table" or again.evaluated == 0


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    references = References(ReferenceStore.at(tmp_path / "file" / "folder"))
    assert asked(references, "group_norm")
    references.close()


@pytest.mark.slow
def test_the_store_is_bounded(tmp_path: Path) -> None:
    most = 2**18
    for _ in range(2):
        references = References(ReferenceStore.at(tmp_path, most))
        asked(references, "batch_norm")
        references.close()
    (path,) = tmp_path.glob("*.sqlite")
    connection = sqlite3.connect(path)
    (size,) = connection.execute("SELECT total(length(entries)) FROM reference").fetchone()
    connection.close()
    assert 0 < size <= most
    for number in range(3):
        (tmp_path / f"older{number}.sqlite").write_bytes(b"x" * (most // 4))
        os.utime(tmp_path / f"older{number}.sqlite", (number, number))
    ReferenceStore.at(tmp_path, most).close()
    assert [one.name for one in sorted(tmp_path.glob("older*"))] == ["older1.sqlite", "older2.sqlite"]


@pytest.mark.slow
def test_what_this_process_holds_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    most = 2**12
    store: Any = InMemory(most)  # it has the methods of the store on disk
    references = References(store, memory=most)
    expected = [bits(predict(case, some("batch_norm")[0], FLOAT32)) for case in cases()]
    for _ in range(2):
        assert [bits(references.predict(case, some("batch_norm")[0], FLOAT32)) for case in cases()] == expected
    assert references.evaluated > len(expected)  # some were forgotten
    assert references._size <= most + max(one.size for one in references._groups.values())
    held = {key: sum(one.size for one in store.entries(key)) for key in list(store._entries)}
    assert 0 < store.size == sum(held.values()) <= most + max(held.values())


def _asked_in_a_process(folder: Path, layers: Sequence[str]) -> int:
    references = References(ReferenceStore.at(folder))
    for layer in layers:
        asked(references, layer)
        references.flush()
    references.close()
    return references.evaluated


@pytest.mark.slow
def test_several_processes_share_a_store(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    orders = [("group_norm", "batch_norm"), ("batch_norm", "group_norm")] * 2
    with context.Pool(4) as pool:
        pool.starmap(_asked_in_a_process, [(tmp_path, order) for order in orders])
    assert _asked_in_a_process(tmp_path, orders[0]) == 0


def test_another_oracle_has_another_store(monkeypatch: pytest.MonkeyPatch) -> None:
    here = code_digest()
    assert here == code_digest()
    monkeypatch.setattr(np, "__version__", "0")
    assert code_digest() != here


def test_without_a_folder_for_caches_there_is_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    assert reference_store.default_store() is None


@pytest.mark.slow
def test_records_are_the_same_with_and_without_a_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def records(folder: str) -> list[bytes]:
        monkeypatch.setenv(VARIABLE, folder)
        wanted = Wanted(dtypes=("float32",), implementations=("batch_norm.Frozen", "group_norm.Interleaved"))
        found = run_framework(Launch(framework="faulty.adapter:FaultyAdapter"), wanted)
        return [msgspec.json.encode(one) for one in found if not isinstance(one, Header | Footer)]

    without = records("")
    assert records(str(tmp_path)) == without
    assert records(str(tmp_path)) == without
