"""One fault: what is overridden, who had it, and what the suite must say of it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from faulty import batch_norm, group_norm, pipeline

GROUP: Final = "group_norm"
BATCH: Final = "batch_norm"
#: The layers that a fault overrides: those whose steps it replaces one by one, with gradients that follow.
STEPS: Final[Mapping[str, Any]] = {GROUP: pipeline.GroupNorm, BATCH: pipeline.BatchNorm}
#: And the honest ones, for what a backward kernel does and what a layer keeps.
HONEST: Final[Mapping[str, Any]] = {GROUP: group_norm.GroupNorm, BATCH: batch_norm.BatchNorm}


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A mistake that can be made in one kind of layer or in both.

    ``change`` maps names of methods or attributes of the layer to what stands in their place. ``why`` says who did it,
    or how a port comes to it; ``link`` is the thread, empty for a classic without one. ``named`` is a regular
    expression for what the suite must say of it, in letters of either case. ``dtype`` is the one
    that shows it.
    """

    name: str
    why: str
    named: str
    change: Mapping[str, Any]
    link: str = ""
    kinds: tuple[str, ...] = (GROUP, BATCH)
    on: Mapping[str, Any] = field(default_factory=lambda: STEPS)
    dtype: str = "float32"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A mistake in one kind of layer."""

    mistake: Mistake
    kind: str
    family: str

    @property
    def class_name(self) -> str:
        return "".join(word.capitalize() for word in self.mistake.name.replace("-", " ").split())

    @property
    def id(self) -> str:
        return f"{self.kind}.{self.class_name}"

    @functools.cached_property
    def layer(self) -> Any:
        return type(self.class_name, (self.mistake.on[self.kind],), dict(self.mistake.change))
