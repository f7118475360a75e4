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

_REFUSE_SUCH: Final = "refuse such batches in your own code"
_SET_AFTER: Final = "set the running statistics after the first step yourself"


def _graded_groups(layer: Layer, asked: Asked) -> Iterator[Probe]:
    usual = MAGNITUDES[asked.dtype].usual_eps
    for number, (eps, groups) in enumerate([(usual, 4), (64 * usual, 4), (usual, 2)]):
        steps = [("train", graded(asked.shape, asked.dtype, number))]
        case = layer.case(asked, steps, eps=eps, num_groups=groups)
        yield Probe(f"graded deviations, eps={eps:.2g}, G={groups}", case, diagnoses=True)


def _one_step(layer: Layer, asked: Asked) -> Iterator[Probe]:
    case = layer.case(asked, [("train", graded(asked.shape, asked.dtype))])
    yield Probe("one training step, graded deviations", case, diagnoses=True)


def _two_steps(layer: Layer, asked: Asked) -> Iterator[Probe]:
    steps = [("train", graded(asked.shape, asked.dtype, 1)), ("train", scrambled(asked.shape, 2))]
    yield Probe("two training steps", layer.case(asked, steps), diagnoses=True)


def _momentum_none(layer: Layer, asked: Asked) -> Iterator[Probe]:
    steps = [("train", scrambled(asked.shape, seed)) for seed in (1, 2, 3)]
    case = layer.case(asked, steps, momentum=None)
    yield Probe("three training steps, momentum=None", case, diagnoses=True, special=True)


def _one_value(layer: Layer, asked: Asked) -> Iterator[Probe]:
    one = (1, CHANNELS, *(1,) * (len(asked.shape) - 2))
    case = layer.case(asked, [("train", scrambled(one))])
    yield Probe(f"one training step, shape {one}", case, diagnoses=True, special=True)


def _untracked(layer: Layer, asked: Asked) -> Iterator[Probe]:
    case = layer.case(asked, [("eval", graded(asked.shape, asked.dtype))], track=False)
    yield Probe("eval, nothing tracked", case, diagnoses=True, special=True)


AXES: Final[tuple[Requirement, ...]] = (
    *twins(
        "GN-01", "BN-01", rule="axis", axis="eps_placement", title="eps placement",
        statement="eps is added to the variance, inside the square root.",
        source=Both(f"{GROUP_NORM.paper}, equation 2", f"{BATCH_NORM.paper}, algorithm 1"),
        probes=Both(_graded_groups, _one_step),
        remedies={
            "outside_sqrt": "there is no equal eps: sqrt(var) + eps = sqrt(var + eps') only at one variance",
            "max_with_variance": "there is no equal eps: use your own formula where var is near eps",
        },
        settles=Both(("scale", "groups = C", "groups = 1"), ("scale",)),
    ),
    of_group_norm(
        "GN-02", rule="axis", axis="grouping", title="grouping",
        statement="Group g holds the adjacent channels g * C/G to (g + 1) * C/G - 1.",
        source=f"{GROUP_NORM.paper}, equation 7",
        remedies={"interleaved": (
            "for the canonical result permute the channels of x, weight and bias by "
            "p = arange(C).reshape(G, C//G).T.ravel() (x[..., p] where channels are last), and those of the output by "
            "argsort(p)"
        )},
    ),
    *twins(
        "GN-03", "BN-02", rule="axis", axis="variance", title="biased variance",
        statement=Both(
            "The variance that normalises divides by n.", "The variance that normalises in training divides by n."
        ),
        source=Both(
            f"{GROUP_NORM.paper}, equation 2; {GROUP_NORM.documentation}",
            f"{BATCH_NORM.paper}, algorithm 1; {BATCH_NORM.documentation}",
        ),
        remedies={"unbiased": (
            "for the canonical result, with n values in a set, give it eps * n/(n - 1) and weight * sqrt(n/(n - 1))"
        )},
        settles=Both(("groups = C", "groups = 1"), ()),
    ),
    of_group_norm(
        "GN-04", rule="axis", axis="affine_shape", title="affine per channel",
        statement="Weight and bias hold one value for each channel.",
        source=f"{GROUP_NORM.paper}, equation 6; {GROUP_NORM.documentation}",
        remedies={"per_group": "repeat each group's weight and bias C/G times"},
        settles=("channel order", "groups = C"),
    ),
    of_batch_norm(
        "BN-03", rule="axis", axis="running_var", title="unbiased running variance",
        statement="The running variance tracks the variance with divisor n - 1.",
        source=f"{BATCH_NORM.paper}, algorithm 2, step 10; {BATCH_NORM.documentation}",
        remedies={"biased": (
            "for the same eval output move running_var as it is; only to have what the other layer would have tracked, "
            "multiply it by n/(n - 1), n = N * spatial size of a training batch (soon after an initial 1, with T steps "
            "of weight w, only running_var - (1 - w)^T)"
        )},
    ),
    of_batch_norm(
        "BN-04", rule="axis", axis="momentum_weighs", title="momentum weighs the new value",
        statement="running = (1 - momentum) * running + momentum * batch.",
        remedies={"old": "pass 1 - momentum"},
    ),
    of_batch_norm(
        "BN-05", rule="axis", axis="momentum_none", title="momentum None",
        statement="momentum=None makes the running statistics plain averages of all batches.",
        probes=_momentum_none,
        remedies={
            "fixed": "keep the average yourself; None means a fixed 0.1 here",
            "refused": "pass a number; for a plain average let the new value weigh 1/t in step t",
        },
        settles=("momentum None",), allows=("momentum None",),
    ),
    of_batch_norm(
        "BN-06", rule="axis", axis="single_value", title="one value per channel",
        statement="Training on one value per channel is refused: it has no variance.",
        source="torch 2.13, torch.nn.functional.batch_norm (pytorch/pytorch #2961)",
        probes=_one_value,
        remedies={
            "shift": f"{_REFUSE_SUCH}: the statistics still change", "nan": _REFUSE_SUCH, "identity": _REFUSE_SUCH,
        },
        settles=("one value",),
    ),
    of_batch_norm(
        "BN-07", rule="axis", axis="training_normalizes_with", title="training uses the batch",
        statement="In training the mean and variance of the batch normalise.",
        source=f"{BATCH_NORM.paper}, algorithm 1",
        remedies={
            "blended": "no setting makes the two agree; normalise with the batch yourself",
            "running": "take the layer out of its frozen state",
        },
        settles=("scale", "shift", "momentum and history"), allows=("several calls",),
    ),
    of_batch_norm(
        "BN-08", rule="axis", axis="untracked_eval_uses", title="eval untracked",
        statement="Without tracked statistics, eval normalises with those of the batch.",
        probes=_untracked,
        remedies={"initial": "call the layer in training mode where nothing is tracked"},
        settles=("untracked",),
    ),
    of_batch_norm(
        "BN-09", rule="axis", axis="bootstrap", title="start of the running statistics",
        statement="The running statistics start from their initial values.",
        probes=_two_steps,
        remedies={"zero_debiased": _SET_AFTER, "first_batch": _SET_AFTER},
    ),
)  # fmt: skip
