"""Campaigns on real small clusters of Dask: shards, lost workers, continuation, merging, and what is refused."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
from campaign_layers import NOTES
from click.testing import CliRunner, Result
from packaging.requirements import Requirement
from processes import heeding_interruptions

from normgauge.conformance.campaign import environments as environments_module
from normgauge.conformance.campaign.environments import Environment, environments_of
from normgauge.conformance.campaign.folder import BrokenCampaign, Place
from normgauge.conformance.campaign.plan import plan_of, schema
from normgauge.conformance.campaign.provide import CannotProvide, provide
from normgauge.conformance.cli import campaign as campaign_command
from normgauge.conformance.cli.main import main
from normgauge.results.file import read_records
from normgauge.results.records import Counterexample, Explored, NotRun

PROJECT: Final = Path(__file__).parents[2]
#: A layer that is measured, and one that ends whatever measures it.
PLAN: Final = """
budget = "quick"
seeds = 2
seeds_per_shard = 2
retries = 1
dtypes = ["float32"]

[[environments]]
framework = "campaign_layers:Layers"
name = "layers"
"""


@pytest.fixture
def layers_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of what the layers do beside computing; workers inherit its name."""
    folder = tmp_path / "notes"
    folder.mkdir()
    monkeypatch.setenv(NOTES, str(folder))
    support = PROJECT / "tests" / "support"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(support), os.environ["PYTHONPATH"]]))
    return folder


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(main, ["campaign", *map(str, words)])


def timeless(path: Path) -> list[Any]:
    """The records of a result file without times, and without the name of the campaign's folder."""
    text = path.read_text().replace(str(path.parents[1]), "FOLDER")
    times = {"started", "seconds", "explored_seconds", "worker_seconds"}
    return [{k: v for k, v in json.loads(line).items() if k not in times} for line in text.splitlines()]


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "normgauge.conformance.cli.main", "campaign", *map(str, words)]


def wait_for(path: Path) -> str:
    for _ in range(2400):
        if path.exists() and (text := path.read_text()):
            return text
        time.sleep(0.05)
    raise AssertionError(f"{path} was not written")


@pytest.mark.slow
def test_a_killed_worker_a_deadly_shard_and_an_interruption_change_no_record(
    layers_notes: Path, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN)
    (layers_notes / "EndsItsHost").touch()
    with scheduler(tmp_path) as address:
        elsewhere = ("--scheduler", address)
        _check_undisturbed(plan, tmp_path, *elsewhere)
        _disturb(plan, tmp_path / "disturbed", layers_notes)
        _check_continued(plan, tmp_path, *elsewhere)


@contextlib.contextmanager
def scheduler(folder: Path) -> Iterator[str]:
    """The address of a scheduler with two workers, all in processes of their own."""
    note = folder / "scheduler.json"
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    with _running([*dask, "--port", "0", "--dashboard-address", ":0", "--scheduler-file", str(note)]):
        address = json.loads(wait_for(note))["address"]
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--nworkers", "2"]
        with _running([*worker, "--local-directory", str(folder / "scratch"), "--no-dashboard"]):
            yield address


def _check_undisturbed(plan: Path, tmp_path: Path, *elsewhere: str) -> None:
    """Shards, rows and the merged file of a campaign without an interruption, and its second start."""
    calm = invoke(plan, "--out", tmp_path / "calm", "--json", *elsewhere)
    assert calm.exit_code == 3, calm.output
    events = [json.loads(line) for line in calm.stdout.splitlines()]
    kinds = [one["event"] for one in events]
    assert kinds == ["begun", "environment", *["shard"] * 2, "result"]
    assert events[0]["dashboard"].endswith("/status")
    deadly = [one for one in events if one["event"] == "shard" and one["implementation"] == "layers.EndsItsHost"]
    assert [(one["attempts"], one["not_run"]) for one in deadly] == [(2, 1)]

    records = read_records(tmp_path / "calm" / "results" / "layers.jsonl")
    rows = [one for one in records if isinstance(one, NotRun)]
    reason = "the worker ended each of the 2 times that this was measured"
    assert [(one.implementation, one.reason) for one in rows] == [("layers.EndsItsHost", reason)]
    (found,) = (one for one in records if isinstance(one, Counterexample))  # two seeds found one cause
    assert found.implementation == "layers.Waits"
    stored = list((tmp_path / "calm" / "counterexamples").rglob("*.json"))
    assert list(map(str, stored)) == [found.stored]
    explored = [one.cases for one in records if isinstance(one, Explored)]
    shards = (tmp_path / "calm" / "shards" / "layers").glob("layers.Waits*")
    assert explored == [sum(one.cases for path in shards for one in read_records(path) if isinstance(one, Explored))]
    again = invoke(plan, "--out", tmp_path / "calm", "--json", *elsewhere)
    assert [json.loads(line)["event"] for line in again.stdout.splitlines()] == ["begun", "environment", "result"]


