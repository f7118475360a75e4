"""BatchNorm layers that lose or mistake something between two calls."""

from __future__ import annotations

from typing import Any

import numpy as np

from faulty.batch_norm import BatchNorm, UpdatesTheArraysLoaded

Array = np.ndarray[Any, np.dtype[Any]]


class ResetForgetsTheVariance(BatchNorm):
    def reset(self) -> None:
        kept = self.running_var
        super().reset()
        self.running_var = kept


class ResetForgetsTheCount(BatchNorm):
    def reset(self) -> None:
        kept = self.steps
        super().reset()
        self.steps = kept


class CountIsNotSaved(BatchNorm):
    def saved(self) -> dict[str, Any]:
        return {name: value for name, value in super().saved().items() if name != "steps"}


class UpdatesTheLayerThatWasSaved(UpdatesTheArraysLoaded):
    """What it saves are its own arrays, and what it reads it updates in place."""

    def load(self, saved: dict[str, Any]) -> None:
        super().load(saved)
        self.read = True

    def update(self, sets: Array, mean: Array) -> None:
        if "read" in vars(self):
            super().update(sets, mean)
        else:
            BatchNorm.update(self, sets, mean)


class StatisticsAreNotSaved(BatchNorm):
    def saved(self) -> dict[str, Any]:
        return {name: value for name, value in super().saved().items() if name in {"weight", "bias"}}


class BiasIsNotSaved(BatchNorm):
    def saved(self) -> dict[str, Any]:
        return {name: value for name, value in super().saved().items() if name != "bias"}


class FreezingStopsTheStatistics(BatchNorm):
    def update(self, sets: Array, mean: Array) -> None:
        if not self.frozen:
            super().update(sets, mean)


class FreezingIsInference(BatchNorm):
    def __call__(self, x: Array) -> Array:
        asked, self.training = self.training, self.training and not self.frozen
        try:
            return super().__call__(x)
        finally:
            self.training = asked


class FreezingForgetsTheBias(BatchNorm):
    def trained(self) -> list[str]:
        return ["bias"] if self.frozen and self.bias is not None else super().trained()


class StaysFrozen(BatchNorm):
    """What was frozen once is never trained again, and its statistics move no more once it was freed."""

    def __init__(self, num_channels: int, eps: float, momentum: float | None, track: bool, dtype: str) -> None:
        self.ever = False
        super().__init__(num_channels, eps, momentum, track, dtype)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "frozen" and value:
            self.ever = True

    def trained(self) -> list[str]:
        return [] if self.ever else super().trained()

    def update(self, sets: Array, mean: Array) -> None:
        if self.frozen or not self.ever:
            super().update(sets, mean)


class KeepsItsFirstMomentum(BatchNorm):
    def __init__(self, num_channels: int, eps: float, momentum: float | None, track: bool, dtype: str) -> None:
        super().__init__(num_channels, eps, momentum, track, dtype)
        self.first = momentum

    def weight_of_new(self) -> float:
        return 1 / self.steps if self.first is None else self.first


class TrainsItsStatistics(BatchNorm):
    def trained(self) -> list[str]:
        return [*super().trained(), *(() if self.frozen else ("running_mean", "running_var"))]


class UnfreezingFreesTheStatistics(BatchNorm):
    def __init__(self, num_channels: int, eps: float, momentum: float | None, track: bool, dtype: str) -> None:
        self.freed = False
        super().__init__(num_channels, eps, momentum, track, dtype)
        self.freed = False

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "frozen" and not value:
            self.freed = True

    def trained(self) -> list[str]:
        return [*super().trained(), *(("running_mean", "running_var") if self.freed else ())]


class FoldsItsEvalOnce(BatchNorm):
    """What the first call in eval has made of parameters and statistics stays until the layer is trained."""

    NAMES = ("weight", "bias", "running_mean", "running_var")

    def __call__(self, x: Array) -> Array:
        if self.training or self.running_mean is None:
            vars(self).pop("fold", None)
            return super().__call__(x)
        now = {name: getattr(self, name) for name in self.NAMES}
        vars(self).update(vars(self).setdefault("fold", now))
        try:
            return super().__call__(x)
        finally:
            vars(self).update(now)


class TrainsFromACopyOfItsStatistics(BatchNorm):
    """Goes on from what it has trained, whatever was set since."""

    def reset(self) -> None:
        super().reset()
        vars(self).pop("copy", None)

    def update(self, sets: Array, mean: Array) -> None:
        self.running_mean, self.running_var = vars(self).get("copy", (self.running_mean, self.running_var))
        super().update(sets, mean)
        self.copy = self.running_mean, self.running_var
