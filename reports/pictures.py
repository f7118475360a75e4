"""Pictures by matplotlib, as SVG to be put into a page or a file: for light and dark screens, with text as text.

The same data gives the same bytes. matplotlib is the extra ``pictures`` and is imported when something is drawn.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from normgauge.reports import templating

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

#: What a picture is drawn in, each colour with the one that takes its place on a dark screen.
PAPER: Final = "#ffffff"
INK: Final = "#1a1a1a"
QUIET: Final = "#666666"
GRID: Final = "#dddddd"
GOOD: Final = "#cde7d4"
BAD: Final = "#f7cdc8"
OPEN: Final = "#f6e2b8"
NONE: Final = "#e6e6e6"
SKY: Final = "#cfe0f7"
BLUE: Final = "#1a56b0"
GREEN: Final = "#2b8a6b"
ORANGE: Final = "#c25a00"
RED: Final = "#b3261e"
VIOLET: Final = "#7b3fa0"
_DARK: Final = {
    PAPER: "#121212", INK: "#eeeeee", QUIET: "#aaaaaa", GRID: "#3a3a3a",
    GOOD: "#1d4a2b", BAD: "#6b201a", OPEN: "#5a4310", NONE: "#3b3b3b", SKY: "#1f3d66",
    BLUE: "#8ab4ff", GREEN: "#6fd3b0", ORANGE: "#ffa95c", RED: "#ff8a7f", VIOLET: "#c9b0ff",
}  # fmt: skip

_STYLE: Final[dict[str, Any]] = {
    "svg.fonttype": "none", "text.parse_math": False, "font.size": 11, "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "figure.facecolor": PAPER, "axes.facecolor": PAPER, "text.color": INK, "axes.labelcolor": QUIET,
    "axes.edgecolor": GRID, "axes.titlecolor": INK, "axes.titlelocation": "left", "axes.titlesize": 11,
    "axes.titley": 1.0,  # not to be searched for
    "axes.grid": True, "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.8,
    "xtick.color": GRID, "ytick.color": GRID, "xtick.labelcolor": QUIET, "ytick.labelcolor": QUIET,
    "xtick.labelsize": 11, "ytick.labelsize": 11, "xtick.major.size": 0, "ytick.major.size": 0,
    "xtick.minor.visible": False, "ytick.minor.visible": False, "legend.frameon": False, "legend.labelcolor": QUIET,
}  # fmt: skip
_ON_DARK: Final = " ".join(
    f'[style*="{what}: {light}"] {{ {what}: {dark} !important }}'
    for light, dark in _DARK.items() for what in ("fill", "stroke")
)  # fmt: skip
_DPI: Final = 72
_SVG: Final = "{http://www.w3.org/2000/svg}"
_UNSEEN: Final = frozenset({f"{_SVG}metadata", f"{_SVG}clipPath"})
_SAID: Final = "said "
#: What of an element is measured in pixels: its numbers are rounded, and none that is read.
_MEASURED: Final = re.compile(r' (?:d|x|y|x1|x2|y1|y2|width|height|points|transform|viewBox|style)="[^"]*"')
#: A path, one of lines alone, and one of its points.
_PATH: Final = re.compile(r' d="([^"]*)"')
_LINES: Final = re.compile(r"[MLz\d. -]*")
_POINT: Final = re.compile(r"([ML]) *(-?[\d.]+) (-?[\d.]+)|z")
for _prefix, _space in (("", _SVG.strip("{}")), ("xlink", "http://www.w3.org/1999/xlink")):
    ET.register_namespace(_prefix, _space)


class NoPictures(Exception):
    """matplotlib is missing; the message says how to install it."""


def missing() -> str:
    """Why nothing can be drawn; empty where it can."""
    if importlib.util.find_spec("matplotlib"):
        return ""
    return "matplotlib, which draws the pictures, is missing; install it with: pip install 'normgauge[pictures]'"


def picture(paint: Callable[[Figure], None], size: tuple[float, float], title: str, described: str) -> str:
    """The SVG of what ``paint`` puts on a figure of ``size`` pixels; title and description are for who sees none.

    Raises:
        NoPictures: matplotlib is not installed.
    """
    if why := missing():
        raise NoPictures(why)
    import matplotlib as mpl
    from matplotlib.figure import Figure

    title, described = templating.printable(title), templating.printable(described)
    written = io.StringIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": title}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a letter that the font lacks in which text is measured
        figure = Figure(figsize=(size[0] / _DPI, size[1] / _DPI), dpi=_DPI)
        paint(figure)
        figure.savefig(written, format="svg", metadata={"Date": None})
    root = ET.fromstring(templating.printable(written.getvalue()))
    _clean(root)
    _tell(root, title, described)
    root.set("width", f"{size[0]:g}")
    root.set("height", f"{size[1]:g}")
    ET.indent(root, "")
    return ET.tostring(root, encoding="unicode")


def compact(svg: str) -> str:
    """The same picture in fewer bytes, for a page: a tenth of a pixel, paths by steps, each style once as a class."""
    styles: dict[str, str] = {}

    def named(found: re.Match[str]) -> str:
        style = found[1]
        return f' class="{styles.setdefault(style, "p" + hashlib.sha256(style.encode()).hexdigest()[:6])}"'

    svg = re.sub(r' transform="rotate\(-0 [^"]*\)"', "", svg.replace("\n", " "))
    svg = _MEASURED.sub(lambda found: _rounded(found[0]), svg)
    svg = re.sub(r' style="([^"]*)"', named, svg)
    svg = _PATH.sub(lambda found: f' d="{_shorter(found[1])}"', svg)
    svg = re.sub(r"> +<", "><", svg)
    light = " ".join(f".{name} {{ {style} }}" for style, name in styles.items())
    dark = " ".join(f".{name} {{ {changed} }}" for style, name in styles.items() if (changed := _on_dark(style)))
    return re.sub(
        "<style>.*?</style>", f"<style>{light} @media (prefers-color-scheme: dark) {{ {dark} }}</style>", svg, count=1
    )


def _rounded(attribute: str) -> str:
    return re.sub(r"\d+\.\d\d+", lambda found: f"{float(found[0]):.1f}".removesuffix(".0"), attribute)


def _shorter(path: str) -> str:
    """The path without what SVG lets out: where each point lies, and spaces beside a letter."""
    return _by_steps(path) if _LINES.fullmatch(path) else re.sub(r" *([A-Za-z]) *", r"\1", path.strip())


def _by_steps(lines: str) -> str:
    """The same lines by how far each point lies from the one before, in whole tenths, so that no error adds up."""
    written, at, begun = "", (0, 0), (0, 0)
    for letter, *point in _POINT.findall(lines):
        if not letter:
            written, at = written + "z", begun
            continue
        x, y = (round(10 * float(one)) for one in point)
        if letter == "M":
            begun = x, y
        step = (x - at[0], y - at[1]) if written else (x, y)
        written += ("m" if letter == "M" else " ") + " ".join(f"{one / 10:g}" for one in step)  # a line needs no letter
        at = x, y
    return re.sub(r"(?<!\d)0\.", ".", written).replace(" -", "-")


def _on_dark(style: str) -> str:
    """What of a style is another on a dark screen."""
    parts = (part.strip() for part in style.split(";"))
    changed = ((part, re.sub("|".join(_DARK), lambda found: _DARK[found[0]], part)) for part in parts)
    return "; ".join(dark for light, dark in changed if dark != light)


def say(artist: Artist, text: str) -> None:
    """Have a part of a picture say something to who points at it."""
    artist.set_gid(_SAID + text)


def _clean(root: ET.Element) -> None:
    """Leave out what nobody sees: metadata, clipping, ids that nothing refers to, and groups of nothing."""
    used = set(re.findall(r'href="#(\w+)"', ET.tostring(root, encoding="unicode")))
    for one in reversed([*root.iter()]):  # from the inside out
        one.attrib.pop("clip-path", None)  # nothing is drawn outside of its frame
        if not one.get("id", _SAID).startswith(_SAID) and one.get("id") not in used:
            del one.attrib["id"]
        for child in [*one]:
            if child.tag in _UNSEEN or (child.tag == f"{_SVG}g" and not len(child)):
                one.remove(child)


def _tell(root: ET.Element, title: str, described: str) -> None:
    """Give the picture its texts, and what its colours are on a dark screen."""
    for one in [one for one in root.iter() if one.get("id", "").startswith(_SAID)]:
        said = ET.Element(f"{_SVG}title")
        said.text = one.attrib.pop("id").removeprefix(_SAID)
        one.insert(0, said)
    for tag, text in (
        ("style", f"@media (prefers-color-scheme: dark) {{ {_ON_DARK} }}"),
        ("desc", described),
        ("title", title),
    ):
        told = ET.Element(f"{_SVG}{tag}")
        told.text = text
        root.insert(0, told)
    root.set("role", "img")
    root.set("aria-label", f"{title}. {described}")
