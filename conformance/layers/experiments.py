"""Experiments: every case that an implementation is asked, as far as its mode can hold it."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np

from normgauge.adapters.case import Case
from normgauge.conformance.layers.registry import kind_of, requirements
from normgauge.conformance.requirements.probe import Probe
from normgauge.conformance.requirements.requirement import Asked, probes_of


def probes(layer: str, dtype: str, ranks: tuple[int, ...], mode: str = "eager") -> tuple[Probe, ...]:
    """Every probe for an implementation of ``layer`` made for inputs of these ranks and run in ``mode``."""
    asked = _probes(layer, dtype, ranks)
    if mode != "expanded":
        return asked
    # How unlike samples affect each other cannot be asked: in an expanded batch there are none.
    kept = (probe for probe in asked if requirements()[probe.requirement].about != "other samples")
    return tuple(replace(probe, case=in_mode(probe.case, mode)) for probe in kept)


@functools.lru_cache(maxsize=4)
def _probes(layer: str, dtype: str, ranks: tuple[int, ...]) -> tuple[Probe, ...]:
    """The modes of a layer, one after the other, are asked the same."""
    return tuple(probes_of(kind_of(layer).requirements, Asked(dtype=dtype, ranks=ranks)))


def in_mode(case: Case, mode: str) -> Case:
    """``case`` as it can be asked in ``mode``: an expanded batch holds its first sample N times."""
    if mode != "expanded":
        return case
    steps = (replace(step, x=np.repeat(step.x[:1], len(step.x), axis=0)) for step in case.steps)
    return replace(case, steps=tuple(steps))
