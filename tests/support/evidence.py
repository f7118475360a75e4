"""What is known of a faulty layer that is asked some cases of GroupNorm, and such cases."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from faulty.adapter import FaultyAdapter

from normgauge.adapters.case import Case
from normgauge.conformance.diagnosis.candidates import Seen
from normgauge.conformance.diagnosis.diagnose import diagnose
from normgauge.conformance.diagnosis.references import References
from normgauge.conformance.layers.experiments import probes
from normgauge.conformance.requirements.inputs import scrambled
from normgauge.conformance.requirements.probe import Probe, make_case
from normgauge.conformance.verdicts.evidence import Evidence

#: Samples, channels and extents: sizes on both sides of 8 samples, of 32 channels and of 32 positions.
SIZES = tuple(itertools.product((1, 7, 8), (8, 32), ((), (32,), (40,), (2, 2), (3, 11))))


def group_norm_cases() -> Iterator[Case]:
    """One call each: every size, with and without gradients, with and without a weight other than 1."""
    for number, (samples, channels, extents) in enumerate(SIZES):
        x = scrambled((samples, channels, *extents), number)
        settings: dict[str, Any] = {"num_channels": channels, "num_groups": 4, "eps": 2.0**-16}
        parameters: dict[str, Any] | None = {} if number % 4 == 1 else None
        dy = scrambled(x.shape, number + 1) + 0.75
        yield make_case("group_norm", "float32", settings, [("train", x)], parameters)
        yield make_case("group_norm", "float32", settings, [("train", x, dy)], parameters)
    for calls in (2, 3, 4):
        steps = [("train", scrambled((2, 8, 4), calls + seed)) for seed in range(calls)]
        yield make_case("group_norm", "float32", {"num_channels": 8, "num_groups": 4, "eps": 2.0**-16}, steps)


def evidence_of(
    identifier: str, adapter: FaultyAdapter, cases: Iterable[Case], asked_for: Sequence[str] = ("GN-06",)
) -> Evidence:
    """What is known of a layer that is asked these cases, for one requirement after the other, beside the diagnosis."""
    layer = next(one.layer for one in adapter.implementations if one.id == identifier)
    asked = [one for one in probes(layer, "float32", (2, 3, 4, 5)) if one.diagnoses]
    asked += [
        Probe(label=str(number), case=case, requirement=asked_for[number % len(asked_for)])
        for number, case in enumerate(cases)
    ]
    seen = tuple(Seen(probe=probe, observation=adapter.run(identifier, probe.case)) for probe in asked)
    found = diagnose(layer, seen, "float32", References())
    (own,) = (one for one in adapter.implementations if one.id == identifier)
    return Evidence(
        implementation=identifier, identity=own.identity, dtype="float32", names=own.names, remedies={}, seen=seen,
        diagnosis=found, followed=tuple(found.followed()), references=References(),
    )  # fmt: skip
