"""A correct GroupNorm and a correct BatchNorm that compute in a style; what else a layer does is that of ``faulty``.

A layer of half precision computes in float32 and rounds what it gives and what it keeps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from faulty import batch_norm, group_norm
from honest import Array, Machine, Statistics, normalised
from honest_backward import Pass

from correct.styles import STYLES, Style
from normgauge.adapters.dtypes import KNOWN_DTYPES


class Styled:
    """What both layers share. Sets have the shape (B, n); x comes as (N, C, *spatial), or with the channels last."""

    style: Style = STYLES["two_pass"]
    eps: float
    channels: int
    weight: Array | None
    bias: Array | None

    def made_of(self, dtype: str) -> str:
        """Set the machine that computes and the one that keeps; the type of NumPy's that holds what is kept."""
        self.store = Machine(dtype=dtype)
        self.f = Machine(dtype="float32") if KNOWN_DTYPES[dtype].half else self.store
        return KNOWN_DTYPES[dtype].carrier

    def first(self, x: Array) -> Array:
        """(N, C, *spatial) of what came."""
        return np.moveaxis(x, -1, 1) if self.style.last else x

    def given(self, x: Array) -> Array:
        """What is handed out, of (N, C, *spatial)."""
        return np.ascontiguousarray(np.moveaxis(x, 1, -1) if self.style.last else x)

    def scale_and_shift(self, x: Array) -> tuple[Array, Array]:
        """Weight and bias in the shape of x; what the layer does not have is 1 and 0."""
        shape = 1, -1, *(1,) * (x.ndim - 2)
        weight = np.ones(self.channels) if self.weight is None else self.weight
        bias = np.zeros(self.channels) if self.bias is None else self.bias
        w, b = (np.broadcast_to(self.f(one).reshape(shape), x.shape) for one in (weight, bias))
        return w, b

    def by_channel(self, x: Array) -> Array:
        """(C, N * positions)."""
        return np.moveaxis(x, 1, -1).reshape(-1, x.shape[1]).T

    def output(self, sets: Array, statistics: Statistics, weight: Array, bias: Array) -> Array:
        y = normalised(self.f, sets, statistics, weight, bias, eps=self.eps, form=self.style.form)
        return self.store(y)

    def backward(self, x: Array, dy: Array, weight: Array, statistics: Statistics) -> Pass:
        return Pass(
            f=self.f,
            x=x,
            dy=dy,
            weight=weight,
            statistics=statistics,
            eps=self.eps,
            placement="inside_sqrt",
            total=self.style.total,
        )

    def nothing(self) -> tuple[Array, Array]:
        """dweight and dbias where there are no values, each an array of its own."""
        return self.store(np.zeros(self.channels)), self.store(np.zeros(self.channels))

    def parameters(self, parts: Array, dy: Array) -> tuple[Array, Array]:
        """dweight and dbias, from arrays of shape (C, m)."""
        total = self.style.total
        weight, bias = (self.store(total(self.f, one)[:, 0]) for one in (parts, dy))
        return weight, bias


