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
        yield Probe(label=label, case=layer.case(asked, [("train", scrambled(asked.shape))], weight=weight, bias=bias))


def _parts_of_batch_norm(layer: Layer, asked: Asked) -> Iterator[Probe]:
    for weight, bias, label in _PARTS:
        for mode in ("train", "eval"):
            case = layer.case(asked, [(mode, scrambled(asked.shape))], weight=weight, bias=bias)
            yield Probe(label=f"{label}, {mode}", case=case, quantities=("output",))


def _modes(layer: Layer, asked: Asked) -> Iterator[Probe]:
    shape = asked.shape
    yield Probe(label="eval", case=layer.case(asked, [("eval", graded(shape, asked.dtype))]))
    steps = [("train", scrambled(shape, 1)), ("eval", graded(shape, asked.dtype)), ("train", scrambled(shape, 2))]
    yield Probe(label="train, eval, train on other data", case=layer.case(asked, steps))


def _new_group_norm(layer: Layer, asked: Asked) -> Iterator[Probe]:
    yield Probe(label="a new layer", case=layer.case(asked, [("train", scrambled(asked.shape, 5))], {}))


def _new_batch_norm(layer: Layer, asked: Asked) -> Iterator[Probe]:
    x = scrambled(asked.shape, 5)
    yield Probe(label="a new layer, eval", case=layer.case(asked, [("eval", x)], {}), quantities=("output",))
    yield Probe(label="a new layer, training", case=layer.case(asked, [("train", x)], {}))


AFFINE: Final[tuple[Requirement, ...]] = (
    *twins(
        "GN-08", "BN-13", title="affine parts",
        statement="Weight and bias can each be left out, and what is left out does nothing.",
        probes=Both(_parts_of_group_norm, _parts_of_batch_norm), settles=("no affine parts",),
    ),
    of_group_norm(
        "GN-09", title="training = eval", statement="The output does not depend on the mode.", probes=_modes,
    ),
    # In float32, the type that new layers have: in which type else their state lives is another question.
    *twins(
        "GN-19", "BN-23", title=Both("initial parameters", "initial parameters and statistics"),
        statement=Both(
            "A new layer has weight 1 and bias 0.",
            "A new layer has weight 1, bias 0, running mean 0 and running variance 1.",
        ),
        dtypes=("float32",), probes=Both(_new_group_norm, _new_batch_norm),
        allows=Both((), ("new statistics",)),
    ),
)  # fmt: skip
