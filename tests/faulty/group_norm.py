"""An honest GroupNorm in NumPy, and tiny wrong ones: each overrides one thing."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class GroupNorm:
    """Canonical; computes in the dtype of its parameters. x has shape (N, C, *spatial)."""

    def __init__(self, num_groups: int, num_channels: int, eps: float, dtype: str) -> None:
        if num_channels % num_groups:
            raise ValueError(f"num_channels={num_channels} must be divisible by num_groups={num_groups}")
        self.groups, self.channels, self.eps, self.dtype = num_groups, num_channels, eps, dtype
        self.weight: Array | None = np.ones(num_channels, dtype)
        self.bias: Array | None = np.zeros(num_channels, dtype)
        self.training = True

    def __call__(self, x: Array) -> Array:
        self.check(x)
        if x.size == 0:
            return x.copy()
        order = self.order()
        sets = x[:, order].reshape(x.shape[0], self.groups, -1)
        mean = self.mean(sets)
        x_hat = (sets - mean) * self.reciprocal(self.variance(sets, mean))
        y = x_hat.reshape(x.shape)[:, np.argsort(order)]
        return self.affine(y).astype(x.dtype)

    def check(self, x: Array) -> None:
        if x.shape[1] != self.channels:
            raise ValueError(f"made for {self.channels} channels, got {x.shape[1]}")

    def order(self) -> Array:
        return np.arange(self.channels)

    def mean(self, sets: Array) -> Array:
        return sets.mean(axis=-1, keepdims=True)

    def variance(self, sets: Array, mean: Array) -> Array:
        return np.square(sets - mean).mean(axis=-1, keepdims=True)

    def reciprocal(self, variance: Array) -> Array:
        return 1 / np.sqrt(variance + variance.dtype.type(self.eps))

    def affine(self, y: Array) -> Array:
        shape = (1, -1, *(1,) * (y.ndim - 2))
        if self.weight is not None:
            y = y * self.weight.reshape(shape)
        return y if self.bias is None else y + self.bias.reshape(shape)

    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        """Those of sum(y * dy), by the closed form."""
        if x.size == 0:
            return self.named(x.copy(), np.zeros(self.channels, x.dtype), np.zeros(self.channels, x.dtype))
        shape, order = (1, -1, *(1,) * (x.ndim - 2)), self.order()
        back = np.argsort(order)
        scale = self.scale()
        g = dy if scale is None else dy * scale.reshape(shape)
        sets, g = (v[:, order].reshape(x.shape[0], self.groups, -1) for v in (x, g))
        mean = self.mean(sets)
        variance = self.variance(sets, mean)
        r = self.reciprocal(variance)
        x_hat = (sets - mean) * r
        dx = self.input_gradient(g, x_hat, r, self.slope(variance) * self.divisor(sets.shape[-1]))
        products = dy * x_hat.reshape(x.shape)[:, back]
        return self.named(
            dx.reshape(x.shape)[:, back].astype(x.dtype), self.weight_gradient(products), self.bias_gradient(dy)
        )

    def named(self, dx: Array, dweight: Array, dbias: Array) -> dict[str, Array]:
        found = {"dx": dx}
        for name, value, own in (("dweight", dweight, self.weight), ("dbias", dbias, self.bias)):
            if own is not None:
                found[name] = value.astype(own.dtype).view(type(own))
        return found

    def scale(self) -> Array | None:
        return self.weight

    def slope(self, variance: Array) -> Array:
        """-2 dr/dvar in units of r^3."""
        return np.ones_like(variance)

    def divisor(self, n: int) -> float:
        """d variance / d biased variance."""
        return 1.0

    def input_gradient(self, g: Array, x_hat: Array, r: Array, through_variance: Array) -> Array:
        m1, m2 = (v.mean(axis=-1, keepdims=True) for v in (g, g * x_hat))
        return r * (g - m1 - x_hat * m2 * through_variance)

    def weight_gradient(self, products: Array) -> Array:
        return products.sum(axis=(0, *range(2, products.ndim)))

    def bias_gradient(self, dy: Array) -> Array:
        return dy.sum(axis=(0, *range(2, dy.ndim)))


class KeepsItsFirstParameters(GroupNorm):
    """Takes weight and bias once, at the first call."""

    def affine(self, y: Array) -> Array:
        first = vars(self).setdefault("first", (self.weight, self.bias))
        now, (self.weight, self.bias) = (self.weight, self.bias), first
        try:
            return super().affine(y)
        finally:
            self.weight, self.bias = now


class ComputesInTheTypeOfItsWeight(GroupNorm):
    def affine(self, y: Array) -> Array:
        return super().affine(y if self.weight is None else y.astype(self.weight.dtype))


class NanSpreadsBackward(GroupNorm):
    def input_gradient(self, g: Array, x_hat: Array, r: Array, through_variance: Array) -> Array:
        return super().input_gradient(g, x_hat, r, through_variance) + 0 * g.sum()


class ConstantIsNan(GroupNorm):
    def reciprocal(self, variance: Array) -> Array:
        return np.where(variance == 0, variance.dtype.type(np.nan), super().reciprocal(variance))


class VarianceHasACeiling(GroupNorm):
    def variance(self, sets: Array, mean: Array) -> Array:
        return np.minimum(super().variance(sets, mean), sets.dtype.type(1e30))


class EmptyGradientsAreNan(GroupNorm):
    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        found = super().gradients(x, dy)
        return found if x.size else {name: value * np.nan for name, value in found.items()}


class EpsZeroMeansTheDefault(GroupNorm):
    def reciprocal(self, variance: Array) -> Array:
        return 1 / np.sqrt(variance + variance.dtype.type(self.eps or 1e-5))


class NegativeEpsIsZero(GroupNorm):
    def reciprocal(self, variance: Array) -> Array:
        return 1 / np.sqrt(variance + variance.dtype.type(max(self.eps, 0)))


class RankOneIsZero(GroupNorm):
    def __call__(self, x: Array) -> Array:
        return np.zeros_like(x) if x.ndim == 1 else super().__call__(x)


class VarianceIsConstantBackward(GroupNorm):
    def input_gradient(self, g: Array, x_hat: Array, r: Array, through_variance: Array) -> Array:
        return super().input_gradient(g, x_hat, r, 0 * through_variance)


class WeightGradientOfTheFirstPosition(GroupNorm):
    def weight_gradient(self, products: Array) -> Array:
        return products.reshape(*products.shape[:2], -1)[:, :, 0].sum(axis=0)


class BiasGradientOfTheLastSample(GroupNorm):
    def bias_gradient(self, dy: Array) -> Array:
        return super().bias_gradient(dy[-1:])


class BiasGradientIsThatOfTheWeight(GroupNorm):
    """The weight's gradient is right, so nothing is exchanged."""

    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        found = super().gradients(x, dy)
        return found | {"dbias": found["dweight"]} if {"dweight", "dbias"} <= found.keys() else found


