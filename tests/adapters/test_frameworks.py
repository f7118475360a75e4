"""The real frameworks, measured as a user measures them: what comes out, and that it can be reproduced.

``nox -s tests`` installs them beside the project; without them these tests are skipped.
"""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MODULES, run

from normgauge.adapters.actions import ACTIONS, Action
from normgauge.adapters.base import Case, Step, StepResult
from normgauge.adapters.script import numbers
from normgauge.adapters.worker import adapter_class, make_adapter, registered
from normgauge.conformance.experiments.promoted import REQUIRED_BY
from normgauge.conformance.requirements import REQUIREMENTS
from normgauge.conformance.subjects import Launch, WorkerProcess
from normgauge.oracle import Arithmetic, group_norm
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
BACKENDS = ("jax", "torch", "tensorflow", "numpy")
TORCH_MODES = {
    "GroupNorm": ("", "[channels_last]", "[channels_last_3d]", "[strided]", "[expanded]", "[autocast]", "[vmap]"),
    "BatchNorm1d": ("", "[strided]", "[expanded]"),
    "BatchNorm2d": ("", "[channels_last]", "[strided]", "[expanded]", "[autocast]"),
    "BatchNorm3d": ("", "[channels_last_3d]", "[strided]", "[expanded]"),
}
#: What each implementation departs in, and its default eps, in the releases pinned in pyproject.toml.
EXPECTED: Mapping[str, tuple[Mapping[str, list[str]], float]] = {
    **{f"torch.nn.{name}{mode}": ({}, 1e-5) for name, modes in TORCH_MODES.items() for mode in modes},
    "mlx.nn.GroupNorm": ({"grouping": ["interleaved"]}, 1e-5),
    "mlx.nn.GroupNorm(pytorch_compatible=True)": ({}, 1e-5),
    "mlx.nn.BatchNorm": ({"momentum_none": ["refused"]}, 1e-5),
    **{
        f"keras.layers.{name}{axis}[{backend}]": (departures, 1e-3)
        for name, departures in (("GroupNormalization", {}), ("BatchNormalization", OLD_BIASED))
        for axis in ("", "(axis=1)")
        for backend in BACKENDS
    },
    **{f"keras.layers.BatchNormalization[{backend}][mask]": (OLD_BIASED, 1e-3) for backend in BACKENDS[1:]},
    **{
        f"flax.{api}.{name}{mode}": (departures, eps)
        for name, departures, eps in (("GroupNorm", {}, 1e-6), ("BatchNorm", OLD_BIASED, 1e-5))
        for mode in ("", "(use_fast_variance=False)")
        for api in ("nnx", "linen")
    },
}
#: What is not made for float64.
NO_FLOAT64 = {
    identifier
    for identifier in EXPECTED
    if identifier.endswith(("[autocast]", "[vmap]", "[mask]")) or "(axis=1)" in identifier or "(use_fast" in identifier
}
#: The two types in which everything is asked.
FULL = ("float32", "float64")
#: Whose statistics are one-pass, or worse: a variance below zero that nothing cuts.
ONE_PASS = {
    "torch.nn.GroupNorm[channels_last]",
    "torch.nn.GroupNorm[channels_last_3d]",
    *(one for one in EXPECTED if one.startswith("flax.") and "use_fast_variance" not in one),
    *(identifier for identifier in EXPECTED if identifier.endswith(("[torch]", "[numpy]"))),
}

