"""What a user does with a torch layer. Scripts are written from the source of these functions.

``forward`` is what is called: the layer, or what a mode makes of it.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import torch

from normgauge.adapters.case import Array


def to_tensor(value: Array) -> Any:
    return torch.from_numpy(value)


def to_bfloat16(value: Array) -> Any:
    return torch.from_numpy(value).to(torch.bfloat16)


def to_numpy(value: Any) -> Array:
    return value.detach().numpy()  # type: ignore[no-any-return]


def bfloat16_to_numpy(value: Any) -> Array:
    return value.detach().float().numpy()  # type: ignore[no-any-return]


def channels_last(value: Any) -> Any:
    return value.to(memory_format=torch.channels_last)


def channels_last_3d(value: Any) -> Any:
    return value.to(memory_format=torch.channels_last_3d)


def strided(value: Any) -> Any:
    buffer = torch.full([2 * n for n in value.shape], torch.nan, dtype=value.dtype)
    return buffer[(slice(1, None, 2),) * value.ndim].copy_(value)


def expanded(value: Any) -> Any:
    return value[:1].clone().expand(value.shape)  # no other sample lies behind it


def with_negative(value: Any) -> Any:
    return torch.stack([value, -value])


def first(value: Any) -> Any:
    return value[0]


def set_parameter(layer: Any, name: str, value: Any) -> None:
    with torch.no_grad():
        getattr(layer, name).copy_(value)


def set_typed(layer: Any, name: str, value: Any, dtype: Any) -> None:
    """The parameter is of this type from now on."""
    getattr(layer, name).data = value.to(dtype, copy=True)


def under_autocast(layer: Any, dtype: Any) -> Callable[[Any], Any]:
    def forward(x: Any) -> Any:
        with torch.autocast("cpu", dtype=dtype):
            return layer(x)

    return forward


def compiled(layer: Any) -> Any:
    return torch.compile(layer, fullgraph=True)


def mapped(layer: Any) -> Any:
    return torch.func.vmap(layer)


def call(x: Any, forward: Any) -> Any:
    with torch.no_grad():
        return forward(x)


def differentiate(layer: Any, x: Any, dy: Any, forward: Any) -> Any:
    wanted = {"dx": x.requires_grad_(), "dweight": layer.weight, "dbias": layer.bias}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    y = forward(x)
    found = torch.autograd.grad(y, list(wanted.values()), dy)
    return y.detach(), dict(zip(wanted, found, strict=True))


def differentiate_twice(layer: Any, x: Any, dy: Any, forward: Any) -> Any:
    """The gradients of <dx, direction>, whose direction is dy as a constant."""
    wanted = {"second_x": x.requires_grad_(), "second_dy": dy.requires_grad_(), "second_weight": layer.weight}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    y = forward(x)
    (dx,) = torch.autograd.grad(y, x, dy, create_graph=True)
    inputs = list(wanted.values())
    found = torch.autograd.grad(dx, inputs, dy.detach(), allow_unused=True, materialize_grads=True)
    return y.detach(), dict(zip(wanted, found, strict=True))


def differentiate_forward(layer: Any, x: Any, dy: Any) -> Any:
    """The derivative of y along dy, and the derivative of that along dy.

    torch.func takes no layer that changes running statistics in place; in training it has a function to leave them out.
    """
    forward = copy.deepcopy(layer).requires_grad_(False)
    if layer.training:
        torch.func.replace_all_batch_norm_modules_(forward)
    y, jvp = torch.func.jvp(forward, (x,), (dy,))
    _, jvp_of_jvp = torch.func.jvp(lambda x: torch.func.jvp(forward, (x,), (dy,))[1], (x,), (dy,))
    return y, {"jvp": jvp, "jvp_of_jvp": jvp_of_jvp}


def differentiate_mapped(layer: Any, x: Any, dy: Any) -> Any:
    """The gradients of every entry for itself, as for the gradients of single samples."""

    def one(parameters: Any, x: Any, dy: Any) -> Any:
        y, pull_back = torch.func.vjp(lambda p, x: torch.func.functional_call(layer, p, (x,)), parameters, x)
        return y, *pull_back(dy)

    parameters = {name: value.detach() for name, value in layer.named_parameters()}
    y, of_parameters, dx = torch.func.vmap(one, in_dims=(None, 0, 0))(parameters, x, dy)
    return y, {"dx": dx} | {f"d{name}": value[0] for name, value in of_parameters.items()}


def reset(layer: Any) -> None:
    layer.reset_running_stats()


def save(layer: Any) -> Any:
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    return file


def load(layer: Any, saved: Any) -> None:
    layer.load_state_dict(torch.load(saved))


def freeze(layer: Any) -> None:
    layer.requires_grad_(False)


def unfreeze(layer: Any) -> None:
    layer.requires_grad_(True)


def model_of(layer: Any) -> Any:
    return torch.nn.Sequential(layer)


def trained(layer: Any) -> list[str]:
    return [name for name, value in layer.named_parameters() if value.requires_grad]
