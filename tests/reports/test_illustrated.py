"""The pictures of choices: curves and groups by the oracle, and who follows them."""

from __future__ import annotations

import collections
import re

import explore_correct
import msgspec
import mutation_table
import pytest
from digests import PROJECT
from drawings import parts, picture_in, words
from matplotlib.figure import Figure
from pages import Element, header, judgement, parsed, profile, run, section

from normgauge.conformance.illustrations.choices import CHANNELS, GROUPS, illustrations_of
from normgauge.reports import pictures
from normgauge.reports.page import suite
from normgauge.reports.page.page import render
from normgauge.results.answers import Answers
from normgauge.results.illustrations import Illustrations
from normgauge.results.records import AxisMeasured, Profile, Record

#: Bytes of one picture as it stands in the page.
MOST = 15_000


def of(implementation: str, layer: str = "group_norm", known: bool = True, **measured: str) -> Profile:
    axes = [AxisMeasured(axis=axis, question="", canonical="", measured=[one]) for axis, one in measured.items()]
    return profile(implementation, layer=layer, axes=axes, known=known)


TORCH = run(
    of("torch.nn.GroupNorm", eps_placement="inside_sqrt", grouping="contiguous"),
    of("torch.nn.BatchNorm2d", "batch_norm", running_var="unbiased", momentum_weighs="new", variance="biased"),
)
MLX = run(
    of("mlx.nn.GroupNorm", eps_placement="outside_sqrt", grouping="interleaved"),
    of("mlx.nn.GroupNorm(pytorch_compatible=True)", eps_placement="inside_sqrt", grouping="contiguous"),
    # another variance in the output changes nothing that is tracked
    of("mlx.nn.BatchNorm", "batch_norm", running_var="biased", momentum_weighs="new", variance="unbiased"),
    framework="mlx",
)


def numbers(*runs: list[Record]) -> Illustrations:
    return illustrations_of(runs, lambda _, name: name)


def page(*runs: list[Record]) -> Element:
    return parsed(render(runs, answers_of=lambda given, named: Answers(illustrations=illustrations_of(given, named))))


def told(found: Element) -> list[str]:
    return [re.sub(r"\s+", " ", one.text) for one in found.all("dd")]


def test_each_placement_of_eps_has_its_curve_with_the_values_that_its_formula_has_where_variance_is_eps() -> None:
    eps = numbers(TORCH, MLX).eps
    assert eps
    at = min(range(len(eps.ratios)), key=lambda place: abs(eps.ratios[place] - 1))
    assert eps.ratios[at] == pytest.approx(1)
    found = {one.name: one.values["output"][at] for one in eps.curves}
    assert found == pytest.approx(
        {"inside_sqrt": 0.5**0.5, "outside_sqrt": 1 / (1 + eps.eps**0.5), "max_with_variance": 1.0}
    )
    followers = {one.name: [*one.followers] for one in eps.curves}
    assert followers["outside_sqrt"] == ["mlx.nn.GroupNorm"]
    assert followers["max_with_variance"] == []


