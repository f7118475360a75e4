"""The assertions of a unit test: arrays that a kernel computed, against the proven bound of the canonical layer."""

from __future__ import annotations

from typing import Any

from normgauge.conformance.identify.arrays import CannotIdentify
from normgauge.conformance.identify.fold import identify_fold
from normgauge.conformance.identify.known import LAYOUTS, Settings
from normgauge.conformance.testing.accuracy import Accuracy
from normgauge.conformance.testing.claim import Claim, hold


def assert_group_norm(  # noqa: PLR0913 - the settings of a layer, by their usual names
    y: Any,
    x: Any,
    num_groups: int,
    weight: Any = None,
    bias: Any = None,
    *,
    eps: float = 1e-5,
    layout: str = "channels first",
    accuracy: str = "one_pass",
    sums: str | None = None,
) -> None:
    """Check that ``y`` is GroupNorm of ``x``: every element within the proven bound of an accuracy class.

    Arrays are of NumPy, torch, JAX or MLX, or of any library whose arrays NumPy can read. The bound is that of the
    type of ``y``.

    Args:
        y: output, of the shape of ``x``.
        x: input of shape (N, C, *spatial) or (N, *spatial, C).
        num_groups: G, a divisor of C.
        weight: shape (C,), or None for ones.
        bias: shape (C,), or None for zeros.
        eps: added to the variance inside the square root.
        layout: ``channels first`` or ``channels last``.
        accuracy: ``one_pass``, ``welford`` or ``two_pass``, the class of the variance (docs/bounds.md), wide to
            strict; or ``rounding``, at most the typical error, which is not proven.
        sums: type of the sums. By default float64 for a float64 ``y``, and any type down to its own for a half one;
            ``sums="float32"`` rejects sums in half precision.

    Raises:
        AssertionError: an element outside the bound, or bounds so wide that they exclude nothing; the message has the
            worst element, the bits that hold, the formula that fits, its cause and its remedy.
        ValueError: arrays or settings that make no sense.

    >>> import numpy as np
    >>> x = np.array([[1.0, 3.0, 5.0, 9.0]], dtype=np.float32)
    >>> y = np.array([[-0.999995, 0.999995, -0.99999875, 0.99999875]], dtype=np.float32)
    >>> assert_group_norm(y, x, num_groups=2)
    """
    __tracebackhide__ = True
    arrays = {"x": x, "y": y, "weight": weight, "bias": bias}
    settings = Settings(layer="group_norm", num_groups=num_groups, eps=eps, layout=_layout(layout))
    hold(Claim(arrays=arrays, settings=settings, accuracy=Accuracy(name=accuracy, sums=sums)))


def assert_group_norm_gradients(  # noqa: PLR0913 - as above
    dy: Any,
    x: Any,
    num_groups: int,
    weight: Any = None,
    *,
    dx: Any = None,
    dweight: Any = None,
    dbias: Any = None,
    eps: float = 1e-5,
    layout: str = "channels first",
    accuracy: str = "one_pass",
    sums: str | None = None,
) -> None:
    """Check the gradients of sum(GroupNorm(x) * dy), those of ``dx``, ``dweight`` and ``dbias`` that are given.

    Args:
        dy: gradient of the output, of the shape of ``x``.
        x: input, as for :func:`assert_group_norm`, which describes the other arguments, too.
        num_groups: G.
        weight: shape (C,), or None for ones.
        dx: gradient of the input, of the shape of ``x``.
        dweight: gradient of the weight, shape (C,).
        dbias: gradient of the bias, shape (C,).
        eps: added to the variance.
        layout: ``channels first`` or ``channels last``, of ``x``, ``dy`` and ``dx``.
        accuracy: the class of the variance, or ``rounding``.
        sums: type of the sums.

    Raises:
        AssertionError: as for :func:`assert_group_norm`.
        ValueError: arrays or settings that make no sense.
    """
    __tracebackhide__ = True
    arrays = {"x": x, "dy": dy, "weight": weight, "dx": dx, "dweight": dweight, "dbias": dbias}
    settings = Settings(layer="group_norm", num_groups=num_groups, eps=eps, layout=_layout(layout))
    hold(Claim(arrays=arrays, settings=settings, accuracy=Accuracy(name=accuracy, sums=sums)))


