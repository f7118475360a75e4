"""The timeline: what changed between releases, as threads, picture, page, Markdown and on the terminal."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from drawings import Part, parts, picture_in, words
from pages import (
    Element,
    agreeing,
    claim,
    diverging,
    header,
    judgement,
    parsed,
    profile,
    rows,
    run,
    section,
    witness,
    write,
)

from normgauge.conformance.cli.main import main
from normgauge.reports import pictures
from normgauge.reports.timeline.files import write_timeline
from normgauge.reports.timeline.history import Thread, Timeline, timeline_of
from normgauge.reports.timeline.picture import KINDS, picture_of
from normgauge.results.facts import NOTHING, Value
from normgauge.results.file import BrokenResults
from normgauge.results.grounds import Ground
from normgauge.results.records import AxisMeasured, DefaultMeasured, Footer, NotRun, Profile, Record

LAYER = "mlx.nn.BatchNorm"


def release(version: str, *records: Record) -> list[Record]:
    whole = run(*records, framework="mlx")
    return [header("mlx", versions={"mlx": version}), *whole[1:]]


def batch_norm(running_var: str = "unbiased", name: str = LAYER, **changed: Any) -> Profile:
    axes = [AxisMeasured(axis="running_var", question="which variance", canonical="unbiased", measured=[running_var])]
    return profile(name, **{"layer": "batch_norm", "axes": axes} | changed)


def blind(dtype: str = "float64", **changed: Any) -> Profile:
    axes = [
        AxisMeasured(
            axis="running_var", question="which variance", canonical="unbiased", measured=["biased", "unbiased"]
        )
    ]
    return batch_norm(axes=axes, dtype=dtype, accuracy=None, defaults=[], **changed)


def changes(timeline: Timeline) -> list[tuple[str, str, str, str]]:
    return [
        (after, change.thread.name, change.before.text, change.after.text)
        for _, after, own in timeline.transitions
        for change in own
    ]


def thread(timeline: Timeline, name: str) -> Thread:
    (found,) = [one for one in timeline.threads if one.name == name]
    return found


def texts(one: Thread) -> list[str]:
    return [value.text for value in one.values]


# --- threads ------------------------------------------------------------------------------------


def test_a_change_stands_with_the_first_release_that_has_it() -> None:
    runs = [release(v, batch_norm(value)) for v, value in (("0.32.10", "unbiased"), ("0.32.1", "unbiased"))]
    runs += [release(v, batch_norm("biased")) for v in ("0.31.2", "0.32.0")]
    timeline = timeline_of(runs)
    assert timeline.releases == ("0.31.2", "0.32.0", "0.32.1", "0.32.10")
    assert changes(timeline) == [("0.32.1", "running_var", "biased", "unbiased")]


@pytest.mark.parametrize(("asked", "known", "told"), [("a", True, True), ("b", True, False), ("a", False, False)])
def test_a_mistake_that_a_release_makes_anew_is_a_change(asked: str, known: bool, told: bool) -> None:
    whole = batch_norm()
    mistake = AxisMeasured(axis="affine", question="what", canonical="scale_then_shift", measured=["bias_first"])
    catalogues = {"1": asked, "2": "a"}
    releases = [
        [header("mlx", versions={"mlx": version}, catalogue={"axes": catalogues[version]}), *own[1:]]
        for version, own in {
            "1": run(batch_norm(known=known), framework="mlx"),
            "2": run(batch_norm(axes=[*whole.axes, mistake]), framework="mlx"),
        }.items()
    ]
    found = [one for one in changes(timeline_of(releases)) if one[1] == "affine"]
    assert found == ([("2", "affine", "scale_then_shift", "bias_first")] if told else [])


def test_what_changes_back_is_two_changes() -> None:
    runs = [release(v, batch_norm(value)) for v, value in (("1.0", "biased"), ("1.1", "unbiased"), ("1.2", "biased"))]
    assert [change[0] for change in changes(timeline_of(runs))] == ["1.1", "1.2"]


def test_a_hang_that_comes_and_goes_is_no_change_of_a_release() -> None:
    said = {"conforms": ["1.0", "1.2", "1.4"], "crashes": ["1.1", "1.3", "1.5"]}
    runs = [
        release(version, batch_norm(), judgement(LAYER, verdict, requirement="BN-18", measured="hung"))
        for verdict, versions in said.items()
        for version in versions
    ]
    timeline = timeline_of(runs)
    assert changes(timeline) == []
    (one,) = timeline.unsteady
    assert one.name == "BN-18 grouping"
    assert [releases for releases, _ in timeline.stretches(one)] == ["1.0", "1.1", "1.2", "1.3", "1.4", "1.5"]


def test_a_crash_that_was_mended_is_a_change() -> None:
    runs = [
        release(version, batch_norm(), judgement(LAYER, verdict, requirement="BN-18"))
        for version, verdict in (("1.0", "crashes"), ("1.1", "crashes"), ("1.2", "conforms"))
    ]
    timeline = timeline_of(runs)
    assert changes(timeline) == [("1.2", "BN-18 grouping", "crashes", "conforms")]
    assert timeline.unsteady == []


def test_what_never_changes_is_kept_with_departures_first() -> None:
    own = batch_norm(), judgement(LAYER, "diverges", requirement="BN-20", measured="accepted")
    timeline = timeline_of([release(version, *own) for version in ("1.0", "1.1")])
    assert changes(timeline) == []
    assert [one.name for one in timeline.kept][:2] == ["BN-20 grouping", "running_var"]
    assert [one.departs for one in timeline.kept].count(True) == 1


@pytest.mark.parametrize(("ground", "sign"), [("convention", "≠ "), ("robustness", "✗ "), (None, "✗ ")])
def test_a_departure_from_a_convention_has_the_sign_of_another_choice(ground: Ground | None, sign: str) -> None:
    own = batch_norm(), judgement(LAYER, "diverges", requirement="BN-29", measured="stays", ground=ground)
    kept = thread(timeline_of([release("1.0", *own)]), "BN-29 grouping")
    assert kept.sign(kept.settled) == sign
    assert kept.departs


@pytest.mark.parametrize(
    ("before", "after", "name", "told"),
    [
        (
            batch_norm(claims=[claim()]),
            batch_norm(claims=[agreeing()]),
            "documented eps_placement",
            ("outside_sqrt", "inside_sqrt"),
        ),
        (batch_norm(accuracy="one_pass"), batch_norm(), "statistics", ("one-pass", "two-pass")),
        (batch_norm(), batch_norm(accuracy=None), "statistics", ("two-pass", "outside every class")),
        (
            batch_norm(),
            batch_norm(
                defaults=[DefaultMeasured(setting="eps", signature="1e-03", low=9.9e-4, best=1e-3, high=1.1e-3)]
            ),
            "default eps",
            ("1e-05", "1e-03"),
        ),
        (
            batch_norm(defaults=[DefaultMeasured(setting="eps", signature="0.5", low=0.4999, best=0.5, high=0.5001)]),
            batch_norm(defaults=[DefaultMeasured(setting="eps", signature="0.5", low=0.24, best=0.25, high=0.26)]),
            "measured default eps",
            ("0.5", "0.2"),
        ),
        (
            diverging(LAYER, requirement="BN-20", measured="accepted", witnesses=[witness(against="a refusal")]),
            judgement(LAYER, requirement="BN-20"),
            "BN-20 grouping",
            ("accepted", "conforms"),
        ),
        (
            judgement(LAYER, requirement="BN-20"),
            judgement(LAYER, "crashes", requirement="BN-20"),
            "BN-20 grouping",
            ("conforms", "crashes"),
        ),
        (
            judgement(LAYER, requirement="BN-20"),
            judgement(LAYER, "unsupported", requirement="BN-20"),
            "BN-20 grouping",
            ("conforms", "unsupported"),
        ),
    ],
)
def test_everything_that_a_release_may_change_is_followed(
    before: Record, after: Record, name: str, told: tuple[str, str]
) -> None:
    timeline = timeline_of([release("1.0", batch_norm(), before), release("1.1", batch_norm(), after)])
    found = [(what, *values) for _, what, *values in changes(timeline)]
    assert (name, *told) in found


def test_a_requirement_on_an_axis_is_not_told_beside_the_axis() -> None:
    about: dict[str, Any] = {"requirement": "BN-03", "witnesses": [witness("running_var", "unbiased")]}
    runs = [
        release("1.0", batch_norm("biased"), diverging(LAYER, **about)),
        release("1.1", batch_norm(), judgement(LAYER, **about)),
    ]
    assert [change[1] for change in changes(timeline_of(runs))] == ["running_var"]


def test_layers_and_dtypes_that_go_alike_are_one_thread() -> None:
    def own(value: str) -> list[Profile]:
        return [batch_norm(value, name, dtype=d) for name in (LAYER, "mlx.nn.Other") for d in ("float32", "float64")]

    timeline = timeline_of([release("1.0", *own("biased")), release("1.1", *own("unbiased"))])
    assert thread(timeline, "running_var").members == [(LAYER, ""), ("mlx.nn.Other", "")]


def test_dtypes_that_differ_are_threads_of_their_own() -> None:
    first = release("1.0", batch_norm("biased"), batch_norm(dtype="float64"))
    timeline = timeline_of([first, release("1.1", batch_norm(), batch_norm(dtype="float64"))])
    (change,) = timeline.transitions[0][2]
    assert change.thread.members == [(LAYER, "float32")]


def test_a_dtype_that_a_release_does_not_have_changes_nothing_else() -> None:
    """What float64 does from 1.1 on is news, but no change of what 1.0 did."""
    first = release("1.0", batch_norm(), blind(), judgement(LAYER, "unsupported", dtype="float64", requirement="BN-22"))
    others = [
        release(v, batch_norm(), batch_norm(dtype="float64"), judgement(LAYER, dtype="float64", requirement="BN-22"))
        for v in ("1.1", "1.2")
    ]
    timeline = timeline_of([first, *others])
    assert changes(timeline) == [("1.1", "float64", "nothing measured", "measured")]
    assert texts(thread(timeline, "running_var")) == ["unbiased"] * 3
    assert texts(thread(timeline, "BN-22 grouping")) == [NOTHING.text, "conforms", "conforms"]


def test_an_implementation_that_came_later_is_no_change() -> None:
    timeline = timeline_of([release("1.0", batch_norm()), release("1.1", batch_norm(), batch_norm(name="mlx.nn.New"))])
    assert changes(timeline) == []
    assert timeline.changed == []
    later = [one for one in timeline.threads if one.members == [("mlx.nn.New", "")]]
    assert {one.values[0] for one in later} == {NOTHING}


def test_a_value_is_compared_with_the_last_release_that_has_one() -> None:
    gap = release("1.1", profile("mlx.nn.Other", layer="batch_norm"))
    timeline = timeline_of([release("1.0", batch_norm("biased")), gap, release("1.2", batch_norm())])
    assert changes(timeline) == [("1.2", "running_var", "biased", "unbiased")]


def test_no_known_alternative_is_undecided() -> None:
    timeline = timeline_of([release("1.0", batch_norm("biased", known=False)), release("1.1", batch_norm("biased"))])
    assert [value.kind for value in thread(timeline, "running_var").values] == ["open", "other"]


def test_what_could_not_be_run_is_kept_with_its_reason() -> None:
    dead: list[Record] = [
        header("mlx", versions={}),
        NotRun(framework="mlx-0.2.0", reason="libblas is missing"),
        Footer(counts={}, seconds=0.0),
    ]
    absent = [NotRun(framework="mlx-0.1.0", reason="no wheel")]
    none_here = NotRun(framework="mlx", reason="has no float16", dtype="float16", failed=False)
    timeline = timeline_of([dead, release("1.0", batch_norm(), none_here)], absent)
    assert timeline.releases == ("mlx 1.0",)
    assert [(one.framework, one.reason) for one in timeline.not_run] == [
        ("mlx-0.1.0", "no wheel"),
        ("mlx-0.2.0", "libblas is missing"),
    ]


def test_two_frameworks_are_refused() -> None:
    with pytest.raises(BrokenResults, match="these results are of mlx, torch; a timeline is of one framework"):
        timeline_of([release("1.0", batch_norm()), run(judgement())])


# --- the picture --------------------------------------------------------------------------------


def timeline_with(*values: Value, releases: Sequence[str] = (), kind: str = "semantics") -> Timeline:
    one = Thread(kind=kind, subject="running_var", members=[(LAYER, "")], values=values)
    return Timeline(
        framework="mlx", releases=tuple(releases or (f"1.{n}" for n in range(len(values)))), threads=(one,), not_run=()
    )


def drawn(timeline: Timeline) -> Element:
    return picture_in(parsed(picture_of(timeline)))


def bands(timeline: Timeline) -> list[Part]:
    return [one for one in parts(drawn(timeline)) if not one.text]


def test_a_band_spans_the_releases_that_have_one_value() -> None:
    biased, unbiased = Value(text="biased", kind="other"), Value(text="unbiased", kind="same")
    first, second = bands(timeline_with(biased, biased, biased, unbiased))
    assert (first.said, first.colour) == ("≠ biased", pictures.BAD)
    assert (second.said, second.colour) == ("unbiased", pictures.GOOD)
    assert first.right - first.left + 2 == pytest.approx(3 * (second.right - second.left + 2))
    assert second.left - first.left == pytest.approx(first.right - first.left + 2)


def test_text_that_does_not_fit_is_cut_and_whole_in_the_title() -> None:
    long, short = Value(text="the worker did not answer within 10 s", kind="other"), Value(text="conforms", kind="same")
    timeline = timeline_with(*[short] * 12, long, kind="requirement")
    text = parts(drawn(timeline))[-1]
    band = bands(timeline)[-1]
    assert text.said == band.said == "✗ the worker did not answer within 10 s"
    assert len(text.text) * 6 < band.right - band.left
    assert text.text.startswith("✗ t")
    assert text.text.endswith("…")


def test_labels_of_many_releases_stand_upright_and_are_all_there() -> None:
    many = timeline_with(*[Value(text="a", kind="same")] * 21, Value(text="b", kind="other"))
    heads = {one.text: one for one in drawn(many).all("text") if one.text in many.releases}
    assert [*heads] == [*many.releases]
    assert all("rotate(-60" in one.attributes["transform"] for one in heads.values())


def test_the_picture_shows_what_changed_and_semantics_that_always_depart() -> None:
    same, other = Value(text="a", kind="same"), Value(text="b", kind="other")
    threads = (
        Thread(kind="semantics", subject="kept and canonical", members=[], values=(same, same)),
        Thread(kind="semantics", subject="kept and departing", members=[], values=(other, other)),
        Thread(kind="requirement", subject="kept requirement", members=[], values=(other, other)),
        Thread(kind="requirement", subject="changed", members=[], values=(other, same)),
    )
    picture = drawn(Timeline(framework="mlx", releases=("1.0", "1.1"), threads=threads, not_run=()))
    assert [one for one in words(picture) if one in {thread.name for thread in threads}] == [
        "changed",
        "kept and departing",
    ]
    assert {said for _, said in KINDS.values()} <= {*words(picture)}
    assert picture.one("desc").text == "changed: ✗ b 1.0, a 1.1; kept and departing: ≠ b 1.0 to 1.1."


def test_the_picture_is_well_formed_and_text_never_becomes_markup(tmp_path: Path) -> None:
    hostile = '<script>alert(1)</script>&"'
    other = AxisMeasured(axis=hostile, question="which", canonical="unbiased", measured=[hostile])
    write(tmp_path / "a.jsonl", release("1.0", batch_norm(axes=[other])))
    write(
        tmp_path / "b.jsonl",
        release(
            "1.1", batch_norm(axes=[AxisMeasured(axis=hostile, question="which", canonical="unbiased", measured=["x"])])
        ),
    )
    write_timeline(tmp_path, tmp_path)
    tree = ET.parse(tmp_path / "timeline-mlx.svg")
    tags = {one.tag.rpartition("}")[2] for one in tree.iter()}
    assert tags <= {"svg", "title", "desc", "style", "defs", "text", "g", "path", "use"}
    assert f"≠ {hostile}" in [one.text for one in tree.iter("{http://www.w3.org/2000/svg}title")]
    assert not parsed((tmp_path / "index.html").read_text(encoding="utf-8")).all("script")


# --- the files ----------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Results of two releases, and a third that could not be installed."""
    write(tmp_path / "mlx-0.32.0.jsonl", release("0.32.0", batch_norm("biased", claims=[claim()])))
    write(tmp_path / "mlx-0.32.1.jsonl", release("0.32.1", batch_norm(claims=[agreeing()])))
    (tmp_path / "manifest.json").write_text('{"mlx-0.1.0": "no | wheel"}', encoding="utf-8")
    return tmp_path