def test_a_row_of_channels_for_each_grouping_that_was_measured() -> None:
    found = numbers(TORCH, MLX).groupings
    assert found
    assert {one.name: one.group_of for one in found.rows} == {
        "contiguous": [channel // (CHANNELS // GROUPS) for channel in range(CHANNELS)],
        "interleaved": [channel % GROUPS for channel in range(CHANNELS)],
    }
    (torch,) = [numbers(TORCH).groupings]
    assert torch
    assert [one.name for one in torch.rows] == ["contiguous"]


def test_what_is_tracked_alike_is_one_curve_named_by_what_changes_it() -> None:
    running = numbers(TORCH, MLX).running
    assert running
    assert {one.name: [*one.followers] for one in running.curves} == {
        "canonical": ["torch.nn.BatchNorm2d"],
        "running_var biased": ["mlx.nn.BatchNorm"],
    }
    canonical, biased = (one.values["running_var"][1] for one in running.curves)
    assert (canonical, biased) == pytest.approx((0.9 + 0.1 * 20 / 3, 0.9 + 0.1 * 5))


def test_what_nothing_explains_and_what_the_oracle_does_not_know_is_not_drawn() -> None:
    unknown = run(of("torch.nn.GroupNorm", known=False, grouping="interleaved"), of("torch.A", grouping="by_colour"))
    found = numbers(unknown).groupings
    assert found
    assert [(one.name, one.followers) for one in found.rows] == [("contiguous", {})]
    running = numbers(run(of("torch.B", "batch_norm", running_var="by_colour"))).running
    assert running
    assert [one.name for one in running.curves] == ["canonical"]
    assert numbers([header()]) == Illustrations()


def test_the_page_names_who_follows_each_curve_and_a_letter_leads_there() -> None:
    found = section(page(TORCH, MLX), "pictures")
    assert told(found)[:2] == [
        "y = (x - mean) / sqrt(var + eps) Measured: every layer of torch; mlx.nn.GroupNorm(pytorch_compatible=True).",
        "y = (x - mean) / (sqrt(var) + eps) Measured: mlx.nn.GroupNorm.",
    ]
    letters = [one.text for one in found.all("b")]
    assert letters == ["A", "B", "C", "A", "B", "A", "B"]
    for picture, count in zip(found.all("svg"), (3, 2, 2, 2), strict=True):
        own = {word[:1] for word in words(picture)}
        assert set("ABC"[:count]) <= own
        assert "mlx" in picture.attributes["aria-label"]


def test_pictures_are_small() -> None:
    html = render([TORCH, MLX], answers_of=lambda given, named: Answers(illustrations=illustrations_of(given, named)))
    sizes = [len(one.encode()) for one in re.findall("<svg.*?</svg>", html, flags=re.DOTALL)]
    assert len(sizes) == 4
    assert max(sizes) < MOST


def test_a_number_that_is_read_is_not_rounded_where_a_picture_is_made_small() -> None:
    def paint(figure: Figure) -> None:
        figure.text(0.123, 0.5, "eps 0.001")

    svg = pictures.picture(paint, (200, 100), "at 0.001", "from 0.005")
    small = pictures.compact(svg)
    assert small.count("0.001") == svg.count("0.001") == 3
    assert "from 0.005" in small
    assert not re.search(r' [xyd]="[^"]*\d\.\d\d', small)


def test_the_lines_of_a_small_picture_are_those_of_the_large_one() -> None:
    values = [0.0, 1 / 3, 0.34, 0.34, 2.0, -1.0, 1e-3]

    def paint(figure: Figure) -> None:
        area = figure.add_axes((0.1, 0.1, 0.8, 0.8))
        for place in range(2):
            pictures.say(area.plot([one + place for one in values])[0], f"line {place}")

    large = pictures.picture(paint, (300, 200), "t", "d")
    for before, after in zip(
        parts(picture_in(parsed(large))), parts(picture_in(parsed(pictures.compact(large)))), strict=True
    ):
        assert (after.left, after.right, after.top) == pytest.approx((before.left, before.right, before.top), abs=0.051)


# --- the suite itself ---------------------------------------------------------------------------


def test_the_figures_of_the_mutation_table_are_those_of_its_page() -> None:
    text = (PROJECT / "docs" / "mutants.md").read_text(encoding="utf-8")
    totals, *tables = text.split("\n\n| fault | ")
    header_row, caught = (re.search(rf"^\| {word} \|(.*)\|$", totals, flags=re.MULTILINE) for word in ("", "caught"))
    assert header_row
    assert caught
    names = [one.strip() for one in header_row[1].split("|")]
    counts = [int(one.split()[0]) for one in caught[1].split("|")]
    own = suite.mutants()
    assert own.caught == dict(zip(names, counts, strict=True))
    faults = [row for table in tables for row in table.partition("\n\n")[0].splitlines()[2:]]
    assert own.faults == len(faults)
    assert mutation_table.FIGURES.read_bytes() == mutation_table.written(own)


def test_a_run_on_correct_layers_that_is_kept_is_counted_with_those_before() -> None:
    cells = {
        (layer, "float32"): explore_correct.Told(explored=collections.Counter(cases=cases, calls=9))
        for layer, cases in (("a", 30), ("b", 12))
    }
    kept = explore_correct.with_run(suite.correct_layers(), cells, [5])
    after = msgspec.json.decode(kept, type=suite.CorrectLayers)
    assert after.cases == suite.correct_layers().cases + 42
    assert after.runs[-1].seeds == [5]


def test_the_page_says_the_figures_of_the_suite_s_own_tests() -> None:
    own, found = suite.mutants(), section(parsed(render([run(judgement())])), "known")
    (bars,) = found.all("svg")
    for name, number in own.caught.items():
        assert name in words(bars)
        assert f"{name}: {number} of {own.faults}" in bars.attributes["aria-label"]
    assert f"{suite.correct_layers().cases:,} random cases of correct layers" in found.text
