"""Answers for a port: what differs between two implementations, the code to write, and what is known of a difference.

Commands make them (``normgauge.conformance.recipes.answers``), the report shows them. Implementations have the names
that the page gives them, with the release where there are several.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from normgauge.results.illustrations import Illustrations

#: What a difference changes: ordinary results; results or errors on rare inputs; a convention on rare inputs; how exact
#: a result is, and its type.
Weight = Literal["result", "rare", "convention", "exactness"]


class InNumbers(msgspec.Struct, frozen=True, kw_only=True):
    """The element of a stated case that differs most, with its value in A and in B."""

    case: str
    where: str
    a: str
    b: str


class PortDifference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One fact that differs; ``dtypes`` is empty where it is so at every type of both.

    ``requirement`` is the id of the requirement that it is about, where there is one. ``remedy`` is what to write with
    B in place of A.
    """

    weight: Weight
    subject: str
    a: str
    b: str
    requirement: str = ""
    dtypes: list[str] = []
    numbers: InNumbers | None = None
    remedy: str = ""


class PortPair(msgspec.Struct, frozen=True, kw_only=True):
    """Two groups of implementations with the same facts, by number, compared at ``dtypes``.

    ``sentence`` says whether they are the same. ``differences`` are numbers of differences, worst first. ``equal``
    counts the facts that are the same.
    """

    a: int
    b: int
    sentence: str
    dtypes: list[str]
    differences: list[int]
    equal: int


class PortRecipe(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The code to write with ``target`` in place of ``source``, in float32; empty where none can be written.

    ``built`` is the implementation that the code constructs, where it is not ``target`` itself.
    """

    source: str
    target: str
    code: str = ""
    built: str = ""
    does: list[str] = []
    does_not: list[str] = []
    impossible: list[str] = []


class KnownDifference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the list of known differences has of a difference, and the entry to paste into a list of one's own.

    ``reason``, ``url`` and ``versions`` are empty where the list has nothing.
    """

    implementation: str
    requirement: str
    measured: str
    entry: str
    reason: str = ""
    url: str = ""
    versions: str = ""


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a report is given beside the records; without it, the report has no question box.

    ``groups`` are implementations with the same facts. ``illustrations`` are drawn.
    """

    groups: list[list[str]] = []
    differences: list[PortDifference] = []
    pairs: list[PortPair] = []
    recipes: list[PortRecipe] = []
    known: list[KnownDifference] = []
    illustrations: Illustrations = Illustrations()
