"""Where in memory an array lies: what tells whether a call changed its input, and whether its results are their own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from normgauge.adapters.case import Array

#: What a user is given by a call and may write to, and what the call was given and goes on to hold.
RESULTS: Final = ("output", "dx", "dweight", "dbias", "running_mean", "running_var")
_GIVEN: Final = ("x", "dy", "weight", "bias")
#: Of an array that has an element of its own at the place of another one.
ITSELF: Final = "itself"


def buffer_of(array: Array) -> Array:
    """The bytes of the buffer that a NumPy array is a view of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array.ravel(order="K").view(np.uint8)


def storage_of(tensor: Any) -> Array:
    """The bytes of the storage of a tensor on the CPU, all of them, whatever part of it the tensor shows."""
    import torch

    return torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage()).numpy()  # type: ignore[no-any-return]


def elements_of(tensor: Any) -> Array:
    """A tensor on the CPU as a NumPy array at the same place; those of bfloat16 by their bits."""
    import torch

    tensor = tensor.detach()
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()  # type: ignore[no-any-return]


def shared_name(result: str, other: str) -> str:
    """How ``StepResult.shares`` names what a result shares memory with; what the output does needs no second name."""
    return other if result == "output" else f"{result} and {other}"


#: All pairs that are looked at, each once, by that name.
PAIRS: Final[Mapping[str, tuple[str, str]]] = {
    shared_name(result, other): (result, other)
    for number, result in enumerate(RESULTS)
    for other in (*_GIVEN, *RESULTS[number + 1 :], ITSELF)
}


def sharing(arrays: Mapping[str, Array]) -> Iterator[str]:
    """The names of those of :data:`PAIRS` that have an element in one place. ``arrays`` has their elements by name."""
    for name, (result, other) in PAIRS.items():
        if result in arrays and (
            overlaps_itself(arrays[result])
            if other == ITSELF
            else other in arrays and np.shares_memory(arrays[result], arrays[other])
        ):
            yield name


def overlaps_itself(array: Array) -> bool:
    """Whether two elements of an array lie in one place, even in part."""
    if not array.size or array.flags.c_contiguous:
        return False
    apart = sorted((abs(stride), size) for stride, size in zip(array.strides, array.shape, strict=True) if size > 1)
    spans = itertools.accumulate((stride * (size - 1) for stride, size in apart), initial=array.itemsize)
    if all(stride >= span for (stride, _), span in zip(apart, spans, strict=False)):
        return False  # each axis steps over all that the inner ones hold
    places = np.zeros(1, np.int64)
    for stride, size in apart:
        places = np.add.outer(places, stride * np.arange(size)).ravel()
    return bool(np.any(np.diff(np.sort(places)) < array.itemsize))
