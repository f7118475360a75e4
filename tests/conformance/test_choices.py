"""No false alarm on a choice, and faults of half precision and of range, each caught at its requirement alone."""

from __future__ import annotations

from collections import Counter

import pytest
from correct.choices import CHOICES, FAULTS, CountsEmptyBatches

from normgauge.conformance.exploration.budget import BUDGETS
from normgauge.conformance.layers.registry import requirements
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.subject import Launch
from normgauge.results.records import Judgement


def departures(layer: type, dtype: str) -> dict[str, Judgement]:
    """What is judged otherwise than ``conforms``, by requirement."""
    wanted = Wanted(
        dtypes=(dtype,), implementations=(f"einsum.{layer.__name__}",), in_process=True, budget=BUDGETS["none"]
    )
    records = list(run_framework(Launch(framework="correct.choices:ChoosingAdapter"), wanted))
    judged = [one for one in records if isinstance(one, Judgement)]
    assert len(judged) > 30
    return {one.requirement: one for one in judged if one.verdict not in {"conforms", "unsupported"}}


#: Run every day; `nox -s tests -- -m slow` has the others.
OFTEN = {
    "CountsEmptyBatches",
    "TakesOneValue",
    "WideGradientsGroupNorm",
    "AddsGradientsInHalfGroupNorm",
    "RoundsItsStatistics",
}


def cases(table: dict[type, tuple[str, frozenset[str]]]) -> list[object]:
    return [
        pytest.param(
            layer, *row, id=layer.__name__, marks=() if layer.__name__ in OFTEN else (pytest.mark.slow,)
        )
        for layer, row in table.items()
    ]  # fmt: skip


@pytest.mark.parametrize(("layer", "dtype", "conventions"), cases(dict(CHOICES)))
def test_a_choice_is_no_error(layer: type, dtype: str, conventions: frozenset[str]) -> None:
    found = departures(layer, dtype)
    undecided = {name for name, one in found.items() if one.verdict == "cannot tell"}
    assert set(found) - undecided == conventions, {name: one.sentence for name, one in found.items()}
    grounds = {requirements()[name].ground for name in set(found) - undecided}
    assert grounds <= ({"documentation"} if layer is CountsEmptyBatches else {"convention"})  # torch's "simple average"


@pytest.mark.parametrize(("layer", "dtype", "caught"), cases(dict(FAULTS)))
def test_a_fault_is_caught_at_its_requirement_alone(layer: type, dtype: str, caught: frozenset[str]) -> None:
    found = departures(layer, dtype)
    assert {name: one.verdict for name, one in found.items()} == dict.fromkeys(caught, "diverges")


def test_every_requirement_on_half_precision_and_range_has_a_layer_that_departs_from_it() -> None:
    shown = Counter(name for _, names in (*CHOICES.values(), *FAULTS.values()) for name in names)
    assert {f"GN-{number}" for number in range(43, 47)} | {f"BN-{number}" for number in range(53, 58)} <= set(shown)
