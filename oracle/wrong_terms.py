"""Wrong forms in which a term of dx or a factor is left out, doubled, or another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from normgauge.oracle.backward_pass import PLACED, BackwardPass, Labels
from normgauge.oracle.moments import Float
from normgauge.oracle.normalize import Placement
from normgauge.oracle.wrong_form import Of, WrongForm, normalized_by, only_dx

# --- what is left out, or done twice ------------------------------------------------------------------------------


def _less_one(p: BackwardPass) -> float:
    """n / (n - 1)."""
    return p.n / max(p.n - 1, 1)


_DIVISOR: Final = "the number that each mean is divided by, and whether the variance of the forward pass has it, too"
_WEIGHT: Final = "the two sums are of dy times the weight: g = weight * dy comes before mean(g) and mean(g * x_hat)"
_EPS: Final = "the backward pass takes the reciprocal deviation of the forward pass, and makes none of its own"

_LEFT_OUT: Final[Mapping[str, WrongForm]] = {
    "mean and variance taken as constants": WrongForm(
        of=only_dx(lambda p: p.dx(share=0.0)),
        check="mean and variance depend on x, and each has a part in dx: no stop_gradient, detach or no_grad on them",
        source="https://github.com/facebookresearch/CrypTen/pull/143",
    ),
    "the mean taken as a constant": WrongForm(
        of=only_dx(lambda p: p.dx(mean_share=0.0)),
        check="the term mean(g) of dx, and a mean that is detached",
        source="https://github.com/BVLC/caffe/issues/3878 asks which of the terms may be left out",
    ),
    "the variance taken as a constant": WrongForm(
        of=only_dx(lambda p: p.dx(variance_share=0.0)),
        check="the term x_hat * mean(g * x_hat) of dx, and a variance that is detached",
        source="https://github.com/abhiskk/ladder/issues/2",
    ),
    "the mean's term twice": WrongForm(
        of=only_dx(lambda p: p.dx(mean_share=2.0)),
        check="mean(g) is subtracted once; a register or a buffer may hold it before the next product is added",
        source="https://github.com/tenstorrent/tt-metal/issues/53204",
    ),
    "the variance's term twice": WrongForm(
        of=only_dx(lambda p: p.dx(variance_share=2.0)),
        check="x_hat * mean(g * x_hat) is subtracted once",
        source="the counterpart of the one above; the 2 of the derivative of a square, not cancelled",
    ),
    "the sign of the mean's part": WrongForm(
        of=only_dx(lambda p: p.dx(mean_share=-1.0)),
        check="mean(g) is subtracted",
        source="a slip in the sign, as the next one",
    ),
    "the sign of the variance's part": WrongForm(
        of=only_dx(lambda p: p.dx(variance_share=-1.0)),
        check="x_hat * mean(g * x_hat) is subtracted",
        source="the factor -1/2 of the derivative of a reciprocal root, forgotten",
    ),
    "the divisor n - 1 mixed in": WrongForm(
        of=lambda p: {} if p.unbiased else {"dx": p.dx(variance_share=_less_one(p))},
        check=_DIVISOR,
        source="a variance with n forward, its derivative with n - 1",
    ),
    "the divisor n mixed in": WrongForm(
        of=lambda p: {"dx": p.dx(variance_share=1 / _less_one(p))} if p.unbiased else {},
        check=_DIVISOR,
        source="a variance with n - 1 forward, its derivative with n",
    ),
    "both means divided by n - 1": WrongForm(
        of=only_dx(lambda p: p.dx(mean_share=_less_one(p), variance_share=_less_one(p))),
        check=_DIVISOR,
        source="the unbiased divisor used for every mean",
    ),
    "sums in place of means": WrongForm(
        of=only_dx(lambda p: p.dx(mean_share=p.n, variance_share=p.n)),
        check="both sums of dx are divided by n, the elements of a set",
        source="https://github.com/mlpack/mlpack/pull/1327",
    ),
    "the means divided by the samples alone": WrongForm(
        of=only_dx(lambda p: p.dx(mean_share=p.n / p.samples, variance_share=p.n / p.samples)),
        check=_DIVISOR,
        source="a batch norm of rank 2 used at higher ranks, as https://github.com/mlpack/mlpack/pull/2474 extends one",
    ),
    "the means divided by the positions alone": WrongForm(
        of=only_dx(lambda p: p.dx(mean_share=p.n / p.positions, variance_share=p.n / p.positions)),
        check=_DIVISOR,
        source="https://github.com/linkedin/Liger-Kernel/pull/1376 has W for H * W and leaves the channels out",
    ),
    "the means divided by n times the samples": WrongForm(
        of=only_dx(lambda p: p.dx(mean_share=1 / p.samples, variance_share=1 / p.samples)),
        check=_DIVISOR,
        source="https://github.com/pytorch/pytorch/pull/36382 (counts of other processes in the backward pass)",
    ),
    "the weight left out": WrongForm(
        of=only_dx(lambda p: p.dx(g=p.dy)),
        check=_WEIGHT,
        source="https://github.com/denizyuret/Knet.jl/issues/288",
    ),
    "the weight multiplied in after the sums": WrongForm(
        of=only_dx(lambda p: p.weight * p.dx(g=p.dy)),
        check=f"{_WEIGHT}; with a weight per channel it cannot be taken out of the sums over a group",
        source="https://github.com/uxlfoundation/oneDNN/issues/3543",
    ),
    "the weight left out of the sums": WrongForm(
        of=only_dx(lambda p: p.dx(m1=p.mean_of(p.dy), m2=p.mean_of(p.dy * p.used.x_hat))),
        check=_WEIGHT,
        source="https://github.com/uxlfoundation/oneDNN/issues/3543, one product further on",
    ),
    "the weight multiplied in twice": WrongForm(
        of=only_dx(lambda p: p.dx(g=p.g * p.weight)),
        check="dy is multiplied by the weight once, by the caller or by the kernel",
        source="both the caller and the kernel multiply",
    ),
    "the weight of the next channel": WrongForm(
        of=only_dx(lambda p: p.dx(g=p.dy * _weight_of(p, (p.channel + 1) % p.channels))),
        check="the index of the weight",
        source="an index that is one too large",
    ),
    "the weights of the first group in every group": WrongForm(
        of=lambda p: (
            {} if p.samples_together else {"dx": p.dx(g=p.dy * _weight_of(p, p.channel % (p.channels // p.groups)))}
        ),
        check="the index of the weight is that of the channel, not that of the channel in its group",
        source="https://github.com/tenstorrent/tt-metal/pull/56202 (an index that counts from the start of a block)",
    ),
    "the weight of the first channel in every channel": WrongForm(
        of=only_dx(lambda p: p.dx(g=p.dy * _weight_of(p, np.zeros_like(p.channel)))),
        check="the index of the weight",
        source="a pointer that is not moved on with the channel",
    ),
}


def _weight_of(p: BackwardPass, channel: Labels) -> Float:
    """The weight that belongs to another channel."""
    first = np.zeros(p.channels)
    first[p.channel] = p.weight
    return np.asarray(first[channel])


# --- what normalises ----------------------------------------------------------------------------------------------

_NORMALISED: Final[Mapping[str, WrongForm]] = {
    "x not normalised": WrongForm(
        of=lambda p: {"dx": p.dx(replace(p.used, x_hat=p.x)), "dweight": p.sums(p.dy * p.x)["dweight"]},
        check="the normalised x is what dy is multiplied by",
        source="https://github.com/RubixML/ML/pull/393 (dy times the input)",
    ),
    "x_hat's mean left out": WrongForm(
        of=lambda p: normalized_by(p, replace(p.used, x_hat=p.x * p.used.r)),
        check="the mean is subtracted from x before it is multiplied by r",
        source="https://github.com/BVLC/caffe/issues/4110 asks for a term that is 0 only then",
    ),
    "the reciprocal deviation left out": WrongForm(
        of=lambda p: {"dx": p.dx() / p.used.r, "dweight": p.sums(p.dy * p.used.x_hat / p.used.r)["dweight"]},
        check="dx is multiplied by r = 1 / sqrt(var + eps), and x_hat has r in it",
        source="https://github.com/chainer/chainer/pull/3479",
    ),
    "multiplied by the deviation": WrongForm(
        of=lambda p: {"dx": p.dx() / p.used.r**2, "dweight": p.sums(p.dy * p.used.x_hat / p.used.r**2)["dweight"]},
        check="x - mean is divided by sqrt(var + eps)",
        source="https://github.com/tensorflow/tensorflow/issues/14676",
    ),
    "eps left out of the variance's part": WrongForm(
        of=only_dx(lambda p: p.dx(variance_share=(p.normalized(_mean(p), _var(p), eps=0.0).r / p.used.r) ** 2)),
        check=_EPS,
        source="the derivative taken of 1 / sqrt(var)",
    ),
    "eps left out": WrongForm(
        of=lambda p: normalized_by(p, p.normalized(_mean(p), _var(p), eps=0.0)),
        check=_EPS,
        source="https://github.com/Theano/Theano/pull/5190 (whether the backward pass needs eps)",
    ),
    "eps added twice": WrongForm(
        of=lambda p: normalized_by(p, p.normalized(_mean(p), _var(p), eps=2 * p.eps)),
        check=_EPS,
        source="eps is in the variance that the forward pass keeps, and is added again",
    ),
    "dy taken as 1": WrongForm(
        of=lambda p: {"dx": p.dx(g=p.weight), **p.sums(p.used.x_hat, np.ones_like(p.dy))},
        check="every sum and dx itself have dy as a factor",
        source="a test whose loss is the sum of y does not see it (https://github.com/HomericIntelligence/Odyssey/pull/4780)",
    ),
}


def _placed(placement: Placement) -> Of:
    """The formula with eps in another place."""
    return lambda p: (
        {} if placement is p.placement else normalized_by(p, p.normalized(_mean(p), _var(p), placement=placement))
    )


_PLACED: Final = {
    f"{words}, unlike the forward pass": WrongForm(
        of=_placed(placement), check=_EPS, source="a forward and a backward pass by two hands"
    )
    for words, placement in PLACED.items()
}


def _mean(p: BackwardPass) -> Float:
    return np.asarray(p.mean[p.set_of])


def _var(p: BackwardPass) -> Float:
    return np.asarray(p.var[p.set_of])


#: The forms of this module by name.
TERMS: Final[Mapping[str, WrongForm]] = {**_LEFT_OUT, **_NORMALISED, **_PLACED}
