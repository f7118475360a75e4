"""Several releases of a framework, and several modes of a layer, on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from pages import (
    Element,
    diverging,
    header,
    in_short,
    judgement,
    matrix,
    notes,
    parsed,
    profile,
    rows,
    run,
    section,
    shown,
    write,
)

from normgauge.conformance.cli.main import main
from normgauge.reports.implementation_names import Names
from normgauge.reports.page.page import write_report
from normgauge.results.file import BrokenResults, read_records
from normgauge.results.records import AxisMeasured, Footer, NotRun, Record
from normgauge.results.releases import age, release_of

BIASED = [AxisMeasured(axis="running_var", question="which variance", canonical="unbiased", measured=["biased"])]
UNBIASED = [AxisMeasured(axis="running_var", question="which variance", canonical="unbiased", measured=["unbiased"])]
LAYER = "mlx.nn.BatchNorm"


def release(version: str, *records: Record, **changed: Any) -> list[Record]:
    """A complete run of one release of mlx."""
    whole = run(*records, framework="mlx")
    return [header("mlx", **{"versions": {"mlx": version}} | changed), *whole[1:]]


def old(version: str, **changed: Any) -> list[Record]:
    about = {"measured": "biased", "nameless": "running_var is biased"}
    axes = profile(LAYER, layer="batch_norm", axes=BIASED)
    return release(version, diverging(LAYER, requirement="BN-03", **about), axes, **changed)


def new(version: str, **changed: Any) -> list[Record]:
    axes = profile(LAYER, layer="batch_norm", axes=UNBIASED)
    return release(version, judgement(LAYER, requirement="BN-03"), axes, **changed)


def told(page: Element) -> dict[str, list[str]]:
    table = page.one("table", **{"class": "wide axes"})
    return {name: cells for name, cells in rows(table).items() if cells}


# --- releases -----------------------------------------------------------------------------------


def test_two_releases_stand_side_by_side_from_old_to_new() -> None:
    page = shown(new("0.32.10"), old("0.32.0"), new("0.32.2"))
    assert list(matrix(page)) == [f"{LAYER} @0.32.0", f"{LAYER} @0.32.2", f"{LAYER} @0.32.10"]
    assert [row["BN-03 grouping"] for row in matrix(page).values()] == ["✗ diverges", "✓ conforms", "✓ conforms"]


def test_the_page_begins_with_each_framework_once_and_its_versions() -> None:
    page = shown(new("0.32.1"), run(judgement()), old("0.32.0"))
    assert page.one("header").one("p").text == "Measured on the layers of mlx, torch."
    assert "Versions: mlx (mlx 0.32.0; mlx 0.32.1), torch (torch 1.2.3)." in notes(page).text


def test_releases_for_which_the_same_values_were_measured_share_a_row_of_the_axes() -> None:
    page = shown(old("0.31.0"), old("0.31.1"), old("0.32.0"), new("0.32.1"), new("0.32.4"))
    assert told(page) == {
        f"{LAYER} (0.31.0 to 0.32.0)": ["≠ biased"],
        f"{LAYER} (0.32.1, 0.32.4)": ["unbiased"],
    }


def test_in_short_says_in_which_releases() -> None:
    page = shown(old("0.31.2"), old("0.32.0"), new("0.32.1"))
    assert in_short(page)[0].startswith(f"BN-03 grouping: biased in {LAYER} (0.31.2, 0.32.0).")


def test_what_all_releases_have_is_said_of_every_release() -> None:
    assert in_short(shown(old("0.31.2"), old("0.32.0")))[0].startswith(
        f"BN-03 grouping: biased in {LAYER} (every release)."
    )


def test_a_release_that_differs_alone_is_named() -> None:
    page = shown(old("0.32.0"), new("0.32.1"), run(judgement(requirement="BN-03")))
    assert "Only mlx 0.32.0 differs among mlx 0.32.0, mlx 0.32.1, torch." in in_short(page)[0]


def test_the_sentence_under_a_release_does_not_repeat_its_name() -> None:
    page = shown(old("0.32.0"), new("0.32.1"))
    assert page.one("article").one("h4").text == f"{LAYER} @0.32.0: biased"
    assert page.one("article").all("p")[0].text == "running_var is biased"


def test_one_release_alone_carries_no_version_in_its_name() -> None:
    assert list(matrix(shown(new("0.32.1")))) == [LAYER]


def test_where_a_backend_changed_too_every_changed_distribution_is_named() -> None:
    versions = [{"keras": "3.10.0", "jax": "0.9.0"}, {"keras": "3.15.1", "jax": "0.10.2"}]
    first, second = (header("keras-jax", versions=one) for one in versions)
    assert release_of(first, [first, second]) == "keras 3.10.0, jax 0.9.0"


def test_the_same_release_on_two_devices_is_told_apart_by_the_device() -> None:
    page = shown(new("0.32.1"), new("0.32.1", device="gpu"))
    assert sorted(matrix(page)) == [f"{LAYER} @cpu", f"{LAYER} @gpu"]


def test_releases_are_sorted_as_versions_with_candidates_before_what_they_become() -> None:
    releases = ["keras 3.10.0, cpu", "3.9.0", "gpu", "3.10.0rc1", "3.10.1"]
    assert sorted(releases, key=age) == ["3.9.0", "3.10.0rc1", "keras 3.10.0, cpu", "3.10.1", "gpu"]


def test_a_release_of_which_nothing_ran_does_not_rename_the_others_and_has_its_row(tmp_path: Path) -> None:
    write(tmp_path / "mlx.jsonl", new("0.32.1"))
    nothing: list[Record] = [
        header("mlx", versions={}),
        NotRun(framework="mlx", reason="libcuda is missing"),
        Footer(counts={}, seconds=0.0),
    ]
    write(tmp_path / "mlx-0.1.0.jsonl", nothing)
    page = parsed(write_report(tmp_path, tmp_path / "index.html").read_text(encoding="utf-8"))
    assert list(matrix(page)) == [LAYER]
    assert rows(section(page, "not-run").one("table")) == {"mlx-0.1.0": ["libcuda is missing"]}


def test_two_files_of_the_same_release_are_still_refused(tmp_path: Path) -> None:
    for name, records in {"mlx": new("0.32.1"), "mlx-0.32.0": old("0.32.0"), "again": new("0.32.1")}.items():
        write(tmp_path / f"{name}.jsonl", records)
    with pytest.raises(BrokenResults, match=r"again.jsonl and .*mlx.jsonl both hold mlx.nn.BatchNorm at float32, of"):
        write_report(tmp_path, tmp_path / "index.html")


def test_two_releases_in_a_folder_make_one_report(tmp_path: Path) -> None:
    write(tmp_path / "mlx.jsonl", new("0.32.1"))
    write(tmp_path / "mlx-0.32.0.jsonl", old("0.32.0"))
    page = parsed(write_report(tmp_path, tmp_path / "index.html").read_text(encoding="utf-8"))
    assert list(matrix(page)) == [f"{LAYER} @0.32.0", f"{LAYER} @0.32.1"]


# --- modes --------------------------------------------------------------------------------------

EAGER, LAST, STRIDED = "a.nn.G", "a.nn.G[channels_last]", "a.nn.G[strided]"


def modes(*others: Record) -> list[Record]:
    named = {EAGER: "eager", LAST: "channels_last", STRIDED: "strided"}
    return run(*others, *(profile(name, mode=mode) for name, mode in named.items()), framework="a")


def test_a_mode_stands_beside_its_eager_sibling() -> None:
    page = shown(modes(judgement(EAGER), judgement("a.nn.H"), judgement(LAST), profile("a.nn.H")))
    assert list(matrix(page)) == ["a.nn.H", EAGER, LAST, STRIDED]
    heads = page.one("table", **{"class": "wide matrix"}).one("thead").all("th")[1:]
    assert [one.attributes["class"] for one in heads] == ["upright", "upright", "upright mode", "upright mode"]


def test_a_mode_that_differs_is_named_alone() -> None:
    page = shown(modes(judgement(EAGER), diverging(LAST), judgement(STRIDED)))
    assert in_short(page)[0].startswith(f"GN-02 grouping: interleaved in {LAST}.")
    assert f"Conform: {EAGER} (eager), {STRIDED}." in section(page, "GN-02").text


def test_a_layer_alone_stands_for_all_its_modes_and_the_page_says_so() -> None:
    page = shown(modes(diverging(EAGER), diverging(LAST), diverging(STRIDED)))
    assert in_short(page)[0].startswith(f"GN-02 grouping: interleaved in {EAGER}.")
    assert "a name without a mode in [ ] stands for all measured modes" in notes(page).text
    assert "without a mode" not in shown(run(diverging("a.G"))).text


def test_modes_for_which_the_same_values_were_measured_share_a_row_of_the_axes() -> None:
    other = [
        AxisMeasured(
            axis="grouping", question="which channels form a group", canonical="contiguous", measured=["interleaved"]
        )
    ]
    own = [profile(EAGER), profile(LAST, mode="channels_last"), profile(STRIDED, mode="strided", axes=other)]
    page = shown(run(*own, *(judgement(one.implementation) for one in own), framework="a"))
    assert told(page) == {"a.nn.G (eager), a.nn.G[channels_last]": ["contiguous"], STRIDED: ["≠ interleaved"]}


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([(LAST, ""), (STRIDED, "")], [("a.nn.G[channels_last, strided]", "")]),
        ([(LAST, "float32"), (STRIDED, "")], [(LAST, "float32"), (STRIDED, "")]),
        ([(EAGER, "")], [(EAGER, "eager")]),
        ([(STRIDED, ""), (LAST, ""), (EAGER, "")], [(EAGER, "")]),
        ([("k.B[jax]", ""), ("k.B", ""), ("k.B[torch]", "")], [("k.B[jax, torch]", ""), ("k.B", "")]),
    ],
)
def test_a_list_of_implementations_is_told_in_few_words(
    members: list[tuple[str, str]], said: list[tuple[str, str]]
) -> None:
    named = {EAGER: "eager", LAST: "channels_last", STRIDED: "strided", "k.B[jax]": "eager", "k.B[torch]": "eager"}
    names = Names((profile(name, mode=mode) for name, mode in named.items()), {})
    assert names.told(members) == said


def test_in_a_file_without_the_parts_of_an_id_every_mode_stands_for_itself() -> None:
    own = profile(EAGER), profile(LAST, mode="channels_last")
    older = [msgspec.structs.replace(one, class_path="") for one in own]
    assert Names(older, {}).told([(EAGER, ""), (LAST, "")]) == [(EAGER, ""), (LAST, "")]
    page = shown(*(release(version, *older, *map(judgement, (EAGER, LAST))) for version in ("0.32.0", "0.32.1")))
    assert list(matrix(page)) == [f"{name} @{version}" for name in (EAGER, LAST) for version in ("0.32.0", "0.32.1")]


# --- the command line ---------------------------------------------------------------------------

FAULTY = ("faulty.adapter:FaultyAdapter", "-i", "group_norm.GroupNorm", "--dtype", "float32", "--budget", "none")


@pytest.mark.slow
def test_a_result_file_can_be_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["run", *FAULTY, "--name", "faulty-1.0", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert [path.name for path in tmp_path.glob("*.jsonl")] == ["faulty-1.0.jsonl"]
    assert isinstance(read_records(tmp_path / "faulty-1.0.jsonl")[-1], Footer)


@pytest.mark.parametrize("name", ["../x", ".x", "", "a/b", "a b", "a\nb"])
def test_a_name_that_is_no_file_s_is_one_line_and_nothing_runs(name: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["run", *FAULTY, "--name", name, "--out", str(tmp_path / "results")])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert (
        "cannot be the name of a result file; allowed are letters, digits and . _ + -, with no dot at the start"
        in result.stderr
    )
    assert not (tmp_path / "results").exists()


def test_one_name_for_two_frameworks_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["run", "torch", "mlx", "--name", "x", "--out", str(tmp_path / "results")])
    assert result.exit_code == 2
    assert "--name 'x' names one result file, and 2 frameworks write one each" in result.stderr
