"""Both layers as pipelines in NumPy, right in every step: a fault replaces one step, and its gradient follows.

The steps are those of a normalization: which elements form a set, which of them are counted, the centre, the variance,
eps, the affine parameters, what follows. The gradients are those of the steps as they are, as automatic
differentiation gives them. A fault of a backward kernel is an override of the honest layers instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from faulty import batch_norm, group_norm

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Mean and variance of S sets, and of what they were made: values (S, m) at the places ``counted`` of x."""

    mean: Array
    var: Array
    counted: Array
    values: Array
    zeros: int


@dataclass(frozen=True, kw_only=True)
class Forward:
    """What a call made. ``users`` has for each element of x its set; centre, r and slope belong to sets."""

    x: Array
    users: Array
    statistics: Statistics | None
    centre: Array
    r: Array
    slope: Array
    x_hat: Array
    y: Array
    steepness: Array


class Steps:
    """The steps, each of them right. ``shape`` is that of x, ``full`` the number of elements of a set."""

    channels: int
    eps: float
    weight: Array | None
    bias: Array | None
    shape: tuple[int, ...] = ()
    full = 0
    #: How far the centre, and what is subtracted before squaring, move with the mean.
    centre_moves = 1.0
    about_moves = 1.0

    def sets(self, places: Array) -> Array:
        """The places of x, of shape (N, C, *spatial), as sets (S, n)."""
        raise NotImplementedError

    def counted(self, sets: Array) -> Array:
        """The places (S, m) that enter the statistics of each set."""
        return sets

    def zeros(self, m: int) -> int:
        """How many zeros enter the statistics of each set beside its m elements."""
        return 0

    def lender(self, count: int) -> Array:
        """By set, the set whose statistics it uses."""
        return np.arange(count)

    def divisor_of_mean(self, n: int) -> float:
        """What a sum of n values, zeros among them, is divided by."""
        return n

    def divisor(self, n: int) -> float:
        """What a sum of n squares is divided by."""
        return n

    def mean(self, values: Array, n: int) -> Array:
        """The means (S,) of values (S, m)."""
        return _divided(values.mean(axis=1), values.shape[1], self.divisor_of_mean(n))

    def about(self, values: Array, mean: Array) -> Array:
        """What is subtracted before squaring, of a shape that goes with (S, m)."""
        return mean[:, None]

    def variance(self, values: Array, mean: Array, zeros: int) -> Array:
        about, m = self.about(values, mean), values.shape[1]
        squares = np.square(values - about).mean(axis=1)
        if zeros:
            squares = squares + np.square(about[:, 0]) * values.dtype.type(zeros / m)
        return _divided(squares, m, self.divisor(m + zeros))

    def centre(self, mean: Array) -> Array:
        return mean

    def given_eps(self) -> float:
        return self.eps

    def reciprocal(self, var: Array) -> Array:
        return 1 / np.sqrt(var + var.dtype.type(self.given_eps()))

    def slope(self, var: Array) -> Array:
        """-2 dr/dvar in units of r^3."""
        return np.ones_like(var)

    def scale_and_shift(self) -> tuple[Array | None, Array | None]:
        """y = x_hat * scale + shift, each of shape (C,)."""
        return self.weight, self.bias

    def parameter_axis(self) -> int:
        """The dimension of x along which weight and bias lie."""
        return 1

    def parameter_gradients(self, dscale: Array, dshift: Array) -> tuple[Array, Array]:
        """Those of weight and bias, of the sums of dy * x_hat and dy."""
        return dscale, dshift

    def after(self, y: Array) -> tuple[Array, Array]:
        """What follows, and its slope."""
        return y, np.ones_like(y)

    # --- the machinery ---

    def statistics(self, x: Array, sets: Array) -> Statistics:
        self.full = sets.shape[1]
        counted = self.counted(sets)
        values = x.reshape(-1)[counted]
        zeros = self.zeros(values.shape[1])
        mean = self.mean(values, values.shape[1] + zeros)
        return Statistics(
            mean=mean, var=self.variance(values, mean, zeros), counted=counted, values=values, zeros=zeros
        )

    def finished(self, x: Array, users: Array, statistics: Statistics | None, mean: Array, var: Array) -> Forward:
        """The rest of a call: normalise with mean and var by set, scale, shift and what follows."""
        centre, r = self.centre(mean), self.reciprocal(var)
        x_hat = (x - centre[users]) * r[users]
        scale, shift = map(self.spread, self.scale_and_shift())
        y = x_hat if scale is None else x_hat * scale
        y, steepness = self.after(y if shift is None else y + shift)
        return Forward(
            x=x, users=users, statistics=statistics, centre=centre, r=r, slope=self.slope(var), x_hat=x_hat,
            y=y.astype(x.dtype), steepness=steepness,
        )  # fmt: skip

    def spread(self, parameter: Array | None) -> Array | None:
        """A parameter (C,) in a shape that goes with x."""
        places = [1] * len(self.shape)
        places[self.parameter_axis()] = -1
        return None if parameter is None else parameter.reshape(places)

    def users(self, sets: Array, shape: tuple[int, ...]) -> Array:
        users = np.empty(sets.size, np.intp)
        users[sets] = self.lender(len(sets))[:, None]
        return users.reshape(shape)

    def backward(self, p: Forward, dy: Array) -> tuple[Array, Array, Array]:
        """dx, dweight and dbias of sum(y * dy)."""
        axes = tuple(axis for axis in range(dy.ndim) if axis != self.parameter_axis() % dy.ndim)
        dy = dy * p.steepness
        parameters = self.parameter_gradients((dy * p.x_hat).sum(axis=axes), dy.sum(axis=axes))
        scale = self.spread(self.scale_and_shift()[0])
        g = dy if scale is None else dy * scale
        dx = g * p.r[p.users]
        if p.statistics is not None:
            dx = dx + self.through_statistics(p, p.statistics, g)
        return dx.astype(p.x.dtype), *parameters

    def through_statistics(self, p: Forward, s: Statistics, g: Array) -> Array:
        def by_set(values: Array) -> Array:
            return np.bincount(p.users.ravel(), values.ravel(), len(s.mean))

        n, about = s.values.shape[1] + s.zeros, self.about(s.values, s.mean)
        # By set: the gradient of the sum of squares, once and twice times the deviation; large r do not overflow.
        dsquares = -by_set(g * p.x_hat) * p.slope * p.r / self.divisor(n)
        deviations = (s.values - about) * p.r[:, None]
        dmean = -by_set(g) * p.r * self.centre_moves
        dmean = dmean - self.about_moves * dsquares * (deviations.sum(axis=1) - s.zeros * about[:, 0] * p.r)
        parts = dmean[:, None] / self.divisor_of_mean(n) + dsquares[:, None] * deviations
        return np.bincount(s.counted.ravel(), parts.ravel(), p.x.size).reshape(p.x.shape)


