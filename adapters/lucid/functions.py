"""What a user does with a Lucid layer. Scripts are written from the source of these functions."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import lucid
import lucid.autograd
import numpy as np

from normgauge.adapters.case import Array


def to_tensor(value: Array) -> Any:
    return lucid.tensor(value)


def to_gpu_tensor(value: Array) -> Any:
    return lucid.tensor(value, device="gpu")


def to_numpy(value: Any) -> Any:
    return value.numpy()


def gradient_to_numpy(value: Any) -> Any:  # gradients are arrays, not tensors
    return np.array(value)


def to_half(layer: Any) -> None:
    for value in (*layer.parameters(), *layer.buffers()):
        value.half()


def to_gpu(layer: Any) -> Any:
    return layer.to("gpu")


def set_parameter(layer: Any, name: str, value: Any) -> None:
    getattr(layer, name).data = value.data


def call(layer: Any, x: Any) -> Any:
    with lucid.no_grad():
        return layer(x)


def differentiate(layer: Any, x: Any, dy: Any) -> Any:
    x.requires_grad = True
    y = layer(x)
    wanted = {"dx": x, "dweight": layer.weight, "dbias": layer.bias}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    found = lucid.autograd.grad(y, list(wanted.values()), dy)
    found = found if isinstance(found, tuple) else (found,)  # of one input it is not in a tuple
    return y, dict(zip(wanted, found, strict=True))


def save(layer: Any) -> Any:
    folder = tempfile.TemporaryDirectory()
    lucid.save(layer.state_dict(), os.path.join(folder.name, "layer.lcd"))
    return folder


def load(layer: Any, saved: Any) -> None:
    layer.load_state_dict(lucid.load(os.path.join(saved.name, "layer.lcd")))
    saved.cleanup()


def reset(layer: Any) -> None:
    layer.reset_running_stats()


def freeze(layer: Any) -> None:  # there is no method for it
    for parameter in layer.parameters():
        parameter.requires_grad = False


def unfreeze(layer: Any) -> None:
    for parameter in layer.parameters():
        parameter.requires_grad = True


def model_of(layer: Any) -> Any:
    return lucid.nn.Sequential(layer)


def trained(layer: Any) -> list[str]:
    parameters = [parameter for parameter in layer.parameters() if parameter.requires_grad]
    names = ("weight", "bias", "running_mean", "running_var")
    return [name for name in names if any(getattr(layer, name, None) is one for one in parameters)]
