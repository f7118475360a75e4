"""What BatchNorm keeps from call to call, and what becomes of it between calls."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from normgauge.oracle.reference import Reference, exactly
from normgauge.oracle.running_statistics import RunningStatistics, initial_statistics
from normgauge.oracle.validation import real_array

#: The order in which :meth:`LayerState.trainable` speaks of them.
_PARAMETERS: Final = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True, kw_only=True)
class LayerState:
    """The running statistics (None when nothing is tracked), the momentum, and whether the parameters are frozen.

    Canonical is what torch 2.13 documents of ``torch.nn.Module``: freezing is ``requires_grad_``, which changes no
    result; what is saved is the state, so a layer that has read it has its running statistics and the number of
    batches in them, and the momentum and the freedom of the new layer that it is.
    """

    running: RunningStatistics | None
    momentum: float | None
    frozen: bool = False

    def reset(self) -> LayerState:
        """After the running statistics were set to those of a new layer: 0 and 1, of no batches."""
        if self.running is None:
            return self
        channels = self.running.mean.value.shape
        return replace(self, running=initial_statistics(np.zeros(channels), np.ones(channels)))

    def given(self, mean: ArrayLike | None = None, var: ArrayLike | None = None) -> LayerState:
        """After a running mean or variance, of shape (C,), was set; the number of batches stays.

        Raises:
            ValueError: values that are no real numbers.
        """
        if self.running is None:
            return self
        old = self.running
        new_mean = old.mean if mean is None else exactly(real_array("running mean", mean))
        new_var = old.var if var is None else exactly(real_array("running var", var))
        return replace(self, running=replace(old, mean=new_mean, var=new_var))

    def saved_and_loaded(self, momentum: float | None) -> LayerState:
        """The state in a new layer, made with ``momentum``."""
        return LayerState(running=self.running, momentum=momentum)

    def trainable(self, *, weight: bool, bias: bool) -> Reference:
        """1 for what an optimizer is given of weight, bias, running mean and running variance, 0 for what not.

        Args:
            weight: whether the layer has a weight.
            bias: whether the layer has a bias.

        >>> LayerState(running=None, momentum=0.1).trainable(weight=True, bias=False).value
        array([1., 0., 0., 0.])
        """
        trained = {"weight": weight and not self.frozen, "bias": bias and not self.frozen}
        return exactly(np.array([float(trained.get(name, False)) for name in _PARAMETERS]))
