"""Wrong forms of the results: the parameters' sums, what is written where, and the statistics of another call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import numpy as np

from normgauge.oracle.backward_pass import BackwardPass
from normgauge.oracle.formats import rounded
from normgauge.oracle.wrong_form import Gradient, Of, WrongForm, normalized_by, only_dx

# --- the parameters ------------------------------------------------------------------------------------------------

_SUMS: Final = (
    "the loops over samples and positions in the sums of dweight and dbias, and what their result is divided by"
)


def _scaled(factor: Callable[[BackwardPass], float]) -> Of:
    """dweight and dbias times a factor."""
    return lambda p: {name: value * factor(p) for name, value in p.sums().items()}


_PARAMETERS: Final[Mapping[str, WrongForm]] = {
    "a mean in place of a sum": WrongForm(
        of=_scaled(lambda p: 1 / (p.samples * p.positions)),
        check=_SUMS,
        source="https://github.com/wjbKimberly/cs231n_spring_2017_assignment/issues/7 asks for it",
    ),
    "the sum divided by the samples": WrongForm(
        of=_scaled(lambda p: 1 / p.samples),
        check=_SUMS,
        source="https://github.com/cthorey/CS231/issues/9 asks for it",
    ),
    "the sum divided by the positions": WrongForm(
        of=_scaled(lambda p: 1 / p.positions), check=_SUMS, source="a mean over positions, a sum over samples"
    ),
    "the sum divided by the elements of a group": WrongForm(
        of=lambda p: {} if p.samples_together else _scaled(lambda p: 1 / p.n)(p),
        check=_SUMS,
        source="the means of dx used for the parameters",
    ),
    "the weight multiplied in": WrongForm(
        of=lambda p: p.sums(p.g * p.used.x_hat, p.g),
        check="dweight and dbias sum dy itself, not dy times the weight",
        source="dy is overwritten by weight * dy, which https://github.com/denizyuret/Knet.jl/issues/288 does later",
    ),
    "dweight and dbias swapped": WrongForm(
        of=lambda p: p.sums(p.dy, p.dy * p.used.x_hat),
        check="the order in which the gradients are returned",
        source="https://github.com/Oneflow-Inc/oneflow/pull/6149",
        joint=True,
    ),
    "dy passed through as well": WrongForm(
        of=only_dx(lambda p: p.dx() + p.dy),
        check="dx is written, and not added to what stands there",
        source="https://github.com/apache/mxnet/issues/18499 (a gradient that is added to)",
    ),
    "the sign flipped": WrongForm(
        of=lambda p: {name: -value for name, value in p.right().items()},
        check="the sign of the gradient, and of the loss that it belongs to",
        source="a gradient of descent, or of the loss times -1",
    ),
    "no gradient: 0 everywhere": WrongForm(
        of=lambda p: {name: 0 * value for name, value in p.right().items()},
        check="the graph reaches the layer: no new tensor is made from its values on the way",
        source="https://github.com/paiml/aprender/pull/2200",
    ),
    "the sums of the channels before added": WrongForm(
        of=lambda p: {name: np.cumsum(value) for name, value in p.sums().items()},
        check="the accumulator of dweight and dbias is set to 0 for each channel",
        source="an accumulator that is set to 0 once",
    ),
    "that of the first channel in every channel": WrongForm(
        of=lambda p: {name: np.full_like(value, value[0]) for name, value in p.sums().items()},
        check="the index under which the sum of a channel is written",
        source="https://github.com/tenstorrent/tt-metal/pull/56202 (an index that counts from the start of a block)",
    ),
    "that of the first group in every group": WrongForm(
        of=lambda p: {} if p.samples_together else {"dx": p.at_place_in(p.dx(), p.set_of // p.groups * p.groups)},
        check="the address that dx is written to",
        source="https://github.com/linkedin/Liger-Kernel/issues/883 (addresses in the backward pass)",
    ),
    "that of the first sample in every sample": WrongForm(
        of=only_dx(lambda p: p.dx().reshape(p.samples, -1)[0, p.channel * p.positions + p.position]),
        check="the address that dx is written to",
        source="https://github.com/linkedin/Liger-Kernel/issues/883 (addresses in the backward pass)",
    ),
}


# --- the statistics of another call -------------------------------------------------------------------------------

_IN_TRAINING: Final = (
    "a training call normalises with the statistics of the batch, and its backward pass goes through them: keep both "
    "for it, and not the running ones"
)
_IN_EVAL: Final = (
    "in eval the running statistics are constants: dx = dy * weight / sqrt(running_var + eps), from the statistics "
    "that the call had read"
)


def _of_another_call(which: str, through: bool, training: bool) -> Of:
    def of(p: BackwardPass) -> Gradient:
        if not p.others or bool(p.share) is not training:
            return {}
        mean, var = p.statistics_over(p.set_of)
        if which != "batch":
            mean, var = (one[p.set_of] for one in p.others[which])
        used = p.normalized(mean, var)
        return normalized_by(p, used) | {"dx": p.dx(used, share=1.0 if through else 0.0)}

    return of


def _another_call() -> Iterator[tuple[str, WrongForm]]:
    threads = (
        "https://github.com/torch/nn/pull/768 (which statistics the backward pass reads)",
        "https://github.com/pytorch/xla/issues/913",
    )
    for training, which, words in (
        (True, "before", "the running statistics in place of the batch's"),
        (True, "after", "the running statistics after this batch in place of the batch's"),
        (False, "batch", "the batch's statistics in place of the running ones"),
        (False, "after", "the running statistics as this batch would update them"),
    ):
        for through, ending in ((False, "as constants"), (True, "differentiated through")):
            check, source = (_IN_TRAINING, threads[0]) if training else (_IN_EVAL, threads[1])
            yield (
                f"{words}, {ending}",
                WrongForm(of=_of_another_call(which, through, training), check=check, source=source),
            )


def _through_the_batch(p: BackwardPass) -> Gradient:
    """Training's formula with the statistics that are given; the parameters' gradients of dy less its projections."""
    if p.share:
        return {}
    x_hat = p.used.x_hat
    left = p.dy - p.mean_of(p.dy) - x_hat * p.mean_of(p.dy * x_hat)
    return {"dx": p.dx(p.used, share=1.0), **p.sums(left * x_hat, left)}


_CALLS: Final[Mapping[str, WrongForm]] = {
    "differentiated through the statistics of the batch": WrongForm(
        of=_through_the_batch, check=_IN_EVAL, source="https://github.com/soumith/cudnn.torch/issues/244"
    ),
    **dict(_another_call()),
}

# --- sums in half --------------------------------------------------------------------------------------------------


def _rounded(dtype: str) -> Of:
    def of(p: BackwardPass) -> Gradient:
        m1, m2 = (rounded(p.mean_of(one) * p.n, dtype) / p.n for one in (p.g, p.g * p.used.x_hat))
        return {"dx": p.dx(m1=m1, m2=m2)} | {name: rounded(value, dtype) for name, value in p.sums().items()}

    return of


_HALF: Final[Mapping[str, WrongForm]] = {
    f"the sums rounded to {dtype}": WrongForm(
        of=_rounded(dtype), check="the type that the sums of the backward pass are held in", source=source
    )
    for dtype, source in (
        ("float16", "https://github.com/pytorch/pytorch/pull/140259 (statistics in the narrow type on the way)"),
        ("bfloat16", "https://github.com/linkedin/Liger-Kernel/pull/1253"),
    )
}

#: The forms of this module by name.
RESULTS: Final[Mapping[str, WrongForm]] = {**_PARAMETERS, **_CALLS, **_HALF}
