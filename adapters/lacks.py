"""What a layer does not have, as its adapter declares it: such a case is not asked, and is no failure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

import numpy as np

from normgauge.adapters.case import ACTIONS, SETTINGS, Case
from normgauge.adapters.dtypes import DTYPES

#: What a layer does where a case does not give one of these settings.
_ABSENT: Final = {"weight": True, "bias": True, "track": True}


def _sets(case: Case, count: Callable[[tuple[int, ...], int], int]) -> bool:
    return any(count(step.x.shape, int(case.settings.get("num_groups", 1))) == 1 for step in case.steps)


#: The inputs that a layer may be without, by name; each holds of a case where it holds of the input of one step.
SHAPES: Final[Mapping[str, Callable[[Case], bool]]] = {
    "no samples": lambda case: any(step.x.shape[:1] == (0,) for step in case.steps),
    "no positions": lambda case: any(0 in step.x.shape[2:] for step in case.steps),
    "one value a group": lambda case: _sets(case, lambda s, g: math.prod(s[1:]) // g if len(s) > 1 else 0),
    "one value a channel": lambda case: _sets(case, lambda s, _: s[0] * math.prod(s[2:]) if len(s) > 1 else 0),
    "other channels": lambda case: any(
        step.x.shape[1:2] != (case.settings.get("num_channels"),) for step in case.steps
    ),
    "unequal samples": lambda case: any(
        not np.array_equal(step.x, np.broadcast_to(step.x[:1], step.x.shape), equal_nan=True) for step in case.steps
    ),
}
#: What may be done to a layer or asked of it beside plain calls.
ASKED: Final = (*ACTIONS, "inspect", "layouts", "parameter_dtypes")
#: What each field may name.
_WORDS: Final[Mapping[str, tuple[Any, ...]]] = {
    "settings": SETTINGS,
    "given": SETTINGS,
    "left_out": SETTINGS,
    "ranks": (1, 2, 3, 4, 5),
    "dtypes": DTYPES,
    "modes": ("train", "eval"),
    "actions": ASKED,
    "shapes": tuple(SHAPES),
}


@dataclass(frozen=True, kw_only=True)
class Lack:
    """An unsupported feature of a layer. A case needs the feature if it meets every condition of the object.

    ``why`` is one sentence, ``source`` the page or the code that shows it. Conditions: ``settings``, all with these
    values; ``given``, settings with any value; ``left_out``, settings without a default in the layer;
    one each of ``ranks`` (dimensions of x), ``dtypes``, ``modes`` (``train``, ``eval``), ``actions`` and
    ``shapes`` (:data:`SHAPES`); ``gradients``, that the case needs gradients.

    Raises:
        ValueError: no condition at all, or one that names what does not exist.
    """

    why: str
    source: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    given: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    ranks: tuple[int, ...] = ()
    dtypes: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ()
    gradients: bool = False

    def __post_init__(self) -> None:
        for name, allowed in _WORDS.items():
            unknown = [one for one in getattr(self, name) if one not in allowed]
            if unknown:
                known = ", ".join(map(str, allowed))
                raise ValueError(f"lacks: {name} has {unknown[0]!r}; allowed: {known}")
        if not any(getattr(self, one.name) for one in fields(self) if one.name not in {"why", "source"}):
            raise ValueError(f"lacks: {self.why!r} has no condition; give one of {', '.join(_WORDS)} or gradients")

    def is_met_by(self, case: Case) -> bool:
        """Whether the case is about what the layer does not have."""
        settings = {**_ABSENT, **case.settings}
        conditions = (
            (self.settings, all(name in settings and settings[name] == v for name, v in self.settings.items())),
            (self.given, all(name in case.settings for name in self.given)),
            (self.left_out, all(name not in case.settings for name in self.left_out)),
            (self.ranks, any(step.x.ndim in self.ranks for step in case.steps)),
            (self.dtypes, case.dtype in self.dtypes),
            (self.modes, any(step.mode in self.modes for step in case.steps)),
            (self.actions, bool(actions_in(case) & {*self.actions})),
            (self.shapes, any(SHAPES[one](case) for one in self.shapes)),
            (self.gradients, any(step.dy is not None for step in case.steps)),
        )
        return all(met for condition, met in conditions if condition)


#: Settings that layers are without, which several frameworks have in common.
BIAS_ALONE: Final = {"weight": False, "bias": True}
WEIGHT_ALONE: Final = {"weight": True, "bias": False}
NEITHER: Final = {"weight": False, "bias": False}
PARTS: Final = ({"weight": True}, {"bias": True})


def without(why: str, source: str, *settings: Mapping[str, Any]) -> tuple[Lack, ...]:
    """That a layer has none of these settings, all for one reason."""
    return tuple(Lack(why=why, source=source, settings=one) for one in settings)


def actions_in(case: Case) -> set[str]:
    """The names of what is done to the layer between the calls; ``inspect`` where its state is asked for.

    ``layouts`` stands for inputs that lie in memory in another way than in the order of their indices,
    ``parameter_dtypes`` for parameters of another dtype than the input.
    """
    inspected = {"inspect"} if any(step.inspect for step in case.steps) else set()
    placed = {"layouts"} if any(step.layout or step.dy_layout for step in case.steps) else set()
    typed = {"parameter_dtypes"} if case.dtypes else set()
    return inspected | placed | typed | {action.name for step in case.steps for action in step.before}


def lacking(lacks: Iterable[Lack], case: Case) -> str | None:
    """Why a case cannot be asked of a layer, in the words of the first that it is about; None where it can."""
    return next((one.why for one in lacks if one.is_met_by(case)), None)
