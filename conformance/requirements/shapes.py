"""Every shape that a layer is made for, and those at the edge of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from normgauge.conformance.requirements.inputs import ODD, SPATIAL, graded, scrambled
from normgauge.conformance.requirements.probe import Probe, beside_another
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
    BATCH_NORM_PAPER,
    FLAX_BATCH_NORM,
    FLAX_GROUP_NORM,
    GROUP_NORM_PAPER,
    KERAS_BATCH_NORM,
    KERAS_GROUP_NORM,
    MLX_BATCH_NORM,
    MLX_GROUP_NORM,
    TORCH_BATCH_NORM,
    TORCH_GROUP_NORM,
)

#: More than the integers that are one object each in CPython, which a comparison by identity tells from others.
_MANY_CHANNELS: Final = 300


def _group_counts(layer: Layer, asked: Asked) -> Iterator[Probe]:
    for groups in (1, 2, 4, 8):
        yield layer.probe(asked, f"G={groups} of C=8", [("train", scrambled(asked.shape))], num_groups=groups)
    three = scrambled((3, 12, *asked.shape[2:]))
    yield layer.probe(asked, f"G=4 of C=12, shape {three.shape}", [("train", three)], num_channels=12)
    odd = scrambled((3, 10, *ODD[len(asked.shape)]))
    yield layer.probe(asked, f"G=2 of C=10, shape {odd.shape}", [("train", odd)], num_channels=10, num_groups=2)
    case = layer.case(asked, [("train", graded(odd.shape, asked.dtype, 2))], num_channels=10, num_groups=2)
    yield Probe(label=f"graded deviations, G=2 of C=10, shape {odd.shape}", case=case, diagnoses=True, special=True)
    for groups in (1, CHANNELS):
        case = layer.case(asked, [("train", graded(asked.shape, asked.dtype, 3))], num_groups=groups)
        yield Probe(label=f"graded deviations, G={groups}", case=case, diagnoses=True, special=True)


def _ranks_of_group_norm(layer: Layer, asked: Asked) -> Iterator[Probe]:
    for rank in asked.ranks:
        x = scrambled((2, CHANNELS, *SPATIAL[rank]), seed=rank)
        yield layer.probe(asked, f"rank {rank}", [("train", x)])


def _ranks_of_batch_norm(layer: Layer, asked: Asked) -> Iterator[Probe]:
    for rank in asked.ranks:
        x = scrambled((2, CHANNELS, *SPATIAL[rank]), seed=rank)
        yield layer.probe(asked, f"rank {rank}, training", [("train", x)])
        yield layer.probe(asked, f"rank {rank}, eval", [("eval", x)], quantities=("output",))
    for samples in (1, 3):
        x = scrambled((samples, CHANNELS, *ODD[len(asked.shape)]))
        if x.size > CHANNELS:
            yield layer.probe(asked, f"training, shape {x.shape}", [("train", x)])
    if not asked.few_shapes:
        alone = (1,) * (len(asked.shape) - 2)
        x = scrambled((1, CHANNELS, *alone))
        yield layer.probe(asked, f"eval, shape {x.shape}", [("eval", x)], quantities=("output",))
        x = scrambled((1, _MANY_CHANNELS, *alone))
        settings: dict[str, Any] = {"num_channels": _MANY_CHANNELS, "track": False}
        yield layer.probe(asked, f"training, shape {x.shape}, nothing tracked", [("train", x)], {}, **settings)
    odd = (3, CHANNELS, *ODD[len(asked.shape)])
    case = layer.case(asked, [("train", graded(odd, asked.dtype, 2))])
    yield Probe(label=f"training, graded deviations, shape {odd}", case=case, diagnoses=True, special=True)


def _other_samples(layer: Layer, asked: Asked) -> Iterator[Probe]:
    for neighbour, label in ((np.nan, "NaN"), (2.0**20, "a million")):
        x = scrambled(asked.shape)
        x[1] = neighbour * (1 + scrambled(x[1].shape) / 8)
        yield layer.probe(asked, f"the other sample is {label}", [("train", x)])
    steps = [("train", scrambled(asked.shape, seed)) for seed in (0, 1)]
    case = beside_another(layer.case(asked, steps))
    yield Probe(label="the other samples are another layer's", case=case)


def _one_value_a_group(layer: Layer, asked: Asked) -> Iterator[Probe]:
    flat = 2 in asked.ranks
    alone = () if flat else (1,) * (len(asked.shape) - 2)
    label = "no spatial extent" if flat else "one position"
    for samples in (1, 2):
        x = scrambled((samples, CHANNELS, *alone))
        yield layer.probe(asked, f"N={samples}, G=C, {label}", [("train", x)], num_groups=CHANNELS)


def _extents(asked: Asked, *wanted: int) -> list[tuple[int, ...]]:
    """The spatial sizes of these ranks that the layer is made for, or those of most inputs."""
    return [SPATIAL[rank] for rank in wanted if rank in asked.ranks] or [asked.shape[2:]]


def _no_samples_of_group_norm(layer: Layer, asked: Asked) -> Iterator[Probe]:
    for extents in _extents(asked, 2, 4):
        x = np.zeros((0, CHANNELS, *extents))
        yield layer.probe(asked, f"shape {x.shape}", [("train", x)])


def _no_positions_of_group_norm(layer: Layer, asked: Asked) -> Iterator[Probe]:
    for extents in _extents(asked, 3, 4):
        if extents:
            x = np.zeros((2, CHANNELS, *extents[:-1], 0))
            yield layer.probe(asked, f"shape {x.shape}", [("train", x)])


def _without_values(asked: Asked) -> tuple[tuple[tuple[int, ...], str], ...]:
    """Shapes of no samples and, where there are any, of no positions, with their names."""
    no_samples = ((0, *asked.shape[1:]), "a batch without samples")
    no_positions = ((*asked.shape[:-1], 0), "a batch without positions")
    return (no_samples, no_positions) if len(asked.shape) > 2 else (no_samples,)


def _no_samples_of_batch_norm(layer: Layer, asked: Asked) -> Iterator[Probe]:
    return _empty_batches(layer, asked, *_without_values(asked)[:1])


def _no_positions_of_batch_norm(layer: Layer, asked: Asked) -> Iterator[Probe]:
    return _empty_batches(layer, asked, *_without_values(asked)[1:])


def _empty_batches(layer: Layer, asked: Asked, *shapes: tuple[tuple[int, ...], str]) -> Iterator[Probe]:
    for shape, _ in shapes:
        for mode in ("train", "eval"):
            yield layer.probe(asked, f"{mode}, shape {shape}", [(mode, np.zeros(shape))])


def _empty_batches_averaged(layer: Layer, asked: Asked) -> Iterator[Probe]:
    for shape, what in _without_values(asked):
        steps = [("train", np.zeros(shape)), ("train", scrambled(asked.shape))]
        case = layer.case(asked, steps, momentum=None)
        yield Probe(label=f"momentum=None, {what} and then a full one", case=case, needs="BN-05")


def _other_ranks(layer: Layer, asked: Asked) -> Iterator[Probe]:
    """Ranks that the layer is not made for; of rank 1 there is the channel axis alone."""
    mode = "eval" if layer.statistics else "train"
    yield layer.probe(asked, f"rank 1, {mode}", [(mode, scrambled((CHANNELS,)))], quantities=("output",))
    for rank in sorted({2, 3, 4, 5} - set(asked.ranks)):
        x = scrambled((2, CHANNELS, *SPATIAL[rank]), 4)
        yield layer.probe(asked, f"rank {rank}", [("train", x)])
        yield layer.probe(asked, f"rank {rank}, eval", [("eval", x)], quantities=("output",))


_LEFT_AS_THEY_WERE: Final = "and leaves the running statistics as they were."
_NO_MEAN: Final = "no values have no mean and no variance, so there is nothing to track, and nothing to put out"

SHAPES: Final[tuple[Requirement, ...]] = (
    of_group_norm(
        "GN-06", ground="formula", title="every group count",
        statement="The output is that of the equations for G = 1, for G = C and between, and for odd sizes.",
        source=(
            GROUP_NORM_PAPER.implies(
                "the equations hold for every G that divides C, and for every size", at="section 3.1, of equation 7",
                quote="Here G is the number of groups, which is a pre-defined hyper-parameter",
            ),
        ),
        probes=_group_counts,
    ),
    *twins(
        "GN-07", "BN-12", ground="documentation", title="every rank",
        statement=Both(
            "An input of every rank from 2 to 5 that the layer supports is normalised by the same equations.",
            "An input of every rank that the layer supports is normalised by the same equations. This holds in "
            "training, in eval, for odd sizes and for a single sample.",
        ),
        source=Both(
            (
                TORCH_GROUP_NORM.says("Input: (N, C, *)"),
                MLX_GROUP_NORM.says(
                    "The feature dimension is assumed to be the last dimension and the dimensions that precede it "
                    "(except the first) are considered the spatial dimensions."
                ),
                KERAS_GROUP_NORM.says("Input shape: Arbitrary."),
                FLAX_GROUP_NORM.says(
                    "represents an arbitrary number of extra dimensions that can be used to accumulate statistics over."
                ),
            ),
            (
                TORCH_BATCH_NORM.says("Applies Batch Normalization over a 2D or 3D input.", at="BatchNorm1d"),
                TORCH_BATCH_NORM.says("Applies Batch Normalization over a 4D input."),
                TORCH_BATCH_NORM.says("Applies Batch Normalization over a 5D input.", at="BatchNorm3d"),
                MLX_BATCH_NORM.says("Applies Batch Normalization over a 2D, 3D or 4D input."),
                KERAS_BATCH_NORM.says("Input tensor (of any rank)."),
                FLAX_BATCH_NORM.implies(
                    "whatever the rank is, all dimensions but that of the features are those of a batch",
                    at="the code of __call__",
                    quote="reduction_axes = tuple(i for i in range(x.ndim) if i not in feature_axes)",
                ),
            ),
        ),
        probes=Both(_ranks_of_group_norm, _ranks_of_batch_norm),
    ),
    of_group_norm(
        "GN-10", ground="formula", title="batch independence",
        statement=(
            "The output of a sample does not depend on other samples: neither on NaN or a million, nor on those of "
            "another layer."
        ),
        source=(
            GROUP_NORM_PAPER.says(
                "LN, IN, and GN all perform independent computations along the batch axis.", at="section 3.1"
            ),
        ),
        probes=_other_samples, about="other samples",
        settles=("several samples", "with_nan", "with_infinity"), allows=("another_layer",),
    ),
    of_group_norm(
        "GN-11", ground="convention", title="one value per group",
        statement="A group of one value gives the bias, whatever the batch size.",
        source=(GROUP_NORM_PAPER.implies("with m = 1, x - mu is 0", at="equations 1, 2 and 6"),),
        probes=_one_value_a_group, settles=("one value",),
    ),
    *twins(
        "GN-13", "BN-18", ground="robustness", title="no samples",
        statement=Both(
            "A batch of no samples gives an output of no samples.",
            f"A batch of no samples gives an output of no samples in training and in eval, {_LEFT_AS_THEY_WERE}",
        ),
        source=Both(
            (GROUP_NORM_PAPER.implies("where there is no sample there is no set to normalise", at="equation 7"),),
            (BATCH_NORM_PAPER.implies(_NO_MEAN, at="algorithm 1"),),
        ),
        probes=Both(_no_samples_of_group_norm, _no_samples_of_batch_norm),
    ),
    *twins(
        "GN-14", "BN-19", ground="robustness", title="no positions",
        statement=Both(
            "A spatial size of zero gives an empty output.",
            f"A spatial size of zero gives an empty output in training and in eval, {_LEFT_AS_THEY_WERE}",
        ),
        source=Both(
            (GROUP_NORM_PAPER.implies("where there is no position there is nothing to normalise", at="equation 1"),),
            (BATCH_NORM_PAPER.implies(_NO_MEAN, at="algorithm 1"),),
        ),
        probes=Both(_no_positions_of_group_norm, _no_positions_of_batch_norm),
    ),
    of_batch_norm(
        "BN-48", ground="documentation", title="empty batches with momentum None",
        statement=(
            "With momentum None a batch without samples or positions does not count: the running statistics are the "
            "plain averages of the batches that have values."
        ),
        source=(
            TORCH_BATCH_NORM.implies(
                "a batch that has no mean is none of those that are averaged",
                quote="Can be set to None for cumulative moving average (i.e. simple average)",
            ),
        ),
        probes=_empty_batches_averaged,
    ),
    *twins(
        "GN-34", "BN-43", ground="formula", rule="answer", title="other ranks",
        statement=Both(*(
            "An input of an unsupported rank is normalised by the same equations if the layer accepts it"
            f"{where}. A layer that raises an exception conforms." for where in ("", ", in training and in eval")
        )),
        source=Both(
            (GROUP_NORM_PAPER.implies("the sets follow from sample and channel alone", at="equation 7"),),
            (BATCH_NORM_PAPER.implies("the set follows from the channel alone", at="algorithm 1"),),
        ),
        probes=_other_ranks,
    ),
)  # fmt: skip
