"""The HTML report: what it shows of the records, that it is one safe page, and what it refuses to read."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import jsonschema
import pytest
from browser import opened
from pages import (
    Element,
    claim,
    counterexample,
    diverging,
    everything,
    example,
    explored,
    header,
    in_short,
    judgement,
    matrix,
    notes,
    packed,
    parsed,
    profile,
    rows,
    run,
    scripts_in,
    section,
    shown,
    witness,
    write,
)

from normgauge.conformance.cli.answers import report_answers
from normgauge.reports.page.data import schema
from normgauge.reports.page.divergences import TEXT_SHOWN, VALUES_SHOWN
from normgauge.reports.page.page import render, write_report
from normgauge.results.file import BrokenResults
from normgauge.results.records import (
    FORMAT,
    AxisMeasured,
    Claim,
    DefaultMeasured,
    Footer,
    Header,
    Judgement,
    NotRun,
    Profile,
    Record,
)

SCHEMA: Final = Path(__file__).parents[2] / "reports" / "report.schema.json"
HOSTILE: Final = "<script>alert(1)</script><img src=x onerror='alert(2)'>\"&"


# --- one page -----------------------------------------------------------------------------------


def test_every_link_within_the_page_has_its_target() -> None:
    page = shown(*everything(), absent=[NotRun(framework="keras", reason="no wheel")])
    ids = {one.attributes["id"] for one in page.walk() if "id" in one.attributes}
    links = [one.attributes["href"] for one in page.all("a") if one.attributes["href"].startswith("#")]
    labels = [one.attributes["aria-labelledby"] for one in page.walk() if "aria-labelledby" in one.attributes]
    assert len(links) > 10
    assert {link.removeprefix("#") for link in links} <= ids
    assert set(labels) <= ids


def test_ids_are_unique_even_where_names_differ_in_punctuation_only() -> None:
    names = ["mlx.nn.GroupNorm(a=1)", "mlx.nn.GroupNorm[a=1]", "mlx.nn.GroupNorm", "mlx nn/GroupNorm"]
    page = shown(run(*(diverging(name, requirement=r) for name in names for r in ("GN-02", "runs")), framework="mlx"))
    ids = [one.attributes["id"] for one in page.walk() if "id" in one.attributes]
    assert len(ids) == len(set(ids))
    table = page.one("table", **{"class": "wide matrix"})
    assert [one.text for one in table.one("thead").all("th")][1:] == names
    for row in table.one("tbody").all("tr"):
        links = [cell.one("a") for cell in row.all("td")]
        targets = [page.one("code", id=link.attributes["href"].removeprefix("#")).text for link in links]
        assert targets == names


def test_ids_need_no_escaping_in_a_link() -> None:
    page = shown(*everything())
    for one in page.walk():
        assert re.fullmatch(r"[A-Za-z0-9.-]+", one.attributes.get("id", "fine"))


def test_the_page_loads_nothing_from_elsewhere() -> None:
    html = render(everything())
    page = parsed(html)
    loading = {"src", "srcset", "data", "poster", "background", "action", "formaction", "ping"}
    for one in page.walk():
        assert one.tag not in {"link", "img", "iframe", "object", "embed", "base", "video", "audio", "source"}
        assert not loading & one.attributes.keys(), one
        assert not [name for name in one.attributes if name.startswith("on")], one
        assert "href" not in one.attributes or one.tag == "a", one
        assert "url(" not in one.attributes.get("style", "")
    for style in page.all("style"):
        assert "url(" not in style.raw
        assert "@import" not in style.raw
    policy = page.one("meta", **{"http-equiv": "Content-Security-Policy"}).attributes["content"]
    data, script = page.all("script")
    assert data.attributes == {"type": "application/gzip", "id": "data"}
    digest = base64.b64encode(hashlib.sha256(script.raw.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_every_header_cell_says_what_it_heads() -> None:
    page = shown(*everything(), absent=[NotRun(framework="keras", reason="no wheel")])
    heads = page.all("th")
    assert len(heads) > 30
    assert {one.attributes.get("scope") for one in heads} == {"row", "col", "rowgroup"}


def test_the_same_records_give_the_same_page() -> None:
    assert render(everything()) == render(everything())


def test_text_from_a_record_never_becomes_markup() -> None:
    judged = diverging(
        f"mlx.{HOSTILE}", requirement=f"GN {HOSTILE}", title=HOSTILE, statement=HOSTILE, source=HOSTILE,
        measured=HOSTILE, sentence=HOSTILE, notes=[HOSTILE], remedy=HOSTILE,
        witnesses=[witness(against=HOSTILE, probe=HOSTILE, observed=HOSTILE, expected=HOSTILE)],
        example=example(settings={"eps": HOSTILE}, observed=[HOSTILE], script=HOSTILE),
    )  # fmt: skip
    own = profile(
        f"mlx.{HOSTILE}",
        framework=HOSTILE,
        hazards=[HOSTILE],
        layout=HOSTILE,
        names={HOSTILE: "other"},
        axes=[AxisMeasured(axis=HOSTILE, question=HOSTILE, canonical=HOSTILE, measured=["other"])],
        defaults=[DefaultMeasured(setting=HOSTILE, signature=HOSTILE, low=None, best=None, high=None)],
        documentation=f"https://x/{HOSTILE}",
        claims=[
            Claim(
                subject=HOSTILE, claimed=HOSTILE, quote=HOSTILE, where=HOSTILE, measured=HOSTILE, verdict="contradicts"
            )
        ],
        mode=HOSTILE,
    )
    top = header("mlx", HOSTILE, framework=HOSTILE, versions={HOSTILE: HOSTILE}, platform=HOSTILE)
    hostile = dict.fromkeys(("signature", "plan", "measured", "sentence", "stored"), HOSTILE)
    beyond: list[Record] = [counterexample(HOSTILE, **hostile), explored(HOSTILE, accuracy=HOSTILE)]
    records: list[Record] = [
        top,
        own,
        judged,
        *beyond,
        NotRun(framework=HOSTILE, reason=HOSTILE, implementation=HOSTILE),
    ]
    page = shown(records, absent=[NotRun(framework=HOSTILE, reason=HOSTILE)])
    assert len(page.all("script")) == 2  # the data and the script of the page itself
    assert HOSTILE not in "".join(one.raw for one in page.all("script"))
    assert not page.all("img")
    assert page.text.count("<script>alert(1)</script>") > 40


@pytest.mark.parametrize("address", ["javascript:alert(1)", "file:///etc/hosts", ""])
def test_an_address_that_is_not_of_the_web_is_no_link(address: str) -> None:
    page = shown(run(profile("mlx.nn.GroupNorm", documentation=address), diverging(), framework="mlx"))
    assert [a for a in page.all("a") if not a.attributes["href"].startswith(("#", "https://example.org/paper"))] == []


def test_the_documentation_of_a_diverging_layer_is_linked() -> None:
    page = shown(run(diverging(), framework="mlx"))
    (link,) = page.one("article").all("a")
    assert (link.text, link.attributes["href"]) == ("mlx.nn.GroupNorm", "https://example.org/docs")


def test_what_colours_a_terminal_is_left_out() -> None:
    html = render([run(judgement(verdict="unsupported", notes=["failed: \x1b[1minteger modulo by zero\x1b[0m\x07"]))])
    assert "failed: integer modulo by zero<" in html
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", html)


# --- in short -----------------------------------------------------------------------------------


def test_in_short_names_the_value_the_layer_and_the_remedy() -> None:
    page = shown(run(diverging(), framework="mlx"))
    assert in_short(page) == ["GN-02 grouping: interleaved in mlx.nn.GroupNorm. Write instead: permute."]


def test_in_short_has_one_line_a_requirement_with_each_value_apart() -> None:
    records = [diverging("a.G"), diverging("b.G", measured="accepted"), diverging("c.G")]
    page = shown(run(*records))
    assert in_short(page) == ["GN-02 grouping: interleaved in a.G, c.G; accepted in b.G. Write instead: permute."]


def test_remedies_that_differ_say_whom_they_are_for() -> None:
    page = shown(run(diverging("a.G", remedy="pass x=True"), diverging("b.G"), diverging("c.G")))
    assert in_short(page)[0].endswith("Write instead: for a.G: pass x=True; for b.G, c.G: permute.")


def test_a_remedy_that_only_some_have_says_whom_it_is_for() -> None:
    page = shown(run(diverging("a.G", remedy=None), diverging("b.G")))
    assert in_short(page)[0].endswith("Write instead: for b.G: permute.")


@pytest.mark.parametrize(
    ("judged", "alone"),
    [
        ([diverging("a.G"), judgement("b.G")], True),
        ([diverging("a.G"), diverging("a.H"), judgement("a.I"), judgement("b.G")], True),
        ([judgement("a.G", "crashes"), judgement("b.G")], True),
        ([diverging("a.G"), diverging("b.G")], False),
        ([diverging("a.G")], False),
        ([diverging("a.G"), judgement("a.H")], False),
        ([diverging("a.G"), judgement("b.G", "unsupported"), judgement("c.G", "cannot tell")], False),
        ([diverging("a.G"), judgement("b.G", requirement="GN-03")], False),
    ],
)
def test_a_framework_is_the_only_one_that_differs_if_another_was_measured_and_conforms(
    judged: list[Judgement], alone: bool
) -> None:
    page = shown(run(*judged))
    assert ("Only a differs among a, b." in in_short(page)[0]) == alone
    assert ("Only a differs" in section(page, "divergences").text) == alone


def test_departures_on_an_axis_come_before_all_others() -> None:
    edge = {"measured": "accepted", "witnesses": [witness(against="a refusal")]}
    batch_norm = profile(
        "b.B",
        layer="batch_norm",
        axes=[AxisMeasured(axis="momentum_weighs", question="what", canonical="new", measured=["old"])],
    )
    page = shown(
        run(
            diverging("a.G", requirement="GN-16", **edge),
            diverging("b.B", requirement="BN-04", witnesses=[witness("momentum_weighs", "new")]),
            diverging("b.B", requirement="BN-20", **edge),
            diverging("a.G", requirement="GN-02"),
            batch_norm,
        )
    )
    expected = ["GN-02", "BN-04", "GN-16", "BN-20"]
    assert [line.split()[0] for line in in_short(page)] == expected
    heads = section(page, "divergences").all("h3")
    assert [one.text.split()[0] for one in heads] == expected


def test_without_divergences_the_page_says_so() -> None:
    page = shown(run(judgement()))
    assert (
        "No layer differs from the canonical semantics, as far as it could be measured."
        in section(page, "in-short").text
    )
    assert "No layer differs." in section(page, "divergences").text


def test_where_nothing_was_measured_the_page_does_not_speak_of_conformance() -> None:
    page = shown(absent=[NotRun(framework="mlx", reason="no wheel")])
    assert section(page, "in-short").text == "In short Nothing was measured."
    assert "Nothing was measured." in section(page, "divergences").text
    assert "Nothing was measured." in section(page, "hazards").text
    assert page.one("header").one("p").text == "No result file could be shown."


# --- tables -------------------------------------------------------------------------------------


def test_a_cell_of_the_matrix_has_sign_and_word_and_leads_to_its_divergence() -> None:
    page = shown(*everything())
    told = matrix(page)
    assert [row["GN-02 grouping"] for row in told.values()] == ["✗ diverges", "· not run", "✓ conforms"]
    assert told["mlx.nn.GroupNorm"]["GN-05 grouping"] == "? cannot tell"
    assert told["mlx.nn.GroupNorm"]["GN-13 grouping"] == "– unsupported"
    assert told["mlx.nn.GroupNorm"]["GN-17 grouping"] == "☠ crashes"
    links = [link for cell in page.one("table", **{"class": "wide matrix"}).all("td") for link in cell.all("a")]
    assert len(links) == 3
    for link in links:
        assert page.one("code", id=link.attributes["href"].removeprefix("#"))


def test_verdicts_that_depend_on_the_dtype_are_both_shown() -> None:
    page = shown(run(diverging(dtype="float64"), judgement("mlx.nn.GroupNorm"), framework="mlx"))
    assert matrix(page)["mlx.nn.GroupNorm"]["GN-02 grouping"] == "✗ diverges float64 ✓ conforms float32"
    assert "interleaved in mlx.nn.GroupNorm (float64)." in in_short(page)[0]
    assert page.one("article").one("h4").text == "mlx.nn.GroupNorm: interleaved (float64)"


def test_measured_values_that_depend_on_the_dtype_are_both_shown_and_the_first_is_linked() -> None:
    page = shown(run(diverging(), diverging(dtype="float64", measured="contiguous or so"), framework="mlx"))
    heads = [article.one("h4").text for article in page.all("article")]
    assert heads == ["mlx.nn.GroupNorm: interleaved (float32)", "mlx.nn.GroupNorm: contiguous or so (float64)"]
    assert (
        "interleaved in mlx.nn.GroupNorm (float32); contiguous or so in mlx.nn.GroupNorm (float64)" in in_short(page)[0]
    )
    link = page.one("table", **{"class": "wide matrix"}).all("td")[0].all("a")[0].attributes["href"]
    assert page.all("article")[0].one("h4").one("code").attributes["id"] == link.removeprefix("#")


def test_an_implementation_with_fewer_dtypes_than_others_says_so_once() -> None:
    page = shown(run(judgement(), judgement(dtype="float64")), run(judgement("mlx.nn.GroupNorm"), framework="mlx"))
    assert {name: list(row.values()) for name, row in matrix(page).items()} == {
        "torch.nn.GroupNorm": ["✓ conforms"],
        "mlx.nn.GroupNorm float32 only": ["✓ conforms"],
    }


def test_a_verdict_for_fewer_dtypes_than_were_asked_says_for_which() -> None:
    page = shown(run(judgement(), judgement("a.G"), profile("a.G", dtype="float64"), judgement(dtype="float64")))
    assert matrix(page)["a.G"] == {"GN-02 grouping": "✓ conforms float32"}


def test_the_rows_stand_under_their_framework_and_its_versions() -> None:
    page = shown(*everything())
    for kind in ("axes", "facts"):
        table = page.one("table", **{"class": f"wide {kind}"})
        heads = [[one.text.removesuffix(" float32 only") for one in part.all("th")] for part in table.all("tbody")]
        assert heads == [
            ["mlx mlx 1.2.3", "mlx.nn.GroupNorm", "mlx.nn.GroupNorm(pytorch_compatible=True)"],
            ["torch torch 1.2.3", "torch.nn.GroupNorm"],
        ], kind


def test_the_axis_table_holds_measured_against_canonical() -> None:
    def measured(name: str, *values: str, known: bool = True) -> Profile:
        return profile(
            name,
            known=known,
            axes=[AxisMeasured(axis="grouping", question="which", canonical="contiguous", measured=list(values))],
        )

    records = [
        measured("a.G", "contiguous"),
        measured("b.G", "interleaved"),
        measured("c.G", "contiguous", "interleaved"),
        measured("d.G", "interleaved", known=False),
        profile("e.G", axes=[]),
    ]
    table = shown(run(*records, *(judgement(one.implementation) for one in records))).one(
        "table", **{"class": "wide axes"}
    )
    assert [one.text for one in table.one("thead").all("th")] == ["implementation", "Which? grouping", "canonical"]
    assert table.one("thead").one("td").text == "contiguous"
    assert {name: cells for name, cells in rows(table).items() if cells} == {
        "a.G": ["contiguous"],
        "b.G": ["≠ interleaved"],
        "c.G": ["? not distinguished: contiguous, interleaved"],
        "d.G": ["? no known alternative; the nearest is interleaved"],
        "e.G": ["not run"],
    }


def test_a_page_has_the_meaning_of_a_value_before_its_name() -> None:
    words = {
        "contiguous": "channel c belongs to group c // (C / G)",
        "interleaved": "channel c belongs to group c mod G",
    }
    axis = AxisMeasured(
        axis="grouping", question="which", canonical="contiguous", measured=["interleaved"], meanings=words
    )
    says = claim(subject="grouping", claimed="contiguous", measured="interleaved")
    differs = judgement("b.G", "diverges", measured="interleaved", meaning=words["interleaved"])
    page = shown(run(profile("b.G", axes=[axis], claims=[says]), differs))
    table = page.one("table", **{"class": "wide axes"})
    assert table.one("thead").one("td").text == "channel c belongs to group c // (C / G) contiguous"
    assert rows(table)["b.G"] == ["≠ channel c belongs to group c mod G interleaved"]
    assert "channel c belongs to group c mod G (interleaved) in b.G" in in_short(page)[0]
    assert "b.G: channel c belongs to group c mod G (interleaved)" in section(page, "GN-02").text
    assert (
        "The documentation says channel c belongs to group c // (C / G) (contiguous); "
        "measured: channel c belongs to group c mod G (interleaved)."
    ) in section(page, "documentation").text


def test_defaults_layout_names_and_statistics_are_shown() -> None:
    records: list[Record] = [profile(), profile(dtype="float64", computes_in="float32", accuracy=None), judgement()]
    table = shown(run(*records)).one("table", **{"class": "wide facts"})
    assert rows(table)["torch.nn.GroupNorm"] == [
        "1e-05 float32: 1e-05 ± 2e-06 float64: 1e-05 ± 2e-06",
        "N, C, *",
        "eps: epsilon",
        "float32: two-pass float64: outside every class, computed in float32",
        "2, 4",
    ]


def test_a_default_without_signature_or_measurement_says_so() -> None:
    own = profile(
        defaults=[
            DefaultMeasured(setting="eps", signature=None, low=None, best=None, high=None),
            DefaultMeasured(setting="x", signature="1", low=None, best=2.0, high=None),
        ]
    )
    table = shown(run(own, judgement())).one("table", **{"class": "wide facts"})
    assert rows(table)["torch.nn.GroupNorm"][:2] == ["none float32: not measured", "1 float32: 2"]


def test_a_hazard_is_told_once_with_all_that_have_it() -> None:
    lossy = {"hazards": ["half of the digits are gone"]}
    records = [
        profile("a.G", **lossy),
        profile("b.G", **lossy),
        profile("b.G", dtype="float64", **lossy),
        profile("c.G"),
    ]
    page = shown(run(*records, judgement("a.G")))
    items = [one.text for one in section(page, "hazards").all("li")]
    assert items == ["half of the digits are gone: a.G (float32), b.G (float32, float64)"]
    assert "half of the digits are gone" in section(page, "in-short").text


def test_why_something_is_unsupported_is_told_once_for_those_that_say_the_same() -> None:
    records = [
        judgement(name, "unsupported", dtype=dtype, nameless=f"refused {dtype}")
        for name in ("a.G", "b.G")
        for dtype in ("float32", "float64")
    ]
    (row,) = section(shown(run(*records)), "remarks").one("tbody").all("tr")
    assert [cell.text for cell in row.all("td")] == ["– unsupported", "a.G, b.G", "refused float32"]


def test_what_was_run_tells_versions_machine_and_time() -> None:
    (told,) = rows(section(shown(run(judgement())), "runs").one("table")).values()
    assert told[:3] == ["torch 1.2.3", "3.11.7", "2.4.6"]
    assert told[3:6] == ["Linux x86_64, cpu", "float32, float64", "2026-01-02T03:04:05+00:00"]
    assert told[6:] == ["normgauge 0.1.0", "after 1.5 s: 1 conforms", "–"]


def test_an_interrupted_run_is_told_at_the_top_with_what_it_lacks() -> None:
    page = shown([header("torch", "torch.nn.GroupNorm", "torch.nn.BatchNorm2d"), profile(), judgement()])
    told = notes(page).one("p", **{"class": "warning"}).text
    assert told.startswith("The run of torch did not finish.")
    assert "there is no result for torch.nn.BatchNorm2d" in told
    assert "did not finish" in section(page, "runs").text


def test_a_complete_run_is_not_called_interrupted() -> None:
    assert "interrupted" not in shown(run(judgement())).text


def test_what_could_not_be_run_is_told_at_the_top_and_has_its_row() -> None:
    page = shown(
        run(NotRun(framework="mlx", reason="died", implementation="mlx.nn.GroupNorm", dtype="float16")),
        absent=[NotRun(framework="keras", reason="no wheel")],
    )
    assert rows(section(page, "not-run").one("table")) == {
        "keras": ["no wheel"],
        "mlx mlx.nn.GroupNorm float16": ["died"],
    }
    told = notes(page).one("p", **{"class": "warning"}).text
    assert told == "2 could not be run: keras, mlx.nn.GroupNorm float16. The reasons."


def test_a_framework_that_never_started_has_its_row() -> None:
    empty = Header(
        format=FORMAT,
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
    page = shown(
        [empty, NotRun(framework="mlx", reason="no module named mlx"), Footer(counts={"not run": 1}, seconds=0.0)]
    )
    assert rows(section(page, "runs").one("table"))["mlx"][:4] == ["–", "–", "–", "–"]
    assert rows(section(page, "not-run").one("table")) == {"mlx": ["no module named mlx"]}


# --- divergences --------------------------------------------------------------------------------


def test_a_requirement_reads_once_with_its_implementations_below() -> None:
    records = [diverging("a.G"), diverging("b.G", nameless="another story"), judgement("c.G")]
    own = section(shown(run(*records)), "GN-02")
    assert own.text.count("Groups are adjacent channels.") == 1
    assert own.text.count("Write instead: permute.") == 1
    assert "Conform: c.G." in own.text
    assert [one.one("h4").text for one in own.all("article")] == ["a.G: interleaved", "b.G: interleaved"]
    assert [one.all("p")[0].text for one in own.all("article")] == ["groups as it does", "another story"]


def test_implementations_that_show_the_very_same_share_one_article() -> None:
    same = [diverging(name, example=example(script=f"print('{name}')")) for name in ("a.G", "b.G", "c.G")]
    other = diverging("d.G", example=example(observed=["step 1 output 9 9"]))
    page = shown(run(*same, other))
    heads = [one.one("h4").text for one in page.all("article")]
    assert heads == ["a.G, b.G, c.G: interleaved", "d.G: interleaved"]
    scripts = scripts_in(page.all("article")[0], packed(page))
    assert scripts == ["print('a.G')", "print('b.G')", "print('c.G')"]
    for name in ("a.G", "b.G", "c.G", "d.G"):
        assert page.one("code", id=f"GN-02-{name}").text == name


def test_the_smallest_input_is_told_with_settings_dtype_and_shapes() -> None:
    page = shown(run(diverging(example=example(shapes=[[0, 1], [2]])), framework="mlx"))
    assert (
        "Smallest input found: eps=0.001, num_groups=2; float32, shapes, one per step: (0, 1), (2,)"
        in page.one("article").text
    )


def numbers(page: Element) -> list[tuple[str, str]]:
    table = page.one("table", **{"class": "numbers"})
    return [(row.all("th", scope="row")[0].text, row.one("td").raw) for row in table.all("tr")]


def test_what_came_out_stands_under_what_should_have_and_equal_lines_share_a_row() -> None:
    page = shown(run(diverging(example=example()), framework="mlx"))
    assert numbers(page) == [
        ("measured = measured semantics", "-0.5  0.25"),
        ("canonical", "0.75  0.25"),
        ("measured = canonical = measured semantics", "3"),
    ]
    heads = page.one("table", **{"class": "numbers"}).all("th", scope="rowgroup")
    assert [(one.text, one.attributes["rowspan"]) for one in heads] == [
        ("step 1 output", "2"),
        ("step 1 running_mean", "1"),
    ]


def test_the_rows_of_an_example_have_their_names() -> None:
    told = example(
        observed=["step 1 running_var 3.25"],
        canonical=["step 1 running_var 2.75"],
        set_right=["step 1 running_var 6.25"],
        followed=["step 1 running_var 3.2"],
        choices={"canonical": {}, "set_right": {"momentum_weighs": "old"}, "followed": {"running_var": "biased"}},
    )
    assert numbers(shown(run(diverging(example=told), framework="mlx"))) == [
        ("measured", "3.25"),
        ("canonical", "2.75"),
        ("canonical on this axis alone", "6.25"),
        ("measured semantics", " 3.2"),
    ]


def test_what_an_older_file_calls_canonical_is_what_the_layer_was_compared_with() -> None:
    """It set one axis right and kept the layer's own choices on all others."""
    page = shown(run(diverging(example=example(choices={})), framework="mlx"))
    assert numbers(page)[:2] == [
        ("measured = measured semantics", "-0.5  0.25"),
        ("compared with, in this older file", "0.75  0.25"),
    ]


