"""The kinds of layer that there are: those of this distribution, and what registers in ``normgauge.layers``."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import itertools
import sys
from collections.abc import Mapping
from typing import Final

from normgauge.adapters.dtypes import DTYPES
from normgauge.conformance.layers.batch_norm import BATCH_NORM
from normgauge.conformance.layers.group_norm import GROUP_NORM
from normgauge.conformance.layers.kind import LayerKind
from normgauge.conformance.requirements.accuracy_curves import ACCURACY
from normgauge.conformance.requirements.requirement import Requirement
from normgauge.oracle import ACCURACY_CLASSES

#: An entry point of this group leads to a :class:`LayerKind`.
ENTRY_POINT_GROUP: Final = "normgauge.layers"


def layer_kinds() -> Mapping[str, LayerKind]:
    """Every kind of layer by its name."""
    return _layer_kinds(tuple(sys.path))


@functools.cache
def _layer_kinds(path: tuple[str, ...]) -> Mapping[str, LayerKind]:
    registered = [entry.load() for entry in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)]
    return {kind.name: kind for kind in (GROUP_NORM, BATCH_NORM, *registered)}


def kind_of(layer: str) -> LayerKind:
    """The kind of layer of this name.

    Raises:
        KeyError: there is none; :func:`layer_kinds` has those that there are.
    """
    return layer_kinds()[layer]


def requirements() -> Mapping[str, Requirement]:
    """Every requirement by its id."""
    return _requirements(tuple(sys.path))


@functools.cache
def _requirements(path: tuple[str, ...]) -> Mapping[str, Requirement]:
    everything = itertools.chain.from_iterable(kind.requirements for kind in layer_kinds().values())
    return {one.id: one for one in everything}


def digests() -> dict[str, str]:
    """Short digests of what is asked, by what they cover.

    That of the requirements changes when one comes or goes, that of the axes when an axis or a value does, that of the
    curves when an accuracy class, a dtype or a requirement on accuracy does. A changed text changes none.
    """
    axes = [(kind.name, axis.name, axis.names) for kind in layer_kinds().values() for axis in kind.axes]
    covered = {
        "requirements": sorted(requirements()),
        "axes": axes,
        "curves": [ACCURACY_CLASSES, sorted(DTYPES), [one.id for one in ACCURACY]],
    }
    return {name: hashlib.sha256(repr(what).encode()).hexdigest()[:8] for name, what in covered.items()}
