"""A GroupNorm of one's own as a function: what `docs/unit-tests.md` tests. Its mistake is the divisor n - 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def group_norm(
    x: Array, num_groups: int, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5
) -> Array:
    """The normalized x, with the wrong divisor of the variance."""
    if x.shape[1] % num_groups:
        raise ValueError(f"{x.shape[1]} channels do not make {num_groups} groups")
    if not x.size:
        return np.empty_like(x)
    sets = x.reshape(len(x), num_groups, -1)
    mean, var = sets.mean(-1, keepdims=True), sets.var(-1, keepdims=True, ddof=1)
    y = ((sets - mean) / np.sqrt(var + x.dtype.type(eps))).reshape(x.shape)
    along = (1, -1, *(1,) * (x.ndim - 2))
    y = y if weight is None else y * weight.reshape(along)
    return y if bias is None else y + bias.reshape(along)
