"""The command line: what a user's mistake looks like, and what a run leaves behind."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from gates import header, judgement, profile
from rich.text import Text

from normgauge.conformance.cli.main import main
from normgauge.conformance.cli.terminal import Lines
from normgauge.results.file import ResultsWriter, read_records
from normgauge.results.records import Footer, Header, Judgement, NotRun, Record, Verdict

FAULTY = "faulty.adapter:FaultyAdapter"
WORKER = Path(__file__).parents[1] / "foreign" / "worker.mjs"
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not on PATH; it runs worker.mjs")


def invoke(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def one_line(result: Result) -> str:
    """The error, which must be one line and no traceback."""
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    return line


def test_an_unknown_framework_is_named_with_the_nearest_known_one() -> None:
    result = invoke("run", "tourch")
    assert result.exit_code == 2
    assert one_line(result) == (
        "Error: framework 'tourch' is not known; did you mean torch or keras-torch? (normgauge list shows all)"
    )


def test_an_unknown_implementation_is_named_with_the_nearest_known_ones() -> None:
    result = invoke("diagnose", "mlx.nn.GroupNrom")
    assert result.exit_code == 2
    assert "implementation 'mlx.nn.GroupNrom' is not known; did you mean mlx.nn.GroupNorm" in one_line(result)


def test_an_implementation_of_another_framework_is_refused_before_anything_runs(tmp_path: Path) -> None:
    result = invoke("run", FAULTY, "-i", "torch.nn.GroupNorm", "--out", str(tmp_path / "results"))
    assert result.exit_code == 2
    assert "implementation 'torch.nn.GroupNorm' is not known" in one_line(result)
    assert not (tmp_path / "results").exists()


def test_an_adapter_that_cannot_be_loaded_is_one_line() -> None:
    result = invoke("run", "no_such_module:Adapter")
    assert result.exit_code == 2
    assert "the adapter 'no_such_module:Adapter' cannot be loaded: No module named 'no_such_module'" in one_line(result)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("")
    result = invoke("run", FAULTY, "-i", "group_norm.GroupNorm", "--out", str(occupied))
    assert result.exit_code == 2
    assert f"--out {occupied} is a file; give a folder, such as --out {tmp_path / 'build'}" in one_line(result)
    within = occupied / "results"
    result = invoke("run", FAULTY, "-i", "group_norm.GroupNorm", "--out", str(within))
    assert f"--out {within}: cannot make this folder: Not a directory; give another folder" in one_line(result)


@pytest.mark.parametrize("command", ["report", "accuracy", "timeline"])
def test_a_page_in_place_of_a_folder_is_one_line_and_no_folder_of_that_name(command: str, tmp_path: Path) -> None:
    results, page = tmp_path / "results", tmp_path / "x" / "index.html"
    results.mkdir()
    result = invoke(command, str(results), "--out", str(page))
    assert result.exit_code == 2
    told = f"--out {page} is a file name; give the folder for the files: --out {page.parent}"
    assert told in one_line(result)
    assert not page.parent.exists()


def test_a_report_on_no_folder_an_empty_folder_and_broken_results_is_one_line_each(tmp_path: Path) -> None:
    result = invoke("report", str(tmp_path / "none"))
    assert result.exit_code == 2
    assert "make result files with: normgauge run" in one_line(result)
    empty = tmp_path / "empty"
    empty.mkdir()
    result = invoke("report", str(empty), "--out", str(tmp_path / "report"))
    assert result.exit_code == 2
    assert "holds no result file" in one_line(result)
    (empty / "broken.jsonl").write_text('{"record": "footer"}\n')
    result = invoke("report", str(empty), "--out", str(tmp_path / "report"))
    assert result.exit_code == 2
    assert "broken.jsonl, line 1:" in one_line(result)


@pytest.mark.slow
def test_a_run_writes_a_complete_result_file_and_a_report_is_made_from_it(tmp_path: Path) -> None:
    words = ("run", FAULTY, "-i", "group_norm.Interleaved", "--dtype", "float32", "--out", str(tmp_path))
    result = invoke(*words)
    assert result.exit_code == 0, result.output
    (path,) = tmp_path.glob("*.jsonl")
    records = read_records(path)
    assert isinstance(records[0], Header)
    assert records[0].framework == "faulty"
    assert isinstance(records[-1], Footer)
    judged = [record.verdict for record in records if isinstance(record, Judgement)]
    assert records[-1].counts == {"conforms": len(judged) - 1, "diverges": 1} == dict(Counter(judged))
    assert records[-1].departures == {"error": 1}
    assert "wrong GN-02 grouping (formula): channel c belongs to group c mod G (interleaved)" in result.stderr
    assert "1 error, 0 differences of convention, 0 contradictions of documentation, 0 hazards (" in result.stderr
    result = invoke("report", str(tmp_path), "--out", str(tmp_path / "report"))
    assert result.exit_code == 0
    assert "GN-02" in (tmp_path / "report" / "index.html").read_text()


def test_a_framework_that_is_not_there_leaves_a_row_with_the_reason_and_exit_code_three(tmp_path: Path) -> None:
    result = invoke("run", "torch", "--python", str(tmp_path / "python"), "--out", str(tmp_path))
    assert result.exit_code == 3
    assert "some layers could not be run" in one_line(result)
    records = read_records(tmp_path / "torch.jsonl")
    (row,) = [record for record in records if isinstance(record, NotRun)]
    assert "No such file or directory" in row.reason


def test_an_interpreter_without_the_framework_is_told_so(tmp_path: Path) -> None:
    """``-I`` and ``-S`` leave an interpreter without any installed package, NumPy included."""
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    bare.chmod(0o755)
    result = invoke("diagnose", "torch.nn.GroupNorm", "--python", str(bare))
    assert result.exit_code == 3
    assert "No module named" in one_line(result)


def test_a_diagnosis_prints_the_axes_the_witnesses_and_the_remedy() -> None:
    result = invoke("run", "--help")
    assert "Example: normgauge run torch mlx" in result.stdout
    environment = {**os.environ, "COLUMNS": "200"}
    words = [sys.executable, "-m", "normgauge.conformance.cli.main", "list"]
    listed = subprocess.run(words, capture_output=True, text=True, env=environment, check=True)
    assert "mlx.nn.GroupNorm(pytorch_compatible=True)" in listed.stdout


@pytest.mark.slow
def test_a_framework_that_another_distribution_registers_can_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A distribution is a folder with metadata; this one registers the faulty layers."""
    metadata = tmp_path / "others-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[normgauge.adapters]\nothers = {FAULTY}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]]))
    assert "others" in invoke("list").stdout
    words = ("run", "others", "-i", "group_norm.GroupNorm", "--dtype", "float32", "--out", str(tmp_path / "results"))
    result = invoke(*words)
    assert result.exit_code == 0, result.output
    assert isinstance(read_records(tmp_path / "results" / "others.jsonl")[-1], Footer)


