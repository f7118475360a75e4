"""Error curves as pictures: a row for each curve, a column for each framework, a line for what came out alike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from markupsafe import Markup

from normgauge.reports import pictures
from normgauge.reports.grouping import grouped, layer_titles
from normgauge.reports.implementation_names import Names
from normgauge.results.facts import class_name
from normgauge.results.records import Profile, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Widths and heights in pixels.
PANEL: Final = (168, 150)
GAP: Final = (18, 66)
LEFT: Final = 78
RIGHT: Final = 130
TOP: Final = 74
BOTTOM: Final = 62
NARROWEST: Final = 640

#: The curves of a picture, top to bottom: axis, quantity, and their heading.
ROWS: Final = (
    ("ratio", "output", "Error of the output, over |mean| / deviation of the input"),
    ("ratio", "dx", "Error of the gradient dx, over |mean| / deviation of the input"),
    ("n", "output", "Error of the output, over n, the number of values that are normalised together"),
)
#: Errors above this are drawn there, and errors below as little: at 1 nothing is left of a value.
MOST: Final = 3.0
LEAST: Final = 1e-18
#: The colour and the width of a line, by accuracy class; None is outside of every class. Others are as text.
LINES: Final[Mapping[str | None, tuple[str, float]]] = {
    "two_pass": (pictures.BLUE, 1.8),
    "welford": (pictures.GREEN, 1.8),
    "one_pass": (pictures.ORANGE, 1.8),
    None: (pictures.RED, 3.0),
}
_Measured = Mapping[tuple[str, str], Profile]


@dataclass(frozen=True, kw_only=True)
class CurvesFigure:
    """The picture of one layer kind at one dtype, and what it shows in words."""

    kind: str
    dtype: str
    title: str
    described: str
    svg: Markup

    @property
    def file(self) -> str:
        return f"accuracy-{self.kind}-{self.dtype}.svg"


def curves_of(profiles: Sequence[Profile], series: Sequence[Series], names: Names) -> list[CurvesFigure]:
    """A picture for each layer kind and dtype that curves were measured of.

    Raises:
        NoPictures: matplotlib is missing.
    """
    measured = {(one.implementation, one.dtype): one for one in profiles}
    found = []
    for layer, name in layer_titles(profiles).items():
        own = [one for one in series if (one.implementation, one.dtype) in measured]
        own = [one for one in own if measured[one.implementation, one.dtype].layer == layer]
        for dtype, alike in grouped(own, lambda one: one.dtype).items():
            frameworks = grouped(alike, lambda one: names.framework(one.framework))
            title = f"{name}, {dtype}: error against the exact value"
            described = "; ".join(_said(framework, some, measured) for framework, some in frameworks.items())
            svg = _drawn(title, described, frameworks, measured, names)
            found.append(CurvesFigure(kind=layer, dtype=dtype, title=title, described=described, svg=svg))
    return found


def _drawn(
    title: str, described: str, frameworks: Mapping[str, Sequence[Series]], measured: _Measured, names: Names
) -> Markup:
    drawn = {(one.axis, one.quantity) for own in frameworks.values() for one in own}
    rows = [row for row in ROWS if row[:2] in drawn]
    right = LEFT + len(frameworks) * (PANEL[0] + GAP[0]) - GAP[0]
    width = max(right + RIGHT, NARROWEST)
    height = TOP + len(rows) * (PANEL[1] + GAP[1]) - GAP[1] + BOTTOM
    places = {
        "left": LEFT / width, "right": right / width, "top": 1 - TOP / height, "bottom": BOTTOM / height,
        "wspace": GAP[0] / PANEL[0], "hspace": GAP[1] / PANEL[1],
    }  # fmt: skip

    def paint(figure: Figure) -> None:
        figure.text(8 / width, 1 - 20 / height, title, size=14, weight="bold")
        grid = figure.subplots(
            len(rows), len(frameworks), sharex="row", sharey="row", squeeze=False, gridspec_kw=places
        )
        for panels, (axis, quantity, heading) in zip(grid, rows, strict=True):
            own = [
                [one for one in some if (one.axis, one.quantity) == (axis, quantity)] for some in frameworks.values()
            ]
            low = _scaled(panels[0], [one for some in own for one in some], heading)
            for panel, framework, some in zip(panels, frameworks, own, strict=True):
                panel.set_title(framework)
                _panel(panel, low, some, _measured_lines(some, measured, names))
            _marks(*[(panel, some[0].half) for panel, some in zip(panels, own, strict=True) if some][-1])
        _legend(figure)

    return Markup(pictures.picture(paint, (width, height), title, f"Implementations by accuracy class. {described}."))


def _scaled(panel: Axes, series: Sequence[Series], heading: str) -> float:
    """Give a row its heading and its axes, which all its panels share; the least error that is drawn."""
    from matplotlib.ticker import LogLocator, NullLocator

    panel.annotate(
        heading, (0, 1), (8 - LEFT, 22), xycoords="axes fraction", textcoords="offset pixels", size=12.5, weight="bold"
    )
    places = [point.at for one in series for point in one.points]
    errors = [point.error for one in series for point in one.points if point.error]
    low = max(10.0 ** math.floor(math.log10(min([*errors, *(one.half**2 for one in series)]))), LEAST)
    panel.set(xscale="log", yscale="log", xlim=(min(places), max(places)), ylim=(low, MOST))
    for axis, count in ((panel.xaxis, 4), (panel.yaxis, 6)):
        axis.set_major_locator(LogLocator(numticks=count))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(lambda value, _: power(round(math.log10(value))))
    return low


def _panel(panel: Axes, low: float, series: Sequence[Series], lines: Iterable[_Line]) -> None:
    """One framework's bounds and curves."""
    if not series:
        panel.text(0.5, 0.5, "not measured", transform=panel.transAxes, ha="center", va="center", color=pictures.QUIET)
        return
    for height in (series[0].half, 1.0):
        panel.axhline(height, color=pictures.QUIET, linewidth=0.8, linestyle=(0, (1, 3)))
    for line in (*_bounds(series[0]), *lines):
        across = [at for at, _ in line.points]
        up = [MOST if error is None else min(max(error, low), MOST) for _, error in line.points]
        colour, width = LINES.get(line.kind, (pictures.INK, 1.8))
        style = {"linewidth": 1, "dashes": (5, 3), "alpha": 0.75} if line.bound else {"linewidth": width}
        (drawn,) = panel.plot(across, up, color=colour, clip_on=False, **style)
        pictures.say(drawn, line.said)


