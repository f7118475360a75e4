"""What a layer with a mistake is told to write is run: the steps one after another are the canonical layer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from normgauge.oracle import batch_norm, group_norm, initial_statistics
from normgauge.oracle.axes import AXES
from normgauge.oracle.axis import Axis, AxisValue

X = np.random.default_rng(0).normal(1, 2, (3, 6, 2, 5))
WEIGHT, BIAS = np.linspace(-1, 2, 6), np.linspace(3, 1, 6)
MEAN, VAR = np.linspace(-1, 1, 6), np.linspace(0.5, 2, 6)
ORDER = (
    "grouping", "normalized_together", "training_normalizes_with", "centre", "variance", "eps_placement", "eps_value",
)  # fmt: skip
AFTER = ("affine", "affine_shape", "followed_by")
RUNNING = ("momentum_weighs", "momentum_value", "updates", "bootstrap", "running_var")
#: One step that stands before others, in place of what the caller gives.
ALONE = ("momentum_none", "eval_reads")


def code(layer: str, names: Iterable[str]) -> list[str]:
    return [axis.code for name in names for axis in AXES[layer] if axis.name == name]


def run(steps: Iterable[str], values: dict[str, Any]) -> None:
    for step in steps:
        exec(step, {"np": np}, values)


def test_every_axis_with_mistakes_has_its_step_here() -> None:
    named = {axis.name for axes in AXES.values() for axis in axes if axis.code}
    assert named == {*ORDER, *AFTER, *RUNNING, *ALONE}


def test_a_mistake_needs_the_canonical_step() -> None:
    value = AxisValue(name="a", meaning="a", source="a")
    with pytest.raises(ValueError, match="axis b has mistakes; give the code"):
        Axis(name="b", question="b", values=(value,), mistakes=(value,))


def test_the_steps_of_group_norm() -> None:
    values: dict[str, Any] = {"x": X, "num_groups": 3, "eps": 0.1, "weight": WEIGHT, "bias": BIAS}
    run(code("group_norm", ORDER), values)
    values["x_hat"] = values["x_hat"].reshape(X.shape)
    run(code("group_norm", AFTER), values)
    expected = group_norm(X, num_groups=3, weight=WEIGHT, bias=BIAS, eps=0.1)
    assert np.allclose(values["output"], expected.value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_the_steps_of_batch_norm(mode: str) -> None:
    values: dict[str, Any] = {"x": X, "eps": 0.1, "weight": WEIGHT, "bias": BIAS, "n": 30}
    values |= {"running_mean": MEAN, "running_var": VAR, "batches": 4}
    run(code("batch_norm", ["momentum_none"]), values)
    assert values["momentum"] == 0.25
    run(code("batch_norm", ORDER), values)
    if mode == "eval":
        run(code("batch_norm", ["eval_reads"]), values)
    values["x_hat"] = np.moveaxis(values["x_hat"].reshape(6, 3, 2, 5), 0, 1)
    run(code("batch_norm", AFTER), values)
    found = batch_norm(X, initial_statistics(MEAN, VAR), WEIGHT, BIAS, momentum=0.25, eps=0.1, training=mode == "train")
    assert found.running is not None
    assert np.allclose(values["output"], found.output.value, rtol=1e-12, atol=1e-12)
    if mode == "train":
        for name in RUNNING[:-1]:
            own = dict(values)
            run(code("batch_norm", [name, "running_var"]), own)
            assert np.allclose(own["running_mean"], found.running.mean.value, rtol=1e-12, atol=1e-12)
            assert np.allclose(own["running_var"], found.running.var.value, rtol=1e-12, atol=1e-12)
