"""The soak: what it counts, what turns it red, and the page that it wrote."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from honest import Machine
from soak import DEMANDED, IMPLEMENTATIONS, LENGTHS, RUNGS, Length, Rung, Soak, Tallies, main, table

from normgauge.oracle import Arithmetic

SHORT = (Length(n=4, draws=2, groups=2), Length(n=100, draws=1, groups=1))
PAGE = Path(__file__).parents[2] / "docs" / "soak.md"


@pytest.fixture(scope="module")
def tallies() -> Tallies:
    return Soak(lengths=SHORT).tallies()


def test_every_quantity_of_both_layers_and_directions_is_held_for_every_implementation(tallies: Tallies) -> None:
    quantities = {quantity for _, _, quantity in tallies}
    both = {f"{layer} {kind}" for layer in ("group_norm", "batch_norm") for kind in ("y", "dx", "dweight", "dbias")}
    evaluation = {f"evaluation {kind}" for kind in ("y", "dx", "dweight", "dbias")}
    assert quantities == both | evaluation | {"batch_norm running_mean", "batch_norm running_var"}
    assert set(tallies) == {(rung, label, q) for rung in RUNGS for label in IMPLEMENTATIONS for q in quantities}
    assert min(tally.elements for tally in tallies.values()) > 100
    assert max(tally.largest for tally in tallies.values()) <= 1


def test_the_same_seeds_give_the_same_tallies(tallies: Tallies) -> None:
    assert Soak(lengths=SHORT).tallies() == tallies


def test_a_row_does_not_depend_on_the_other_rows(tallies: Tallies) -> None:
    alone = Soak(lengths=SHORT, implementations={"Welford": IMPLEMENTATIONS["Welford"]}).tallies()
    assert alone == {key: tally for key, tally in tallies.items() if key[1] == "Welford"}


def test_a_tiny_soak_is_green_and_writes_its_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "soak.md"
    assert main(["--write", str(page)], Soak(lengths=SHORT), demanded=100) == 0
    told = capsys.readouterr().out
    tables = [line for line in page.read_text().splitlines() if line.startswith("|")]
    assert len(tables) == (17 + 2 * (2 + len(SHORT))) * len(RUNGS)
    assert all(line in told for line in tables)


def test_too_few_elements_are_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "soak.md"
    assert (
        main(["--write", str(page)], Soak(lengths=SHORT[:1], implementations={"naive": IMPLEMENTATIONS["naive"]})) == 1
    )
    assert (
        "float32 naive, batch_norm dbias: 176 elements held, at least 1,000,000 are demanded" in capsys.readouterr().out
    )
    assert not page.exists()


def test_one_pass_statistics_held_to_the_bound_of_two_passes_are_red(capsys: pytest.CaptureFixture[str]) -> None:
    mislabelled = {"one-pass": replace(IMPLEMENTATIONS["one-pass"], accuracy="two_pass")}
    assert main([], Soak(lengths=SHORT, implementations=mislabelled), demanded=0) == 1
    told = capsys.readouterr().out
    for quantity in ("group_norm y", "batch_norm dx", "batch_norm running_var"):
        assert f"float32 one-pass, {quantity}: " in told
    assert "evaluation" not in "".join(line for line in told.splitlines() if "outside the bound" in line)
    assert "n 4, seed [0, 4, " in told  # how to draw the furthest one again


def test_bounds_of_a_finer_type_are_violated_in_every_quantity() -> None:
    plain = Machine(dtype="float32")
    planted = Rung(
        store=plain, machine=lambda flush: plain, arithmetic=lambda accuracy: Arithmetic("float64", accuracy)
    )
    found = Soak(lengths=SHORT, rungs={"planted": planted}).tallies()
    assert all(tally.violations for tally in found.values())


def test_the_page_has_every_row_and_enough_elements_in_each() -> None:
    """Written by ``nox -s soak -- --write docs/soak.md``."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    head = [f"{label} (`{one.accuracy}`)" for label, one in IMPLEMENTATIONS.items()]
    assert [row for row in rows if row[0] == "quantity"] == [["quantity", *head]] * len(RUNGS)
    outside = [row for row in rows if row[0] == "elements outside"]
    assert outside == [["elements outside", *["0"] * len(head)]] * len(RUNGS)
    held = [cell for row in rows if row[0].split()[0] in {"group_norm", "batch_norm", "evaluation"} for cell in row[1:]]
    assert len(held) == 14 * len(head) * len(RUNGS)
    assert min(float(cell.split()[2]) for cell in held) * 1e6 >= DEMANDED
    lengths = [f"{length.n:,}" for length in LENGTHS]
    assert [row[0] for row in rows if row[0] in lengths] == lengths * 2 * len(RUNGS)


def test_a_table_is_aligned() -> None:
    assert table(["a", "bb"], [["ccc", "d"]]) == "| a   | bb |\n| --- | -- |\n| ccc | d  |"