#: The framework's own InstanceNorm and LayerNorm beside each GroupNorm; InstanceNorm1d stands for all its ranks.
KIN: Mapping[str, tuple[str | None, str]] = {
    "torch.nn.GroupNorm": ("torch.nn.InstanceNorm1d", "torch.nn.LayerNorm"),
    "mlx.nn.GroupNorm": ("mlx.nn.InstanceNorm", "mlx.nn.LayerNorm"),
    "mlx.nn.GroupNorm(pytorch_compatible=True)": ("mlx.nn.InstanceNorm", "mlx.nn.LayerNorm"),
    **{
        f"flax.{api}.GroupNorm{flag}": (f"flax.{api}.InstanceNorm", f"flax.{api}.LayerNorm")
        for api in ("nnx", "linen")
        for flag in ("", "(use_fast_variance=False)")
    },
    **{
        f"keras.layers.GroupNormalization{axis}[{backend}]": (None, f"keras.layers.LayerNormalization[{backend}]")
        for axis in ("", "(axis=1)")
        for backend in BACKENDS
    },
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
    assert measured == {
        identifier: dict(departures)
        for identifier, (departures, _) in EXPECTED.items()
        if dtype == "float32" or identifier not in NO_FLOAT64
    }
    for profile in profiles:
        (eps,) = [default for default in profile.defaults if default.setting == "eps"]
        assert eps.low is not None
        assert eps.high is not None
        assert eps.low < EXPECTED[profile.implementation][1] < eps.high, profile.implementation


def test_one_pass_statistics_are_found_where_they_are_and_nowhere_else(records: list[Record]) -> None:
    profiles = [r for r in records if isinstance(r, Profile) and r.dtype in FULL]
    assert {p.implementation for p in profiles} == set(EXPECTED)
    for profile in profiles:
        allowed = {"one_pass", None} if profile.implementation in ONE_PASS else {"two_pass", "welford"}
        assert profile.accuracy in allowed, (profile.implementation, profile.dtype)
        told = [hazard[:19] for hazard in profile.hazards]
        assert told == ["one-pass statistics"] * (profile.accuracy == "one_pass")
    channels_last = ("torch.nn.GroupNorm[channels_last]", "float32")
    (hazard,) = [p.hazards[0] for p in profiles if (p.implementation, p.dtype) == channels_last]
    assert "exceeds 64 deviations" in hazard
    assert "(call x.contiguous() first)" in hazard


def test_a_memory_layout_changes_the_accuracy_and_no_verdict(records: list[Record]) -> None:
    beside_kin = {one.id for one in REQUIREMENTS if one.relation is not None}
    committed = set(REQUIRED_BY.values())
    found: dict[tuple[str, str], dict[str, str]] = {}
    for j in judgements(records):
        if j.framework == "torch" and j.dtype in FULL and not j.implementation.endswith(("[autocast]", "[vmap]")):
            found.setdefault((j.implementation, j.dtype), {})[j.requirement] = j.verdict
    for (identifier, dtype), verdicts in found.items():
        plain = dict(found[identifier.partition("[")[0], dtype])
        if "[" in identifier:  # InstanceNorm and LayerNorm stand beside a layer without a mode
            left_out = beside_kin | (committed - verdicts.keys())  # and a committed case has a rank
            plain = {requirement: verdict for requirement, verdict in plain.items() if requirement not in left_out}
        if identifier == "torch.nn.GroupNorm[expanded]":
            plain["GN-10"] = "unsupported"  # an expanded batch has no other sample
        for asked in {"GN-34", "BN-43"} & plain.keys():
            if "[channels_last" in identifier:
                plain[asked] = "unsupported"  # other ranks have no such format
        assert verdicts == plain, (identifier, dtype)


@pytest.mark.parametrize("backend", BACKENDS)
def test_float64_is_honoured_by_keras_on_tensorflow_alone(records: list[Record], backend: str) -> None:
    asked = [
        j for j in judgements(records) if j.requirement in {"GN-18", "BN-22"} and f"[{backend}]" in j.implementation
    ]
    assert {j.verdict for j in asked} == {"conforms" if backend == "tensorflow" else "diverges"}
    assert len(asked) == 2


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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_each_group_norm_agrees_with_its_own_library_s_instance_norm_and_layer_norm(
    records: list[Record], dtype: str
) -> None:
    found = {
        (j.implementation, j.requirement): j
        for j in judgements(records)
        if j.requirement in {"GN-22", "GN-23"} and j.dtype == dtype
    }
    # In float64 mlx's kernel for both computes in float32; its GroupNorm goes through it in one of two ways.
    differs = {"mlx.nn.GroupNorm"} if dtype == "float64" else set()
    expected = {
        (identifier, requirement): (kin, identifier in differs)
        for identifier, both in KIN.items()
        for requirement, kin in zip(("GN-22", "GN-23"), both, strict=True)
        if kin is not None and (dtype == "float32" or identifier not in NO_FLOAT64)
    }
    assert set(found) == set(expected)
    for key, (kin, diverges) in expected.items():
        assert found[key].verdict == ("diverges" if diverges else "conforms"), found[key].sentence
        if diverges:
            assert found[key].measured == f"{kin} computes in float32"
        else:
            assert re.search(rf"agrees with {re.escape(kin.removesuffix('1d'))}(\dd)? on ", found[key].sentence)
            assert found[key].notes == []


def beside_kin_case(ranks: list[int], kind: str, **settings: Any) -> Case:
    """A case in float64 with weights for an InstanceNorm, bare for a LayerNorm, in the rank that kin mostly has."""
    x = np.arange(48, dtype=np.float64).reshape((2, 4, 3, 2) if 4 in ranks else (12, 4)) ** 2
    affine = kind == "instance_norm"
    parameters = {"weight": np.arange(4.0) + 1, "bias": np.arange(4.0) - 1} if affine else {}
    own = {"num_channels": 4, "num_groups": 4 if affine else 1, "eps": 0.5, "weight": affine, "bias": affine}
    return Case("group_norm", "float64", own | settings, parameters, (Step("train", x),))


@pytest.mark.parametrize("framework", MODULES)
def test_the_script_of_an_instance_norm_or_layer_norm_prints_what_came_out(framework: str) -> None:
    pytest.importorskip(MODULES[framework])
    subject = WorkerProcess(Launch(framework), "float64")
    try:
        asked = [one for one in subject.greeting["kin"] if 4 in one["ranks"] or one["ranks"] == [2]]
        assert {one["layer"] for one in asked} == {one["layer"] for one in subject.greeting["kin"]}
        for kin in asked:
            case = beside_kin_case(kin["ranks"], kin["layer"])
            (seen,) = subject.run(kin["id"], [case])
            y, groups = seen.steps[0].output, case.settings["num_groups"]
            expected = group_norm(
                case.steps[0].x, groups, **case.parameters, eps=0.5, arithmetic=Arithmetic("float32")
            )  # not all honour float64
            assert not expected.excludes(y), kin["id"]
            script = subject.script(kin["id"], case, "what came out")
            done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
            assert done.stdout.splitlines() == [f"step 1 output {numbers(y, 'float64')}"], kin["id"]
    finally:
        subject.close()


@pytest.mark.parametrize("framework", ["torch", "keras-numpy"])
@pytest.mark.parametrize("affine", [{"weight": True}, {"bias": True}, {"weight": True, "bias": True}])
def test_a_layer_norm_whose_affine_parts_have_no_channels_says_so(framework: str, affine: dict[str, bool]) -> None:
    pytest.importorskip(MODULES[framework])
    subject = WorkerProcess(Launch(framework), "float64")
    try:
        (kin,) = [one for one in subject.greeting["kin"] if one["layer"] == "layer_norm"]
        (seen,) = subject.run(kin["id"], [beside_kin_case(kin["ranks"], kin["layer"], **affine)])
        assert seen.unsupported is not None
        assert seen.unsupported.endswith("hold one value for each element, not for each channel")
    finally:
        subject.close()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_kept_between_calls_departs_in_freezing_alone(records: list[Record], dtype: str) -> None:
    found: dict[str, dict[str, str]] = {}
    for j in judgements(records):
        if j.requirement in {"BN-27", "BN-28", "BN-29", "BN-30", "BN-31"} and j.dtype == dtype:
            found.setdefault(j.implementation, {})[j.requirement] = j.verdict
    lacking = {"torch": set(), "mlx": {"BN-27"}, "keras": {"BN-27"}, "flax": {"BN-27", "BN-29"}}
    departing = {"keras": {"BN-29"}, "mlx": {"BN-31"}}
    assert {identifier.partition(".")[0] for identifier in found} == set(lacking)
    for identifier, verdicts in found.items():
        library = identifier.partition(".")[0]
        expected = dict.fromkeys(verdicts, "conforms") | dict.fromkeys(lacking[library], "unsupported")
        expected |= dict.fromkeys(departing.get(library, ()), "diverges")
        if "[tensorflow]" in identifier:  # a model does not unfreeze a layer that was frozen by itself
            expected["BN-31"] = "diverges"
        if library == "mlx" and dtype == "float64":  # which its files do not hold
            expected["BN-28"] = "unsupported"
        assert verdicts == expected, identifier


def acted_on(dtype: str, rank: int, lacking: set[str]) -> Case:
    """A case with every action that is not lacking, between steps that show the whole state."""
    actions = [Action(name, 0.75 if name == "momentum" else None) for name in ACTIONS if name not in lacking]
    given = {"weight": np.array([2, -1], dtype), "bias": np.array([0.5, 1], dtype)}
    given |= {"running_mean": np.array([1, -1], dtype), "running_var": np.array([4, 0.25], dtype)}
    x = np.arange(12, dtype=dtype).reshape((2, 2, 3, 1, 1)[:rank]) ** 2
    steps = (Step("train", x, before=(action,), inspect=True) for action in actions)
    settings = {"num_channels": 2, "eps": 0.5, "momentum": 0.25}
    return Case("batch_norm", dtype, settings, given, (Step("eval", x, inspect=True), *steps))


#: The actions that a framework has nothing for.
LACKING: Mapping[str, set[str]] = {
    "torch": set(),
    "flax": {"reset", "freeze", "unfreeze", "freeze_model", "unfreeze_model"},
} | {name: {"reset"} for name in MODULES if name.startswith(("keras", "mlx"))}


@pytest.mark.parametrize("framework", MODULES)
def test_the_script_of_what_is_done_between_calls_prints_what_came_out(framework: str) -> None:
    pytest.importorskip(MODULES[framework])
    subject = WorkerProcess(Launch(framework), "float32")
    try:
        for described in subject.greeting["implementations"]:
            if described["layer"] != "batch_norm" or described["thorough"] or "float32" not in described["dtypes"]:
                continue
            case = acted_on("float32", described["ranks"][-1], LACKING[framework])
            (seen,) = subject.run(described["id"], [case])
            if seen.unsupported is not None:
                assert described["mode"] == "expanded"  # these samples differ
                continue
            assert seen.raised is None
            done = subprocess.run(
                [sys.executable, "-c", subject.script(described["id"], case, "what came out")],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            expected = [
                f"step {number} {name} {numbers(values, 'float32')}"
                for number, step in enumerate(seen.steps, start=1)
                for name, values in step.quantities.items()
            ]
            assert done.stdout.splitlines() == expected, described["id"]
    finally:
        subject.close()


def test_nothing_is_left_undecided(records: list[Record]) -> None:
    assert [(j.requirement, j.implementation) for j in judgements(records) if j.verdict == "cannot tell"] == []


def test_two_runs_give_the_same_judgements_byte_for_byte(results: Path, tmp_path: Path) -> None:
    run("run", "mlx", "torch", "--budget", "none", "--out", str(tmp_path))
    for name in ("mlx.jsonl", "torch.jsonl"):
        first = (results / name).read_bytes().splitlines()
        second = (tmp_path / name).read_bytes().splitlines()
        assert first[1:-1] == second[1:-1]  # the header has the start, the footer the seconds


def test_each_divergence_s_script_prints_the_numbers_in_the_report(records: list[Record]) -> None:
    """Each script in a process of its own, as a user runs it; one dtype of each divergence, and one divergence of
    an implementation that differs from another in layout alone."""
    examples = {
        (j.requirement, j.implementation): j.example
        for j in reversed(judgements(records))  # float32 last, so that it is kept where both diverge
        if j.example is not None
    }
    modes = {r.implementation for r in records if isinstance(r, Profile) and r.mode != "eager"}
    variants = modes | {j.implementation for j in judgements(records) if "(axis=1)" in j.implementation}
    first = {implementation: requirement for requirement, implementation in reversed(examples)}
    examples = {key: shown for key, shown in examples.items() if key[1] not in variants or first[key[1]] == key[0]}
    assert len(modes & set(first)) > 10
    assert len(examples) > 60

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
    from mlx import nn

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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(2, 8, 2, 3), (3, 1, 2, 2), (2, 8, 1, 1), (1, 8, 2, 2), (0, 8, 2, 2), (2, 8, 2, 0)])
def test_a_torch_layer_meets_its_input_in_the_layout_that_its_mode_names(shape: tuple[int, ...], dtype: str) -> None:
    torch = pytest.importorskip("torch")
    adapter = make_adapter("torch", dtype)
    shapes = {"channels_last_3d": (*shape[:3], 1, *shape[3:])}
    for mode in ("eager", "channels_last", "channels_last_3d", "strided", "expanded"):
        x = np.arange(math.prod(shape), dtype=dtype).reshape(shapes.get(mode, shape))
        x = np.repeat(x[:1], len(x), axis=0) if mode == "expanded" else x
        implementation = adapter.implementation("torch.nn.GroupNorm" + (f"[{mode}]" if mode != "eager" else ""))
        native = adapter.to_native(implementation, x)
        assert np.array_equal(adapter.to_numpy(implementation, native), x)
        samples, channels, *spatial = x.shape
        if mode == "eager":
            assert native.is_contiguous()
        elif mode == "strided":
            apart = [2 * math.prod(2 * n for n in x.shape[i + 1 :]) for i in range(x.ndim)]
            assert list(native.stride()) == apart or not x.size
            assert np.isnan(adapter.memory(native).view(dtype)).sum() == x.size * (2**x.ndim - 1)
        elif mode == "expanded":
            assert native.stride(0) == 0 or samples < 2
            assert adapter.memory(native).nbytes == x.nbytes // max(samples, 1)
        elif x.size:  # of a tensor without elements no layout shows
            assert native.is_contiguous(memory_format=getattr(torch, mode))
            inner = [channels * math.prod(spatial[i + 1 :]) for i in range(len(spatial))]
            assert native.stride() == (channels * math.prod(spatial), 1, *inner)


