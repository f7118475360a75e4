"""Sorting what is told alike, and ids for what is linked."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Iterable
from typing import TypeVar

from normgauge.results.records import Header, Profile, Record

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


def of_kind(records: Iterable[Record], kind: type[T]) -> list[T]:
    """Every record of a kind."""
    return [record for record in records if isinstance(record, kind)]


def dtypes_of(some: Collection[str], everywhere: Collection[str]) -> str:
    """The dtypes of which something is said; empty where these are all."""
    return "" if set(some) == set(everywhere) else ", ".join(some)


def grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """The items by key, keys and items in the order in which they come."""
    found: dict[K, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def asked_of(headers: Iterable[Header], parts: Collection[str]) -> str:
    """The digests of what was asked for these results, and the budgets, as a page carries them."""
    found = {
        " ".join([*(f"{part} {one.catalogue.get(part, 'unknown')}" for part in parts), f"budget {one.budget}"])
        for one in headers
        if one.versions
    }
    return "; ".join(sorted(found)) or "nothing"
