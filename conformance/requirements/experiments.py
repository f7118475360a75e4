"""Experiments: fixed families of cases, each built to separate named alternatives."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Final

import numpy as np

from normgauge.adapters.case import Case
from normgauge.conformance.requirements.accuracy_curves import curve_probes
from normgauge.conformance.requirements.batch_norm import batch_norm_probes
from normgauge.conformance.requirements.group_norm import group_norm_probes
from normgauge.conformance.requirements.probe import GRADIENTS, QUANTITIES, Probe

__all__ = ["GRADIENTS", "QUANTITIES", "Probe", "in_mode", "probes"]

#: What asks how unlike samples affect each other; in an expanded batch there are none.
_ABOUT_OTHER_SAMPLES: Final = frozenset({"GN-10"})


def probes(layer: str, dtype: str, ranks: tuple[int, ...], mode: str = "eager") -> tuple[Probe, ...]:
    """Every probe for an implementation of ``layer`` made for inputs of these ranks and run in ``mode``."""
    asked = _probes(layer, dtype, ranks)
    if mode != "expanded":
        return asked
    kept = (probe for probe in asked if probe.requirement not in _ABOUT_OTHER_SAMPLES)
    return tuple(replace(probe, case=in_mode(probe.case, mode)) for probe in kept)


@functools.lru_cache(maxsize=4)
def _probes(layer: str, dtype: str, ranks: tuple[int, ...]) -> tuple[Probe, ...]:
    """The modes of a layer, one after the other, are asked the same."""
    build = group_norm_probes if layer == "group_norm" else batch_norm_probes
    return (*build(dtype, ranks), *curve_probes(layer, dtype, ranks))


def in_mode(case: Case, mode: str) -> Case:
    """``case`` as it can be asked in ``mode``: an expanded batch holds its first sample N times."""
    if mode != "expanded":
        return case
    steps = (replace(step, x=np.repeat(step.x[:1], len(step.x), axis=0)) for step in case.steps)
    return replace(case, steps=tuple(steps))
