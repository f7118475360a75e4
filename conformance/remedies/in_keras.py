"""What a user of Keras does to a BatchNormalization, or to a model of such layers, in place of freezing it."""

from __future__ import annotations

from typing import Any


def freeze_parameters(layer: Any) -> None:
    """Freeze gamma and beta; the layer itself stays trainable, so the batch still normalises in training."""
    _set_trainable(layer, False)


def unfreeze_parameters(layer: Any) -> None:
    """Make gamma and beta trainable again."""
    _set_trainable(layer, True)


def _set_trainable(layer: Any, trainable: bool) -> None:
    for one in getattr(layer, "layers", [layer]):
        for variable in (one.gamma, one.beta):
            if variable is not None:
                variable.trainable = trainable
