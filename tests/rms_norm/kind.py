"""Root-mean-square norm (Zhang and Sennrich, 2019, arXiv:1910.07467, equation 4), over all values of a sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from normgauge.adapters.case import Action, Array, Case
from normgauge.conformance.layers.kind import LayerKind
from normgauge.conformance.layers.parameters import affine, with_those_set
from normgauge.conformance.remedies.remedy import NotMended
from normgauge.conformance.requirements.inputs import SPATIAL, scrambled, weights
from normgauge.conformance.requirements.magnitudes import MAGNITUDES
from normgauge.conformance.requirements.probe import Probe, make_case
from normgauge.conformance.requirements.requirement import Asked, Requirement
from normgauge.conformance.requirements.sources import Work
from normgauge.oracle import Arithmetic, Axis, Reference, Semantics
from normgauge.oracle.axis import AxisValue

PAPER = Work(name="Zhang and Sennrich (2019), arXiv:1910.07467v1", version="v1")
EPS = Axis(
    name="eps_placement",
    question="where does eps stand",
    values=(
        AxisValue(name="inside_sqrt", meaning="y = x / sqrt(mean(x^2) + eps)", source="torch.nn.RMSNorm"),
        AxisValue(
            name="outside_sqrt",
            meaning="y = x / (sqrt(mean(x^2)) + eps)",
            source="bzhangGo/rmsnorm",
        ),
    ),
)


def rms_norm(x: Array, weight: Array | None, eps: float, semantics: Semantics, arithmetic: Arithmetic) -> Reference:
    """y = x / sqrt(mean(x^2) + eps) * weight over each sample; out of range the bound is infinite.

    The sum of n squares has a relative error of at most (n + 1)u, of which half remains under the root; root, quotient,
    product and the roundings of eps add less than 8u.
    """
    exact = x.astype(np.float64)
    inside = semantics.choice("eps_placement") == "inside_sqrt"
    with np.errstate(all="ignore"):
        mean = np.mean(exact**2, axis=tuple(range(1, x.ndim)), keepdims=True)
        value = exact / (np.sqrt(mean + eps) if inside else np.sqrt(mean) + eps)
    if weight is not None:
        value = value * weight.astype(np.float64).reshape(1, -1, *(1,) * (x.ndim - 2))
    n = exact[:1].size
    in_range = (mean > arithmetic.smallest_normal / arithmetic.u) & (n * mean < arithmetic.largest)
    bound = (n / 2 + 9) * arithmetic.u * np.abs(value) + arithmetic.smallest_normal
    return Reference(value=value, bound=np.where(in_range, bound, np.inf))


def _steps(case: Case, semantics: Semantics, arithmetic: Arithmetic) -> Iterator[Mapping[str, Reference]]:
    for step in case.steps:
        case = with_those_set(case, step)
        weight = affine(case, semantics)["weight"]
        yield {"output": rms_norm(step.x, weight, case.settings["eps"], semantics, arithmetic)}


def _case(asked: Asked, x: Array, eps: float) -> Case:
    channels = x.shape[1]
    settings: dict[str, Any] = {"num_channels": channels, "eps": eps, "bias": False}
    return make_case("rms_norm", asked.dtype, settings, [("train", x)], {"weight": weights(channels)})


def _placements(asked: Asked) -> Iterator[Probe]:
    eps = MAGNITUDES[asked.dtype].usual_eps
    for deviation in (eps**0.5, eps):
        x = scrambled(asked.shape) * deviation
        yield Probe(label=f"deviation {deviation:g}", case=_case(asked, x, eps), diagnoses=True)


def _ranks(asked: Asked) -> Iterator[Probe]:
    for rank in asked.ranks:
        yield Probe(
            label=f"rank {rank}",
            case=_case(asked, scrambled((2, 6, *SPATIAL[rank]), rank), MAGNITUDES[asked.dtype].usual_eps),
        )


def _set_between(asked: Asked) -> Iterator[Probe]:
    case = _case(asked, scrambled(asked.shape), MAGNITUDES[asked.dtype].usual_eps)
    new = Action("set_parameters", parameters={"weight": -2 * case.parameters["weight"]})
    (step,) = case.steps
    yield Probe(label="weight set between calls", case=replace(case, steps=(step, replace(step, before=(new,)))))


RMS_NORM = LayerKind(
    name="rms_norm",
    title="RMSNorm",
    axes=(EPS,),
    steps=_steps,
    relations=("scale", "sample order", "channel order"),
    advice=(NotMended(layer="rms_norm", key="eps_placement=outside_sqrt", sentence="there is no equal eps"),),
    requirements=(
        Requirement(
            id="RM-01", layer="rms_norm", ground="formula", rule="axis", axis="eps_placement", title="eps placement",
            statement="eps is added to the mean square, inside the root.", probes=_placements,
            source=(PAPER.implies("the root holds the mean square, and eps keeps it from 0", at="equation 4"),),
        ),
        Requirement(
            id="RM-02", layer="rms_norm", ground="formula", title="every rank",
            statement="The same holds for every rank.", probes=_ranks,
            source=(PAPER.implies("it knows nothing of the rank", at="equation 4"),),
        ),
        Requirement(
            id="RM-03", layer="rms_norm", ground="formula", title="weight set between calls",
            statement="A weight set between two calls is used from then on.", probes=_set_between,
            source=(PAPER.implies("the gain is that of the call", at="equation 4"),),
        ),
    ),
)  # fmt: skip