def _marks(panel: Axes, half: float) -> None:
    """Say at the right of a row what its dotted lines stand for."""
    for height, said in ((half, "half of the digits lost"), (1.0, "all digits lost")):
        panel.annotate(
            said, (1, height), (6, -3), xycoords=("axes fraction", "data"), textcoords="offset pixels",
            size=9, color=pictures.QUIET,
        )  # fmt: skip


def _legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=colour, linewidth=width) for colour, width in LINES.values()]
    bound = Line2D([], [], color=LINES["two_pass"][0], linewidth=1, dashes=(5, 3), alpha=0.75)
    labels = ["two-pass", "Welford", "one-pass", class_name(None), "dashed: its bound"]
    figure.legend([*lines, bound], labels, loc="lower left", ncols=len(labels))


# --- what is drawn ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Line:
    """A curve, or the ``bound`` of a class: errors over places, None for an infinite one, and what is said of it."""

    kind: str | None
    points: tuple[tuple[float, float | None], ...]
    said: str
    bound: bool = False


def _measured_lines(series: Sequence[Series], measured: _Measured, names: Names) -> Iterator[_Line]:
    """A line for what came out alike."""

    def alike(one: Series) -> tuple[str | None, tuple[tuple[float, float | None], ...]]:
        points = tuple((point.at, point.error) for point in one.points)
        return measured[one.implementation, one.dtype].accuracy, points

    for (kind, points), own in grouped(series, alike).items():
        members = names.told((one.implementation, "") for one in own)
        told = ", ".join(f"{name} ({note})" if note else name for name, note in members)
        yield _Line(kind=kind, points=points, said=f"{told}: {class_name(kind)}")


def _bounds(model: Series) -> Iterator[_Line]:
    for place, kind in enumerate(model.classes):
        said = f"bound of {class_name(kind)} statistics in {model.computes_in}"
        points = tuple((point.at, point.bounds[place]) for point in model.points)
        yield _Line(kind=kind, points=points, said=said, bound=True)


def power(power: int) -> str:
    """A power of ten in superscript digits."""
    return "1" if power == 0 else "10" + str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _said(framework: str, series: Sequence[Series], measured: _Measured) -> str:
    """What a picture shows of a framework, for who does not see it."""
    implementations = dict.fromkeys(one.implementation for one in series)
    counted = grouped(implementations, lambda name: measured[name, series[0].dtype].accuracy)
    return f"{framework}: {', '.join(f'{len(own)} {class_name(kind)}' for kind, own in counted.items())}"
