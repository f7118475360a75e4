"""The known wrong gradients: what a backward pass gives that goes wrong in a known way.

They carry no bound of their own. A gradient that lies outside the oracle's bound is held against them, so that a
difference can say what was done.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from normgauge.oracle.backward_pass import BackwardPass, backward_pass
from normgauge.oracle.batch_norm import backward_sets as batch_norm_sets
from normgauge.oracle.batch_norm import other_statistics
from normgauge.oracle.batch_norm_mode import Mode
from normgauge.oracle.formats import format_of, rounded
from normgauge.oracle.group_norm import backward_sets as group_norm_sets
from normgauge.oracle.moments import Float
from normgauge.oracle.reference import Reference, Refusal
from normgauge.oracle.running_statistics import RunningStatistics
from normgauge.oracle.semantics import CANONICAL, Semantics
from normgauge.oracle.validation import (
    checked_formula,
    checked_groups,
    checked_input,
    checked_inputs,
    real_array,
)
from normgauge.oracle.wrong_form import WrongForm
from normgauge.oracle.wrong_results import RESULTS
from normgauge.oracle.wrong_sums import SUMS
from normgauge.oracle.wrong_terms import TERMS

#: Every known wrong form by its name, which says what is done. A name that begins with another name and a comma is a
#: special case of that.
WRONG_FORMS: Final[Mapping[str, WrongForm]] = {**TERMS, **SUMS, **RESULTS}
#: The types of sums that are known by the digits that they leave, and these.
HALF: Final = {name: format_of(name).digits for name in ("float16", "bfloat16")}


@dataclass(frozen=True, kw_only=True)
class WrongGradients:
    """The known wrong gradients of one backward pass, evaluated where they are asked for."""

    parts: BackwardPass

    def by(self, form: str) -> dict[str, Float]:
        """The gradients that a form gets wrong, by quantity; empty where it does not apply."""
        with np.errstate(all="ignore"):
            found = dict(WRONG_FORMS[form].of(self.parts))
        if "dx" in found:
            found["dx"] = found["dx"].reshape(self.parts.shape)
        return found

    def summed_in(self, dtype: str) -> dict[str, Reference]:
        """dweight and dbias, and the most that sums in a type may lose: half a unit of the result an addition.

        The result of such a sum has no more digits than the type.
        """
        p = self.parts
        additions = p.samples * p.positions * p.channels // len(np.unique(p.parameter))
        lost = (additions + 1) * format_of(dtype).u
        sizes = p.sums(np.abs(p.dy * p.used.x_hat), np.abs(p.dy))
        return {name: Reference(value=value, bound=lost * sizes[name]) for name, value in p.sums().items()}

    def dx_summed_in(self, dtype: str, observed: ArrayLike) -> tuple[Float, Float]:
        """dx with the means nearest to those of ``observed`` that the type holds, and the most that dx may lose.

        From an observed dx, the mean of g and that of g * x_hat follow for each set. As a mean or as a sum, each has no
        more digits than the type; it lost at most half a unit of the result an addition, and as much for each value.
        """
        p = self.parts
        with np.errstate(all="ignore"):
            rest = p.g - np.asarray(observed, dtype=np.float64).ravel() / p.used.r
            along = p.factor * p.used.slope * p.moved * p.used.r
            m1 = _nearest(dtype, p.mean_of(rest), p.n)
            m2 = _nearest(dtype, np.nan_to_num(p.mean_of(rest * along) / p.mean_of(np.square(along))), p.n)
            unit = (p.n + 1) * format_of(dtype).u
            sizes = (p.mean_of(np.abs(one)) for one in (p.g, p.g * p.used.x_hat))
            of_mean, of_variance = (p.used.r * unit * size for size in sizes)
            lost = of_mean + of_variance * np.abs(along)
            return p.dx(m1=m1, m2=m2).reshape(p.shape), lost.reshape(p.shape)

    @property
    def sets(self) -> NDArray[np.intp]:
        """The number of the set of each element of the input."""
        return self.parts.set_of.reshape(self.parts.shape)

    @property
    def x_hat(self) -> Float:
        """The input as it is normalised."""
        with np.errstate(all="ignore"):
            return self.parts.used.x_hat.reshape(self.parts.shape)


def _nearest(dtype: str, means: Float, n: int) -> Float:
    """The numbers nearest to ``means`` that a type holds as a mean, or as a sum of n values, whichever is nearer."""
    as_mean, as_sum = rounded(means, dtype), rounded(means * n, dtype) / n
    return np.where(np.abs(as_mean - means) <= np.abs(as_sum - means), as_mean, as_sum)


def group_norm_gradient_errors(
    x: ArrayLike,
    dy: ArrayLike,
    num_groups: int,
    weight: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
    semantics: Semantics = CANONICAL["group_norm"],
) -> WrongGradients | None:
    """The wrong gradients of a pass with the arguments of :func:`group_norm_backward`; None for an empty input.

    Shapes and errors as in :func:`group_norm_backward`.
    """
    array = checked_input(x)
    if not array.size:
        return None
    upstream, formula = real_array("dy", dy, shape=array.shape), checked_formula(array, eps, semantics, None)
    groups = checked_groups(num_groups, array.shape[1])
    with np.errstate(all="ignore"):
        layout, sets_of = group_norm_sets(checked_inputs(array, weight), upstream, groups, formula)
        per_set = semantics.choice("affine_shape") == "per_group"
        divisor = semantics.choice("variance")
        parts = backward_pass(layout, *sets_of(layout.whole()), formula, divisor=divisor, per_set=per_set)
        return WrongGradients(parts=parts)


def batch_norm_gradient_errors(  # noqa: PLR0913 - the settings of a layer, by their usual names
    x: ArrayLike,
    dy: ArrayLike,
    running: RunningStatistics | None = None,
    weight: ArrayLike | None = None,
    *,
    training: bool,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    semantics: Semantics = CANONICAL["batch_norm"],
) -> WrongGradients | None:
    """The wrong gradients of a pass with the arguments of :func:`batch_norm_backward`; None without such a pass.

    Shapes and errors as in :func:`batch_norm_backward`.
    """
    array = checked_input(x)
    one_value = training and array.size == array.shape[1]
    if not array.size or one_value:
        return None
    upstream, formula = real_array("dy", dy, shape=array.shape), checked_formula(array, eps, semantics, None)
    given = checked_inputs(array, weight)
    with np.errstate(all="ignore"), contextlib.suppress(Refusal):
        mode = Mode.checked(given, running, training, momentum, formula)
        layout, sets_of = batch_norm_sets(given, upstream, mode)
        others, divisor = other_statistics(given, mode), semantics.choice("variance")
        parts = backward_pass(layout, *sets_of(layout.whole()), mode.formula, divisor=divisor, others=others)
        return WrongGradients(parts=parts)
    return None


def digits_of(values: ArrayLike) -> int:
    """The binary digits that the finite ones among ``values`` need, the most of them; 0 where all are 0.

    ``values`` may have any shape.

    >>> digits_of([1.5, 0.25, 5.0])
    3
    """
    exact = np.asarray(values, dtype=np.float64)
    mantissa, _ = np.frexp(exact[np.isfinite(exact)])
    whole = np.abs(np.ldexp(mantissa, _MOST)).astype(np.int64)
    last = whole & -whole  # the lowest digit that is set
    return max((_MOST + 1 - int(one).bit_length() for one in last if one), default=0)


#: The digits of float64.
_MOST: Final = 53