def test_the_page_tells_changes_table_and_what_could_not_be_run(folder: Path) -> None:
    write_timeline(folder, folder)
    page = parsed((folder / "index.html").read_text(encoding="utf-8"))
    assert [one.text for one in section(page, "changes").all("li")] == [
        f"running_var: ≠ biased → unbiased in {LAYER}",
        f"documented eps_placement: ✗ outside_sqrt → inside_sqrt in {LAYER}",
    ]
    assert section(page, "changes").one("h3").text == "0.32.1 since 0.32.0"
    assert rows(section(page, "table").one("table")) == {
        "running_var": [LAYER, "≠ biased 0.32.0, unbiased 0.32.1"],
        "documented eps_placement": [LAYER, "✗ outside_sqrt 0.32.0, inside_sqrt 0.32.1"],
    }
    assert rows(section(page, "not-run").one("table")) == {"mlx-0.1.0": ["no | wheel"]}
    assert {one.said for one in parts(picture_in(page))} == {
        "≠ biased", "unbiased", "✗ outside_sqrt", "inside_sqrt",
    }  # fmt: skip


def test_the_page_leads_to_the_full_report_on_the_releases(folder: Path) -> None:
    write_timeline(folder, folder)
    page = parsed((folder / "index.html").read_text(encoding="utf-8"))
    (link,) = page.all("a", href="report.html")
    assert f"{LAYER} (0.32.0)" in parsed((folder / link.attributes["href"]).read_text(encoding="utf-8")).text


