"""normgauge compare, profile, and gate --against: what a user types, and what comes back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from pages import write

from normgauge.conformance.cli.main import main
from normgauge.conformance.comparison.measured import Measuring
from normgauge.conformance.comparison.profiles import records_of, shipped
from normgauge.results.records import Footer, Judgement, Record

MLX = "mlx.nn.GroupNorm"


def normgauge(*words: str | Path) -> Result:
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which the command runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def with_verdict(records: Sequence[Record], requirement: str, verdict: str) -> list[Record]:
    return [
        msgspec.structs.replace(one, verdict=verdict)
        if isinstance(one, Judgement) and one.requirement == requirement
        else one
        for one in records
    ]


# --- compare ------------------------------------------------------------------------------------


def test_profiles_that_differ_exit_with_1_and_name_what_and_by_how_much(here: Path) -> None:
    done = normgauge("compare", "torch@shipped", "mlx@shipped")
    assert done.exit_code == 1
    assert "paired: mlx.nn.GroupNorm is constructed without options" in done.output
    assert "B: channel c belongs to group c mod G (interleaved)" in done.output
    assert "numbers: call 1, output[1, 1, 1]: -1.82166 in A, -0.732897 in B" in done.output


def test_a_profile_is_the_same_as_itself(here: Path) -> None:
    done = normgauge("compare", "mlx@shipped", "mlx@0.32.4")
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1].startswith("the same: ")


def test_yesterday_and_today_of_one_release(here: Path) -> None:
    own = [one for one in records_of(shipped()["mlx"]) if getattr(one, "dtype", "float32") == "float32"]
    write(Path("yesterday.jsonl"), own)
    write(Path("today.jsonl"), with_verdict(own, "GN-12", "diverges"))
    assert normgauge("compare", "yesterday.jsonl", "yesterday.jsonl").exit_code == 0
    done = normgauge("compare", "yesterday.jsonl", "today.jsonl", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    told = {(pair["a"], one["subject"], one["change"]) for pair in found["pairs"] for one in pair["differences"]}
    assert told == {(name, "GN-12 large mean", "newly different") for name in (MLX, f"{MLX}(pytorch_compatible=True)")}
    assert found["same"] is False


def test_a_release_is_found_in_a_folder_before_it_is_taken_from_the_shipped_ones(here: Path) -> None:
    Path("build/timeline/mlx").mkdir(parents=True)
    write(Path("build/timeline/mlx/any-name.jsonl"), records_of(shipped()["mlx-0.31.2"]))
    done = normgauge("compare", "mlx@0.31.2", "mlx@shipped")
    assert "build/timeline/mlx/any-name.jsonl" in done.output
    elsewhere = normgauge("compare", "mlx@0.31.2", "mlx@shipped", "--in", "build")
    assert "mlx@0.31.2 (mlx 0.31.2" in elsewhere.output
    assert "shipped profile" in elsewhere.output.splitlines()[0]


def test_two_files_of_one_release_are_a_mistake_to_name_by_the_release(here: Path) -> None:
    Path("a").mkdir()
    for name in ("1", "2"):
        write(Path(f"a/{name}.jsonl"), records_of(shipped()["mlx"]))
    done = normgauge("compare", "mlx@0.32.4", "mlx@shipped", "--in", "a")
    assert done.exit_code == 2
    assert "a/1.jsonl and a/2.jsonl both have this release; name the file" in done.stderr
    several = normgauge("compare", "a", "mlx@shipped")
    assert several.exit_code == 2
    assert "both hold mlx.nn.GroupNorm" in several.stderr


def test_an_adapter_is_measured_now(here: Path) -> None:
    done = normgauge("compare", "faulty.ports:PortOfMlx", "mlx@shipped")
    assert "measured now" in done.output.splitlines()[0]
    assert "A group_norm.Interleaved, B mlx.nn.GroupNorm (float32)" in done.output
    assert "grouping" not in done.output
    assert done.exit_code == 1  # it takes what MLX refuses


def test_what_cannot_be_started_exits_with_3(here: Path) -> None:
    Path("mine.py").write_text(
        "from normgauge.adapters.base import Adapter\n\n\nclass Mine(Adapter):\n    framework = 'mine'\n"
        "    distribution = 'mine'\n    implementations = ()\n\n    def __init__(self, dtype):\n"
        "        raise ImportError('no such framework')\n",
        encoding="utf-8",
    )
    done = normgauge("compare", "mine:Mine", "mlx@shipped")
    assert done.exit_code == 3, done.output
    assert "no such framework" in done.stderr or "abstract" in done.stderr


def test_a_layer_of_a_file_is_named_behind_two_colons(here: Path) -> None:
    write(Path("mlx.jsonl"), records_of(shipped()["mlx"]))
    done = normgauge("compare", "torch@shipped", f"mlx.jsonl::{MLX}(pytorch_compatible=True)")
    assert "interleaved" not in done.output
    assert f"B {MLX}(pytorch_compatible=True)" in done.output


def test_markdown_has_a_table(here: Path) -> None:
    done = normgauge("compare", "torch@shipped", "mlx@shipped", "--markdown")
    assert done.exit_code == 1
    assert "| difference | subject | dtypes | A | B | in numbers |" in done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("keras", "mlx@shipped"), "keras has several backends: name one of keras[jax] or"),
        (("mxl", "mlx@shipped"), "'mxl' is not known; did you mean mlx"),
        (("mlx@9.9", "mlx@shipped"), "shipped: mlx@0.31.2 or mlx@0.32.4"),
        (("gone.jsonl", "mlx@shipped"), "gone.jsonl cannot be read"),
        (("mlx@shipped::mlx.nn.Other", "mlx@shipped"), "does not have mlx.nn.Other; it has mlx.nn.GroupNorm"),
        (("mlx@shipped", "mlx@shipped", "--json", "--markdown"), "leave out one of them"),
        (("mlx@shipped", "mlx@shipped", "--in", "nowhere"), "--in nowhere is not a folder"),
    ],
)
def test_a_mistake_is_one_line(words: tuple[str, ...], said: str, here: Path) -> None:
    done = normgauge("compare", *words)
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert said in line


def test_a_broken_profile_is_one_line(here: Path) -> None:
    Path("broken.json").write_text("{}", encoding="utf-8")
    done = normgauge("compare", "broken.json", "mlx@shipped")
    assert done.exit_code == 2
    assert "broken.json is not a profile" in done.stderr


def test_a_profile_is_written_and_read(here: Path) -> None:
    own = records_of(shipped()["mlx"])
    write(Path("mlx.jsonl"), [*own, Footer(counts={}, seconds=0.0)])
    done = normgauge("profile", "mlx.jsonl", "--name", "mlx-mine")
    assert done.exit_code == 0, done.output
    assert normgauge("compare", "build/profiles/mlx-mine.json", "mlx@shipped").exit_code == 0


def test_a_profile_of_an_interrupted_run_is_refused(here: Path) -> None:
    write(Path("mlx.jsonl"), records_of(shipped()["mlx"]))
    done = normgauge("profile", "mlx.jsonl")
    assert done.exit_code == 2
    assert "the run did not finish" in done.stderr


# --- gate --against -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result file of a port of MLX, measured by its diagnosis."""
    measure = Measuring(dtypes=("float32",))
    records = measure("faulty.ports:PortOfMlx", "")
    return write(tmp_path_factory.mktemp("port") / "port.jsonl", records)


