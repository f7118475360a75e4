"""The axes of semantics and their values.

An *axis* is one independent, exclusive choice that an implementation makes. Every value has a real
or historical implementation or a report behind it (``source``); a value nobody ever built does not exist here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from normgauge.oracle.axis import Axis
from normgauge.oracle.batch_norm_axes import BATCH_NORM
from normgauge.oracle.group_norm_axes import GROUP_NORM

AXES: Final[Mapping[str, tuple[Axis, ...]]] = {"group_norm": GROUP_NORM, "batch_norm": BATCH_NORM}
LAYER_KINDS: Final = tuple(AXES)