def test_frameworks_that_compile_for_every_shape_say_so() -> None:
    compiling = {name for name in registered() if adapter_class(name).compiles}
    assert compiling == {"flax", "keras-jax"}
    compiled = [one for name in registered() for one in adapter_class(name).implementations if one.mode == "compile"]
    assert compiled
    assert all(one.compiles for one in compiled)


def test_a_mode_that_cannot_hold_an_input_says_so() -> None:
    pytest.importorskip("torch")
    adapter = make_adapter("torch", "float32")
    settings = {"num_channels": 2, "num_groups": 1}
    for mode, shape, reason in (
        ("channels_last", (2, 2), "channels_last is a format of 4 dimensions; x has 2"),
        ("channels_last_3d", (2, 2, 1, 1), "channels_last_3d is a format of 5 dimensions; x has 4"),
        ("expanded", (2, 2), "an expanded batch holds one sample N times; the samples of this one differ"),
    ):
        x = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
        seen = adapter.run(
            f"torch.nn.GroupNorm[{mode}]", Case("group_norm", "float32", settings, {}, (Step("eval", x),))
        )
        assert seen.unsupported == reason
        assert seen.steps == ()


@pytest.mark.parametrize("mode", ["", "[strided]", "[expanded]", "[channels_last]"])
def test_a_torch_layer_that_writes_or_returns_the_wrong_memory_is_noticed_in_every_mode(mode: str) -> None:
    torch = pytest.importorskip("torch")
    adapter = make_adapter("torch", "float32")
    x = np.repeat(np.arange(16, dtype=np.float32).reshape(1, 4, 2, 2), 2, axis=0)
    case = Case("group_norm", "float32", {"num_channels": 4, "num_groups": 2}, {}, (Step("eval", x),))
    honest = adapter.forward

    def step(wrong: Callable[[Any, Any, Any], Any]) -> StepResult:
        def forward(layer: Any, native: Any, *, training: bool) -> Any:
            with torch.no_grad():
                return wrong(layer, native, honest(layer, native, training=training))

        adapter.forward = forward  # type: ignore[method-assign]
        (only,) = adapter.run(f"torch.nn.GroupNorm{mode}", case).steps
        return only

    def in_place(layer: Any, native: Any, y: Any) -> Any:
        native[0, 0, 0, 0] = 7.0
        return y

    def beside(layer: Any, native: Any, y: Any) -> Any:
        torch.empty(0).set_(native.untyped_storage())[0] = 7.0
        return y

    assert (step(lambda layer, native, y: y).modified, step(lambda layer, native, y: y).shares) == ((), ())
    assert step(in_place).modified == ("x",)
    assert step(beside).modified == (("memory beside x",) if mode == "[strided]" else ("x",))
    assert step(lambda layer, native, y: native[:, :1].expand(native.shape)).shares == ("x",)
    assert step(lambda layer, native, y: layer.bias[:, None, None].expand(y.shape)).shares == ("bias",)


