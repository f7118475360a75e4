"""The experiments on GroupNorm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from normgauge.adapters.case import Case
from normgauge.conformance.requirements.gradients import group_norm_gradient_probes
from normgauge.conformance.requirements.inputs import LARGE_MEANS, ODD, SPATIAL, graded, scrambled, small, usual_eps
from normgauge.conformance.requirements.probe import Probe, make_case
from normgauge.conformance.requirements.special_values import Make, group_norm_special_probes

CHANNELS: Final = 8
GROUPS: Final = 4
#: eps from far below float32's resolution at 1 to far above every default.
EPS_GIVEN: Final = (1e-12, 1e-5, 1e-3, 0.5)


def group_norm_probes(dtype: str, ranks: tuple[int, ...]) -> list[Probe]:
    base = 4 if 4 in ranks else ranks[-1]
    shape = (2, CHANNELS, *SPATIAL[base])
    return [
        *_diagnosis(dtype, shape),
        *_settings(dtype, shape),
        *_values(dtype, shape, ranks),
        *_empty(dtype, shape, ranks),
        *_refusals(dtype, shape),
        *group_norm_gradient_probes(dtype, shape, _settings_of(dtype)),
        *group_norm_special_probes(dtype, shape, ranks, _maker(dtype)),
    ]


def _maker(dtype: str) -> Make:
    def make(steps: Any, **changes: Any) -> Case:
        return make_case("group_norm", dtype, _settings_of(dtype, **changes), steps)

    return make


def _settings_of(dtype: str, **changes: Any) -> dict[str, Any]:
    return {"num_channels": CHANNELS, "num_groups": GROUPS, "eps": usual_eps(dtype)} | changes


def _probe(requirement: str, label: str, dtype: str, x: Any, mode: str = "train", **changes: Any) -> Probe:
    return Probe(requirement, label, make_case("group_norm", dtype, _settings_of(dtype, **changes), [(mode, x)]))


def _diagnosis(dtype: str, shape: tuple[int, ...]) -> Iterator[Probe]:
    usual = usual_eps(dtype)
    for number, (eps, groups) in enumerate([(usual, 4), (64 * usual, 4), (usual, 2)]):
        settings = _settings_of(dtype, eps=eps, num_groups=groups)
        case = make_case("group_norm", dtype, settings, [("train", graded(shape, dtype, number))])
        yield Probe("GN-01", f"graded deviations, eps={eps:.2g}, G={groups}", case, diagnoses=True)


def _settings(dtype: str, shape: tuple[int, ...]) -> Iterator[Probe]:
    for eps in EPS_GIVEN:
        # sqrt(eps)/10 shows an eps beside the variance, eps/10 one beside its square root.
        yield _probe("GN-05", f"eps={eps:g}, deviation sqrt(eps)/10", dtype, small(shape, eps**0.5 / 10), eps=eps)
        yield _probe("GN-05", f"eps={eps:g}, deviation eps/10", dtype, small(shape, eps / 10), eps=eps)
    settings = _settings_of(dtype)
    del settings["eps"]
    case = make_case("group_norm", dtype, settings, [("train", small(shape, 2.0**-12))])
    yield Probe("GN-05", "eps left to the default", case, measures="eps")


def _values(dtype: str, shape: tuple[int, ...], ranks: tuple[int, ...]) -> Iterator[Probe]:
    for groups in (1, 2, 4, 8):
        yield _probe("GN-06", f"G={groups} of C=8", dtype, scrambled(shape), num_groups=groups)
    three = scrambled((3, 12, *shape[2:]))
    yield _probe("GN-06", f"G=4 of C=12, shape {three.shape}", dtype, three, num_channels=12)
    odd = scrambled((3, 10, *ODD[len(shape)]))
    yield _probe("GN-06", f"G=2 of C=10, shape {odd.shape}", dtype, odd, num_channels=10, num_groups=2)
    for rank in ranks:
        x = scrambled((2, CHANNELS, *SPATIAL[rank]), seed=rank)
        yield _probe("GN-07", f"rank {rank}", dtype, x)
    for weight, bias, label in (
        (True, False, "weight only"),
        (False, True, "bias only"),
        (False, False, "neither"),
    ):
        yield _probe("GN-08", label, dtype, scrambled(shape), weight=weight, bias=bias)
    yield _probe("GN-09", "eval", dtype, graded(shape, dtype), mode="eval")
    steps = [("train", scrambled(shape, 1)), ("eval", graded(shape, dtype)), ("train", scrambled(shape, 2))]
    yield Probe("GN-09", "train, eval, train on other data", make_case("group_norm", dtype, _settings_of(dtype), steps))
    bare = make_case("group_norm", dtype, _settings_of(dtype), [("train", scrambled(shape, 5))], {})
    yield Probe("GN-19", "a new layer", bare)
    for neighbour, label in ((np.nan, "NaN"), (2.0**20, "a million")):
        x = scrambled(shape)
        x[1] = neighbour * (1 + scrambled(x[1].shape) / 8)
        yield _probe("GN-10", f"the other sample is {label}", dtype, x)
    alone, label = ((), "no spatial extent") if 2 in ranks else ((1,) * (len(shape) - 2), "one position")
    for samples in (1, 2):
        x = scrambled((samples, CHANNELS, *alone))
        yield _probe("GN-11", f"N={samples}, G=C, {label}", dtype, x, num_groups=CHANNELS)
    for power in LARGE_MEANS[dtype]:
        yield _probe("GN-12", f"mean = 2^{power} deviations", dtype, scrambled(shape) + 2.0**power)


def _empty(dtype: str, shape: tuple[int, ...], ranks: tuple[int, ...]) -> Iterator[Probe]:
    def spatial(*wanted: int) -> list[tuple[int, ...]]:
        return [SPATIAL[rank] for rank in wanted if rank in ranks] or [shape[2:]]

    no_samples = [(0, CHANNELS, *extents) for extents in spatial(2, 4)]
    no_positions = [(2, CHANNELS, *extents[:-1], 0) for extents in spatial(3, 4) if extents]
    for requirement, shapes in (("GN-13", no_samples), ("GN-14", no_positions)):
        for empty in shapes:
            yield _probe(requirement, f"shape {empty}", dtype, np.zeros(empty))


def _refusals(dtype: str, shape: tuple[int, ...]) -> Iterator[Probe]:
    x = scrambled((2, 6, *shape[2:]))
    yield _probe("GN-15", "C=6, G=4", dtype, x, num_channels=6)
    for made_for, channels, groups, affine in ((8, 16, 4, True), (8, 16, 4, False), (8, 1, 1, True), (1, 8, 1, True)):
        x = scrambled((2, channels, *shape[2:]))
        label = f"layer for {made_for} channel{'s' if made_for > 1 else ''}, input with {channels}"
        label += "" if affine else ", no weight and bias"
        settings: dict[str, Any] = {"num_channels": made_for, "num_groups": groups, "weight": affine, "bias": affine}
        yield _probe("GN-16", label, dtype, x, **settings)
