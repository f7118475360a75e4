"""The picture of a timeline: a row for each thread, a band for each stretch of releases with one value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

from normgauge.reports import pictures
from normgauge.reports.timeline.history import Thread, Timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Widths and heights in pixels; letters of the bands take 6.4, of the names 7.2, of the layers below them 5.6.
LABELS: Final = 300
AREA: Final = 720
ROW: Final = 36
BOTTOM: Final = 44
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
    width, height = LABELS + cell * len(releases) + 10, top + max(1, len(shown)) * ROW + BOTTOM

    def paint(figure: Figure) -> None:
        from matplotlib.patches import Patch

        left, right = LABELS / width, 1 - 10 / width
        area = figure.add_axes((left, BOTTOM / height, right - left, 1 - (top + BOTTOM) / height))
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
    described = "; ".join(f"{thread.name}: {_told(timeline, thread)}" for thread in shown)
    return Markup(pictures.picture(paint, (width, height), title, f"{described}."))


def _told(timeline: Timeline, thread: Thread) -> str:
    """A row in words, for who does not see the picture."""
    return ", ".join(f"{thread.sign(value)}{value.text} {releases}" for releases, value in timeline.stretches(thread))


def _row(area: Axes, place: int, thread: Thread, cell: float) -> None:
    names = ", ".join(f"{name} ({note})" if note else name for name, note in thread.members)
    styles: tuple[tuple[str, float, int, dict[str, Any]], ...] = (
        (thread.name, 7.2, 15, {"size": 12.5, "weight": "bold"}),
        (names, 5.6, 29, {"size": 10, "color": pictures.QUIET}),
    )
    for text, letter, down, style in styles:
        fits = _cut(text, LABELS - 10, letter)
        area.annotate(fits, (0, place), (4 - LABELS, -down), textcoords="offset pixels", **style)
    for begin, length, value in thread.bands:
        said = f"{thread.sign(value)}{value.text}"
        colour, _ = KINDS["other" if value.kind == "crash" else value.kind]
        (band,) = area.barh(place + 0.5, length - 2 / cell, 26 / ROW, begin + 1 / cell, color=colour)
        fits = _cut(said, length * cell - 10, 6.4)
        label = area.annotate(fits, (begin, place), (7, -22), textcoords="offset pixels")
        for artist in (band, label):
            pictures.say(artist, said)


def _cut(text: str, width: float, letter: float) -> str:
    """As much of the text as fits; nothing where that is next to nothing."""
    most = int(width / letter)
    if len(text) <= most:
        return text
    return f"{text[: most - 1].rstrip()}…" if most > 3 else ""
