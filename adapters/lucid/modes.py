"""The ways in which users run a Lucid layer."""

from __future__ import annotations

from typing import Final

from normgauge.adapters.mode import Mode

#: A tensor of float64 becomes one of float32 on the way there.
GPU: Final = Mode(name="gpu", about='after layer.to("gpu"), computed by MLX', dtypes=("float16", "float32"))
