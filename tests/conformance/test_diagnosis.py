"""The diagnosis, and the settings that are found: what is left out changes nothing, what is not known is not told."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from faulty.adapter import FaultyAdapter
from samples import corners

from normgauge.conformance.diagnosis.candidates import Seen, score
from normgauge.conformance.diagnosis.diagnose import diagnose
from normgauge.conformance.diagnosis.measured_setting import Interval, measured_setting
from normgauge.conformance.diagnosis.references import References
from normgauge.conformance.layers.experiments import probes
from normgauge.oracle import AXES, CANONICAL, Arithmetic, precisions

LAYERS = (
    "group_norm.GroupNorm",
    "group_norm.Interleaved",
    "group_norm.NoNormalization",
    "batch_norm.BatchNorm",
    "batch_norm.NoneRefused",
    "batch_norm.SingleValueAccepted",
    "batch_norm.NoneMeansOneHundredth",
    "batch_norm.Frozen",
)
#: What a layer does there is no alternative of any axis; it is left out, and nothing else.
UNEXPLAINED = {"batch_norm.NoneMeansOneHundredth": {"BN-05"}}


@pytest.mark.parametrize(("identifier", "dtype"), corners(2, LAYERS, ("float32", "float64")))
def test_the_survivors_and_who_speaks_against_the_others_are_those_of_every_candidate(
    identifier: str, dtype: str
) -> None:
    layer = identifier.partition(".")[0]
    adapter = FaultyAdapter(dtype)
    asked = [probe for probe in probes(layer, dtype, (2, 3, 4, 5)) if probe.diagnoses]
    seen = [Seen(probe=probe, observation=adapter.run(identifier, probe.case)) for probe in asked]
    found = diagnose(layer, seen, dtype, References())
    assert {one.probe.requirement for one in found.misfits} == UNEXPLAINED.get(identifier, set())
    every = [score(one, found.arithmetic, References()) for one in found.seen]
    assert np.array_equal(found.survivors, functools.reduce(np.maximum, every) <= 1)
    whole = replace(found, scores=tuple(every))
    assert whole.followed() == found.followed()
    for axis in AXES[layer]:
        for value in axis.names:
            assert whole.against(axis.name, value, References()) == found.against(axis.name, value, References())


def eps_of_the_honest_layer(dtype: str, arithmetic: Arithmetic, factor: float) -> Interval | None:
    """What the default eps, 1e-5, is found to be from the usual probe times ``factor``."""
    (probe,) = (one for one in probes("group_norm", dtype, (4,)) if one.measures)
    (step,) = probe.case.steps
    scaled = replace(probe.case, steps=(replace(step, x=(step.x * factor).astype(step.x.dtype)),))
    seen = Seen(probe=replace(probe, case=scaled), observation=FaultyAdapter(dtype).run("group_norm.GroupNorm", scaled))
    return measured_setting(seen, CANONICAL["group_norm"], "eps", arithmetic, References())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_interval_of_a_setting_ends_where_another_value_is_excluded(dtype: str) -> None:
    close = eps_of_the_honest_layer(dtype, Arithmetic(dtype), 1.0)
    assert close is not None
    assert close.low < 1e-5 < close.high < 1.0001e-5
    assert close.low <= close.best <= close.high
    if dtype == "float32":  # beside a variance of 21 this eps is as good as none, or as ten times as much
        wide = eps_of_the_honest_layer(dtype, Arithmetic(dtype), 2.0**14)
        assert wide is not None
        assert wide.low == 1e-16
        assert wide.low <= wide.best <= wide.high
        assert wide.high > 1e-4


def test_a_setting_is_not_measured_where_the_bounds_are_infinite() -> None:
    """Statistics held in float16 have no digits of so small a variance: then every small eps would do."""
    held = next(one for one in precisions("float16") if one.stored)
    assert eps_of_the_honest_layer("float16", held, 1.0) is None
