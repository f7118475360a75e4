"""Weight and bias: each alone, neither, and those of a new layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from normgauge.conformance.requirements.inputs import graded, scrambled
from normgauge.conformance.requirements.probe import Probe
from normgauge.conformance.requirements.requirement import Asked, Both, Layer, Requirement, of_group_norm, twins
from normgauge.conformance.requirements.sources import (
    FLAX_BATCH_NORM,
    FLAX_GROUP_NORM,
    FLAX_LINEN_BATCH_NORM,
    FLAX_NNX_BATCH_NORM,
    GROUP_NORM_PAPER,
    KERAS_BATCH_NORM,
    KERAS_GROUP_NORM,
    MLX_BATCH_NORM,
    MLX_GROUP_NORM,
    TORCH_BATCH_NORM,
    TORCH_GROUP_NORM,
)

_PARTS: Final = ((True, False, "weight only"), (False, True, "bias only"), (False, False, "neither"))


def _parts_of_group_norm(layer: Layer, asked: Asked) -> Iterator[Probe]:
    for weight, bias, label in _PARTS:
        yield layer.probe(asked, label, [("train", scrambled(asked.shape))], weight=weight, bias=bias)


def _parts_of_batch_norm(layer: Layer, asked: Asked) -> Iterator[Probe]:
    for weight, bias, label in _PARTS:
        for mode in ("train", "eval"):
            case = layer.case(asked, [(mode, scrambled(asked.shape))], weight=weight, bias=bias)
            yield Probe(label=f"{label}, {mode}", case=case, quantities=("output",))


def _modes(layer: Layer, asked: Asked) -> Iterator[Probe]:
    shape = asked.shape
    yield layer.probe(asked, "eval", [("eval", graded(shape, asked.dtype))])
    steps = [("train", scrambled(shape, 1)), ("eval", graded(shape, asked.dtype)), ("train", scrambled(shape, 2))]
    yield layer.probe(asked, "train, eval, train on other data", steps)


def _new_group_norm(layer: Layer, asked: Asked) -> Iterator[Probe]:
    yield layer.probe(asked, "a new layer", [("train", scrambled(asked.shape, 5))], {})


def _new_batch_norm(layer: Layer, asked: Asked) -> Iterator[Probe]:
    x = scrambled(asked.shape, 5)
    yield layer.probe(asked, "a new layer, eval", [("eval", x)], {}, quantities=("output",))
    yield layer.probe(asked, "a new layer, training", [("train", x)], {})
    yield step_of_a_new_layer(layer, asked)


def step_of_a_new_layer(layer: Layer, asked: Asked) -> Probe:
    """One training step from what a new layer holds."""
    case = layer.case(asked, [("train", graded(asked.shape, asked.dtype, 6))], {})
    return Probe(label="one training step of a new layer", case=case, diagnoses=True, special=True)


AFFINE: Final[tuple[Requirement, ...]] = (
    *twins(
        "GN-08", "BN-13", ground="documentation", title="affine parts",
        statement=Both(*(
            f"Weight and bias can each be left out; a missing one has no effect{where}."
            for where in ("", ", in training and in eval")
        )),
        source=Both(
            (
                TORCH_GROUP_NORM.says("If set to False, the layer will not learn an additive bias"),
                MLX_GROUP_NORM.says("If True learn an affine transform to apply after the normalization."),
                KERAS_GROUP_NORM.says("If False, beta is ignored."),
                KERAS_GROUP_NORM.says("If False, gamma is not used."),
                FLAX_GROUP_NORM.says("If True, multiply by scale (gamma)."),
            ),
            (
                TORCH_BATCH_NORM.says("If set to False, the layer will not learn an additive bias"),
                MLX_BATCH_NORM.says("If True, apply a learned affine transformation after the normalization."),
                KERAS_BATCH_NORM.says("If False, beta is ignored."),
                KERAS_BATCH_NORM.says("If False, gamma is not used."),
                FLAX_BATCH_NORM.says("if True, multiply by scale (gamma)."),
            ),
        ),
        probes=Both(_parts_of_group_norm, _parts_of_batch_norm), settles=("no affine parts",),
    ),
    of_group_norm(
        "GN-09", ground="formula", title="training = eval",
        statement="The output depends neither on the mode nor on earlier inputs.", probes=_modes,
        source=(
            GROUP_NORM_PAPER.implies("they know no mode", at="equations 1, 2, 6 and 7"),
            TORCH_GROUP_NORM.says(
                "This layer uses statistics computed from input data in both training and evaluation modes."
            ),
            FLAX_GROUP_NORM.says("does not require maintaining internal state for storing statistics"),
        ),
    ),
    # In float32, the type that new layers have: in which type else their state lives is another question.
    *twins(
        "GN-19", "BN-23", ground="documentation", title=Both("initial parameters", "initial parameters and statistics"),
        statement=Both(
            "A new layer has weight 1 and bias 0.",
            "A new layer has weight 1, bias 0, running mean 0 and running variance 1.",
        ),
        source=Both(
            (
                TORCH_GROUP_NORM.says("parameters initialized to ones (for weights) and zeros (for biases)"),
                MLX_GROUP_NORM.says("parameters initialized at 1 and 0 respectively"),
                KERAS_GROUP_NORM.says("Initializer for the beta weight. Defaults to zeros."),
                KERAS_GROUP_NORM.says("Initializer for the gamma weight. Defaults to ones."),
                FLAX_GROUP_NORM.says("Initializer for bias, by default, zero."),
                FLAX_GROUP_NORM.says("Initializer for scale, by default, one."),
            ),
            (
                TORCH_BATCH_NORM.says(r"the elements of \gamma are set to 1 and the elements of \beta are set to 0"),
                TORCH_BATCH_NORM.says("self.running_mean.zero_()", at="the code of reset_running_stats"),
                TORCH_BATCH_NORM.says("self.running_var.fill_(1)", at="the code of reset_running_stats"),
                MLX_BATCH_NORM.says("parameters initialized at 1 and 0 respectively"),
                MLX_BATCH_NORM.says("self.running_mean = mx.zeros((num_features,))", at="the code of __init__"),
                MLX_BATCH_NORM.says("self.running_var = mx.ones((num_features,))", at="the code of __init__"),
                KERAS_BATCH_NORM.says("is a learned scaling factor (initialized as 1)"),
                KERAS_BATCH_NORM.says("is a learned offset factor (initialized as 0)"),
                KERAS_BATCH_NORM.says('moving_mean_initializer="zeros"', at="the signature"),
                KERAS_BATCH_NORM.says('moving_variance_initializer="ones"', at="the signature"),
                FLAX_BATCH_NORM.says("initializer for bias, by default, zero."),
                FLAX_BATCH_NORM.says("initializer for scale, by default, one."),
                FLAX_NNX_BATCH_NORM.says(
                    "self.mean = nnx.BatchStat(jnp.zeros(feature_shape, jnp.float32))", at="the code of __init__"
                ),
                FLAX_NNX_BATCH_NORM.says(
                    "self.var = nnx.BatchStat(jnp.ones(feature_shape, jnp.float32))", at="the code of __init__"
                ),
                FLAX_LINEN_BATCH_NORM.says("'mean', lambda s: jnp.zeros(", at="the code of __call__"),
                FLAX_LINEN_BATCH_NORM.says("'var', lambda s: jnp.ones(", at="the code of __call__"),
            ),
        ),
        dtypes=("float32",), probes=Both(_new_group_norm, _new_batch_norm),
        allows=Both((), ("new statistics",)),
    ),
)  # fmt: skip
