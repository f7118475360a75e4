"""The ways in which users run a Flax layer."""

from __future__ import annotations

from typing import Final

from normgauge.adapters.mode import Mode

REDUCTION_AXES: Final = Mode(
    name="reduction_axes", about="with reduction_axes that name every axis but that of the samples", thorough=True
)
#: Measured: each that is thorough adds 6 s and more, for every dtype, to the 13 s of a BatchNorm.
MODES: Final = (
    Mode(name="jit", about="called through jax.jit or nnx.jit", thorough=True),
    Mode(name="vmap", about="mapped over the samples, each a batch of one", thorough=True),
    Mode(name="mask", about="with a mask in which every element counts", thorough=True),
    REDUCTION_AXES,
    Mode(
        name="mixed",
        about="computed in half precision on parameters of float32",
        dtypes=("float16", "bfloat16"),
        promotes=True,
    ),
)
