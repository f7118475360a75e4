"""What becomes of a counterexample: it is made small, kept, replayed, promoted and then judged.

A layer is explored once for most of these tests.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from explored import FAULTY, ODD_SIZES, counterexamples, explore

from normgauge.conformance.cli.main import main
from normgauge.conformance.exploration.budget import BUDGETS
from normgauge.conformance.requirements.case_files import BrokenCase, read_case
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.subject import Launch
from normgauge.results.records import Counterexample, Explored, Judgement, Profile, Record


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Record], Path]:
    """The records of an exploration of that layer, and the folder in which it kept what it found."""
    store = tmp_path_factory.mktemp("explored") / "store"
    return explore(ODD_SIZES, store=store), store


def ordinary(records: list[Record]) -> Counterexample:
    """The counterexample among ordinary numbers; there may be others, of special ones."""
    return next(one for one in counterexamples(records) if one.signature == "output of ordinary numbers")


@pytest.fixture
def kept(explored: tuple[list[Record], Path]) -> Path:
    """The file of the counterexample among ordinary numbers."""
    return Path(str(ordinary(explored[0]).stored))


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_defect_beyond_the_experiments_is_found_and_made_small(
    seed: int, explored: tuple[list[Record], Path]
) -> None:
    records = explored[0] if seed == 0 else explore(ODD_SIZES, seed=seed)
    assert {r.verdict for r in records if isinstance(r, Judgement)} <= {"conforms"}
    found = ordinary(records)
    assert [[size for size in shape if size > 1] for shape in found.example.shapes] == [[3]]
    assert found.example.settings["num_groups"] == 1
    assert found.kind == "values"
    values = found.example.inputs[-1].removeprefix("step 1 train x ").split()
    assert all(abs(float(value)) < 10 and float(value) == int(float(value)) for value in values)


def test_a_counterexample_is_kept_replayed_and_promoted(
    explored: tuple[list[Record], Path], kept: Path, tmp_path: Path
) -> None:
    found = ordinary(explored[0])
    assert found.found == "explored"
    assert read_case(kept).id == found.example.case

    store = shutil.copytree(explored[1], tmp_path / "store")
    again = counterexamples(explore(ODD_SIZES, seed=5, budget="quick", store=store))
    assert ("replayed", found.example.case) in [(one.found, one.example.case) for one in again]
    assert [one for one in again if one.found == "explored"] == []  # the cause is known by then

    (tmp_path / "promoted").mkdir()
    result = CliRunner().invoke(main, ["promote", str(kept), "--to", str(tmp_path / "promoted")])
    assert result.exit_code == 0, result.output
    promoted = read_case(next((tmp_path / "promoted").iterdir()))
    wanted = Wanted(dtypes=("float32",), implementations=(ODD_SIZES, "group_norm.GroupNorm"), cases=(promoted,))
    judged = {
        r.implementation: r.verdict
        for r in run_framework(Launch(framework=FAULTY), wanted)
        if isinstance(r, Judgement) and r.requirement == "GN-21"
    }
    assert judged == {ODD_SIZES: "diverges", "group_norm.GroupNorm": "conforms"}


def test_a_committed_case_that_no_class_holds_leaves_the_class_of_the_others(kept: Path) -> None:
    wanted = Wanted(dtypes=("float32",), implementations=(ODD_SIZES,), cases=(read_case(kept),))
    (profile,) = [one for one in run_framework(Launch(framework=FAULTY), wanted) if isinstance(one, Profile)]
    assert profile.accuracy == "two_pass"


@pytest.mark.slow
def test_what_is_promoted_diverges_and_is_no_news_any_more(kept: Path) -> None:
    wanted = Wanted(
        dtypes=("float32",), implementations=(ODD_SIZES,), budget=BUDGETS["default"], cases=(read_case(kept),)
    )
    records = list(run_framework(Launch(framework=FAULTY), wanted))
    assert counterexamples(records) == []
    (told,) = [one for one in records if isinstance(one, Explored)]
    assert told.known > 0


def test_a_broken_case_file_is_one_clear_error(tmp_path: Path) -> None:
    broken = tmp_path / "group_norm-x.json"
    broken.write_text('{"case": 1}')
    with pytest.raises(BrokenCase, match="is no stored counterexample"):
        read_case(broken)
    result = CliRunner().invoke(main, ["promote", str(broken), "--to", str(tmp_path)])
    assert result.exit_code == 2
    assert "is no stored counterexample" in result.output
    result = CliRunner().invoke(main, ["promote", str(broken), "--to", str(tmp_path / "none")])
    assert result.exit_code == 2
    assert "there is no such folder" in result.output
    result = CliRunner().invoke(main, ["run", FAULTY, "--store", str(tmp_path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()  # told before anything is measured
    result = CliRunner().invoke(main, ["run", FAULTY, "--cases", str(tmp_path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "is no stored counterexample" in result.output