def test_a_port_of_mlx_passes_against_mlx_and_says_with_what_it_is_compared(port: Path, here: Path) -> None:
    done = normgauge("gate", port, "--against", "mlx")
    assert done.exit_code == 0, done.output
    assert "compared: group_norm.Interleaved with mlx.nn.GroupNorm (float32)" in done.output
    assert "for another, name mlx.nn.GroupNorm(pytorch_compatible=True)" in done.output
    assert normgauge("gate", port, "--against", "mlx@0.31.2").exit_code == 0


@pytest.mark.parametrize("reference", ["torch", f"{MLX}(pytorch_compatible=True)"])
def test_it_fails_against_a_layer_with_adjacent_groups(reference: str, port: Path, here: Path) -> None:
    done = normgauge("gate", port, "--against", reference)
    assert done.exit_code == 1
    (line,) = [line for line in done.output.splitlines() if line.startswith("new: ")]
    assert "GN-02 which channels form a group: channel c belongs to group c mod G (interleaved)" in line
    assert "-0.732897, not -1.82166" in line


def test_a_port_is_compared_with_an_earlier_file_of_its_own(port: Path, here: Path) -> None:
    done = normgauge("gate", port, "--against", port)
    assert done.exit_code == 0
    assert "the same implementation" in done.output


ACCEPTED = """[[expected]]
implementations = ["group_norm.Interleaved"]
requirement = "GN-02"
measured = "{measured}"
reason = "MLX's grouping, on purpose"
"""


@pytest.mark.parametrize(
    ("measured", "reference", "code", "said"),
    [
        ("interleaved", "torch", 0, "1 known, 0 new"),
        ("contiguous", "torch", 1, "measured 'interleaved', expected 'contiguous'"),
        ("interleaved", "mlx", 1, "GN-02: interleaved is no difference from mlx now; remove entry 1 of known.toml"),
    ],
)
def test_accepted_differences_are_strict_both_ways(
    measured: str, reference: str, code: int, said: str, port: Path, here: Path
) -> None:
    Path("known.toml").write_text(ACCEPTED.format(measured=measured), encoding="utf-8")
    done = normgauge("gate", port, "--against", reference, "--expectations", "known.toml")
    assert done.exit_code == code, done.output
    assert said in done.output


def test_an_interrupted_run_does_not_pass(port: Path, here: Path) -> None:
    Path("cut.jsonl").write_bytes(b"".join(port.read_bytes().splitlines(keepends=True)[:-1]))
    done = normgauge("gate", "cut.jsonl", "--against", "mlx")
    assert done.exit_code == 1
    assert "interrupted: cut.jsonl" in done.output


def test_an_accepted_difference_of_a_layer_that_nobody_has_is_a_mistake(port: Path, here: Path) -> None:
    text = ACCEPTED.format(measured="interleaved").replace("Interleaved", "Interleafed")
    Path("known.toml").write_text(text, encoding="utf-8")
    done = normgauge("gate", port, "--against", "torch", "--expectations", "known.toml")
    assert done.exit_code == 2
    assert "did you mean group_norm.Interleaved" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--against", "keras"), "name one of keras[jax]"),
        (("--against", "mlx", "--suggest"), "leave out one of them"),
        (("--against", "mlx.nn.BatchNorm"), "no kind of layer in common"),
    ],
)
def test_a_mistake_in_a_reference_is_one_line(words: tuple[str, ...], said: str, port: Path, here: Path) -> None:
    done = normgauge("gate", port, *words)
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert said in line