def _divided(means: Array, n: int, divisor: float) -> Array:
    """Means of n values as sums over another divisor."""
    return means if divisor == n else means * means.dtype.type(n / divisor)


class GroupNorm(Steps, group_norm.GroupNorm):  # type: ignore[misc]
    def sets(self, places: Array) -> Array:
        return places.reshape(places.shape[0] * self.groups, -1)

    def __call__(self, x: Array) -> Array:
        self.check(x)
        return self.passed(x).y if x.size else x.copy()

    def passed(self, x: Array) -> Forward:
        self.shape = x.shape
        sets = self.sets(np.arange(x.size).reshape(x.shape))
        found = self.statistics(x, sets)
        return self.finished(x, self.users(sets, x.shape), found, found.mean, found.var)

    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        return self.named(*self.backward(self.passed(x), dy)) if x.size else super().gradients(x, dy)


class BatchNorm(Steps, batch_norm.BatchNorm):
    def sets(self, places: Array) -> Array:
        return np.moveaxis(places, 1, 0).reshape(places.shape[1], -1)

    def __call__(self, x: Array) -> Array:
        self.check(x)
        if x.size == 0:
            return self.empty(x)
        p = self.passed(x)
        if self.training and self.running_mean is not None:
            self.update_with(p, x)
        return p.y

    def uses_batch(self) -> bool:
        return self.training or self.running_mean is None

    def of_batch(self, x: Array) -> Forward:
        """The call with the batch's own statistics."""
        self.shape = x.shape
        sets = self.sets(np.arange(x.size).reshape(x.shape))
        found = self.statistics(x, sets)
        return self.finished(x, self.users(sets, x.shape), found, found.mean, found.var)

    def passed(self, x: Array) -> Forward:
        self.shape = x.shape
        if self.uses_batch():
            return self.of_batch(x)
        channels = np.broadcast_to(np.arange(self.channels).reshape(1, -1, *(1,) * (x.ndim - 2)), x.shape)
        return self.finished(x, channels, None, *self.used_in_eval())

    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        return self.named(*self.backward(self.passed(x), dy)) if x.size else super().gradients(x, dy)

    # --- the running statistics ---

    def bessel(self) -> float:
        """What makes of a biased variance the one that is tracked."""
        return self.full / max(self.full - 1, 1)

    def tracked(self, s: Statistics) -> tuple[Array, Array]:
        """Mean and variance (C,) of the batch, as they enter the running statistics."""
        mean, var = (_by_channel(v, self.channels) for v in (s.mean, s.var))
        return mean, var * var.dtype.type(self.bessel())

    def update_with(self, p: Forward, x: Array) -> None:
        assert p.statistics is not None
        self.blend(*self.tracked(p.statistics))

    def blend(self, mean: Array, var: Array) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        self.steps += 1
        weight = mean.dtype.type(self.weight_of_new())
        dtypes = self.running_mean.dtype, self.running_var.dtype
        self.running_mean = ((1 - weight) * self.running_mean + weight * mean).astype(dtypes[0])
        self.running_var = ((1 - weight) * self.running_var + weight * var).astype(dtypes[1])


def _by_channel(values: Array, channels: int) -> Array:
    """Statistics of S sets as (C,): the mean where a channel has several sets, the same where they share one."""
    if len(values) % channels == 0:
        return values if len(values) == channels else values.reshape(-1, channels).mean(axis=0)
    return np.full(channels, values.mean(), values.dtype)
