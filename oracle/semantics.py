"""A point in the space of semantics, the canonical one, and all of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from normgauge.oracle.axes import AXES, LAYER_KINDS


@dataclass(frozen=True, kw_only=True)
class Semantics:
    """One point in the space of semantics of a layer kind.

    ``choices`` maps every axis name to one of its values. To learn on which axes a result depends, pass an empty set
    as ``read``: it receives the name of every axis whose :meth:`choice` is read.
    """

    layer: str
    choices: Mapping[str, str]
    read: set[str] | None = field(default=None, compare=False, repr=False)

    def choice(self, axis: str) -> str:
        """The value on an axis; ``read``, if there is one, receives the name of the axis."""
        if self.read is not None:
            self.read.add(axis)
        return self.choices[axis]

    def departures(self) -> dict[str, str]:
        """The choices that differ from the canonical ones."""
        return {
            axis.name: self.choices[axis.name] for axis in AXES[self.layer] if self.choices[axis.name] != axis.canonical
        }


def semantics(layer: str, **choices: str) -> Semantics:
    """The canonical semantics of ``layer`` with the named choices replaced.

    Raises:
        ValueError: unknown layer kind, axis or value.

    >>> semantics("group_norm", grouping="interleaved").departures()
    {'grouping': 'interleaved'}
    """
    if layer not in AXES:
        raise ValueError(f"layer kind {layer!r} is not known; allowed: {', '.join(LAYER_KINDS)}")
    axes = {axis.name: axis for axis in AXES[layer]}
    for name, chosen in choices.items():
        if name not in axes:
            raise ValueError(f"{layer} has no axis {name!r}; allowed: {', '.join(axes)}")
        axes[name].value(chosen)
    return Semantics(layer=layer, choices={name: choices.get(name, axis.canonical) for name, axis in axes.items()})


CANONICAL: Final[Mapping[str, Semantics]] = {layer: semantics(layer) for layer in LAYER_KINDS}


def candidates(layer: str) -> Iterator[Semantics]:
    """Every point of the product of the axes, the canonical one first."""
    names = [axis.name for axis in AXES[layer]]
    for values in itertools.product(*(axis.names for axis in AXES[layer])):
        yield Semantics(layer=layer, choices=dict(zip(names, values, strict=True)))
