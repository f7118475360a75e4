"""The report's sections on documentation and on exploration."""

from __future__ import annotations

import json
from pathlib import Path

from pages import (
    OUTSIDE,
    Element,
    agreeing,
    claim,
    counterexample,
    explored,
    header,
    in_short,
    judgement,
    notes,
    parsed,
    profile,
    rows,
    run,
    section,
    shown,
    silent,
    write,
)

from normgauge.reports.page.page import FIRST, SECTIONS, write_report
from normgauge.results.records import Footer, NotRun, Record

# --- all sections -------------------------------------------------------------------------------


def test_a_section_that_is_shown_has_its_heading_and_its_entry_in_the_contents() -> None:
    records: list[Record] = [judgement(), judgement(verdict="unsupported"), profile(claims=[claim()]), explored()]
    page = shown(run(*records, profile("torch.nn.BatchNorm", layer="batch_norm")))
    headings = {one.attributes["id"]: one.text for one in page.all("h2")}
    without = {"ask", "ports", "pictures", "accuracy", "not-run"}
    fixed = {one.id: one.title for one in (*FIRST, *SECTIONS) if one.id not in without}
    assert headings == fixed | {one: one for one in ("GroupNorm", "BatchNorm")}
    contents = page.one("nav").all("a")
    assert [(one.attributes["href"], one.text) for one in contents] == [(f"#{i}", t) for i, t in headings.items()]


def test_a_section_without_content_is_left_out_of_page_and_contents() -> None:
    page = shown(run(judgement()), absent=[NotRun(framework="mlx", reason="not installed")])
    assert not {"remarks", "counterexamples", "accuracy"} & {one.attributes["id"] for one in page.all("h2")}
    assert "not-run" in {one.attributes["id"] for one in page.all("h2")}
    assert "#not-run" not in {one.attributes["href"] for one in page.one("nav").all("a")}


# --- documentation ------------------------------------------------------------------------------


def test_a_contradiction_is_told_with_its_words_its_place_and_what_was_measured() -> None:
    page = shown(run(profile(claims=[claim(), silent()]), judgement()))
    article = section(page, "documentation").one("article")
    assert article.one("h4").text == "torch.nn.GroupNorm: eps_placement"
    assert [one.text for one in article.all("p")] == [
        "The documentation says outside_sqrt; measured: inside_sqrt.",
        "the docstring of mlx.nn.GroupNorm",
    ]
    assert article.one("blockquote").text == OUTSIDE
    assert (
        "eps_placement: the documentation says outside_sqrt, measured: inside_sqrt, in torch.nn.GroupNorm"
        in in_short(page)
    )


def test_the_same_words_of_several_layers_and_dtypes_are_one_contradiction() -> None:
    everywhere = [profile(name, dtype=d, claims=[claim()]) for name in ("a.G", "a.H") for d in ("float32", "float64")]
    once = [profile("a.I", claims=[claim()]), profile("a.I", dtype="float64", claims=[agreeing()])]
    page = shown(run(*everywhere, *once, judgement("a.G")))
    heads = [one.one("h4").text for one in section(page, "documentation").all("article")]
    assert heads == ["a.G, a.H, a.I (float32): eps_placement"]


def test_every_statement_has_its_cell_and_a_contradiction_is_linked() -> None:
    records = [profile("a.G", claims=[claim(), silent()]), profile("b.G", claims=[agreeing(), silent()])]
    page = shown(run(*records, judgement("a.G")))
    table = page.one("table", **{"class": "wide claims"})
    assert [one.text for one in table.one("thead").all("th")] == ["documentation of", "eps_placement", "grouping"]
    assert rows(table) == {
        "a.G": ["✗ outside_sqrt contradicts", "– silent"],
        "b.G": ["✓ inside_sqrt agrees", "– silent"],
    }
    (link,) = table.all("a")
    assert page.one("h4", id=link.attributes["href"].removeprefix("#")).text == "a.G: eps_placement"


def test_layers_whose_documentation_says_the_same_share_a_row() -> None:
    page = shown(run(*(profile(name, claims=[agreeing()]) for name in ("a.G", "b.G")), judgement("a.G")))
    assert list(rows(page.one("table", **{"class": "wide claims"}))) == ["a.G, b.G"]
    assert "No statement contradicts the measurement." in section(page, "documentation").text


def test_without_claims_the_page_does_not_speak_of_documentation() -> None:
    page = shown(run(judgement()))
    assert not page.all("section", **{"aria-labelledby": "documentation"})
    assert "#documentation" not in [one.attributes["href"] for one in page.all("a")]


# --- exploration --------------------------------------------------------------------------------


