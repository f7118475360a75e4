"""The experiments on BatchNorm."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from normgauge.adapters.case import Array
from normgauge.conformance.requirements.gradients import batch_norm_gradient_probes
from normgauge.conformance.requirements.group_norm import EPS_GIVEN
from normgauge.conformance.requirements.inputs import (
    LARGE_MEANS,
    ODD,
    SPATIAL,
    biases,
    dyadic,
    graded,
    scrambled,
    small,
    usual_eps,
    weights,
)
from normgauge.conformance.requirements.probe import Probe, make_case
from normgauge.conformance.requirements.saved_state import state_probes
from normgauge.conformance.requirements.special_values import batch_norm_special_probes

CHANNELS: Final = 8
#: Exact in every type, and away from 1/2, where weighing the new and weighing the old are the same.
MOMENTUM: Final = 0.25


def batch_norm_probes(dtype: str, ranks: tuple[int, ...]) -> list[Probe]:
    base = 4 if 4 in ranks else ranks[-1]
    shape = (2, CHANNELS, *SPATIAL[base])
    return [
        *_diagnosis(dtype, shape),
        *_settings(dtype, shape),
        *_values(dtype, shape, ranks),
        *_empty(dtype, shape),
        *_refusals(dtype, shape),
        *batch_norm_gradient_probes(dtype, shape, _case),
        *state_probes(dtype, shape, _settings_of(dtype), _given()),
        *batch_norm_special_probes(dtype, shape, ranks, functools.partial(_case, dtype)),
    ]


def _settings_of(dtype: str) -> dict[str, Any]:
    return {"num_channels": CHANNELS, "eps": usual_eps(dtype), "momentum": MOMENTUM}


def _case(
    dtype: str,
    steps: Sequence[tuple[str, Array] | tuple[str, Array, Array]],
    parameters: dict[str, Array] | None = None,
    **changes: Any,
) -> Any:
    settings = _settings_of(dtype) | changes
    if parameters is None:
        parameters = {}
        if settings.get("weight", True):
            parameters["weight"] = weights(CHANNELS)
        if settings.get("bias", True):
            parameters["bias"] = biases(CHANNELS)
        if settings.get("track", True):
            parameters |= _statistics(0)
    return make_case("batch_norm", dtype, settings, steps, parameters)


def _given() -> dict[str, Array]:
    return {"weight": weights(CHANNELS), "bias": biases(CHANNELS), **_statistics(0)}


def _statistics(seed: int) -> dict[str, Array]:
    """Running statistics that no batch here has: means in eighths, variances in quarters above 1."""
    index = np.arange(CHANNELS)
    return {
        "running_mean": (index * 3 + seed) % 7 / 8 - 0.25,
        "running_var": 1.25 + (index * 5 + seed) % 8 / 4,
    }


def _diagnosis(dtype: str, shape: tuple[int, ...]) -> Iterator[Probe]:
    def probe(requirement: str, label: str, case: Any) -> Probe:
        return Probe(requirement, label, case, diagnoses=True, special=requirement in {"BN-05", "BN-06", "BN-08"})

    yield probe("BN-01", "one training step, graded deviations", _case(dtype, [("train", graded(shape, dtype))]))
    steps = [("train", graded(shape, dtype, 1)), ("train", scrambled(shape, 2))]
    yield probe("BN-09", "two training steps", _case(dtype, steps))
    steps = [("train", scrambled(shape, seed)) for seed in (1, 2, 3)]
    yield probe("BN-05", "three training steps, momentum=None", _case(dtype, steps, momentum=None))
    one = (1, CHANNELS, *(1,) * (len(shape) - 2))
    yield probe("BN-06", f"one training step, shape {one}", _case(dtype, [("train", scrambled(one))]))
    yield probe("BN-08", "eval, nothing tracked", _case(dtype, [("eval", graded(shape, dtype))], track=False))


def _settings(dtype: str, shape: tuple[int, ...]) -> Iterator[Probe]:
    for eps in EPS_GIVEN:
        for deviation, label in ((eps**0.5 / 10, "sqrt(eps)/10"), (eps / 10, "eps/10")):
            case = _case(dtype, [("train", small(shape, deviation))], eps=eps)
            yield Probe("BN-10", f"eps={eps:g}, deviation {label}", case)
            parameters = {"running_mean": np.zeros(CHANNELS), "running_var": np.full(CHANNELS, dyadic(deviation) ** 2)}
            case = _case(dtype, [("eval", small(shape, deviation))], parameters, eps=eps)
            yield Probe("BN-10", f"eval, eps={eps:g}, running deviation {label}", case)
    for momentum in (0.05, 0.1, 0.9, 0.99):
        yield Probe("BN-11", f"momentum={momentum:g}", _far_step(dtype, shape, momentum=momentum))
    for setting, case in (
        ("eps", _case(dtype, [("train", small(shape, 2.0**-12))])),
        ("momentum", _far_step(dtype, shape, momentum=0.1)),
    ):
        settings = {name: value for name, value in case.settings.items() if name != setting}
        left_out = type(case)(case.layer, case.dtype, settings, case.parameters, case.steps)
        requirement = "BN-10" if setting == "eps" else "BN-11"
        yield Probe(requirement, f"{setting} left to the default", left_out, measures=setting)


def _far_step(dtype: str, shape: tuple[int, ...], momentum: float) -> Any:
    """From running statistics of 8, a step to a batch near 8 and one to a batch near 0.

    What is left of the 8 is the weight, however the statistics start; a batch near 0 has a mean with a
    small error, which would hide the step otherwise.
    """
    parameters = {"running_mean": np.full(CHANNELS, 8.0), "running_var": np.full(CHANNELS, 8.0)}
    steps = [("train", scrambled(shape) / 8 + 8), ("train", scrambled(shape, 1) / 8)]
    return _case(dtype, steps, parameters, momentum=momentum)


def _values(dtype: str, shape: tuple[int, ...], ranks: tuple[int, ...]) -> Iterator[Probe]:
    for rank in ranks:
        x = scrambled((2, CHANNELS, *SPATIAL[rank]), seed=rank)
        yield Probe("BN-12", f"rank {rank}, training", _case(dtype, [("train", x)]))
        yield Probe("BN-12", f"rank {rank}, eval", _case(dtype, [("eval", x)]), quantities=("output",))
    for samples in (1, 3):
        x = scrambled((samples, CHANNELS, *ODD[len(shape)]))
        if x.size > CHANNELS:
            yield Probe("BN-12", f"training, shape {x.shape}", _case(dtype, [("train", x)]))
    yield Probe("BN-16", "nothing tracked", _case(dtype, [("train", graded(shape, dtype))], track=False))
    case = _case(dtype, [("eval", scrambled(shape, 5))], {})
    yield Probe("BN-23", "a new layer, eval", case, quantities=("output",))
    yield Probe("BN-23", "a new layer, training", _case(dtype, [("train", scrambled(shape, 5))], {}))
    if dtype == "float64":  # 0.7 * 1 and its sum with the batch have digits that float32 lacks
        steps = [("train", scrambled(shape, seed)) for seed in (5, 6)]
        yield Probe("BN-26", "a new layer, two training steps", _case(dtype, steps, {}, momentum=0.3))
    for weight, bias, label in (
        (True, False, "weight only"),
        (False, True, "bias only"),
        (False, False, "neither"),
    ):
        for mode in ("train", "eval"):
            case = _case(dtype, [(mode, scrambled(shape))], weight=weight, bias=bias)
            yield Probe("BN-13", f"{label}, {mode}", case, quantities=("output",))
    steps = [("train", scrambled(shape, seed) * (1 + seed)) for seed in range(5)]
    yield Probe("BN-14", "five training steps", _case(dtype, steps))
    steps = [("eval", graded(shape, dtype)), ("eval", scrambled(shape, 4))]
    yield Probe("BN-15", "eval twice from given statistics", _case(dtype, steps))
    alternating = [("train", scrambled(shape)), ("eval", scrambled(shape, 1)), ("train", scrambled(shape, 2))]
    yield Probe("BN-15", "train, eval, train", _case(dtype, alternating))
    for momentum, size in ((0.0, 1.0), (1.0, 1.0), (MOMENTUM, 2.0**20)):
        statistics = {name: value * size for name, value in _statistics(1).items()}
        parameters = {"weight": weights(CHANNELS), "bias": biases(CHANNELS)} | statistics
        case = _case(dtype, [("train", scrambled(shape))], parameters, momentum=momentum)
        yield Probe("BN-16", f"momentum={momentum:g}, earlier statistics times {size:g}", case)
    for power in LARGE_MEANS[dtype]:
        x = scrambled(shape) + 2.0**power
        yield Probe("BN-17", f"mean = 2^{power} deviations", _case(dtype, [("train", x)]))


def _empty(dtype: str, shape: tuple[int, ...]) -> Iterator[Probe]:
    spatial = shape[2:]
    none = (0, CHANNELS, *spatial)
    for mode in ("train", "eval"):
        yield Probe("BN-18", f"{mode}, shape {none}", _case(dtype, [(mode, np.zeros(none))]))
    steps = [("train", np.zeros(none)), ("train", scrambled(shape))]
    label = "momentum=None, an empty batch and then a full one"
    yield Probe("BN-18", label, _case(dtype, steps, momentum=None), needs="BN-05")
    if spatial:
        nowhere = (2, CHANNELS, *spatial[:-1], 0)
        for mode in ("train", "eval"):
            yield Probe("BN-19", f"{mode}, shape {nowhere}", _case(dtype, [(mode, np.zeros(nowhere))]))
        steps = [("train", np.zeros(nowhere)), ("train", scrambled(shape))]
        label = "momentum=None, a batch without positions and then a full one"
        yield Probe("BN-19", label, _case(dtype, steps, momentum=None), needs="BN-05")


def _refusals(dtype: str, shape: tuple[int, ...]) -> Iterator[Probe]:
    neither = {"weight": False, "bias": False}
    for made_for, channels, mode, changes in (
        (8, 16, "train", {}),
        (8, 1, "train", {}),
        (8, 1, "eval", {}),
        (8, 1, "train", neither),
        (8, 1, "eval", neither),
        (1, 8, "train", {}),
        (1, 8, "train", neither),
        (8, 16, "eval", neither | {"track": False}),
    ):
        x = scrambled((2, channels, *shape[2:]))
        label = f"{mode}, layer for {made_for} channel{'s' if made_for > 1 else ''}, input with {channels}"
        label += ", no weight and bias" if changes else ""
        label += ", nothing tracked" if "track" in changes else ""
        settings: dict[str, Any] = {"num_channels": made_for, **changes}
        yield Probe("BN-20", label, _case(dtype, [(mode, x)], {} if made_for == 1 else None, **settings))
