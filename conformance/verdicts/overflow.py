"""Half precision out of range: where sums in float32 would have sufficed, it departs (docs/verdicts.md)."""

from __future__ import annotations

import math

import numpy as np

from normgauge.conformance.diagnosis.candidates import Deviation, Seen
from normgauge.conformance.diagnosis.predictions import made_small
from normgauge.conformance.verdicts.evidence import Evidence
from normgauge.oracle import Semantics, precisions


def overflow(one: Seen, evidence: Evidence) -> Deviation | None:
    """A half-precision result out of range where sums in float32 would have kept it in range."""
    if not evidence.arithmetic.result.is_half:
        return None
    found = [_overflow(one, semantics, evidence) for semantics in evidence.followed]
    return found[0] if all(found) else None


def _overflow(one: Seen, semantics: Semantics, evidence: Evidence) -> Deviation | None:
    """Not a number, or an output that lies outside the widest bound on the same numbers made small.

    Normalising is indifferent to a power of two in x and its square in eps, so there is a bound although
    the widest arithmetic has none for the numbers as they are.
    """
    enough = evidence.expected(one.probe.case, semantics, precisions(one.probe.case.dtype)[0])
    small = evidence.expected(made_small(one.probe.case), semantics, evidence.precisions[-1])
    for number, (seen, expected) in enumerate(zip(one.observation.steps, enough.steps, strict=False), start=1):
        shown = seen.quantities
        for quantity in (name for name in expected if name in shown and name in one.probe.quantities):
            got, right = shown[quantity], expected[quantity]
            lost = ~np.isfinite(got)
            if quantity == "output" and len(one.probe.case.steps) == 1 and one.probe.case.steps[0].mode == "train":
                lost = lost | (small.steps[0]["output"].ratio(got) > 1)
            lost = lost & np.isfinite(right.value) & np.isfinite(right.bound)
            if np.any(lost):
                index = tuple(int(i) for i in np.argwhere(lost)[0])
                value, bound = float(right.value[index]), float(right.bound[index])
                return Deviation(
                    ratio=math.inf,
                    step=number,
                    quantity=quantity,
                    index=index,
                    observed=float(got[index]),
                    expected=value,
                    bound=bound,
                )
    return None
