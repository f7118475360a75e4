"""An honest BatchNorm in NumPy, and tiny wrong ones: each overrides one thing."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class BatchNorm:
    """Canonical; computes in the dtype of its parameters. x has shape (N, C, *spatial)."""

    def __init__(self, num_channels: int, eps: float, momentum: float | None, track: bool, dtype: str) -> None:
        self.channels, self.eps, self.momentum, self.dtype = num_channels, eps, momentum, dtype
        self.weight: Array | None = np.ones(num_channels, dtype)
        self.bias: Array | None = np.zeros(num_channels, dtype)
        self.running_mean = np.zeros(num_channels, dtype) if track else None
        self.running_var = np.ones(num_channels, dtype) if track else None
        self.steps = 0
        self.training = True
        self.frozen = False

    def reset(self) -> None:
        if self.running_mean is not None:
            self.running_mean, self.running_var = np.zeros_like(self.running_mean), np.ones_like(self.running_mean)
            self.steps = 0

    def saved(self) -> dict[str, Any]:
        names = ("weight", "bias", "running_mean", "running_var", "steps")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def load(self, saved: dict[str, Any]) -> None:
        for name, value in saved.items():
            setattr(self, name, value)

    def trained(self) -> list[str]:
        names = [] if self.frozen else ["weight", "bias"]
        return [name for name in names if getattr(self, name) is not None]

    def __call__(self, x: Array) -> Array:
        self.check(x)
        if x.size == 0:
            return self.empty(x)
        sets = np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)
        if self.training or self.running_mean is None:
            mean, var = self.batch_statistics(sets)
            var = self.normalizing(var, sets.shape[-1])
            if self.training and self.running_mean is not None:
                self.update(sets, mean)
                mean, var = self.used_in_training(mean, var)
        else:
            mean, var = self.used_in_eval()
        y = (sets - mean[:, None]) * self.reciprocal(var)[:, None]
        if self.weight is not None:
            y = y * self.weight[:, None]
        if self.bias is not None:
            y = y + self.bias[:, None]
        return np.moveaxis(y.reshape(x.shape[1], x.shape[0], *x.shape[2:]), 0, 1).astype(x.dtype)

    def check(self, x: Array) -> None:
        if x.shape[1] != self.channels:
            raise ValueError(f"made for {self.channels} channels, got {x.shape[1]}")
        if self.training and x.size == self.channels:
            raise ValueError(f"more than 1 value per channel needed, got shape {x.shape}")

    def empty(self, x: Array) -> Array:
        return x.copy()

    def batch_statistics(self, sets: Array) -> tuple[Array, Array]:
        mean = sets.mean(axis=-1)
        return mean, np.square(sets - mean[:, None]).mean(axis=-1)

    def normalizing(self, var: Array, n: int) -> Array:
        return var

    def new_statistics(self, sets: Array, mean: Array) -> tuple[Array, Array]:
        """What enters the running statistics."""
        n = sets.shape[-1]
        return mean, self.batch_statistics(sets)[1] * sets.dtype.type(n / max(n - 1, 1))

    def weight_of_new(self) -> float:
        return 1 / self.steps if self.momentum is None else self.momentum

    def update(self, sets: Array, mean: Array) -> None:
        self.steps += 1
        assert self.running_mean is not None
        assert self.running_var is not None
        new_mean, new_var = self.new_statistics(sets, mean)
        weight = sets.dtype.type(self.weight_of_new())
        mean = (1 - weight) * self.running_mean + weight * new_mean
        var = (1 - weight) * self.running_var + weight * new_var
        self.running_mean, self.running_var = mean.astype(self.running_mean.dtype), var.astype(self.running_var.dtype)

    def used_in_training(self, mean: Array, var: Array) -> tuple[Array, Array]:
        return mean, var

    def used_in_eval(self) -> tuple[Array, Array]:
        assert self.running_mean is not None
        assert self.running_var is not None
        return self.running_mean, self.running_var

    def reciprocal(self, var: Array) -> Array:
        return 1 / np.sqrt(var + var.dtype.type(self.eps))

    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        """Those of sum(y * dy), by the closed form; asked for before the call changes the statistics."""
        if x.size == 0:
            return self.named(x.copy(), np.zeros(self.channels, x.dtype), np.zeros(self.channels, x.dtype))
        sets, upstream = (np.moveaxis(v, 1, 0).reshape(x.shape[1], -1) for v in (x, dy))
        mean, var, share = self.statistics_in_use(sets)
        r = self.reciprocal(var)[:, None]
        x_hat = (sets - mean[:, None]) * r
        g = upstream if self.weight is None else upstream * self.weight[:, None]
        dx = self.input_gradient(g, x_hat, r, self.slope(var)[:, None] * self.divisor(sets.shape[-1]), share)
        restored = np.moveaxis(dx.reshape(x.shape[1], x.shape[0], *x.shape[2:]), 0, 1).astype(x.dtype)
        dweight = self.weight_gradient((upstream * x_hat).reshape(x.shape[1], x.shape[0], -1))
        return self.named(restored, dweight, self.bias_gradient(upstream.reshape(x.shape[1], x.shape[0], -1)))

    def named(self, dx: Array, dweight: Array, dbias: Array) -> dict[str, Array]:
        found = {"dx": dx}
        for name, value, own in (("dweight", dweight, self.weight), ("dbias", dbias, self.bias)):
            if own is not None:
                found[name] = value.astype(own.dtype).view(type(own))
        return found

    def statistics_in_use(self, sets: Array) -> tuple[Array, Array, float]:
        """Mean, variance, and how far they move with those of the batch."""
        if not self.training and self.running_mean is not None:
            return *self.used_in_eval(), 0.0
        mean, var = self.batch_statistics(sets)
        return mean, self.normalizing(var, sets.shape[-1]), 1.0

    def slope(self, var: Array) -> Array:
        """-2 dr/dvar in units of r^3."""
        return np.ones_like(var)

    def divisor(self, n: int) -> float:
        """d variance / d biased variance."""
        return 1.0

    def input_gradient(self, g: Array, x_hat: Array, r: Array, through: Array, share: float) -> Array:
        m1, m2 = (v.mean(axis=-1, keepdims=True) for v in (g, g * x_hat))
        return r * (g - m1 - x_hat * m2 * through) if share else r * g

    def weight_gradient(self, products: Array) -> Array:
        return products.sum(axis=(1, 2))

    def bias_gradient(self, dy: Array) -> Array:
        return dy.sum(axis=(1, 2))


class NanLeavesNoTrace(BatchNorm):
    """Running statistics that pass over what is no number."""

    def new_statistics(self, sets: Array, mean: Array) -> tuple[Array, Array]:
        mean, var = super().new_statistics(sets, mean)
        assert self.running_mean is not None
        assert self.running_var is not None
        return np.where(np.isnan(mean), self.running_mean, mean), np.where(np.isnan(var), self.running_var, var)


class ConstantIsNan(BatchNorm):
    def normalizing(self, var: Array, n: int) -> Array:
        return np.where(var == 0, var.dtype.type(np.nan), var)


class VarianceHasACeiling(BatchNorm):
    def normalizing(self, var: Array, n: int) -> Array:
        return np.minimum(var, var.dtype.type(1e30))


class EmptyGradientsAreNan(BatchNorm):
    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        found = super().gradients(x, dy)
        return found if x.size else {name: value * np.nan for name, value in found.items()}


class EpsZeroMeansTheDefault(BatchNorm):
    def reciprocal(self, var: Array) -> Array:
        return 1 / np.sqrt(var + var.dtype.type(self.eps or 1e-5))


class NegativeEpsIsZero(BatchNorm):
    def reciprocal(self, var: Array) -> Array:
        return 1 / np.sqrt(var + var.dtype.type(max(self.eps, 0)))


class RankOneIsZero(BatchNorm):
    def __call__(self, x: Array) -> Array:
        return np.zeros_like(x) if x.ndim == 1 else super().__call__(x)


class NegativeVarianceIsZero(BatchNorm):
    def used_in_eval(self) -> tuple[Array, Array]:
        mean, var = super().used_in_eval()
        return mean, np.maximum(var, 0)


class DivisorsMixedBackward(BatchNorm):
    def divisor(self, n: int) -> float:
        return n / max(n - 1, 1)


class WeightGradientIsAMean(BatchNorm):
    def weight_gradient(self, products: Array) -> Array:
        return super().weight_gradient(products) / (products.shape[1] * products.shape[2])


class BiasGradientOfTheFirstSample(BatchNorm):
    def bias_gradient(self, dy: Array) -> Array:
        return super().bias_gradient(dy[:, :1])


class EvalDifferentiatesThroughTheBatch(BatchNorm):
    def input_gradient(self, g: Array, x_hat: Array, r: Array, through: Array, share: float) -> Array:
        return super().input_gradient(g, x_hat, r, through, 1.0)


class EpsOutside(BatchNorm):
    def reciprocal(self, var: Array) -> Array:
        return 1 / (np.sqrt(var) + var.dtype.type(self.eps))

    def slope(self, var: Array) -> Array:
        return (np.sqrt(var) + var.dtype.type(self.eps)) / np.sqrt(var)


class EpsAsFloor(BatchNorm):
    def reciprocal(self, var: Array) -> Array:
        return 1 / np.sqrt(np.maximum(var, var.dtype.type(self.eps)))

    def slope(self, var: Array) -> Array:
        return np.where(var >= self.eps, 1, 0).astype(var.dtype)


class Unbiased(BatchNorm):
    def normalizing(self, var: Array, n: int) -> Array:
        return var * var.dtype.type(self.divisor(n))

    def divisor(self, n: int) -> float:
        return n / max(n - 1, 1)


class BiasedRunningVariance(BatchNorm):
    def new_statistics(self, sets: Array, mean: Array) -> tuple[Array, Array]:
        return self.batch_statistics(sets)


class MomentumWeighsOld(BatchNorm):
    def weight_of_new(self) -> float:
        return 1 / self.steps if self.momentum is None else 1 - self.momentum


class NoneMeansOneTenth(BatchNorm):
    def weight_of_new(self) -> float:
        return 0.1 if self.momentum is None else self.momentum


class NoneRefused(BatchNorm):
    def __init__(self, num_channels: int, eps: float, momentum: float | None, track: bool, dtype: str) -> None:
        if momentum is None:
            raise TypeError("momentum must be a number, got None")
        super().__init__(num_channels, eps, momentum, track, dtype)


class SingleValueAccepted(BatchNorm):
    def check(self, x: Array) -> None:
        if x.shape[1] != self.channels:
            raise ValueError(f"made for {self.channels} channels, got {x.shape[1]}")


class SingleValuePassesThrough(SingleValueAccepted):
    def __call__(self, x: Array) -> Array:
        self.check(x)
        return x.copy() if self.training and x.size == self.channels else super().__call__(x)


class SingleValueIsNan(SingleValueAccepted):
    def __call__(self, x: Array) -> Array:
        y = super().__call__(x)
        return np.full_like(y, np.nan) if self.training and x.size == self.channels else y


class NormalizesWithBlend(BatchNorm):
    def used_in_training(self, mean: Array, var: Array) -> tuple[Array, Array]:
        return self.used_in_eval()

    def statistics_in_use(self, sets: Array) -> tuple[Array, Array, float]:
        self.blended = self.training and self.running_mean is not None
        if not self.blended:
            return super().statistics_in_use(sets)
        mean = self.batch_statistics(sets)[0]
        self.update(sets, mean)
        self.moved = sets - mean[:, None]
        return *self.used_in_eval(), self.weight_of_new()

    def divisor(self, n: int) -> float:
        return n / (n - 1) if self.blended else 1.0

    def input_gradient(self, g: Array, x_hat: Array, r: Array, through: Array, share: float) -> Array:
        if not self.blended:
            return super().input_gradient(g, x_hat, r, through, share)
        m1, m2 = (v.mean(axis=-1, keepdims=True) for v in (g, g * x_hat))
        return r * (g - g.dtype.type(share) * (m1 + self.moved * r * m2 * through))


class Frozen(BatchNorm):
    def update(self, sets: Array, mean: Array) -> None:
        pass

    def used_in_training(self, mean: Array, var: Array) -> tuple[Array, Array]:
        return self.used_in_eval()

    def statistics_in_use(self, sets: Array) -> tuple[Array, Array, float]:
        if self.running_mean is None:
            return super().statistics_in_use(sets)
        return *self.used_in_eval(), 0.0


class UntrackedEvalIsInitial(BatchNorm):
    def __call__(self, x: Array) -> Array:
        if self.training or self.running_mean is not None:
            return super().__call__(x)
        self.running_mean, self.running_var = np.zeros(self.channels, x.dtype), np.ones(self.channels, x.dtype)
        try:
            return super().__call__(x)
        finally:
            self.running_mean = self.running_var = None


class StartsFromZeroDebiased(BatchNorm):
    def weight_of_new(self) -> float:
        weight = super().weight_of_new()
        return weight if self.momentum is None or not weight else weight / (1 - (1 - weight) ** self.steps)


class StartsFromFirstBatch(BatchNorm):
    def weight_of_new(self) -> float:
        return 1.0 if self.steps == 1 else super().weight_of_new()


class EpsAtLeastTenMillionths(BatchNorm):
    def reciprocal(self, var: Array) -> Array:
        return 1 / np.sqrt(var + var.dtype.type(max(self.eps, 1e-5)))


class MomentumInHalfPrecision(BatchNorm):
    def weight_of_new(self) -> float:
        weight = super().weight_of_new()
        return weight if self.momentum is None else float(np.float16(weight))


class LastRankUsesOneSample(BatchNorm):
    """Wrong for inputs of rank 5 alone."""

    def batch_statistics(self, sets: Array) -> tuple[Array, Array]:
        return super().batch_statistics(sets[:, : sets.shape[1] // 2] if self.rank == 5 else sets)

    def check(self, x: Array) -> None:
        self.rank = x.ndim
        super().check(x)


class BiasNeedsWeight(BatchNorm):
    def __call__(self, x: Array) -> Array:
        if self.weight is not None:
            return super().__call__(x)
        kept, self.bias = self.bias, None
        try:
            return super().__call__(x)
        finally:
            self.bias = kept


class StopsAfterThreeSteps(BatchNorm):
    def update(self, sets: Array, mean: Array) -> None:
        if self.steps < 3:
            super().update(sets, mean)


class EvalUpdates(BatchNorm):
    def __call__(self, x: Array) -> Array:
        y = super().__call__(x)
        if not self.training and self.running_mean is not None and x.size:
            sets = np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)
            self.update(sets, sets.mean(axis=-1))
        return y


class MomentumZeroFreezes(BatchNorm):
    """Takes momentum 0 for a frozen layer, in the output too."""

    def used_in_training(self, mean: Array, var: Array) -> tuple[Array, Array]:
        return self.used_in_eval() if self.momentum == 0 else (mean, var)


class MeanInTwelveBits(BatchNorm):
    def batch_statistics(self, sets: Array) -> tuple[Array, Array]:
        mean, var = super().batch_statistics(sets)
        mantissa, exponent = np.frexp(mean)
        rough = np.ldexp(np.round(mantissa * 4096) / 4096, exponent)
        return np.where(np.abs(mean) > 8, rough, mean).astype(mean.dtype), var


class LongTailUncounted(BatchNorm):
    """Statistics of the first 4,096 values, as of one tile of a kernel."""

    def batch_statistics(self, sets: Array) -> tuple[Array, Array]:
        return super().batch_statistics(sets[:, :4096])


class EmptyBatchIsNan(BatchNorm):
    def empty(self, x: Array) -> Array:
        if self.training and self.running_mean is not None:
            self.running_mean = np.full_like(self.running_mean, np.nan)
        return x.copy()


class EmptyBatchCounts(BatchNorm):
    def empty(self, x: Array) -> Array:
        self.steps += x.shape[0] == 0
        return x.copy()


class NoPositionsDecay(BatchNorm):
    def empty(self, x: Array) -> Array:
        if self.training and x.shape[0] and self.running_var is not None:
            self.running_var = self.running_var * x.dtype.type(0.7)
        return x.copy()


class AnyChannelCountUntracked(BatchNorm):
    def check(self, x: Array) -> None:
        if self.running_mean is None and self.weight is None:
            self.channels = x.shape[1]
        super().check(x)


class ChangesItsInput(BatchNorm):
    def __call__(self, x: Array) -> Array:
        y = super().__call__(x)
        x[...] = y
        return y


class UpdatesTheLastLayerMade(BatchNorm):
    last: BatchNorm

    def __init__(self, num_channels: int, eps: float, momentum: float | None, track: bool, dtype: str) -> None:
        super().__init__(num_channels, eps, momentum, track, dtype)
        type(self).last = self

    def update(self, sets: Array, mean: Array) -> None:
        BatchNorm.update(self.last, sets, mean)


class TakesItsInputAsItLies(BatchNorm):
    """The elements in the order in which they lie in memory."""

    def __call__(self, x: Array) -> Array:
        return super().__call__(x.ravel(order="K").reshape(x.shape))


class TakesItsUpstreamGradientAsItLies(BatchNorm):
    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        return super().gradients(x, dy.ravel(order="K").reshape(dy.shape))


class ChangesItsUpstreamGradient(BatchNorm):
    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        found = super().gradients(x, dy)
        dy *= 2
        return found


class ReusesItsOutput(BatchNorm):
    """A call writes its output where that of an earlier call of the same shape lies."""

    def __call__(self, x: Array) -> Array:
        y = super().__call__(x)
        kept: Array = vars(self).setdefault("kept", {}).setdefault((x.shape, x.dtype), y)
        kept[...] = y
        return kept


class StatisticsStartAsOneElement(BatchNorm):
    """The running mean of a new layer is one zero for all channels."""

    def __init__(self, num_channels: int, eps: float, momentum: float | None, track: bool, dtype: str) -> None:
        super().__init__(num_channels, eps, momentum, track, dtype)
        self.running_mean = (
            np.lib.stride_tricks.as_strided(np.zeros(1, dtype), (num_channels,), (0,)) if track else None
        )


class FreezesItsGradients(BatchNorm):
    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        found = super().gradients(x, dy)
        for value in found.values():
            value.flags.writeable = False
        return found


class UpdatesTheArraysLoaded(BatchNorm):
    def update(self, sets: Array, mean: Array) -> None:
        arrays = self.running_mean, self.running_var
        super().update(sets, mean)
        for name, array in zip(("running_mean", "running_var"), arrays, strict=True):
            assert array is not None
            array[...] = getattr(self, name)
            setattr(self, name, array)


class ComputesInTheTypeOfItsStatistics(BatchNorm):
    """In eval."""

    def __call__(self, x: Array) -> Array:
        if self.training or self.running_mean is None:
            return super().__call__(x)
        return super().__call__(x.astype(self.running_mean.dtype)).astype(x.dtype)


class ComputesInSinglePrecision(BatchNorm):
    def __call__(self, x: Array) -> Array:
        names = ("weight", "bias", "running_mean", "running_var")
        for name in names:
            if getattr(self, name) is not None:
                setattr(self, name, getattr(self, name).astype("float32"))
        y = super().__call__(x.astype("float32")).astype(x.dtype)
        for name in names:
            if getattr(self, name) is not None:
                setattr(self, name, getattr(self, name).astype(x.dtype))
        return y

    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        with np.errstate(over="ignore"):
            found = super().gradients(x.astype("float32"), dy.astype("float32"))
        return {name: value.astype(x.dtype) for name, value in found.items()}


class UntrackedTrainingPasses(BatchNorm):
    def __call__(self, x: Array) -> Array:
        return x.copy() if self.training and self.running_mean is None else super().__call__(x)


class RefusesOneSample(BatchNorm):
    def check(self, x: Array) -> None:
        super().check(x)
        if self.training and x.shape[0] == 1:
            raise ValueError("training needs more than one sample")


class StatisticsStartElsewhere(BatchNorm):
    def __init__(self, num_channels: int, eps: float, momentum: float | None, track: bool, dtype: str) -> None:
        super().__init__(num_channels, eps, momentum, track, dtype)
        if track:
            self.running_var = np.zeros(num_channels, dtype)


class NoneMeansOneHundredth(BatchNorm):
    """A value of momentum=None that no known alternative has."""

    def weight_of_new(self) -> float:
        return 0.01 if self.momentum is None else self.momentum


class SingleValueIsZero(SingleValueAccepted):
    """Zero instead of the bias for one value per channel: no known alternative."""

    def __call__(self, x: Array) -> Array:
        y = super().__call__(x)
        return np.zeros_like(y) if self.training and x.size == self.channels else y


class DoubleOut(BatchNorm):
    def __call__(self, x: Array) -> Array:
        return super().__call__(x).astype("float64")


class SmallEpsRefused(BatchNorm):
    def __init__(self, num_channels: int, eps: float, momentum: float | None, track: bool, dtype: str) -> None:
        if eps < 1e-6:
            raise ValueError(f"eps must be at least 1e-6, got {eps}")
        super().__init__(num_channels, eps, momentum, track, dtype)


class NewStatisticsInSinglePrecision(BatchNorm):
    """Holds them in float32 until they are given in another type, and computes the update in that type."""

    def __init__(self, num_channels: int, eps: float, momentum: float | None, track: bool, dtype: str) -> None:
        super().__init__(num_channels, eps, momentum, track, dtype)
        if track:
            self.running_mean, self.running_var = np.zeros(num_channels, "f4"), np.ones(num_channels, "f4")

    def update(self, sets: Array, mean: Array) -> None:
        assert self.running_mean is not None
        kept = self.running_mean.dtype
        super().update(sets, mean)
        assert self.running_mean is not None
        assert self.running_var is not None
        self.running_mean, self.running_var = self.running_mean.astype(kept), self.running_var.astype(kept)
