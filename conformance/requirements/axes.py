"""Which of the known alternatives an implementation follows: an axis of its semantics each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from normgauge.conformance.requirements.inputs import graded, scrambled
from normgauge.conformance.requirements.magnitudes import MAGNITUDES
from normgauge.conformance.requirements.probe import Probe
from normgauge.conformance.requirements.requirement import (
    BATCH_NORM,
    CHANNELS,
    GROUP_NORM,
    Asked,
    Both,
    Layer,
    Requirement,
    of_batch_norm,
    of_group_norm,
    twins,
)


def _graded_groups(layer: Layer, asked: Asked) -> Iterator[Probe]:
    usual = MAGNITUDES[asked.dtype].usual_eps
    for number, (eps, groups) in enumerate([(usual, 4), (64 * usual, 4), (usual, 2)]):
        steps = [("train", graded(asked.shape, asked.dtype, number))]
        case = layer.case(asked, steps, eps=eps, num_groups=groups)
        yield Probe(label=f"graded deviations, eps={eps:.2g}, G={groups}", case=case, diagnoses=True)


def _one_step(layer: Layer, asked: Asked) -> Iterator[Probe]:
    case = layer.case(asked, [("train", graded(asked.shape, asked.dtype))])
    yield Probe(label="one training step, graded deviations", case=case, diagnoses=True)


def _two_steps(layer: Layer, asked: Asked) -> Iterator[Probe]:
    steps = [("train", graded(asked.shape, asked.dtype, 1)), ("train", scrambled(asked.shape, 2))]
    yield Probe(label="two training steps", case=layer.case(asked, steps), diagnoses=True)


def _momentum_none(layer: Layer, asked: Asked) -> Iterator[Probe]:
    steps = [("train", scrambled(asked.shape, seed)) for seed in (1, 2, 3)]
    case = layer.case(asked, steps, momentum=None)
    yield Probe(label="three training steps, momentum=None", case=case, diagnoses=True, special=True)


def _one_value(layer: Layer, asked: Asked) -> Iterator[Probe]:
    one = (1, CHANNELS, *(1,) * (len(asked.shape) - 2))
    case = layer.case(asked, [("train", scrambled(one))])
    yield Probe(label=f"one training step, shape {one}", case=case, diagnoses=True, special=True)


def _untracked(layer: Layer, asked: Asked) -> Iterator[Probe]:
    case = layer.case(asked, [("eval", graded(asked.shape, asked.dtype))], track=False)
    yield Probe(label="eval, nothing tracked", case=case, diagnoses=True, special=True)


AXES: Final[tuple[Requirement, ...]] = (
    *twins(
        "GN-01", "BN-01", ground="formula", rule="axis", axis="eps_placement", title="eps placement",
        statement="eps is added to the variance, inside the square root.",
        source=Both(f"{GROUP_NORM.paper}, equation 2", f"{BATCH_NORM.paper}, algorithm 1"),
        probes=Both(_graded_groups, _one_step),
        settles=Both(("scale", "groups = C", "groups = 1"), ("scale",)),
    ),
    of_group_norm(
        "GN-02", ground="formula", rule="axis", axis="grouping", title="grouping",
        statement="Group g holds the adjacent channels g * C/G to (g + 1) * C/G - 1.",
        source=f"{GROUP_NORM.paper}, equation 7",
    ),
    *twins(
        "GN-03", "BN-02", ground="formula", rule="axis", axis="variance", title="biased variance",
        statement=Both(
            "The variance that normalises divides by n.", "The variance that normalises in training divides by n."
        ),
        source=Both(
            f"{GROUP_NORM.paper}, equation 2; {GROUP_NORM.documentation}",
            f"{BATCH_NORM.paper}, algorithm 1; {BATCH_NORM.documentation}",
        ),
        settles=Both(("groups = C", "groups = 1"), ()),
    ),
    of_group_norm(
        "GN-04", ground="formula", rule="axis", axis="affine_shape", title="affine per channel",
        statement="Weight and bias hold one value for each channel.",
        source=f"{GROUP_NORM.paper}, equation 6; {GROUP_NORM.documentation}",
        settles=("channel order", "groups = C"),
    ),
    of_batch_norm(
        "BN-03", ground="convention", rule="axis", axis="running_var", title="unbiased running variance",
        statement="The running variance tracks the variance with divisor n - 1.",
        source=f"{BATCH_NORM.paper}, algorithm 2, step 10; {BATCH_NORM.documentation}",
    ),
    of_batch_norm(
        "BN-04", ground="convention", rule="axis", axis="momentum_weighs", title="momentum weighs the new value",
        statement="running = (1 - momentum) * running + momentum * batch.",
    ),
    of_batch_norm(
        "BN-05", ground="convention", rule="axis", axis="momentum_none", title="momentum None",
        statement="momentum=None makes the running statistics plain averages of all batches.",
        probes=_momentum_none,
        settles=("momentum None",), allows=("momentum None",),
    ),
    of_batch_norm(
        "BN-06", ground="convention", rule="axis", axis="single_value", title="one value per channel",
        statement="Training on one value per channel is refused: it has no variance.",
        source="torch 2.13, torch.nn.functional.batch_norm (pytorch/pytorch #2961)",
        probes=_one_value,
        settles=("one value",),
    ),
    of_batch_norm(
        "BN-07", ground="formula", rule="axis", axis="training_normalizes_with", title="training uses the batch",
        statement="In training the mean and variance of the batch normalise.",
        source=f"{BATCH_NORM.paper}, algorithm 1",
        settles=("scale", "shift", "momentum and history"), allows=("several calls",),
    ),
    of_batch_norm(
        "BN-08", ground="convention", rule="axis", axis="untracked_eval_uses", title="eval untracked",
        statement="Without tracked statistics, eval normalises with those of the batch.",
        probes=_untracked,
        settles=("untracked",),
    ),
    of_batch_norm(
        "BN-09", ground="convention", rule="axis", axis="bootstrap", title="start of the running statistics",
        statement="The running statistics start from their initial values.",
        probes=_two_steps,
    ),
)  # fmt: skip