def assert_batch_norm(  # noqa: PLR0913 - as above
    y: Any,
    x: Any,
    weight: Any = None,
    bias: Any = None,
    *,
    training: bool = True,
    running_mean: Any = None,
    running_var: Any = None,
    running_mean_after: Any = None,
    running_var_after: Any = None,
    momentum: float = 0.1,
    eps: float = 1e-5,
    layout: str = "channels first",
    accuracy: str = "one_pass",
    sums: str | None = None,
) -> None:
    """Check that ``y`` is BatchNorm of ``x``, and the running statistics after the call where they are given.

    Args:
        y: output, of the shape of ``x``.
        x: input, as for :func:`assert_group_norm`, which describes the other arguments, too.
        weight: shape (C,), or None for ones.
        bias: shape (C,), or None for zeros.
        training: whether the statistics of the batch normalise; if not, the running ones do, and must be given.
        running_mean: before the call, shape (C,); in training 0 if it is not given.
        running_var: before the call, shape (C,); in training 1 if it is not given.
        running_mean_after: after a call in training, shape (C,).
        running_var_after: after a call in training, shape (C,): from the variance with divisor n - 1.
        momentum: the weight of the new value. Keras and Flax give that of the old one, 1 - momentum.
        eps: added to the variance.
        layout: ``channels first`` or ``channels last``.
        accuracy: the class of the variance, or ``rounding``.
        sums: type of the sums.

    Raises:
        AssertionError: as for :func:`assert_group_norm`.
        ValueError: arrays or settings that make no sense.
    """
    __tracebackhide__ = True
    after = {"running_mean_after": running_mean_after, "running_var_after": running_var_after}
    arrays = {"x": x, "y": y, "weight": weight, "bias": bias, "running_mean": running_mean, "running_var": running_var}
    settings = _of_batch_norm(momentum=momentum, eps=eps, training=training, layout=layout)
    hold(Claim(arrays={**arrays, **after}, settings=settings, accuracy=Accuracy(name=accuracy, sums=sums)))


def assert_batch_norm_gradients(  # noqa: PLR0913 - as above
    dy: Any,
    x: Any,
    weight: Any = None,
    *,
    dx: Any = None,
    dweight: Any = None,
    dbias: Any = None,
    training: bool = True,
    running_mean: Any = None,
    running_var: Any = None,
    eps: float = 1e-5,
    layout: str = "channels first",
    accuracy: str = "one_pass",
    sums: str | None = None,
) -> None:
    """Check the gradients of sum(BatchNorm(x) * dy), those of ``dx``, ``dweight`` and ``dbias`` that are given.

    Args:
        dy: gradient of the output, of the shape of ``x``.
        x: input, as for :func:`assert_group_norm`, which describes the other arguments, too.
        weight: shape (C,), or None for ones.
        dx: gradient of the input, of the shape of ``x``.
        dweight: gradient of the weight, shape (C,).
        dbias: gradient of the bias, shape (C,).
        training: whether the statistics of the batch normalise; if not, the running ones do, and must be given.
        running_mean: shape (C,).
        running_var: shape (C,).
        eps: added to the variance.
        layout: ``channels first`` or ``channels last``, of ``x``, ``dy`` and ``dx``.
        accuracy: the class of the variance, or ``rounding``.
        sums: type of the sums.

    Raises:
        AssertionError: as for :func:`assert_group_norm`.
        ValueError: arrays or settings that make no sense.
    """
    __tracebackhide__ = True
    arrays = {"x": x, "dy": dy, "weight": weight, "running_mean": running_mean, "running_var": running_var}
    settings = _of_batch_norm(momentum=0.1, eps=eps, training=training, layout=layout)
    gradients = {"dx": dx, "dweight": dweight, "dbias": dbias}
    hold(Claim(arrays={**arrays, **gradients}, settings=settings, accuracy=Accuracy(name=accuracy, sums=sums)))


def _of_batch_norm(*, momentum: float, eps: float, training: bool, layout: str) -> Settings:
    if momentum is None:
        raise CannotIdentify(
            "momentum is None; allowed: a number; for a cumulative average give 1 / (calls so far + 1)"
        )
    return Settings(layer="batch_norm", momentum=momentum, eps=eps, training=bool(training), layout=_layout(layout))


def _layout(words: str) -> str:
    name = words.replace(" ", "_").replace("-", "_") if isinstance(words, str) else words
    if name not in LAYOUTS:
        allowed = " or ".join(one.replace("_", " ") for one in LAYOUTS)
        raise CannotIdentify(f"layout is {words!r}; allowed: {allowed}")
    return name


def assert_folded_batch_norm(  # noqa: PLR0913 - the arrays of two layers, by their usual names
    folded_weight: Any = None,
    folded_bias: Any = None,
    *,
    conv_weight: Any,
    running_mean: Any,
    running_var: Any,
    conv_bias: Any = None,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    axis: int = 0,
) -> None:
    """Check the weight and the bias of a convolution or linear layer that BatchNorm was folded into.

    The arguments are those of :func:`normgauge.identify_fold`, which the message comes from.

    Raises:
        AssertionError: an element outside its proven bound; the message names the mistake.
        ValueError: arrays that make no sense.
    """
    __tracebackhide__ = True
    found = identify_fold(
        folded_weight,
        folded_bias,
        conv_weight=conv_weight,
        running_mean=running_mean,
        running_var=running_var,
        conv_bias=conv_bias,
        weight=weight,
        bias=bias,
        eps=eps,
        axis=axis,
    )
    if found.exit_code:
        raise AssertionError(str(found))