def test_numbers_of_different_width_are_aligned() -> None:
    told = example(observed=["step 1 output nan 1e-07 -inf"], canonical=["step 1 output -0.125 0 1"], followed=[])
    assert numbers(shown(run(diverging(example=told), framework="mlx"))) == [
        ("measured", "   nan  1e-07  -inf"),
        ("canonical", "-0.125      0     1"),
    ]


def test_a_refusal_beside_numbers_is_told_in_words() -> None:
    told = example(
        observed=["step 1 output 0"], canonical=["refused: the layer has 8 channels, the input 1"], followed=[]
    )
    assert numbers(shown(run(diverging(example=told), framework="mlx"))) == [
        ("measured", "0"),
        ("canonical", "refused: the layer has 8 channels, the input 1"),
    ]


def test_a_long_row_of_numbers_is_cut_with_its_count_while_the_script_stays_whole() -> None:
    script = "x = " + "1, " * 5000
    told = example(
        observed=["step 1 output" + " 0.5" * 1000], canonical=["raised " + "x" * 5000], followed=[], script=script
    )
    page = shown(run(diverging(example=told), framework="mlx"))
    (_, came_out), *_, (_, raised) = numbers(page)  # between them: running_mean
    assert came_out.split() == ["0.5"] * VALUES_SHOWN + ["…", str(1000 - VALUES_SHOWN), "more"]
    assert raised == "raised " + "x" * (TEXT_SHOWN - len("raised ")) + "…"
    assert scripts_in(page, packed(page)) == [script.rstrip("\n")]


