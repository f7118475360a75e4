"""normgauge vectors: the set, the programs that read it without us, and the judgement of their answers."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

import jsonschema
import numpy as np
import pytest
from answer_files import Implementation, write_answers
from click.testing import CliRunner, Result
from safetensors.numpy import load_file, save_file

from normgauge.adapters.case import Case
from normgauge.adapters.worker.protocol import case_id
from normgauge.conformance.cli.main import main
from normgauge.conformance.diagnosis.references import References
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted as RunWanted
from normgauge.conformance.subjects.subject import Launch
from normgauge.conformance.vectors.export import Wanted, export, probes_for
from normgauge.conformance.vectors.flags import links_in
from normgauge.conformance.vectors.manifest import Manifest, read_manifest
from normgauge.results.file import read_records
from normgauge.results.records import Judgement, Profile

PROJECT: Final = Path(__file__).parents[2]
EXAMPLES: Final = PROJECT / "examples"
FAULTY: Final = "faulty.adapter:FaultyAdapter"
#: A semantics of the set for each of the three wrong kernels of the examples.
SEMANTICS: Final = ("canonical", "eps_placement=outside_sqrt", "mlx", "variance=unbiased")
WRONG: Final = {"eps outside": SEMANTICS[1], "interleaved groups": SEMANTICS[2], "unbiased variance": SEMANTICS[3]}
JUDGED: Final = {"eps outside": "GN-01", "interleaved groups": "GN-02", "unbiased variance": "GN-03"}


def vectors(*words: object) -> Result:
    return CliRunner().invoke(main, ["vectors", *map(str, words)])


def judged(folder: Path, answers: Path, out: Path) -> tuple[Result, list[Any]]:
    done = vectors("judge", folder, answers, "--out", out)
    return done, read_records(next(out.glob("*.jsonl"))) if done.exit_code == 0 else []


def verdicts(records: list[Any]) -> dict[str, str]:
    return {one.requirement: one.verdict for one in records if isinstance(one, Judgement)}


@pytest.fixture(scope="module")
def default_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set that is written without an option."""
    folder = tmp_path_factory.mktemp("vectors") / "set"
    done = vectors("export", folder)
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def manifest(default_set: Path) -> Manifest:
    return read_manifest(default_set)