def found(page: Element) -> list[Element]:
    return section(page, "counterexamples").all("article")


def test_a_counterexample_is_told_with_plan_numbers_script_and_file() -> None:
    page = shown(run(judgement(), counterexample(), explored()))
    (article,) = found(page)
    assert article.one("h4").text == "torch.nn.GroupNorm (float32): outside every error bound of its measured semantics"
    assert article.all("p")[0].text == "output nan instead of 0.75"
    assert article.all("p")[1].text == (
        "Found by this run: shape (1, 4), huge magnitudes, seed 7. "
        "Cause: output, numbers at the end of the range. Stored in build/counterexamples/ab12.json."
    )
    assert "Smallest input found: eps=0.001, num_groups=2; float32, shape (1, 4)" in article.text
    assert [cell.raw for cell in article.one("table", **{"class": "numbers"}).all("td")][:2] == [
        "-0.5  0.25",
        "0.75  0.25",
    ]
    assert article.one("pre").text == "print('the numbers')"
    assert any("output nan instead of 0.75" in line for line in in_short(page))


def test_a_plan_that_the_sentence_tells_is_not_repeated() -> None:
    told = counterexample(sentence="torch.nn.GroupNorm: shape (1, 4), huge magnitudes, seed 7, all wrong")
    (article,) = found(shown(run(judgement(), told)))
    assert article.text.count("seed 7") == 1
    assert "Measured: nan instead of 0.75." in article.text


def test_a_replayed_counterexample_says_so() -> None:
    (article,) = found(shown(run(judgement(), counterexample(found="replayed", stored=None))))
    assert "Found by an earlier run, and again by this one: shape (1, 4)" in article.text
    assert "Stored in" not in article.text


def test_one_cause_in_several_layers_is_told_once_with_a_script_for_each() -> None:
    same = [counterexample("a.G"), counterexample("a.H"), counterexample("a.H", dtype="float64")]
    others = [counterexample("a.I", signature="running_var"), counterexample("b.G")]
    page = shown(run(judgement("a.G"), *same, *others))
    heads = [one.one("h4").text.partition(": ")[0] for one in found(page)]
    assert heads == ["a.G (float32), a.H (float32, float64)", "a.I (float32)", "b.G (float32)"]
    scripts = [one.text for one in found(page)[0].all("summary")]
    assert scripts == ["Script for a.G", "Script for a.H float32", "Script for a.H float64"]


def test_what_was_tried_is_told_once_for_those_with_the_same_counts() -> None:
    records = [explored("a.G"), explored("a.H"), explored("a.I", cases=4096, sequences=60, steps=512)]
    page = shown(run(judgement("a.G"), *records))
    assert "No counterexample was found." in section(page, "counterexamples").text
    assert rows(section(page, "counterexamples").one("table")) == {
        "a.G, a.H": ["float32", "two-pass", "256", "2,048", "–", "17", "3"],
        "a.I": ["float32", "two-pass", "256", "4,096", "512 in 60", "17", "3"],
    }


def test_how_much_was_explored_stands_with_the_run() -> None:
    whole = run(judgement())
    records: list[Record] = [
        header("torch", budget="thorough", seed=5),
        *whole[1:-1],
        Footer(counts={"conforms": 1}, seconds=1.5, explored_cases=65536, explored_seconds=61.5),
    ]
    (told,) = rows(section(shown(records), "runs").one("table")).values()
    assert told[-1] == "65,536 cases in 61.5 s of all workers; budget thorough, seed 5"


def test_a_run_without_exploration_has_no_section_on_it() -> None:
    assert not shown(run(judgement())).all("section", **{"aria-labelledby": "counterexamples"})


# --- what could not be run ----------------------------------------------------------------------


def test_what_a_framework_does_not_have_is_a_row_but_no_warning() -> None:
    page = shown(
        run(
            judgement(),
            NotRun(framework="torch", reason="the framework has no float64 here", dtype="float64", failed=False),
        )
    )
    assert rows(section(page, "not-run").one("table")) == {"torch float64": ["the framework has no float64 here"]}
    assert not notes(page).all("p", **{"class": "warning"})


# --- older files --------------------------------------------------------------------------------


def test_a_result_file_from_before_claims_modes_and_exploration_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "torch.jsonl", run(judgement()))
    newer = {"budget", "seed", "mode", "claims", "explored_cases", "explored_seconds", "worker_seconds"}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert newer <= {name for line in lines for name in line}
    older = [{name: value for name, value in line.items() if name not in newer} for line in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in older), encoding="utf-8")
    page = parsed(write_report(tmp_path, tmp_path / "index.html").read_text(encoding="utf-8"))
    assert "GN-02 grouping" in page.text