def test_scripts_and_witnesses_are_folded_away() -> None:
    page = shown(run(diverging(example=example()), framework="mlx"))
    article = page.one("article")
    script, witnesses = article.all("details")
    assert script.one("summary").text == "Script for mlx.nn.GroupNorm"
    assert scripts_in(script, packed(page)) == ["print('the numbers')"]
    assert not {"open"} & (script.attributes.keys() | witnesses.attributes.keys())
    assert [line.text for line in witnesses.all("li")] == [
        "graded deviations ab12, step 1 output[0, 3]: measured 1.5, excluded 0.5 ± 1e-07 (grouping=contiguous): "
        "1e+07 error bounds away"
    ]


def test_the_entry_for_a_list_of_known_differences_is_folded_away(tmp_path: Path) -> None:
    write(tmp_path / "mlx.jsonl", run(profile("mlx.nn.GroupNorm"), diverging(example=example()), framework="mlx"))
    page = parsed(write_report(tmp_path, tmp_path / "index.html", report_answers).read_text(encoding="utf-8"))
    folded = [one for one in page.one("article").all("details") if one.attributes.get("data-code") == "entry"]
    assert (
        [one.attributes["data-of"] for one in folded] == [*packed(page)["code"]["entry"]] == ["GN-02-mlx.nn.GroupNorm"]
    )
    runs = packed(page)["code"]["entry"]["GN-02-mlx.nn.GroupNorm"]
    assert packed(page)["lines"][runs[0]] == "[[expected]]"


