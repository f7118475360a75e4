"""Implementations out of a table, where a package has all its layers in one layout and documents them alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from normgauge.adapters.case import Implementation

#: A class: its name, the kind of layer, the names of its arguments and attributes, the ranks of its inputs.
Row = tuple[str, str, Mapping[str, str], tuple[int, ...]]
EVERY_RANK: Final = (2, 3, 4, 5)


def implementations_of(rows: Iterable[Row], package: str, layout: str, page: str) -> tuple[Implementation, ...]:
    """The classes of ``package``; ``page`` is the address of their documentation, with {} for a class's name."""
    return tuple(
        Implementation(
            class_path=f"{package}.{name}",
            layer=layer,
            layout=layout,
            names=names,
            documentation=page.format(name),
            ranks=ranks,
        )
        for name, layer, names, ranks in rows
    )