@pytest.mark.parametrize("command", ["run", "diagnose", "report"])
def test_every_command_shows_an_example_in_its_help(command: str) -> None:
    assert "Example: normgauge" in invoke(command, "--help").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "x", "--exec", 'a "b'), "is not a command: No closing quotation"),
        (("run", "x", "--exec", ""), "--exec needs a command, such as 'node worker.mjs'"),
        (("run", "x", "--exec", "cat", "--in-process"), "leave out one of them"),
        (("run", "x", "--exec", "cat", "--python", "python3"), "without Python, and --python is given; leave out one"),
        (("run", "x", "y", "--exec", "cat"), "--exec starts one program, and 2 frameworks are named; name one"),
        (("run", "torch", "mlx", "torch"), "'torch' is named twice, and both runs would write torch.jsonl; name it"),
        (("run", "mlx", "-i", "mlx.nn.GruopNorm*"), "'mlx.nn.GruopNorm*' is not known; did you mean mlx.nn.GroupNorm"),
        (("diagnose", "x.Y", "--framework", "mlx"), "implementation 'x.Y' is not known; known are mlx.nn.GroupNorm"),
        (("diagnose", "group_norm.GroupNrom", "--framework", FAULTY), "did you mean group_norm.GroupNorm"),
        (("diagnose", "mlx.nn.*", "--framework", "mlx"), "'mlx.nn.*' is a pattern; diagnose takes one id"),
        (("run", "numpy:ndarray"), "'numpy:ndarray' is no adapter: it must be a subclass of"),
        (("run", "numpy:mean"), "'numpy:mean' cannot be called as a layer"),
        (("diagnose", "numpy:mean", "--layer", "group_norm"), "takes no number of groups"),
        (("diagnose", "mlx.nn.GroupNorm", "--layout", "channels_last"), "--layout describes a function; give MODULE"),
        (("diagnose", FAULTY), "is an adapter; give one of its layers: normgauge diagnose group_norm."),
    ],
)
def test_a_command_that_makes_no_sense_is_one_line(words: tuple[str, ...], said: str) -> None:
    result = invoke(*words)
    assert result.exit_code == 2
    assert said in one_line(result)


