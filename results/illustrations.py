"""What measured choices do, in numbers to be drawn: curves and groups, each with the implementations that follow them.

Commands make them (``normgauge.conformance.illustrations.choices``) with the oracle, and the report draws them.
"""

from __future__ import annotations

import msgspec


class Followed(msgspec.Struct, frozen=True, kw_only=True):
    """A choice of semantics by its short name, its meaning in words, and who was measured to follow it.

    ``followers`` has by implementation, as the page names it, the types at which it does. It is empty for an
    alternative that is drawn beside the measured ones.
    """

    name: str
    meaning: str
    canonical: bool
    followers: dict[str, list[str]]


class Curve(Followed, frozen=True, kw_only=True):
    """``values`` has by quantity a number for each place of the axis."""

    values: dict[str, list[float]]


class EpsPlacements(msgspec.Struct, frozen=True, kw_only=True):
    """The output for two values at deviation 1 from their mean, over ``ratios``, their variance divided by ``eps``."""

    eps: float
    ratios: list[float]
    curves: list[Curve]


class Grouping(Followed, frozen=True, kw_only=True):
    """``group_of`` has for each channel the number of the group whose statistics normalise it."""

    group_of: list[int]


class Groupings(msgspec.Struct, frozen=True, kw_only=True):
    """How ``groups`` groups are formed of ``channels`` channels."""

    channels: int
    groups: int
    rows: list[Grouping]


class RunningStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The running statistics of a channel over calls in training, each with the values ``batch``.

    Each curve has ``running_mean`` and ``running_var`` before the first call and after each.
    """

    batch: list[float]
    momentum: float
    curves: list[Curve]


class Illustrations(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What can be drawn of some runs; None where no layer of the kind was measured."""

    eps: EpsPlacements | None = None
    groupings: Groupings | None = None
    running: RunningStatistics | None = None
