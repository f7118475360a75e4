"""From arrays and what is known of a layer to the answer: which semantics made them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from normgauge.conformance.identify.alike import not_told_apart
from normgauge.conformance.identify.answer import Identified
from normgauge.conformance.identify.arrays import CannotIdentify, given
from normgauge.conformance.identify.explain import Explanation, explained
from normgauge.conformance.identify.known import ARRAYS, Known, Settings, known
from normgauge.conformance.identify.pair import Compared, Side, beside, compared
from normgauge.conformance.identify.unknown import what_is_seen
from normgauge.conformance.identify.words import answered


def identify(  # noqa: PLR0913 - what may be known of a layer, by the usual names
    x: Any = None,
    y: Any = None,
    *,
    other: Any = None,
    layer: str | None = None,
    num_groups: int | None = None,
    weight: Any = None,
    bias: Any = None,
    running_mean: Any = None,
    running_var: Any = None,
    eps: float | None = None,
    momentum: float | None = None,
    training: bool | None = None,
    layout: str | None = None,
    dy: Any = None,
    dx: Any = None,
    dweight: Any = None,
    dbias: Any = None,
    running_mean_after: Any = None,
    running_var_after: Any = None,
) -> Identified | Compared:
    """Which GroupNorm or BatchNorm made ``y`` of ``x``, whether that is canonical, and what to write instead.

    Everything that is not given is looked for. Arrays are of NumPy or of a framework whose arrays NumPy can read.

    Args:
        x: input of shape (N, C, *spatial) or (N, *spatial, C).
        y: output of the shape of ``x``.
        other: another output, of which the same is known; then the two are compared, and ``x`` may be left out.
        layer: ``group_norm`` or ``batch_norm``.
        num_groups: G of GroupNorm.
        weight: shape (C,).
        bias: shape (C,).
        running_mean: before the call, shape (C,).
        running_var: before the call, shape (C,).
        eps: as given to the layer.
        momentum: as given to the layer.
        training: whether BatchNorm was in training.
        layout: ``channels_first`` or ``channels_last``.
        dy: gradient of the output, for the three gradients below.
        dx: gradient of the input.
        dweight: gradient of the weight.
        dbias: gradient of the bias.
        running_mean_after: after the call, shape (C,).
        running_var_after: after the call, shape (C,).

    Raises:
        CannotIdentify: arrays or settings that make no sense, a ``ValueError`` of one sentence.

    >>> import numpy as np
    >>> x = np.array([[1.0, 3.0, 5.0, 9.0]], dtype=np.float32)
    >>> y = np.array([[-0.999995, 0.999995, -0.99999875, 0.99999875]], dtype=np.float32)
    >>> identify(x, y, num_groups=2, eps=1e-5).verdict
    'canonical'
    """
    arguments = dict(locals())
    arrays = {name: arguments[name] for name in ARRAYS if arguments[name] is not None}
    settings = Settings(
        layer=layer, num_groups=num_groups, eps=eps, momentum=momentum, training=training, layout=layout
    )
    if other is not None:
        return _compared(arrays, other, settings)
    return answered_for(known(arrays, settings))


def answered_for(checked: Known) -> Identified:
    """What made the arrays that are known."""
    return _answer(checked)[1]


def _answer(checked: Known) -> tuple[Explanation, Identified]:
    found = explained(checked)
    is_told = len(found.fits) == 1 and found.fits[0].held.arithmetic.intermediates is None
    not_told = list(not_told_apart(found.fits[0], found.place)) if is_told else []
    causes = [] if found.fits else list(what_is_seen(found))
    return found, answered(checked, found, not_told=not_told, causes=causes)


def _compared(arrays: Mapping[str, Any], other: Any, settings: Settings) -> Compared:
    if "y" not in arrays:
        raise CannotIdentify("y is missing: other is compared with it")
    two = given("y", arrays["y"]), given("other", other)
    found = compared(*two)
    if "x" not in arrays:
        return found
    sides = []
    for values in two:
        explanation, answer = _answer(known({**arrays, "y": values}, settings))
        sides.append(Side(array=values.values, found=explanation, answer=answer))
    return beside(found, *sides)
