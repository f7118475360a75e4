"""What an assertion says of its arrays, and whether that holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from normgauge.conformance.identify.arrays import CannotIdentify, Given, given
from normgauge.conformance.identify.known import OBSERVED, OF_X, Known, Settings, channels_first, known
from normgauge.conformance.identify.question import LIKE_X
from normgauge.conformance.identify.trials import Trial, trials
from normgauge.conformance.testing.accuracy import Accuracy, verdict_of
from normgauge.conformance.testing.message import message

#: The parameter that a gradient is of, and what it is where it is not given.
_OF_GRADIENT: Final = {"dweight": ("weight", 1.0), "dbias": ("bias", 0.0)}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The arrays of an assertion by their names as arguments, None for those not given, and what is known."""

    arrays: Mapping[str, Any]
    settings: Settings
    accuracy: Accuracy


def hold(claim: Claim) -> None:
    """Return where the canonical layer gives the arrays.

    Raises:
        AssertionError: it does not; the message says what does.
        CannotIdentify: arrays or settings that make no sense, a ``ValueError``.
    """
    __tracebackhide__ = True
    if "y" in claim.arrays and claim.arrays["y"] is None:
        raise CannotIdentify("y is None; give the output of the layer")
    arrays = {
        name: given(name, value, finite=name not in OBSERVED)
        for name, value in claim.arrays.items()
        if value is not None
    }
    _check_shapes(arrays)
    checked = known({name: _finite(one) for name, one in arrays.items()}, claim.settings)
    for gradient, (name, start) in _OF_GRADIENT.items():
        if gradient in arrays and name not in arrays:
            checked = _with(checked, name, start)
    trial = _as_it_came(trials(checked)[0], arrays)
    verdict = verdict_of(trial.question, claim.accuracy)
    if verdict.passes:
        _check_all_compared(trial, verdict.beside.count)
        return
    for name, start in _OF_GRADIENT.values():  # so that nothing is left to be guessed
        checked = checked if name in checked.arrays else _with(checked, name, start)
    raise AssertionError(message(verdict, checked, trial))


def _check_shapes(arrays: Mapping[str, Given]) -> None:
    """Raise for an array that has not the shape of x: an assertion looks for no other layout."""
    __tracebackhide__ = True
    if "x" not in arrays:
        raise CannotIdentify("x is None; give the input of the layer")
    shape = arrays["x"].values.shape
    for name in OF_X:
        if name not in arrays or arrays[name].values.shape == shape:
            continue
        words = f"{name} has shape {arrays[name].values.shape}; expected {shape}, the shape of x"
        raise CannotIdentify(words) if name == "dy" else AssertionError(words)


def _check_all_compared(trial: Trial, count: int) -> None:
    """Raise where something that was given has no expected value: it must not pass unseen."""
    __tracebackhide__ = True
    given_elements = sum(one.size for one in trial.question.observed.values())
    if count != given_elements:
        raise CannotIdentify(
            f"{given_elements - count:,} of {given_elements:,} given elements have no expected value in this call; "
            "leave out the results that such a layer does not have"
        )


def _finite(one: Given) -> Given:
    """The array with zeros in place of what is no finite number."""
    is_finite = np.isfinite(one.values)
    return one if is_finite.all() else Given(values=np.where(is_finite, one.values, 0), dtype=one.dtype)


def _with(checked: Known, name: str, start: float) -> Known:
    """With a weight of ones or a bias of zeros."""
    x = checked.x
    channels = x.shape[1] if checked.settings.layout == "channels_first" else x.shape[-1]
    own = Given(values=np.full(channels, start, dtype=np.float32), dtype="float32")
    return replace(checked, arrays={**checked.arrays, name: own})


def _as_it_came(trial: Trial, arrays: Mapping[str, Given]) -> Trial:
    """The trial with what is no finite number in its place."""
    observed = dict(trial.question.observed)
    for name, quantity in OBSERVED.items():
        if name in arrays and not np.isfinite(arrays[name].values).all():
            values = arrays[name].values
            observed[quantity] = channels_first(values, trial.layout) if quantity in LIKE_X else values.ravel()
    return replace(trial, question=replace(trial.question, observed=observed))
