"""Whether the number that is given is the number that is used, at ordinary and at odd values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from normgauge.adapters.case import Case
from normgauge.adapters.dtypes import FULL, KNOWN_DTYPES
from normgauge.conformance.requirements.gradients import along, upstream
from normgauge.conformance.requirements.inputs import dyadic, scrambled, small
from normgauge.conformance.requirements.probe import GRADIENTS, Probe
from normgauge.conformance.requirements.requirement import (
    CHANNELS,
    Asked,
    Both,
    Layer,
    Requirement,
    of_batch_norm,
    twins,
)
from normgauge.conformance.requirements.sources import (
    ADDED_TO_THE_VARIANCE,
    BATCH_NORM_PAPER,
    FLAX_BATCH_NORM,
    FLAX_GROUP_NORM,
    FLOAT_FOR_HALF,
    GROUP_NORM_PAPER,
    KERAS_BATCH_NORM,
    KERAS_GROUP_NORM,
    MLX_BATCH_NORM,
    MLX_GROUP_NORM,
    ONNX_BATCH_NORM,
    ONNX_GROUP_NORM,
    TORCH_BATCH_NORM,
    TORCH_GROUP_NORM,
)

#: eps from far below float32's resolution at 1 to far above every default.
EPS_GIVEN: Final = (1e-12, 1e-5, 1e-3, 0.5)
#: Below the resolution of float16, whose least subnormal number is 6e-8, and of no other type.
SMALL_EPS: Final = (1e-8, 1e-12)


def _left_out(case: Case, setting: str) -> Probe:
    settings = {name: value for name, value in case.settings.items() if name != setting}
    return Probe(label=f"{setting} left to the default", case=replace(case, settings=settings), measures=setting)


def _eps(layer: Layer, asked: Asked) -> Iterator[Probe]:
    for eps in EPS_GIVEN:
        # sqrt(eps)/10 shows an eps beside the variance, eps/10 one beside its square root.
        for deviation, label in ((eps**0.5 / 10, "sqrt(eps)/10"), (eps / 10, "eps/10")):
            x = small(asked.shape, deviation)
            yield layer.probe(asked, f"eps={eps:g}, deviation {label}", [("train", x)], eps=eps)
            if layer.statistics:
                given = {"running_mean": np.zeros(CHANNELS), "running_var": np.full(CHANNELS, dyadic(deviation) ** 2)}
                evaluated = f"eval, eps={eps:g}, running deviation {label}"
                yield layer.probe(asked, evaluated, [("eval", x)], given, eps=eps)
    yield _left_out(layer.case(asked, [("train", small(asked.shape, 2.0**-12))]), "eps")


def _momentum(layer: Layer, asked: Asked) -> Iterator[Probe]:
    for momentum in (0.05, 0.1, 0.9, 0.99):
        yield Probe(label=f"momentum={momentum:g}", case=_far_step(layer, asked, momentum))
    yield _left_out(_far_step(layer, asked, 0.1), "momentum")


def _far_step(layer: Layer, asked: Asked, momentum: float) -> Case:
    """From running statistics of 8, a step to a batch near 8 and one to a batch near 0.

    What is left of the 8 is the weight, however the statistics start; a batch near 0 has a mean with a
    small error, which would hide the step otherwise.
    """
    parameters = {"running_mean": np.full(CHANNELS, 8.0), "running_var": np.full(CHANNELS, 8.0)}
    steps = [("train", scrambled(asked.shape) / 8 + 8), ("train", scrambled(asked.shape, 1) / 8)]
    return layer.case(asked, steps, parameters, momentum=momentum)


def _eps_zero_of_group_norm(layer: Layer, asked: Asked) -> Iterator[Probe]:
    x = scrambled(asked.shape, 3)
    for factor in (2.0**-6, 1.0):
        yield layer.probe(asked, f"eps=0, times {factor:g}", [("train", x * factor)], eps=0.0)
    yield layer.probe(asked, "eps=0, gradients", [("train", x, along(x))], quantities=GRADIENTS, eps=0.0)


def _eps_zero_of_batch_norm(layer: Layer, asked: Asked) -> Iterator[Probe]:
    x = scrambled(asked.shape, 3)
    for mode in ("train", "eval"):
        yield layer.probe(asked, f"{mode}, eps=0", [(mode, x)], quantities=("output",), eps=0.0)
        yield layer.probe(asked, f"{mode}, eps=0, gradients", [(mode, x, along(x))], quantities=GRADIENTS, eps=0.0)


def _negative_eps_of_group_norm(layer: Layer, asked: Asked) -> Iterator[Probe]:
    for scale, label in ((1.0, "1"), (2.0**-10, "2^-20")):
        case = layer.case(asked, [("train", scrambled(asked.shape, 3) * scale)], eps=-(2.0**-10))
        yield Probe(label=f"eps=-2^-10, variance near {label}", case=case)


def _negative_eps_of_batch_norm(layer: Layer, asked: Asked) -> Iterator[Probe]:
    for mode in ("train", "eval"):
        case = layer.case(asked, [(mode, scrambled(asked.shape, 3))], eps=-(2.0**-10))
        yield Probe(label=f"{mode}, eps=-2^-10", case=case, quantities=("output",))


def _eps_below_resolution(layer: Layer, asked: Asked) -> Iterator[Probe]:
    constant = np.full(asked.shape, 3.0)
    for eps in (one for one in SMALL_EPS if one < KNOWN_DTYPES[asked.dtype].smallest_subnormal / 2):
        probe = Probe(label=f"all 3, eps={eps:g}", case=layer.case(asked, [("train", constant)], eps=eps))
        yield replace(probe, quantities=("output",)) if layer.statistics else probe
        case = layer.case(asked, [("train", constant, upstream(asked.shape) / 1024)], eps=eps)
        yield Probe(label=f"gradients, all 3, eps={eps:g}", case=case, quantities=GRADIENTS)


def _given_variances(layer: Layer, asked: Asked) -> Iterator[Probe]:
    x = scrambled(asked.shape, 3)
    for variance in (0.0, 2.0**-30, -0.5, -(2.0**-20), np.inf, np.nan):
        parameters = {"running_mean": np.full(CHANNELS, 0.25), "running_var": np.ones(CHANNELS)}
        parameters["running_var"][::2] = variance
        case = layer.case(asked, [("eval", x)], parameters)
        yield Probe(
            label=f"eval, running variance {variance:g} in every other channel", case=case, quantities=("output",)
        )


SETTINGS: Final[tuple[Requirement, ...]] = (
    *twins(
        "GN-05", "BN-10", ground="documentation", rule="setting", setting="eps", axis="eps_value", title="eps as given",
        statement=Both(*(
            f"Every eps from 1e-12 to 0.5 is accepted and used{where}, to a relative 1e-5 in float32 and 1e-6 in "
            "float64." for where in ("", ", in training and in eval")
        )),
        source=Both(
            (
                TORCH_GROUP_NORM.says("a value added to the denominator for numerical stability"),
                MLX_GROUP_NORM.says("A small additive constant for numerical stability."),
                KERAS_GROUP_NORM.says("Small float added to variance to avoid dividing by zero."),
                FLAX_GROUP_NORM.says("A small float added to variance to avoid dividing by zero."),
            ),
            (
                BATCH_NORM_PAPER.says(ADDED_TO_THE_VARIANCE, at="section 3, of epsilon"),
                TORCH_BATCH_NORM.says("a value added to the denominator for numerical stability"),
                MLX_BATCH_NORM.says("A small additive constant for numerical stability."),
                KERAS_BATCH_NORM.says("Small float added to variance to avoid dividing by zero."),
                FLAX_BATCH_NORM.says("a small float added to variance to avoid dividing by zero."),
            ),
        ),
        dtypes=FULL, probes=_eps,
        settles=("small eps",),
    ),
    of_batch_norm(
        "BN-11", ground="documentation", rule="setting", setting="momentum", axis="momentum_value",
        title="momentum as given",
        statement=(
            "Every momentum from 0.05 to 0.99 is accepted and used, to a relative 1e-4 in float32 and 1e-6 in "
            "float64."
        ),
        source=(
            TORCH_BATCH_NORM.says("the value used for the running_mean and running_var computation"),
            MLX_BATCH_NORM.says("The momentum for updating the running mean and variance."),
            KERAS_BATCH_NORM.says("Momentum for the moving average."),
            FLAX_BATCH_NORM.says("decay rate for the exponential moving average of the batch statistics."),
        ),
        dtypes=FULL, probes=_momentum,
        settles=("momentum of many digits",),
    ),
    *twins(
        "GN-32", "BN-41", ground="convention", title="eps of zero",
        statement=Both(
            "eps = 0 is accepted, and nothing is added: output and gradients are those of the equations without eps.",
            "eps = 0 is accepted, and nothing is added: output and gradients are those of the equations without eps, "
            "in training and in eval.",
        ),
        source=Both(
            (GROUP_NORM_PAPER.implies("with epsilon = 0 it holds wherever the variance is above 0", at="equation 2"),),
            (BATCH_NORM_PAPER.implies("with epsilon = 0 it holds wherever the variance is above 0", at="algorithm 1"),),
        ),
        probes=Both(_eps_zero_of_group_norm, _eps_zero_of_batch_norm),
    ),
    *twins(
        "GN-33", "BN-42", ground="formula", rule="answer", title="negative eps",
        statement=Both(*(
            f"A negative eps is added unchanged if the layer accepts it{where}; no other value replaces it. The output "
            "is NaN where var + eps < 0. A layer that raises an exception conforms."
            for where in ("", ", in training and in eval")
        )),
        source=Both(
            (GROUP_NORM_PAPER.implies("the root holds the variance plus epsilon, and nothing else", at="equation 2"),),
            (
                BATCH_NORM_PAPER.implies(
                    "a constant of any sign is added, and the root of a negative number is none",
                    at="section 3, of epsilon", quote=ADDED_TO_THE_VARIANCE,
                ),
            ),
        ),
        probes=Both(_negative_eps_of_group_norm, _negative_eps_of_batch_norm),
    ),
    *twins(
        "GN-35", "BN-45", ground="robustness", title="eps below the resolution",
        statement=Both(*(
            f"If float16 rounds eps to 0, output and gradients of a constant {x} are still correct: eps belongs to "
            "sums in float32."
            for x in ("input", "batch")
        )),
        source=Both(
            (
                GROUP_NORM_PAPER.implies(
                    "x - mu is 0, and 0 / sqrt(epsilon) is 0 for every epsilon above 0", at="equations 1 and 2"
                ),
                ONNX_GROUP_NORM.says(
                    "the operator casts all input variables to 32-bit float", at="of stash_type, whose default is 1"
                ),
            ),
            (
                BATCH_NORM_PAPER.implies(
                    "x - mu is 0, and 0 / sqrt(epsilon) is 0 for every epsilon above 0", at="algorithm 1"
                ),
                ONNX_BATCH_NORM.says(FLOAT_FOR_HALF),
            ),
        ),
        dtypes=("float16",), probes=_eps_below_resolution,
    ),
    of_batch_norm(
        "BN-44", ground="formula", title="given variances",
        statement=(
            "In eval, a running variance of 0 or 2^-30 is used unchanged. An infinite variance gives the bias; a "
            "variance below -eps, or NaN, gives NaN in its own channel."
        ),
        source=(
            BATCH_NORM_PAPER.implies(
                "y = gamma / sqrt(Var + epsilon) * (x - E) + beta for each channel by itself", at="algorithm 2, step 11"
            ),
        ),
        probes=_given_variances,
    ),
)  # fmt: skip