class GroupNorm(Styled, group_norm.GroupNorm):
    def __init__(self, num_groups: int, num_channels: int, eps: float, dtype: str) -> None:
        group_norm.GroupNorm.__init__(self, num_groups, num_channels, eps, self.made_of(dtype))

    def check(self, x: Array) -> None:
        super().check(self.first(x))

    def sets(self, x: Array) -> Array:
        """(N * G, values of a group), in the order in which they lie in memory."""
        grouped = x.reshape(x.shape[0], self.groups, x.shape[1] // self.groups, -1)
        return (grouped.swapaxes(2, 3) if self.style.last else grouped).reshape(x.shape[0] * self.groups, -1)

    def together(self, sets: Array, shape: tuple[int, ...]) -> Array:
        """The inverse of :meth:`sets`."""
        size = shape[1] // self.groups
        parts = sets.reshape(shape[0], self.groups, *((-1, size) if self.style.last else (size, -1)))
        return (parts.swapaxes(2, 3) if self.style.last else parts).reshape(shape)

    def __call__(self, x: Array) -> Array:
        self.check(x)
        x = self.first(x)
        if x.size == 0:
            return self.given(x.copy())
        weight, bias = map(self.sets, self.scale_and_shift(x))
        sets = self.sets(self.f(x))
        return self.given(self.together(self.output(sets, self.style.statistics(self.f, sets), weight, bias), x.shape))

    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        x, dy = self.f(self.first(x)), self.f(self.first(dy))
        if x.size == 0:
            return self.named(self.given(self.store(x.copy())), *self.nothing())
        sets, upstream, weight = (self.sets(one) for one in (x, dy, self.scale_and_shift(x)[0]))
        p = self.backward(sets, upstream, weight, self.style.statistics(self.f, sets))
        parts = self.f(upstream * self.f(self.f(sets - p.mean) * p.r))
        whole = self.together(parts, x.shape)
        dx = self.given(self.together(self.store(self.style.dx(p)), x.shape))
        return self.named(dx, *self.parameters(self.by_channel(whole), self.by_channel(dy)))


class BatchNorm(Styled, batch_norm.BatchNorm):
    #: What rounds running statistics where they are of another type than the input.
    kept: Machine | None = None

    def __init__(self, num_channels: int, eps: float, momentum: float | None, track: bool, dtype: str) -> None:
        batch_norm.BatchNorm.__init__(self, num_channels, eps, momentum, track, self.made_of(dtype))

    def check(self, x: Array) -> None:
        super().check(self.first(x))

    def in_channels(self, sets: Array, shape: tuple[int, ...]) -> Array:
        """The inverse of :meth:`by_channel`."""
        return np.moveaxis(sets.T.reshape(shape[0], *shape[2:], shape[1]), -1, 1)

    def statistics(self, sets: Array) -> tuple[Statistics, bool]:
        """What the layer normalises with, and whether it depends on the batch."""
        if self.training or self.running_mean is None or self.running_var is None:
            return self.style.statistics(self.f, sets), True
        return Statistics(mean=self.f(self.running_mean)[:, None], var=self.f(self.running_var)[:, None]), False

    def __call__(self, x: Array) -> Array:
        self.check(x)
        x = self.first(x)
        if x.size == 0:
            return self.given(x.copy())
        sets = self.by_channel(self.f(x))
        weight, bias = map(self.by_channel, self.scale_and_shift(x))
        statistics, _ = self.statistics(sets)
        if self.training and self.running_mean is not None:
            self.follow(statistics, sets.shape[1])
        return self.given(self.in_channels(self.output(sets, statistics, weight, bias), x.shape))

    def follow(self, batch: Statistics, n: int) -> None:
        """Move the running statistics."""
        self.steps += 1
        f, momentum = self.f, float(self.weight_of_new())
        variance = self.style.unbiased(f, batch.var[:, 0], n)
        self.running_mean, self.running_var = (
            (self.kept or self.store)(self.style.update(f, f(old), new, momentum)).view(type(old))
            for old, new in ((self.running_mean, batch.mean[:, 0]), (self.running_var, variance))
        )

    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        x, dy = self.f(self.first(x)), self.f(self.first(dy))
        if x.size == 0:
            return self.named(self.given(self.store(x.copy())), *self.nothing())
        sets, upstream, weight = (self.by_channel(one) for one in (x, dy, self.scale_and_shift(x)[0]))
        statistics, own = self.statistics(sets)
        p, f = self.backward(sets, upstream, weight, statistics), self.f
        dx = self.style.dx(p) if own else f(f(upstream * weight) * p.r)
        parts = f(upstream * f(f(sets - p.mean) * p.r))
        return self.named(self.given(self.in_channels(self.store(dx), x.shape)), *self.parameters(parts, upstream))


LAYERS: dict[str, Any] = {"GroupNorm": GroupNorm, "BatchNorm": BatchNorm}
