"""The picture of a timeline: a row for each thread, a band for each stretch of releases with one value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from markupsafe import Markup

from normgauge.reports import pictures
from normgauge.reports.timeline.history import Thread, Timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Widths and heights in pixels: of all releases at least, of a row, of its band, and below and beside the rows.
AREA: Final = 720
ROW: Final = 48
BAND: Final = 24
BOTTOM: Final = 44
SIDE: Final = 5
#: Widths of a letter, at most on the average: in a band, of a name in bold, of a layer.
IN_BAND, BOLD, SMALL = 6.4, 8.0, 5.8
#: What a colour stands for.
KINDS: Final = {
    "same": (pictures.GOOD, "as canonical or as documented"),
    "other": (pictures.BAD, "departs"),
    "open": (pictures.OPEN, "undecided, or a hazard"),
    "none": (pictures.NONE, "not there, or not measured"),
}


def picture_of(timeline: Timeline) -> Markup:
    """The SVG of what changed, and of where the semantics depart in every release.

    Raises:
        NoPictures: matplotlib is missing.
    """
    shown = [*timeline.changed, *(one for one in timeline.kept if one.kind == "semantics" and one.departs)]
    releases = timeline.releases
    cell = max(34.0, AREA / max(1, len(releases)))
    upright = cell <= 50
    top = 72 if upright else 30
    across = cell * max(1, len(releases))
    width, height = across + 2 * SIDE, top + max(1, len(shown)) * ROW + BOTTOM

    def paint(figure: Figure) -> None:
        from matplotlib.patches import Patch

        area = figure.add_axes((SIDE / width, BOTTOM / height, across / width, 1 - (top + BOTTOM) / height))
        area.set(
            xlim=(0, max(1, len(releases))), ylim=(max(1, len(shown)), 0), yticks=range(len(shown)), yticklabels=[]
        )
        area.set_xticks([place + 0.5 for place in range(len(releases))], releases, weight="bold", color=pictures.INK)
        area.tick_params(top=True, labeltop=True, labelbottom=False, labelrotation=60 if upright else 0)
        area.grid(visible=False, axis="x")
        area.spines[:].set_visible(False)
        for place, thread in enumerate(shown):
            _row(area, place, thread, cell)
        patches = [Patch(color=colour) for colour, _ in KINDS.values()]
        figure.legend(patches, [said for _, said in KINDS.values()], loc="lower left", ncols=len(KINDS))

    title = f"{timeline.framework}: what changed from release to release"
    described = "; ".join(f"{one.name}: {_told(timeline, one)}" for one in shown) or "nothing changed"
    return Markup(pictures.picture(paint, (width, height), title, f"{described}."))


def _told(timeline: Timeline, thread: Thread) -> str:
    """A row in words, for who does not see the picture."""
    return ", ".join(f"{thread.sign(value)}{value.worded} {releases}" for releases, value in timeline.stretches(thread))


def _row(area: Axes, place: int, thread: Thread, cell: float) -> None:
    across = cell * len(thread.values)
    heading = area.annotate(
        _cut(thread.name, across, BOLD), (0, place), (2, -15), textcoords="offset pixels", size=12.5, weight="bold"
    )
    names = ", ".join(f"{name} ({note})" if note else name for name, note in thread.members)
    fits = _cut(names, across - BOLD * len(thread.name), SMALL)
    area.annotate(fits, (1, 0), (8, 3), xycoords=heading, textcoords="offset pixels", size=10, color=pictures.QUIET)
    for begin, length, value in thread.bands:
        said = f"{thread.sign(value)}{value.text}"
        colour, _ = KINDS["other" if value.kind == "crash" else value.kind]
        (band,) = area.barh(
            place + 1 - (BAND / 2 + 4) / ROW, length - 2 / cell, BAND / ROW, begin + 1 / cell, color=colour
        )
        label = area.annotate(
            _cut(said, length * cell - 10, IN_BAND), (begin, place + 1), (7, 12), textcoords="offset pixels"
        )
        for artist in (band, label):
            pictures.say(artist, f"{thread.sign(value)}{value.worded}")


def _cut(text: str, width: float, letter: float) -> str:
    """As much of the text as fits; nothing where that is next to nothing."""
    most = int(width / letter)
    if len(text) <= most:
        return text
    return f"{text[: most - 1].rstrip()}…" if most > 3 else ""