def test_the_markdown_has_the_same_tables_and_the_picture(folder: Path) -> None:
    write_timeline(folder, folder)
    text = (folder / "timeline.md").read_text(encoding="utf-8")
    assert f"| 0.32.1 | 0.32.0 | running_var | `{LAYER}` | ≠ biased | unbiased |" in text
    assert f"| running_var | `{LAYER}` | ≠ biased (0.32.0), unbiased (0.32.1) |" in text
    (picture,) = re.findall(r"!\[.*\]\((.*)\)", text)
    assert (folder / picture).exists()
    assert "- mlx-0.1.0: no | wheel" in text
    assert not re.search(r"[ \t]$|\n\n\n", text, re.MULTILINE)


def test_text_in_the_markdown_is_as_it_was_and_breaks_no_table(tmp_path: Path) -> None:
    for version, measured in (("1.0", "a < b | c\nd"), ("1.1", "&")):
        judged = judgement(LAYER, "diverges", requirement="BN-20", measured=measured)
        write(tmp_path / f"{version}.jsonl", release(version, batch_norm(), judged))
    write_timeline(tmp_path, tmp_path)
    text = (tmp_path / "timeline.md").read_text(encoding="utf-8")
    assert f"| 1.1 | 1.0 | BN-20 grouping | `{LAYER}` | ✗ a < b \\| c d | ✗ & |\n" in text