def test_a_margin_without_bound_is_infinite() -> None:
    page = shown(run(diverging(witnesses=[witness(margin=None, index=[])]), framework="mlx"))
    (line,) = page.one("article").all("li")
    assert "step 1 output: " in line.text
    assert line.text.endswith(": ∞ error bounds away")


# --- files --------------------------------------------------------------------------------------


def test_a_report_of_files_is_written_and_returned(tmp_path: Path) -> None:
    write(tmp_path / "torch.jsonl", run(judgement()))
    target = write_report(tmp_path, tmp_path / "index.html")
    assert "GN-02 grouping" in parsed(target.read_text(encoding="utf-8")).text


def test_a_file_cut_within_a_line_is_shown_as_interrupted(tmp_path: Path) -> None:
    whole = write(tmp_path / "torch.jsonl", run(judgement(), judgement(requirement="GN-03"))).read_bytes()
    (tmp_path / "torch.jsonl").write_bytes(whole[: whole.index(b"GN-03")])
    page = parsed(write_report(tmp_path, tmp_path / "index.html").read_text(encoding="utf-8"))
    assert "The run of torch did not finish." in notes(page).text
    assert [list(row) for row in matrix(page).values()] == [["GN-02 grouping"]]


def test_what_the_manifest_asked_for_and_has_no_file_gets_a_row(tmp_path: Path) -> None:
    write(tmp_path / "torch.jsonl", run(judgement()))
    asked = {"torch": "its run did not start", "mlx": "could not be installed"}
    (tmp_path / "manifest.json").write_text(json.dumps(asked), encoding="utf-8")
    page = parsed(write_report(tmp_path, tmp_path / "index.html").read_text(encoding="utf-8"))
    assert rows(section(page, "not-run").one("table")) == {"mlx": ["could not be installed"]}


