"""Experiments: every case that an implementation is asked, as far as its mode can hold it."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np

from normgauge.adapters.case import Case
from normgauge.conformance.layers.registry import kind_of, requirements
from normgauge.conformance.requirements.probe import Probe
from normgauge.conformance.requirements.requirement import Asked, probes_of


def probes(
    layer: str, dtype: str, ranks: tuple[int, ...], *, equal_samples: bool = False, few_shapes: bool = False
) -> tuple[Probe, ...]:
    """Every probe for a ``layer`` made for inputs of these ranks; for some modes with equal samples."""
    asked = _probes(layer, Asked(dtype=dtype, ranks=ranks, few_shapes=few_shapes))
    if not equal_samples:
        return asked
    # How unlike samples affect each other cannot be asked.
    kept = (probe for probe in asked if requirements()[probe.requirement].about != "other samples")
    return tuple(replace(probe, case=with_equal_samples(probe.case)) for probe in kept)


@functools.lru_cache(maxsize=4)
def _probes(layer: str, asked: Asked) -> tuple[Probe, ...]:
    """The modes of a layer, one after the other, are asked the same."""
    return tuple(probes_of(kind_of(layer).requirements, asked))


def with_equal_samples(case: Case) -> Case:
    """``case`` for a mode in which all samples of a batch are one in memory: it holds the first sample N times."""
    steps = (replace(step, x=np.repeat(step.x[:1], len(step.x), axis=0)) for step in case.steps)
    return replace(case, steps=tuple(steps))