@pytest.fixture(scope="module")
def named_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of GroupNorm with the semantics of the three wrong kernels."""
    folder = tmp_path_factory.mktemp("vectors") / "named"
    options = [word for name in SEMANTICS for word in ("--semantics", name)]
    done = vectors("export", folder, "--layer", "group_norm", *options)
    assert done.exit_code == 0, done.output
    return folder


# --- the set --------------------------------------------------------------------------------------


def test_the_default_set_is_below_5_mb_and_its_files_are_those_of_the_manifest(
    default_set: Path, manifest: Manifest
) -> None:
    assert sum(path.stat().st_size for path in default_set.rglob("*") if path.is_file()) < 5_000_000
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in default_set.glob("*.safetensors")}
    assert found == manifest.files


def test_the_manifest_follows_its_schema_and_the_schema_refuses_another(default_set: Path) -> None:
    schema = json.loads((default_set / "manifest.schema.json").read_text())
    content = json.loads((default_set / "manifest.json").read_text())
    jsonschema.validate(content, schema)
    del content["cases"][0]["settings"]
    with pytest.raises(jsonschema.ValidationError, match="'settings' is a required property"):
        jsonschema.validate(content, schema)


def test_every_tensor_of_the_manifest_is_in_its_file_and_no_other_is(default_set: Path, manifest: Manifest) -> None:
    named: set[str] = set()
    for case in manifest.cases:
        named |= set(case.parameters.values())
        for step in case.steps:
            named |= {step.x, *([step.dy] if step.dy else [])}
            named |= {tensor for action in step.before for tensor in action.parameters.values()}
            for quantities in step.expected.values():
                named |= {tensor for one in quantities.values() for tensor in (one.value, one.bound)}
    assert {name for file in manifest.files for name in load_file(default_set / file)} == named


def test_a_case_has_a_value_and_a_bound_for_every_answer_that_it_asks_for(manifest: Manifest) -> None:
    counted = Counter[str]()
    for case in manifest.cases:
        if case.measures or "canonical" in case.refused:
            counted["without"] += 1
            continue
        for step in case.steps:
            assert step.expected["canonical"].keys() == step.answer.keys(), (case.id, case.flags)
        counted["with"] += 1
    assert counted["with"] > 300


def test_every_case_of_the_experiments_is_in_the_set_or_left_out_for_a_reason(manifest: Manifest) -> None:
    left = Counter[str]()
    for one in manifest.left_out:
        left.update(one.cases)
    here = {one.id for one in manifest.cases}
    missing = Counter(
        probe.requirement
        for layer in manifest.layers
        for probe in probes_for(layer, "float32", manifest.ranks, ())
        if case_id(probe.case) not in here
    )
    assert missing == left
    assert {flag for one in manifest.cases for flag in one.flags} & {"GN-21", "BN-25"}  # the explored ones


def test_flags_say_which_bug_they_stand_for_with_links(manifest: Manifest) -> None:
    flag = manifest.flags["group_norm eps_placement=outside_sqrt"]
    assert flag.note == "y = (x - mean) / (sqrt(var) + eps)"
    assert flag.links == ("https://github.com/taokong/group_normalization/issues/1",)
    assert "https://arxiv.org/abs/1803.08494v3" in manifest.flags["GN-01"].links
    named = {name for one in manifest.cases for name in (*one.flags, *one.catches)}
    assert named == manifest.flags.keys()
    first = next(one for one in manifest.cases if one.flags == ("GN-01",))
    assert "group_norm grouping=interleaved" in first.catches


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("triton-lang/triton#9838: masked lanes", ["https://github.com/triton-lang/triton/issues/9838"]),
        ("RMSNorm (2019, arXiv:1910.07467) under", ["https://arxiv.org/abs/1910.07467"]),
        ("ajbrock/BigGAN-PyTorch, layers.py (ccbn)", ["https://github.com/ajbrock/BigGAN-PyTorch"]),
        ("torch 2.13.0, https://docs.pytorch.org/x.html: y", ["https://docs.pytorch.org/x.html"]),
        ("torch.nn.GroupNorm", []),
    ],
)
def test_links_are_those_that_a_source_names(text: str, links: list[str]) -> None:
    assert list(links_in([text])) == links


@pytest.mark.slow
def test_the_same_release_writes_the_same_bytes_in_another_process(default_set: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "normgauge.conformance.cli.main", "vectors", "export", str(tmp_path / "again")]
    subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": "1"}, check=True, capture_output=True)
    here, there = (
        {path.name: path.read_bytes() for path in one.iterdir()} for one in (default_set, tmp_path / "again")
    )
    assert here == there
    assert here.keys() == {
        "manifest.json", "manifest.schema.json", "group_norm-float32.safetensors", "batch_norm-float32.safetensors",
    }  # fmt: skip


def _small(dtype: str) -> Wanted:
    return Wanted(suite="1", layers=("group_norm",), dtypes=(dtype,), ranks=(2,), largest=16)


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_other_types_are_written_with_bounds_of_their_own(dtype: str, tmp_path: Path) -> None:
    found = export(
        tmp_path, Wanted(suite="1", layers=("group_norm",), dtypes=(dtype,), ranks=(2,), largest=16), References()
    )
    tensors = load_file(tmp_path / f"group_norm-{dtype}.safetensors")
    first = next(one for one in found.cases if one.flags[0] == "GN-11" and not one.refused)
    assert tensors[first.steps[0].x].dtype == ("float32" if dtype == "bfloat16" else dtype)
    assert found.arithmetic[dtype].computes_in == ("float64" if dtype == "float64" else "float32")
    assert found.arithmetic[dtype].rounds_intermediates == (dtype != "float64")


# --- programs that do not know us ------------------------------------------------------------------


@pytest.fixture(scope="module")
def check_kernel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The program in C, compiled."""
    if shutil.which("gcc") is None or not Path("/usr/include/jansson.h").exists():
        pytest.skip("gcc or jansson.h is not here; they compile examples/c/check_kernel.c")
    program = tmp_path_factory.mktemp("c") / "check_kernel"
    options = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(program)]
    source = EXAMPLES / "c" / "check_kernel.c"
    subprocess.run(["gcc", *options, str(source), "-ljansson", "-lm"], check=True)
    return [str(program)]


