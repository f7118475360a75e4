"""Which of the known alternatives an implementation follows: an axis of its semantics each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from normgauge.conformance.requirements.inputs import biases, graded, scrambled, weights
from normgauge.conformance.requirements.magnitudes import MAGNITUDES
from normgauge.conformance.requirements.probe import Probe
from normgauge.conformance.requirements.requirement import (
    CHANNELS,
    Asked,
    Both,
    Layer,
    Requirement,
    of_batch_norm,
    of_group_norm,
    twins,
)
from normgauge.conformance.requirements.sources import (
    ADDED_TO_THE_VARIANCE,
    BATCH_NORM_PAPER,
    GROUP_NORM_PAPER,
    TORCH_BATCH_NORM,
    TORCH_FUNCTIONAL,
    TORCH_GROUP_NORM,
    UPDATE_RULE,
)


def _graded_groups(layer: Layer, asked: Asked) -> Iterator[Probe]:
    usual = MAGNITUDES[asked.dtype].usual_eps
    for number, (eps, groups) in enumerate([(usual, 4), (64 * usual, 4), (usual, 2)]):
        steps = [("train", graded(asked.shape, asked.dtype, number))]
        case = layer.case(asked, steps, eps=eps, num_groups=groups)
        yield Probe(label=f"graded deviations, eps={eps:.2g}, G={groups}", case=case, diagnoses=True)


def _one_step(layer: Layer, asked: Asked) -> Iterator[Probe]:
    case = layer.case(asked, [("train", graded(asked.shape, asked.dtype))])
    yield Probe(label="one training step, graded deviations", case=case, diagnoses=True)


def _two_steps(layer: Layer, asked: Asked) -> Iterator[Probe]:
    steps = [("train", graded(asked.shape, asked.dtype, 1)), ("train", scrambled(asked.shape, 2))]
    yield Probe(label="two training steps", case=layer.case(asked, steps), diagnoses=True)


def _momentum_none(layer: Layer, asked: Asked) -> Iterator[Probe]:
    steps = [("train", scrambled(asked.shape, seed)) for seed in (1, 2, 3)]
    case = layer.case(asked, steps, momentum=None)
    yield Probe(label="three training steps, momentum=None", case=case, diagnoses=True, special=True)


def _one_value(layer: Layer, asked: Asked) -> Iterator[Probe]:
    one = (1, CHANNELS, *(1,) * (len(asked.shape) - 2))
    case = layer.case(asked, [("train", scrambled(one))])
    yield Probe(label=f"one training step, shape {one}", case=case, diagnoses=True, special=True)


def _untracked(layer: Layer, asked: Asked) -> Iterator[Probe]:
    case = layer.case(asked, [("eval", graded(asked.shape, asked.dtype))], track=False)
    yield Probe(label="eval, nothing tracked", case=case, diagnoses=True, special=True)


def _affine(layer: Layer, asked: Asked) -> Iterator[Probe]:
    """What parameters in a narrower type, and those along another axis that is as long, change."""
    x = scrambled(asked.shape, 4)
    plain = layer.case(asked, [("train", x)])
    parameters = dict(plain.parameters) | {"weight": weights(CHANNELS) * np.pi, "bias": biases(CHANNELS) * np.pi}
    case = layer.case(asked, [("train", x)], parameters)
    yield Probe(label="weight and bias of many digits", case=case, quantities=("output",), without=plain)
    if len(asked.shape) > 2:
        shape = (2, CHANNELS, *(1,) * (len(asked.shape) - 3), CHANNELS)
        case = layer.case(asked, [("train", scrambled(shape, 4))])
        label = f"shape {shape}, as many positions as channels"
        yield Probe(label=label, case=case, quantities=("output",), without=plain)


AXES: Final[tuple[Requirement, ...]] = (
    *twins(
        "GN-01", "BN-01", ground="formula", rule="axis", axis="eps_placement", title="eps placement",
        statement="eps is added to the variance, inside the square root.",
        source=Both(
            (GROUP_NORM_PAPER.implies("sigma is the root of the mean square deviation plus epsilon", at="equation 2"),),
            (
                BATCH_NORM_PAPER.implies(
                    "the root that divides x - mu is that of the sum", at="section 3, of epsilon, and algorithm 1",
                    quote=ADDED_TO_THE_VARIANCE,
                ),
            ),
        ),
        probes=Both(_graded_groups, _one_step),
        settles=Both(("scale", "groups = C", "groups = 1"), ("scale",)),
    ),
    of_group_norm(
        "GN-02", ground="formula", rule="axis", axis="grouping", title="grouping",
        statement="Group g holds the adjacent channels g * C/G to (g + 1) * C/G - 1.",
        source=(
            GROUP_NORM_PAPER.implies(
                "floor(k_C / (C/G)) = g holds for the C/G adjacent channels from g * C/G on, and for no other",
                at="section 3.1, equation 7 and what stands below it, of floor(k_C / (C/G)) = floor(i_C / (C/G))",
                quote=(
                    "means that the indexes i and k are in the same group of channels, assuming each group of channels "
                    "are stored in a sequential order along the C axis"
                ),
            ),
        ),
    ),
    *twins(
        "GN-03", "BN-02", ground="formula", rule="axis", axis="variance", title="biased variance",
        statement=Both(
            "The variance that normalises divides by n.", "The variance that normalises in training divides by n."
        ),
        source=Both(
            (
                GROUP_NORM_PAPER.implies("the squares are divided by m, the size of the set", at="equation 2"),
                TORCH_GROUP_NORM.says("The variance is calculated via the biased estimator"),
            ),
            (
                BATCH_NORM_PAPER.implies("the squares are divided by m, the size of the batch", at="algorithm 1"),
                TORCH_BATCH_NORM.says(
                    "At train time in the forward pass, the variance is calculated via the biased estimator"
                ),
            ),
        ),
        settles=Both(("groups = C", "groups = 1"), ()),
    ),
    of_group_norm(
        "GN-04", ground="formula", rule="axis", axis="affine_shape", title="affine per channel",
        statement="Weight and bias hold one value for each channel.",
        source=(GROUP_NORM_PAPER.says("GN also learns the per-channel γ and β.", at="section 3.1"),),
        settles=("channel order", "groups = C"),
    ),
    of_batch_norm(
        "BN-03", ground="convention", rule="axis", axis="running_var", title="unbiased running variance",
        statement="The running variance tracks the variance with divisor n - 1.",
        source=(
            BATCH_NORM_PAPER.says("We use the unbiased variance estimate", at="section 3.1"),
            TORCH_BATCH_NORM.says(
                "the value stored in the moving average of the variance is calculated via the unbiased estimator"
            ),
        ),
    ),
    of_batch_norm(
        "BN-04", ground="convention", rule="axis", axis="momentum_weighs", title="momentum weighs the new value",
        statement="running = (1 - momentum) * running + momentum * batch.",
        source=(TORCH_BATCH_NORM.says(UPDATE_RULE),),
    ),
    of_batch_norm(
        "BN-05", ground="convention", rule="axis", axis="momentum_none", title="momentum None",
        statement="momentum=None makes the running statistics plain averages of all batches.",
        source=(TORCH_BATCH_NORM.says("Can be set to None for cumulative moving average (i.e. simple average)"),),
        probes=_momentum_none,
        settles=("momentum None",), allows=("momentum None",),
    ),
    of_batch_norm(
        "BN-06", ground="convention", rule="axis", axis="single_value", title="one value per channel",
        statement="Training on one value per channel raises an exception: one value has no variance.",
        source=(
            BATCH_NORM_PAPER.says("with a mini-batch size m > 1", at="section 3.1"),
            TORCH_FUNCTIONAL.says(
                "Expected more than 1 value per channel when training", at="the message of its check"
            ),
        ),
        probes=_one_value,
        settles=("one value",),
    ),
    of_batch_norm(
        "BN-07", ground="formula", rule="axis", axis="training_normalizes_with", title="training uses the batch",
        statement="In training the mean and variance of the batch normalise.",
        source=(BATCH_NORM_PAPER.implies("the mean and variance are those of the mini-batch", at="algorithm 1"),),
        settles=("scale", "shift", "momentum and history"), allows=("several calls",),
    ),
    of_batch_norm(
        "BN-08", ground="convention", rule="axis", axis="untracked_eval_uses", title="eval untracked",
        statement="Without tracked statistics, eval normalises with those of the batch.",
        source=(
            TORCH_BATCH_NORM.says("batch statistics are instead used during evaluation time as well"),
        ),
        probes=_untracked,
        settles=("untracked",),
    ),
    of_batch_norm(
        "BN-09", ground="convention", rule="axis", axis="bootstrap", title="start of the running statistics",
        statement="The first batch is blended into the initial running statistics, like every later batch.",
        source=(
            TORCH_BATCH_NORM.implies("the first step is a step as any other: it names none", quote=UPDATE_RULE),
        ),
        probes=_two_steps,
    ),
    *twins(
        "GN-49", "BN-60", ground="formula", axis="affine", title="weight, then bias", probes=_affine,
        statement=(
            "Each normalised value is multiplied by the weight of its channel; then the bias of its channel is added. "
            "All digits of both count."
        ),
        source=Both(
            (GROUP_NORM_PAPER.implies("y = weight * x_hat + bias", at="equation 6"),),
            (BATCH_NORM_PAPER.implies("y = weight * x_hat + bias", at="algorithm 1"),),
        ),
    ),
    *twins(
        "GN-50", "BN-61", ground="formula", rule="axis", axis="followed_by", title="nothing follows",
        statement="The output is weight * x_hat + bias: no further function is applied.",
        source=Both(
            (GROUP_NORM_PAPER.implies("y = weight * x_hat + bias is the output", at="equation 6"),),
            (BATCH_NORM_PAPER.implies("y = weight * x_hat + bias is the output", at="algorithm 1"),),
        ),
    ),
    *twins(
        "GN-51", "BN-62", ground="formula", rule="axis", axis="centre", title="mean subtracted",
        statement="The mean is subtracted from x.",
        source=Both(
            (GROUP_NORM_PAPER.implies("x_hat = (x - mean) / deviation", at="equation 1"),),
            (BATCH_NORM_PAPER.implies("x_hat = (x - mean) / sqrt(var + eps)", at="algorithm 1"),),
        ),
    ),
    of_batch_norm(
        "BN-63", ground="formula", rule="axis", axis="normalized_together", title="a channel of the whole batch",
        statement="In training the values of a channel, in all samples and at all positions, share mean and variance.",
        source=(
            BATCH_NORM_PAPER.implies("a channel of all samples and positions is one batch", at="section 3.2"),
        ),
    ),
)  # fmt: skip
