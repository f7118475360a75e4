"""What a user does with flax.nnx and flax.linen layers alike. Scripts are written from the source of these functions.

With ``vmap`` each sample is a batch of one. BatchNorm gets the name of the mapped axis as ``axis_name`` and averages
the statistics over it, as users do over devices.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from normgauge.adapters.case import Array

#: The name under which ``vmap`` maps over the samples.
AXIS_NAME = "batch"
CANONICAL = {"scale": "weight", "bias": "bias"}


def to_array(value: Array, dtype: Any) -> Any:
    return jnp.asarray(value, dtype)


def to_numpy(value: Any) -> Array:
    return np.asarray(value)


def bfloat16_to_numpy(value: Any) -> Array:
    return np.asarray(value).astype(np.float32)


def full_mask(x: Any) -> Any:
    return jnp.ones(x.shape, bool)


def named(dx: Any, own: Mapping[str, Any]) -> dict[str, Any]:
    """The gradients by canonical name."""
    return {"dx": dx} | {f"d{name}": own[native] for native, name in CANONICAL.items() if native in own}