def test_what_is_not_registered_is_not_said_to_be_listed() -> None:
    result = invoke("run", FAULTY, "-i", "nothing.Alike")
    assert re.search(r"is not known; known are group_norm\.AddsAnAxis, .*, \d+ more$", one_line(result))
    assert "normgauge list" not in one_line(result)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("implementation", "given"),
    [
        ("group_norm.Interleaved", ("--framework", FAULTY, "--time-limit", "30")),
        pytest.param("foreign.GroupNorm", ("--exec", f"node '{WORKER}'"), marks=needs_node),
    ],
)
def test_the_command_after_a_diagnosis_can_be_pasted(
    implementation: str, given: tuple[str, ...], tmp_path: Path
) -> None:
    told = invoke("diagnose", implementation, *given)
    assert told.exit_code == 0, told.output
    _, *pasted = shlex.split(told.stdout.rpartition("can find more differences: ")[2])
    done = invoke(*pasted, "--budget", "none", "--out", str(tmp_path))
    assert done.exit_code == 0, done.output
    (path,) = tmp_path.glob("*.jsonl")
    header = read_records(path)[0]
    assert isinstance(header, Header)
    assert header.implementations == [implementation]


@pytest.mark.slow
def test_a_selection_may_be_a_pattern(tmp_path: Path) -> None:
    words = ("-i", "*.Nothing*", "--dtype", "float32", "--budget", "none", "--out", str(tmp_path))
    assert invoke("run", FAULTY, *words).exit_code == 2
    assert invoke("run", FAULTY, *words, "-i", "*_norm.OneP?ss").exit_code == 2
    done = invoke("run", FAULTY, *words[2:], "-i", "*_norm.OneP?ss", "-i", "group_norm.GroupNorm")
    assert done.exit_code == 0, done.output
    header = read_records(tmp_path / "faulty.adapter-FaultyAdapter.jsonl")[0]
    assert isinstance(header, Header)
    assert header.implementations == ["group_norm.GroupNorm", "group_norm.OnePass"]


def test_what_is_undecided_has_a_line_for_each_verdict_after_the_rest() -> None:
    def undecided(requirement: str, verdict: Verdict, why: str) -> Judgement:
        said = f"mlx.nn.GroupNorm: {why}"
        return msgspec.structs.replace(judgement(requirement, verdict=verdict, measured=""), sentence=said)

    records: list[Record] = [
        profile(),
        undecided("GN-13", "unsupported", "N=0: no empty [input]"),
        undecided("GN-11", "cannot tell", "one value: the bound is infinite"),
        judgement("GN-14", verdict="raises", measured="ValueError"),
        msgspec.structs.replace(judgement("GN-02"), ground="formula"),
        msgspec.structs.replace(judgement("GN-32", "raises", "ValueError"), ground="convention"),
        undecided("GN-31", "unsupported", "N=0, dy: no empty [input]"),
        judgement("GN-16", verdict="conforms", measured=""),
        undecided("GN-32", "unsupported", "no input of this kind exists for it"),
        Footer(counts={"raises": 2}, departures={"error": 1, "difference": 2, "hazard": 1}, seconds=1.0),
        Footer(counts={}, seconds=2.0, explored_cases=5, explored_seconds=3.0, worker_seconds=3.5),
    ]
    lines = Lines()
    _, *told = [Text.from_markup(line).plain for record in records for line in lines.of(record)]
    assert told == [
        "  raises GN-14 a title: ValueError",
        "  wrong GN-02 a title (formula): interleaved",
        "  differs GN-32 a title (convention): ValueError",
        "  unsupported GN-13, GN-31, GN-32: no empty [input] (and 1 more reason)",
        "  cannot tell GN-11: the bound is infinite",
        "1 error, 2 differences of convention, 0 contradictions of documentation, 1 hazard (2 raises) in 1.0 s",
        "nothing was checked in 2.0 s (all workers together: 3.5 s, 3.0 s of it for 5 explored cases)",
    ]


def test_the_adapters_own_traceback_is_shown_once_where_it_is_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    words = ("diagnose", "group_norm.GroupNorm", "--framework", "faulty.ports:Misspelt")
    assert "AttributeError" in one_line(invoke(*words))
    assert "Traceback" not in capfd.readouterr().err
    assert "AttributeError" in one_line(invoke(*words, "--debug"))
    shown = capfd.readouterr().err
    assert shown.count("Traceback") == 1
    assert re.search(r"^group_norm\.GroupNorm float32, construct:$", shown, re.MULTILINE)
    assert re.search(r'faulty/ports\.py", line \d+, in construct\n +return super\(\)\.constuct\(', shown)


def test_what_a_program_writes_to_standard_error_is_shown_where_it_is_asked_for(
    capfd: pytest.CaptureFixture[str],
) -> None:
    program = shlex.join([sys.executable, "-c", "import sys; sys.exit('first line\\n  the second')"])
    said = one_line(invoke("diagnose", "x.Y", "--exec", program))
    assert said.endswith("exited with code 1 before it said hello; it last said: first line | the second")
    assert capfd.readouterr().err == ""
    assert one_line(invoke("diagnose", "x.Y", "--exec", program, "--debug")) == said
    assert capfd.readouterr().err == "first line\n  the second\n"


