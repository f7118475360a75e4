"""What a reader sees of a picture: its parts that say something where one points at them, and its words."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pages import Element


@dataclass(frozen=True, kw_only=True)
class Part:
    """A curve or a bar, from ``left`` to ``right`` in pixels, or a ``text``; ``said`` where one points at it."""

    said: str
    colour: str = ""
    dashed: bool = False
    left: float = 0.0
    right: float = 0.0
    top: float = 0.0
    text: str = ""


def picture_in(page: Element) -> Element:
    (found,) = page.all("svg", role="img")
    return found


def parts(picture: Element) -> list[Part]:
    """Those that say something, in the order in which they are drawn."""
    return [*_parts(picture)]


def _parts(picture: Element) -> Iterator[Part]:
    styles = dict(
        reversed(re.findall(r"\.(\w+) \{ (.*?) \}", " ".join(one.text for one in picture.all("style"))))
    )  # those of a bright screen, which come first
    for group in picture.all("g"):
        titles = [one for one in group.children if isinstance(one, Element) and one.tag == "title"]
        if not titles:
            continue
        (said,) = titles
        for path in group.all("path"):
            style = path.attributes.get("style") or styles[path.attributes["class"]]
            lines = path.attributes["d"]
            numbers = [float(one) for one in re.findall(r"-?[\d.]+", lines)]
            across, up = numbers[::2], numbers[1::2]
            if lines.startswith("m"):  # each point from the one before
                across, up = [*itertools.accumulate(across)], [*itertools.accumulate(up)]
            colours = re.findall(r"(?:fill|stroke): (#\w+)", style)
            yield Part(
                said=said.text, colour=colours[0], dashed="dasharray" in style,
                left=min(across), right=max(across), top=min(up),
            )  # fmt: skip
        for text in group.all("text"):
            yield Part(said=said.text, text=text.text)


def words(picture: Element) -> list[str]:
    return [one.text for one in picture.all("text")]