def test_a_manifest_alone_makes_a_report(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"mlx": "could not be installed"}', encoding="utf-8")
    page = parsed(write_report(tmp_path, tmp_path / "index.html").read_text(encoding="utf-8"))
    assert rows(section(page, "not-run").one("table")) == {"mlx": ["could not be installed"]}


def _not_json(folder: Path) -> None:
    write(folder / "a.jsonl", run(judgement()))
    with (folder / "a.jsonl").open("ab") as file:
        file.write(b"{not json\n")


def _no_header(folder: Path) -> None:
    write(folder / "a.jsonl", [judgement()])


def _two_headers(folder: Path) -> None:
    write(folder / "a.jsonl", [header(), header()])


def _another_format(folder: Path) -> None:
    write(folder / "a.jsonl", [header(format=FORMAT + 1)])


def _unknown_verdict(folder: Path) -> None:
    write(folder / "a.jsonl", [header(), judgement(verdict="passes")])


def _empty_file(folder: Path) -> None:
    (folder / "a.jsonl").touch()


def _empty_folder(folder: Path) -> None:
    pass


def _two_runs(folder: Path) -> None:
    write(folder / "a.jsonl", run(judgement()))
    write(folder / "b.jsonl", run(judgement()))


def _manifest_no_json(folder: Path) -> None:
    (folder / "manifest.json").write_text("{", encoding="utf-8")


