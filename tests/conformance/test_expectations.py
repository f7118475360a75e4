"""Expectations are strict both ways, and what is wrong in a file of them is one clear line."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from frameworks import MODULES, for_each, records_in
from gates import (
    BOTH,
    INTERLEAVED,
    SINGLE,
    Folder,
    counterexample,
    gated,
    header,
    judgement,
    lines,
    one_line,
    profile,
)

from normgauge.adapters.dtypes import DTYPES
from normgauge.adapters.registry import registered, registered_implementations
from normgauge.conformance.gating.entries import TO_BE_WRITTEN, BrokenExpectations
from normgauge.conformance.gating.expectations import SHIPPED, load_expectations, of_judgement
from normgauge.conformance.gating.gate import Gated
from normgauge.conformance.gating.suggest import suggestions
from normgauge.conformance.layers.registry import requirements
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.subject import Launch
from normgauge.results.file import ResultsWriter, read_records
from normgauge.results.records import (
    Claim,
    Header,
    Judgement,
    NotRun,
    Profile,
)

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_what_is_expected_and_found_is_met(folder: Folder) -> None:
    folder.write(judgement(), judgement(dtype="float64"), judgement("GN-01", "conforms", ""))
    assert lines(folder.gate(), 0) == ["2 known, 0 new, 0 gone, 0 changed, 0 not checked"]


def test_a_divergence_that_nothing_expects_is_new_and_says_where_it_would_be_expected(folder: Folder) -> None:
    folder.write(judgement(), judgement("GN-16", "crashes", "died\nof it"), judgement("GN-16", "crashes", "died\nof it",
                 dtype="float64"), judgement(dtype="float64"))  # fmt: skip
    told, summary = lines(folder.gate(), 1)
    assert told.startswith("new: mlx.jsonl: mlx.nn.GroupNorm: float32, float64: GN-16 a title: crashes, died of it; ")
    assert told.endswith(f"repair the layer, or add an entry to {folder.path / 'known.toml'}")
    assert summary == "2 known, 2 new, 0 gone, 0 changed, 0 not checked"


def test_the_command_that_writes_what_is_missing_can_be_pasted(folder: Folder) -> None:
    folder.write(judgement(), judgement("GN-16", "crashes", "died"), judgement(dtype="float64"))
    hint = re.fullmatch(r"to print list entries for the new differences: normgauge (gate .*)\n", folder.gate().stderr)
    assert hint is not None
    pasted = gated(*shlex.split(hint[1])[1:])
    assert [one["requirement"] for one in tomllib.loads(pasted.stdout)["expected"]] == ["GN-16"]
    folder.write(judgement(), judgement(dtype="float64"))
    assert folder.gate().stderr == ""


def test_away_from_the_repository_no_file_of_it_is_advised(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.path)
    folder.write(judgement("GN-01", "diverges", "outside_sqrt"), judgement("GN-02", "conforms", ""))
    told = gated("results").stdout
    assert "repair the layer, or add an entry to a file of your own (--expectations=FILE)" in told
    assert re.search(r"gone: mlx\.jsonl: .* remove entry \d+ of normgauge's own mlx\.toml", told)
    (folder.path / "mine.toml").write_text(INTERLEAVED)
    told = gated("results", "--expectations", "mine.toml").stdout
    assert "add an entry to mine.toml" in told
    assert "remove entry 1 of mine.toml" in told
    assert str(folder.path) not in told


def test_the_shipped_file_is_called_by_its_place_in_the_repository(folder: Folder) -> None:
    folder.write(judgement("GN-01", "diverges", "outside_sqrt"))
    told, *_ = lines(gated(str(folder.results)), 1)
    assert "add an entry to conformance/expectations/mlx.toml" in told


def test_an_expected_divergence_that_is_gone_names_its_entry(folder: Folder) -> None:
    folder.write(judgement(verdict="conforms", measured=""))
    told, _, summary = lines(folder.gate(), 1)
    assert told.startswith("gone: mlx.jsonl: mlx.nn.GroupNorm: float32: GN-02 a title: the known difference, ")
    assert f"remove entry 1 of {folder.path / 'known.toml'}, or restrict its versions" in told
    assert summary == "0 known, 0 new, 1 gone, 0 changed, 1 not checked"


def test_another_measured_value_is_one_deviation_that_says_both(folder: Folder) -> None:
    folder.write(judgement(measured="reversed"), judgement(dtype="float64"))
    told, summary = lines(folder.gate(), 1)
    assert "GN-02 a title: measured 'reversed', expected 'interleaved'; correct `measured` in entry 1" in told
    assert summary == "1 known, 0 new, 0 gone, 1 changed, 0 not checked"


def test_what_falls_with_another_requirement_needs_an_expectation_of_its_own(folder: Folder) -> None:
    fallen = msgspec.structs.replace(judgement("GN-01", measured="no known alternative"), falls_with="GN-02")
    folder.write(judgement(), judgement(dtype="float64"), fallen)
    told, summary = lines(folder.gate(), 1)
    assert told.startswith("new: mlx.jsonl: mlx.nn.GroupNorm: float32: GN-01 a title: ")
    assert summary == "2 known, 1 new, 0 gone, 0 changed, 0 not checked"
    folder.write(judgement(), judgement(dtype="float64"), judgement("GN-01", "conforms", ""))
    assert lines(folder.gate(), 0) == ["2 known, 0 new, 0 gone, 0 changed, 0 not checked"]


def test_what_did_not_run_is_told_and_is_no_failure(folder: Folder) -> None:
    folder.write(judgement())
    assert lines(folder.gate(), 0) == [
        "not checked: mlx.jsonl: mlx.nn.GroupNorm float64: GN-02",
        "1 known, 0 new, 0 gone, 0 changed, 1 not checked",
    ]


def test_an_entry_without_dtypes_is_about_all_that_its_requirement_has(folder: Folder) -> None:
    everywhere = INTERLEAVED.replace(BOTH, "")
    folder.write(*(judgement(dtype=dtype) for dtype in DTYPES))
    assert lines(folder.gate(everywhere), 0) == ["4 known, 0 new, 0 gone, 0 changed, 0 not checked"]
    folder.write(judgement(), judgement(dtype="bfloat16"))  # as with --dtype
    assert lines(folder.gate(everywhere), 0) == [
        "not checked: mlx.jsonl: mlx.nn.GroupNorm float64: GN-02",
        "not checked: mlx.jsonl: mlx.nn.GroupNorm float16: GN-02",
        "2 known, 0 new, 0 gone, 0 changed, 2 not checked",
    ]
    folder.write(judgement("GN-05"), judgement("GN-05", dtype="float64"))
    assert lines(folder.gate(everywhere.replace("GN-02", "GN-05")), 0)[-1].startswith("2 known, ")
    assert lines(folder.gate(everywhere.replace("GN-02", "GN-05")), 0)[-1].endswith(", 0 not checked")


def test_a_dtype_that_the_framework_does_not_have_leaves_nothing_to_check(folder: Folder) -> None:
    """Neither that of a release, which its run tells, nor that of the framework, whatever the run was asked for."""
    everywhere = INTERLEAVED.replace(BOTH, "")
    without = [
        NotRun(framework="mlx", reason=f"the framework has no {dtype} here", dtype=dtype, failed=False)
        for dtype in DTYPES[1:]
    ]
    folder.write(judgement(), *without)
    assert lines(folder.gate(everywhere), 0) == ["1 known, 0 new, 0 gone, 0 changed, 0 not checked"]
    lucid = everywhere.replace("mlx.nn.GroupNorm", "lucid.nn.GroupNorm").replace("{ mlx =", "{ lucid-dl =")
    start = msgspec.structs.replace(header("lucid", **{"lucid-dl": "0.32"}), implementations=["lucid.nn.GroupNorm"])
    met = (judgement(implementation="lucid.nn.GroupNorm", dtype=dtype) for dtype in DTYPES[:3])
    (folder.results / "mlx.jsonl").unlink()
    folder.write(*(msgspec.structs.replace(one, framework="lucid") for one in met), name="lucid", start=start)
    assert lines(folder.gate(lucid), 0) == ["3 known, 0 new, 0 gone, 0 changed, 0 not checked"]


def test_what_is_not_made_for_a_dtype_has_nothing_left_to_check_there(folder: Folder) -> None:
    gpu = "lucid.nn.GroupNorm[gpu]"
    known = INTERLEAVED.replace("mlx.nn.GroupNorm", gpu).replace("{ mlx =", "{ lucid-dl =")
    start = msgspec.structs.replace(header("lucid", **{"lucid-dl": "0.32"}), implementations=[gpu])
    folder.write(msgspec.structs.replace(judgement(implementation=gpu), framework="lucid"), name="lucid", start=start)
    told, summary = lines(folder.gate(known.replace(BOTH, "")), 0)
    assert told == "not checked: lucid.jsonl: lucid.nn.GroupNorm[gpu] float16: GN-02"
    assert summary == "1 known, 0 new, 0 gone, 0 changed, 1 not checked"


def test_what_could_not_be_run_is_a_deviation_of_its_own(folder: Folder) -> None:
    folder.write(judgement(), NotRun(framework="mlx", reason="it died", dtype="float64"))
    told, _, summary = lines(folder.gate(), 1)
    assert told == "not run: mlx.jsonl: mlx float64: could not be run: it died"
    assert summary == "1 known, 0 new, 0 gone, 0 changed, 1 not run, 1 not checked"


def test_what_a_manifest_asked_for_in_vain_is_a_deviation(folder: Folder) -> None:
    folder.write(judgement(), judgement(dtype="float64"))
    (folder.results / "manifest.json").write_text('{"mlx": "", "torch": "no wheel"}')
    told, summary = lines(folder.gate(), 1)
    assert told == "not run: torch: could not be run: no wheel"
    assert "1 not run" in summary


def test_an_interrupted_file_is_a_deviation(folder: Folder) -> None:
    folder.write(judgement(), judgement(dtype="float64"), footer=False)
    told, summary = lines(folder.gate(), 1)
    assert told == f"interrupted: {folder.results / 'mlx.jsonl'}: the run did not finish; run it again"
    assert summary == "2 known, 0 new, 0 gone, 0 changed, 1 interrupted, 0 not checked"


def test_a_counterexample_is_a_deviation(folder: Folder) -> None:
    folder.write(judgement(), judgement(dtype="float64"), counterexample())
    told, _ = lines(folder.gate(), 1)
    assert "new counterexample (values, huge mean): it departs; its input and script are in stored/0123.json" in told


def test_an_expectation_holds_for_its_versions_only(folder: Folder) -> None:
    """Outside of them its divergence is new, and its absence nothing to tell."""
    folder.write(judgement(), start=header(mlx="0.29.4"))
    assert lines(folder.gate(), 1)[-1] == "0 known, 1 new, 0 gone, 0 changed, 0 not checked"
    folder.write(judgement(verdict="conforms", measured=""), start=header(mlx="0.29.4"))
    assert lines(folder.gate(), 0) == ["0 known, 0 new, 0 gone, 0 changed, 0 not checked"]


@pytest.mark.parametrize("version", ["0.32.4+cpu", "0.33.0.dev20261120", "0.31rc1"])
def test_local_and_pre_release_versions_are_compared_like_others(folder: Folder, version: str) -> None:
    folder.write(judgement(), judgement(dtype="float64"), start=header(mlx=version))
    assert "2 known" in lines(folder.gate(), 0)[-1]


def test_a_run_that_never_started_has_nothing_to_hold_against(folder: Folder) -> None:
    never = Header(
        format=1,
        suite="0.1.0",
        framework="mlx",
        versions={},
        python="",
        platform="",
        numpy="",
        device="",
        dtypes=["float32"],
        implementations=[],
        started="",
    )
    folder.write(NotRun(framework="mlx", reason="mlx is not installed"), start=never)
    assert lines(folder.gate(), 1)[-1] == "0 known, 0 new, 0 gone, 0 changed, 1 not run, 2 not checked"


@pytest.mark.parametrize(
    ("pattern", "measured", "met"),
    [
        ("running_mean nan instead of *", "running_mean nan instead of -0.25", True),
        ("running_mean nan instead of *", "running_var nan instead of 1", False),
        ("*instead of*", "a\nb instead of c", True),
        ("interleave.", "interleaved", False),
        ("inter", "interleaved", False),
        ("[i]nterleaved", "interleaved", False),
    ],
)
def test_an_asterisk_stands_for_any_text_and_nothing_else_is_special(
    folder: Folder, pattern: str, measured: str, met: bool
) -> None:
    folder.write(judgement(measured=measured))
    result = folder.gate(INTERLEAVED.replace('"interleaved"', f'"{pattern}"'))
    assert result.exit_code == (0 if met else 1)


CONTRADICTS = Claim(
    subject="eps_placement",
    claimed="outside_sqrt",
    quote="sqrt(var) + eps",
    where="docstring",
    measured="inside_sqrt",
    verdict="contradicts",
)
AGREES = Claim(
    subject="eps_placement",
    claimed="inside_sqrt",
    quote="sqrt(var + eps)",
    where="docstring",
    measured="inside_sqrt",
    verdict="agrees",
)
DOCUMENTED = (
    INTERLEAVED.replace("GN-02", "documentation eps_placement")
    .replace('"interleaved"', '"inside_sqrt"')
    .replace(BOTH, SINGLE)
)


def test_a_documentation_that_contradicts_is_a_divergence_that_can_be_expected(folder: Folder) -> None:
    folder.write(profile(AGREES, CONTRADICTS, AGREES))
    met = "1 known (1 contradiction of documentation), 0 new, 0 gone, 0 changed, 0 not checked"
    assert lines(folder.gate(DOCUMENTED), 0) == [met]
    new, *_ = lines(folder.gate(""), 1)
    assert new.startswith("new: mlx.jsonl: mlx.nn.GroupNorm: float32: documentation eps_placement: contradicts, doc")
    folder.write(profile(AGREES))
    gone, *_ = lines(folder.gate(DOCUMENTED), 1)
    assert "gone: mlx.jsonl: mlx.nn.GroupNorm: float32: documentation eps_placement: " in gone
    folder.write(profile())
    assert "not checked: mlx.jsonl: mlx.nn.GroupNorm float32: documentation eps_placement" in lines(
        folder.gate(DOCUMENTED), 0
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"GN-02": "GN-99"}, "requirement 'GN-99' is not known; allowed: GN-01 to GN-"),
        ({"GN-02": "documentation"}, "requirement 'documentation' is not known; allowed: "),
        ({"mlx.nn.GroupNorm": "mlx.nn.GroupNrom"}, "'mlx.nn.GroupNrom' is not known; did you mean mlx.nn.GroupNorm"),
        ({"GN-02": "BN-01"}, "mlx.nn.GroupNorm is a group_norm, and BN-01 applies to a batch_norm only"),
        ({">=0.30,<1": "0.30"}, "versions of mlx: '0.30' is not a PEP 440 specifier; write it like '>=1.2,<2'"),
        ({">=0.30,<1": ""}, "versions of mlx: '' is not a PEP 440 specifier"),
        ({"{ mlx": "{ mxl"}, "versions names 'mxl', which the results do not have; allowed: mlx"),
        ({"it is the default": " "}, "reason is empty; write why this difference is accepted"),
        ({"it is the default": TO_BE_WRITTEN}, f"reason is still {TO_BE_WRITTEN!r}"),
        ({'reason = "it is the default"': ""}, "missing required field `reason`; its keys are implementations, "),
        ({"reason =": "raeson ="}, "entry 1: Object contains unknown field `raeson`; its keys are implementations, "),
        ({'"interleaved"': "3"}, "entry 1: Expected `str`, got `int` - at `$.measured`"),
        ({'["mlx.nn.GroupNorm"]': "[]"}, "implementations is empty; name at least one"),
        ({'["mlx.nn.GroupNorm"]': '["mlx.nn.GroupNorm", "mlx.nn.GroupNorm"]'}, "implementations names 'mlx.nn.GroupN"),
        ({"float64": "int8"}, "dtype 'int8' is not checked there; allowed: float32, float64, float16, bfloat16"),
        ({"GN-02": "GN-19"}, "dtype 'float64' is not checked there; allowed: float32"),
        ({"float64": "bfloat16", "GN-02": "GN-05"}, "dtype 'bfloat16' is not checked there; allowed: float32, float64"),
        (
            {"https://example.org/thread": "see there"},
            "url 'see there' is not an address; allowed: https://..., or no url",
        ),
        ({"[[expected]]": "[[expectations]]"}, "has expectations; allowed: entries that begin with [[expected]]"),
        ({"[[expected]]": "[expected"}, "is not TOML: "),
    ],
)
def test_an_entry_that_makes_no_sense_is_one_line(folder: Folder, changes: dict[str, str], said: str) -> None:
    folder.write(judgement(), judgement(dtype="float64"))
    content = INTERLEAVED
    for old, new in changes.items():
        assert old in content
        content = content.replace(old, new)
    line = one_line(folder.gate(content))
    assert str(folder.path / "known.toml") in line
    assert said in line


def test_two_entries_about_one_judgement_are_refused_unless_their_versions_differ(folder: Folder) -> None:
    folder.write(judgement(), judgement(dtype="float64"))
    line = one_line(folder.gate(INTERLEAVED + INTERLEAVED.replace('"interleaved"', '"reversed"')))
    assert "entry 2 (GN-02): entry 1 of " in line
    assert folder.gate(INTERLEAVED + INTERLEAVED.replace(">=0.30,<1", ">=1")).exit_code == 0


def test_a_version_that_is_none_is_told_where_an_expectation_needs_it(folder: Folder) -> None:
    folder.write(judgement(), judgement(dtype="float64"), start=header(mlx="unknown version"))
    line = one_line(folder.gate())
    assert "'unknown version', is not a PEP 440 version; remove it from versions" in line
    assert folder.gate(INTERLEAVED.replace('versions = { mlx = ">=0.30,<1" }', "")).exit_code == 0


def test_expectations_and_results_that_are_not_there_are_one_line(folder: Folder, tmp_path: Path) -> None:
    assert "holds no result file (*.jsonl); make one with" in one_line(gated(str(folder.results)))
    assert "cannot be read: No such file" in one_line(gated(str(tmp_path / "none.jsonl")))
    folder.write(judgement())
    nowhere = gated(str(folder.results), "--expectations", str(tmp_path / "none.toml"))
    assert "none.toml cannot be read: No such file or directory" in one_line(nowhere)
    empty = gated(str(folder.results), "--expectations", str(folder.results))
    assert "has no *.toml file" in one_line(empty)


def test_what_is_suggested_is_ready_but_for_its_reasons(folder: Folder) -> None:
    odd = 'a "quoted" \\ value\nof two lines'
    folder.write(
        *(judgement(dtype=dtype) for dtype in DTYPES), judgement("GN-16", "diverges", odd),
        judgement("GN-18", dtype="float64"), profile(CONTRADICTS), start=header(mlx="0.32.4+cpu", **{"odd.name": "1"}),
    )  # fmt: skip
    result = folder.gate("", "--suggest")
    assert result.exit_code == 1
    assert "7 new" in result.stderr.splitlines()[-1]
    entries = tomllib.loads(result.stdout)["expected"]
    assert [one["requirement"] for one in entries] == ["GN-02", "GN-16", "GN-18", "documentation eps_placement"]
    assert [one.get("dtypes") for one in entries] == [None, ["float32"], ["float64"], ["float32"]]
    assert {one["versions"]["mlx"] for one in entries} == {">=0.32.4"}
    assert entries[1]["measured"] == odd
    line = one_line(folder.gate(result.stdout))
    assert "reason is still" in line
    known = result.stdout.replace(TO_BE_WRITTEN, "known")
    assert folder.gate(known).exit_code == 0
    assert "supported" not in tomllib.loads(folder.gate(known, "--suggest").stdout)


def test_implementations_that_diverge_alike_share_a_suggested_entry() -> None:
    names = ("torch.nn.BatchNorm1d", "torch.nn.BatchNorm2d")
    alike = [judgement("BN-18", implementation=name, dtype=d) for name in names for d in DTYPES]
    other = judgement("BN-18", implementation="torch.nn.BatchNorm3d")
    start = header("torch", torch="2.13.0")
    text = suggestions(Gated(new=[(of_judgement(one), start) for one in (*alike, other)]))
    first, second = tomllib.loads(text)["expected"]
    assert first["implementations"] == list(names)
    assert "dtypes" not in first
    assert (second["implementations"], second["dtypes"]) == (["torch.nn.BatchNorm3d"], ["float32"])


def test_a_framework_that_is_not_registered_is_gated_with_a_file_of_its_own(tmp_path: Path) -> None:
    """An expectation of what was not selected of it is not checked; one of what it does not have is refused."""
    wanted = Wanted(dtypes=("float32",), implementations=("group_norm.Interleaved", "group_norm.GroupNorm"))
    with ResultsWriter(tmp_path / "faulty.jsonl") as writer:
        for record in run_framework(Launch(framework="faulty.adapter:FaultyAdapter"), wanted):
            writer.write(record)
    own = tmp_path / "faulty.toml"
    entry = INTERLEAVED.replace("mlx.nn.GroupNorm", "group_norm.Interleaved").replace("mlx = ", "numpy = ")
    own.write_text(entry.replace(">=0.30,<1", ">=1").replace(BOTH, SINGLE))
    result = gated(str(tmp_path / "faulty.jsonl"), "--expectations", str(tmp_path))
    assert lines(result, 0) == ["1 known (1 error), 0 new, 0 gone, 0 changed, 0 not checked"]
    own.write_text(own.read_text() + INTERLEAVED.replace("mlx.nn.GroupNorm", "group_norm.OnePass"))
    assert gated(str(tmp_path / "faulty.jsonl"), "--expectations", str(tmp_path)).exit_code == 0
    own.write_text(own.read_text() + INTERLEAVED.replace("mlx.nn.GroupNorm", "group_norm.OnePas"))
    line = one_line(gated(str(tmp_path / "faulty.jsonl"), "--expectations", str(tmp_path)))
    assert "'group_norm.OnePas' is not known; did you mean group_norm.OnePass" in line
    result = gated(str(tmp_path / "faulty.jsonl"))
    assert "float32: GN-02 grouping: wrong, channel c belongs to group c mod G (interleaved)" in result.stdout


def shipped() -> Sequence[Path]:
    return sorted(SHIPPED.glob("*.toml"))


def test_the_shipped_expectations_load_and_are_of_the_framework_that_names_their_file() -> None:
    expectations = load_expectations()
    known = registered_implementations()
    expectations.check_implementations(known)
    assert {path.stem for path in shipped()} <= registered().keys()
    assert {"torch", "mlx", "flax", "keras-jax"} <= {path.stem for path in shipped()}
    for one in expectations.all:
        frameworks = {known[implementation][0] for implementation in one.entry.implementations}
        assert f"conformance/expectations/{'-'.join(frameworks)}.toml" == one.file
        assert one.entry.versions, one.place


def test_shipped_expectations_say_exactly_what_is_accepted() -> None:
    for file in SHIPPED.iterdir():
        for entry in tomllib.loads(file.read_text(encoding="utf-8"))["expected"]:
            accepted = entry["measured"].startswith("accepted")
            assert not (accepted and "*" in entry["measured"]), (file.name, entry["requirement"], entry["measured"])


def test_no_two_shipped_expectations_are_about_one_judgement_of_any_release() -> None:
    expectations = load_expectations()
    bounds = {bound for one in expectations.all for text in one.entry.versions.values() for bound in text.split(",")}
    versions = {re.sub(r"[^0-9.]", "", bound) for bound in bounds} | {"0.1", "99"}
    for cell, one in expectations.about(registered_implementations()):
        for version in versions:
            asked = judgement(cell.requirement, implementation=cell.implementation, dtype=cell.dtype)
            expectations.hold(of_judgement(asked), dict.fromkeys(one.entry.versions, version))


def test_the_same_judgement_twice_is_told_by_the_lookup_itself(tmp_path: Path) -> None:
    file = tmp_path / "known.toml"
    file.write_text(INTERLEAVED * 2)
    with pytest.raises(BrokenExpectations, match="applies to the same judgement"):
        load_expectations([file]).hold(of_judgement(judgement()), {"mlx": "0.32.4"})


@for_each(*MODULES)
def test_the_gate_is_silent_on_the_pinned_releases(results: Path) -> None:
    result = gated(str(results))
    assert result.exit_code == 0, result.output
    *left, last = result.stdout.splitlines()
    told = r"\d+ known \(\d+ .+\), 0 new, 0 gone, 0 changed, (\d+) not checked(, \d+ hazards?)?"
    counted = re.fullmatch(told, last)
    assert counted, last
    header = records_in(results)[0]
    assert isinstance(header, Header)
    not_checked = [re.fullmatch(r"not checked: \S+: .+ (\w+): (.+)", line) for line in left]
    assert all(one and one[1] == "float16" and one[1] not in header.dtypes for one in not_checked)
    assert int(counted[1]) == sum(len(one[2].split(", ")) for one in not_checked if one)


#: The frameworks whose plain layers declare derivatives above the first: the gate holds nobody else to these.
DERIVED = ("torch", "mlx", "flax", "keras-jax", "keras-tensorflow")


@for_each(*MODULES)
def test_derivatives_above_the_first_are_asked_of_every_plain_layer_that_has_them(results: Path) -> None:
    own = {name for name, one in requirements().items() if one.derivative}
    records = list(read_records(results))
    kinds = {one.implementation: one.layer for one in records if isinstance(one, Profile) and one.mode == "eager"}
    asked = {(one.implementation, one.requirement) for one in records if isinstance(one, Judgement)}
    wanted = {(name, one) for name, kind in kinds.items() for one in own if requirements()[one].layer == kind}
    got = {pair for pair in asked if pair[1] in own and pair[0] in kinds}
    assert got == (wanted if results.stem in DERIVED else set())


def test_the_page_about_gating_shows_an_entry_that_loads(tmp_path: Path) -> None:
    entries = re.findall(r"```toml\n(.*?)```", (DOCS / "gating.md").read_text(encoding="utf-8"), re.DOTALL)
    file = tmp_path / "known.toml"
    file.write_text("\n".join(entries), encoding="utf-8")
    loaded = load_expectations([file])
    assert loaded.all
    assert loaded.supported
