"""How a call of BatchNorm normalizes: by which statistics, what becomes of the running ones, what they depend on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from normgauge.oracle.alternatives import eps_of_sets
from normgauge.oracle.backward import Dependence
from normgauge.oracle.formats import format_of
from normgauge.oracle.normalize import Formula
from normgauge.oracle.pooled import is_not_centred, is_pooled, not_centred
from normgauge.oracle.read_statistics import read_statistics
from normgauge.oracle.reference import Reference, Refusal, exactly
from normgauge.oracle.rounded_step import rounded_within
from normgauge.oracle.running_statistics import (
    RunningStatistics,
    blend_bound,
    initial_statistics,
    of_channels,
    updated,
    weight_of_new,
)
from normgauge.oracle.statistics import Batch, Statistics, divisor_factor
from normgauge.oracle.validation import Inputs, checked_number


@dataclass(frozen=True, kw_only=True)
class Mode:
    """How a call normalises."""

    running: RunningStatistics | None
    training: bool
    momentum: float | None
    formula: Formula
    #: Mean and variance, (2, C), that enter the running ones in place of those of the channels.
    entering: Reference | None = None

    @classmethod
    def checked(
        cls, given: Inputs, running: RunningStatistics | None, training: bool, momentum: Any, formula: Formula
    ) -> Mode:
        channels = given.channels
        if running is not None and running.mean.value.shape != (channels,):
            made_for = running.mean.value.shape[0] if running.mean.value.ndim else 0
            raise Refusal(f"the layer tracks {made_for} channels, the input has {channels}")
        if momentum is not None:
            momentum = checked_number("momentum", momentum)
        elif training and running is not None and formula.semantics.choice("momentum_none") == "refused":
            raise Refusal("momentum=None is refused")
        mode = cls(running=running, training=training, momentum=momentum, formula=formula)
        if not mode.on_batch:
            return mode
        eps = eps_of_sets(formula.eps, given.x.size // max(channels, 1), formula.semantics)
        return replace(mode, formula=replace(formula, eps=eps))

    @property
    def on_batch(self) -> bool:
        """Whether the statistics of the batch, and no others, normalise."""
        semantics = self.formula.semantics
        if self.running is None:
            return self.training or semantics.choice("untracked_eval_uses") == "batch"
        if not self.training:
            return semantics.choice("eval_reads") in {"batch", "as_in_training"}
        return semantics.choice("training_normalizes_with") == "batch"

    @property
    def is_pooled(self) -> bool:
        """Whether a mistake of the reduction is asked for."""
        return self.on_batch and is_pooled(self.formula.semantics, "normalized_together", ("channel",))

    def of_channels(self, part: slice) -> Mode:
        running = of_channels(self.running, part)
        if running is self.running:
            return self
        entering = self.entering
        if entering is not None:
            entering = Reference(value=entering.value[:, part], bound=entering.bound[:, part])
        return replace(self, running=running, entering=entering)


def statistics_in_use(batch: Batch, mode: Mode, *, tracked: bool = True) -> tuple[Statistics, RunningStatistics | None]:
    """What normalises, and the running statistics after the batch, as they were where they are not ``tracked``."""
    running, semantics, arithmetic = mode.running, mode.formula.semantics, mode.formula.arithmetic
    single = mode.training and batch.m.n == 1
    divisor = "biased" if single or mode.is_pooled else semantics.choice("variance")
    if running is None:
        if mode.on_batch:
            return batch.statistics(divisor, arithmetic), None
        channels = batch.sets.shape[1]
        return _given(batch, initial_statistics(np.zeros(channels), np.ones(channels)), mode.formula), None
    source = semantics.choice("training_normalizes_with") if mode.training else "running"
    moves = tracked and _moves(mode, source)
    after = _moved(batch, mode) if moves or source == "blended" else running
    if mode.on_batch:
        return batch.statistics(divisor, arithmetic), after
    if mode.training:
        return _given(batch, after if source == "blended" else running, mode.formula), after
    return _given(batch, read_statistics(running, mode.momentum, mode.formula), mode.formula), after


def _moves(mode: Mode, source: str) -> bool:
    """Whether the running statistics move in this call."""
    if mode.training:
        return source != "running" and mode.formula.semantics.choice("updates") != "never"
    return mode.formula.semantics.choice("eval_reads") in {"as_in_training", "running_then_updated"}


def _moved(batch: Batch, mode: Mode) -> RunningStatistics:
    """The running statistics after the batch, by the axis ``updates``."""
    assert mode.running is not None
    after, updates = _updated_once(mode.running, batch, mode), mode.formula.semantics.choice("updates")
    if updates == "twice":
        return _updated_once(after, batch, mode)
    if updates == "each_half" and batch.samples % 2 == 0 and batch.m.n > 2:
        halves = np.split(batch.sets, 2, axis=-1)
        first, second = (Batch.of(half, mode.formula.arithmetic, batch.samples // 2) for half in halves)
        return _updated_once(_updated_once(mode.running, first, mode), second, mode)
    if updates == "mean_alone":
        return replace(after, var=mode.running.var)
    if updates == "stored_in_half":
        mean, var = (rounded_within(one, format_of("float16")) for one in (after.mean, after.var))
        return replace(after, mean=mean, var=var)
    return replace(after, mean=mode.running.mean) if updates == "variance_alone" else after


def _updated_once(running: RunningStatistics, batch: Batch, mode: Mode) -> RunningStatistics:
    return updated(running, batch, mode.momentum, mode.formula, mode.entering)


def _given(batch: Batch, given: RunningStatistics, formula: Formula) -> Statistics:
    """The sets normalised by given statistics."""
    used = batch.normalized_by(given.mean, given.var, formula.arithmetic)
    return not_centred(used) if is_not_centred(formula.semantics) else used


def dependence(batch: Batch, mode: Mode) -> Dependence | None:
    """How the statistics in use depend on the batch; None where they are constants."""
    running, semantics = mode.running, mode.formula.semantics
    if running is None:
        if not mode.training and semantics.choice("untracked_eval_uses") == "initial":
            return None
    elif not mode.training:
        if not mode.on_batch:
            return None
    elif semantics.choice("training_normalizes_with") in {"running", "running_before"}:
        return None
    elif semantics.choice("training_normalizes_with") == "blended":
        weight = weight_of_new(mode.momentum, running.steps + 1, semantics)
        # The rounded weight is the blend of an old 0 and a new 1.
        bound = blend_bound(exactly(np.zeros(1)), exactly(np.ones(1)), weight, mode.formula.arithmetic)
        return Dependence(
            batch=batch,
            mean_share=weight.new,
            mean_share_bound=float(bound[0]),
            divisor_factor=divisor_factor(batch.m.n, semantics.choice("running_var")),
        )
    biased = mode.training and batch.m.n == 1
    return Dependence.on_batch(batch, "biased" if biased else semantics.choice("variance"))
