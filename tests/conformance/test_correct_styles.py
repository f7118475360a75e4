"""Correct layers in six styles: nothing but ``conforms`` comes of them. ``nox -s correct`` has all of it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Final

import numpy as np
import pytest
from correct.adapter import LAYOUTS, laid_out
from correct.styles import STYLES, two_pass_by_einsum
from explore_correct import KNOWN, LAYERS, Told, table, told_of, unlike
from honest import Array, Machine, Statistics

from normgauge.adapters.dtypes import DTYPES
from normgauge.conformance.exploration.budget import BUDGETS

#: Every style once, with both layers and every type among them.
SOME: Final = [
    (f"{style}.{layer}", dtype)
    for style, layer, dtype in zip(STYLES, itertools.cycle(LAYERS), itertools.cycle(DTYPES), strict=False)
]


@pytest.mark.parametrize(("implementation", "dtype"), SOME)
def test_a_correct_layer_conforms_in_its_style(implementation: str, dtype: str) -> None:
    told = told_of(implementation, dtype, budget=BUDGETS["quick"])
    known = [place for place in KNOWN if place[:2] == (implementation, dtype)]
    found = {(implementation, dtype, name): what for name, what in told.others.items()}
    assert list(unlike(found, known)) == []
    assert set(told.verdicts) == {"conforms"}
    assert told.verdicts["conforms"] >= 28
    assert told.explored["cases"]


def unbiased(f: Machine, x: Array) -> Statistics:
    found = two_pass_by_einsum(f, x)
    return replace(found, var=f(found.var * f(x.shape[1] / max(x.shape[1] - 1, 1))))


def test_a_style_with_another_divisor_does_not_conform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STYLES, "einsum", replace(STYLES["einsum"], statistics=unbiased))
    told = told_of("einsum.GroupNorm", "float32", budget=BUDGETS["none"])
    assert told.others["GN-03"].startswith("diverges: ")
    assert told.verdicts["diverges"] >= 1


def test_a_style_that_rounds_its_output_to_half_does_not_conform(monkeypatch: pytest.MonkeyPatch) -> None:
    def coarse(f: Machine, values: Array) -> Array:
        return f(Machine(dtype="bfloat16")(values.sum(axis=1, keepdims=True)))

    monkeypatch.setitem(STYLES, "fused", replace(STYLES["fused"], total=coarse))
    told = told_of("fused.BatchNorm", "float32", budget=BUDGETS["none"])
    assert {"BN-34", "BN-35"} <= set(told.others)


def test_the_table_of_what_is_known_is_strict_both_ways() -> None:
    places = [("a.GroupNorm", "float32", "GN-01"), ("a.GroupNorm", "float32", "GN-02")]
    assert list(unlike({places[0]: "diverges: so"}, [places[0]])) == []
    assert list(unlike({places[0]: "diverges: so"}, [places[1]])) == [
        "a.GroupNorm float32 GN-01: diverges: so",
        "a.GroupNorm float32 GN-02: conforms; take its line out of KNOWN",
    ]


def test_what_several_seeds_told_is_one_cell() -> None:
    told = Told()
    told.verdicts.update(conforms=31)
    told.explored.update(cases=1704, calls=0, refused=3)
    assert (told + told).shown() == "62 conforms; 3,408 cases"
    assert table({("a.GroupNorm", "float32"): told + told}, ["float32"]).splitlines() == [
        "| layer | float32 |",
        "| --- | --- |",
        "| a.GroupNorm | 62 conforms; 3,408 cases |",
    ]


@pytest.mark.parametrize("shape", [(2, 3, 4), (5,), (1, 1), (0, 2, 3), (2, 0)])
def test_every_layout_shows_the_same_values(shape: tuple[int, ...]) -> None:
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    for lay_out in LAYOUTS.values():
        assert np.array_equal(lay_out(x.copy()), x)


def test_cases_come_in_every_layout_and_dy_in_others_than_x() -> None:
    arrays = [np.full((2, 3, 4), value, np.float32) + np.arange(4, dtype=np.float32) for value in range(200)]
    forms = [(laid_out(x, 0).strides, laid_out(x, 1).strides) for x in arrays]
    assert len({x for x, _ in forms}) >= len(LAYOUTS) - 1  # a part of a longer buffer has the usual strides
    assert sum(x != dy for x, dy in forms) > 100