@pytest.mark.parametrize(("command", "out"), [("report", True), ("accuracy", True), ("timeline", False)])
def test_a_result_file_without_an_end_is_named(command: str, out: bool, tmp_path: Path) -> None:
    for name in ("1", "2"):
        with ResultsWriter(tmp_path / f"mlx-{name}.jsonl") as writer:
            writer.write(header("mlx", mlx=name))
            writer.write(profile())
            if name == "1":
                writer.write(Footer(counts={}, seconds=1.0))
    with (tmp_path / "mlx-2.jsonl").open("a") as file:
        file.write('{"record":"foo')
    done = invoke(command, str(tmp_path), *(("--out", str(tmp_path / "out")) if out else ()))
    assert done.exit_code == 0, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"warning: {tmp_path / 'mlx-2.jsonl'} is not complete: the run did not finish")


def test_one_broken_registration_disables_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = tmp_path / "broken-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[normgauge.adapters]\nbroken = brokenmodule:Adapter\n")
    (tmp_path / "brokenmodule.py").write_text("raise RuntimeError('half installed')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    listed = invoke("list").stdout
    assert "half installed" in listed
    assert "torch.nn.GroupNorm" in listed
    result = invoke("diagnose", "torch.nn.GroupNorm", "--python", str(tmp_path / "none"))
    assert "cannot start" in one_line(result)


@pytest.mark.slow
def test_a_selection_reaches_each_framework_with_its_own_part(tmp_path: Path) -> None:
    words = ("-i", "group_norm.GroupNorm", "-i", "mlx.nn.GroupNorm", "--dtype", "float32", "--out", str(tmp_path))
    result = invoke("run", FAULTY, "mlx", "--python", sys.executable, *words)
    assert "there is no implementation" not in result.output
    assert isinstance(read_records(tmp_path / "faulty.adapter-FaultyAdapter.jsonl")[-1], Footer)


@pytest.mark.slow
def test_in_process_refuses_a_second_environment_in_one_process(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    words = ["run", "faulty.adapter:NeedsItsEnvironment", "-i", "group_norm.GroupNorm", "--in-process"]
    command = [sys.executable, "-m", "normgauge.conformance.cli.main", *words, "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 3
    assert "reads its environment once a process, and float64 needs another" in done.stderr
    (path,) = tmp_path.glob("*.jsonl")
    assert {r.dtype for r in read_records(path) if isinstance(r, NotRun) and r.failed} == {"float64"}


def test_a_framework_that_cannot_be_started_leaves_earlier_results_alone(tmp_path: Path) -> None:
    earlier = tmp_path / "torch.jsonl"
    earlier.write_text("what was measured before\n")
    result = invoke("run", "torch", "--python", str(tmp_path / "python"), "--out", str(tmp_path))
    assert result.exit_code == 3
    assert f"earlier results kept: {earlier}" in result.stderr
    assert earlier.read_text() == "what was measured before\n"


@pytest.mark.slow
def test_earlier_results_pass_no_gate_after_a_run_that_could_not_start(tmp_path: Path) -> None:
    run = (
        "run",
        FAULTY,
        "-i",
        "group_norm.GroupNorm",
        "--dtype",
        "float32",
        "--budget",
        "none",
        "--out",
        str(tmp_path),
    )
    assert invoke(*run, "--in-process").exit_code == 0
    assert invoke("gate", str(tmp_path)).exit_code == 0
    assert invoke(*run, "--python", str(tmp_path / "python")).exit_code == 3
    told = invoke("gate", str(tmp_path))
    assert told.exit_code == 1
    assert "could not be run: " in told.output
    assert invoke(*run, "--in-process").exit_code == 0
    assert invoke("gate", str(tmp_path)).exit_code == 0


@pytest.mark.slow
def test_an_adapter_in_this_folder_can_be_run_and_diagnosed(tmp_path: Path) -> None:
    source = (Path(__file__).parents[1] / "faulty" / "adapter.py").read_text(encoding="utf-8")
    (tmp_path / "mine.py").write_text(source, encoding="utf-8")
    entry = [sys.executable, "-c", "from normgauge.conformance.cli.main import main; main()"]
    for words in (
        ["run", "mine:FaultyAdapter", "-i", "group_norm.GroupNorm", "--dtype", "float32", "--out", "results"],
        ["diagnose", "group_norm.EpsOutside", "--framework", "mine:FaultyAdapter"],
    ):
        done = subprocess.run([*entry, *words], capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert "(eps_placement: outside_sqrt)" in done.stdout


@pytest.mark.slow
def test_a_layer_that_refuses_everything_is_not_called_canonical(tmp_path: Path) -> None:
    words = ("run", FAULTY, "-i", "process.AlwaysRaises", "--dtype", "float32", "--out", str(tmp_path))
    assert "process.AlwaysRaises: nothing was measured" in invoke(*words).stderr
