"""The experiments on special values and degenerate shapes: what must stay where it is, and what has no statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from normgauge.adapters.case import Array, Case
from normgauge.conformance.requirements.gradients import along, upstream
from normgauge.conformance.requirements.inputs import SPATIAL, scrambled
from normgauge.conformance.requirements.probe import GRADIENTS, QUANTITIES, Probe

#: Builds a case from its steps and changes of the settings.
Make = Callable[..., Case]

#: The scales, as powers of two, at which the squares of 2 in either direction just fit the type that sums them.
LARGE: Final[Mapping[str, int]] = {"float16": 13, "bfloat16": 58, "float32": 58, "float64": 506}
#: Scales at which values are below the normal numbers of the type.
SUBNORMAL: Final[Mapping[str, int]] = {"float16": -18, "bfloat16": -130, "float32": -135, "float64": -1040}
#: Constants of every magnitude that every type holds, exactly.
CONSTANTS: Final = (0.0, -0.0, 1.0, -3.0, 2.0**-14, 100.0, 2.0**12)
#: Those that half precision has no room for.
LARGE_CONSTANTS: Final[Mapping[str, tuple[float, ...]]] = {
    "float32": (2.0**24, 2.0**60),
    "float64": (2.0**53, 2.0**500),
    "bfloat16": (2.0**60,),
}
#: Below the resolution of float16, whose least subnormal number is 6e-8.
SMALL_EPS: Final = (1e-8, 1e-12)
POISONS: Final = (np.nan, np.inf, -np.inf)


def _poisoned(x: Array, poison: float) -> Array:
    """``x`` with one element of the first sample's second channel replaced."""
    x = x.copy()
    x[(0, 1, *(0,) * (x.ndim - 2))] = poison
    return x


def _constants(dtype: str) -> tuple[float, ...]:
    return CONSTANTS + LARGE_CONSTANTS.get(dtype, ())


