"""Derivatives above the first, and in forward mode, with a bound on them; the notation is that of docs/bounds.md.

With u a direction of x, d = u - mean(u), c = f mean(x_hat u), q = f mean(d^2), f = 1 or n / (n - 1) over a set::

    x_hat'  = r (d - x_hat c)                             the derivative of x_hat along u
    x_hat'' = r^2 (x_hat (3 c^2 - q) - 2 c d)             the second one
    <dx, u> = sum(dy w x_hat')                            of which the gradients are

    by dy:     w x_hat'
    by weight: sum(dy x_hat')
    by x:      r^2 (f A (3 c x_hat - d) - c (g - mean g) - f B x_hat),  A = mean(g x_hat), B = mean(g d), g = w dy

Where the statistics are constants, x_hat' = r u, x_hat'' = 0 and the gradient by x is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from normgauge.oracle.arithmetic import Arithmetic
from normgauge.oracle.blocks import Block, Layout
from normgauge.oracle.bounds import result_bound
from normgauge.oracle.group_norm import layout_of
from normgauge.oracle.moments import U64, Float, mean_of
from normgauge.oracle.normalize import Formula, reciprocal_deviation
from normgauge.oracle.reference import Reference
from normgauge.oracle.running_statistics import RunningStatistics
from normgauge.oracle.semantics import CANONICAL, Semantics
from normgauge.oracle.statistics import Batch, Statistics, divisor_factor
from normgauge.oracle.validation import checked_formula, checked_groups, checked_input, checked_inputs, given_array

#: Roundings beside those of sums that meet in one term of any of these formulas, at most.
_ROUNDINGS: Final = 64


@dataclass(frozen=True, kw_only=True)
class Differentiated:
    """Sets of shape (N, S, n) with what their derivatives are made of.

    ``factor`` is f, None where the statistics are constants. ``weight`` broadcasts with the sets. ``relative`` bounds
    the relative error of the computed reciprocal deviation ``r``.
    """

    batch: Batch
    used: Statistics
    r: Float
    relative: Float
    factor: float | None
    weight: Float | float
    arithmetic: Arithmetic

    @property
    def x_hat(self) -> Float:
        return self.used.deviation * self.r

    @property
    def size(self) -> Float:
        """No less than |x_hat| and every part that it is added up of, r (|x| + |mu| + mean|x|)."""
        return self.r * (np.abs(self.used.x) + np.abs(self.used.mean.value) + self.batch.m.mean_abs)

    @property
    def error(self) -> Float:
        """The relative error of a term, relative to the sizes that it is made of.

        At most 6 factors r, 4 of x_hat with the error of the mean, and sums in 4 levels:
        6 rho + 4 d mu / mean|x| + 4 gamma_(n + 64), and second order.
        """
        gamma = self.arithmetic.gamma(self.batch.m.n - 1.0, _ROUNDINGS)
        least = np.maximum(self.batch.m.mean_abs, self.arithmetic.smallest_normal)
        first = 6 * self.relative + 4 * self.used.mean.bound / least + 4 * gamma + _ROUNDINGS * U64
        return np.asarray(np.where(first < 1 / 4, first * (1 + 8 * first), np.inf))

    def along(self, u: Float) -> tuple[Float, Float]:
        """x_hat' and a bound on its error."""
        if self.factor is None:
            return self.r * u, self.r * np.abs(u) * self.error
        d, c, _ = self._of_direction(u)
        sizes, coefficient, _ = self._sizes_of_direction(u)
        return self.r * (d - self.x_hat * c), self.r * (sizes + self.size * coefficient) * self.error

    def twice_along(self, u: Float) -> tuple[Float, Float]:
        """x_hat'' and a bound on its error."""
        if self.factor is None:
            return np.zeros_like(u), np.zeros_like(u)
        d, c, q = self._of_direction(u)
        sizes, coefficient, square = self._sizes_of_direction(u)
        value = self.r**2 * (self.x_hat * (3 * c**2 - q) - 2 * c * d)
        most = self.r**2 * (self.size * (3 * coefficient**2 + square) + 2 * coefficient * sizes)
        return value, most * self.error

    def by_input(self, u: Float, dy: Float) -> tuple[Float, Float]:
        """The gradient of <dx, u> by x, and a bound on its error."""
        if self.factor is None:
            return np.zeros_like(u), np.zeros_like(u)
        f, g = self.factor, self.weight * dy
        d, c, _ = self._of_direction(u)
        sizes, coefficient, _ = self._sizes_of_direction(u)
        a, b = mean_of(g * self.x_hat), mean_of(g * d)
        value = self.r**2 * (f * a * (3 * c * self.x_hat - d) - c * (g - mean_of(g)) - f * b * self.x_hat)
        size_g = np.abs(g)
        most_a, most_b = f * mean_of(size_g * self.size), f * mean_of(size_g * sizes)
        most = most_a * (3 * coefficient * self.size + sizes) + coefficient * (size_g + mean_of(size_g))
        return value, self.r**2 * (most + most_b * self.size) * self.error

    def _of_direction(self, u: Float) -> tuple[Float, Float, Float]:
        """d, c and q."""
        assert self.factor is not None
        d = u - mean_of(u)
        return d, self.factor * mean_of(self.x_hat * d), self.factor * mean_of(d**2)

    def _sizes_of_direction(self, u: Float) -> tuple[Float, Float, Float]:
        """The same of the absolute values of everything that they are added up of."""
        assert self.factor is not None
        sizes = np.abs(u) + mean_of(np.abs(u))
        return sizes, self.factor * mean_of(self.size * sizes), self.factor * mean_of(sizes**2)


