"""The adapter of correct layers: two layers in six styles, in every type, on arrays of every layout in memory."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from faulty.adapter import _BATCH_NAMES, _GROUP_NAMES, FaultyAdapter
from honest import Machine

from correct.layers import LAYERS
from correct.styles import STYLES
from normgauge.adapters.case import Array, Case, Implementation
from normgauge.adapters.dtypes import DTYPES
from normgauge.adapters.layout import CHANNELS_FIRST, CHANNELS_LAST


def strided(x: Array) -> Array:
    """Every second value of a row twice as long."""
    wide = np.full((*x.shape[:-1], 2 * x.shape[-1]), 7, x.dtype)
    wide[..., ::2] = x
    return wide[..., ::2]


def at_an_offset(x: Array) -> Array:
    """A part of a longer buffer."""
    buffer = np.full(x.size + 11, 7, x.dtype)
    buffer[5 : 5 + x.size] = x.reshape(-1)
    return buffer[5 : 5 + x.size].reshape(x.shape)


def reversed_in_memory(x: Array) -> Array:
    return x[::-1].copy()[::-1]


def expanded(x: Array) -> Array:
    """One sample for all, where they are equal."""
    if len(x) > 1 and np.array_equal(x, np.broadcast_to(x[:1], x.shape), equal_nan=True):
        return np.broadcast_to(x[:1].copy(), x.shape)
    return x


#: How an array may lie in memory.
LAYOUTS: Final[dict[str, Callable[[Array], Array]]] = {
    "contiguous": lambda x: x,
    "Fortran": np.asfortranarray,
    "channels last": lambda x: np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1) if x.ndim > 1 else x,
    "strided": strided,
    "at an offset": at_an_offset,
    "reversed": reversed_in_memory,
    "expanded": expanded,
}


def laid_out(x: Array, salt: int) -> Array:
    """``x`` in a layout that its values choose, so that it is the same in every run."""
    return list(LAYOUTS.values())[zlib.crc32(x.tobytes(), salt) % len(LAYOUTS)](x)


class Typed(np.ndarray[Any, np.dtype[Any]]):
    """An array of a parameter that is not of the input's type, or of what belongs to it."""


class CorrectAdapter(FaultyAdapter):
    framework = "correct"
    dtypes_together = True
    implementations = tuple(
        Implementation(
            class_path=f"{style}.{name}",
            layer=layer,
            layout=CHANNELS_LAST if one.last else CHANNELS_FIRST,
            names=names,
            documentation="",
        )
        for style, one in STYLES.items()
        for name, layer, names in (("GroupNorm", "group_norm", _GROUP_NAMES), ("BatchNorm", "batch_norm", _BATCH_NAMES))
    )

    @classmethod
    def dtypes(cls) -> tuple[str, ...]:
        return DTYPES

    def layer_class(self, implementation: Implementation) -> Any:
        return LAYERS[implementation.class_name]

    def construct(self, implementation: Implementation, case: Case) -> Any:
        layer = super().construct(implementation, case)
        layer.style = STYLES[implementation.identity.module]
        if "running_mean" in case.dtypes:
            layer.kept = Machine(dtype=case.dtypes["running_mean"])
        for name in case.dtypes:
            setattr(layer, name, getattr(layer, name).view(Typed))
        return layer

    def native_dtype(self, value: Any) -> str:
        """NumPy has no bfloat16; its values lie in float32."""
        found = super().native_dtype(value)
        carried = self.dtype == "bfloat16" and found == "float32" and not isinstance(value, Typed)
        return self.dtype if carried else found

    def to_native(self, implementation: Implementation, x: Array) -> Any:
        return self._moved(implementation, laid_out(x, 0))

    def upstream_to_native(self, implementation: Implementation, dy: Array) -> Any:
        return self._moved(implementation, laid_out(dy, 1))

    def to_numpy(self, implementation: Implementation, value: Any) -> Array:
        last = implementation.layout == CHANNELS_LAST and value.ndim > 1
        return np.moveaxis(value, -1, 1) if last else np.asarray(value)

    def _moved(self, implementation: Implementation, x: Array) -> Array:
        return np.moveaxis(x, 1, -1) if implementation.layout == CHANNELS_LAST and x.ndim > 1 else x
