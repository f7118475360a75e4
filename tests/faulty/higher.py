"""Layers with derivatives above the first and in forward mode, by Taylor series along a direction, right and wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

from faulty.batch_norm import BatchNorm as PlainBatchNorm
from faulty.group_norm import GroupNorm as PlainGroupNorm

Array = np.ndarray[Any, np.dtype[Any]]


class _Derived:
    """Sets are rows; x_hat(t) of x + t u is x0 + x1 t + x2 t^2, r(t) likewise."""

    def derived(self, x: Array, dy: Array, derivative: str) -> dict[str, Array]:
        moved, weight = self.rows(x), self.rows(np.broadcast_to(self.shaped(x), x.shape))
        u = self.rows(dy)
        x_hat, r = self.series(moved, u)
        if derivative == "forward":
            found = {"jvp": weight * x_hat[1], "jvp_of_jvp": 2 * weight * x_hat[2]}
            return {name: self.back(value, x).astype(x.dtype) for name, value in found.items()}
        first = self.back(x_hat[1], x)
        over = (0, *range(2, x.ndim))
        found = {
            "second_x": self.back(self.moved_gradient(weight * u, x_hat, r), x).astype(x.dtype),
            "second_dy": (self.shaped(x) * first).astype(x.dtype),
            "second_weight": (dy * first).sum(axis=over).astype(x.dtype),
        }
        return {name: value for name, value in found.items() if name != "second_weight" or self.weight is not None}

    weight: Array | None
    eps: float

    def shaped(self, x: Array) -> Array:
        """The weight, which broadcasts with x."""
        return np.ones(1, x.dtype) if self.weight is None else self.weight.reshape(-1, *(1,) * (x.ndim - 2))

    def series(self, x: Array, u: Array) -> tuple[list[Array], list[Array]]:
        """The coefficients of x_hat and of r."""
        given = self.given(x)
        if given is not None:
            mean, r = given
            return [(x - mean) * r, u * r, np.zeros_like(u)], [r, 0 * r, 0 * r]
        d, e = x - x.mean(axis=1, keepdims=True), u - u.mean(axis=1, keepdims=True)
        v1 = 2 * (d * e).mean(axis=1, keepdims=True)
        v2 = self.second_of_variance(u, e)
        r0 = 1 / np.sqrt(np.square(d).mean(axis=1, keepdims=True) + x.dtype.type(self.eps))
        r1 = -(r0**3) * v1 / 2
        r2 = -(r0**3) * v2 / 2 + 3 * r0**5 * v1**2 / 8
        return [d * r0, e * r0 + d * r1, e * r1 + d * r2], [r0, r1, r2]

    def second_of_variance(self, u: Array, e: Array) -> Array:
        return np.square(e).mean(axis=1, keepdims=True)

    def moved_gradient(self, g: Array, x_hat: list[Array], r: list[Array]) -> Array:
        """The derivative of r (g - mean g - x_hat mean(g x_hat)) along the direction."""
        if self.given(g) is not None:
            return np.zeros_like(g)

        def mean(values: Array) -> Array:
            return values.mean(axis=1, keepdims=True)

        a0, a1 = mean(g * x_hat[0]), mean(g * x_hat[1])
        return r[1] * (g - mean(g) - x_hat[0] * a0) - r[0] * (x_hat[1] * a0 + x_hat[0] * a1)

    def given(self, x: Array) -> tuple[Array, Array] | None:
        """Mean and reciprocal deviation where they are constants."""
        return None

    def rows(self, x: Array) -> Array:
        raise NotImplementedError

    def back(self, rows: Array, x: Array) -> Array:
        raise NotImplementedError


class GroupNorm(_Derived, PlainGroupNorm):
    def rows(self, x: Array) -> Array:
        return x.reshape(len(x) * self.groups, -1)

    def back(self, rows: Array, x: Array) -> Array:
        return rows.reshape(x.shape)


class BatchNorm(_Derived, PlainBatchNorm):
    def rows(self, x: Array) -> Array:
        return np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)

    def back(self, rows: Array, x: Array) -> Array:
        return np.moveaxis(rows.reshape(x.shape[1], x.shape[0], *x.shape[2:]), 0, 1)

    def given(self, x: Array) -> tuple[Array, Array] | None:
        if self.training:
            return None
        mean, var = self.used_in_eval()
        return mean[:, None], self.reciprocal(var)[:, None]


class _UncentredDirection(_Derived):
    """TensorFlow's tf.nn.moments: the variance's mean is a constant, which shows in its second derivative."""

    def second_of_variance(self, u: Array, e: Array) -> Array:
        return np.square(u).mean(axis=1, keepdims=True)


class _DeviationStays(_Derived):
    """Differentiates the backward pass as if the reciprocal deviation were a constant, as one that was saved is."""

    def moved_gradient(self, g: Array, x_hat: list[Array], r: list[Array]) -> Array:
        return super().moved_gradient(g, x_hat, [r[0], 0 * r[1], r[2]])


class GroupNormOfAConstantMean(_UncentredDirection, GroupNorm):
    pass


class BatchNormOfAConstantMean(_UncentredDirection, BatchNorm):
    pass


class GroupNormOfASavedDeviation(_DeviationStays, GroupNorm):
    pass


class BatchNormOfASavedDeviation(_DeviationStays, BatchNorm):
    pass