def test_the_same_results_give_the_same_files(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    again = tmp_path_factory.mktemp("again")
    _, first = write_timeline(folder, folder)
    _, second = write_timeline(folder, again)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_releases_of_which_none_ran_still_make_a_page(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"mlx-0.1.0": "no wheel"}', encoding="utf-8")
    write_timeline(tmp_path, tmp_path)
    page = parsed((tmp_path / "index.html").read_text(encoding="utf-8"))
    assert "No release could be measured." in page.one("header").text
    assert page.one("h1").text == "mlx, release by release"


# --- the command --------------------------------------------------------------------------------


def test_the_command_prints_the_changes_and_where_the_pages_are(folder: Path) -> None:
    result = CliRunner().invoke(main, ["timeline", str(folder)])
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["0.32.1", "running_var", "≠", "biased", "unbiased", LAYER] in lines
    assert "not run: mlx-0.1.0: no | wheel" in result.stdout
    assert f"written: {folder / 'index.html'}" in result.stdout


@pytest.mark.parametrize(
    ("versions", "said"),
    [(["1.0", "1.1"], "mlx: nothing changed between 1.0, 1.1"), (["1.0"], "mlx: nothing to compare: mlx 1.0")],
)
def test_the_command_says_in_one_line_that_nothing_changed(versions: list[str], said: str, tmp_path: Path) -> None:
    for version in versions:
        write(tmp_path / f"{version}.jsonl", release(version, batch_norm()))
    result = CliRunner().invoke(main, ["timeline", str(tmp_path)])
    assert result.stdout.splitlines()[0] == said


def test_requirements_that_only_some_releases_were_asked_are_named_with_the_others(tmp_path: Path) -> None:
    def asked(*requirements: str, dtype: str = "float32") -> list[Record]:
        own = (judgement(LAYER, requirement=one, title="of it", dtype=dtype) for one in requirements)
        return [batch_norm(dtype=dtype), *own]

    older = release("1.0", *asked("BN-01", "BN-98"))
    newer = release("1.1", *asked("BN-01", "BN-02"), *asked("BN-22", dtype="float64"))
    said = [
        "Not asked of 1.0: BN-02 of it. Nothing is said of that there; run it again.",
        "Not asked of 1.1: BN-98 of it. Nothing is said of that there; run it again.",
    ]
    for version, records in ("1.0", older), ("1.1", newer):
        write(tmp_path / f"{version}.jsonl", records)
    assert timeline_of([older, newer]).remarks == said
    assert timeline_of([newer, release("1.2", *newer[1:])]).remarks == []
    assert CliRunner().invoke(main, ["timeline", str(tmp_path)]).stdout.splitlines()[1:3] == said
    page = parsed((tmp_path / "index.html").read_text(encoding="utf-8"))
    assert [one.text for one in page.one("header").all("p", **{"class": "warning"})] == said
    assert "\n".join(said) in (tmp_path / "timeline.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["report", "timeline"])
@pytest.mark.parametrize(
    ("given", "told"),
    [("none", "there is no folder"), ("mlx.jsonl", "is a file; give the folder of result files")],
)
def test_what_is_no_folder_of_results_is_one_line(command: str, given: str, told: str, tmp_path: Path) -> None:
    write(tmp_path / "mlx.jsonl", release("1.0", batch_norm()))
    result = CliRunner().invoke(main, [command, str(tmp_path / given)])
    assert result.exit_code == 2
    assert told in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_timeline_of_two_frameworks_is_one_line(folder: Path) -> None:
    write(folder / "torch.jsonl", run(judgement()))
    result = CliRunner().invoke(main, ["timeline", str(folder)])
    assert result.exit_code == 2
    assert "a timeline is of one framework" in result.stderr


def test_a_change_has_the_meaning_of_a_value_before_its_name() -> None:
    words = {"unbiased": "the variance with divisor n - 1", "biased": "the variance with divisor n"}

    def axes(value: str) -> list[AxisMeasured]:
        return [AxisMeasured(axis="running_var", question="?", canonical="unbiased", measured=[value], meanings=words)]

    before, now = (batch_norm(axes=axes(value)) for value in ("unbiased", "biased"))
    timeline = timeline_of([release("1.0", before), release("1.1", now)])
    (change,) = [change for _, _, own in timeline.transitions for change in own]
    assert change.before.worded == "the variance with divisor n - 1 (unbiased)"
    assert change.after.worded == "the variance with divisor n (biased)"
