"""What of a batch enters the running statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from normgauge.oracle.arithmetic import Arithmetic
from normgauge.oracle.normalize import Formula
from normgauge.oracle.reference import Reference
from normgauge.oracle.semantics import Semantics
from normgauge.oracle.statistics import Batch, divided_by


def _deviation(batch: Batch, arithmetic: Arithmetic) -> Reference:
    """The root of the unbiased variance, and how far the ends of its bound lie from it; below 0 it is cut."""
    var = divided_by(batch, "unbiased", arithmetic)
    root = np.sqrt(var.value)
    least = np.sqrt(np.maximum(var.value - var.bound, 0))
    most = np.sqrt(var.value + var.bound)
    return Reference(value=root, bound=np.maximum(root - least, most - root) + 4 * arithmetic.held.u * root)


def _of_samples(batch: Batch, arithmetic: Arithmetic) -> Reference:
    """The sum of squares divided by N - 1; of one sample, by N."""
    factor = batch.m.n / max(batch.samples - 1, 1)
    value = batch.m.var * factor
    return Reference(value=value, bound=batch.bound.var * factor + 4 * arithmetic.held.u * value)


def _by_factor_of_samples(batch: Batch, arithmetic: Arithmetic) -> Reference:
    """The biased variance times N / (N - 1); of one sample, as it is."""
    factor = batch.samples / max(batch.samples - 1, 1)
    value = batch.m.var * factor
    return Reference(value=value, bound=batch.bound.var * factor + 4 * arithmetic.held.u * value)


def _by_factor_of_elements(batch: Batch, arithmetic: Arithmetic) -> Reference:
    """The biased variance times m / (m - 1), m the number of elements of the input."""
    factor = batch.elements / max(batch.elements - 1, 1)
    value = batch.m.var * factor
    return Reference(value=value, bound=batch.bound.var * factor + 4 * arithmetic.held.u * value)


def _of_parts(batch: Batch, arithmetic: Arithmetic) -> Reference:
    """The mean of the variances of the samples."""
    parts = Batch.of(batch.sets.reshape(*batch.sets.shape[:-1], batch.samples, -1), arithmetic)
    value, bound = (one[..., 0].mean(axis=-1, keepdims=True) for one in (parts.m.var, parts.bound.var))
    return Reference(value=value, bound=bound + (batch.samples + 2) * arithmetic.held.u * value)


_RUNNING_VAR: Final[Mapping[str, Callable[[Batch, Arithmetic], Reference]]] = {
    "unbiased": lambda batch, arithmetic: divided_by(batch, "unbiased", arithmetic),
    "biased": lambda batch, arithmetic: divided_by(batch, "biased", arithmetic),
    **dict.fromkeys(
        ("with_eps", "second_moment", "with_the_mean", "about_running_mean"),
        lambda batch, arithmetic: divided_by(batch, "unbiased", arithmetic),
    ),
    "deviation": _deviation,
    "of_samples": _of_samples,
    "factor_of_samples": _by_factor_of_samples,
    "factor_of_elements": _by_factor_of_elements,
    "of_parts": _of_parts,
}


def _of_first_sample(batch: Batch, semantics: Semantics, arithmetic: Arithmetic) -> Reference:
    """The mean and variance of the first sample, where it has several values; n is its own."""
    positions = batch.m.n // batch.samples
    part = batch if positions == 1 else Batch.of(batch.sets[..., :positions], arithmetic)
    var = _RUNNING_VAR[semantics.choice("running_var")](part, arithmetic)
    value = np.array([(part.m.mean + part.m.mean_tail).ravel(), var.value.ravel()])
    return Reference(value=value, bound=np.array([part.bound.mean.ravel(), var.bound.ravel()]))


@dataclass(frozen=True, kw_only=True)
class _Entering:
    """The mean and the variance of a batch, before they enter."""

    batch: Batch
    mean: Reference
    var: Reference
    eps: float
    u: float
    old_mean: Reference

    def with_square_of_mean(self) -> _Entering:
        value, bound, square = np.abs(self.mean.value), self.mean.bound, np.square(self.mean.value)
        off = bound * (2 * value + bound) + 4 * self.u * (self.var.value + square)
        return replace(self, var=Reference(value=self.var.value + square, bound=self.var.bound + off))

    def with_scaled_mean(self) -> _Entering:
        factor = self.batch.m.n / max(self.batch.m.n - 1, 1)
        bound = self.mean.bound * factor + 4 * self.u * np.abs(self.mean.value)
        return replace(self, mean=Reference(value=self.mean.value * factor, bound=bound))

    def about_old_mean(self) -> _Entering:
        old = self.old_mean
        apart = self.mean.value - old.value.reshape(self.mean.value.shape)
        off = self.mean.bound + old.bound.reshape(self.mean.value.shape)
        bound = self.var.bound + off * (2 * np.abs(apart) + off) + 6 * self.u * (self.var.value + np.square(apart))
        return replace(self, var=Reference(value=self.var.value + np.square(apart), bound=bound))

    def with_eps(self) -> _Entering:
        size = np.abs(self.var.value) + abs(self.eps)
        return replace(self, var=Reference(value=self.var.value + self.eps, bound=self.var.bound + 2 * self.u * size))


_CHANGES: Final[Mapping[str, Callable[[_Entering], _Entering]]] = {
    "second_moment": _Entering.with_square_of_mean,
    "with_the_mean": _Entering.with_scaled_mean,
    "with_eps": _Entering.with_eps,
    "about_running_mean": _Entering.about_old_mean,
}


def tracked(batch: Batch, formula: Formula, old_mean: Reference) -> Reference:
    """The mean and the variance that enter the running ones, of shape (2, C), by ``running_var`` and ``updates``."""
    semantics, arithmetic = formula.semantics, formula.arithmetic
    updates, running_var = semantics.choice("updates"), semantics.choice("running_var")
    if updates == "first_sample":
        return _of_first_sample(batch, semantics, arithmetic)
    mean = Reference(value=batch.m.mean + batch.m.mean_tail, bound=batch.bound.mean)
    var = _RUNNING_VAR[running_var](batch, arithmetic)
    new = _Entering(batch=batch, mean=mean, var=var, eps=formula.eps, u=arithmetic.held.u, old_mean=old_mean)
    if running_var in _CHANGES:
        new = _CHANGES[running_var](new)
    value = np.array([new.mean.value.ravel(), new.var.value.ravel()])
    bound = np.array([new.mean.bound.ravel(), new.var.bound.ravel()])
    return (
        Reference(value=value[::-1], bound=bound[::-1]) if updates == "swapped" else Reference(value=value, bound=bound)
    )
