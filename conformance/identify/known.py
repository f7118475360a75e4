"""What a user knows of a layer, checked: arrays with their types, settings or None, and which layouts they allow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from normgauge.conformance.identify.arrays import Array, CannotIdentify, Given, given
from normgauge.conformance.identify.question import LIKE_X, RUNNING
from normgauge.conformance.layers.registry import kind_of

FIRST: Final = "channels_first"
LAST: Final = "channels_last"
LAYOUTS: Final = (FIRST, LAST)
LAYERS: Final = ("group_norm", "batch_norm")
#: Arrays of shape (C,), by their names as arguments.
OF_CHANNELS: Final = (
    "weight", "bias", "running_mean", "running_var", "dweight", "dbias", "running_mean_after", "running_var_after",
)  # fmt: skip
#: Arrays of the shape of x, and every array that may be given.
OF_X: Final = ("y", "dy", "dx")
ARRAYS: Final = ("x", *OF_X, *OF_CHANNELS)
#: What an array is among the observed quantities.
OBSERVED: Final = {
    "y": "output", "dx": "dx", "dweight": "dweight", "dbias": "dbias",
    "running_mean_after": "running_mean", "running_var_after": "running_var",
}  # fmt: skip
PARAMETERS: Final = ("weight", "bias", *RUNNING)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is known of the settings; None for what is not."""

    layer: str | None = None
    num_groups: int | None = None
    eps: float | None = None
    momentum: float | None = None
    training: bool | None = None
    layout: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """The arrays, by their names as arguments, and the settings. ``notes`` say what was recognised."""

    arrays: Mapping[str, Given]
    settings: Settings
    notes: tuple[str, ...] = field(default=())

    def has(self, *names: str) -> bool:
        return any(name in self.arrays for name in names)

    @property
    def x(self) -> Array:
        return self.arrays["x"].values

    @property
    def dtype(self) -> str:
        """The type of what was computed."""
        return next(self.arrays[name].dtype for name in OBSERVED if name in self.arrays)


def known(arrays: Mapping[str, Any], settings: Settings) -> Known:
    """The arrays and settings, checked.

    Raises:
        CannotIdentify: what makes no sense, in one sentence.
    """
    found = {name: given(name, value) for name, value in arrays.items() if value is not None}
    if "x" not in found:
        raise CannotIdentify("x is missing: give the input of the layer")
    if not {*OBSERVED} & {*found}:
        raise CannotIdentify(f"nothing to explain: give y, or one of {', '.join(list(OBSERVED)[1:])}")
    if found["x"].values.ndim < 2 or not found["x"].values.size:
        raise CannotIdentify(f"x has shape {found['x'].values.shape}; allowed: (N, C, ...) or (N, ..., C), not empty")
    if {"dx", "dweight", "dbias"} & {*found} and "dy" not in found:
        raise CannotIdentify("gradients need dy, the gradient of the output: give it, too")
    _check_settings(settings)
    found, notes = _with_x(found)
    for name in OF_CHANNELS:
        if name in found and found[name].values.ndim != 1:
            found[name] = _flat(name, found[name])
    checked = Known(arrays=found, settings=settings, notes=notes)
    tracks = settings.layer is None or kind_of(settings.layer).tracks
    if settings.training is False and "y" in found and not checked.has(*RUNNING) and tracks:
        raise CannotIdentify("eval needs running_mean and running_var: give them, or say that the mode is training")
    return checked


def _check_settings(settings: Settings) -> None:
    if settings.layer not in (None, *LAYERS):
        raise CannotIdentify(f"layer is {settings.layer!r}; allowed: {', '.join(LAYERS)}")
    if settings.layout not in (None, *LAYOUTS):
        raise CannotIdentify(f"layout is {settings.layout!r}; allowed: {', '.join(LAYOUTS)}")
    groups = settings.num_groups
    if groups is not None and (isinstance(groups, bool) or not isinstance(groups, (int, np.integer)) or groups < 1):
        raise CannotIdentify(f"num_groups is {groups!r}; allowed: a whole number from 1 on")
    for name in ("eps", "momentum"):
        value = getattr(settings, name)
        is_number = isinstance(value, (int, float, np.floating, np.integer)) and not isinstance(value, bool)
        if value is not None and not (is_number and np.isfinite(value)):
            raise CannotIdentify(f"{name} is {value!r}; allowed: a finite number, or leave it out if it is not known")