def _disturb(plan: Path, out: Path, layers_notes: Path) -> None:
    """Kill a worker of a local cluster in the middle of its shard, and interrupt the whole."""
    (layers_notes / "Waits").touch()
    with heeding_interruptions():
        campaign = subprocess.Popen(command(plan, "--out", out), stderr=subprocess.PIPE, text=True)
    with campaign as process:
        try:
            pid = int(wait_for(layers_notes / "pid"))
            refused = invoke(plan, "--out", out)
            assert f"another campaign works in {out}" in refused.stderr
            assert "at work: layers: layers.Waits float32, seeds 0 to 1" in invoke("status", out).stdout
            (layers_notes / "pid").unlink()
            os.kill(pid, signal.SIGKILL)  # a worker of Dask, in the middle of its shard
            assert int(wait_for(layers_notes / "pid")) != pid
            for _ in range(2400):
                if len(list(out.glob("shards/*/*.jsonl"))) == 1:
                    break
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=30)[1]
            assert process.returncode == 130, said
            assert "interrupted; the same command continues the campaign" in said
        finally:  # nothing waits for a campaign that an assertion left at work
            process.kill()
    (layers_notes / "Waits").unlink()


def _check_continued(plan: Path, tmp_path: Path, *elsewhere: str) -> None:
    out = tmp_path / "disturbed"
    kept = set((out / "shards" / "layers").glob("*.jsonl"))
    assert len(kept) == 1
    before = {path: path.read_bytes() for path in kept}
    continued = invoke(plan, "--out", out, *elsewhere)
    assert continued.exit_code == 3, continued.output
    assert f"{len(kept)} of them done before" in continued.stderr
    assert {path: path.read_bytes() for path in kept} == before
    assert timeless(out / "results" / "layers.jsonl") == timeless(tmp_path / "calm" / "results" / "layers.jsonl")
    assert "layers: 2 of 2 shards done" in invoke("status", out).stdout


class _running:
    """A process that is ended afterwards."""

    def __init__(self, words: list[str]) -> None:
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)


# --- plans ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "missing required field `environments`, at the top of the file; allowed there: environments, budget"),
        ("environments = []", "Expected `array` of length >= 1, at environments"),
        (
            "[[environments]]\nframework = 'mlx'\nrelases = ['1']",
            "unknown field `relases`, at environments[0]; allowed",
        ),
        ("budget = 'much'\n[[environments]]\nframework = 'mlx'", "'much', at budget; allowed: none, quick, default"),
        ("seeds = 0\n[[environments]]\nframework = 'mlx'", "Expected `int` >= 1, at seeds"),
        (
            "[[environments]]\nframework = 'mlx'\ndtypes = ['f32']",
            "'f32', at environments[0].dtypes[0]; allowed: float32",
        ),
        ("[[environments]]\nframework = 'tourch'", "framework 'tourch' is not known; did you mean torch"),
        ("[[environments]]\nframework = 'mlx'\nreleases = ['new']", "'new' is no release; give a version"),
        ("[[environments]]\nframework = 'mlx'\ninstall = ['mlx=1']", "'mlx=1' is no requirement"),
        ("[[environments]]\nframework = 'mlx'\npython = '3.14'", "is no path, and nothing is to be installed for mlx"),
        (
            "[[environments]]\nframework = 'a:B'\nreleases = ['1']",
            "how a release of 'a:B' is installed; add a requirem",
        ),
        ("[[environments]]\nframework = 'mlx'\n" * 2, "two environments are called 'mlx'; give one of them a name"),
        (
            "shapes = [{shape = [2, 5, 4]}]\n[[environments]]\nframework = 'mlx'",
            "shape 2,5,4 has 5 channels, not a multiple of 32 groups; give groups one of 1, 5",
        ),
        ("budget =", "is no TOML"),
    ],
)
def test_a_plan_that_makes_no_sense_is_one_line(content: str, said: str, tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(content)
    result = invoke(plan, "--out", tmp_path / "out")
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()[-1:]
    assert line.startswith("Error: ")
    assert str(plan) in line
    assert said in line
    assert not (tmp_path / "out").exists()


def test_a_plan_without_a_file_and_a_missing_scheduler_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "cannot be read: No such file" in invoke(tmp_path / "none.toml").stderr
    monkeypatch.setattr("normgauge.conformance.campaign.runner.PATIENCE", 0.5)
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN)
    result = invoke(plan, "--out", tmp_path / "out", "--scheduler", "tcp://127.0.0.1:1")
    assert result.exit_code == 3
    assert "no scheduler of Dask answers at tcp://127.0.0.1:1" in result.stderr


def test_what_the_extra_installs_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(campaign_command, "_NEEDED", ("no_such_module",))
    result = invoke(tmp_path / "plan.toml")
    assert result.exit_code == 3
    assert "needs no_such_module; install the extra: pip install 'normgauge[campaign]'" in result.stderr


