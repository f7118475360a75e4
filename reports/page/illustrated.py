"""Pictures of what measured choices do: where eps stands, which channels share a group, what is tracked.

The numbers are handed over with the answers; a letter on each curve leads to its row below.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

from normgauge.reports import pictures
from normgauge.reports.grouping import grouped
from normgauge.reports.implementation_names import Names, Told
from normgauge.reports.page.curves import power
from normgauge.reports.page.section import PageData, Section
from normgauge.results.illustrations import Curve, EpsPlacements, Followed, Grouping, Groupings, RunningStatistics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: In pixels; what fits a phone.
WIDTH: Final = 340
CURVES_HEIGHT: Final = 230
ROW: Final = 46
#: A letter is where the curve is this part as far from the others as anywhere, and this far from other letters, in
#: parts of the picture.
ENOUGH: Final = 0.4
ROOM: Final = 0.2
#: The colours of curves, each with its dashes: the first is a full line.
LINES: Final[tuple[tuple[str, tuple[float, ...]], ...]] = (
    (pictures.BLUE, ()),
    (pictures.ORANGE, (6, 2)),
    (pictures.GREEN, (2, 2)),
    (pictures.VIOLET, (6, 2, 2, 2)),
    (pictures.RED, (4, 1)),
)
#: The fills of groups; a number says which it is.
FILLS: Final = (pictures.SKY, pictures.OPEN, pictures.GOOD, pictures.NONE, pictures.BAD)
_QUANTITIES: Final = {"running_mean": "running mean", "running_var": "running variance"}
_Paint = Callable[["Figure"], None]


@dataclass(frozen=True, kw_only=True)
class FollowedRow:
    """A choice with its letter and who makes it: ``whole`` are frameworks all of whose measured layers do."""

    letter: str
    name: str
    meaning: str
    canonical: bool
    whole: tuple[str, ...]
    members: list[Told]


@dataclass(frozen=True, kw_only=True)
class Illustrated:
    """Pictures of one question, what they show in words, and a row for each choice."""

    title: str
    note: str
    svgs: tuple[Markup, ...]
    rows: tuple[FollowedRow, ...]


# --- who ----------------------------------------------------------------------------------------


def rows_of(choices: Sequence[Followed], names: Names) -> tuple[FollowedRow, ...]:
    """A row for each choice, with the implementations in few words."""
    dtypes: dict[str, set[str]] = {}
    for one in choices:
        for name, own in one.followers.items():
            dtypes.setdefault(name, set()).update(own)
    everyone = grouped(dtypes, lambda name: names.framework(names.of(name).framework))

    def row(letter: str, one: Followed) -> FollowedRow:
        whole = [
            framework
            for framework, own in everyone.items()
            if all(set(one.followers.get(name, ())) == dtypes[name] for name in own)
        ]
        members = [
            (name, "" if set(own) == dtypes[name] else ", ".join(own))
            for name, own in one.followers.items()
            if names.framework(names.of(name).framework) not in whole
        ]
        return FollowedRow(
            letter=letter,
            name=one.name,
            meaning=one.meaning,
            canonical=one.canonical,
            whole=tuple(whole),
            members=names.told(members),
        )

    return tuple(map(row, string.ascii_uppercase, choices))


def _who(row: FollowedRow) -> str:
    """Who makes a choice, for a picture that has little room."""
    layers = list(dict.fromkeys(name for name, _ in row.members))
    shown = [f"every layer of {', '.join(row.whole)}"] if row.whole else []
    if layers:
        shown.append(", ".join(layers) if len(layers) < 3 else f"{len(layers)} layers of others")
    return " and ".join(shown) or "no layer measured here"


def _described(rows: Sequence[FollowedRow]) -> str:
    return "; ".join(f"{row.letter}, {row.name}: {_who(row)}" for row in rows) + "."


# --- curves -------------------------------------------------------------------------------------


def _curves(panel: Axes, places: Sequence[float], curves: Sequence[Sequence[float]]) -> None:
    """Draw curves over the same places, each with its letter where it can be told from the others."""
    taken: list[tuple[int, float]] = []
    for number, (letter, values) in enumerate(zip(string.ascii_uppercase, curves, strict=False)):
        colour, dashes = LINES[number % len(LINES)]
        (line,) = panel.plot(places, values, color=colour, linewidth=2.2 if number == 0 else 1.8)
        if dashes:
            line.set_dashes(dashes)
        at = _place_of_letter(values, [one for place, one in enumerate(curves) if place != number], taken)
        taken.append((at, values[at]))
        panel.text(
            places[at], values[at], letter, color=colour, weight="bold", ha="center", va="center",
            bbox={"boxstyle": "circle,pad=0.15", "facecolor": pictures.PAPER, "edgecolor": colour},
        )  # fmt: skip


def _place_of_letter(
    values: Sequence[float], others: Sequence[Sequence[float]], taken: Sequence[tuple[int, float]]
) -> int:
    """Where the curve is apart from the others, and its letter from those that are there."""
    count, most = len(values), max(*values, *(max(one) for one in others), 1e-300)
    apart = [min((abs(values[at] - one[at]) for one in others), default=0.0) / most for at in range(count)]
    inside = range(1, count - 1)
    least = ENOUGH * max(apart[at] for at in inside)

    def room(at: int) -> float:
        return min((math.hypot((at - to) / count, (values[at] - value) / most) for to, value in taken), default=0.0)

    enough = (at for at in inside if apart[at] >= least)
    return max(enough, key=lambda at: (min(room(at), ROOM), apart[at], -abs(at - count // 2)))


def _panel(figure: Figure, height: float, heading: str, x: str) -> Axes:
    panel = figure.add_axes((42 / WIDTH, 42 / height, 1 - 56 / WIDTH, 1 - 74 / height))
    figure.text(6 / WIDTH, 1 - 18 / height, heading, size=12.5, weight="bold")
    panel.set_xlabel(x)
    return panel


def _placements(own: EpsPlacements, names: Names) -> Illustrated:
    rows = rows_of(own.curves, names)
    title = "Output over variance / eps"

    def paint(figure: Figure) -> None:
        from matplotlib.ticker import FixedLocator, NullLocator

        panel = _panel(figure, CURVES_HEIGHT, title, f"variance / eps, at eps = {own.eps:g}".replace("e-0", "e-"))
        panel.set(xscale="log", xlim=(own.ratios[0], own.ratios[-1]), ylim=(0, _top(own.curves)))
        panel.xaxis.set_major_locator(FixedLocator([1e-6, 1e-3, 1, 1e3]))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.xaxis.set_major_formatter(lambda value, _: power(round(math.log10(value))))
        _curves(panel, own.ratios, [one.values["output"] for one in own.curves])

    return Illustrated(
        title="What eps does",
        note="Two values, at equal distances from their mean, are normalised: the output of the larger one would be 1 "
        "without eps. From the left to the right, their variance grows. A small variance shows where eps stands.",
        svgs=(_drawn(paint, CURVES_HEIGHT, title, rows),),
        rows=rows,
    )


def _top(curves: Sequence[Curve]) -> float:
    return 1.06 * max(value for one in curves for values in one.values.values() for value in values)


def _running(own: RunningStatistics, names: Names) -> Illustrated:
    rows = rows_of(own.curves, names)
    svgs = []
    for quantity, name in _QUANTITIES.items():
        distinct = {repr(one.values[quantity]): one for one in reversed(own.curves)}

        def paint(figure: Figure, quantity: str = quantity, name: str = name) -> None:
            curves = [one.values[quantity] for one in own.curves]
            panel = _panel(figure, CURVES_HEIGHT, name.capitalize(), "calls in training")
            panel.set(xlim=(0, len(curves[0]) - 1), ylim=(0, 1.1 * max(value for one in curves for value in one)))
            _curves(panel, range(len(curves[0])), curves)

        title = f"{name.capitalize()} over calls in training"
        svgs.append(_drawn(paint, CURVES_HEIGHT, title, rows, "" if len(distinct) > 1 else "All curves are the same."))
    batch = ", ".join(f"{value:g}" for value in own.batch)
    return Illustrated(
        title="Running statistics over steps",
        note=f"A new layer is called in training with the same values, {batch}, again and again, with the argument "
        f"momentum={own.momentum:g}. Curves that are alike lie on each other.",
        svgs=tuple(svgs),
        rows=rows,
    )


# --- groups -------------------------------------------------------------------------------------


def _groupings(own: Groupings, names: Names) -> Illustrated:
    rows = rows_of(own.rows, names)
    height = 62 + ROW * len(rows)
    title = f"{own.channels} channels in {own.groups} groups"

    def paint(figure: Figure) -> None:
        figure.text(6 / WIDTH, 1 - 18 / height, title, size=12.5, weight="bold")
        area = figure.add_axes((0, 0, 1, 1))
        area.set(xlim=(0, WIDTH), ylim=(height, 0))
        area.set_axis_off()
        side = (WIDTH - 12) / own.channels
        for channel in range(own.channels):
            area.text(6 + (channel + 0.5) * side, 50, str(channel), color=pictures.QUIET, ha="center", size=10)
        area.text(6, 36, "channel", color=pictures.QUIET, size=10)
        for number, (row, one) in enumerate(zip(rows, own.rows, strict=True)):
            _cells(area, 62 + ROW * number, side, (row, one))

    return Illustrated(
        title="Which channels share a group",
        note="The number in a cell is the group whose mean and variance normalise the channel.",
        svgs=(_drawn(paint, height, title, rows),),
        rows=rows,
    )


def _cells(area: Axes, top: float, side: float, both: tuple[FollowedRow, Grouping]) -> None:
    from matplotlib.patches import Rectangle

    row, one = both
    area.text(6, top + 12, f"{row.letter}  {row.name}", size=11)
    for channel, group in enumerate(one.group_of):
        place = (6 + channel * side, top + 17)
        fill = FILLS[group % len(FILLS)]
        area.add_patch(Rectangle(place, side, 22, facecolor=fill, edgecolor=pictures.PAPER, linewidth=1.5))
        area.text(place[0] + side / 2, place[1] + 15, str(group), ha="center", size=11)


def _drawn(paint: _Paint, height: float, title: str, rows: Sequence[FollowedRow], more: str = "") -> Markup:
    return Markup(pictures.picture(paint, (WIDTH, height), title, " ".join([_described(rows), more]).strip()))


# --- the section --------------------------------------------------------------------------------


def illustrated_of(page: PageData) -> list[Illustrated]:
    """Every picture that there are numbers for.

    Raises:
        NoPictures: matplotlib is missing.
    """
    given = page.answers.illustrations
    found = []
    if given.eps:
        found.append(_placements(given.eps, page.names))
    if given.groupings:
        found.append(_groupings(given.groupings, page.names))
    if given.running and len(given.running.curves) > 1:
        found.append(_running(given.running, page.names))
    return found


def _content(page: PageData) -> Mapping[str, Any] | None:
    try:
        found, missing = illustrated_of(page), ""
    except pictures.NoPictures as error:
        found, missing = [], str(error)
    return {"illustrated": found, "missing": missing} if found or missing else None


SECTION: Final = Section(id="pictures", title="Choices in pictures", template="illustrated.html", content=_content)
