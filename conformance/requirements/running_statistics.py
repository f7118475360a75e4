"""What BatchNorm tracks: how it accumulates, what it is used for, and in which type it is held."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from normgauge.conformance.requirements.affine import step_of_a_new_layer
from normgauge.conformance.requirements.gradients import along, upstream
from normgauge.conformance.requirements.inputs import biases, graded, scrambled, weights
from normgauge.conformance.requirements.probe import Probe, beside_another
from normgauge.conformance.requirements.requirement import (
    CHANNELS,
    MOMENTUM,
    Asked,
    Layer,
    Requirement,
    given_parameters,
    given_statistics,
    of_batch_norm,
)
from normgauge.conformance.requirements.sources import (
    BATCH_NORM_PAPER,
    KERAS_BATCH_NORM,
    TORCH_BATCH_NORM,
    TORCH_MODULE,
    UPDATE_RULE,
)


def _accumulated(layer: Layer, asked: Asked) -> Iterator[Probe]:
    steps = [("train", scrambled(asked.shape, seed) * (1 + seed)) for seed in range(5)]
    yield layer.probe(asked, "five training steps", steps)
    case = beside_another(layer.case(asked, steps[:3]))
    yield Probe(label="three training steps, another layer trained between them", case=case)
    x, y = graded(asked.shape, asked.dtype, 1), scrambled(asked.shape, 6)
    case = layer.case(asked, [("train", x, along(x)), ("train", y, upstream(asked.shape, 6))])
    yield Probe(label="two differentiated training steps", case=case, quantities=("running_mean", "running_var"))


def _evaluated(layer: Layer, asked: Asked) -> Iterator[Probe]:
    shape = asked.shape
    steps = [("eval", graded(shape, asked.dtype)), ("eval", scrambled(shape, 4))]
    yield layer.probe(asked, "eval twice from given statistics", steps)
    steps = [("train", scrambled(shape)), ("eval", scrambled(shape, 1)), ("train", scrambled(shape, 2))]
    yield layer.probe(asked, "train, eval, train", steps)
    deviations = graded((1, CHANNELS), asked.dtype, 2).ravel()
    case = layer.case(
        asked, [("eval", graded(shape, asked.dtype, 5))], given_parameters() | {"running_var": deviations**2}
    )
    yield Probe(label="eval, graded running deviations", case=case, diagnoses=True, special=True)
    steps = [("train", graded(shape, asked.dtype, 1)), ("train", scrambled(shape, 2)), ("eval", scrambled(shape, 3))]
    yield Probe(label="two training steps, then eval", case=layer.case(asked, steps), diagnoses=True, special=True)


def _without_history(layer: Layer, asked: Asked) -> Iterator[Probe]:
    yield layer.probe(asked, "nothing tracked", [("train", graded(asked.shape, asked.dtype))], track=False)
    for momentum, size in ((0.0, 1.0), (1.0, 1.0), (MOMENTUM, 2.0**20)):
        statistics = {name: value * size for name, value in given_statistics(1).items()}
        parameters = {"weight": weights(CHANNELS), "bias": biases(CHANNELS)} | statistics
        case = layer.case(asked, [("train", scrambled(asked.shape))], parameters, momentum=momentum)
        yield Probe(label=f"momentum={momentum:g}, earlier statistics times {size:g}", case=case)


def _in_float64(layer: Layer, asked: Asked) -> Iterator[Probe]:
    """0.7 * 1 and its sum with the batch have digits that float32 lacks."""
    if asked.dtype == "float64":
        steps = [("train", scrambled(asked.shape, seed)) for seed in (5, 6)]
        yield layer.probe(asked, "a new layer, two training steps", steps, {}, momentum=0.3)
        yield step_of_a_new_layer(layer, asked)


RUNNING_STATISTICS: Final[tuple[Requirement, ...]] = (
    of_batch_norm(
        "BN-14", ground="formula", axis="updates", title="running statistics accumulate",
        statement=(
            "After several training steps, with and without gradients, the running statistics are the blend of all of "
            "them. Steps of other layers have no effect."
        ),
        source=(
            TORCH_BATCH_NORM.implies("each step adds its share to what the steps before have left", quote=UPDATE_RULE),
            KERAS_BATCH_NORM.says("are updated each time the layer in called in training mode"),
        ),
        probes=_accumulated, settles=("several steps",), allows=("several calls", "another_layer"),
    ),
    of_batch_norm(
        "BN-15", ground="formula", axis="eval_reads", title="eval uses running statistics",
        statement="In eval the running statistics normalise, and stay as they are.",
        source=(
            BATCH_NORM_PAPER.says("using the population, rather than mini-batch, statistics", at="section 3.1"),
            BATCH_NORM_PAPER.says("Since the means and variances are fixed during inference", at="section 3.1"),
        ),
        probes=_evaluated,
        settles=("eval", "several steps"), allows=("eval",),
    ),
    of_batch_norm(
        "BN-16", ground="formula", title="training ignores history",
        statement=(
            "The training output depends neither on momentum, 0 and 1 included, nor on earlier statistics, nor on "
            "tracking. The running statistics still follow momentum."
        ),
        source=(
            BATCH_NORM_PAPER.implies(
                "besides gamma and beta it takes nothing else", at="algorithm 1, its input",
                quote="Values of x over a mini-batch",
            ),
            TORCH_BATCH_NORM.implies("what is tracked follows momentum, 0 and 1 included", quote=UPDATE_RULE),
        ),
        probes=_without_history,
    ),
    of_batch_norm(
        "BN-26", ground="convention", title="float64 statistics",
        statement=(
            "A new layer made for float64 holds its running statistics in float64. After two training steps they have "
            "its digits."
        ),
        source=(
            TORCH_MODULE.implies(
                "the running statistics, which are buffers, are float64", at="double",
                quote="Casts all floating point parameters and buffers to double datatype.",
            ),
        ),
        dtypes=("float64",), probes=_in_float64,
        settles=("new statistics",), allows=("new statistics",),
    ),
)  # fmt: skip
