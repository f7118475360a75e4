"""The ways in which users run an MLX layer."""

from __future__ import annotations

from typing import Final

from normgauge.adapters.mode import Mode

MODES: Final = (
    # On the CPU, a C++ compiler is called for every new kernel, which takes seconds.
    Mode(name="compile", about="called through mx.compile", compiles=True, thorough=True),
    Mode(
        name="mixed",
        about="with parameters of float32 and an input of half precision",
        dtypes=("float16", "bfloat16"),
        promotes=True,
    ),
)
