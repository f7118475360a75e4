"""Correct layers that choose otherwise where a choice is reasonable, and layers of half precision that are wrong.

Each overrides one thing of the layers in ``layers.py``, in the style ``einsum``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from faulty.adapter import _BATCH_NAMES, _GROUP_NAMES
from honest import Array, Machine, Statistics

from correct.adapter import CorrectAdapter
from correct.layers import BatchNorm, GroupNorm
from correct.styles import STYLES, two_pass_by_einsum
from normgauge.adapters.case import Case, Implementation
from normgauge.adapters.dtypes import KNOWN_DTYPES
from normgauge.adapters.layout import CHANNELS_FIRST

# --- choices ------------------------------------------------------------------------------------------


class CountsEmptyBatches(BatchNorm):
    def __call__(self, x: Array) -> Array:
        self.steps += self.training and x.size == 0
        return super().__call__(x)


class TakesOneValue(BatchNorm):
    def check(self, x: Array) -> None:
        training, self.training = self.training, False
        super().check(x)
        self.training = training

    def follow(self, batch: Statistics, n: int) -> None:
        super().follow(batch, max(n, 2))


class FrozenIsInference(BatchNorm):
    def __call__(self, x: Array) -> Array:
        self.training &= not self.frozen
        return super().__call__(x)


class RefusesNone(BatchNorm):
    def __init__(self, num_channels: int, eps: float, momentum: float | None, track: bool, dtype: str) -> None:
        if momentum is None:
            raise ValueError("momentum must be a number")
        super().__init__(num_channels, eps, momentum, track, dtype)


class Flushes:
    """Numbers below the normal ones are zero."""

    f: Machine

    def made_of(self, dtype: str) -> str:
        carrier: str = super().made_of(dtype)  # type: ignore[misc]
        self.f = replace(self.f, flush=True)
        return carrier


class RefusesRankOne:
    def check(self, x: Array) -> None:
        if x.ndim < 2:
            raise ValueError(f"an input has samples and channels: got shape {x.shape}")
        super().check(x)  # type: ignore[misc]


class RefusesEps:
    """Zero and negative numbers."""

    def __init__(self, *args: Any, eps: float, **options: Any) -> None:
        if eps <= 0:
            raise ValueError(f"eps must be positive: got {eps}")
        super().__init__(*args, eps=eps, **options)  # type: ignore[call-arg]


class WideGradients:
    """Gradients of float32 from half precision."""

    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        found: dict[str, Array] = super().gradients(x, dy)  # type: ignore[misc]
        return {name: value.astype(np.float32) for name, value in found.items()}


class WideOutput:
    """An output of float32 from half precision."""

    def __call__(self, x: Array) -> Array:
        y: Array = super().__call__(x)  # type: ignore[misc]
        return y.astype(np.float32)


class WideState(BatchNorm):
    """Running statistics of float32 from the first call on."""

    kept = Machine(dtype="float32")

    def follow(self, batch: Statistics, n: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        self.running_mean, self.running_var = (one.astype(np.float32) for one in (self.running_mean, self.running_var))
        super().follow(batch, n)


def _both(choice: type) -> tuple[type, type]:
    return tuple(type(f"{choice.__name__}{layer.__name__}", (choice, layer), {}) for layer in (GroupNorm, BatchNorm))  # type: ignore[return-value]


#: Each with the dtype at which it is a choice, and the requirements from which it departs without being an error.
CHOICES: Mapping[type, tuple[str, frozenset[str]]] = {
    CountsEmptyBatches: ("float32", frozenset({"BN-48"})),
    TakesOneValue: ("float32", frozenset({"BN-06"})),
    FrozenIsInference: ("float32", frozenset({"BN-29"})),
    RefusesNone: ("float32", frozenset({"BN-05"})),
    WideState: ("float16", frozenset({"BN-54"})),
    **{
        layer: (dtype, frozenset(departs))
        for choice, dtype, departures in (
            (Flushes, "float32", ((), ())),
            (RefusesRankOne, "float32", ((), ())),
            (RefusesEps, "float32", (("GN-32",), ("BN-41",))),
            (WideGradients, "float16", (("GN-43",), ("BN-53",))),
            (WideOutput, "float16", (("GN-20",), ("BN-24",))),
        )
        for layer, departs in zip(_both(choice), departures, strict=True)
    },
}

# --- faults -------------------------------------------------------------------------------------------


def in_sequence(machine: Machine, values: Array) -> Array:
    """The sum of each row, one value after another."""
    total = machine(values[:, :1])
    for column in machine(values).T[1:]:
        total = machine(total + column[:, None])
    return total


class AddsInHalf:
    """Sums of more than a thousand values in the half type, one after another."""

    store: Machine

    def statistics_of(self, f: Machine, x: Array) -> Statistics:
        if x.shape[1] < 1000:
            return two_pass_by_einsum(f, x)
        mean = f(in_sequence(self.store, x) / x.shape[1])
        return Statistics(mean=mean, var=f(in_sequence(self.store, np.square(x - mean)) / x.shape[1]))


class AddsGradientsInHalf:
    """Sums of more than a thousand products of dweight and dbias."""

    store: Machine

    def parameters(self, parts: Array, dy: Array) -> tuple[Array, Array]:
        if parts.shape[1] < 1000:
            return super().parameters(parts, dy)  # type: ignore[misc]
        weight, bias = (in_sequence(self.store, one)[:, 0] for one in (parts, dy))
        return weight, bias


class RoundsItsWeight:
    """To the half type, whatever type it has."""

    store: Machine
    weight: Array | None

    def scale_and_shift(self, x: Array) -> tuple[Array, Array]:
        given, self.weight = self.weight, None if self.weight is None else self.store(self.weight)
        try:
            return super().scale_and_shift(x)  # type: ignore[misc]
        finally:
            self.weight = given


class RoundsItsStatistics(BatchNorm):
    def statistics(self, sets: Array) -> tuple[Statistics, bool]:
        found, own = super().statistics(sets)
        return (found if own else Statistics(mean=self.store(found.mean), var=self.store(found.var))), own


class OnePassWhenLong:
    """From 31 values on."""

    def statistics_of(self, f: Machine, x: Array) -> Statistics:
        found = two_pass_by_einsum(f, x)
        if x.shape[1] < 31:
            return found
        squares = f(f(np.einsum("bn,bn->b", x, x))[:, None] / f(x.shape[1]))
        return replace(found, var=np.maximum(f(squares - f(found.mean * found.mean)), 0))


class LongConstantIsNan:
    def statistics_of(self, f: Machine, x: Array) -> Statistics:
        found = two_pass_by_einsum(f, x)
        constant = (x.shape[1] > 256) & (x.max(axis=1, keepdims=True) == x.min(axis=1, keepdims=True))
        return replace(found, var=np.where(constant, found.var.dtype.type(np.nan), found.var))


#: Each with the dtype at which it is a fault, and the requirement that it is caught at.
FAULTS: Mapping[type, tuple[str, frozenset[str]]] = {
    layer: (dtype, frozenset({own}))
    for fault, dtype, caught in (
        (AddsInHalf, "bfloat16", ("GN-44", "BN-55")),
        (AddsGradientsInHalf, "float16", ("GN-44", "BN-55")),
        (RoundsItsWeight, "float16", ("GN-45", "BN-56")),
        (OnePassWhenLong, "float32", ("GN-46", "BN-57")),
        (LongConstantIsNan, "bfloat16", ("GN-46", "BN-57")),
    )
    for layer, own in zip(_both(fault), caught, strict=True)
} | {RoundsItsStatistics: ("float16", frozenset({"BN-56"}))}

LAYERS: dict[str, Callable[..., Any]] = {one.__name__: one for one in (*CHOICES, *FAULTS)}


class ChoosingAdapter(CorrectAdapter):
    framework = "choosing"
    implementations = tuple(
        Implementation(
            class_path=f"einsum.{name}",
            layer="batch_norm" if issubclass(one, BatchNorm) else "group_norm",  # type: ignore[arg-type]
            layout=CHANNELS_FIRST,
            names=_BATCH_NAMES if issubclass(one, BatchNorm) else _GROUP_NAMES,  # type: ignore[arg-type]
            documentation="",
        )
        for name, one in LAYERS.items()
    )

    def layer_class(self, implementation: Implementation) -> Any:
        return LAYERS[implementation.class_name]

    def construct(self, implementation: Implementation, case: Case) -> Any:
        layer = super().construct(implementation, case)
        if hasattr(layer, "statistics_of"):
            layer.style = replace(STYLES["einsum"], statistics=layer.statistics_of)
        return layer

    def native_dtype(self, value: Any) -> str:
        found = super().native_dtype(value)
        return found if KNOWN_DTYPES[self.dtype].half else str(np.asarray(value).dtype)
