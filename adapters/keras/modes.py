"""The ways in which users run a Keras layer, on each backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from normgauge.adapters.mode import Mode

MIXED: Final = Mode(
    name="mixed",
    about="under a mixed policy: variables of float32, inputs and outputs of half precision",
    dtypes=("float16", "bfloat16"),
    promotes=True,
)
JIT: Final = Mode(name="jit", about="called through jax.jit", thorough=True)
FUNCTIONS: Final = (
    Mode(name="function", about="called through tf.function", thorough=True),
    Mode(name="jit_compile", about="called through tf.function with jit_compile=True", thorough=True),
)
#: Those in which the backend compiles the layer.
COMPILED: Final = frozenset(mode.name for mode in (JIT, *FUNCTIONS))
MASK: Final = Mode(name="mask", about="with a mask in which every position counts", dtypes=("float32",))
#: The modes of each backend. A mask costs 11 s for every dtype where the backend compiles.
MODES: Final[Mapping[str, tuple[Mode, ...]]] = {
    "jax": (MIXED, replace(MASK, thorough=True), JIT),
    "torch": (MIXED, MASK),
    "tensorflow": (MIXED, MASK, *FUNCTIONS),
    "numpy": (MIXED, MASK),
}
