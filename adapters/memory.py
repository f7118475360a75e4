"""Where in memory an array lies: what tells whether a call changed its input, or gave a view of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from normgauge.adapters.case import Array


def buffer_of(array: Array) -> Array:
    """The bytes of the buffer that a NumPy array is a view of: what ``Adapter.memory`` gives for one."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array.ravel(order="K").view(np.uint8)


def storage_of(tensor: Any) -> Array:
    """The bytes of the storage of a tensor on the CPU, all of them, whatever part of it the tensor shows."""
    import torch

    return torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage()).numpy()  # type: ignore[no-any-return]


def in_the_storage_of(tensor: Any, others: Mapping[str, Any]) -> list[str]:
    """The names of those tensors on the CPU whose storage overlaps that of ``tensor``, found by their addresses."""

    def ends(one: Any) -> tuple[int, int]:
        storage = one.untyped_storage()
        return storage.data_ptr(), storage.data_ptr() + storage.nbytes()

    begin, end = ends(tensor)
    spans = {name: ends(other) for name, other in others.items()}
    return [name for name, (first, last) in spans.items() if first < end and begin < last]