def _manifest_a_list(folder: Path) -> None:
    (folder / "manifest.json").write_text('["mlx"]', encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_not_json, ["a.jsonl, line 5", "JSON is malformed", "run the framework again"]),
        (_no_header, ["a.jsonl, line 1", "one header, in its first line", "run the framework again"]),
        (_two_headers, ["a.jsonl, line 2", "one header, in its first line", "run the framework again"]),
        (_another_format, ["a.jsonl", f"format {FORMAT + 1} is not known", "the release that wrote it"]),
        (_unknown_verdict, ["a.jsonl, line 2", "'passes'", "run the framework again"]),
        (_empty_file, ["a.jsonl is empty", "run the framework again"]),
        (_empty_folder, ["holds no result file", "normgauge run FRAMEWORK --out"]),
        (_two_runs, ["a.jsonl and", "b.jsonl both hold torch.nn.GroupNorm at float32", "move one file"]),
        (_manifest_no_json, ["manifest.json is no JSON", "remove it"]),
        (_manifest_a_list, ["manifest.json is no object of framework names and reasons", "remove it"]),
    ],
)
def test_broken_results_are_refused_with_the_place_and_the_remedy(
    spoil: Callable[[Path], None], told: list[str], tmp_path: Path
) -> None:
    spoil(tmp_path)
    with pytest.raises(BrokenResults) as refused:
        write_report(tmp_path, tmp_path / "index.html")
    assert [part for part in told if part not in str(refused.value)] == []
    page = parsed((tmp_path / "index.html").read_text(encoding="utf-8"))
    (warning,) = [one.text for one in notes(page).all("p", **{"class": "warning"}) if "Not shown" in one.text]
    assert [part for part in told if part not in warning] == []


