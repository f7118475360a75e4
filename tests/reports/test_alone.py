"""One layer by itself, in the question box and in its own section; its modes; and what an answer says to write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from browser import opened
from pages import Element, diverging, header, judgement, packed, parsed, profile, run, section, shown, write

from normgauge.conformance.cli.answers import report_answers
from normgauge.reports.page.page import write_report
from normgauge.results.records import AxisMeasured, DefaultMeasured, Record

LOSSY = "outside every accuracy class: some errors exceed the bound of one-pass statistics"
STRIDED = "torch.nn.GroupNorm[strided]"


def page_of(folder: Path, **runs: list[Record]) -> Element:
    for name, records in runs.items():
        write(folder / f"{name}.jsonl", records)
    return parsed(write_report(folder, folder / "index.html", report_answers).read_text(encoding="utf-8"))


def differences(folder: Path) -> list[dict[str, Any]]:
    answers = json.loads((folder / "report.json").read_text(encoding="utf-8"))["answers"]
    return list(answers["differences"])


def sentence(page: Element, name: str) -> str:
    data = packed(page)
    return str(data["texts"][data["alone"][name][0]])


# --- is it safe? --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([judgement()], "Safe as far as it was measured: no error, no hazard."),
        (
            [judgement(), diverging("torch.nn.GroupNorm", requirement="GN-11", ground="convention", witnesses=[])],
            "Safe as far as it was measured: no error, no hazard; 1 difference of convention.",
        ),
        (
            [judgement(), profile(hazards=[LOSSY], accuracy=None)],
            "No error was measured, but some inputs are not safe: 1 hazard.",
        ),
        (
            [judgement(), diverging("torch.nn.GroupNorm", requirement="GN-13", ground="formula", witnesses=[])],
            "The output is right on ordinary inputs; not safe for every input and type: 1 error.",
        ),
        (
            [diverging("torch.nn.GroupNorm", ground="formula")],
            "Not safe: the output is another on ordinary inputs, by grouping; 1 error.",
        ),
        (
            [diverging("torch.nn.GroupNorm", requirement="GN-13", ground="formula"), profile(known=False)],
            "Not safe: the output follows no known formula; 1 error.",
        ),
        ([judgement(verdict="unsupported")], "Nothing was measured."),
    ],
)
def test_a_layer_alone_is_safe_or_not_by_its_errors_and_hazards(
    tmp_path: Path, records: list[Record], said: str
) -> None:
    page = page_of(tmp_path, torch=run(*records))
    assert sentence(page, "torch.nn.GroupNorm") == said
    assert section(page, "layer-torch.nn.GroupNorm").one("p", **{"class": "sentence"}).text == said


def test_without_a_script_the_question_box_links_to_the_section_of_each_layer(tmp_path: Path) -> None:
    page = page_of(tmp_path, torch=run(judgement()))
    (link,) = [one for one in section(page, "ask").all("a") if one.attributes.get("data-to") == ""]
    assert (link.text, link.attributes["href"]) == ("GroupNorm", "#layer-torch.nn.GroupNorm")


@pytest.mark.slow
def test_with_one_framework_chosen_the_box_says_whether_its_layers_are_safe(tmp_path: Path) -> None:
    lossy = profile("mlx.nn.GroupNorm", accuracy=None, hazards=[LOSSY])
    wrong = diverging(requirement="GN-13", title="no samples", ground="formula", witnesses=[])
    page_of(tmp_path, torch=run(judgement()), mlx=run(lossy, wrong, framework="mlx"))
    for query in ("?from=mlx", "?from=mlx.nn.GroupNorm&to=mlx.nn.GroupNorm"):
        seen = opened(tmp_path / "index.html", "--virtual-time-budget=9000", query=query)
        told = seen.one("div", id="answer")
        assert (
            "The output is right on ordinary inputs; not safe for every input and type: 1 error, 1 hazard." in told.text
        )
        assert "GN-13 no samples: wrong, interleaved" in told.text
        assert "Write: permute" in told.text
        assert LOSSY in told.text
        assert "torch" not in told.text
        links = [one.attributes["href"] for one in told.all("a")]
        assert links == ["#GN-13-mlx.nn.GroupNorm", "#layer-mlx.nn.GroupNorm"]


# --- hazards, modes, releases -------------------------------------------------------------------


def test_a_layer_outside_every_class_has_its_hazard_in_its_section_and_in_the_answer(tmp_path: Path) -> None:
    lossy = profile("mlx.nn.GroupNorm", accuracy=None, hazards=[LOSSY])
    asked = judgement("mlx.nn.GroupNorm")
    page = page_of(tmp_path, torch=run(judgement()), mlx=run(lossy, asked, framework="mlx"))
    assert LOSSY in section(page, "layer-mlx.nn.GroupNorm").text
    assert LOSSY in section(page, "hazards").text
    told = {(one["weight"], one["a"], one["b"]) for one in differences(tmp_path) if one["subject"] == "accuracy class"}
    assert told == {("rare", "two-pass", LOSSY), ("exactness", "outside every class", "two-pass")}


def test_a_mode_has_its_own_part_of_the_section_with_its_own_accuracy(tmp_path: Path) -> None:
    named = {"class_path": "torch.nn.GroupNorm"}
    plain = profile("torch.nn.GroupNorm", **named)
    lossy = profile(STRIDED, mode="strided", accuracy="one_pass", hazards=["one-pass statistics: x"], **named)
    alike = profile("torch.nn.GroupNorm[vmap]", mode="vmap", **named)
    asked = [judgement(one.implementation) for one in (plain, lossy, alike)]
    worse = diverging(STRIDED, requirement="GN-13", title="no samples", ground="formula", witnesses=[])
    better = judgement("torch.nn.GroupNorm", requirement="GN-13", title="no samples")
    page = page_of(tmp_path, torch=run(plain, lossy, alike, *asked, better, worse))
    assert packed(page)["implementations"][STRIDED]["sheet"] == "layer-torch.nn.GroupNorm-strided"
    own = section(page, "layer-torch.nn.GroupNorm")
    assert own.one("h4", id="layer-torch.nn.GroupNorm-strided").text == "Mode strided"
    assert [one.attributes["aria-label"] for one in own.all("div") if "exactness" in one.attributes["aria-label"]] == [
        "torch.nn.GroupNorm: exactness",
        "torch.nn.GroupNorm strided: exactness",
    ]
    assert "GN-13 no samples: ✗ wrong, interleaved" in own.text
    assert own.text.count("Accuracy and hazards are those of the plain call.") == 1  # vmap alone
    assert "#GN-13-torch.nn.GroupNorm-strided" in [one.attributes["href"] for one in own.all("a")]


# --- what to write ------------------------------------------------------------------------------


def default(setting: str, value: float) -> DefaultMeasured:
    return DefaultMeasured(setting=setting, signature=str(value), low=None, best=None, high=None)


def weighs(value: str) -> AxisMeasured:
    return AxisMeasured(axis="momentum_weighs", question="which", canonical="new", measured=[value])


@pytest.mark.parametrize(
    ("there", "here", "written"),
    [
        (("new", "eps", 1e-5), ("new", "eps", 1e-3), "epsilon=1e-05"),
        (("new", "momentum", 0.1), ("new", "momentum", 0.2), "mom=0.1"),
        (("new", "momentum", 0.1), ("old", "momentum", 0.99), "mom=0.9, that is 1 - 0.1"),
        (("new", "momentum", 0.1), ("old", "momentum", 0.9), "mom=0.9, which is the default and means the same"),
    ],
)
def test_another_default_says_what_to_write_in_the_names_of_the_target(
    tmp_path: Path, there: tuple[str, str, float], here: tuple[str, str, float], written: str
) -> None:
    names = {"torch.nn.BatchNorm2d": {}, "mlx.nn.BatchNorm": {"eps": "epsilon", "momentum": "mom"}}
    runs = {}
    for name, (which, setting, value) in zip(names, (there, here), strict=True):
        own = profile(
            name,
            layer="batch_norm",
            axes=[weighs(which)],
            defaults=[default(setting, value)],
            names=names[name] or {"eps": "eps", "momentum": "momentum"},
        )
        framework = name.partition(".")[0]
        runs[framework] = run(own, judgement(name, requirement="BN-09"), framework=framework)
    page_of(tmp_path, **runs)
    before = str(there[2])
    (found,) = [one for one in differences(tmp_path) if one["subject"].startswith("default") and one["a"] == before]
    assert found["remedy"] == written


# --- releases -----------------------------------------------------------------------------------


def release(version: str, *records: Record) -> list[Record]:
    """A complete run of one release of mlx."""
    return [header("mlx", versions={"mlx": version}), *run(*records, framework="mlx")[1:]]


@pytest.mark.parametrize(
    ("departing", "said"),
    [
        (("0.9.0",), "mlx.nn.GroupNorm differs up to 0.9.0, not from 0.10.0 on."),
        (("0.10.0", "0.11.0"), "mlx.nn.GroupNorm differs from 0.10.0 on, not up to 0.9.0."),
        (("0.10.0",), "mlx.nn.GroupNorm differs in 0.10.0 alone."),
        (("0.9.0", "0.10.0", "0.11.0"), ""),
    ],
)
def test_a_difference_says_since_which_release_it_is_there(departing: tuple[str, ...], said: str) -> None:
    runs = [
        release(one, diverging() if one in departing else judgement("mlx.nn.GroupNorm"))
        for one in ("0.10.0", "0.9.0", "0.11.0")
    ]
    page = shown(*runs)
    text = section(page, "GN-02").text
    assert f"Releases on this page: {said}" in text if said else "Releases on this page" not in text
    assert (f"Releases: {said}" in section(page, "in-short").text) == bool(said)


def test_of_several_releases_the_box_begins_with_the_newest_and_has_them_all(tmp_path: Path) -> None:
    runs = {f"mlx{n}": release(f"0.{n}.0", judgement("mlx.nn.GroupNorm")) for n in (9, 10)}
    page = page_of(tmp_path, torch=run(judgement()), **runs)
    chosen = [one.attributes["value"] for one in page.all("option") if "selected" in one.attributes]
    assert chosen == ["torch", "mlx 0.10.0"]
    often = [one.text for one in section(page, "ask").all("a") if one.attributes["data-to"]]
    assert often == ["torch to mlx 0.10.0", "mlx 0.10.0 to torch"]
    offered = {one.text for one in page.one("select", id="from").all("option")}
    assert {"mlx 0.9.0", "mlx 0.10.0", "mlx.nn.GroupNorm @0.9.0", "mlx.nn.GroupNorm @0.10.0"} <= offered
    heads = [one.text.split(" mlx.nn")[0] for one in section(page, "map").one("table").all("th", scope="row")]
    assert heads[:2] == ["mlx 0.9.0", "mlx 0.10.0"]


@pytest.mark.slow
def test_the_command_of_an_answer_names_a_release_as_the_command_line_does(tmp_path: Path) -> None:
    runs = {f"mlx{n}": release(f"0.{n}.0", judgement("mlx.nn.GroupNorm")) for n in (9, 10)}
    page_of(tmp_path, torch=run(judgement()), **runs)
    query = "?from=torch.nn.GroupNorm&to=mlx.nn.GroupNorm+%400.9.0"
    seen = opened(tmp_path / "index.html", "--virtual-time-budget=9000", query=query)
    told = seen.one("div", id="answer").text
    assert 'normgauge recipe "torch.nn.GroupNorm" "mlx.nn.GroupNorm@0.9.0" --verify' in told