@dataclass(frozen=True, kw_only=True)
class _Given:
    """The arrays of a call, x, u and dy of shape (N, C, *spatial), and the sets of one layout of them."""

    x: NDArray[Any]
    u: NDArray[Any]
    dy: NDArray[Any] | None
    weight: Float
    block: Block
    formula: Formula

    @classmethod
    def checked(
        cls, x: NDArray[Any], arrays: tuple[ArrayLike, ArrayLike | None, ArrayLike | None], layout: Layout, f: Formula
    ) -> _Given:
        direction, dy, weight = arrays
        u = given_array("direction", direction, shape=x.shape)
        upstream = None if dy is None else given_array("dy", dy, shape=x.shape)
        scale = checked_inputs(x, weight).weight
        ones = np.ones(x.shape[1]) if scale is None else scale
        return cls(x=x, u=u, dy=upstream, weight=ones, block=layout.whole(), formula=f)

    def derivatives(self, batch: Batch, used: Statistics, factor: float | None) -> dict[str, Reference]:
        """All of them, in the layout of x."""
        over = (slice(None), *(None,) * (self.x.ndim - 2))
        weight = self.block.of(np.broadcast_to(self.weight[over], self.x.shape))
        r, relative = reciprocal_deviation(used, self.formula)
        arithmetic = self.formula.arithmetic
        s = Differentiated(
            batch=batch, used=used, r=r, relative=relative, factor=factor, weight=weight, arithmetic=arithmetic
        )
        u, size = self.block.of(self.u), np.abs(weight)
        first, error = s.along(u)
        if self.dy is None:
            second, error_of_second = s.twice_along(u)
            return {
                "jvp": self._whole(weight * first, size * error),
                "jvp_of_jvp": self._whole(weight * second, size * error_of_second),
            }
        dy = self.block.of(self.dy)
        return {
            "second_x": self._whole(*s.by_input(u, dy)),
            "second_dy": self._whole(weight * first, size * error),
            "second_weight": self._of_weight(dy * first, np.abs(dy) * (error + arithmetic.held.u * np.abs(first))),
        }

    def _restored(self, values: Float) -> Float:
        whole = np.empty(self.x.shape)
        self.block.restore(values, whole)
        return whole

    def _whole(self, value: Float, bound: Float) -> Reference:
        return _held(self._restored(value), self._restored(bound), self.formula.arithmetic)

    def _of_weight(self, parts: Float, errors: Float) -> Reference:
        """The sum over samples and positions of what each element adds."""
        axes, arithmetic = (0, *range(2, self.x.ndim)), self.formula.arithmetic
        value, inherited = (np.sum(self._restored(one), axis=axes) for one in (parts, errors))
        sizes = np.sum(self._restored(np.abs(parts) + errors), axis=axes)
        return _held(value, inherited + arithmetic.gamma(self.x.size / len(value), 4) * sizes, arithmetic)

    def silent(self) -> dict[str, Reference]:
        """References that say nothing."""
        nothing = Reference(value=np.zeros(self.x.shape), bound=np.full(self.x.shape, np.inf))
        if self.dy is None:
            return {"jvp": nothing, "jvp_of_jvp": nothing}
        channels = len(self.weight)
        of_weight = Reference(value=np.zeros(channels), bound=np.full(channels, np.inf))
        return {"second_x": nothing, "second_dy": nothing, "second_weight": of_weight}


def _held(value: Float, bound: Float, arithmetic: Arithmetic) -> Reference:
    """The reference after the result's rounding; it says nothing where the value is no number."""
    bound = result_bound(value, bound, arithmetic)
    silent: NDArray[np.bool_] = ~np.isfinite(value) | np.isnan(bound)
    return Reference(value=np.where(silent, 0.0, value), bound=np.where(silent, np.inf, bound))


