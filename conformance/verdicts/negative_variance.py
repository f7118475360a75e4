"""A NaN that a variance of one pass explains: E[x^2] - E[x]^2 may come out below 0, and nothing cut it there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from normgauge.adapters.case import Case
from normgauge.conformance.diagnosis.candidates import Seen
from normgauge.conformance.layers.registry import kind_of
from normgauge.conformance.verdicts.evidence import Evidence
from normgauge.oracle import ACCURACY_CLASSES, Arithmetic
from normgauge.oracle.bounds import statistics_bound
from normgauge.oracle.moments import moments

#: What is said of it.
BELOW_ZERO: Final = "a variance of one pass, E[x^2] - E[x]^2, that is below 0 explains the NaN"


def negative_variance(departing: Sequence[Seen], evidence: Evidence) -> str:
    """The words for it, where every departing output is NaN in whole sets in which one pass may give less than -eps."""
    explained = bool(departing) and all(_is_explained(one, evidence) for one in departing)
    return BELOW_ZERO if explained else ""


def _is_explained(one: Seen, evidence: Evidence) -> bool:
    case, (step, *_) = one.probe.case, one.probe.case.steps
    kind = kind_of(case.layer)
    if not one.observation.steps or (kind.tracks and step.mode != "train") or not np.isfinite(step.x).all():
        return False
    got = one.observation.steps[0].output
    if got.shape != step.x.shape or not np.isnan(got).any():
        return False
    lost = np.isnan(_sets(got, case))
    x = _sets(step.x.astype(np.float64), case)
    one_pass = Arithmetic(evidence.dtype, accuracy=ACCURACY_CLASSES[-1])
    with np.errstate(all="ignore"):
        m = moments(x, compensated=evidence.dtype == "float64")
        may_be_negative = statistics_bound(m, one_pass).var >= m.var + abs(float(case.settings["eps"]))
    return bool(np.all(lost.all(axis=1) == lost.any(axis=1)) and np.all(may_be_negative[lost.any(axis=1)]))


def _sets(values: NDArray[np.floating], case: Case) -> NDArray[np.floating]:
    """An array of the shape of x as (sets, values)."""
    kind = kind_of(case.layer)
    ordered = np.moveaxis(values, 1, 0) if kind.across_samples else values
    return ordered.reshape(kind.sets(values.shape, int(case.settings.get("num_groups", 1))), -1)
