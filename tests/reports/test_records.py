"""The result file's published schema, and the package as it is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from same_results import differences

from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.subject import Launch
from normgauge.results.file import ResultsWriter
from normgauge.results.records import schema

PROJECT = Path(__file__).parents[2]


def test_the_published_schema_is_the_one_the_records_give() -> None:
    published = json.loads(files("normgauge.results").joinpath("results.schema.json").read_text(encoding="utf-8"))
    assert published == json.loads(json.dumps(schema())), (
        "write json.dumps(normgauge.results.records.schema(), indent=1) to results/results.schema.json"
    )


def test_every_line_of_a_real_result_file_satisfies_the_published_schema(tmp_path: Path) -> None:
    path = tmp_path / "faulty.jsonl"
    wanted = Wanted(
        dtypes=("float32",), implementations=("group_norm.Interleaved", "batch_norm.EmptyBatchIsNan"), in_process=True
    )
    with ResultsWriter(path) as writer:
        for record in run_framework(Launch(framework="faulty.adapter:FaultyAdapter"), wanted):
            writer.write(record)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    validator = jsonschema.Draft202012Validator(schema())
    assert [error.message for line in lines for error in validator.iter_errors(line)] == []
    assert {line["record"] for line in lines} == {"header", "implementation", "series", "judgement", "footer"}
    broken = lines[1] | {"known": "yes"}
    assert not validator.is_valid(broken)


@pytest.mark.slow
def test_the_wheel_holds_every_room_with_its_data(tmp_path: Path) -> None:
    project = tmp_path / "project"  # a build leaves files beside what it builds
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    tracked = subprocess.check_output(command, cwd=PROJECT, text=True).split("\n")
    for name in (name for name in tracked if name and (PROJECT / name).is_file()):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, project / name)
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(project)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (
        "normgauge/__init__.py",
        "normgauge/py.typed",
        "normgauge/oracle/py.typed",
        "normgauge/adapters/py.typed",
        "normgauge/adapters/worker/main.py",
        "normgauge/conformance/py.typed",
        "normgauge/conformance/requirements/axes.py",
        "normgauge/conformance/expectations/mlx.toml",
        "normgauge/conformance/requirements/cases/group_norm-9dfaef2a2899.json",
        "normgauge/conformance/subjects/protocol.schema.json",
        "normgauge/reports/py.typed",
        "normgauge/conformance/profiles/mlx.json",
        "normgauge/results/profile.schema.json",
        "normgauge/results/results.schema.json",
        "normgauge/reports/templates/report.html",
        "normgauge/reports/templates/report.css",
    ):
        assert wanted in names
    assert all(name.startswith(("normgauge/", "normgauge-")) for name in names)


def test_result_files_are_the_same_but_for_times_and_what_is_left_out(tmp_path: Path) -> None:
    header = {"record": "header", "started": "2026-01-01", "framework": "torch"}
    judgement = {"record": "judgement", "requirement": "GN-01", "verdict": "conforms", "witnesses": [{"margin": 2.0}]}
    footer = {"record": "footer", "seconds": 1.5}

    def written(name: str, *records: dict[str, Any]) -> Path:
        (tmp_path / name).mkdir()
        (tmp_path / name / "torch.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in records))
        return tmp_path / name

    before = written("before", header, judgement, footer)
    later = written("later", header | {"started": "2026-02-02"}, judgement, footer | {"seconds": 9.0})
    other = written("other", header, judgement | {"witnesses": [{"margin": 3.0}]}, footer)
    assert differences(before, later) == []
    assert [line.partition(":")[0] for line in differences(before, other)] == ["torch.jsonl, line 2 (judgement GN-01)"]
    assert differences(before, other, without=["margin"]) == []
    turned = written("turned", footer, judgement, header)
    assert len(differences(before, turned)) == 2
    assert differences(before, turned, any_order=True) == []
    assert differences(before, written("short", header, judgement)) == ["torch.jsonl, 3 records before, 2 after"]
    assert differences(before, tmp_path) == [f"torch.jsonl: not in {tmp_path}"]