def said(language: str, named_set: Path, kernel: str, folder: Path, request: pytest.FixtureRequest) -> tuple[int, str]:
    """Exit code and output of the program in this language, which writes its answers into ``folder``."""
    folder.mkdir()
    if language == "C":
        command = [*request.getfixturevalue("check_kernel"), str(named_set), kernel.replace(" ", "-"), str(folder)]
    else:
        program = EXAMPLES / "python" / "check_kernel.py"
        # -S and -c would hide safetensors, too; the program is refused normgauge itself.
        barred = "import runpy, sys; sys.modules['normgauge'] = None; runpy.run_path(sys.argv[0], run_name='__main__')"
        words = [str(program), str(named_set), kernel, "--answers", str(folder)]
        command = [sys.executable, "-W", "ignore", "-c", f"import sys; sys.argv = {words!r}; {barred}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize("language", ["C", "Python"])
def test_a_right_kernel_is_canonical_to_a_program_without_us_and_to_us(
    language: str, named_set: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    code, output = said(language, named_set, "right", tmp_path / "answers", request)
    assert code == 0
    assert output.splitlines()[-1] == "follows canonical"
    assert int(output.split(" of ")[0].split()[-1]) > 100  # cases
    if language == "C":
        return
    done, records = judged(named_set, tmp_path / "answers", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert set(verdicts(records).values()) == {"conforms", "unsupported"}
    assert Counter(verdicts(records).values())["conforms"] > 30


@pytest.mark.parametrize("kernel", WRONG)
@pytest.mark.parametrize("language", ["C", "Python"])
def test_a_wrong_kernel_is_named_by_a_program_without_us_and_by_us(
    language: str, kernel: str, named_set: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    code, output = said(language, named_set, kernel, tmp_path / "answers", request)
    assert code == 1
    assert re.findall("^follows (.*)$", output, re.MULTILINE) == [WRONG[kernel]]
    if (language == "C") != (kernel == "eps outside"):
        return  # judging takes seconds, and the answers of both are the same but for rounding
    done, records = judged(named_set, tmp_path / "answers", tmp_path / "out")
    assert done.exit_code == 0, done.output
    found = verdicts(records)
    assert [name for name, verdict in found.items() if verdict == "diverges"] == [JUDGED[kernel]]
    assert set(found.values()) <= {"conforms", "unsupported", "cannot tell", "diverges"}


# --- judged as a worker is -------------------------------------------------------------------------


@pytest.mark.slow
def test_answers_from_files_are_judged_as_those_of_a_worker(
    default_set: Path, manifest: Manifest, tmp_path: Path
) -> None:
    implementation = Implementation(adapter=FAULTY, id="group_norm.EpsOutside", layer="group_norm")
    write_answers(manifest, tmp_path / "answers", implementation, "float32")
    done, records = judged(default_set, tmp_path / "answers", tmp_path / "out")
    assert done.exit_code == 0, done.output
    wanted = RunWanted(dtypes=("float32",), implementations=(implementation.id,), in_process=True)
    worker = list(run_framework(Launch(framework=FAULTY), wanted))
    (own,), (other,) = ([one for one in found if isinstance(one, Profile)] for found in (records, worker))
    assert own.axes == other.axes
    assert own.defaults == [one.__class__(**{**_fields(one), "signature": None}) for one in other.defaults]
    partly = {name for one in manifest.left_out for name in one.cases} | {"GN-17"}
    seen, expected = verdicts(records), verdicts(worker)
    assert {name: seen[name] for name in seen if name not in partly} == {
        name: expected[name] for name in seen if name not in partly
    }
    assert expected["GN-17"] == "conforms"
    assert seen["GN-17"] == "unsupported"  # files do not show what a call changed


@pytest.mark.slow
def test_running_statistics_from_files_are_diagnosed(default_set: Path, manifest: Manifest, tmp_path: Path) -> None:
    implementation = Implementation(adapter=FAULTY, id="batch_norm.BiasedRunningVariance", layer="batch_norm")
    write_answers(manifest, tmp_path / "answers", implementation, "float32")
    done, records = judged(default_set, tmp_path / "answers", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert [name for name, verdict in verdicts(records).items() if verdict == "diverges"] == ["BN-03"]
    assert Counter(verdicts(records).values())["conforms"] > 50


def _fields(one: Any) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__struct_fields__}


def _beyond_eval(case: Case) -> bool:
    return any(step.mode == "train" or step.dy is not None or step.before or step.inspect for step in case.steps)


@pytest.mark.slow
def test_what_has_no_answer_is_not_measured_and_never_wrong(
    default_set: Path, manifest: Manifest, tmp_path: Path
) -> None:
    answers = tmp_path / "answers"
    right = Implementation(adapter=FAULTY, id="batch_norm.BatchNorm", layer="batch_norm")
    write_answers(manifest, answers, right, "float32", _beyond_eval, npy=True)
    done, records = judged(default_set, answers, tmp_path / "out")
    lines = done.output.splitlines()
    assert "not measured: group_norm float32: no case has an answer" in lines
    assert any(line.startswith("not measured: batch_norm: no answer has calls in train, which ") for line in lines)
    assert any(line.startswith("not measured: batch_norm: no answer has dx, which ") for line in lines)
    assert not any(line.startswith(("no answer: ", "incomplete answer: ")) for line in lines)
    found = Counter(verdicts(records).values())
    assert found.keys() == {"conforms", "unsupported"}
    assert found["unsupported"] > found["conforms"] > 0
    assert verdicts(records)["BN-03"] == "unsupported"
    assert verdicts(records)["BN-01"] == "conforms"


@pytest.fixture
def few_answers(named_set: Path, tmp_path: Path) -> Path:
    """Answers to a set of GroupNorm, of a right layer."""
    answers = tmp_path / "answers"
    right = Implementation(adapter=FAULTY, id="group_norm.GroupNorm", layer="group_norm")
    write_answers(read_manifest(named_set), answers, right, "float32")
    return answers


def test_each_missing_or_malformed_answer_is_a_line(named_set: Path, few_answers: Path, tmp_path: Path) -> None:
    file = few_answers / "float32.safetensors"
    arrays = load_file(file)
    plain = [one for one in read_manifest(named_set).cases if one.flags == ("GN-01",)]
    absent, of_integers, other_shape = (one.steps[-1].answer for one in plain[:3])
    gradients = next(one for one in read_manifest(named_set).cases if "dx" in one.steps[0].answer)
    for name in absent.values():
        del arrays[name]
    del arrays[gradients.steps[0].answer["dx"]]
    arrays[of_integers["output"]] = arrays[of_integers["output"]].astype(np.int32)
    arrays[other_shape["output"]] = arrays[other_shape["output"]][..., :1].copy()
    arrays |= {"y": np.zeros(1, np.float32), "0123456789ab/1/output": np.zeros(1, np.float32)}
    save_file(arrays, file)
    done, records = judged(named_set, few_answers, tmp_path / "out")
    assert done.exit_code == 0, done.output
    told = [line for line in done.output.splitlines() if not line.startswith(" ")]
    ids = [one.id for one in plain[:3]]
    assert [line for line in told if "answer" in line.partition(":")[0]] == [
        f"not an answer: {file}: 'y'; its name must be CASE/STEP/QUANTITY",
        "not an answer: 0123456789ab is no case of the set",
        f"no answer: {ids[0]} (GN-01, group_norm float32)",
        f"malformed answer: {ids[1]} (GN-01, group_norm float32): {ids[1]}/1/output: an array of type I32; allowed: "
        "float64, float32, float16, bfloat16",
        f"incomplete answer: {gradients.id} ({gradients.flags[0]}, group_norm float32): there is no "
        f"{gradients.id}/1/dx",
    ]
    assert verdicts(records)["GN-01"] == "crashes"  # as a worker's that gives a malformed answer


def test_gate_and_report_read_the_judgement(named_set: Path, few_answers: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    judged(named_set, few_answers, out)
    (tmp_path / "known.toml").write_text("")
    gated = CliRunner().invoke(main, ["gate", str(out), "--expectations", str(tmp_path / "known.toml")])
    assert (gated.exit_code, gated.output) == (0, "0 known, 0 new, 0 gone, 0 changed, 0 not checked\n")
    reported = CliRunner().invoke(main, ["report", str(out), "--out", str(tmp_path / "report")])
    assert reported.exit_code == 0, reported.output
    assert "group_norm.GroupNorm" in (tmp_path / "report" / "index.html").read_text()


# --- the page --------------------------------------------------------------------------------------

SECONDS: Final = re.compile(r" in [\d.]+ s$", re.MULTILINE)


@pytest.mark.slow
def test_every_command_of_the_page_prints_what_the_page_shows(tmp_path: Path) -> None:
    """The commands run in their order and in one folder, in which the examples lie."""
    (tmp_path / "examples").symlink_to(EXAMPLES)
    page = (PROJECT / "docs" / "vectors.md").read_text(encoding="utf-8")
    blocks = [block.removeprefix("$ ").split("\n", 1) for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL)]
    assert len(blocks) == 3
    for command, shown in blocks:
        program, *words = shlex.split(command)
        module = ["-W", "ignore"] if program == "python" else ["-m", "normgauge.conformance.cli.main"]
        done = subprocess.run(
            [sys.executable, *module, *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == (1 if program == "python" else 0), done.stderr
        assert SECONDS.sub(" in s", done.stdout) == SECONDS.sub(" in s", shown), command


# --- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--semantics", "colour=red"),
            "'colour=red' names no axis; allowed: AXIS=VALUE, with an axis of eps_pl",
        ),
        (
            ("--semantics", "variance=odd"),
            "axis variance has no value 'odd'; allowed: biased",
        ),
        (
            ("--semantics", "mlx.nn.GroupNrm"),
            "layer or framework 'mlx.nn.GroupNrm' is not known; did",
        ),
        (("--cases", "nowhere"), "is not a folder; give one that"),
    ],
)
def test_a_mistake_in_an_export_is_one_line(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = vectors("export", tmp_path / "set", *words)
    assert done.exit_code == 2
    (line,) = done.output.splitlines()
    assert line.startswith(f"Error: {' '.join(words)}{' is' if 'cases' in words[0] else ':'} ")
    assert message in line
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("other", ["thesis.txt", "manifest.json"])
def test_a_set_is_not_written_among_other_files(other: str, tmp_path: Path) -> None:
    (tmp_path / other).write_text('{"mlx.jsonl": "asked for"}')
    done = vectors("export", tmp_path)
    assert (done.exit_code, done.output) == (
        2, f"Error: {tmp_path} has files and no set of vectors; give a new folder\n",
    )  # fmt: skip


def test_mistakes_in_a_judgement_are_one_line(named_set: Path, tmp_path: Path) -> None:
    answers = tmp_path / "answers"
    cases: list[tuple[Any, int, str]] = [
        (lambda: None, 2, f"Error: there is no folder {answers}; give the folder with the answers"),
        (answers.mkdir, 2, f"Error: {answers} has no answers; write .safetensors with tensors CASE/STEP/QUANTITY, or "),
        (lambda: (answers / "a.npy").write_bytes(b"no"), 2, f"Error: {answers / 'a.npy'} cannot be read as .npy: "),
        (
            lambda: (answers / "a.npy").rename(answers / "a.safetensors"),
            2,
            f"Error: {answers / 'a.safetensors'} cannot be read as .safetensors: ",
        ),
    ]
    for change, code, message in cases:
        change()
        done = vectors("judge", named_set, answers, "--out", tmp_path / "out")
        assert done.exit_code == code, done.output
        (line,) = done.output.splitlines()
        assert line.startswith(message)
    (answers / "a.safetensors").unlink()
    (answers / "answers.json").write_text('{"raised": {"x": 1}}')
    done = vectors("judge", named_set, answers, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert done.output.startswith(f"Error: {answers / 'answers.json'} cannot be used: Expected `object`")
    (answers / "answers.json").unlink()
    save_file({"0123456789ab/1/output": np.zeros(1, np.float32)}, answers / "a.safetensors")
    done = vectors("judge", named_set, answers, "--out", tmp_path / "out")
    assert done.exit_code == 3
    assert done.output.splitlines()[-1].startswith(f"Error: nothing to check: no case of {named_set} has an answer in ")
    done = vectors("judge", tmp_path, answers)
    assert done.exit_code == 2
    assert done.output.startswith(f"Error: {tmp_path / 'manifest.json'} cannot be read: No such file or directory; ")
