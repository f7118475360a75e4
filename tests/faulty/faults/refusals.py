"""What is taken and must be refused, and what is refused and must be taken."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from faulty import batch_norm, group_norm
from faulty.batch_norm import Array, BatchNorm
from faulty.faults.fault import BATCH, GROUP, HONEST, Mistake
from faulty.group_norm import GroupNorm

Layer = Any

FAMILY: Final = "refusals"


def _m(name: str, why: str, named: str, layers: tuple[Any, ...], link: str = "") -> Mistake:
    """A mistake that layers of the other modules have: GroupNorm's, BatchNorm's, or both."""
    on = {BATCH if issubclass(one, BatchNorm) else GROUP: one for one in layers}
    return Mistake(name=name, why=why, link=link, named=named, kinds=tuple(on), change={}, on=on)


def _at_most_channels(layer: Layer, num_groups: int, num_channels: int, eps: float, dtype: str) -> None:
    GroupNorm.__init__(layer, min(num_groups, num_channels), num_channels, eps, dtype)


def _rounded_groups(layer: Layer, num_groups: int, num_channels: int, eps: float, dtype: str) -> None:
    """The next number of groups that divides the channels is taken without a word."""
    while num_channels % num_groups:
        num_groups -= 1
    GroupNorm.__init__(layer, num_groups, num_channels, eps, dtype)


def _call(refuses: Any, error: Exception) -> dict[str, Any]:
    """Raises where ``refuses`` says so, of the layer and x."""

    def call(layer: Layer, x: Array) -> Array:
        if refuses(layer, x):
            raise error
        y: Array = HONEST[GROUP if hasattr(layer, "groups") else BATCH].__call__(layer, x)
        return y

    return {"__call__": call}


def _first_channels(layer: Layer, x: Array) -> Array:
    """Of an input with more channels those beyond are left as they are."""
    honest = HONEST[GROUP if hasattr(layer, "groups") else BATCH]
    if x.shape[1] <= layer.channels:
        return honest.__call__(layer, x)
    return np.concatenate([honest.__call__(layer, x[:, : layer.channels]), x[:, layer.channels :]], axis=1)


MISTAKES: Final = (
    Mistake(
        name="more groups than channels",
        why="they become as many as there are channels",
        link="https://github.com/apple/coremltools/issues/1020",
        named="must raise an exception: C=1, G=2",
        kinds=(GROUP,),
        change={"__init__": _at_most_channels},
        on=HONEST,
    ),
    Mistake(
        name="another number of groups",
        why="the next one that divides the channels",
        link="https://github.com/NVIDIA/physicsnemo/pull/996",
        named="divi|accepted",
        kinds=(GROUP,),
        change={"__init__": _rounded_groups},
        on=HONEST,
    ),
    _m(
        "channels left over",
        "channels that fit no group are left as they are",
        "divi|accepted",
        (group_norm.IndivisibleAccepted,),
        "https://github.com/pytorch/pytorch/pull/74293",
    ),
    _m(
        "any number of channels",
        "without parameters the number of channels is not looked at",
        "channel",
        (group_norm.AnyChannelCount, batch_norm.AnyChannelCountUntracked),
    ),
    Mistake(
        name="channels beyond left as they are",
        why="a loop over the parameters, not over the channels of the input",
        named="channel",
        change={"__call__": _first_channels},
        on=HONEST,
    ),
    _m(
        "one value a channel taken",
        "no check: the output is the bias, and the running variance gets 0 or NaN",
        "single_value: (shift|nan)",
        (batch_norm.SingleValueAccepted,),
        "https://github.com/PaddlePaddle/Paddle/issues/11445",
    ),
    _m(
        "one value a channel is NaN",
        "0 / 0",
        "single_value: (shift|nan)",
        (batch_norm.SingleValueIsNan,),
        "https://github.com/pytorch/pytorch/issues/1381",
    ),
    _m("one sample refused", "a batch of one is taken for one value", "ValueError", (batch_norm.RefusesOneSample,)),
    _m(
        "one value a group refused",
        "the check of batch normalization is copied",
        "ValueError",
        (group_norm.SingleSampleRefused,),
        "https://github.com/pytorch/pytorch/issues/45687",
    ),
    _m("momentum None refused", "momentum must be a number", "momentum", (batch_norm.NoneRefused,)),
    _m(
        "small eps refused",
        "cuDNN takes no eps below its smallest",
        "eps",
        (batch_norm.SmallEpsRefused,),
        "https://github.com/onnx/onnx/issues/1820",
    ),
    _m("no samples refused", "a reshape with -1 of an empty array", "ValueError", (group_norm.NoSamplesRaise,)),
    Mistake(
        name="rank 5 raises",
        why="a kernel for images",
        named="rank",
        change=_call(lambda layer, x: x.ndim == 5, IndexError("tuple index out of range")),
        on=HONEST,
    ),
    Mistake(
        name="rank 2 raises",
        why="a kernel that expects positions",
        named="rank",
        change=_call(lambda layer, x: x.ndim == 2, IndexError("tuple index out of range")),
        on=HONEST,
    ),
    Mistake(
        name="eval raises",
        why="a misspelt name in the branch of eval",
        named="runing_mean",
        kinds=(BATCH,),
        change=_call(
            lambda layer, x: not layer.training, AttributeError("'BatchNorm' object has no attribute 'runing_mean'")
        ),
        on=HONEST,
    ),
    Mistake(
        name="every call raises",
        why="an API of the framework has changed",
        named="unexpected keyword",
        change=_call(lambda layer, x: True, TypeError("forward() got an unexpected keyword argument 'training'")),
        on=HONEST,
    ),
    Mistake(
        name="without a bias raises",
        why="bias=False is not looked at",
        named="NoneType",
        change=_call(
            lambda layer, x: layer.bias is None, TypeError("unsupported operand type(s) for +: 'float' and 'NoneType'")
        ),
        on=HONEST,
    ),
)