class Interleaved(GroupNorm):
    def order(self) -> Array:
        return np.arange(self.channels).reshape(-1, self.groups).T.ravel()


class EpsOutside(GroupNorm):
    def reciprocal(self, variance: Array) -> Array:
        return 1 / (np.sqrt(variance) + variance.dtype.type(self.eps))

    def slope(self, variance: Array) -> Array:
        return (np.sqrt(variance) + variance.dtype.type(self.eps)) / np.sqrt(variance)


class EpsAsFloor(GroupNorm):
    def reciprocal(self, variance: Array) -> Array:
        return 1 / np.sqrt(np.maximum(variance, variance.dtype.type(self.eps)))

    def slope(self, variance: Array) -> Array:
        return np.where(variance >= self.eps, 1, 0).astype(variance.dtype)


class Unbiased(GroupNorm):
    def variance(self, sets: Array, mean: Array) -> Array:
        n = sets.shape[-1]
        return super().variance(sets, mean) * sets.dtype.type(self.divisor(n))

    def divisor(self, n: int) -> float:
        return n / max(n - 1, 1)


class AffinePerGroup(GroupNorm):
    def scale(self) -> Array | None:
        return None if self.weight is None else np.repeat(self.weight[: self.groups], self.channels // self.groups)

    def weight_gradient(self, products: Array) -> Array:
        return self.by_group(super().weight_gradient(products))

    def bias_gradient(self, dy: Array) -> Array:
        return self.by_group(super().bias_gradient(dy))

    def by_group(self, of_channels: Array) -> Array:
        sums = of_channels.reshape(self.groups, -1).sum(axis=1)
        return np.pad(sums, (0, self.channels - self.groups))

    def affine(self, y: Array) -> Array:
        size = self.channels // self.groups
        kept = self.weight, self.bias
        self.weight, self.bias = (None if p is None else np.repeat(p[: self.groups], size) for p in kept)
        try:
            return super().affine(y)
        finally:
            self.weight, self.bias = kept


class EpsAtLeastTenMillionths(GroupNorm):
    """As cuDNN's CUDNN_BN_MIN_EPSILON once clamped it."""

    def reciprocal(self, variance: Array) -> Array:
        return 1 / np.sqrt(variance + variance.dtype.type(max(self.eps, 1e-5)))


class EpsOneHundredThousandthOff(GroupNorm):
    def reciprocal(self, variance: Array) -> Array:
        return 1 / np.sqrt(variance + variance.dtype.type(self.eps * (1 + 2e-5)))


class OneGroupTreatedAsMany(GroupNorm):
    """G = 1 taken for instance normalization."""

    def __call__(self, x: Array) -> Array:
        if self.groups > 1:
            return super().__call__(x)
        self.groups = self.channels
        try:
            return super().__call__(x)
        finally:
            self.groups = 1


class FirstSliceOnlyInRankFive(GroupNorm):
    def mean(self, sets: Array) -> Array:
        return sets[..., : sets.shape[-1] // 2].mean(axis=-1, keepdims=True) if self.rank == 5 else super().mean(sets)

    def check(self, x: Array) -> None:
        self.rank = x.ndim
        super().check(x)


class BiasNeedsWeight(GroupNorm):
    def affine(self, y: Array) -> Array:
        return y if self.weight is None else super().affine(y)


class EvalPassesThrough(GroupNorm):
    def __call__(self, x: Array) -> Array:
        return super().__call__(x) if self.training else x.copy()


class CentredOnTheBatch(GroupNorm):
    """Subtracts the mean of the whole batch first: harmless until another sample is huge or NaN."""

    def __call__(self, x: Array) -> Array:
        return super().__call__(x - x.mean() if x.size else x)


class SingleValuePassesThrough(GroupNorm):
    def __call__(self, x: Array) -> Array:
        return x.copy() if x.size == x.shape[0] * self.groups else super().__call__(x)


class SingleSampleRefused(GroupNorm):
    def check(self, x: Array) -> None:
        super().check(x)
        if x.size == self.groups:
            raise ValueError("more than one value per channel needed")


class MeanInTwelveBits(GroupNorm):
    """Right while the mean is small."""

    def mean(self, sets: Array) -> Array:
        mean = super().mean(sets)
        mantissa, exponent = np.frexp(mean)
        return np.where(np.abs(mean) > 8, np.ldexp(np.round(mantissa * 4096) / 4096, exponent), mean).astype(mean.dtype)


class LongTailUncounted(GroupNorm):
    """Statistics of the first 4,096 values, as of one tile of a kernel."""

    def mean(self, sets: Array) -> Array:
        return super().mean(sets[..., :4096])

    def variance(self, sets: Array, mean: Array) -> Array:
        return super().variance(sets[..., :4096], mean)


class NoSamplesRaise(GroupNorm):
    def check(self, x: Array) -> None:
        super().check(x)
        if x.shape[0] == 0:
            raise ValueError("cannot infer the shape of an empty array")


class NoPositionsBecomeOne(GroupNorm):
    def __call__(self, x: Array) -> Array:
        y = super().__call__(x)
        return y if y.size or not y.shape[0] else np.zeros((*y.shape[:2], *(1,) * (y.ndim - 2)), x.dtype)


class IndivisibleAccepted(GroupNorm):
    """Leaves the channels that fit no group as they are."""

    def __init__(self, num_groups: int, num_channels: int, eps: float, dtype: str) -> None:
        super().__init__(num_groups, num_channels // num_groups * num_groups, eps, dtype)
        self.weight, self.bias = np.ones(num_channels, dtype), np.zeros(num_channels, dtype)

    def check(self, x: Array) -> None:
        if x.shape[1] != (self.channels if self.weight is None else len(self.weight)):
            raise ValueError(f"made for {self.channels} channels, got {x.shape[1]}")

    def __call__(self, x: Array) -> Array:
        self.check(x)
        return super().__call__(x) if x.shape[1] == self.channels else x.copy()


class AnyChannelCount(GroupNorm):
    def check(self, x: Array) -> None:
        if self.weight is None and x.shape[1] % self.groups == 0:
            self.channels = x.shape[1]
        super().check(x)


class ChangesItsInput(GroupNorm):
    def __call__(self, x: Array) -> Array:
        y = super().__call__(x)
        x[...] = y
        return y


class HandsOutItsBias(GroupNorm):
    """Where every group has one value the output is the bias: its values, and its memory."""

    def __call__(self, x: Array) -> Array:
        y = super().__call__(x)
        if x.ndim > 2 or self.groups < x.shape[1] or self.bias is None:
            return y
        return np.broadcast_to(self.bias, x.shape)


class ScalesWithTheLastLayerMade(GroupNorm):
    """The weight is kept with the class, where a new layer puts another."""

    last: GroupNorm

    def __init__(self, num_groups: int, num_channels: int, eps: float, dtype: str) -> None:
        super().__init__(num_groups, num_channels, eps, dtype)
        type(self).last = self

    def affine(self, y: Array) -> Array:
        return GroupNorm.affine(self.last, y)


class TakesItsInputAsItLies(GroupNorm):
    """The elements in the order in which they lie in memory."""

    def __call__(self, x: Array) -> Array:
        return super().__call__(x.ravel(order="K").reshape(x.shape))


class TakesItsUpstreamGradientAsItLies(GroupNorm):
    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        return super().gradients(x, dy.ravel(order="K").reshape(dy.shape))


class ChangesItsUpstreamGradient(GroupNorm):
    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        found = super().gradients(x, dy)
        dy *= 2
        return found


class ReusesItsOutput(GroupNorm):
    """A call writes its output where that of an earlier call of the same shape lies."""

    def __call__(self, x: Array) -> Array:
        y = super().__call__(x)
        kept: Array = vars(self).setdefault("kept", {}).setdefault((x.shape, x.dtype), y)
        kept[...] = y
        return kept


class GradientsAreOneArray(GroupNorm):
    """Where there are no samples, one array of zeros is both of them."""

    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        found = super().gradients(x, dy)
        return found if x.size or self.bias is None else found | {"dweight": found["dbias"]}


class GradientsAreRowsOfOneBuffer(GroupNorm):
    """Honest: dweight and dbias lie in one buffer, and each element in its own place."""

    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        found = super().gradients(x, dy)
        names = [name for name in ("dweight", "dbias") if name in found]
        both = np.array([found[name] for name in names])
        return found | {name: both.T[:, i] for i, name in enumerate(names)}


class EqualSamplesAreOne(GroupNorm):
    """An output whose samples are equal is a broadcast view of the first."""

    def __call__(self, x: Array) -> Array:
        y = super().__call__(x)
        one = np.broadcast_to(y[:1], y.shape)
        return one if len(y) > 1 and np.array_equal(one, y) else y


class FreezesItsOutput(GroupNorm):
    def __call__(self, x: Array) -> Array:
        y = super().__call__(x)
        y.flags.writeable = False
        return y


class ComputesInSinglePrecision(GroupNorm):
    def __call__(self, x: Array) -> Array:
        kept, self.dtype = self.dtype, "float32"
        parameters = self.weight, self.bias
        self.weight, self.bias = (None if p is None else p.astype("float32") for p in parameters)
        try:
            return super().__call__(x.astype("float32")).astype(kept)
        finally:
            self.dtype, (self.weight, self.bias) = kept, parameters

    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        with np.errstate(over="ignore"):
            found = super().gradients(x.astype("float32"), dy.astype("float32"))
        return {name: value.astype(x.dtype) for name, value in found.items()}


class OnePass(GroupNorm):
    """Legitimate in its class: a hazard, no divergence."""

    def variance(self, sets: Array, mean: Array) -> Array:
        return np.maximum(np.square(sets).mean(axis=-1, keepdims=True) - np.square(mean), 0)


class NoNormalization(GroupNorm):
    """Follows no alternative at all."""

    def reciprocal(self, variance: Array) -> Array:
        return np.ones_like(variance)


class CachesStatistics(GroupNorm):
    """Keeps the statistics of the first call."""

    kept: Array | None = None

    def mean(self, sets: Array) -> Array:
        self.kept = super().mean(sets) if self.kept is None else self.kept
        return self.kept


class GroupsOfThreeMiscount(GroupNorm):
    """Wrong when C/G is 3 alone."""

    def variance(self, sets: Array, mean: Array) -> Array:
        var = super().variance(sets, mean)
        return var * var.dtype.type(1.5) if self.channels == 3 * self.groups else var


class OddTailDropped(GroupNorm):
    """A vectorised loop without its tail."""

    def mean(self, sets: Array) -> Array:
        n = sets.shape[-1]
        return super().mean(sets[..., : n - 1] if n % 2 and n > 1 else sets)


class WeightStartsAtZero(GroupNorm):
    def __init__(self, num_groups: int, num_channels: int, eps: float, dtype: str) -> None:
        super().__init__(num_groups, num_channels, eps, dtype)
        self.weight = np.zeros(num_channels, dtype)


class DoubleOut(GroupNorm):
    def __call__(self, x: Array) -> Array:
        return super().__call__(x).astype("float64")


class EpsHeldInSinglePrecision(GroupNorm):
    """Within what the requirement on eps allows."""

    def reciprocal(self, variance: Array) -> Array:
        return 1 / np.sqrt(variance + variance.dtype.type(np.float32(self.eps)))


class AddsAnAxis(GroupNorm):
    def __call__(self, x: Array) -> Array:
        return super().__call__(x)[..., None]
