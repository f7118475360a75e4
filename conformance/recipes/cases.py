"""The cases of a verification: drawn for the source alone, so that all recipes from one layer share them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from normgauge.adapters.case import Case, Step
from normgauge.conformance.layers.registry import kind_of
from normgauge.conformance.recipes.layers import DTYPE, RecipeLayer

_CHANNELS: Final = 8
_GROUPS: Final = 4
#: An input of each number of axes, with C channels.
_SHAPES: Final[Mapping[int, tuple[int, ...]]] = {
    2: (6, _CHANNELS),
    3: (3, _CHANNELS, 5),
    4: (2, _CHANNELS, 3, 4),
    5: (2, _CHANNELS, 2, 3, 2),
}
#: Two calls in training, then eval; from there the state is converted, too: eval, training and eval again.
_MODES: Final = ("train", "train", "eval", "train", "eval")
#: The step, from 0, before which a state is converted.
CONVERTED: Final = 2


def cases_of(layer: RecipeLayer, seed: int = 0) -> Iterator[Case]:
    """For each number of axes one case with the layer's defaults, and one with drawn settings and no parameters.

    A layer that refuses one value per channel in training gets such a batch as well.
    """
    kind = kind_of(layer.implementation.layer)
    for rank in layer.implementation.ranks:
        draw = np.random.default_rng((seed, rank))
        base: dict[str, Any] = {"num_channels": _CHANNELS}
        if kind.grouped:
            base["num_groups"] = _GROUPS
        drawn = {"eps": round(float(10 ** draw.uniform(-4, -1)), 5)}
        if kind.tracks:
            drawn["momentum"] = round(float(draw.uniform(0.2, 0.8)), 2)
        given = {"weight": draw.normal(1, 0.5, _CHANNELS), "bias": draw.normal(0, 1, _CHANNELS)}
        moving = {}
        if kind.tracks:
            moving = {"running_mean": draw.normal(0, 1, _CHANNELS), "running_var": draw.uniform(0.5, 2, _CHANNELS)}
        modes = _MODES if kind.tracks else _MODES[1 : CONVERTED + 1]
        steps = tuple(Step(mode, _drawn(draw, _SHAPES[rank])) for mode in modes)
        whole = _case(kind.name, base, given | moving, steps)
        yield whole
        yield _case(kind.name, {**base, **drawn, "weight": False, "bias": False}, moving, steps)
        if layer.values("single_value") == ("refused",) and rank == layer.implementation.ranks[0]:
            yield replace(whole, steps=(Step("train", _drawn(draw, (1, _CHANNELS, *(1,) * (rank - 2)))),))


def _drawn(draw: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """Normal values, with a mean and a scale of their own for each channel."""
    of_channels = (1, shape[1], *(1,) * (len(shape) - 2))
    x = draw.normal(size=shape) * draw.uniform(0.5, 3, of_channels) + draw.normal(0, 2, of_channels)
    return x.astype(np.float32)


def _case(layer: str, settings: dict[str, Any], parameters: Mapping[str, Any], steps: tuple[Step, ...]) -> Case:
    typed = {name: value.astype(np.float32) for name, value in parameters.items()}
    return Case(layer=layer, dtype=DTYPE, settings=settings, parameters=typed, steps=steps)
