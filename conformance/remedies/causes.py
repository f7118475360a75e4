"""Causes that are not a value of an axis: how a verdict on a requirement shows that a remedy applies."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from normgauge.adapters.case import Case
from normgauge.adapters.dtypes import KNOWN_DTYPES

#: In how many deviations a mean costs one-pass statistics digits that count.
_FAR: Final = 16.0
_FLAT: Final = 2


@dataclass(frozen=True, kw_only=True)
class Symptom:
    """What a verdict on a requirement rests on.

    ``measured`` is what its records say in short; ``case`` shows it best, and is None where none was kept.
    """

    verdict: str
    measured: str
    case: Case | None


@dataclass(frozen=True, kw_only=True)
class Cause:
    """A cause in ``words``, and what shows it.

    The verdict is one of ``verdicts``, what was measured begins with the pattern ``measured``, and ``where`` is true of
    the case.
    """

    words: str
    verdicts: tuple[str, ...]
    measured: str = ""
    where: Callable[[Case], bool] = lambda case: True

    def explains(self, symptom: Symptom) -> bool:
        return (
            symptom.verdict in self.verdicts
            and re.match(self.measured, symptom.measured) is not None
            and (symptom.case is None or self.where(symptom.case))
        )


def _acts(name: str) -> Callable[[Case], bool]:
    """Whether something is done to the layer before a step."""
    return lambda case: any(action.name == name for step in case.steps for action in step.before)


def _empty(case: Case) -> bool:
    """Whether a step has no values."""
    return any(step.x.size == 0 for step in case.steps)


def _far_from_zero(case: Case) -> bool:
    """Whether the mean of a channel, or of a sample, is far larger than its deviation."""
    for step in case.steps:
        x = step.x.astype(np.float64)
        for axes in (0, *range(2, x.ndim)), tuple(range(1, x.ndim)):
            if x.size and np.any(np.abs(x.mean(axis=axes)) > _FAR * x.std(axis=axes)):
                return True
    return False


def _strains_half(case: Case) -> bool:
    """Whether a half type is too short for a count, a square, a sum of squares or eps."""
    kind = KNOWN_DTYPES[case.dtype]
    largest, least = 2.0 ** (kind.greatest_exponent + 1), 2.0**kind.least_exponent
    if not kind.half:
        return False
    if case.settings.get("eps", 1.0) <= kind.smallest_subnormal / 2:
        return True
    for step in case.steps:
        sizes = np.abs(step.x.astype(np.float64))
        n = step.x.size // max(case.settings["num_channels"], 1)
        squares = np.square(sizes[sizes > 0])
        if n >= 2 ** (kind.digits - 1) or np.sum(squares) >= largest or np.any(squares < least):
            return True
    return False


_BOTH: Final = ("diverges", "raises")
EMPTY: Final = Cause(words="an input without values", verdicts=_BOTH, where=_empty)
CHANNELS_ACCEPTED: Final = Cause(words="another channel count is accepted", verdicts=("diverges",), measured="accepted")
EPS_ZERO_REFUSED: Final = Cause(
    words="eps = 0 is refused", verdicts=("raises",), where=lambda case: case.settings.get("eps") == 0
)
ONE_SAMPLE_REFUSED: Final = Cause(
    words="a batch of one sample is refused",
    verdicts=("raises",),
    where=lambda case: any(len(step.x) == 1 for step in case.steps),
)
FLAT_REFUSED: Final = Cause(
    words="an input of rank 2 is refused",
    verdicts=("raises",),
    where=lambda case: any(step.x.ndim == _FLAT for step in case.steps),
)
LARGE_MEAN: Final = Cause(
    words="a mean far larger than the deviation takes the digits of the variance",
    verdicts=("diverges",),
    where=_far_from_zero,
)
COMPUTES_IN_FLOAT32: Final = Cause(
    words="float64 is computed in float32", verdicts=("diverges",), measured=r"(\S+ )?computes in float32"
)
SUMS_IN_HALF: Final = Cause(
    words="half precision, too short for a count, a square, a sum or eps", verdicts=("diverges",), where=_strains_half
)
PARAMETERS_KEPT: Final = Cause(
    words="values set between two calls are not used", verdicts=("diverges",), where=_acts("set_parameters")
)
OTHER_TYPE: Final = Cause(words="the output has another type", verdicts=("diverges",), measured=r"b?float\d+")
NARROW_STATISTICS: Final = Cause(
    words="the running statistics are of a narrower type", verdicts=("diverges",), measured="running_(mean|var) "
)
NOT_SAVED: Final = Cause(words="saving raises", verdicts=("raises",), where=_acts("save_load"))
FROZEN_IS_EVAL: Final = Cause(
    words="frozen, a layer computes as in eval", verdicts=("diverges",), measured=".*the running statistics"
)
MOMENTUM_KEPT: Final = Cause(
    words="a momentum set between two calls is not used", verdicts=("diverges",), where=_acts("momentum")
)
OTHERWISE_TRAINABLE: Final = Cause(
    words="a parameter stays frozen, or a statistic becomes trainable",
    verdicts=("diverges",),
    measured=r"\S+ is (not )?trainable",
)
