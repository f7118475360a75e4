"""Gradients: each input with an upstream gradient built to show what a backward pass forgets.

A constant part of dy shows a mean taken as a constant, a part along the normalised input a variance taken as one;
few values tell n from n - 1; samples and positions that differ show a sum that leaves some of them out.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from normgauge.adapters.case import Array
from normgauge.conformance.requirements.inputs import ODD, SPATIAL, biases, graded, scrambled, weights
from normgauge.conformance.requirements.probe import GRADIENTS, Probe
from normgauge.conformance.requirements.requirement import (
    CHANNELS,
    Asked,
    Both,
    Layer,
    Requirement,
    given_parameters,
    of_batch_norm,
    twins,
)
from normgauge.conformance.requirements.sources import BATCH_NORM_PAPER, GROUP_NORM_PAPER
from normgauge.results.grounds import Ground


def upstream(shape: tuple[int, ...], seed: int = 0) -> Array:
    """Multiples of 1/16 with a constant part, whose samples, positions and channels all differ."""
    return scrambled(shape, 40 + seed) + 0.75


def along(x: Array, seed: int = 0) -> Array:
    """An upstream gradient with a part along x, in eighths."""
    largest = np.max(np.abs(x), axis=tuple(i for i in range(x.ndim) if i != 1), keepdims=True)
    return np.round(8 * x / np.where(largest > 0, largest, 1)) / 8 + scrambled(x.shape, 50 + seed) / 4


def _at_other_ranks(quantity: str, layer: Layer, asked: Asked) -> Iterator[Probe]:
    """The ranks that no other case of these has."""
    for rank in asked.ranks:
        if rank != len(asked.shape):
            x = scrambled((2, CHANNELS, *SPATIAL[rank]), rank)
            label = f"training, rank {rank}" if layer.statistics else f"rank {rank}"
            yield layer.probe(asked, label, [("train", x, along(x, rank))], quantities=(quantity,))


def _group_norm_dx(layer: Layer, asked: Asked) -> Iterator[Probe]:
    shape, odd = asked.shape, (3, 10, *ODD[len(asked.shape)])
    for label, x, dy, changes in (
        ("graded deviations, dy with a mean", graded(shape, asked.dtype), upstream(shape), {}),
        ("dy along x", scrambled(shape), along(scrambled(shape)), {}),
        ("G=1", scrambled(shape, 1), along(scrambled(shape, 1)), {"num_groups": 1}),
        ("G=C", scrambled(shape, 2), upstream(shape, 2), {"num_groups": CHANNELS}),
        (f"G=5 of C=10, shape {odd}", scrambled(odd), along(scrambled(odd)), _TEN),
        ("neither weight nor bias", scrambled(shape, 3), along(scrambled(shape, 3)), _NEITHER),
    ):
        yield layer.probe(asked, label, [("train", x, dy)], quantities=("dx",), **changes)
    x = graded(shape, asked.dtype, 1)
    yield layer.probe(asked, "eval", [("eval", x, along(x))], quantities=("dx",))
    yield from _at_other_ranks("dx", layer, asked)


def _group_norm_parameter(quantity: str, layer: Layer, asked: Asked) -> Iterator[Probe]:
    odd = (3, 10, *ODD[len(asked.shape)])
    for label, x, dy, changes in (
        ("graded deviations", graded(asked.shape, asked.dtype, 2), upstream(asked.shape), {}),
        (f"G=5 of C=10, shape {odd}", scrambled(odd, 1), upstream(odd, 1), _TEN),
    ):
        yield layer.probe(asked, label, [("train", x, dy)], quantities=(quantity,), **changes)
    yield from _of_a_zero_weight(quantity, layer, asked)
    yield from _at_other_ranks(quantity, layer, asked)


def _of_a_zero_weight(quantity: str, layer: Layer, asked: Asked) -> Iterator[Probe]:
    """What divides the output by the weight, to take the normalised x back, has nothing to divide there."""
    given = given_parameters() if layer.statistics else {"weight": weights(CHANNELS), "bias": biases(CHANNELS)}
    given["weight"] = np.where(np.arange(CHANNELS) % 4 == 2, 0.0, given["weight"])
    x = scrambled(asked.shape, 9)
    case = layer.case(asked, [("train", x, upstream(x.shape, 9))], given)
    yield Probe(label="weights of 0", case=case, quantities=(quantity,))


def _batch_norm_dx(layer: Layer, asked: Asked) -> Iterator[Probe]:
    shape = asked.shape
    few, odd = (2, CHANNELS, *(1,) * (len(shape) - 2)), (3, CHANNELS, *ODD[len(shape)])
    for label, x, dy, changes in (
        ("graded deviations, dy with a mean", graded(shape, asked.dtype), upstream(shape), {}),
        ("dy along x", scrambled(shape), along(scrambled(shape)), {}),
        ("two values a channel", scrambled(few), upstream(few), {}),
        (f"shape {odd}", scrambled(odd, 1), along(scrambled(odd, 1)), {}),
        ("neither weight nor bias", scrambled(shape, 3), along(scrambled(shape, 3)), _NEITHER),
        ("nothing tracked", scrambled(shape, 4), along(scrambled(shape, 4)), {"track": False}),
    ):
        yield layer.probe(asked, f"training, {label}", [("train", x, dy)], quantities=("dx",), **changes)
    yield from _at_other_ranks("dx", layer, asked)


def _batch_norm_parameter(quantity: str, layer: Layer, asked: Asked) -> Iterator[Probe]:
    odd = (3, CHANNELS, *ODD[len(asked.shape)])
    for x in (graded(asked.shape, asked.dtype, 2), scrambled(odd, 2)):
        case = layer.case(asked, [("train", x, upstream(x.shape))])
        yield Probe(label=f"training, shape {x.shape}", case=case, quantities=(quantity,))
    yield from _of_a_zero_weight(quantity, layer, asked)
    yield from _at_other_ranks(quantity, layer, asked)


def _in_eval(layer: Layer, asked: Asked) -> Iterator[Probe]:
    shape, odd = asked.shape, (3, CHANNELS, *ODD[len(asked.shape)])
    for x in (graded(shape, asked.dtype, 3), scrambled(odd, 3)):
        yield layer.probe(asked, f"eval, shape {x.shape}", [("eval", x, along(x))], quantities=GRADIENTS)
    case = layer.case(asked, [("train", scrambled(shape, 7)), ("eval", scrambled(shape, 8), upstream(shape, 8))])
    yield Probe(label="eval after a training step", case=case, quantities=GRADIENTS)


def _of_nothing(layer: Layer, asked: Asked) -> Iterator[Probe]:
    shape = asked.shape
    for empty in ((0, *shape[1:]), *([(*shape[:-1], 0)] if len(shape) > 2 else [])):
        for mode in ("train", "eval") if layer.statistics else ("train",):
            label = f"gradients, shape {empty}"
            case = layer.case(asked, [(mode, np.zeros(empty), np.zeros(empty))])
            yield Probe(label=f"{mode}, {label}" if layer.statistics else label, case=case, quantities=GRADIENTS)


_TEN: Final[dict[str, Any]] = {"num_channels": 10, "num_groups": 5}
_NEITHER: Final[dict[str, Any]] = {"weight": False, "bias": False}
_SIX_EQUATIONS: Final = "section 3, the six equations of the gradient"


def _parameter(*ids: str, ground: Ground, quantity: str, title: str, statement: str) -> tuple[Requirement, ...]:
    return twins(
        *ids, ground=ground, title=title, statement=statement, about="gradients", settles=("gradients",),
        source=Both(
            (GROUP_NORM_PAPER.implies("the derivative of y by gamma is the normalised x, by beta 1", at="equation 6"),),
            (BATCH_NORM_PAPER.implies("it gives the derivatives by gamma and beta", at=_SIX_EQUATIONS),),
        ),
        probes=Both(
            functools.partial(_group_norm_parameter, quantity), functools.partial(_batch_norm_parameter, quantity)
        ),
    )  # fmt: skip


GRADIENTS_CHAPTER: Final[tuple[Requirement, ...]] = (
    *twins(
        "GN-25", "BN-33", ground="formula", title="gradient of the input",
        statement=Both(
            "dx is the derivative through mean and variance.",
            "In training dx is the derivative through the batch's mean and variance.",
        ),
        source=Both(
            (GROUP_NORM_PAPER.implies("the chain rule goes through mu and sigma, too", at="equations 1 and 2"),),
            (
                BATCH_NORM_PAPER.implies("the derivative by x goes through mean and variance", at=_SIX_EQUATIONS),
                BATCH_NORM_PAPER.says(
                    "the statistics used for normalization can fully participate in the gradient backpropagation",
                    at="section 3",
                ),
            ),
        ),
        probes=Both(_group_norm_dx, _batch_norm_dx), about="gradients", settles=("gradients",),
    ),
    *_parameter(
        "GN-26", "BN-34", ground="formula", quantity="dweight", title="gradient of the weight",
        statement="dweight sums dy times the normalised x over samples and positions.",
    ),
    *_parameter(
        "GN-27", "BN-35", ground="formula", quantity="dbias", title="gradient of the bias",
        statement="dbias sums dy over samples and positions.",
    ),
    of_batch_norm(
        "BN-36", ground="formula", title="gradients in eval",
        statement=(
            "In eval the running statistics are constants: dx = dy * weight / sqrt(running_var + eps). dweight sums "
            "dy times the x that they normalise, dbias sums dy."
        ),
        source=(
            BATCH_NORM_PAPER.implies(
                "the derivative of step 11 of algorithm 2 by x is gamma / sqrt(Var + epsilon)", at="section 3.1",
                quote="Since the means and variances are fixed during inference",
            ),
        ),
        probes=_in_eval, about="gradients",
        settles=("gradients",),
    ),
    *twins(
        "GN-31", "BN-40", ground="formula", title="gradients of no values",
        statement=Both(*(
            f"Without samples or positions dx is empty, dweight and dbias are 0{where}."
            for where in ("", ", in training and in eval")
        )),
        source=Both(
            (GROUP_NORM_PAPER.implies("the sums over no positions are 0", at="equation 6 and the chain rule"),),
            (BATCH_NORM_PAPER.implies("the sums over no values are 0", at=_SIX_EQUATIONS),),
        ),
        probes=_of_nothing,
    ),
)  # fmt: skip
