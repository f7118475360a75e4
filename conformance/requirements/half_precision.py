"""Half precision: the types of what comes out, long sums, and parameters that the half type cannot hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from normgauge.adapters.case import Array
from normgauge.adapters.dtypes import HALF
from normgauge.conformance.requirements.accuracy_curves import extents
from normgauge.conformance.requirements.inputs import biases, scrambled, weights
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
from normgauge.conformance.requirements.sources import (
    BATCH_NORM_PAPER,
    FLOAT_FOR_HALF,
    GROUP_NORM_PAPER,
    JAX_GRAD,
    JAX_SCAN,
    ONNX_BATCH_NORM,
    ONNX_GROUP_NORM,
)

#: Values in a set, so many that their sum stops growing in the type when they are added one by one.
MANY: Final = {"float16": 16384, "bfloat16": 2048}
#: An eps that is lost beside a variance of 1 in either half type.
_EPS: Final = 2.0**-16


def balanced(count: int) -> Array:
    """The first ``count`` signs of Thue and Morse, 1 and -1: every block of a power of two of them adds up to 0."""
    digits = np.arange(count, dtype=np.uint64)
    for shift in (16, 8, 4, 2, 1):
        digits ^= digits >> np.uint64(shift)
    return np.where(digits & np.uint64(1), 1.0, -1.0)


def _two_values(layer: Layer, rank: int, many: int) -> tuple[Array, Array]:
    """x and dy of the values 0 and 2 in sets of ``many``, whose sums are exact in blocks and in pairs.

    Each set has mean 1 and deviation 1. dy has mean 1, too, and half of it goes with x.
    """
    signs = balanced(many // 2)
    along = np.where(np.arange(many // 2) // 2 % 4 == 3, -signs, signs)
    of_channels = np.array([1.0, -1.0] if layer.statistics else [1.0, -1.0, -1.0, 1.0])
    if rank > 2:
        shape: tuple[int, ...] = (2 if layer.statistics else 1, len(of_channels), *extents(many // 2, rank))
        x, dy = (np.broadcast_to(np.outer(of_channels, one).reshape(shape[1:]), shape) for one in (signs, along))
    elif layer.statistics:  # samples are the positions
        x, dy = (np.outer(np.tile(one, 2), of_channels) for one in (signs, along))
    else:
        x, dy = (np.outer(of_channels, one).reshape(1, -1) for one in (signs, along))
    return 1 + x, 1 + dy


def _long_sums(layer: Layer, asked: Asked) -> Iterator[Probe]:
    many = MANY.get(asked.dtype)
    if many is None:
        return
    x, dy = _two_values(layer, len(asked.shape), many)
    cases: list[tuple[str, str, float, float, tuple[str, ...]]] = [(f"{many:,} values", "train", 1.0, 1.0, GRADIENTS)]
    if layer.statistics:
        cases.append((f"eval, {many:,} values", "eval", 1.0, 1.0, GRADIENTS))
    if asked.dtype == "float16":
        cases.append((f"sums beyond the range, {many:,} values", "train", 16.0, 32.0, ("dx",)))
    channels = x.shape[1]
    parameters = {"weight": np.ones(channels), "bias": np.zeros(channels)}
    if layer.statistics:
        parameters |= {"running_mean": np.ones(channels), "running_var": np.ones(channels)}
    changes = {} if layer.statistics else {"num_groups": 2}
    for label, mode, size, upstream, quantities in cases:
        common = {"num_channels": channels, "eps": _EPS, **changes}
        if mode == "train":
            yield Probe(label=label, case=layer.case(asked, [(mode, x * size)], parameters, **common))
        case = layer.case(asked, [(mode, x * size, dy * upstream)], parameters, **common)
        yield Probe(label=f"{label}, gradients", case=case, quantities=quantities)


class _Beyond(NamedTuple):
    """A case with parameters of float32 that float16 cannot hold: powers of two, by which each thing is multiplied.

    ``statistics`` is that of the running deviation, and of the mean where ``far``; None where they have the input's
    type.
    """

    label: str
    mode: str
    x: int
    weight: int | None
    dy: int | None
    quantities: tuple[str, ...]
    statistics: int | None = None
    far: int | None = None


_BEYOND_OF_GROUP_NORM: Final = (
    _Beyond("a weight near 2^-26", "train", -4, -26, 14, ("dx",)),
    _Beyond("a weight near 2^17", "train", 4, 17, -14, ("dx",)),
)
_BEYOND_OF_BATCH_NORM: Final = (
    *_BEYOND_OF_GROUP_NORM,
    _Beyond("eval, a running variance near 2^20", "eval", 10, None, None, ("output",), statistics=10),
    _Beyond("eval, a running variance near 2^-28", "eval", -9, None, None, ("output",), statistics=-14),
    _Beyond("eval, a running mean near 2^17", "eval", 14, None, None, ("output",), statistics=16, far=17),
    _Beyond("eval, a weight near 2^17", "eval", -9, 17, None, ("output",)),
)


def _beyond(rows: Sequence[_Beyond], layer: Layer, asked: Asked) -> Iterator[Probe]:
    for row in rows if asked.dtype == "float16" else ():
        given = given_parameters() if layer.statistics else {"weight": weights(CHANNELS), "bias": biases(CHANNELS)}
        typed: dict[str, Array] = {}
        if row.weight is not None:
            typed["weight"] = np.abs(given["weight"]) * 2.0**row.weight
        if row.statistics is not None:
            mean = given["running_mean"] * 2.0**row.statistics
            typed["running_mean"] = mean if row.far is None else 2.0**row.far + mean
            typed["running_var"] = given["running_var"] * 4.0**row.statistics
        wide = {name: value.astype(np.float32) for name, value in typed.items()}
        x = scrambled(asked.shape) * 2.0**row.x
        steps = [(row.mode, x)] if row.dy is None else [(row.mode, x, _upstream(x.shape) * 2.0**row.dy)]
        nothing: dict[str, Array] = {name: given[name] * 0 for name in ("bias", "running_mean") if name in given}
        case = layer.case(asked, steps, {**given, **nothing}, eps=2.0**-40)
        case = replace(case, parameters={**case.parameters, **wide}, dtypes=dict.fromkeys(wide, "float32"))
        yield Probe(label=f"{row.label}, of float32", case=case, quantities=row.quantities)


def _upstream(shape: tuple[int, ...]) -> Array:
    """Numbers between 1 and 2 of both signs."""
    x = scrambled(shape, 7)
    return np.sign(x) * (1 + np.abs(x) / 2)


def _beyond_in_group_norm(layer: Layer, asked: Asked) -> Iterator[Probe]:
    return _beyond(_BEYOND_OF_GROUP_NORM, layer, asked)


def _beyond_in_batch_norm(layer: Layer, asked: Asked) -> Iterator[Probe]:
    return _beyond(_BEYOND_OF_BATCH_NORM, layer, asked)


_FIXED_TYPE: Final = "must hold a fixed shape and dtype across all iterations"
_STASHED: Final = "the operator casts all input variables to 32-bit float"

HALF_PRECISION: Final[tuple[Requirement, ...]] = (
    *twins(
        "GN-43", "BN-53", ground="convention", rule="gradient_types", title="types of the gradients",
        statement="dx has the type of x, dweight that of the weight, and dbias that of the bias.",
        source=(
            JAX_GRAD.says(
                "the gradient has the same shape and type as the positional argument indicated by that integer"
            ),
        ),
    ),
    of_batch_norm(
        "BN-54", ground="convention", rule="statistics_types", title="types of the running statistics",
        statement="A call keeps the type in which the running statistics are given.",
        source=(JAX_SCAN.implies("a layer that steps in such a loop keeps the types of its state", quote=_FIXED_TYPE),),
    ),
    *twins(
        "GN-44", "BN-55", ground="robustness", rule="wide_sums", title="long sums in half precision",
        about="range",
        statement=Both(
            "Sums of thousands of values of half precision, and those beyond the range of float16, are those of "
            "float32 in output and gradients.",
            "Sums of thousands of values of half precision, and those beyond the range of float16, are those of "
            "float32 in output, running statistics and gradients, in training and in eval.",
        ),
        source=Both(
            (
                ONNX_GROUP_NORM.says(_STASHED, at="of stash_type, whose default is 1"),
                GROUP_NORM_PAPER.implies("a mean of two values lies between them", at="equation 2"),
            ),
            (
                ONNX_BATCH_NORM.says(FLOAT_FOR_HALF),
                BATCH_NORM_PAPER.implies("a mean of two values lies between them", at="algorithm 1"),
            ),
        ),
        dtypes=HALF, probes=_long_sums,
    ),
    *twins(
        "GN-45", "BN-56", ground="robustness", rule="beyond_half", title="parameters beyond float16",
        about="range",
        statement=Both(
            "A float32 weight that float16 cannot represent is used unchanged beside an input of float16, or raises "
            "an exception.",
            "float32 weights and running statistics that float16 cannot represent are used unchanged beside an input "
            "of float16, or raise an exception.",
        ),
        source=Both(
            (
                GROUP_NORM_PAPER.implies("it has the weight's value, whatever type holds it", at="equation 6"),
                ONNX_GROUP_NORM.says(_STASHED, at="of stash_type, whose default is 1"),
            ),
            (
                BATCH_NORM_PAPER.implies(
                    "they have the values that parameters have, whatever type holds them", at="algorithms 1 and 2"
                ),
                ONNX_BATCH_NORM.says(FLOAT_FOR_HALF),
            ),
        ),
        dtypes=("float16",), probes=Both(_beyond_in_group_norm, _beyond_in_batch_norm),
    ),
)  # fmt: skip
