"""The first screen: the question box in a browser, and the map of what breaks ports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from browser import opened
from pages import diverging, judgement, parsed, profile, run, section, shown, write

from normgauge.conformance.cli.answers import report_answers
from normgauge.reports.page.page import write_report
from normgauge.reports.page.port_map import TOPICS
from normgauge.results.records import Record


def cells(*runs: list[Record], kind: str = "GroupNorm") -> dict[str, dict[str, str]]:
    """By framework and topic, the text of the cell."""
    table = section(shown(*runs), "map").one("table")
    found: dict[str, dict[str, str]] = {}
    for body in table.all("tbody"):
        title, *own = body.all("tr")
        if title.text == kind:
            for row in own:
                name = row.all("th")[0].text.split()[0]
                found[name] = dict(zip(TOPICS, (one.text for one in row.all("td")), strict=True))
    return found


def test_a_topic_has_its_worst_verdict_and_what_does_not_apply_says_so() -> None:
    torch = run(judgement(), judgement(requirement="GN-12", title="large mean"))
    mlx = run(diverging(ground="formula"), judgement("mlx.nn.GroupNorm", requirement="GN-06"), framework="mlx")
    found = cells(torch, mlx)
    assert found["torch"]["grouping"] == "✓ same"
    assert found["mlx"]["grouping"] == "✗ wrong"
    assert found["torch"]["large mean"] == "✓ same"
    assert found["mlx"]["large mean"] == "· not measured"
    assert {own[topic] for own in found.values() for topic in ("momentum", "running variance")} == {"· does not apply"}


def test_what_another_convention_requires_differs_and_is_not_called_wrong() -> None:
    found = cells(run(diverging("torch.nn.GroupNorm", requirement="GN-11", ground="convention")))
    assert found["torch"]["single value"] == "≠ differs"


def test_a_hazard_that_was_recorded_is_shown_where_the_experiments_conform() -> None:
    conforms = judgement(requirement="GN-12", title="large mean")
    one_pass = profile(accuracy="one_pass", hazards=["one-pass statistics: digits are gone"])
    assert cells(run(conforms, one_pass))["torch"]["large mean"] == "⚠ hazard"
    assert cells(run(conforms, profile(accuracy="one_pass")))["torch"]["large mean"] == "✓ same"
    outside = profile(accuracy=None, hazards=["outside every accuracy class: digits are gone"])
    assert cells(run(conforms, outside))["torch"]["large mean"] == "⚠ hazard"
    assert cells(run(conforms, profile(accuracy=None)))["torch"]["large mean"] == "✓ same"  # nothing was measured


def test_a_mode_with_a_variance_of_one_pass_is_named_at_large_mean() -> None:
    named = {"class_path": "torch.nn.GroupNorm"}
    plain = profile("torch.nn.GroupNorm", **named)
    mode = profile("torch.nn.GroupNorm[strided]", mode="strided", accuracy="one_pass", **named)
    asked = [judgement(one.implementation, requirement="GN-12", title="large mean") for one in (plain, mode)]
    assert cells(run(plain, mode, *asked))["torch"]["large mean"] == "✓ same worse: strided"


def test_an_answer_says_what_a_variance_of_one_pass_costs(tmp_path: Path) -> None:
    limits = {"float32": 64, "float64": 9742}
    torch, mlx = list[Record](), list[Record]()
    for dtype, limit in limits.items():
        hazard = f"one-pass statistics: half of the digits are lost from |mean| = {limit} deviations on"
        torch += [profile("torch.nn.GroupNorm", dtype=dtype, accuracy="two_pass"), judgement(dtype=dtype)]
        mlx += [
            profile("mlx.nn.GroupNorm", dtype=dtype, accuracy="one_pass", hazards=[hazard]),
            judgement("mlx.nn.GroupNorm", dtype=dtype),
        ]
    write(tmp_path / "torch.jsonl", run(*torch))
    write(tmp_path / "mlx.jsonl", run(*mlx, framework="mlx"))
    write_report(tmp_path, tmp_path / "index.html", report_answers)
    differences = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["answers"]["differences"]
    told = [(one["weight"], one["b"]) for one in differences if one["subject"] == "accuracy class"]
    (cost,) = [text for weight, text in told if weight == "rare"]
    for dtype, limit in limits.items():
        assert f"in {dtype}, one-pass statistics: half of the digits are lost from |mean| = {limit} d" in cost


def test_half_precision_has_what_other_types_have_not() -> None:
    everywhere = [diverging(dtype=dtype) for dtype in ("float32", "float16")]
    half = diverging(requirement="GN-30", dtype="float16", ground="formula")
    assert cells(run(*everywhere, framework="mlx"))["mlx"]["half precision"] == "· not measured"
    assert cells(run(*everywhere, half, framework="mlx"))["mlx"]["half precision"] == "✗ wrong"


@pytest.mark.slow
def test_the_question_in_the_address_is_answered_with_what_differs_and_code(tmp_path: Path) -> None:
    torch, mlx = profile("torch.nn.GroupNorm", layout="N, C, *"), profile("mlx.nn.GroupNorm", layout="N, *, C")
    write(tmp_path / "torch.jsonl", run(torch, judgement()))
    write(tmp_path / "mlx.jsonl", run(mlx, diverging(), framework="mlx"))
    page = write_report(tmp_path, tmp_path / "index.html", report_answers)
    assert parsed(page.read_text(encoding="utf-8")).one("div", id="answer").text == ""  # the script writes it
    seen = opened(page, "--virtual-time-budget=9000", query="?from=torch.nn.GroupNorm&to=mlx.nn.GroupNorm")
    told = seen.one("div", id="answer")
    assert "torch.nn.GroupNorm to mlx.nn.GroupNorm" in told.text
    assert "another layout: (N, C, *) becomes (N, *, C)" in told.text
    assert "def make_layer" in told.text
    assert "Copy" in [one.text for one in told.all("button")]