@pytest.mark.parametrize("backend", ["torch", "numpy"])
def test_keras_s_arrays_that_can_be_written_to_are_known_by_their_memory(backend: str) -> None:
    """In a process of its own, since Keras reads its backend once."""
    pytest.importorskip("keras")
    program = """if True:
        import sys
        import numpy as np
        from normgauge.adapters.base import Case, Step
        from normgauge.adapters.worker import make_adapter
        adapter = make_adapter(f"keras-{sys.argv[1]}", "float32")
        case = Case("group_norm", "float32", {"num_channels": 2, "num_groups": 1}, {},
                    (Step("eval", np.ones((2, 2), np.float32)),))
        for adapter.forward in (
            adapter.forward, lambda layer, x, training: x[:1], lambda layer, x, training: layer.gamma.value
        ):
            print(*adapter.run(f"keras.layers.GroupNormalization[{sys.argv[1]}]", case).steps[0].shares, ".")
    """
    done = subprocess.run([sys.executable, "-c", program, backend], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [".", "x .", "weight ."]


def test_a_diagnosis_of_one_layer_names_axes_witnesses_default_and_remedy(results: Path) -> None:
    told = run("diagnose", "mlx.nn.GroupNorm")
    assert "grouping       interleaved  contiguous" in told
    assert "not contiguous: got" in told
    assert "default eps: 1e-05 measured" in told
    assert "remedy: pass pytorch_compatible=True" in told
