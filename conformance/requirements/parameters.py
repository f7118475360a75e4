"""Parameters that a user gives to a layer that has been called already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from normgauge.adapters.case import Action
from normgauge.conformance.requirements.gradients import along
from normgauge.conformance.requirements.inputs import biases, cast, scrambled, weights
from normgauge.conformance.requirements.probe import Probe
from normgauge.conformance.requirements.requirement import (
    CHANNELS,
    Asked,
    Both,
    Layer,
    Requirement,
    given_statistics,
    twins,
)
from normgauge.conformance.requirements.sources import FLAX_LINEN, FLAX_NNX, KERAS_LAYER, MLX_MODULE, TORCH_MODULE

#: Values that no case begins with.
_NEW: Final = {"weight": weights(CHANNELS)[::-1] / 2, "bias": biases(CHANNELS)[::-1] + 0.5, **given_statistics(3)}
_AFFINE: Final = ("weight", "bias")
_STATISTICS: Final = ("running_mean", "running_var")
#: The modes of the calls, whether they are differentiated, and what is set before the last one.
_Row = tuple[tuple[str, ...], bool, tuple[str, ...]]
_OF_GROUP_NORM: Final[tuple[_Row, ...]] = (
    (("train", "train"), False, _AFFINE),
    (("eval", "eval"), False, _AFFINE),
    (("train", "train"), True, ("weight",)),
)
_OF_BATCH_NORM: Final[tuple[_Row, ...]] = (
    (("train", "train"), False, (*_AFFINE, *_STATISTICS)),
    (("eval", "eval"), False, _AFFINE),
    (("train", "eval", "eval"), False, _STATISTICS),
    (("train", "train"), True, ("weight",)),
    (("eval", "eval"), True, (*_AFFINE, *_STATISTICS)),
)


def _set(rows: Sequence[_Row], layer: Layer, asked: Asked) -> Iterator[Probe]:
    for modes, differentiated, names in rows:
        inputs = [(mode, scrambled(asked.shape, seed)) for seed, mode in enumerate(modes)]
        case = layer.case(asked, [(mode, x, along(x)) if differentiated else (mode, x) for mode, x in inputs])
        new = Action("set_parameters", parameters={name: cast(_NEW[name], asked.dtype) for name in names})
        *earlier, last = case.steps
        label = f"{', '.join(modes[:-1])}, {' and '.join(names)} set, {modes[-1]}"
        label += ", differentiated" if differentiated else ""
        yield Probe(label=label, case=replace(case, steps=(*earlier, replace(last, before=(new,)))), without=case)


def _set_of_group_norm(layer: Layer, asked: Asked) -> Iterator[Probe]:
    return _set(_OF_GROUP_NORM, layer, asked)


def _set_of_batch_norm(layer: Layer, asked: Asked) -> Iterator[Probe]:
    return _set(_OF_BATCH_NORM, layer, asked)


PARAMETERS_CHAPTER: Final[tuple[Requirement, ...]] = twins(
    "GN-37", "BN-47", ground="documentation", title="parameters set between calls",
    statement=Both(
        "A weight and a bias that are set between two calls are used in all later calls, in output and gradients, in "
        "training and in eval.",
        "Weight, bias and running statistics that are set between two calls are used in all later calls, in training "
        "and in eval. This holds for output, statistics and gradients.",
    ),
    source=(
        TORCH_MODULE.says(
            "Copy parameters and buffers from state_dict into this module and its descendants.", at="load_state_dict"
        ),
        MLX_MODULE.says("Update the model's weights from a .npz, a .safetensors file, or a list.", at="load_weights"),
        KERAS_LAYER.says("Sets the values of layer.weights from a list of NumPy arrays.", at="set_weights"),
        FLAX_NNX.says("Update the given graph node with a new state(s) in-place.", at="update"),
        FLAX_LINEN.implies(
            "a call has the variables that it is given", at="apply",
            quote="Applies a module method to variables and returns output and modified variables.",
        ),
    ),
    probes=Both(_set_of_group_norm, _set_of_batch_norm), allows=Both((), ("set_parameters",)),
)  # fmt: skip
