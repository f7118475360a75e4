"""The committed cases: counterexamples that exploration found once, asked of every implementation since."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from normgauge.conformance.requirements.case_files import StoredCase
from normgauge.conformance.requirements.probe import QUANTITIES, Probe
from normgauge.conformance.requirements.requirement import Requirement, twins
from normgauge.conformance.requirements.sources import HIGHAM, ROUNDINGS_AT


def promoted_probes(layer: str, dtype: str, ranks: tuple[int, ...], stored: Sequence[StoredCase]) -> list[Probe]:
    """A probe for each stored case that an implementation of ``layer`` for these ranks can be asked.

    It is judged by the quantity that departed; what else shows in it other requirements are about.
    """
    return [
        Probe(label=f"{one.signature}, case {one.id}", case=one.case, quantities=_judged(one))
        for one in stored
        if one.case.layer == layer and one.case.dtype == dtype and {s.x.ndim for s in one.case.steps} <= set(ranks)
    ]


def _judged(stored: StoredCase) -> tuple[str, ...]:
    quantity = stored.signature.quantity
    return (quantity,) if quantity in QUANTITIES else QUANTITIES


COMMITTED: Final[tuple[Requirement, ...]] = twins(
    "GN-21", "BN-25", ground="formula", title="found by exploration", about="committed",
    statement="Inputs of earlier counterexamples give outputs, statistics and gradients inside the bounds.",
    source=(
        HIGHAM.implies(
            "every rounding is a factor 1 + delta with abs(delta) <= u, whatever the numbers are, and k of them are at "
            "most 1 + gamma(k): the bounds that follow hold for these inputs, too (derived in docs/bounds.md)",
            at=ROUNDINGS_AT,
        ),
    ),
)  # fmt: skip