def test_the_published_schema_is_that_of_the_records_and_takes_the_plans_of_the_docs() -> None:
    published = json.loads(files("normgauge.conformance.campaign").joinpath("plan.schema.json").read_text("utf-8"))
    assert published == schema(), "write json.dumps(plan.schema(), indent=1) to conformance/campaign/plan.schema.json"
    jsonschema.validate(tomllib.loads(PLAN), published)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"environments": [{"framework": "mlx", "relases": []}]}, published)


def test_the_plan_of_the_page_is_one() -> None:
    page = (PROJECT / "docs" / "campaign.md").read_text(encoding="utf-8")
    content = tomllib.loads(page.partition("```toml\n")[2].partition("```")[0])
    jsonschema.validate(content, schema())
    found = environments_of(plan_of(content, "plan"), "plan")
    assert [one.name for one in found] == ["mlx-0.31.2", "mlx-0.32.4", "flax", "torch", "lucid-2.12.8"]


def test_releases_become_environments_with_what_each_needs() -> None:
    mlx = {"framework": "mlx", "releases": ["0.25.2", "0.32.4"]}
    flax = {"framework": "flax", "releases": ["0.12.8"], "install": ["jax==0.10.2"]}
    found = environments_of(plan_of({"environments": [mlx, flax, {"framework": "torch"}]}, "plan"), "plan")
    assert [one.name for one in found] == ["mlx-0.25.2", "mlx-0.32.4", "flax-0.12.8", "torch"]
    installed = [[Requirement(text) for text in one.install] for one in found]
    assert [str(one) for one in installed[0]] == ["mlx==0.25.2", "numpy"]
    assert str(installed[1][0]).startswith("mlx[cpu]==0.32.4")
    assert [str(one) for one in installed[2]] == ["jax==0.10.2", "flax==0.12.8", "numpy"]
    assert installed[3] == []
    assert len({one.key for one in found}) == 4


def test_what_a_release_needs_is_what_the_pins_are() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    for framework, texts in environments_module.REQUIREMENTS.items():
        pins = {Requirement(text).name for text in project["dependency-groups"][framework]}
        assert {Requirement(text.replace("{release}", "1")).name for text in texts} == pins, framework
    table = project["tool"]["normgauge"]
    needs = {name: one["needs"] for name, one in table["releases"].items() if "needs" in one}
    ours = {name: {k: list(v) for k, v in one.items()} for name, one in environments_module.NEEDS.items()}
    assert ours == needs
    assert dict(environments_module.PYTHON) == table["python"]


# --- environments -----------------------------------------------------------------------------------------------------


def environment(*install: str, python: str = "") -> Environment:
    return Environment(
        name="x", framework="mlx", install=install, python=python, implementations=(), modes=(), dtypes=()
    )


@pytest.mark.slow
def test_an_environment_is_made_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORMGAUGE_CACHE_DIR", str(tmp_path / "cache"))
    made = tmp_path / "own-1.5-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as wheel:
        about = {
            "METADATA": "Metadata-Version: 2.1\nName: own\nVersion: 1.5\n",
            "WHEEL": "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            "RECORD": "",
        }
        for name, text in about.items():
            wheel.writestr(f"own-1.5.dist-info/{name}", text)
    asked = environment(f"own @ {made.as_uri()}")
    found: list[Any] = []
    both = [threading.Thread(target=lambda: found.append(provide(asked, tmp_path))) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert sorted(one.made for one in found) == [False, True]  # the second waited for the first
    assert found[0].seconds == found[1].seconds > 0
    assert "own==1.5" in found[0].installed
    assert Path(found[0].python).is_relative_to(tmp_path / "cache")


def test_an_environment_that_cannot_be_had_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORMGAUGE_CACHE_DIR", "")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CannotProvide, match=r"mlx needs Python 3.99, which was not found; install it, or install uv"):
        provide(environment("numpy", python="3.99"), tmp_path)
    assert not list(tmp_path.glob("*/made.json"))


def test_a_folder_of_something_else_or_of_other_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(tomllib.loads(PLAN), "plan")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.tex").touch()
    with pytest.raises(BrokenCampaign, match="holds other files; give an empty or a new folder"):
        Place(tmp_path / "a").opened(plan, [], tmp_path)
    (tmp_path / "b").mkdir()
    Place(tmp_path / "b").opened(plan, [], tmp_path)
    monkeypatch.setattr("normgauge.conformance.campaign.folder.code_digest", lambda: "other")
    with pytest.raises(BrokenCampaign, match="with other code or another NumPy"):
        Place(tmp_path / "b").opened(plan, [], tmp_path)
    assert "give the folder of a campaign" in invoke("status", tmp_path / "none").stderr
