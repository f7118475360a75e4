"""An axis of the semantics: one independent, exclusive choice that an implementation makes."""

from __future__ import annotations

import functools
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class AxisValue:
    """One way of choosing on an axis: its name, what it means in words, and who does it."""

    name: str
    meaning: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One choice with its exclusive values; the first value is the canonical one.

    ``values`` are those that somebody ships on purpose. ``mistakes`` are those that came of an error: the diagnosis
    looks for them where no combination of the others explains what was observed. ``rare`` are mistakes that most
    inputs do not show, or that few layers have: the diagnosis looks for them last, and a layer without departures is
    not asked about them. ``code`` is the canonical choice as
    one step in NumPy, for inputs of shape (N, C, H, W): what a layer with one of the mistakes must do instead.

    Raises:
        ValueError: an axis with mistakes and no ``code``.
    """

    name: str
    question: str
    values: tuple[AxisValue, ...]
    mistakes: tuple[AxisValue, ...] = ()
    rare: tuple[AxisValue, ...] = ()
    code: str = ""

    def __post_init__(self) -> None:
        if (self.mistakes or self.rare) and not self.code:
            raise ValueError(f"axis {self.name} has mistakes; give the code of the canonical choice")

    @property
    def canonical(self) -> str:
        """The name of the canonical value."""
        return self.values[0].name

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the values that frameworks ship, the canonical one first."""
        return tuple(value.name for value in self.values)

    @property
    def every(self) -> tuple[AxisValue, ...]:
        """The values in use, then the mistakes, then the rare ones."""
        return self.values + self.mistakes + self.rare

    def value(self, name: str) -> AxisValue:
        """The value of this name, a mistake included.

        Raises:
            ValueError: the axis has no such value.
        """
        for value in self.every:
            if value.name == name:
                return value
        allowed = ", ".join(value.name for value in self.every)
        raise ValueError(f"axis {self.name} has no value {name!r}; allowed: {allowed}")
