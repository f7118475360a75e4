"""Every combination of settings that what is known leaves open, as questions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from normgauge.conformance.diagnosis.measured_setting import Interval
from normgauge.conformance.identify.arrays import CannotIdentify, held_in
from normgauge.conformance.identify.known import LAYERS, OBSERVED, PARAMETERS, Known, channels_first, layouts
from normgauge.conformance.identify.question import RUNNING, Question
from normgauge.conformance.layers.registry import kind_of
from normgauge.oracle import rounded

#: Values that frameworks have as defaults, the most usual one first.
EPS: Final = (1e-5, 1e-3, 1e-6, 1e-12, 1e-8, 1e-2)
MOMENTUM: Final = (0.1, 0.01, 0.001, 0.9, 0.99)
USUAL: Final = {"eps": EPS, "momentum": MOMENTUM}
_CARRIER: Final = {"bfloat16": "float32"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """A question whose settings are partly guessed: ``open`` names these; ``reading`` says how types were read."""

    question: Question
    layout: str
    open: frozenset[str] = frozenset()
    reading: str = ""

    def at(self, **settings: Any) -> Trial:
        """The same with other settings."""
        changed = replace(self.question, settings={**self.question.settings, **settings})
        return replace(self, question=changed)


def trials(known: Known, layout: str | None = None) -> list[Trial]:
    """Every combination of layer, mode, layout and groups that is open, with the most usual eps and momentum.

    Raises:
        CannotIdentify: what is known contradicts itself.
    """
    settings = known.settings
    found, every = [], layouts(known) if layout is None else (layout,)
    for layer in _layers(known):
        for training in _modes(known, layer):
            for own in every:
                question = _question(known, layer, training, own)
                by_groups = _groups(known, question)
                unknown = {
                    "layer": settings.layer is None and len(_layers(known)) > 1,
                    "mode": len(_modes(known, layer)) > 1,
                    "layout": len(every) > 1,
                    "num_groups": kind_of(layer).grouped and settings.num_groups is None,
                    "eps": settings.eps is None,
                    "momentum": settings.momentum is None and bool({*RUNNING} & {*question.observed}),
                }
                names = frozenset(name for name, is_open in unknown.items() if is_open)
                trial = Trial(question=question, layout=own, open=names)
                found += [trial.at(num_groups=groups) for groups in by_groups] if by_groups else [trial]
    return found


def _layers(known: Known) -> tuple[str, ...]:
    settings = known.settings
    of_batch = {
        "running_mean": known.has("running_mean", "running_mean_after"),
        "running_var": known.has("running_var", "running_var_after"),
        "momentum": settings.momentum is not None,
        "eval": settings.training is False,
    }
    said = [name for name, is_given in of_batch.items() if is_given]
    grouped = settings.layer is not None and kind_of(settings.layer).grouped
    if said and (settings.num_groups is not None or grouped) and said != ["eval"]:
        raise CannotIdentify(
            f"{said[0]} belongs to BatchNorm, num_groups and layer=group_norm to GroupNorm; leave one of them out"
        )
    if settings.layer is not None:
        return (settings.layer,)
    if settings.num_groups is not None:
        return tuple(layer for layer in LAYERS if kind_of(layer).grouped)
    return tuple(layer for layer in LAYERS if kind_of(layer).tracks or not said)


def _modes(known: Known, layer: str) -> tuple[bool, ...]:
    if not kind_of(layer).tracks:
        return (True,)
    if known.settings.training is not None:
        return (known.settings.training,)
    if known.has("running_mean_after", "running_var_after") or not known.has(*RUNNING):
        return (True,)
    return (False, True)


def _groups(known: Known, question: Question) -> list[int]:
    if not question.kind.grouped:
        return []
    channels, given = question.channels, known.settings.num_groups
    return [groups for groups in range(1, channels + 1) if channels % groups == 0 and given in (None, groups)]


def _question(known: Known, layer: str, training: bool, layout: str) -> Question:
    dtype, arrays, settings = known.dtype, known.arrays, known.settings

    def moved(name: str) -> Any:
        return channels_first(arrays[name].values, layout)

    observed = {
        quantity: moved(name) if arrays[name].values.ndim > 1 else arrays[name].values
        for name, quantity in OBSERVED.items()
        if name in arrays
    }
    own: dict[str, Any] = {"eps": EPS[0] if settings.eps is None else float(settings.eps)}
    if kind_of(layer).tracks:
        own["momentum"] = MOMENTUM[0] if settings.momentum is None else float(settings.momentum)
    return Question(
        layer=layer,
        dtype=dtype,
        training=training,
        settings=own,
        x=narrowed(moved("x"), dtype),
        dy=narrowed(moved("dy"), dtype) if "dy" in arrays else None,
        parameters={name: narrowed(arrays[name].values, dtype) for name in PARAMETERS if name in arrays},
        observed=observed,
    )


def narrowed(values: Any, dtype: str) -> Any:
    """float64 values of a layer that computed in float32, as it read them; all others as they are."""
    return values.astype(np.float32) if dtype == "float32" and values.dtype == np.float64 else values


def readings(known: Known, trial: Trial) -> Iterator[Trial]:
    """The trial as it is; then with x rounded to the type of the result, and with the type that its values show."""
    yield trial
    name = "y" if known.has("y") else next(name for name in OBSERVED if name in known.arrays)
    held = held_in(known.arrays[name])
    if held != trial.question.dtype:
        words = f"the values of {name} are of {held}, in an array of {trial.question.dtype}"
        yield replace(trial, question=replace(trial.question, dtype=held), reading=words)
        trial = replace(trial, question=replace(trial.question, dtype=held))
    x = trial.question.x
    if held in {"float16", "bfloat16"} and x.dtype.name != held:
        rounded = _rounded(x, held)
        if not np.array_equal(rounded, x):
            words = f"x was rounded to {held} first"
            yield replace(trial, question=replace(trial.question, x=rounded), reading=words)


def _rounded(x: Any, dtype: str) -> Any:
    return rounded(x, dtype).astype(_CARRIER.get(dtype, dtype))


def simplest(values: tuple[float, ...], interval: Interval) -> float:
    """The most usual one of ``values`` within an interval, or the number there with the fewest digits."""
    usual = (value for value in values if interval.low <= value <= interval.high)
    shorter = (float(f"{interval.best:.{digits}g}") for digits in range(1, 17))
    short = (value for value in shorter if interval.low <= value <= interval.high)
    return next(usual, next(short, interval.best))
