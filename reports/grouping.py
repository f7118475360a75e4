"""Sorting what is told alike, and ids for what is linked."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from normgauge.results.records import Profile

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


def layer_titles(profiles: Iterable[Profile]) -> dict[str, str]:
    """The kinds of layer in the order in which they come, each with its title."""
    return {one.layer: one.layer_title or one.layer.title().replace("_", "") for one in profiles}


class Anchors:
    """Gives each thing an id that is unique on the page and needs no escaping in a link."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)

    def new(self, text: str) -> str:
        wanted = re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-") or "item"
        number, anchor = 1, wanted
        while anchor in self._taken:
            number += 1
            anchor = f"{wanted}-{number}"
        self._taken.add(anchor)
        return anchor


def grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """The items by key, keys and items in the order in which they come."""
    found: dict[K, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found
