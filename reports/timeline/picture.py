"""The picture of a timeline: a row for each thread, a band for each stretch of releases with one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from normgauge.reports.timeline.history import Thread, Timeline

#: Widths in user units of an SVG; letters of the bands are 11 units high.
LABELS: Final = 300
AREA: Final = 720
ROW: Final = 36
LETTER: Final = 6.4


@dataclass(frozen=True, kw_only=True)
class Band:
    x: float
    width: float
    kind: str
    text: str
    title: str


@dataclass(frozen=True, kw_only=True)
class FigureRow:
    y: int
    name: str
    members: str
    bands: tuple[Band, ...]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Where everything stands. ``heads`` pairs the middle of each release's column with its label."""

    width: int
    height: int
    top: int
    cell: float
    heads: tuple[tuple[float, str], ...]
    rows: tuple[FigureRow, ...]


def figure_of(timeline: Timeline) -> Figure:
    """What changed, and where the semantics depart in every release."""
    shown = [*timeline.changed, *(one for one in timeline.kept if one.kind == "semantics" and one.departs)]
    cell = max(34.0, AREA / max(1, len(timeline.releases)))
    top = 30 if cell > 50 else 62
    heads = tuple((LABELS + (place + 0.5) * cell, label) for place, label in enumerate(timeline.releases))
    rows = tuple(_row(thread, top + place * ROW, cell) for place, thread in enumerate(shown))
    width = round(LABELS + cell * len(timeline.releases) + 10)
    return Figure(width=width, height=top + len(rows) * ROW + 44, top=top, cell=cell, heads=heads, rows=rows)


def _row(thread: Thread, y: int, cell: float) -> FigureRow:
    bands = []
    for begin, length, value in thread.bands:
        width = length * cell - 2
        text = f"{thread.sign(value)}{value.text}"
        bands.append(
            Band(x=LABELS + begin * cell + 1, width=width, kind=value.kind, text=_cut(text, width - 8), title=text)
        )
    names = ", ".join(f"{name} ({note})" if note else name for name, note in thread.members)
    return FigureRow(
        y=y, name=_cut(thread.name, LABELS - 10, 7.2), members=_cut(names, LABELS - 10, 5.6), bands=tuple(bands)
    )


def _cut(text: str, width: float, letter: float = LETTER) -> str:
    """As much of the text as fits; nothing where that is next to nothing."""
    most = int(width / letter)
    if len(text) <= most:
        return text
    return f"{text[: most - 1].rstrip()}…" if most > 3 else ""