def test_what_can_be_read_is_shown_beside_a_file_that_cannot(tmp_path: Path) -> None:
    write(tmp_path / "torch.jsonl", run(judgement()))
    write(tmp_path / "torch-again.jsonl", run(judgement(requirement="GN-03")))
    (tmp_path / "mlx.jsonl").write_bytes(b"{not json\n")
    with pytest.raises(BrokenResults):
        write_report(tmp_path, tmp_path / "index.html")
    page = parsed((tmp_path / "index.html").read_text(encoding="utf-8"))
    assert matrix(page) == {"torch.nn.GroupNorm": {"GN-03 grouping": "✓ conforms"}}
    data = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert list(data["broken"]) == ["mlx.jsonl", "torch.jsonl"]


def test_the_data_beside_the_page_follows_its_schema(tmp_path: Path) -> None:
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == schema(), "write the schema again"
    for records in everything():
        (header,) = (one for one in records if isinstance(one, Header))
        write(tmp_path / f"{header.framework}.jsonl", records)
    write_report(tmp_path, tmp_path / "index.html", report_answers)
    data = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema()).validate(data)
    page = parsed((tmp_path / "index.html").read_text(encoding="utf-8"))
    anchors = {anchor for own in data["anchors"].values() for anchor in own.values()}
    assert anchors <= {one.attributes.get("id") for one in page.walk()}
    assert "GN-02 grouping" in (tmp_path / "report.md").read_text(encoding="utf-8")


