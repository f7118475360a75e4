"""What is subtracted, and which variance divides."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from faulty.faults.fault import BATCH, GROUP, Mistake
from faulty.pipeline import Array

Layer = Any

FAMILY: Final = "centre and variance"


def _zeros(layer: Layer, mean: Array) -> Array:
    return np.zeros_like(mean)


def _about_zero(layer: Layer, values: Array, mean: Array) -> Array:
    return np.zeros_like(mean)[:, None]


def _about_running_mean(layer: Layer, values: Array, mean: Array) -> Array:
    return mean[:, None] if layer.running_mean is None else layer.running_mean[:, None]


def _about_parts(parts: int) -> Any:
    """Each part of a set about its own mean: the variances of the parts are averaged, and how far these lie is lost."""

    def about(layer: Layer, values: Array, mean: Array) -> Array:
        size = values.shape[1]
        if size % parts:
            return mean[:, None]
        means = values.reshape(len(values), parts, -1).mean(axis=2)
        return np.repeat(means, size // parts, axis=1)

    return about


def _about_channels(layer: Layer, values: Array, mean: Array) -> Array:
    return _about_parts(layer.channels // layer.groups)(layer, values, mean)


def _about_samples(layer: Layer, values: Array, mean: Array) -> Array:
    return _about_parts(layer.shape[0])(layer, values, mean)


def _without_root(layer: Layer, var: Array) -> Array:
    return 1 / (var + var.dtype.type(layer.eps))


MISTAKES: Final = (
    Mistake(
        name="mean not subtracted",
        why="the centre is left out of the output, and the variance is right",
        named="the mean is not subtracted",
        change={"centre": _zeros, "centre_moves": 0.0},
    ),
    Mistake(
        name="root mean square",
        why="RMSNorm in place of the layer: no mean anywhere",
        link="https://github.com/1bit-MONSTER/1bit-MONSTER/issues/1154",
        named="root mean square",
        change={"centre": _zeros, "centre_moves": 0.0, "about": _about_zero, "about_moves": 0.0},
    ),
    Mistake(
        name="variance about zero",
        why="E[x^2] without the square of the mean",
        named="about zero",
        change={"about": _about_zero, "about_moves": 0.0},
    ),
    Mistake(
        name="variance about the running mean",
        why="the variance is computed with the statistics at hand, which are not the batch's",
        named="about the running mean",
        kinds=(BATCH,),
        change={"about": _about_running_mean, "about_moves": 0.0},
    ),
    Mistake(
        name="mean of two halves variances",
        why="partial variances are averaged, and the term of how far their means lie apart is left out",
        named="parts",
        change={"about": _about_parts(2)},
    ),
    Mistake(
        name="mean of four parts variances",
        why="the same with four blocks or devices",
        named="parts",
        change={"about": _about_parts(4)},
    ),
    Mistake(
        name="mean of the channels variances",
        why="a variance a channel, averaged over the group",
        named="each channel",
        kinds=(GROUP,),
        change={"about": _about_channels},
    ),
    Mistake(
        name="mean of the samples variances",
        why="a variance a sample, averaged over the batch",
        named="each sample",
        kinds=(BATCH,),
        change={"about": _about_samples},
    ),
    Mistake(
        name="divisor n - 1",
        why="std(x) of a library whose default is the unbiased one",
        link="https://github.com/taokong/group_normalization/issues/1",
        named="divided by n - 1",
        change={"divisor": lambda layer, n: max(n - 1, 1), "bessel": lambda layer: 1.0},
    ),
    Mistake(
        name="divisor n - C",
        why="the degrees of freedom of all channels are taken from one",
        link="https://github.com/mlpack/mlpack/pull/2474",
        named="n - C",
        change={"divisor": lambda layer, n: max(n - layer.channels, 1)},
    ),
    Mistake(
        name="divisor n plus one",
        why="a count that starts at one",
        named=r"n \+ 1",
        change={"divisor": lambda layer, n: n + 1},
    ),
    Mistake(
        name="divisor a multiple of 4",
        why="the padded length divides the sum of squares, and the mean is right",
        named="multiple of 4",
        change={"divisor": lambda layer, n: n + -n % 4},
    ),
    Mistake(
        name="mean over a multiple of 4",
        why="the padded length divides the sum, and the squares are taken about that",
        named="multiple of 4",
        change={"divisor_of_mean": lambda layer, n: n + -n % 4},
    ),
    Mistake(
        name="variance for the deviation",
        why="the root is forgotten: divided by the variance",
        link="https://github.com/jax-ml/jax/pull/443",
        named="the root",
        change={"reciprocal": _without_root, "slope": lambda layer, var: 2 * (var + var.dtype.type(layer.eps))},
    ),
)
