"""Is a difference rounding? A fact beside the verdicts, told in the words of results/rounding.py.

Below the typical error of honest arithmetic it is rounding. Between that and the proven bound only a poor order of
summation explains it. Above the bound it is no rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from normgauge.adapters.case import Array
from normgauge.conformance.diagnosis.candidates import Seen
from normgauge.conformance.layers.registry import kind_of
from normgauge.conformance.requirements.accuracy_curves import LENGTH
from normgauge.conformance.verdicts.evidence import Evidence
from normgauge.oracle import Arithmetic, Reference
from normgauge.results.rounding import OUT_OF_RANGE, word_for


@dataclass(frozen=True, kw_only=True)
class Explained:
    """The largest error of an element in units of its typical error and of its bound, and the words for that."""

    of_typical: float
    of_bound: float
    words: str


def explained(actual: Array, bound: Reference, typical: Reference) -> Explained:
    """Whether the errors of ``actual`` are rounding.

    Args:
        actual: what came out, of the shape of the references.
        bound: the reference in the arithmetic that is allowed.
        typical: the reference in the same arithmetic with ``typical=True``.

    Raises:
        ValueError: ``actual`` has another shape.
    """
    of_typical, of_bound = (float(one.ratio(actual).max(initial=0.0)) for one in (typical, bound))
    silent = typical.value.size > 0 and not typical.says_something().any()
    words = OUT_OF_RANGE if silent else word_for(of_typical, within_bound=of_bound <= 1)
    return Explained(of_typical=of_typical, of_bound=of_bound, words=words)


def typical_errors(evidence: Evidence, arithmetic: Arithmetic) -> dict[str, float]:
    """The largest error of an output in units of the typical error, by the number of values normalised together.

    Of the diagnosing cases and those of long reductions; an infinite one (a NaN against a number) is left out.
    """
    found: dict[int, float] = {}
    for one in evidence.seen:
        if one.probe.diagnoses or one.probe.curve == LENGTH:
            for n, ratio in _outputs(one, evidence, replace(arithmetic, typical=True)):
                found[n] = max(ratio, found.get(n, 0.0))
    return {str(n): float(f"{found[n]:.2g}") for n in sorted(found) if found[n] < math.inf}


def _outputs(one: Seen, evidence: Evidence, typical: Arithmetic) -> Iterator[tuple[int, float]]:
    """The values per set of each training step, and the largest error of its output in typical errors."""
    case = one.probe.case
    prediction = evidence.expected(case, evidence.followed[0], typical)
    for step, seen, expected in zip(case.steps, one.observation.steps, prediction.steps, strict=False):
        actual = seen.quantities.get("output")
        if step.mode == "train" and actual is not None and actual.shape == expected["output"].value.shape:
            n = kind_of(case.layer).values_per_set(step.x.shape, case.settings.get("num_groups", 1))
            yield n, float(expected["output"].ratio(actual).max(initial=0.0))
