"""The experiments on gradients, each input with an upstream gradient built to show what a backward pass forgets.

A constant part of dy shows a mean taken as a constant, a part along the normalised input a variance taken as one;
few values tell n from n - 1; samples and positions that differ show a sum that leaves some of them out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from normgauge.adapters.case import Array, Case
from normgauge.conformance.requirements.inputs import ODD, graded, scrambled
from normgauge.conformance.requirements.probe import Probe, make_case

CHANNELS: Final = 8


def upstream(shape: tuple[int, ...], seed: int = 0) -> Array:
    """Multiples of 1/16 with a constant part, whose samples, positions and channels all differ."""
    return scrambled(shape, 40 + seed) + 0.75


def along(x: Array, seed: int = 0) -> Array:
    """An upstream gradient with a part along x, in eighths."""
    largest = np.max(np.abs(x), axis=tuple(i for i in range(x.ndim) if i != 1), keepdims=True)
    return np.round(8 * x / np.where(largest > 0, largest, 1)) / 8 + scrambled(x.shape, 50 + seed) / 4


def group_norm_gradient_probes(dtype: str, shape: tuple[int, ...], settings: Mapping[str, Any]) -> Iterator[Probe]:
    """For inputs of ``shape`` (N, C, *spatial); ``settings`` are those of every case."""

    def case(x: Array, dy: Array, mode: str = "train", **changes: Any) -> Case:
        return make_case("group_norm", dtype, {**settings, **changes}, [(mode, x, dy)])

    odd = (3, 10, *ODD[len(shape)])
    ten: dict[str, Any] = {"num_channels": 10, "num_groups": 5}
    for label, x, dy, changes in (
        ("graded deviations, dy with a mean", graded(shape, dtype), upstream(shape), {}),
        ("dy along x", scrambled(shape), along(scrambled(shape)), {}),
        ("G=1", scrambled(shape, 1), along(scrambled(shape, 1)), {"num_groups": 1}),
        ("G=C", scrambled(shape, 2), upstream(shape, 2), {"num_groups": CHANNELS}),
        (f"G=5 of C=10, shape {odd}", scrambled(odd), along(scrambled(odd)), ten),
        ("neither weight nor bias", scrambled(shape, 3), along(scrambled(shape, 3)), {"weight": False, "bias": False}),
    ):
        yield Probe("GN-25", label, case(x, dy, **changes), quantities=("dx",))
    x = graded(shape, dtype, 1)
    yield Probe("GN-25", "eval", case(x, along(x), "eval"), quantities=("dx",))
    for requirement, quantity in (("GN-26", "dweight"), ("GN-27", "dbias")):
        for label, x, dy, changes in (
            ("graded deviations", graded(shape, dtype, 2), upstream(shape), {}),
            (f"G=5 of C=10, shape {odd}", scrambled(odd, 1), upstream(odd, 1), ten),
        ):
            yield Probe(requirement, label, case(x, dy, **changes), quantities=(quantity,))


def batch_norm_gradient_probes(dtype: str, shape: tuple[int, ...], make: Any) -> Iterator[Probe]:
    """For inputs of ``shape``; ``make`` builds a case from a dtype, steps, and changes of the settings."""
    few = (2, CHANNELS, *(1,) * (len(shape) - 2))
    odd = (3, CHANNELS, *ODD[len(shape)])
    for label, x, dy, changes in (
        ("graded deviations, dy with a mean", graded(shape, dtype), upstream(shape), {}),
        ("dy along x", scrambled(shape), along(scrambled(shape)), {}),
        ("two values a channel", scrambled(few), upstream(few), {}),
        (f"shape {odd}", scrambled(odd, 1), along(scrambled(odd, 1)), {}),
        ("neither weight nor bias", scrambled(shape, 3), along(scrambled(shape, 3)), {"weight": False, "bias": False}),
        ("nothing tracked", scrambled(shape, 4), along(scrambled(shape, 4)), {"track": False}),
    ):
        yield Probe("BN-33", f"training, {label}", make(dtype, [("train", x, dy)], **changes), quantities=("dx",))
    x = graded(shape, dtype, 1)
    steps = [("train", x, along(x)), ("train", scrambled(shape, 6), upstream(shape, 6))]
    label = "two differentiated training steps"
    yield Probe("BN-14", label, make(dtype, steps), quantities=("running_mean", "running_var"))
    for requirement, quantity in (("BN-34", "dweight"), ("BN-35", "dbias")):
        for x in (graded(shape, dtype, 2), scrambled(odd, 2)):
            case = make(dtype, [("train", x, upstream(x.shape))])
            yield Probe(requirement, f"training, shape {x.shape}", case, quantities=(quantity,))
    everything = ("dx", "dweight", "dbias")
    for x in (graded(shape, dtype, 3), scrambled(odd, 3)):
        case = make(dtype, [("eval", x, along(x))])
        yield Probe("BN-36", f"eval, shape {x.shape}", case, quantities=everything)
    after = [("train", scrambled(shape, 7)), ("eval", scrambled(shape, 8), upstream(shape, 8))]
    yield Probe("BN-36", "eval after a training step", make(dtype, after), quantities=everything)