def _with_x(found: dict[str, Given]) -> tuple[dict[str, Given], tuple[str, ...]]:
    """The arrays of the shape of x; one with its channels elsewhere is moved to where those of x stand."""
    shape, notes = found["x"].values.shape, []
    for name in OF_X:
        if name not in found or found[name].values.shape == shape:
            continue
        values = found[name].values
        for source, target, words in ((-1, 1, "last"), (1, -1, "first")):
            if values.ndim == len(shape) and np.moveaxis(values, source, target).shape == shape:
                moved = np.ascontiguousarray(np.moveaxis(values, source, target))
                found[name] = Given(values=moved, dtype=found[name].dtype)
                notes.append(f"{name} has its channels {words}, x has not: {name} was transposed to the shape of x")
                break
        else:
            raise CannotIdentify(f"{name} has shape {values.shape}, x has {shape}; allowed: the shape of x")
    return found, tuple(notes)


def _flat(name: str, one: Given) -> Given:
    """An array such as (1, C, 1, 1) as (C,)."""
    if one.values.size != max(one.values.shape, default=0):
        raise CannotIdentify(f"{name} has shape {one.values.shape}; allowed: (C,), one number for each channel")
    return Given(values=one.values.ravel(), dtype=one.dtype)


def layouts(one: Known) -> tuple[str, ...]:
    """The layouts that x may have: the one that is given, or those in which the lengths of (C,) agree.

    Raises:
        CannotIdentify: no layout has so many channels.
    """
    shape = one.x.shape
    allowed = (FIRST,) if len(shape) == 2 else LAYOUTS
    if one.settings.layout is not None:
        allowed = (one.settings.layout,) if len(shape) > 2 else allowed
    counts = {FIRST: shape[1], LAST: shape[-1]}
    lengths = {name: len(one.arrays[name].values) for name in OF_CHANNELS if name in one.arrays}
    fitting = tuple(layout for layout in allowed if all(n == counts[layout] for n in lengths.values()))
    if not fitting:
        said = ", ".join(f"{name} has {n} numbers" for name, n in lengths.items())
        have = " or ".join(f"{counts[layout]} channels ({layout.replace('_', ' ')})" for layout in allowed)
        message = f"{said}; x of shape {shape} has {have}; allowed: one number for each channel"
        others = [one for one in LAYOUTS if one not in allowed and len({counts[one], *lengths.values()}) == 1]
        raise CannotIdentify("; ".join((message, *(f"the layout {one} has as many channels" for one in others))))
    groups = one.settings.num_groups
    divided = tuple(layout for layout in fitting if groups is None or counts[layout] % groups == 0)
    if not divided:
        have = " or ".join(f"{counts[layout]} channels ({layout.replace('_', ' ')})" for layout in fitting)
        why = f", as {' and '.join(lengths)} has as many numbers" if lengths and len(allowed) > len(fitting) else ""
        raise CannotIdentify(f"num_groups is {groups}; x of shape {shape} has {have}{why}; allowed: a divisor")
    return divided


def channels_first(values: Array, layout: str) -> Array:
    return np.ascontiguousarray(np.moveaxis(values, -1, 1)) if layout == LAST else values


def as_given(quantity: str, index: tuple[int, ...], layout: str) -> tuple[int, ...]:
    """An index in canonical layout, in that of the user's arrays."""
    if quantity not in LIKE_X or layout == FIRST or len(index) < 3:
        return index
    return (index[0], *index[2:], index[1])
