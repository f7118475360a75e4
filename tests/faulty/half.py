"""Correct layers but for something rare, which no experiment asks for, in any type."""

from __future__ import annotations

from typing import Any

import numpy as np
from correct.adapter import CorrectAdapter

from normgauge.adapters.case import Case, Implementation


class ConstantSamplesLoseTheirBias(CorrectAdapter):
    """Where there are other than two samples."""

    def forward(self, layer: Any, x: Any, *, training: bool) -> Any:
        y = super().forward(layer, x, training=training)
        values = np.asarray(x)
        constant = len(values) != 2 and all(sample.max() == sample.min() for sample in values)
        return y * 0 if constant else y


class WeightOfAnotherTypeIsLostAtOddChannels(CorrectAdapter):
    """It is taken for ones, where the number of channels is odd."""

    def construct(self, implementation: Implementation, case: Case) -> Any:
        layer = super().construct(implementation, case)
        if "weight" in case.dtypes and case.settings["num_channels"] % 2:
            layer.weight = np.ones_like(layer.weight)
        return layer