def group_norm_special_probes(dtype: str, shape: tuple[int, ...], ranks: Sequence[int], make: Make) -> Iterator[Probe]:
    """For inputs of ``shape`` (N, C, *spatial)."""
    x, dy = scrambled(shape, 3), along(scrambled(shape, 3))
    for poison in POISONS:
        yield Probe("GN-28", f"one {poison}", make([("train", _poisoned(x, poison))]))
        case = make([("train", _poisoned(x, poison), dy)])
        yield Probe("GN-28", f"gradients of one {poison}", case, quantities=GRADIENTS)
    case = make([("train", x, _poisoned(dy, np.nan))])
    yield Probe("GN-28", "gradients, one nan in dy", case, quantities=GRADIENTS)
    for value in _constants(dtype):
        yield Probe("GN-29", f"all {value:g}", make([("train", np.full(shape, value))]))
    case = make([("train", np.full(shape, 3.0), upstream(shape))])
    yield Probe("GN-29", "gradients, all 3", case, quantities=GRADIENTS)
    for label, power in (("large", LARGE[dtype]), ("below the normal numbers", SUBNORMAL[dtype])):
        yield Probe("GN-30", f"{label}, times 2^{power}", make([("train", x * 2.0**power)]))
    case = make([("train", x * 2.0 ** (LARGE[dtype] // 2), dy)])
    yield Probe("GN-30", f"gradients, times 2^{LARGE[dtype] // 2}", case, quantities=GRADIENTS)
    for empty in _empty(shape):
        case = make([("train", np.zeros(empty), np.zeros(empty))])
        yield Probe("GN-31", f"gradients, shape {empty}", case, quantities=GRADIENTS)
    for factor in (2.0**-6, 1.0):
        yield Probe("GN-32", f"eps=0, times {factor:g}", make([("train", x * factor)], eps=0.0))
    case = make([("train", x, dy)], eps=0.0)
    yield Probe("GN-32", "eps=0, gradients", case, quantities=GRADIENTS)
    if dtype == "float16":
        for eps in SMALL_EPS:
            case = make([("train", np.full(shape, 3.0))], eps=eps)
            yield Probe("GN-35", f"all 3, eps={eps:g}", case)
            case = make([("train", np.full(shape, 3.0), upstream(shape) / 1024)], eps=eps)
            yield Probe("GN-35", f"gradients, all 3, eps={eps:g}", case, quantities=GRADIENTS)
    yield Probe("GN-33", "eps=-2^-10, variance near 1", make([("train", x)], eps=-(2.0**-10)))
    yield Probe("GN-33", "eps=-2^-10, variance near 2^-20", make([("train", x * 2.0**-10)], eps=-(2.0**-10)))
    yield from _wrong_ranks("GN-34", shape, ranks, make, "train")


def batch_norm_special_probes(dtype: str, shape: tuple[int, ...], ranks: Sequence[int], make: Make) -> Iterator[Probe]:
    """For inputs of ``shape``; ``make`` takes running statistics as ``parameters``."""
    x, dy = scrambled(shape, 3), along(scrambled(shape, 3))
    for poison in POISONS:
        for mode in ("train", "eval"):
            shown = QUANTITIES if mode == "train" else ("output",)
            yield Probe("BN-37", f"{mode}, one {poison}", make([(mode, _poisoned(x, poison))]), quantities=shown)
            case = make([(mode, _poisoned(x, poison), dy)])
            yield Probe("BN-37", f"{mode}, gradients of one {poison}", case, quantities=GRADIENTS)
    for mode in ("train", "eval"):
        case = make([(mode, x, _poisoned(dy, np.nan))])
        yield Probe("BN-37", f"{mode}, gradients, one nan in dy", case, quantities=GRADIENTS)
    yield Probe("BN-37", "a batch with one nan, then another", make([("train", _poisoned(x, np.nan)), ("train", x)]))
    for value in _constants(dtype):
        yield Probe("BN-38", f"all {value:g}", make([("train", np.full(shape, value))]))
    case = make([("train", np.full(shape, 3.0), upstream(shape))])
    yield Probe("BN-38", "gradients, all 3", case, quantities=GRADIENTS)
    for label, power in (("large", LARGE[dtype]), ("below the normal numbers", SUBNORMAL[dtype])):
        yield Probe("BN-39", f"{label}, times 2^{power}", make([("train", x * 2.0**power)], momentum=0.25))
    case = make([("train", x * 2.0 ** (LARGE[dtype] // 2), dy)])
    yield Probe("BN-39", f"gradients, times 2^{LARGE[dtype] // 2}", case, quantities=GRADIENTS)
    for empty in _empty(shape):
        for mode in ("train", "eval"):
            case = make([(mode, np.zeros(empty), np.zeros(empty))])
            yield Probe("BN-40", f"{mode}, gradients, shape {empty}", case, quantities=GRADIENTS)
    for mode in ("train", "eval"):
        yield Probe("BN-41", f"{mode}, eps=0", make([(mode, x)], eps=0.0), quantities=("output",))
        yield Probe("BN-41", f"{mode}, eps=0, gradients", make([(mode, x, dy)], eps=0.0), quantities=GRADIENTS)
        yield Probe("BN-42", f"{mode}, eps=-2^-10", make([(mode, x)], eps=-(2.0**-10)), quantities=("output",))
    if dtype == "float16":
        for eps in SMALL_EPS:
            case = make([("train", np.full(shape, 3.0))], eps=eps)
            yield Probe("BN-45", f"all 3, eps={eps:g}", case, quantities=("output",))
            case = make([("train", np.full(shape, 3.0), upstream(shape) / 1024)], eps=eps)
            yield Probe("BN-45", f"gradients, all 3, eps={eps:g}", case, quantities=GRADIENTS)
    yield from _wrong_ranks("BN-43", shape, ranks, make, "eval")
    yield from _given_variances(x, make)


def _given_variances(x: Array, make: Make) -> Iterator[Probe]:
    channels = x.shape[1]
    for variance in (0.0, 2.0**-30, -0.5, -(2.0**-20), np.inf, np.nan):
        parameters = {"running_mean": np.full(channels, 0.25), "running_var": np.ones(channels)}
        parameters["running_var"][::2] = variance
        case = make([("eval", x)], parameters)
        label = f"eval, running variance {variance:g} in every other channel"
        yield Probe("BN-44", label, case, quantities=("output",))


def _empty(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """No samples, and no positions where the shape has any."""
    return [(0, *shape[1:]), *([(*shape[:-1], 0)] if len(shape) > 2 else [])]


def _wrong_ranks(
    requirement: str, shape: tuple[int, ...], ranks: Sequence[int], make: Make, mode: str
) -> Iterator[Probe]:
    """Ranks that the layer is not made for; of rank 1, asked in ``mode``, there is the channel axis alone."""
    channels = shape[1]
    yield Probe(requirement, f"rank 1, {mode}", make([(mode, scrambled((channels,)))]), quantities=("output",))
    for rank in sorted({2, 3, 4, 5} - set(ranks)):
        x = scrambled((2, channels, *SPATIAL[rank]), 4)
        yield Probe(requirement, f"rank {rank}", make([("train", x)]))
        yield Probe(requirement, f"rank {rank}, eval", make([("eval", x)]), quantities=("output",))
