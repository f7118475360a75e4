"""What explains values that depart, beside the semantics: old values, unused parameters, a negative variance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from normgauge.adapters.case import Case, Step
from normgauge.adapters.dtypes import KNOWN_DTYPES
from normgauge.conformance.diagnosis.candidates import Seen
from normgauge.conformance.layers.registry import kind_of
from normgauge.conformance.verdicts.evidence import Evidence
from normgauge.conformance.verdicts.held_bits import FORWARD
from normgauge.oracle import ACCURACY_CLASSES, Arithmetic
from normgauge.oracle.bounds import statistics_bound
from normgauge.oracle.moments import moments

NOT_USED: Final = "what was set between calls is not used: the result is the one without it"
_AGAIN: Final = "where it departs, the values are those of {} again"
FIRST_CALL: Final = _AGAIN.format("the first call")
CALL_BEFORE: Final = _AGAIN.format("the call before")
EITHER_CALL: Final = _AGAIN.format("the call before, which is the first call,")
BELOW_ZERO: Final = "every NaN is where a variance of one pass, E[x^2] - E[x]^2, can be below 0"


#: The cause behind each wording: two wordings of one cause fall together.
CAUSES: Final = {
    **dict.fromkeys((FIRST_CALL, CALL_BEFORE, EITHER_CALL), "values of an earlier call"),
    NOT_USED: NOT_USED,
    BELOW_ZERO: BELOW_ZERO,
}


def explained_values(departing: Sequence[Seen], evidence: Evidence) -> str:
    """The words for what explains every one of these cases, which depart; empty where nothing does.

    That is a case without its new parameters, which gives the same; values that an earlier call gave at the same place,
    or should have given; or NaN in whole sets in which one pass may give a variance below -eps.
    """
    found = [words for words, explains in _WAYS if all(explains(one, evidence) for one in departing)]
    if not departing or not found:
        return ""
    return EITHER_CALL if {FIRST_CALL, CALL_BEFORE} <= {*found} else found[0]


def _is_not_used(one: Seen, evidence: Evidence) -> bool:
    sets = any(action.name == "set_parameters" for step in one.probe.case.steps for action in step.before)
    without = one.probe.without
    if not sets or without is None:
        return False
    quantities = one.probe.quantities
    departing = [each for each in quantities if _ratio(one.probe.case, one, each, evidence) > 1]
    return bool(departing) and all(_ratio(without, one, each, evidence) <= 1 for each in departing)


def _ratio(case: Case, one: Seen, quantity: str, evidence: Evidence) -> float:
    return evidence.best(case, one.observation, (quantity,))[0].ratio


def _is_of_first_call(one: Seen, evidence: Evidence) -> bool:
    """Whether what departs in a step is what the first step of its shape and mode gave."""

    def first(number: int) -> int | None:
        steps = one.probe.case.steps
        alike = (n for n in range(number) if (steps[n].x.shape, steps[n].mode) == _kind(steps[number]))
        return next(alike, None)

    return _is_again(one, first, evidence)


def _is_of_call_before(one: Seen, evidence: Evidence) -> bool:
    return _is_again(one, lambda number: number - 1 if number else None, evidence)


def _kind(step: Step) -> tuple[tuple[int, ...], str]:
    return step.x.shape, step.mode


def _is_again(one: Seen, earlier: Callable[[int], int | None], evidence: Evidence) -> bool:
    """Whether everything outside its bound is what an earlier step gave, or should have, at the same place."""
    expected = evidence.expected(one.probe.case, evidence.followed[0], evidence.precisions[-1]).steps
    again = 0
    for number, (seen, references) in enumerate(zip(one.observation.steps, expected, strict=False)):
        for quantity in (name for name in FORWARD if name in references and name in seen.quantities):
            got = seen.quantities[quantity]
            if got.shape != references[quantity].value.shape:
                return False
            outside = references[quantity].ratio(got) > 1
            if not outside.any():
                continue
            source = earlier(number)
            if source is None:
                return False
            old = one.observation.steps[source].quantities.get(quantity)
            if old is None or old.shape != got.shape:
                return False
            should = expected[source][quantity].ratio(got)[outside] <= 1  # what that call should have given
            if not np.array_equal(old[outside], got[outside], equal_nan=True) and not should.all():
                return False
            again += 1
    return again > 0


def _is_below_zero(one: Seen, evidence: Evidence) -> bool:
    """Whether NaN fills whole sets, each of which one pass in the type may give a variance below -eps.

    Not where another cause is as near: an eps that the type rounds to 0, squares beyond its range, half precision.
    """
    case, (step, *_) = one.probe.case, one.probe.case.steps
    kind = kind_of(case.layer)
    dtype, eps = KNOWN_DTYPES[evidence.dtype], abs(float(case.settings["eps"]))
    if dtype.half or eps < 2.0**dtype.least_exponent:
        return False
    if not one.observation.steps or (kind.tracks and step.mode != "train") or not np.isfinite(step.x).all():
        return False
    got = one.observation.steps[0].output
    if got.shape != step.x.shape or not np.isnan(got).any() or evidence.arithmetic.intermediates is not None:
        return False
    if kind.tracks and _ratio(case, one, "running_mean", evidence) > 1:
        return False
    lost = np.isnan(_sets(got, case))
    x = _sets(step.x.astype(np.float64), case)
    one_pass = Arithmetic(evidence.dtype, accuracy=ACCURACY_CLASSES[-1])
    with np.errstate(all="ignore"):
        if not x.shape[1] * np.max(np.square(x)) < 2.0**dtype.greatest_exponent:
            return False
        m = moments(x, compensated=evidence.dtype == "float64")
        may_be_negative = statistics_bound(m, one_pass).var >= m.var + eps
    return bool(np.all(lost.all(axis=1) == lost.any(axis=1)) and np.all(may_be_negative[lost.any(axis=1)]))


def _sets(values: NDArray[Any], case: Case) -> NDArray[Any]:
    """An array of the shape of x as (sets, values)."""
    kind = kind_of(case.layer)
    ordered = np.moveaxis(values, 1, 0) if kind.across_samples else values
    return ordered.reshape(kind.sets(values.shape, int(case.settings.get("num_groups", 1))), -1)


#: Every way, in the order in which they are tried.
_WAYS: Final[tuple[tuple[str, Callable[[Seen, Evidence], bool]], ...]] = (
    (NOT_USED, _is_not_used),
    (FIRST_CALL, _is_of_first_call),
    (CALL_BEFORE, _is_of_call_before),
    (BELOW_ZERO, _is_below_zero),
)
