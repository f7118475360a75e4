"""BatchNorm in plain NumPy, step by step: one of the two sources that automatic mutants are made of.

Annotations have no operators in them, since a mutant of an annotation changes nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class BatchNorm:
    """x has shape (N, C, *spatial); n is the number of values of a channel."""

    training: bool

    def __init__(self, num_channels: int, eps: float, momentum: Any, track: bool, dtype: str) -> None:
        self.channels, self.eps, self.momentum = num_channels, eps, momentum
        self.weight: Any = np.ones(num_channels, dtype)
        self.bias: Any = np.zeros(num_channels, dtype)
        self.running_mean: Any = np.zeros(num_channels, dtype) if track else None
        self.running_var: Any = np.ones(num_channels, dtype) if track else None
        self.steps = 0
        self.frozen = False

    def reset(self) -> None:
        if self.running_mean is not None:
            self.running_mean = np.zeros_like(self.running_mean)
            self.running_var = np.ones_like(self.running_var)
            self.steps = 0

    def saved(self) -> dict[str, Any]:
        names = ("weight", "bias", "running_mean", "running_var", "steps")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def load(self, saved: dict[str, Any]) -> None:
        for name, value in saved.items():
            setattr(self, name, value)

    def trained(self) -> list[str]:
        return [name for name in ("weight", "bias") if getattr(self, name) is not None and not self.frozen]

    def check(self, x: Array) -> None:
        if x.shape[1] != self.channels:
            raise ValueError(f"made for {self.channels} channels, got shape {x.shape}")
        if self.training and x.size == self.channels:
            raise ValueError(f"more than 1 value per channel needed, got shape {x.shape}")

    def across(self, x: Array) -> list[int]:
        """The shape in which a parameter (C,) goes with x: (1, C, 1, ...)."""
        shape = [1] * x.ndim
        shape[1] = self.channels
        return shape

    def uses_batch(self) -> bool:
        return self.training or self.running_mean is None

    def statistics(self, x: Array) -> tuple[Array, Array]:
        """Mean and variance (C,) that x is normalised with."""
        if not self.uses_batch():
            return self.running_mean, self.running_var
        axes, n = (0, *range(2, x.ndim)), x.size // self.channels
        mean = x.sum(axis=axes) / n
        return mean, np.square(x - mean.reshape(self.across(x))).sum(axis=axes) / n

    def update(self, mean: Array, var: Array, n: int) -> None:
        self.steps += 1
        new = 1 / self.steps if self.momentum is None else self.momentum
        unbiased = var * (n / (n - 1))
        moved_mean = (1 - new) * self.running_mean + new * mean
        moved_var = (1 - new) * self.running_var + new * unbiased
        self.running_mean = moved_mean.astype(self.running_mean.dtype)
        self.running_var = moved_var.astype(self.running_var.dtype)

    def __call__(self, x: Array) -> Array:
        self.check(x)
        shape = self.across(x)
        mean, var = self.statistics(x)
        if self.training and self.running_mean is not None and x.size:
            self.update(mean, var, x.size // self.channels)
        r = 1 / np.sqrt(var + self.eps)
        y = (x - mean.reshape(shape)) * r.reshape(shape)
        if self.weight is not None:
            y = y * self.weight.reshape(shape)
        if self.bias is not None:
            y = y + self.bias.reshape(shape)
        return y.astype(x.dtype)

    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        """Those of sum(y * dy), asked for before the call moves the running statistics."""
        shape, axes, n = self.across(x), (0, *range(2, x.ndim)), x.size // self.channels
        mean, var = self.statistics(x)
        r = (1 / np.sqrt(var + self.eps)).reshape(shape)
        x_hat = (x - mean.reshape(shape)) * r
        g = dy if self.weight is None else dy * self.weight.reshape(shape)
        dx = g * r
        if self.uses_batch():
            through_mean = g.sum(axis=axes, keepdims=True) / n
            through_var = x_hat * (g * x_hat).sum(axis=axes, keepdims=True) / n
            dx = (g - through_mean - through_var) * r
        found = {"dx": dx.astype(x.dtype)}
        if self.weight is not None:
            found["dweight"] = (dy * x_hat).sum(axis=axes).astype(self.weight.dtype)
        if self.bias is not None:
            found["dbias"] = dy.sum(axis=axes).astype(self.bias.dtype)
        return found
