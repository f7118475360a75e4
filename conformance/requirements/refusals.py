"""What must be refused: channels that do not fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from normgauge.conformance.requirements.inputs import scrambled
from normgauge.conformance.requirements.probe import Probe
from normgauge.conformance.requirements.requirement import Asked, Both, Layer, Requirement, of_group_norm, twins
from normgauge.conformance.requirements.sources import (
    FLAX_GROUP_NORM,
    FLAX_NNX_BATCH_NORM,
    FLAX_NNX_GROUP_NORM,
    KERAS_GROUP_NORM,
    MLX_BATCH_NORM,
    MLX_GROUP_NORM,
    ONNX_GROUP_NORM,
    TORCH_BATCH_NORM,
    TORCH_GROUP_NORM,
)

_ANOTHER_IS_NONE: Final = "the layer is not made for an input with another number, and must not take it for one"
_NEITHER: Final = {"weight": False, "bias": False}


def _made_for(channels: int, given: int) -> str:
    return f"layer for {channels} channel{'s' if channels > 1 else ''}, input with {given}"


def _indivisible(layer: Layer, asked: Asked) -> Iterator[Probe]:
    x = scrambled((2, 6, *asked.shape[2:]))
    yield layer.probe(asked, "C=6, G=4", [("train", x)], num_channels=6)


def _wrong_channels_of_group_norm(layer: Layer, asked: Asked) -> Iterator[Probe]:
    for made_for, channels, groups, affine in ((8, 16, 4, True), (8, 16, 4, False), (8, 1, 1, True), (1, 8, 1, True)):
        x = scrambled((2, channels, *asked.shape[2:]))
        label = _made_for(made_for, channels) + ("" if affine else ", no weight and bias")
        settings: dict[str, Any] = {"num_channels": made_for, "num_groups": groups, "weight": affine, "bias": affine}
        yield layer.probe(asked, label, [("train", x)], **settings)


def _wrong_channels_of_batch_norm(layer: Layer, asked: Asked) -> Iterator[Probe]:
    for made_for, channels, mode, changes in (
        (8, 16, "train", {}),
        (8, 1, "train", {}),
        (8, 1, "eval", {}),
        (8, 1, "train", _NEITHER),
        (8, 1, "eval", _NEITHER),
        (1, 8, "train", {}),
        (1, 8, "train", _NEITHER),
        (1, 8, "eval", {}),
        (8, 16, "eval", _NEITHER | {"track": False}),
    ):
        x = scrambled((2, channels, *asked.shape[2:]))
        label = f"{mode}, {_made_for(made_for, channels)}"
        label += ", no weight and bias" if changes else ""
        label += ", nothing tracked" if "track" in changes else ""
        settings: dict[str, Any] = {"num_channels": made_for, **changes}
        yield layer.probe(asked, label, [(mode, x)], {} if made_for == 1 else None, **settings)


REFUSALS: Final[tuple[Requirement, ...]] = (
    of_group_norm(
        "GN-15", ground="documentation", rule="refusal", title="indivisible groups refused",
        statement="A number of channels that is not a multiple of the number of groups raises an exception.",
        probes=_indivisible,
        source=(
            TORCH_GROUP_NORM.says("num_channels must be divisible by num_groups."),
            MLX_GROUP_NORM.says("must be evenly divisible", at="the message of its check"),
            KERAS_GROUP_NORM.says("The input dimension must be divisible by the number of groups."),
            FLAX_GROUP_NORM.says("Number of groups ({}) does not divide the number", at="the message of its check"),
            ONNX_GROUP_NORM.says("It should be a divisor of the number of channels C.", at="of num_groups"),
        ),
    ),
    *twins(
        "GN-16", "BN-20", ground="robustness", rule="refusal", title="wrong channel count refused",
        statement=Both(
            "An input with another channel count than the layer's raises an exception, with weight and bias and "
            "without.",
            "An input with another channel count than the layer's raises an exception, with weight and bias and "
            "without. This holds in training, in eval, and without tracked statistics.",
        ),
        source=Both(
            (
                TORCH_GROUP_NORM.implies(_ANOTHER_IS_NONE, quote="number of channels expected in input"),
                MLX_GROUP_NORM.implies(_ANOTHER_IS_NONE, quote="The feature dimensions of the input to normalize over"),
                FLAX_NNX_GROUP_NORM.implies(_ANOTHER_IS_NONE, quote="the number of input features/channels."),
            ),
            (
                TORCH_BATCH_NORM.implies(
                    _ANOTHER_IS_NONE, at="of num_features", quote="from an expected input of size"
                ),
                MLX_BATCH_NORM.implies(_ANOTHER_IS_NONE, quote="The feature dimension to normalize over."),
                FLAX_NNX_BATCH_NORM.implies(_ANOTHER_IS_NONE, quote="the number of input features."),
            ),
        ),
        probes=Both(_wrong_channels_of_group_norm, _wrong_channels_of_batch_norm),
    ),
)  # fmt: skip
