"""Mistakes: each is another function than the canonical one, and its gradients are those of its output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from normgauge.oracle import (
    AXES,
    CANONICAL,
    Arithmetic,
    Gradients,
    Reference,
    Semantics,
    batch_norm,
    batch_norm_backward,
    distance,
    group_norm,
    group_norm_backward,
    initial_statistics,
    semantics,
)

Array = np.ndarray[Any, np.dtype[Any]]
Call = Callable[[Array, Array, Array], Reference]

MISTAKES = [
    (layer, axis.name, mistake.name)
    for layer, axes in AXES.items()
    for axis in axes
    for mistake in axis.mistakes + axis.rare
]
#: What shows in the running statistics, or in eval alone.
RUNNING = {"running_var", "bootstrap", "updates", "eval_reads", "momentum_value", "momentum_none"}
SHAPE = (4, 8, 3, 11)
#: Sizes at which a mistake shows that depends on them.
OF_MISTAKE = dict.fromkeys(("n_rounded_up_to_4", "over_rounded_n", "tail_dropped", "tail_twice"), (3, 8, 3, 11)) | {
    "of_quarters": (4, 8, 4, 11),
    "at_most_32": (2, 64, 3),
    "odd_value_dropped": (3, 8, 3, 11),
    "of_blocks_of_1024": (2, 8, 32, 32),
    "over_n_in_half": (1, 8, 3, 683),
    "over_n_in_16_bits": (2, 2, 8, 4100),
    "along_last_axis": (3, 8, 5, 8),
}
#: The deviation and the mean of x, the rise of its mean, and the size of the weight, where a mistake shows.
SCALES = {"in_half": (1 / 64, 0, 0, 1), "at_most_6": (1 / 4, 1, 0, 8), "of_blocks_of_1024": (1 / 4, 1, 2, 1)}


def drawn(*shape: int) -> Array:
    return np.random.default_rng([7, *shape]).standard_normal(shape)


RUNNING_STATISTICS = {
    channels: initial_statistics(np.abs(drawn(channels, 1)[:, 0]), 1 + np.abs(drawn(channels, 2)[:, 0]))
    for channels in (2, 8)
}


def output(chosen: Semantics, groups: int, training: bool, arithmetic: Arithmetic) -> Call:
    def call(x: Array, weight: Array, bias: Array) -> Reference:
        if chosen.layer == "group_norm":
            return group_norm(x, groups, weight, bias, eps=0.01, semantics=chosen, arithmetic=arithmetic)
        return batch_norm(
            x,
            RUNNING_STATISTICS.get(x.shape[1]),
            weight,
            bias,
            training=training,
            eps=0.01,
            semantics=chosen,
            arithmetic=arithmetic,
        ).output

    return call


def gradients(chosen: Semantics, groups: int, training: bool, given: tuple[Array, ...], dy: Array) -> Gradients:
    x, weight, bias = given
    common: dict[str, Any] = {"eps": 0.01, "semantics": chosen, "arithmetic": Arithmetic("float64")}
    if chosen.layer == "group_norm":
        return group_norm_backward(x, dy, groups, weight, bias, **common)
    return batch_norm_backward(x, dy, RUNNING_STATISTICS.get(x.shape[1]), weight, bias, training=training, **common)


def groups_for(mistake: str) -> int:
    return GROUPS.get(mistake, 4)


GROUPS = {
    "one_group_is_each_channel": 1,
    "at_most_4": 8,
    "at_most_32": 64,
    "odd_value_dropped": 8,
    "first_16_of_a_channel": 8,
    "over_n_in_16_bits": 1,
}


def given_for(mistake: str) -> tuple[Array, Array, Array]:
    """An input, a weight and a bias."""
    shape, (deviation, mean, rise, scale) = OF_MISTAKE.get(mistake, SHAPE), SCALES.get(mistake, (1 / 4, 1, 0, 1))
    channels, rising = shape[1], np.linspace(0, rise, int(np.prod(shape))).reshape(shape)
    return deviation * drawn(*shape) + mean + rising, scale * drawn(channels, 3)[:, 0], drawn(channels, 4)[:, 0]


@pytest.mark.parametrize(("layer", "axis", "mistake"), MISTAKES)
def test_the_gradients_of_a_mistake_are_those_of_its_output(layer: str, axis: str, mistake: str) -> None:
    chosen, groups = semantics(layer, **{axis: mistake}), groups_for(mistake)
    shape = OF_MISTAKE.get(mistake, SHAPE)
    channels = shape[1]
    given = drawn(*shape), given_for(mistake)[1], drawn(channels, 4)[:, 0]
    directions, dy = (
        (drawn(*shape[::-1]).reshape(shape), drawn(channels, 5)[:, 0], drawn(channels, 6)[:, 0]),
        drawn(*shape, 1)[..., 0],
    )
    for training in (True, False) if layer == "batch_norm" else (True,):
        call, step = output(chosen, groups, training, Arithmetic("float64")), 1e-5
        ends = [call(*(v + sign * step * d for v, d in zip(given, directions, strict=True))) for sign in (1, -1)]
        quotient = np.sum((ends[0].value - ends[1].value) * dy) / (2 * step)
        found = gradients(chosen, groups, training, given, dy)
        parts = zip((found.dx, found.dweight, found.dbias), directions, strict=True)
        assert quotient == pytest.approx(sum(np.sum(g.value * d) for g, d in parts), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(("layer", "axis", "mistake"), [one for one in MISTAKES if one[1] not in RUNNING])
def test_a_mistake_is_another_function(layer: str, axis: str, mistake: str) -> None:
    given, groups = given_for(mistake), groups_for(mistake)
    chosen = semantics(layer, **{axis: mistake})
    call, right = (output(one, groups, True, Arithmetic("float32")) for one in (chosen, CANONICAL[layer]))
    assert distance(call(*given), right(*given)) > 1


@pytest.mark.parametrize(("axis", "mistake"), [one[1:] for one in MISTAKES if one[1] in RUNNING])
def test_a_mistake_of_the_running_statistics_shows_after_steps_and_eval(axis: str, mistake: str) -> None:
    x, weight, bias = drawn(*SHAPE), drawn(8, 3)[:, 0], drawn(8, 4)[:, 0]
    before = RUNNING_STATISTICS[8]
    if mistake == "overwrites":  # the weight and the bias of a new layer, which share their memory
        weight, bias, before = np.ones(8), np.zeros(8), initial_statistics(np.zeros(8), np.ones(8))

    def shown(chosen: Semantics) -> list[Reference]:
        common: dict[str, Any] = {
            "eps": 0.01,
            "semantics": chosen,
            "arithmetic": Arithmetic("float32"),
            "momentum": None if axis == "momentum_none" else 0.3,
        }
        first = batch_norm(x, before, weight, bias, training=True, **common)
        second = batch_norm(2 * x, first.running, weight, bias, training=True, **common)
        third = batch_norm(x, second.running, weight, bias, training=False, **common)
        running = [one.running for one in (first, second, third) if one.running is not None]
        statistics = [statistic for one in running for statistic in (one.mean, one.var)]
        return [first.output, *statistics, third.output]

    pairs = zip(shown(semantics("batch_norm", **{axis: mistake})), shown(CANONICAL["batch_norm"]), strict=True)
    assert max(distance(one, other) for one, other in pairs) > 1


def test_the_stored_deviation_of_a_constant_has_the_error_of_a_variance_near_0() -> None:
    x, before = np.full((2, 8, 3), 3.0, dtype=np.float32), initial_statistics(np.zeros(8), np.ones(8))
    bounds = []
    for running_var in ("unbiased", "deviation"):
        chosen = semantics("batch_norm", running_var=running_var)
        after = batch_norm(x, before, training=True, momentum=1.0, semantics=chosen).running
        assert after is not None
        bounds.append(after.var.bound)
    assert np.all(bounds[1] > 0.9 * np.sqrt(bounds[0]))
