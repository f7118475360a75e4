"""GroupNorm in plain NumPy, step by step: one of the two sources that automatic mutants are made of.

Annotations have no operators in them, since a mutant of an annotation changes nothing.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class GroupNorm:
    """x has shape (N, C, *spatial); channel c belongs to group c // (C / G)."""

    def __init__(self, num_groups: int, num_channels: int, eps: float, dtype: str) -> None:
        if num_channels % num_groups:
            raise ValueError(f"num_channels={num_channels} must be divisible by num_groups={num_groups}")
        self.groups, self.channels, self.eps = num_groups, num_channels, eps
        self.weight: Any = np.ones(num_channels, dtype)
        self.bias: Any = np.zeros(num_channels, dtype)

    def check(self, x: Array) -> None:
        if x.shape[1] != self.channels:
            raise ValueError(f"made for {self.channels} channels, got shape {x.shape}")

    def across(self, x: Array) -> list[int]:
        """The shape in which a parameter (C,) goes with x: (1, C, 1, ...)."""
        shape = [1] * x.ndim
        shape[1] = self.channels
        return shape

    def normalised(self, x: Array) -> tuple[Array, Array, int]:
        """x_hat of shape (N, G, n), 1 / sqrt(var + eps) of shape (N, G, 1), and n."""
        n = math.prod(x.shape[1:]) // self.groups
        sets = x.reshape(len(x), self.groups, n)
        deviations = sets - sets.sum(axis=2, keepdims=True) / n
        var = np.square(deviations).sum(axis=2, keepdims=True) / n
        r = 1 / np.sqrt(var + self.eps)
        return deviations * r, r, n

    def __call__(self, x: Array) -> Array:
        self.check(x)
        y = self.normalised(x)[0].reshape(x.shape)
        if self.weight is not None:
            y = y * self.weight.reshape(self.across(x))
        if self.bias is not None:
            y = y + self.bias.reshape(self.across(x))
        return y.astype(x.dtype)

    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        """Those of sum(y * dy)."""
        x_hat, r, n = self.normalised(x)
        scaled = dy if self.weight is None else dy * self.weight.reshape(self.across(x))
        g = scaled.reshape(x_hat.shape)
        through_mean = g.sum(axis=2, keepdims=True) / n
        through_var = x_hat * (g * x_hat).sum(axis=2, keepdims=True) / n
        dx = (g - through_mean - through_var) * r
        found = {"dx": dx.reshape(x.shape).astype(x.dtype)}
        axes = (0, *range(2, x.ndim))
        if self.weight is not None:
            found["dweight"] = (dy * x_hat.reshape(x.shape)).sum(axis=axes).astype(self.weight.dtype)
        if self.bias is not None:
            found["dbias"] = dy.sum(axis=axes).astype(self.bias.dtype)
        return found
