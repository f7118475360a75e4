"""A kind of layer is one record: a third one needs nothing else, from the experiment to the page."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any, get_args

import pytest
from click.testing import CliRunner

from normgauge.conformance.cli.main import main
from normgauge.conformance.layers.registry import layer_kinds, requirements
from normgauge.conformance.requirements.requirement import Requirement, Rule
from normgauge.conformance.requirements.sources import HIGHAM
from normgauge.conformance.verdicts.judge import JUDGES
from normgauge.results.file import read_records
from normgauge.results.records import Counterexample, Explored, Footer, Judgement, Profile

ADAPTER = "rms_norm.adapter:RmsAdapter"
ROOT = Path(__file__).parents[2]


def test_every_rule_has_who_judges_it() -> None:
    assert {*JUDGES, "kin"} == set(get_args(Rule))


def test_a_rule_that_is_none_is_refused_where_the_requirement_is_written() -> None:
    with pytest.raises(ValueError, match=r"RM-01: rule must be one of axis, values, .*: got 'valeus'"):
        _requirement(rule="valeus")


def test_a_ground_that_is_none_is_refused_where_the_requirement_is_written() -> None:
    with pytest.raises(ValueError, match=r"RM-01: ground must be one of formula, robustness, .*: got 'taste'"):
        _requirement(ground="taste")


def test_a_requirement_without_a_source_is_refused_where_it_is_written() -> None:
    with pytest.raises(ValueError, match="RM-01: source must name at least one place"):
        _requirement(source=())


def _requirement(**fields: Any) -> Requirement:
    source = (HIGHAM.implies("a reason"),)
    usual = {"id": "RM-01", "layer": "rms_norm", "ground": "formula", "title": "", "statement": "", "source": source}
    return Requirement(**{**usual, **fields})


@pytest.fixture
def _registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed distribution that registers the third kind."""
    metadata = tmp_path / "rms-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: rms\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[normgauge.layers]\nrms_norm = rms_norm.kind:RMS_NORM\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]]))


@pytest.mark.usefixtures("_registered")
def test_a_third_kind_is_measured_judged_explored_and_shown(tmp_path: Path) -> None:
    out = tmp_path / "results"
    words = ["run", ADAPTER, "--budget", "quick", "--out", str(out)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    (path,) = out.glob("*.jsonl")
    records = read_records(path)
    verdicts = {
        (one.implementation.partition(".")[2], one.requirement): (one.verdict, one.measured)
        for one in records
        if isinstance(one, Judgement) and one.dtype == "float32"
    }
    assert verdicts["RmsNorm", "RM-01"] == ("conforms", "inside_sqrt")
    assert verdicts["RmsNorm", "RM-02"] == ("conforms", "")
    assert verdicts["EpsOutside", "RM-01"] == ("diverges", "outside_sqrt")
    assert verdicts["EpsOutside", "RM-02"] == ("conforms", "")
    assert verdicts["FirstPositionsInRankFive", "RM-02"][0] == "diverges"
    assert [verdicts[name, "RM-03"][0] for name in ("RmsNorm", "KeepsItsFirstWeight")] == ["conforms", "diverges"]
    profile = next(one for one in records if isinstance(one, Profile) and one.dtype == "float32")
    assert (profile.layer, profile.known, profile.accuracy) == ("rms_norm", True, "two_pass")
    explored = [one for one in records if isinstance(one, Explored)]
    assert len(explored) == 8
    assert all(100 < one.cases <= 256 for one in explored)  # fewer where a relation is not for a case, or x is large
    assert not [one for one in records if isinstance(one, Counterexample) and one.implementation == "rms_norm.RmsNorm"]
    assert isinstance(records[-1], Footer)
    page = tmp_path / "page"
    shown = CliRunner().invoke(main, ["report", str(out), "--out", str(page)])
    assert shown.exit_code == 0, shown.output
    html = (page / "index.html").read_text(encoding="utf-8")
    for said in ("RMSNorm", "RM-01", "rms_norm.EpsOutside", "there is no equal eps"):
        assert said in html, said


def test_without_registration_there_are_two_kinds() -> None:
    assert [*layer_kinds()] == ["group_norm", "batch_norm"]
    assert {one.layer for one in requirements().values()} == {"group_norm", "batch_norm"}


def test_no_other_room_tells_the_kinds_apart() -> None:
    """A comparison with a kind's name is a branch; names in tables and calls are data."""
    kinds = {"group_norm", "batch_norm"}
    rooms = [ROOT / "conformance", ROOT / "reports", ROOT / "results"]
    found = []
    for path in (path for room in rooms for path in sorted(room.rglob("*.py"))):
        if path.is_relative_to(ROOT / "conformance" / "layers"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                said = {one.value for one in ast.walk(node) if isinstance(one, ast.Constant)}
                if said & kinds:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []
