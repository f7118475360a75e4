"""Error curves as pictures: a row for each curve, a column for each framework, a line for what came out alike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from normgauge.reports.grouping import class_name, grouped, layer_titles
from normgauge.reports.implementation_names import Names
from normgauge.results.records import Profile, Series, SeriesPoint

#: Widths and heights in user units of an SVG.
PANEL: Final = (168, 150)
GAP: Final = (18, 66)
LEFT: Final = 78
TOP: Final = 74
BOTTOM: Final = 62

#: The curves of a picture, top to bottom: axis, quantity, and their heading.
ROWS: Final = (
    ("ratio", "output", "Error of the output, over |mean| / deviation of the input"),
    ("ratio", "dx", "Error of the gradient dx, over |mean| / deviation of the input"),
    ("n", "output", "Error of the output, over n, the number of values that are normalised together"),
)
#: Errors above this are drawn there: at 1 nothing is left of a value.
MOST: Final = 3.0


@dataclass(frozen=True, kw_only=True)
class Line:
    """``kind`` is an accuracy class or ``outside``; ``points`` are as an SVG polyline has them."""

    kind: str
    points: str
    title: str


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One framework's curves.

    Ticks are places with their labels, ``nothing`` and ``half`` the heights of error 1 and of half of the digits,
    which are told in the panel that is ``labelled``.
    """

    x: float
    y: float
    name: str
    axis: str
    bounds: tuple[Line, ...]
    lines: tuple[Line, ...]
    ticks_x: tuple[tuple[float, str], ...]
    ticks_y: tuple[tuple[float, str], ...]
    nothing: float
    half: float
    first: bool
    labelled: bool


@dataclass(frozen=True, kw_only=True)
class CurvesFigure:
    """The picture of one layer kind at one dtype; ``rows`` pairs the height of each row's heading with its text."""

    kind: str
    layer: str
    dtype: str
    width: int
    height: int
    rows: tuple[tuple[float, str], ...]
    panels: tuple[Panel, ...]
    described: str

    @property
    def title(self) -> str:
        return f"{self.layer}, {self.dtype}: error against the exact value"

    @property
    def file(self) -> str:
        return f"accuracy-{self.kind}-{self.dtype}.svg"


@dataclass(frozen=True, kw_only=True)
class _Scale:
    """From a value to a place on a logarithmic axis of ``length`` units."""

    low: float
    high: float
    length: float

    def __call__(self, value: float) -> float:
        inside = min(max(math.log10(max(value, 1e-300)), self.low), self.high)
        return (inside - self.low) / (self.high - self.low) * self.length

    def ticks(self, count: int) -> Iterator[int]:
        """Powers of ten at even steps, at most about ``count``."""
        step = max(1, math.ceil((self.high - self.low) / count))
        first = math.ceil(self.low / step) * step
        yield from range(first, math.floor(self.high) + 1, step)


def curves_of(profiles: Sequence[Profile], series: Sequence[Series], names: Names) -> list[CurvesFigure]:
    """A picture for each layer kind and dtype that curves were measured of."""
    measured = {(one.implementation, one.dtype): one for one in profiles}
    kinds = {(one.implementation, one.dtype): one.layer for one in profiles}
    found = []
    for layer, title in layer_titles(profiles).items():
        own = [one for one in series if kinds.get((one.implementation, one.dtype)) == layer]
        for dtype, alike in grouped(own, lambda one: one.dtype).items():
            found.append(_figure((layer, title), dtype, alike, measured, names))
    return found


def _figure(
    layer: tuple[str, str], dtype: str, series: Sequence[Series], measured: dict[tuple[str, str], Profile], names: Names
) -> CurvesFigure:
    frameworks = grouped(series, lambda one: names.framework(one.framework))
    rows = [row for row in ROWS if any((one.axis, one.quantity) == row[:2] for one in series)]
    headings, panels = [], []
    for place, (axis, quantity, heading) in enumerate(rows):
        y = TOP + place * (PANEL[1] + GAP[1])
        headings.append((y - 26.0, heading))
        everything = [one for one in series if (one.axis, one.quantity) == (axis, quantity)]
        across, up = _scales(everything)
        for column, (framework, own) in enumerate(frameworks.items()):
            here = [one for one in own if (one.axis, one.quantity) == (axis, quantity)]
            x = LEFT + column * (PANEL[0] + GAP[0])
            labelled = bool(here) and here[0] is everything[0]
            frame = _Frame(x=x, y=y, across=across, up=up, first=column == 0, labelled=labelled)
            lines = _measured_lines(here, measured, names)
            drawn = [Line(kind=kind, points=frame.polyline(points), title=said) for kind, points, said in lines]
            panels.append(_panel(frame, framework, here, drawn))
    described = "; ".join(_said(framework, own, measured) for framework, own in frameworks.items())
    width = LEFT + len(frameworks) * (PANEL[0] + GAP[0])
    height = TOP + len(rows) * (PANEL[1] + GAP[1]) + BOTTOM - GAP[1]
    kind, title = layer
    return CurvesFigure(
        kind=kind,
        layer=title,
        dtype=dtype,
        width=max(width, 640),
        height=height,
        rows=tuple(headings),
        panels=tuple(panels),
        described=described,
    )


def _scales(series: Sequence[Series]) -> tuple[_Scale, _Scale]:
    """One pair of axes for all panels of a row."""
    places = [point.at for one in series for point in one.points]
    errors = [point.error for one in series for point in one.points if point.error]
    low = math.floor(math.log10(min([*errors, *(one.half**2 for one in series)])))
    across = _Scale(low=math.log10(min(places)), high=math.log10(max(places)), length=PANEL[0])
    return across, _Scale(low=max(low, -18), high=math.log10(MOST), length=PANEL[1])


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """Where a panel stands, and its scales; ``first`` in its row, ``labelled`` with the names of the bounds."""

    x: float
    y: float
    across: _Scale
    up: _Scale
    first: bool
    labelled: bool

    def place(self, value: float) -> float:
        return self.y + PANEL[1] - self.up(value)

    def polyline(self, points: Iterable[tuple[float, float | None]]) -> str:
        placed = ((self.x + self.across(at), self.place(MOST if value is None else value)) for at, value in points)
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)


def _measured_lines(
    series: Sequence[Series], measured: dict[tuple[str, str], Profile], names: Names
) -> Iterator[tuple[str, tuple[tuple[float, float | None], ...], str]]:
    """For what came out alike: its class, its points, and what is said of it."""

    def class_of(one: Series) -> str:
        return measured[one.implementation, one.dtype].accuracy or "outside"

    for (kind, points), alike in grouped(series, lambda one: (class_of(one), _values(one.points))).items():
        members = names.told((one.implementation, "") for one in alike)
        told = ", ".join(f"{name} ({note})" if note else name for name, note in members)
        yield kind, points, f"{told}: {_worded(kind)}"


def _bounds(series: Sequence[Series], frame: _Frame) -> Iterator[Line]:
    for model in series[:1]:
        for place, kind in enumerate(model.classes):
            points = tuple((point.at, point.bounds[place]) for point in model.points)
            said = f"bound of {_worded(kind)} statistics in {model.computes_in}"
            yield Line(kind=kind, points=frame.polyline(points), title=said)


def _panel(frame: _Frame, framework: str, series: Sequence[Series], lines: Iterable[Line]) -> Panel:
    return Panel(
        x=frame.x,
        y=frame.y,
        name=framework,
        axis=series[0].axis if series else "ratio",
        bounds=tuple(_bounds(series, frame)),
        lines=tuple(lines),
        ticks_x=tuple((frame.x + frame.across(10.0**power), _power(power)) for power in frame.across.ticks(4)),
        ticks_y=tuple((frame.place(10.0**power), _power(power)) for power in frame.up.ticks(6)),
        nothing=frame.place(1.0),
        half=frame.place(series[0].half if series else MOST),
        first=frame.first,
        labelled=frame.labelled,
    )


def _values(points: Sequence[SeriesPoint]) -> tuple[tuple[float, float | None], ...]:
    return tuple((point.at, point.error) for point in points)


def _power(power: int) -> str:
    """A power of ten in superscript digits."""
    return "1" if power == 0 else "10" + str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _worded(kind: str) -> str:
    return class_name(None if kind == "outside" else kind)


def _said(framework: str, series: Sequence[Series], measured: dict[tuple[str, str], Profile]) -> str:
    """What a picture shows of a framework, for who does not see it."""
    counted = grouped(
        dict.fromkeys(one.implementation for one in series),
        lambda name: measured[name, series[0].dtype].accuracy or "outside",
    )
    return f"{framework}: {', '.join(f'{len(own)} {_worded(kind)}' for kind, own in counted.items())}"
