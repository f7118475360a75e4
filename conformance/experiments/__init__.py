"""Experiments: fixed families of cases, each built to separate named alternatives."""

from __future__ import annotations

from normgauge.conformance.experiments.batch_norm import batch_norm_probes
from normgauge.conformance.experiments.group_norm import group_norm_probes
from normgauge.conformance.experiments.probe import QUANTITIES, Probe

__all__ = ["QUANTITIES", "Probe", "probes"]


def probes(layer: str, dtype: str, ranks: tuple[int, ...]) -> list[Probe]:
    """Every probe for an implementation of ``layer`` made for inputs of these ranks."""
    build = group_norm_probes if layer == "group_norm" else batch_norm_probes
    return build(dtype, ranks)
