"""The real frameworks, measured as a user measures them: what comes out, and that it can be reproduced.

``nox -s tests`` installs them beside the project; without them these tests are skipped.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import MODULES, run

from normgauge.reports.records import (
    DIVERGENT,
    Footer,
    Judgement,
    Profile,
    Record,
    read_records,
)

pytestmark = pytest.mark.frameworks

OLD_BIASED = {
    "running_var": ["biased"],
    "momentum_weighs": ["old"],
    "momentum_none": ["refused"],
    "single_value": ["shift"],
    "untracked_eval_uses": ["batch", "initial"],  # statistics are always tracked: it cannot be asked
}
#: What each implementation departs in, and its default eps, in the releases pinned in pyproject.toml.
EXPECTED: Mapping[str, tuple[Mapping[str, list[str]], float]] = {
    "torch.nn.GroupNorm": ({}, 1e-5),
    "torch.nn.BatchNorm1d": ({}, 1e-5),
    "torch.nn.BatchNorm2d": ({}, 1e-5),
    "torch.nn.BatchNorm3d": ({}, 1e-5),
    "mlx.nn.GroupNorm": ({"grouping": ["interleaved"]}, 1e-5),
    "mlx.nn.GroupNorm(pytorch_compatible=True)": ({}, 1e-5),
    "mlx.nn.BatchNorm": ({"momentum_none": ["refused"]}, 1e-5),
    "keras.layers.GroupNormalization[jax]": ({}, 1e-3),
    "keras.layers.GroupNormalization(axis=1)[jax]": ({}, 1e-3),
    "keras.layers.BatchNormalization[jax]": (OLD_BIASED, 1e-3),
    "keras.layers.BatchNormalization(axis=1)[jax]": (OLD_BIASED, 1e-3),
    "flax.nnx.GroupNorm": ({}, 1e-6),
    "flax.nnx.BatchNorm": (OLD_BIASED, 1e-5),
    "flax.linen.GroupNorm": ({}, 1e-6),
    "flax.linen.BatchNorm": (OLD_BIASED, 1e-5),
}


@pytest.fixture(scope="session")
def records(results: Path) -> list[Record]:
    return [record for path in sorted(results.glob("*.jsonl")) for record in read_records(path)]


def judgements(records: list[Record]) -> list[Judgement]:
    return [record for record in records if isinstance(record, Judgement)]


def test_every_run_is_complete(results: Path) -> None:
    files = {path.stem: read_records(path) for path in results.glob("*.jsonl")}
    assert set(files) == set(MODULES)
    assert all(isinstance(found[-1], Footer) for found in files.values())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_implementation_is_measured_as_it_is_known_to_be(records: list[Record], dtype: str) -> None:
    profiles = [r for r in records if isinstance(r, Profile) and r.dtype == dtype]
    assert all(profile.known for profile in profiles)
    measured = {p.implementation: {a.axis: a.measured for a in p.axes if a.measured != [a.canonical]} for p in profiles}
    assert measured == {identifier: dict(departures) for identifier, (departures, _) in EXPECTED.items()}
    for profile in profiles:
        (eps,) = [default for default in profile.defaults if default.setting == "eps"]
        assert eps.low is not None
        assert eps.high is not None
        assert eps.low < EXPECTED[profile.implementation][1] < eps.high, profile.implementation


def test_interleaving_is_one_divergence_and_the_switch_removes_it_alone(records: list[Record]) -> None:
    def divergent(identifier: str) -> set[str]:
        return {
            j.requirement
            for j in judgements(records)
            if j.implementation == identifier and j.dtype == "float32" and j.verdict in DIVERGENT
        }

    assert divergent("mlx.nn.GroupNorm") - divergent("mlx.nn.GroupNorm(pytorch_compatible=True)") == {"GN-02"}
    (grouping,) = [
        j
        for j in judgements(records)
        if (j.requirement, j.dtype) == ("GN-02", "float32") and j.measured == "interleaved"
    ]
    assert grouping.remedy is not None
    assert grouping.remedy.startswith("pass pytorch_compatible=True")


def test_nothing_is_left_undecided(records: list[Record]) -> None:
    assert [(j.requirement, j.implementation) for j in judgements(records) if j.verdict == "cannot tell"] == []


def test_two_runs_give_the_same_judgements_byte_for_byte(results: Path, tmp_path: Path) -> None:
    run("run", "mlx", "torch", "--out", str(tmp_path))
    for name in ("mlx.jsonl", "torch.jsonl"):
        first = (results / name).read_bytes().splitlines()
        second = (tmp_path / name).read_bytes().splitlines()
        assert first[1:-1] == second[1:-1]  # the header has the start, the footer the seconds


def test_each_divergence_s_script_prints_the_numbers_in_the_report(records: list[Record]) -> None:
    """Each script in a process of its own, as a user runs it; one dtype of each divergence."""
    examples = {
        (j.requirement, j.implementation): j.example
        for j in reversed(judgements(records))  # float32 last, so that it is kept where both diverge
        if j.example is not None
    }
    assert len(examples) > 30

    def printed(script: str) -> str:
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300)
        return done.stdout

    with ThreadPoolExecutor(2) as pool:
        outputs = list(pool.map(printed, (example.script for example in examples.values())))
    for (requirement, implementation), output in zip(examples, outputs, strict=True):
        example = examples[requirement, implementation]
        expected = [
            *example.observed,
            *(f"canonical: {line}" for line in example.canonical),
            *(f"followed: {line}" for line in example.followed),
        ]
        assert output.splitlines() == expected, (requirement, implementation)
        assert example.observed != example.canonical, (requirement, implementation)


def test_the_remedy_for_interleaving_gives_the_canonical_result(results: Path) -> None:
    import mlx.core as mx
    import numpy as np
    from mlx import nn

    from normgauge.oracle import group_norm

    groups, channels = 4, 12
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, channels, 3)).astype(np.float32)
    weight, bias = rng.standard_normal((2, channels)).astype(np.float32)
    p = np.arange(channels).reshape(groups, channels // groups).T.ravel()
    layer = nn.GroupNorm(groups, channels)
    layer.weight, layer.bias = mx.array(weight[p]), mx.array(bias[p])
    y = np.array(layer(mx.array(np.moveaxis(x[:, p], 1, -1))))
    undone = np.moveaxis(y, -1, 1)[:, np.argsort(p)]
    assert not group_norm(x, groups, weight, bias).excludes(undone)
    plain = nn.GroupNorm(groups, channels)
    plain.weight, plain.bias = mx.array(weight), mx.array(bias)
    untreated = np.moveaxis(np.array(plain(mx.array(np.moveaxis(x, 1, -1)))), -1, 1)
    assert group_norm(x, groups, weight, bias).excludes(untreated)


def test_a_diagnosis_of_one_layer_names_axes_witnesses_default_and_remedy(results: Path) -> None:
    told = run("diagnose", "mlx.nn.GroupNorm")
    assert "grouping       interleaved  contiguous" in told
    assert "not contiguous: got" in told
    assert "default eps: 1e-05 measured" in told
    assert "remedy: pass pytorch_compatible=True" in told
