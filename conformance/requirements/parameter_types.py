"""Parameters of another type than the input, each for itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from normgauge.adapters.dtypes import KNOWN_DTYPES
from normgauge.conformance.requirements.gradients import along
from normgauge.conformance.requirements.inputs import cast, scrambled
from normgauge.conformance.requirements.probe import QUANTITIES, Probe
from normgauge.conformance.requirements.requirement import CHANNELS, Asked, Both, Layer, Requirement, twins
from normgauge.conformance.requirements.sources import BATCH_NORM_PAPER, GROUP_NORM_PAPER

#: For each type of the input, another one that parameters may have beside it.
OTHER_TYPE: Final = {"float32": "float16", "float64": "float32", "float16": "float32", "bfloat16": "float32"}
#: The mode of the call, whether it is differentiated, and what is of the other type.
_TYPED_OF_GROUP_NORM: Final = (
    ("train", False, ("weight",)),
    ("train", False, ("bias",)),
    ("train", False, ("weight", "bias")),
    ("train", True, ("weight", "bias")),
)
_TYPED_OF_BATCH_NORM: Final = (
    *_TYPED_OF_GROUP_NORM,
    ("train", False, ("running_mean", "running_var")),
    ("eval", False, ("weight",)),
    ("eval", False, ("bias",)),
    ("eval", False, ("running_mean",)),
    ("eval", False, ("running_mean", "running_var")),  # only of a wider type
    ("eval", True, ("weight", "bias")),
)
_WHATEVER_HOLDS_IT: Final = "the equations have the values that parameters have, whatever type holds them"
#: Near so large a mean, float32 has digits after those of half precision that make a sixteenth of a deviation.
_LARGE: Final = 18.0


def _typed(rows: Sequence[tuple[str, bool, tuple[str, ...]]], layer: Layer, asked: Asked) -> Iterator[Probe]:
    other = OTHER_TYPE[asked.dtype]
    own, others = (KNOWN_DTYPES[dtype].digits for dtype in (asked.dtype, other))
    for mode, differentiated, names in rows:
        if mode == "eval" and "running_var" in names and others < own:
            continue  # the root of a variance may be computed in the type of the variance
        far = _LARGE if "running_mean" in names else 0.0
        x = (scrambled(asked.shape) + far) * (1 + 2.0 ** -(others + 2))  # digits that a narrower type does not have
        case = layer.case(asked, [(mode, x, along(x)) if differentiated else (mode, x)])
        given = {**case.parameters, **{name: cast(case.parameters[name], other) for name in names}}
        if far:
            given["running_mean"] = cast(far + (np.arange(CHANNELS) * 2 + 1) / 512, other)
        # The gradient of a parameter has the type of the parameter.
        quantities: tuple[str, ...] = ("output", "dx") if differentiated and others < own else QUANTITIES
        if mode == "train" and "running_var" in names:
            quantities = names  # a layer that normalises with them here may take the root in their type, as in eval
        label = f"{mode}, {' and '.join(names)} of {other}{', differentiated' if differentiated else ''}"
        typed = replace(case, parameters=given, dtypes=dict.fromkeys(names, other))
        yield Probe(label=label, case=typed, quantities=quantities, without=case)


def _typed_of_group_norm(layer: Layer, asked: Asked) -> Iterator[Probe]:
    return _typed(_TYPED_OF_GROUP_NORM, layer, asked)


def _typed_of_batch_norm(layer: Layer, asked: Asked) -> Iterator[Probe]:
    return _typed(_TYPED_OF_BATCH_NORM, layer, asked)


PARAMETER_TYPES: Final[tuple[Requirement, ...]] = twins(
    "GN-38", "BN-49", ground="robustness", rule="parameter_types", title="types of the parameters",
    statement=Both(
        "A weight or a bias of another type than the input is used with all its digits, or raises an exception.",
        "A parameter or running statistic of another type than the input is used with all its digits, or raises an "
        "exception.",
    ),
    source=Both(
        (GROUP_NORM_PAPER.implies(_WHATEVER_HOLDS_IT, at="equation 6"),),
        (BATCH_NORM_PAPER.implies(_WHATEVER_HOLDS_IT, at="algorithms 1 and 2"),),
    ),
    probes=Both(_typed_of_group_norm, _typed_of_batch_norm), allows=("parameter_types",),
)  # fmt: skip
