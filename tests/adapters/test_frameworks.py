"""The real frameworks, measured as a user measures them: what comes out, and that it can be reproduced.

``nox -s tests`` installs them beside the project; without them these tests are skipped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from frameworks import MODULES, for_each, normgauge

from normgauge.conformance.layers.registry import requirements
from normgauge.results.records import DIVERGENT, Footer, Header, Judgement, Profile, Record

OLD_BIASED = {
    "running_var": ["biased"],
    "momentum_weighs": ["old"],
    "single_value": ["shift"],
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
    "mlx.nn.BatchNorm": ({}, 1e-5),
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
#: The axes that say nothing of a library, which declares that it has no such setting.
NOT_OFFERED: Mapping[str, set[str]] = {
    "torch": set(),
    "mlx": {"momentum_none"},
    "keras": {"momentum_none", "untracked_eval_uses"},
    "flax": {"momentum_none", "untracked_eval_uses"},
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


def of(framework: str) -> set[str]:
    """The implementations of a framework."""
    library, _, backend = framework.partition("-")
    ours = (identifier for identifier in EXPECTED if identifier.startswith(f"{library}."))
    return {identifier for identifier in ours if f"[{backend}]" in identifier or not backend}


def judgements(records: list[Record]) -> list[Judgement]:
    return [record for record in records if isinstance(record, Judgement)]


def profiles(records: list[Record], *dtypes: str) -> list[Profile]:
    return [record for record in records if isinstance(record, Profile) and record.dtype in dtypes]


def test_every_implementation_in_these_tables_is_of_one_framework() -> None:
    assert sorted(identifier for framework in MODULES for identifier in of(framework)) == sorted(EXPECTED)


@for_each(*MODULES)
def test_every_run_is_complete(records: list[Record], framework: str) -> None:
    assert isinstance(records[0], Header)
    assert records[0].framework == framework
    assert isinstance(records[-1], Footer)


@for_each(*MODULES)
@pytest.mark.parametrize("dtype", FULL)
def test_every_implementation_is_measured_as_it_is_known_to_be(
    records: list[Record], framework: str, dtype: str
) -> None:
    found = profiles(records, dtype)
    assert all(profile.known for profile in found)
    undecided = {a.axis for p in found for a in p.axes if len(a.measured) > 1}
    assert undecided == NOT_OFFERED[framework.partition("-")[0]]
    measured = {
        p.implementation: {
            a.axis: a.measured for a in p.axes if a.measured != [a.canonical] and a.axis not in undecided
        }
        for p in found
    }
    assert measured == {
        identifier: dict(EXPECTED[identifier][0])
        for identifier in of(framework)
        if dtype == "float32" or identifier not in NO_FLOAT64
    }
    for profile in found:
        (eps,) = [default for default in profile.defaults if default.setting == "eps"]
        assert eps.low is not None
        assert eps.high is not None
        assert eps.low < EXPECTED[profile.implementation][1] < eps.high, profile.implementation


@for_each(*MODULES)
def test_one_pass_statistics_are_found_where_they_are_and_nowhere_else(records: list[Record], framework: str) -> None:
    found = profiles(records, *FULL)
    assert {p.implementation for p in found} == of(framework)
    for profile in found:
        allowed = {"one_pass", None} if profile.implementation in ONE_PASS else {"two_pass", "welford"}
        assert profile.accuracy in allowed, (profile.implementation, profile.dtype)
        told = [hazard.partition(":")[0] for hazard in profile.hazards]
        hazards = {"one_pass": ["one-pass statistics"], None: ["outside every accuracy class"]}
        assert told == hazards.get(profile.accuracy, [])


@for_each("torch")
def test_a_hazard_of_one_pass_statistics_says_from_where_on_and_what_avoids_it(records: list[Record]) -> None:
    (hazard,) = [
        p.hazards[0] for p in profiles(records, "float32") if p.implementation == "torch.nn.GroupNorm[channels_last]"
    ]
    assert "half of the digits are lost from |mean| = " in hazard
    assert "(call x.contiguous() first)" in hazard


@for_each("torch")
def test_a_memory_layout_changes_the_accuracy_and_no_verdict(records: list[Record]) -> None:
    beside_kin = {one.id for one in requirements().values() if one.relation is not None}
    of_one_rank = {one.id for one in requirements().values() if one.about == "committed" or one.derivative}
    found: dict[tuple[str, str], dict[str, str]] = {}
    for j in judgements(records):
        if j.dtype in FULL and not j.implementation.endswith(("[autocast]", "[vmap]")):
            found.setdefault((j.implementation, j.dtype), {})[j.requirement] = j.verdict
    for (identifier, dtype), verdicts in found.items():
        plain = dict(found[identifier.partition("[")[0], dtype])
        if "[" in identifier:  # InstanceNorm and LayerNorm stand beside a layer without a mode
            left_out = beside_kin | (of_one_rank - verdicts.keys())
            plain = {requirement: verdict for requirement, verdict in plain.items() if requirement not in left_out}
        if identifier == "torch.nn.GroupNorm[expanded]":
            plain["GN-10"] = "unsupported"  # an expanded batch has no other sample
        for asked in {"GN-34", "BN-43"} & plain.keys():
            if "[channels_last" in identifier:
                plain[asked] = "unsupported"  # other ranks have no such format
        if identifier == "torch.nn.GroupNorm[channels_last]":
            plain["GN-48"] = "raises"  # docs/findings, of forward mode
        assert verdicts == plain, (identifier, dtype)


@for_each(*(f"keras-{backend}" for backend in BACKENDS))
def test_float64_is_honoured_by_keras_on_tensorflow_alone(records: list[Record], framework: str) -> None:
    asked = {("GN-18", "float64"), ("BN-22", "float64")}
    found = [j.verdict for j in judgements(records) if (j.requirement, j.dtype) in asked]
    assert found == ["conforms" if framework == "keras-tensorflow" else "diverges"] * 2


@for_each("mlx")
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


@for_each(*MODULES)
@pytest.mark.parametrize("dtype", FULL)
def test_each_group_norm_agrees_with_its_own_library_s_instance_norm_and_layer_norm(
    records: list[Record], framework: str, dtype: str
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
        if identifier in of(framework) and kin is not None and (dtype == "float32" or identifier not in NO_FLOAT64)
    }
    assert set(found) == set(expected)
    for key, (kin, diverges) in expected.items():
        assert found[key].verdict == ("diverges" if diverges else "conforms"), found[key].sentence
        if diverges:
            assert found[key].measured == f"{kin} computes in float32"
        else:
            assert re.search(rf"agrees with {re.escape(kin.removesuffix('1d'))}(\dd)? on ", found[key].sentence)
            assert found[key].notes == []


@for_each(*MODULES)
@pytest.mark.parametrize("dtype", FULL)
def test_what_is_kept_between_calls_departs_in_freezing_alone(
    records: list[Record], framework: str, dtype: str
) -> None:
    found: dict[str, dict[str, str]] = {}
    for j in judgements(records):
        if j.requirement in {"BN-27", "BN-28", "BN-29", "BN-30", "BN-31"} and j.dtype == dtype:
            found.setdefault(j.implementation, {})[j.requirement] = j.verdict
    library = framework.partition("-")[0]
    lacking = {"torch": set(), "mlx": {"BN-27"}, "keras": {"BN-27"}, "flax": {"BN-27", "BN-29"}}[library]
    departing = {"keras": {"BN-29"}, "mlx": {"BN-31"}}.get(library, set())
    assert found
    for identifier, verdicts in found.items():
        expected = dict.fromkeys(verdicts, "conforms") | dict.fromkeys(lacking, "unsupported")
        expected |= dict.fromkeys(departing, "diverges")
        if framework == "keras-tensorflow":  # a model does not unfreeze a layer that was frozen by itself
            expected["BN-31"] = "diverges"
        if framework == "mlx" and dtype == "float64":  # which its files do not hold
            expected["BN-28"] = "raises"
        assert verdicts == expected, identifier


#: By framework: the requirements of which it raises on something that must be taken (docs/findings.md).
RAISES: Mapping[str, set[str]] = {
    "torch": {"GN-11", "GN-36", "GN-48", "BN-41"},
    "mlx": {"GN-13", "GN-31", "GN-32", "BN-28", "BN-41"},
    "keras-jax": {"GN-14", "GN-31"},
    "keras-torch": {"GN-14", "GN-31", "BN-25"},
    "keras-numpy": {"GN-14", "BN-25"},
}


@for_each(*MODULES)
def test_what_raises_is_what_was_verified(records: list[Record], framework: str) -> None:
    raised = [j for j in judgements(records) if j.verdict == "raises"]
    assert {j.requirement for j in raised} == RAISES.get(framework, set())
    for judgement in raised:
        assert judgement.example is not None
        assert judgement.example.observed[-1].startswith(f"raised {judgement.measured.split()[0]}: ")


@for_each(*MODULES)
def test_nothing_is_left_undecided(records: list[Record], framework: str) -> None:
    assert [(j.requirement, j.implementation) for j in judgements(records) if j.verdict == "cannot tell"] == []


#: What is measured twice: implementations that diverge and that do not, with and without shrinking, in two types.
TWICE: Mapping[str, tuple[str, str]] = {
    "mlx": ("mlx.nn.GroupNorm", "bfloat16"),
    "torch": ("torch.nn.BatchNorm2d", "float32"),
}


@for_each(*TWICE)
def test_two_runs_give_the_same_records_byte_for_byte(results: Path, framework: str, tmp_path: Path) -> None:
    identifier, dtype = TWICE[framework]
    normgauge("run", framework, "-i", identifier, "--dtype", dtype, "--budget", "none", "--out", str(tmp_path))
    again = (tmp_path / results.name).read_bytes().splitlines()[1:-1]  # the header has the start, the footer seconds
    first = [line for line in results.read_bytes().splitlines()[1:-1] if told(line) == (identifier, dtype)]
    assert len(first) > 30
    assert again == first


def told(line: bytes) -> tuple[str, str]:
    """The implementation and the dtype that a line of a result file is about."""
    record = json.loads(line)
    return record["implementation"], record["dtype"]


@for_each("mlx")
def test_a_diagnosis_of_one_layer_names_axes_witnesses_default_and_remedy(framework: str) -> None:
    told = normgauge("diagnose", "mlx.nn.GroupNorm")
    assert "≠ which channels form a group? channel c belongs to group c mod G (interleaved)" in told
    assert "canonical: channel c belongs to group c // (C / G) (contiguous), which gives" in told
    assert "default eps: 1e-05 measured" in told
    assert "remedy: pass pytorch_compatible=True" in told
