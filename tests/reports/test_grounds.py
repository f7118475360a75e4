"""What a departure is called, and how it is counted, by the ground of what it departs from."""

from __future__ import annotations

from typing import get_args

import pytest
from pages import claim, diverging, in_short, judgement, profile, run, section, shown, witness

from normgauge.results.departures import counted
from normgauge.results.grounds import GRAVEST_FIRST, SORTS_TOLD, Ground, Sort, in_words, sort_of, word_for
from normgauge.results.records import Record


@pytest.mark.parametrize(
    ("verdict", "ground", "word", "sort"),
    [
        ("diverges", "formula", "wrong", "error"),
        ("raises", "robustness", "raises", "error"),
        ("diverges", "documentation", "wrong", "documentation"),
        ("diverges", "convention", "differs", "difference"),
        ("raises", "convention", "differs", "difference"),
        ("crashes", "convention", "crashes", "error"),
        ("diverges", None, "diverges", "departure"),
    ],
)
def test_wrong_is_a_word_for_all_grounds_but_convention(
    verdict: str, ground: Ground | None, word: str, sort: Sort
) -> None:
    assert (word_for(verdict, ground), sort_of(verdict, ground)) == (word, sort)


@pytest.mark.parametrize("ground", [*get_args(Ground), None])
@pytest.mark.parametrize("verdict", ["conforms", "unsupported", "cannot tell"])
def test_what_departs_from_nothing_keeps_its_word(verdict: str, ground: Ground | None) -> None:
    assert word_for(verdict, ground) == verdict


def test_every_sort_is_told() -> None:
    assert set(SORTS_TOLD) == set(get_args(Sort)) == set(GRAVEST_FIRST)
    assert in_words(dict.fromkeys(get_args(Sort), 1)).count("1 ") == len(SORTS_TOLD)


def test_departures_claims_and_hazards_are_counted_apart() -> None:
    records: list[Record] = [
        diverging(ground="formula"),
        diverging(ground="convention"),
        diverging(ground="documentation"),
        judgement(ground="formula"),
        judgement(verdict="cannot tell", ground="convention"),
        profile(claims=[claim(), claim("agrees")], hazards=["one-pass statistics", "another"]),
    ]
    counts = counted(records)
    assert counts == {"error": 1, "difference": 1, "documentation": 2, "hazard": 2}
    told = "1 error, 1 difference of convention, 2 contradictions of documentation, 2 hazards"
    assert in_words(counts) == told
    assert f"In total: {told}." in section(shown(run(*records)), "in-short").text


def test_the_page_tells_errors_before_differences_and_calls_only_them_wrong() -> None:
    convention = {
        "requirement": "BN-04",
        "ground": "convention",
        "title": "momentum",
        "statement": "The new is weighed.",
    }
    page = shown(
        run(
            diverging("a.B", **convention, measured="old", witnesses=[witness("momentum_weighs", "new")]),
            judgement("b.B", **convention),
            diverging("a.G", ground="formula"),
        )
    )
    assert [line.partition(":")[0] for line in in_short(page)] == ["GN-02 grouping", "BN-04 momentum"]
    headings = [one.text for one in section(page, "in-short").all("h3")]
    assert headings[:2] == ["Wrong by the formulas, or not robust", "Differences of convention"]
    assert "Required (formula): Groups are adjacent channels." in section(page, "GN-02").text
    told = section(page, "BN-04").text
    assert "Convention: The new is weighed." in told
    assert "Follow this convention: b.B." in told
    assert "≠ differs" in told
    assert "wrong" not in told


def test_what_some_frameworks_document_is_a_convention_to_the_others() -> None:
    every_rank = {"requirement": "BN-12", "title": "every rank", "statement": "Every rank is taken."}
    ported = diverging("port.B", ground="convention", **every_rank)
    page = shown(run(ported, judgement("torch.B", ground="documentation", **every_rank)))
    assert section(page, "in-short").all("h3")[0].text == "Differences of convention"
    told = section(page, "BN-12").text
    assert "Required (documentation; a convention for frameworks that do not document it): Every rank is taken." in told
    assert "≠ differs" in told
    assert "wrong" not in told

    page = shown(run(ported, diverging("torch.B", ground="documentation", **every_rank)))
    assert section(page, "in-short").all("h3")[0].text == "Behaviour that contradicts the framework's documentation"
    articles = section(page, "BN-12").all("article")
    assert ["≠ differs" in one.text for one in articles] == [True, False]  # each is told by its own ground


def test_a_requirement_that_crashes_a_layer_is_an_error_whatever_its_ground() -> None:
    page = shown(run(judgement("a.B", "crashes", ground="convention", requirement="BN-06")))
    assert section(page, "in-short").all("h3")[0].text == "Wrong by the formulas, or not robust"
