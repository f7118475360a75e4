"""A Keras layer on torch, whose tape differentiates. ``torch.compile`` takes half a minute for a layer of Keras."""

from __future__ import annotations

from typing import Any

import torch

from normgauge.adapters.keras.functions import named


def differentiate(layer: Any, x: Any, dy: Any, **arguments: Any) -> Any:
    y = layer(x.requires_grad_(), **arguments)
    wanted = [x, *(variable.value for variable in layer.trainable_variables)]
    dx, *own = torch.autograd.grad((y * dy).sum(), wanted)
    return y.detach(), {"dx": dx, **named(layer, own)}
