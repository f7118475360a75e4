"""Half precision: what is free (sums in half), what is not (their overflow), and what is told of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from faulty import batch_norm, group_norm
from faulty.adapter import FaultyAdapter

from normgauge.adapters.case import Implementation, Observation
from normgauge.conformance.diagnosis.candidates import Seen, compare
from normgauge.conformance.diagnosis.predictions import predict
from normgauge.conformance.layers.experiments import probes
from normgauge.conformance.requirements.inputs import cast
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.subject import Launch
from normgauge.conformance.verdicts.overflow import overflow
from normgauge.oracle import CANONICAL, Arithmetic, Reference
from normgauge.results.records import Judgement, Profile

Array = np.ndarray[Any, np.dtype[Any]]


class InHalf(group_norm.GroupNorm):
    """Every operation in the type of its input, sums too."""

    def mean(self, sets: Array) -> Array:
        total = sets[..., :1]
        for k in range(1, sets.shape[-1]):
            total = total + sets[..., k : k + 1]
        return total / sets.dtype.type(sets.shape[-1])

    def variance(self, sets: Array, mean: Array) -> Array:
        return self.mean(np.square(sets - mean))


class Upcast(group_norm.GroupNorm):
    """Half precision in and out, float32 between."""

    def __call__(self, x: Array) -> Array:
        own = self.weight, self.bias
        self.weight, self.bias = (None if p is None else p.astype(np.float32) for p in own)
        y = super().__call__(x.astype(np.float32)).astype(x.dtype)
        self.weight, self.bias = own
        return y

    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        found = super().gradients(x.astype(np.float32), dy.astype(np.float32))
        return {name: value.astype(x.dtype) if name == "dx" else value for name, value in found.items()}


class BatchUpcast(batch_norm.BatchNorm):
    """Half precision in and out, float32 between; eval alone."""

    def __call__(self, x: Array) -> Array:
        return super().__call__(x.astype(np.float32)).astype(x.dtype)

    def used_in_eval(self) -> tuple[Array, Array]:
        mean, var = super().used_in_eval()
        return mean.astype(np.float32), var.astype(np.float32)


class RoundsItsStatistics(BatchUpcast):
    def used_in_eval(self) -> tuple[Array, Array]:
        mean, var = super().used_in_eval()
        return mean.astype(np.float16).astype(mean.dtype), var


LAYERS = {"group_norm": (InHalf, Upcast), "batch_norm": (BatchUpcast, RoundsItsStatistics)}


class HalfAdapter(FaultyAdapter):
    framework = "half"
    implementations = tuple(
        Implementation(class_path=f"half.{one.__name__}", layer=layer, layout="N, C, *", names={}, documentation="")
        for layer, own in LAYERS.items()
        for one in own
    )

    @classmethod
    def dtypes(cls) -> tuple[str, ...]:
        return ("float16",)

    def layer_class(self, implementation: Implementation) -> Any:
        return next(one for own in LAYERS.values() for one in own if implementation.id == f"half.{one.__name__}")


def measured(name: str) -> tuple[Profile, dict[str, Judgement]]:
    wanted = Wanted(dtypes=("float16",), implementations=(f"half.{name}",), in_process=True)
    records = list(run_framework(Launch(framework="test_half:HalfAdapter"), wanted))
    (profile,) = [r for r in records if isinstance(r, Profile)]
    return profile, {r.requirement: r for r in records if isinstance(r, Judgement)}


def test_sums_in_float32_conform_and_the_profile_says_so() -> None:
    profile, judged = measured("Upcast")
    assert {name: one.sentence for name, one in judged.items() if one.verdict != "conforms"} == {}
    assert (profile.computes_in, profile.hazards) == ("float32", [])
    own = {"dbias": "float16 or float32", "dweight": "float16 or float32"}  # with parameters of float32, too
    assert profile.types == {"dx": "float16", "output": "float16"} | own


def test_sums_in_half_are_a_hazard_and_their_overflow_a_divergence() -> None:
    profile, judged = measured("InHalf")
    assert "float16" in profile.computes_in
    assert judged["GN-01"].verdict == judged["GN-02"].verdict == judged["GN-25"].verdict == "conforms"
    assert judged["GN-30"].verdict == "diverges"
    assert judged["GN-35"].verdict == "diverges"
    assert judged["GN-35"].measured.startswith("output nan instead of")


@pytest.mark.parametrize(("name", "digits"), [("BatchUpcast", True), ("RoundsItsStatistics", False)])
def test_statistics_of_float32_beside_half_precision_have_their_own_digits(name: str, digits: bool) -> None:
    (case,) = [
        one.case
        for one in probes("batch_norm", "float16", (4,))
        if one.requirement == "BN-49" and one.label == "eval, running_mean of float32"
    ]
    seen = HalfAdapter("float16").run(f"half.{name}", case)
    assert seen.raised is None
    expected = predict(case, CANONICAL["batch_norm"], Arithmetic("float32", storage="float16"))
    assert (compare(seen, expected).ratio <= 1) == digits


@pytest.mark.parametrize(("ratio", "lost"), [(1.0, False), (1.5, True)])
def test_a_finite_output_outside_the_bound_of_the_same_numbers_made_small_has_overflowed(
    ratio: float, lost: bool
) -> None:
    probe = next(one for one in probes("group_norm", "float16", (2,)) if len(one.case.steps) == 1)
    y = np.zeros(probe.case.steps[0].x.shape)
    prediction = SimpleNamespace(steps=[{"output": Reference(value=y, bound=np.full_like(y, 0.125))}])
    evidence: Any = SimpleNamespace(
        arithmetic=Arithmetic("float32", storage="float16"), followed=[None], precisions=[None],
        expected=lambda *_: prediction,
    )  # fmt: skip
    shown: Any = SimpleNamespace(quantities={"output": y + ratio / 8})
    found = overflow(Seen(probe=probe, observation=Observation(steps=(shown,))), evidence)
    assert (found is not None) == lost


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_cast_rounds_to_the_type_and_travels_in_one_that_numpy_has(dtype: str) -> None:
    values = cast([1 + 2.0**-9, 3e38], dtype)
    assert values.dtype == {"float16": np.float16, "bfloat16": np.float32}[dtype]
    assert values[0] == {"float16": np.float16(1 + 2.0**-9), "bfloat16": 1.0}[dtype]
    assert np.isinf(values[1]) == (dtype == "float16")
