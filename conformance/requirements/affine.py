"""Weight and bias: each alone, neither, and those of a new layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from normgauge.conformance.requirements.inputs import graded, scrambled
from normgauge.conformance.requirements.probe import Probe
from normgauge.conformance.requirements.requirement import Asked, Both, Layer, Requirement, of_group_norm, twins

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


AFFINE: Final[tuple[Requirement, ...]] = (
    *twins(
        "GN-08", "BN-13", ground="documentation", title="affine parts",
        statement="Weight and bias can each be left out, and what is left out does nothing.",
        probes=Both(_parts_of_group_norm, _parts_of_batch_norm), settles=("no affine parts",),
    ),
    of_group_norm(
        "GN-09", ground="formula", title="training = eval",
        statement="The output does not depend on the mode.", probes=_modes,
    ),
    # In float32, the type that new layers have: in which type else their state lives is another question.
    *twins(
        "GN-19", "BN-23", ground="documentation", title=Both("initial parameters", "initial parameters and statistics"),
        statement=Both(
            "A new layer has weight 1 and bias 0.",
            "A new layer has weight 1, bias 0, running mean 0 and running variance 1.",
        ),
        dtypes=("float32",), probes=Both(_new_group_norm, _new_batch_norm),
        allows=Both((), ("new statistics",)),
    ),
)  # fmt: skip