def group_norm_higher(  # noqa: PLR0913 - the settings of a layer, by their usual names
    x: ArrayLike,
    direction: ArrayLike,
    num_groups: int,
    weight: ArrayLike | None = None,
    *,
    dy: ArrayLike | None = None,
    eps: float = 1e-5,
    semantics: Semantics = CANONICAL["group_norm"],
    arithmetic: Arithmetic | None = None,
) -> dict[str, Reference]:
    """Derivatives of GroupNorm above the first, or in forward mode, with a bound.

    Args:
        x: input of shape (N, C, *spatial), not empty.
        direction: u, of the shape of ``x``.
        num_groups: G, a divisor of C.
        weight: shape (C,), or None for ones.
        dy: gradient of the output, of the shape of ``x``; None for forward mode.
        eps: as in :func:`group_norm`.
        semantics: as in :func:`group_norm`. Where eps does not stand inside the root, or the affine part is per group,
            nothing is said: all bounds are infinite.
        arithmetic: as in :func:`group_norm`.

    Returns:
        With ``dy`` the gradients of <dx, u> for a constant u: ``second_x`` and ``second_dy`` of the shape of ``x``,
        ``second_weight`` of shape (C,). Without, ``jvp`` and ``jvp_of_jvp``: the derivative of y along u, and the
        derivative of that along u.

    Raises:
        Refusal: G does not divide C; a ``ValueError``.
        ValueError: any other argument that makes no sense.

    >>> x = np.array([[0.0, 2.0]])
    >>> group_norm_higher(x, [[0, 1]], 1, eps=3)["jvp"].value
    array([[-0.1875,  0.1875]])
    """
    array = checked_input(x)
    groups, formula = checked_groups(num_groups, array.shape[1]), checked_formula(array, eps, semantics, arithmetic)
    layout = layout_of(array.shape, groups, semantics)
    given = _Given.checked(array, (direction, dy, weight), layout, formula)
    if semantics.choice("eps_placement") != "inside_sqrt" or semantics.choice("affine_shape") != "per_channel":
        return given.silent()
    with np.errstate(all="ignore"):
        batch, divisor = Batch.of(given.block.of(array), formula.arithmetic), semantics.choice("variance")
        used = batch.statistics(divisor, formula.arithmetic)
        return given.derivatives(batch, used, divisor_factor(batch.m.n, divisor))


def batch_norm_higher(  # noqa: PLR0913 - the settings of a layer, by their usual names
    x: ArrayLike,
    direction: ArrayLike,
    running: RunningStatistics | None = None,
    weight: ArrayLike | None = None,
    *,
    training: bool,
    dy: ArrayLike | None = None,
    eps: float = 1e-5,
    semantics: Semantics = CANONICAL["batch_norm"],
    arithmetic: Arithmetic | None = None,
) -> dict[str, Reference]:
    """Derivatives of BatchNorm above the first, or in forward mode, with a bound.

    Args:
        x: input of shape (N, C, *spatial), not empty.
        direction: u, of the shape of ``x``.
        running: the statistics *before* the call, as for :func:`batch_norm`; they are constants.
        weight: shape (C,), or None for ones.
        training: as in :func:`batch_norm`.
        dy: gradient of the output, of the shape of ``x``; None for forward mode.
        eps: as in :func:`batch_norm`.
        semantics: as in :func:`batch_norm`. Where eps does not stand inside the root, or training does not use the
            batch's statistics, nothing is said: all bounds are infinite.
        arithmetic: as in :func:`batch_norm`.

    Returns:
        As :func:`group_norm_higher`.

    Raises:
        ValueError: an argument that makes no sense.

    >>> from normgauge.oracle import initial_statistics
    >>> running = initial_statistics([0], [4])
    >>> batch_norm_higher([[1.0], [3.0]], [[1], [0]], running, training=False, eps=0)["jvp"].value.ravel()
    array([0.5, 0. ])
    """
    array = checked_input(x)
    formula = checked_formula(array, eps, semantics, arithmetic)
    layout = Layout(shape=array.shape, groups=array.shape[1], samples_together=True)
    given = _Given.checked(array, (direction, dy, weight), layout, formula)
    of_batch = training and semantics.choice("training_normalizes_with") == "batch"
    known = of_batch if training else running is not None
    if semantics.choice("eps_placement") != "inside_sqrt" or not known:
        return given.silent()
    with np.errstate(all="ignore"):
        batch = Batch.of(given.block.of(array), formula.arithmetic)
        if running is not None and not training:
            used = batch.normalized_by(running.mean, running.var, formula.arithmetic)
            return given.derivatives(batch, used, None)
        divisor = semantics.choice("variance")
        used = batch.statistics(divisor, formula.arithmetic)
        return given.derivatives(batch, used, divisor_factor(batch.m.n, divisor))
