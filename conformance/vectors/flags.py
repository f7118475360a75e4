"""The flags of a set of vectors: the requirements, and the bugs that the values of the axes stand for, with links."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from normgauge.conformance.diagnosis.predictions import Prediction
from normgauge.conformance.layers.kind import LayerKind
from normgauge.conformance.requirements.requirement import Requirement
from normgauge.conformance.vectors.manifest import Flag
from normgauge.oracle import Reference, Semantics

_ADDRESS: Final = re.compile(r"https?://[^\s,;)\"]+")
#: How sources name an issue, a paper or a repository, and the address of each.
_NAMED: Final = (
    (re.compile(r"\b([\w-]+/[\w.-]*\w)#(\d+)"), "https://github.com/{}/issues/{}"),
    (re.compile(r"\b([\w-]+/[\w.-]*\w) \(issue #(\d+)\)"), "https://github.com/{}/issues/{}"),
    (re.compile(r"\barXiv:(\d{4}\.\d{4,5}(?:v\d+)?)"), "https://arxiv.org/abs/{}"),
    (re.compile(r"(?:^|; )([\w-]+/[\w.-]*\w)[,:] "), "https://github.com/{}"),
)


def links_in(texts: Iterable[str]) -> tuple[str, ...]:
    """The addresses of the issues, papers, repositories and pages that the texts name, each once."""
    found: list[str] = []
    for text in texts:
        found += [address.rstrip(".:") for address in _ADDRESS.findall(text)]
        found += [address.format(*match.groups()) for form, address in _NAMED for match in form.finditer(text)]
    return tuple(dict.fromkeys(found))


def requirement_flag(requirement: Requirement) -> Flag:
    sources = tuple(f"{one.work.name}: {one}" for one in requirement.source)
    return Flag(
        kind="requirement",
        layer=requirement.layer,
        title=requirement.title,
        note=requirement.statement,
        ground=requirement.ground,
        sources=sources,
        links=links_in(sources),
    )


def bugs_of(kind: LayerKind) -> Iterator[tuple[str, Semantics, Flag]]:
    """Every value of an axis but the canonical ones: its name, the semantics that has it alone, and its flag.

    A value that some framework ships on purpose is a bug in a port of another.
    """
    for axis in kind.axes:
        for value in axis.every[1:]:
            choices = {**kind.canonical.choices, axis.name: value.name}
            flag = Flag(
                kind="bug",
                layer=kind.name,
                title=f"{axis.question}?",
                note=value.meaning,
                sources=(value.source,),
                links=links_in([value.source]),
            )
            yield f"{kind.name} {axis.name}={value.name}", Semantics(layer=kind.name, choices=choices), flag


def catches(right: Prediction, wrong: Prediction) -> bool:
    """Whether everything within the bounds of ``wrong`` is outside those of ``right`` somewhere."""
    if (right.refused is None) != (wrong.refused is None):
        return True
    pairs = zip(right.steps, wrong.steps, strict=False)
    return any(_apart(one[name], other[name]) for one, other in pairs for name in one.keys() & other.keys())


def _apart(right: Reference, wrong: Reference) -> bool:
    if right.value.shape != wrong.value.shape:
        return True
    with np.errstate(invalid="ignore", over="ignore"):
        return bool((np.abs(right.value - wrong.value) > right.bound + wrong.bound).any())
