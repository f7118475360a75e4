"""Where the channel axis stands. The canonical layout is (N, C, *spatial)."""

from __future__ import annotations

from typing import Final

import numpy as np

from normgauge.adapters.case import Array

CHANNELS_FIRST: Final = "N, C, *"
CHANNELS_LAST: Final = "N, *, C"


def to_layout(x: Array, layout: str) -> Array:
    """A canonical array in ``layout``, contiguous; one of the channel axis alone passes unchanged."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)) if layout == CHANNELS_LAST and x.ndim > 1 else x


def from_layout(x: Array, layout: str) -> Array:
    """The inverse of :func:`to_layout`; arrays without a channel axis pass unchanged."""
    return np.moveaxis(x, -1, 1) if layout == CHANNELS_LAST and x.ndim > 1 else x


def to_layout_text(x: str, layout: str) -> str:
    """The same as :func:`to_layout`, as Python text for a script."""
    return f"np.ascontiguousarray(np.moveaxis({x}, 1, -1))" if layout == CHANNELS_LAST else x


def from_layout_text(x: str, layout: str) -> str:
    """The same as :func:`from_layout`, as Python text for a script."""
    return f"np.moveaxis({x}, -1, 1)" if layout == CHANNELS_LAST else x
