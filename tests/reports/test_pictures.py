"""Pictures: what a reader meets on a light and on a dark screen, without eyes, and without matplotlib."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from browser import opened
from click.testing import CliRunner
from drawings import parts, picture_in, words
from matplotlib.figure import Figure
from pages import header, parsed, profile, section, shown, write

from normgauge.conformance.cli.main import main
from normgauge.reports import pictures
from normgauge.reports.page.page import render
from normgauge.results.records import Record, Series, SeriesPoint

HOSTILE = "<script>alert(1)</script>&\"'\x1b[31m\x07\ufffe"


def paint(figure: Figure) -> None:
    area = figure.add_axes((0.1, 0.1, 0.8, 0.8))
    (line,) = area.plot([1, 2], [3, 4], color=pictures.BLUE)
    area.set_title(HOSTILE)
    pictures.say(line, HOSTILE)


def drawn(title: str = "a title") -> str:
    return pictures.picture(paint, (300, 200), title, "what it shows")


def test_the_same_picture_is_the_same_text_without_a_date_or_a_release() -> None:
    assert drawn() == drawn()
    assert not re.search(r"20\d\d-|matplotlib|metadata", drawn())


def test_a_picture_is_told_to_who_does_not_see_it() -> None:
    root = ET.fromstring(drawn())
    assert (root.get("role"), root.get("aria-label")) == ("img", "a title. what it shows")
    assert [root.findtext(f"{{*}}{tag}") for tag in ("title", "desc")] == ["a title", "what it shows"]
    assert (root.get("width"), root.get("height"), root.get("viewBox")) == ("300", "200", "0 0 300 200")


def test_text_of_a_record_becomes_no_markup_and_no_formula() -> None:
    told = "<script>alert(1)</script>&\"'"
    picture = picture_in(parsed(pictures.picture(paint, (300, 200), HOSTILE, HOSTILE)))
    assert not picture.all("script")
    assert told in words(picture)
    assert [one.said for one in parts(picture)] == [told]
    assert picture.attributes["aria-label"] == f"{told}. {told}"


def test_a_dollar_begins_no_formula() -> None:
    def costly(figure: Figure) -> None:
        figure.text(0.5, 0.5, "from $1_x to $2")

    assert words(parsed(pictures.picture(costly, (300, 200), "t", "d"))) == ["from $1_x to $2"]


def dotted(figure: Figure) -> None:
    figure.add_axes((0.1, 0.1, 0.8, 0.8)).plot([1, 2], [3, 4], "o")


def test_ids_within_a_picture_are_the_same_each_time_and_of_no_other_picture() -> None:
    first, again, other = (pictures.picture(dotted, (300, 200), title, "d") for title in ("a", "a", "b"))
    assert first == again
    ids = [set(re.findall(r'\bid="(\w+)"', svg)) for svg in (first, other)]
    assert all(ids)
    assert not ids[0] & ids[1]
    assert ids[0] == set(re.findall(r'href="#(\w+)"', first))
    assert not re.search(r"\bid=", drawn())  # without dots there are none


# --- colours ------------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    """The relative luminance of WCAG 2."""
    parts_of_one = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts_of_one]
    return sum(weight * one for weight, one in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def on_dark(svg: str) -> dict[str, str]:
    return dict(re.findall(r'\[style\*="(?:fill|stroke): (#\w+)"\] \{ \w+: (#\w+) !important \}', svg))


def used(svg: str) -> set[str]:
    return set(re.findall(r"#[0-9a-f]{6}\b", re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)))


def test_every_colour_of_a_picture_has_one_for_a_dark_screen() -> None:
    assert used(drawn())
    assert used(drawn()) <= on_dark(drawn()).keys()


@pytest.mark.parametrize("dark", [False, True])
def test_words_and_lines_stand_out_from_what_is_behind_them(dark: bool) -> None:
    def seen(colour: str) -> str:
        return on_dark(drawn())[colour] if dark else colour

    for text in (pictures.INK, pictures.QUIET):
        assert contrast(seen(text), seen(pictures.PAPER)) >= 4.5
    for band in (pictures.GOOD, pictures.BAD, pictures.OPEN, pictures.NONE):
        assert contrast(seen(pictures.INK), seen(band)) >= 4.5
    for line in (pictures.BLUE, pictures.GREEN, pictures.ORANGE, pictures.RED, pictures.VIOLET):
        assert contrast(seen(line), seen(pictures.PAPER)) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_gives_each_screen_its_colours_and_mends_nothing(dark: bool, tmp_path: Path) -> None:
    html = render([curve()])
    # The page forbids scripts; this copy allows the one that asks for colours.
    html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    ask = (
        "const of = (one) => getComputedStyle(one); const d = document; const picture = d.querySelector('svg');"
        "d.body.dataset.paper = of(picture.querySelector('path')).fill;"
        "const heading = [...picture.querySelectorAll('text')].find((one) => one.textContent.startsWith('Error of'));"
        "d.body.dataset.ink = of(heading).fill;"
        "d.body.dataset.line = of([...picture.querySelectorAll('title + path')].pop()).stroke;"
    )
    (tmp_path / "index.html").write_text(html.replace("</body>", f"<script>{ask}</script></body>"), encoding="utf-8")
    page = opened(tmp_path / "index.html", f"--blink-settings=preferredColorScheme={0 if dark else 1}")
    seen = page.one("body").attributes
    for name, colour in (("paper", pictures.PAPER), ("ink", pictures.INK), ("line", pictures.BLUE)):
        wanted = on_dark(drawn())[colour] if dark else colour
        assert seen[f"data-{name}"] == "rgb({}, {}, {})".format(*bytes.fromhex(wanted[1:])), name
    # A browser mends what is nested wrongly, so equal trees mean that nothing had to be mended.
    assert [one.tag for one in picture_in(page).walk()] == [one.tag for one in picture_in(parsed(html)).walk()]


# --- without matplotlib -------------------------------------------------------------------------

INSTALL = "matplotlib, which draws the pictures, is missing; install it with: pip install 'normgauge[pictures]'"


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """No module of that name can be found."""
    for name in [one for one in sys.modules if one.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    found = [one for one in sys.path if not (Path(one) / "matplotlib").exists()]
    monkeypatch.setattr(sys, "path", found)


def curve() -> list[Record]:
    points = [SeriesPoint(at=1.0, error=1e-7, bounds=[1e-6], holds="two_pass")]
    one = Series(
        implementation="torch.nn.GroupNorm", framework="torch", dtype="float32", computes_in="float32",
        quantity="output", axis="ratio", classes=["two_pass"], half=1e-4, half_gone_at=None, points=points,
    )  # fmt: skip
    return [header(), profile(), one]


@pytest.mark.usefixtures("without")
def test_without_matplotlib_the_report_has_its_tables_and_says_what_to_install(tmp_path: Path) -> None:
    write(tmp_path / "torch.jsonl", curve())
    ended = CliRunner().invoke(main, ["report", str(tmp_path), "--out", str(tmp_path)])
    assert ended.exit_code == 0
    assert ended.stderr.splitlines()[0] == f"warning: the report has no pictures: {INSTALL}"
    accuracy = section(parsed((tmp_path / "index.html").read_text(encoding="utf-8")), "accuracy")
    assert accuracy.one("p", **{"class": "warning"}).text == f"No pictures: {INSTALL}"
    assert "two-pass" in accuracy.one("table").text
    assert not accuracy.all("svg")


@pytest.mark.usefixtures("without")
@pytest.mark.parametrize("command", ["accuracy", "timeline"])
def test_without_matplotlib_a_command_that_draws_writes_nothing_and_says_what_to_install(
    command: str, tmp_path: Path
) -> None:
    write(tmp_path / "torch.jsonl", curve())
    ended = CliRunner().invoke(main, [command, str(tmp_path), "--out", str(tmp_path / "out")])
    assert (ended.exit_code, ended.output) == (3, f"Error: {INSTALL}\n")
    assert not [*(tmp_path / "out").iterdir()]


def test_nothing_is_imported_for_pictures_before_one_is_drawn() -> None:
    told = "import sys, normgauge.conformance.cli.main; print('matplotlib' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", told], check=True, capture_output=True, text=True)
    assert ended.stdout == "False\n"


def test_the_page_has_the_picture_where_matplotlib_is_there() -> None:
    accuracy = section(shown(curve()), "accuracy")
    assert [one.said for one in parts(picture_in(accuracy))] == [
        "bound of two-pass statistics in float32", "torch.nn.GroupNorm: two-pass",
    ]  # fmt: skip
