"""The plain layers that automatic mutants are made of conform, and the mutants argued to be equivalent survive."""

from __future__ import annotations

import automatic_mutants
import pytest
from automatic_mutants import Outcome, killed_by, mistakes
from correct.equivalent_mutants import EQUIVALENT, PLAIN, EquivalentsAdapter
from correct.mutants import SOURCES, Mutant, implementations, numbered

SERVED = "correct.equivalent_mutants:EquivalentsAdapter"
IDS = {mutant: identifier for identifier, mutant in EquivalentsAdapter.mutants.items()}
WRONG = Mutant(
    kind="group_norm",
    method="normalised",
    line="r = 1 / np.sqrt(var + self.eps)",
    becomes="r = 1 / np.sqrt(var - self.eps)",
)


def shown(mutant: Mutant) -> str:
    return f"{mutant.kind}.{mutant.method}: {mutant.becomes}"


@pytest.mark.slow
@pytest.mark.parametrize("plain", PLAIN, ids=lambda one: one.kind)
def test_a_plain_layer_conforms(plain: Mutant) -> None:
    assert plain.source == SOURCES[plain.kind]
    assert not killed_by(SERVED, IDS[plain])


@pytest.mark.slow
@pytest.mark.parametrize("mutant", EQUIVALENT, ids=shown)
def test_no_mutant_that_is_argued_to_be_equivalent_is_killed(mutant: Mutant) -> None:
    assert not killed_by(SERVED, IDS[mutant])


def test_every_mutant_that_is_argued_to_be_equivalent_changes_a_line_that_is_there() -> None:
    assert all(mutant.source != SOURCES[mutant.kind] and why for mutant, why in EQUIVALENT.items())


def test_a_line_that_a_method_does_not_have_makes_no_mutant() -> None:
    gone = Mutant(kind="group_norm", method="check", line=WRONG.line, becomes=WRONG.becomes)
    with pytest.raises(ValueError, match=r"check of group_norm has the line 'r = 1 / np.sqrt.* 0 times"):
        _ = gone.source


@pytest.mark.slow
def test_a_mutant_is_killed_by_the_first_requirement_that_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    served = numbered([WRONG])
    monkeypatch.setattr(EquivalentsAdapter, "mutants", served)
    monkeypatch.setattr(EquivalentsAdapter, "implementations", implementations(served))
    assert killed_by(SERVED, "group_norm.Mutant0") == "GN-01"


def test_a_survivor_without_an_argument_is_a_mistake_and_so_is_an_argument_for_what_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    survivor, killed = Outcome(mutant=WRONG, killed_by=""), Outcome(mutant=WRONG, killed_by="GN-01")
    assert (survivor.fate, killed.fate) == ("surviving", "killed")
    assert [len(mistakes([one])) for one in (survivor, killed)] == [1, 0]
    monkeypatch.setattr(automatic_mutants, "EQUIVALENT", {WRONG: "it is not"})
    assert survivor.fate == "equivalent"
    assert [len(mistakes([one])) for one in (survivor, killed)] == [0, 1]
