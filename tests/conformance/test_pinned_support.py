"""What was decided once stays decided, and a mode shares what is known of its layer."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest
from gates import Folder, gated, judgement, lines, one_line, profile

from normgauge.adapters.dtypes import DTYPES
from normgauge.conformance.layers.registry import kind_of
from normgauge.results.records import Judgement, NotRun, Profile, Record, Verdict

ASKED = [one.id for one in kind_of("group_norm").requirements if "float32" in one.dtypes]
PINNED = """
[[supported]]
implementations = ["mlx.nn.GroupNorm"]
dtypes = ["float32"]
versions = { mlx = ">=0.30" }
undecided = ["GN-13"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def measured(**verdicts: Verdict) -> list[Judgement]:
    """Every requirement of GroupNorm in float32: conforms, but for these (GN_13) and GN-13, which is unsupported."""
    others = {"GN-13": "unsupported", **{name.replace("_", "-"): verdict for name, verdict in verdicts.items()}}
    return [judgement(one, others.get(one, "conforms"), "") for one in ASKED]


def test_what_is_pinned_and_decided_passes(folder: Folder) -> None:
    folder.write(*measured())
    assert lines(folder.gate(PINNED), 0) == ["0 known, 0 new, 0 gone, 0 changed, 0 not checked"]


@pytest.mark.parametrize("verdict", ["unsupported", "cannot tell"])
def test_what_was_supported_and_is_not_decided_fails_and_no_entry_is_to_be_removed(
    folder: Folder, verdict: Verdict
) -> None:
    folder.write(*measured(GN_14=verdict))
    told, summary = lines(folder.gate(PINNED), 1)
    assert told.startswith(f"changed: mlx.jsonl: mlx.nn.GroupNorm: float32: GN-14 a title: {verdict}: ")
    assert "find the reason" in told
    assert "remove" not in told
    assert "1 changed" in summary


def test_what_raises_is_new_whatever_is_pinned(folder: Folder) -> None:
    folder.write(*measured(GN_13="raises"))
    told, _ = lines(folder.gate(PINNED), 1)
    assert told.startswith("new: mlx.jsonl: mlx.nn.GroupNorm: float32: GN-13 a title: raises, ")


def test_what_is_not_asked_any_more_fails(folder: Folder) -> None:
    folder.write(*(one for one in measured() if one.requirement != "GN-07"))
    told, _ = lines(folder.gate(PINNED), 1)
    assert "GN-07: no longer checked, but supported entry 1 of" in told


@pytest.mark.parametrize(("absent", "code"), [(True, 1), (False, 0)])
def test_a_pinned_dtype_that_the_framework_has_lost_fails(folder: Folder, absent: bool, code: int) -> None:
    """One that the budget leaves out does not."""
    lost = NotRun(framework="mlx", reason="no float64", dtype="float64", failed=False, absent=absent)
    folder.write(*measured(), lost)
    told = "\n".join(lines(folder.gate(PINNED.replace('["float32"]', '["float32", "float64"]')), code))
    assert ("changed: mlx.jsonl: mlx.nn.GroupNorm: float64: no float64, but supported entry 1" in told) == absent


def test_what_is_decided_now_leaves_the_list(folder: Folder) -> None:
    folder.write(*measured(GN_13="conforms"))
    told, _ = lines(folder.gate(PINNED), 1)
    assert "conforms, was undecided before; remove GN-13 from `undecided` in supported entry 1 of" in told


def test_a_pin_is_for_its_versions_and_dtypes(folder: Folder) -> None:
    folder.write(*measured(GN_14="unsupported"))
    assert lines(folder.gate(PINNED.replace(">=0.30", ">=0.40")), 0)
    assert lines(folder.gate(PINNED.replace("float32", "float64")), 0)


@pytest.mark.parametrize("verdict", ["unsupported", "cannot tell"])
def test_an_expected_divergence_that_cannot_be_measured_is_no_reason_to_remove_its_entry(
    folder: Folder, verdict: Verdict
) -> None:
    folder.write(judgement(verdict=verdict, measured=""))
    told, *_ = lines(folder.gate(), 1)
    assert told.startswith("changed: mlx.jsonl: mlx.nn.GroupNorm: float32: GN-02 a title: the known difference, ")
    assert f"was not measured: the verdict is {verdict!r}" in told
    assert "remove" not in told


def test_the_suggested_pins_are_what_was_measured(folder: Folder) -> None:
    folder.write(*measured(GN_14="cannot tell"), *(judgement(d, "conforms", "", dtype="float64") for d in ("GN-01",)))
    result = folder.gate("", "--suggest")
    assert result.exit_code == 0
    single, double = tomllib.loads(result.stdout)["supported"]
    assert (single["implementations"], single["dtypes"]) == (["mlx.nn.GroupNorm"], ["float32"])
    assert single["undecided"] == ["GN-13", "GN-14"]
    assert "GN-02" in double["undecided"]  # it was not asked
    assert folder.gate(result.stdout).exit_code == 0
    folder.write(*measured())
    assert folder.gate(result.stdout).exit_code == 1


@pytest.mark.parametrize(
    ("now", "said"),
    [("unsupported", "conforms in"), ("cannot tell", "conforms in"), ("raises", "conforms in"), (None, "not checked")],
)
def test_an_earlier_result_file_pins_what_it_had_decided(folder: Folder, now: Verdict | None, said: str) -> None:
    folder.write(*measured())
    before = folder.path / "before.jsonl"
    (folder.results / "mlx.jsonl").rename(before)
    folder.write(*measured())
    assert folder.gate(PINNED, "--baseline", str(before)).exit_code == 0
    after = measured(GN_05=now) if now else [one for one in measured() if one.requirement != "GN-05"]
    folder.write(*after)
    told = "\n".join(lines(folder.gate("", "--baseline", str(before)), 1))
    assert "changed: mlx.jsonl: mlx.nn.GroupNorm: float32: GN-05: conforms in" in told
    assert said in told


def test_a_requirement_that_is_no_more_is_named_and_a_new_one_is_not_compared(folder: Folder) -> None:
    folder.write(*(one for one in measured() if one.requirement != "GN-05"), judgement("GN-98", "diverges"))
    told, summary = lines(folder.gate(""), 1)
    assert told == (
        "changed: mlx.jsonl: GN-98: not a requirement of this version (the results are from 0.1.0); "
        "run the framework again"
    )
    assert summary.endswith("0 new, 0 gone, 1 changed, 0 not checked")
    before = folder.path / "before.jsonl"
    (folder.results / "mlx.jsonl").rename(before)
    folder.write(*measured())
    assert lines(folder.gate("", "--baseline", str(before)), 0)[:2] == [
        f"not compared: {before}: GN-98: not a requirement of this version",
        f"not compared: mlx.jsonl: GN-05: not checked in {before}",
    ]


def test_a_pin_of_what_does_not_exist_is_refused(folder: Folder) -> None:
    folder.write(*measured())
    for before, after, said in (
        ('"GN-13"', '"GN-99"', "undecided has 'GN-99', which is not a requirement"),
        ('"GN-13"', '"BN-13"', "applies to a batch_norm only"),
        ("GroupNorm", "GroupNrom", "did you mean mlx.nn.GroupNorm"),
        ('["float32"]', '["float31"]', "dtype 'float31' is not checked there"),
        ("undecided", "except", "its keys are implementations"),
    ):
        assert said in one_line(folder.gate(PINNED.replace(before, after)))


def test_two_pins_of_one_implementation_are_refused(folder: Folder) -> None:
    folder.write(*measured())
    assert "applies to the same judgement" in one_line(folder.gate(PINNED * 2))


MODE = "mlx.nn.GroupNorm[mixed]"
EAGER_ENTRY = """
[[expected]]
implementations = ["mlx.nn.GroupNorm"]
versions = { mlx = ">=0.30,<1" }
requirement = "GN-02"
measured = "interleaved"
reason = "it is the default"
"""


def in_mode(*judgements: Judgement, mode: str = "mixed") -> list[Record]:
    known: Profile = msgspec.structs.replace(profile(), implementation=f"mlx.nn.GroupNorm[{mode}]", mode=mode)
    return [known, *judgements]


def test_a_mode_shares_what_is_expected_of_its_layer(folder: Folder) -> None:
    folder.write(judgement(), *in_mode(judgement(implementation=MODE)))
    assert lines(folder.gate(EAGER_ENTRY), 0)[-1].startswith("2 known, 0 new")


def test_what_only_the_mode_does_stands_apart(folder: Folder) -> None:
    folder.write(judgement(), *in_mode(judgement(implementation=MODE, measured="reversed")))
    told, *_ = lines(folder.gate(EAGER_ENTRY), 1)
    assert "measured 'reversed', expected 'interleaved'" in told
    own = EAGER_ENTRY.replace("GroupNorm", "GroupNorm[mixed]").replace("interleaved", "reversed")
    assert lines(folder.gate(EAGER_ENTRY + own), 0)[-1].startswith("2 known")


def test_a_mode_that_does_not_share_it_is_named(folder: Folder) -> None:
    folder.write(judgement(), *in_mode(judgement(verdict="conforms", measured="", implementation=MODE)))
    told, *_ = lines(folder.gate(EAGER_ENTRY), 1)
    assert told.startswith(f"gone: mlx.jsonl: {MODE}: float32: GN-02")
    excepted = EAGER_ENTRY + 'except_modes = ["mixed"]\n'
    assert lines(folder.gate(excepted), 0)[-1].startswith("1 known, 0 new")


def test_a_mode_does_not_share_what_is_expected_of_another_layer(folder: Folder) -> None:
    other = "mlx.nn.GroupNorm(pytorch_compatible=True)"
    known = msgspec.structs.replace(profile(), implementation=f"{other}[mixed]", mode="mixed")
    folder.write(known, judgement(implementation=f"{other}[mixed]"))
    told, *_ = lines(folder.gate(EAGER_ENTRY), 1)
    assert told.startswith("new: ")


def test_every_shipped_mode_is_one_that_exists() -> None:
    from normgauge.adapters.registry import registered_implementations
    from normgauge.conformance.gating.expectations import load_expectations

    known = registered_implementations()
    for one in load_expectations().all:
        paths = {known[name][1].class_path for name in one.entry.implementations}
        modes = {own.mode for _, own in known.values() if own.class_path in paths}
        assert {*one.entry.except_modes} <= modes, one.place


def test_the_shipped_pins_are_of_every_implementation() -> None:
    from normgauge.adapters.registry import registered_implementations
    from normgauge.conformance.gating.expectations import load_expectations

    pinned = {name for one in load_expectations().supported for name in one.entry.implementations}
    known = registered_implementations()
    assert {name for name, (_, one) in known.items() if not one.way.thorough} <= pinned <= known.keys()
    assert {dtype for one in load_expectations().supported for dtype in one.entry.dtypes} == {*DTYPES}


def test_a_run_without_a_file_of_its_own_needs_no_pins(folder: Folder) -> None:
    folder.write(*measured(GN_14="unsupported"))
    assert lines(gated(str(folder.results), "--expectations", str(_empty(folder))), 0)


def _empty(folder: Folder) -> Path:
    file = folder.path / "none.toml"
    file.write_text("", encoding="utf-8")
    return file