# --- a browser ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_browser_renders_the_page_as_it_was_written(tmp_path: Path) -> None:
    html = render(everything())
    html = re.sub("<script.*?</script>", "", html, flags=re.DOTALL)  # the page's script adds to it
    (tmp_path / "index.html").write_text(html, encoding="utf-8")
    seen, wrote = opened(tmp_path / "index.html"), parsed(html)
    # A browser mends what is nested wrongly, so equal trees mean that nothing had to be mended.
    assert [(one.tag, one.attributes) for one in seen.one("body").walk()] == [
        (one.tag, one.attributes) for one in wrote.one("body").walk()
    ]
    assert seen.one("body").text == wrote.one("body").text


@pytest.mark.slow
def test_on_a_narrow_screen_only_the_tables_scroll_sideways(tmp_path: Path) -> None:
    told = example(observed=["step 1 output" + " -0.99998000059997993" * 64], script="x = " + "1, " * 500)
    names = [f"mlx.nn.{'Very' * 9}LongNorm(axis={n})[jax]" for n in range(24)]
    wide = [diverging(name, requirement="GN-2", example=told, notes=["n" * 300]) for name in names]
    html = render([run(*wide, framework="mlx")])
    # The page forbids other scripts than its own; this copy allows the one that measures it.
    html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    html = html.replace("<details>", "<details open>")
    measure = (
        "const d = document; d.body.dataset.wide = d.documentElement.scrollWidth; d.body.dataset.seen = innerWidth"
    )
    measure += "; d.body.dataset.table = d.querySelector('.matrix').offsetWidth"
    (tmp_path / "index.html").write_text(
        html.replace("</body>", f"<script>{measure}</script></body>"), encoding="utf-8"
    )
    data = opened(tmp_path / "index.html", "--window-size=400,800").one("body").attributes
    assert int(data["data-wide"]) <= int(data["data-seen"]) < int(data["data-table"])
