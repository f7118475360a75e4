"""Where the channel axis stands. The canonical layout is (N, C, *spatial)."""

from __future__ import annotations

from typing import Final

CHANNELS_FIRST: Final = "N, C, *"
CHANNELS_LAST: Final = "N, *, C"
