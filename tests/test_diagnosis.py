"""The diagnosis: what is left out because it is excluded already changes nothing."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from faulty.adapter import FaultyAdapter

from normgauge.conformance.diagnosis import Seen, diagnose, score
from normgauge.conformance.experiments import probes
from normgauge.oracle import AXES

#: What a layer does there is no alternative of any axis; it is left out, and nothing else.
UNEXPLAINED = {"batch_norm.NoneMeansOneHundredth": {"BN-05"}}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "identifier",
    [
        "group_norm.GroupNorm",
        "group_norm.Interleaved",
        "group_norm.NoNormalization",
        "batch_norm.BatchNorm",
        "batch_norm.NoneRefused",
        "batch_norm.SingleValueAccepted",
        "batch_norm.NoneMeansOneHundredth",
        "batch_norm.Frozen",
    ],
)
def test_the_survivors_and_who_speaks_against_the_others_are_those_of_every_candidate(
    identifier: str, dtype: str
) -> None:
    layer = identifier.partition(".")[0]
    adapter = FaultyAdapter(dtype)
    asked = [probe for probe in probes(layer, dtype, (2, 3, 4, 5)) if probe.diagnoses]
    seen = [Seen(probe, adapter.run(identifier, probe.case)) for probe in asked]
    found = diagnose(layer, seen, dtype)
    assert {one.probe.requirement for one in found.misfits} == UNEXPLAINED.get(identifier, set())
    every = [score(one, found.arithmetic) for one in found.seen]
    assert np.array_equal(found.survivors, functools.reduce(np.maximum, every) <= 1)
    whole = type(found)(layer, found.seen, tuple(every), found.survivors, found.arithmetic, found.misfits)
    assert whole.followed() == found.followed()
    for axis in AXES[layer]:
        for value in axis.names:
            assert whole.against(axis.name, value) == found.against(axis.name, value)
