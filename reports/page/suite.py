"""The tests of the suite itself in figures, as ``nox -s mutants`` and ``nox -s correct`` wrote them down."""

from __future__ import annotations

import importlib.resources
from typing import TYPE_CHECKING, Any, Final

import msgspec
from markupsafe import Markup

from normgauge.reports import pictures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The name of the suite among the ways of testing.
OWN: Final = "normgauge"
#: In pixels.
WIDTH: Final = 340
ROW: Final = 40


class Mutants(msgspec.Struct, frozen=True, kw_only=True):
    """How many ``faults`` were tried, and how many of them each way of testing caught, the suite first."""

    faults: int
    caught: dict[str, int]


class CorrectRun(msgspec.Struct, frozen=True, kw_only=True):
    """The random ``cases`` of one run on correct layers, in which every verdict conformed.

    ``seeds`` is empty where they were not written down.
    """

    seeds: list[int]
    cases: int


class CorrectLayers(msgspec.Struct, frozen=True, kw_only=True):
    """The runs on correct layers."""

    runs: list[CorrectRun]

    @property
    def cases(self) -> int:
        return sum(one.cases for one in self.runs)


def mutants() -> Mutants:
    """The figures of docs/mutants.md."""
    return msgspec.json.decode(_read("mutants.json"), type=Mutants)


def correct_layers() -> CorrectLayers:
    """The runs of ``nox -s correct`` that were kept."""
    return msgspec.json.decode(_read("correct_layers.json"), type=CorrectLayers)


def _read(name: str) -> bytes:
    return importlib.resources.files("normgauge.reports").joinpath(name).read_bytes()


def bars(found: Mutants) -> Markup:
    """A bar for each way of testing.

    Raises:
        NoPictures: matplotlib is missing.
    """
    title = f"Caught of {found.faults} wrong layers"
    height = 34 + ROW * len(found.caught)
    said = {name: f"{number} of {found.faults} ({number / found.faults:.0%})" for name, number in found.caught.items()}

    def paint(figure: Figure) -> None:
        from matplotlib.patches import Rectangle

        figure.text(6 / WIDTH, 1 - 18 / height, title, size=12.5, weight="bold")
        area = figure.add_axes((0, 0, 1, 1))
        area.set(xlim=(0, WIDTH), ylim=(height, 0))
        area.set_axis_off()
        for place, (name, number) in enumerate(found.caught.items()):
            top, full = 34 + ROW * place, WIDTH - 12
            area.text(6, top + 13, name, weight="bold" if name == OWN else "normal")
            area.text(6 + full, top + 13, said[name], ha="right")
            colour = pictures.GREEN if name == OWN else pictures.BLUE
            for width, fill in ((full, pictures.NONE), (full * number / found.faults, colour)):
                area.add_patch(Rectangle((6, top + 18), width, 12, facecolor=fill, edgecolor="none"))

    told = "; ".join(f"{name}: {text}" for name, text in said.items())
    return Markup(pictures.picture(paint, (WIDTH, height), title, f"{told}."))


def shown() -> dict[str, Any]:
    """What a template needs; no picture where it cannot be drawn."""
    found = mutants()
    return {"mutants": found, "bars": "" if pictures.missing() else bars(found), "correct": correct_layers()}
