"""Comparisons: which implementations are paired, what a change is, what it does to numbers, and profiles."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from pages import header, judgement, profile, run, write

from normgauge import group_norm
from normgauge.adapters.implementation_id import EAGER
from normgauge.adapters.registry import load_adapter
from normgauge.conformance.comparison.changes import Comparison, compare
from normgauge.conformance.comparison.effects import effect_of, stated_cases
from normgauge.conformance.comparison.pairing import paired
from normgauge.conformance.comparison.profiles import SHIPPED, profile_of, records_of, shipped, staleness
from normgauge.conformance.comparison.sides import NotComparable, Side, side_of
from normgauge.conformance.comparison.words import lines_of, markdown_of, summary
from normgauge.conformance.layers.registry import kind_of, layer_kinds
from normgauge.oracle import semantics
from normgauge.results import profiles
from normgauge.results.facts import NOTHING, Change, Kind, Value, change_of
from normgauge.results.file import BrokenResults, read_records
from normgauge.results.profiles import FrameworkProfile
from normgauge.results.records import AxisMeasured, DefaultMeasured, Header, Judgement, NotRun, Profile, Record

PROJECT = Path(__file__).parents[2]
MLX = "mlx.nn.GroupNorm"


def grouped(name: str, grouping: str = "contiguous", **changed: Any) -> Profile:
    meanings = {value.name: value.meaning for value in kind_of("group_norm").axis("grouping").every}
    axis = AxisMeasured(
        axis="grouping", question="which channels form a group", canonical="contiguous", measured=[grouping],
        meanings=meanings,
    )  # fmt: skip
    return profile(name, axes=[axis], **changed)


def side(name: str, *records: Record, selected: str = "") -> Side:
    whole = run(*records, framework=name)
    named = list(dict.fromkeys(one.implementation for one in records if isinstance(one, Profile)))
    whole[0] = header(name, *named, known=named)
    return side_of(name, "made by hand", whole, selected)


def changes(found: Comparison) -> list[tuple[str, str]]:
    return [(one.subject, one.change) for pair in found.compared for one in pair.differences]


# --- what a change is ---------------------------------------------------------------------------

SAME, OTHER = Value(text="a", kind="same"), Value(text="b", kind="other")
WORSE, NONE, OPEN = (Value(text=kind, kind=kind) for kind in ("crash", "none", "open"))


@pytest.mark.parametrize(
    ("kind", "before", "after", "change"),
    [
        ("semantics", SAME, SAME, None),
        ("semantics", SAME, NOTHING, None),
        ("semantics", SAME, OTHER, "newly different"),
        ("requirement", SAME, WORSE, "newly different"),
        ("semantics", OTHER, SAME, "newly the same"),
        ("requirement", OTHER, WORSE, "changed value"),
        ("statistics", SAME, OTHER, "changed class"),
        ("requirement", SAME, NONE, "no longer supported"),
        ("dtype", NONE, SAME, "newly supported"),
        ("requirement", SAME, OPEN, "no longer decided"),
        ("semantics", OPEN, OTHER, "newly decided"),
    ],
)
def test_a_change_has_one_sort(kind: Kind, before: Value, after: Value, change: Change | None) -> None:
    assert change_of(kind, before, after) == change


def test_equal_numbers_are_no_change() -> None:
    assert change_of("default", Value(text="1e-5", kind="same"), Value(text="1e-05", kind="same")) is None
    assert change_of("default", Value(text="1e-5", kind="same"), Value(text="1e-3", kind="same")) == "changed value"


# --- pairs --------------------------------------------------------------------------------------


def test_a_layer_without_options_stands_for_its_framework() -> None:
    mlx = side("mlx", grouped(MLX, "interleaved"), grouped(f"{MLX}(pytorch_compatible=True)"))
    (pair,) = paired(side("torch", grouped("torch.nn.GroupNorm")), mlx).pairs
    assert pair.b.name == MLX
    assert f"name {MLX}(pytorch_compatible=True)" in pair.why


def test_the_same_options_are_preferred() -> None:
    mlx = side("mlx", grouped(MLX, "interleaved"), grouped(f"{MLX}(pytorch_compatible=True)"))
    port = side("port", grouped("port.GroupNorm(pytorch_compatible=True)"))
    (pair,) = paired(port, mlx).pairs
    assert pair.b.name == f"{MLX}(pytorch_compatible=True)"


def test_a_named_layer_is_the_one_that_is_compared() -> None:
    compatible = f"{MLX}(pytorch_compatible=True)"
    mlx = side("mlx", grouped(MLX, "interleaved"), grouped(compatible), selected=compatible)
    (pair,) = paired(mlx, side("torch", grouped("torch.nn.GroupNorm"))).pairs
    assert pair.a.name == compatible


def test_layers_that_compute_alike_stand_for_each_other() -> None:
    flax = side("flax", grouped("flax.nnx.GroupNorm"), grouped("flax.linen.GroupNorm"))
    (pair,) = paired(side("torch", grouped("torch.nn.GroupNorm")), flax).pairs
    assert "stands for flax.linen.GroupNorm" in pair.why


def test_layers_that_compute_differently_are_listed_in_one_error() -> None:
    flax = side("flax", grouped("flax.nnx.GroupNorm"), grouped("flax.linen.GroupNorm", "interleaved"))
    with pytest.raises(NotComparable, match=r"name one of flax\.nnx\.GroupNorm or flax\.linen\.GroupNorm"):
        paired(side("torch", grouped("torch.nn.GroupNorm")), flax)


def test_the_same_ids_are_compared_with_themselves_modes_too() -> None:
    own = grouped(MLX), grouped(f"{MLX}[compile]", mode="compile")
    pairing = paired(side("mlx", *own), side("mlx", *own))
    assert [(pair.a.name, pair.same) for pair in pairing.pairs] == [(MLX, True), (f"{MLX}[compile]", True)]


def test_no_common_kind_of_layer_is_an_error() -> None:
    other = side("torch", profile("torch.nn.BatchNorm2d", layer="batch_norm", axes=[]))
    with pytest.raises(NotComparable, match="has GroupNorm, and torch has BatchNorm"):
        compare(side("mlx", grouped(MLX)), other)


# --- numbers ------------------------------------------------------------------------------------


def test_the_numbers_are_those_of_the_oracle() -> None:
    found = effect_of("group_norm", kind_of("group_norm").canonical.choices, "grouping", "interleaved")
    assert found is not None
    assert found.where == "call 1, output[1, 1, 1]"
    n, c, p = np.indices((2, 4, 3))
    x = ((12 * n + 3 * c + p) * 7 % 11 - 5).astype(float)  # as the words say
    weight, bias = [1, 2, -1, 0.5], [0, 1, 0, -1]
    values = [
        group_norm(x, 2, np.array(weight), np.array(bias, float), eps=0.25, semantics=chosen).value[1, 1, 1]
        for chosen in (semantics("group_norm"), semantics("group_norm", grouping="interleaved"))
    ]
    assert [found.a, found.b] == [format(value, ".6g") for value in values]


@pytest.mark.parametrize("layer", layer_kinds())
def test_every_value_in_use_shows_on_a_stated_case(layer: str) -> None:
    kind = kind_of(layer)
    for axis in kind.axes:
        for value in axis.names[1:]:
            found = effect_of(layer, kind.canonical.choices, axis.name, value)
            assert found is not None, f"{axis.name}={value}"
            assert found.a != found.b
            assert found.case.words in {one.words for one in stated_cases(layer)}


# --- two files of the same release --------------------------------------------------------------


def measured(name: str = "mlx") -> list[Record]:
    return records_of(shipped()[name])


def edited(records: Sequence[Record], **of: Any) -> list[Record]:
    """The records with changes to the judgement on a requirement, or to the profile, of one layer in float32."""
    name, requirement, changed = of.pop("name"), of.pop("requirement", None), of
    found = []
    for one in records:
        mine = getattr(one, "implementation", None) == name and getattr(one, "dtype", None) == "float32"
        is_it = one.requirement == requirement if isinstance(one, Judgement) else isinstance(one, Profile)
        wanted = isinstance(one, Judgement) == (requirement is not None)
        found.append(msgspec.structs.replace(one, **changed) if mine and is_it and wanted else one)
    return found


def nightly(records: Sequence[Record]) -> Comparison:
    return compare(side_of("yesterday.jsonl", "", measured()), side_of("today.jsonl", "", records))


def test_two_files_of_one_release_with_the_same_results_are_the_same() -> None:
    found = nightly(measured())
    assert found.same
    assert summary(found).startswith("the same: ")


def test_what_changed_since_yesterday_has_its_sort() -> None:
    today = edited(measured(), name=MLX, requirement="GN-12", verdict="diverges", measured="12 instead of 13")
    assert changes(nightly(today)) == [("GN-12 large mean", "newly different")]
    today = edited(measured(), name=MLX, requirement="GN-16", verdict="conforms")
    assert changes(nightly(today)) == [("GN-16 wrong channel count refused", "newly the same")]
    today = edited(measured(), name=MLX, requirement="GN-16", measured="accepted in 2 of 4 cases")
    assert changes(nightly(today)) == [("GN-16 wrong channel count refused", "changed value")]
    assert changes(nightly(edited(measured(), name=MLX, accuracy="welford"))) == [("statistics", "changed class")]
    today = edited(measured(), name=MLX, requirement="GN-12", verdict="unsupported")
    assert changes(nightly(today)) == [("GN-12 large mean", "no longer supported")]


def test_a_layer_that_is_gone_is_no_longer_supported() -> None:
    today = [one for one in measured() if getattr(one, "implementation", MLX) != "mlx.nn.BatchNorm"]
    known = [name for name in shipped()["mlx"].implementations if name != "mlx.nn.BatchNorm"]
    today[0] = msgspec.structs.replace(today[0], implementations=known, known=known)
    found = nightly(today)
    assert found.lost == ("mlx.nn.BatchNorm",)
    assert not found.same


def test_a_layer_that_was_not_asked_for_is_not_compared() -> None:
    today = [one for one in measured() if getattr(one, "implementation", MLX) != "mlx.nn.BatchNorm"]
    found = nightly(today)
    assert found.same
    assert any("not compared" in one and "mlx.nn.BatchNorm" in one for one in found.remarks)


def test_a_dtype_that_is_gone_is_no_longer_supported() -> None:
    gone = NotRun(framework="mlx", dtype="float64", reason="none here", failed=False, absent=True)
    before = side("mlx", grouped(MLX), grouped(MLX, dtype="float64"))
    found = compare(before, side("mlx", grouped(MLX), gone))
    assert changes(found) == [("dtype", "no longer supported")]
    assert found.compared[0].differences[0].dtypes == ("float64",)
    assert compare(before, side("mlx", grouped(MLX))).same  # not asked for today


def test_an_axis_that_changed_has_its_meaning_and_its_numbers() -> None:
    before, after = side("mlx", grouped(MLX, "interleaved")), side("mlx", grouped(MLX))
    (line,) = [line for line in lines_of(compare(before, after)) if line.strip().startswith("numbers:")]
    assert line.strip() == "numbers: call 1, output[1, 1, 1]: -0.732897 in A, -1.82166 in B"
    page = markdown_of(compare(before, after))
    assert "| newly the same | which channels form a group | float32 | channel c belongs to group c mod G" in page


@pytest.mark.parametrize("known", [True, False])
def test_a_mistake_of_one_layer_is_compared_with_the_canonical_way_of_the_other(known: bool) -> None:
    affine = kind_of("group_norm").axis("affine")
    measured = AxisMeasured(
        axis="affine", question=affine.question, canonical=affine.canonical, measured=["ignored"],
        meanings={one.name: one.meaning for one in affine.every},
    )  # fmt: skip
    whole = grouped(MLX)
    wrong = msgspec.structs.replace(whole, axes=[*whole.axes, measured])
    other = judgement(MLX, requirement="GN-49", title="weight, then bias")
    found = compare(side("port", wrong), side("mlx", msgspec.structs.replace(whole, known=known), other))
    assert changes(found) == ([("affine", "newly the same")] if known else [])
    (pair,) = found.compared
    assert bool(pair.not_compared) != known, "GN-49 is what the axis says"


def test_a_default_that_is_measured_is_one_difference_not_two() -> None:
    other = DefaultMeasured(setting="eps", signature="0.001", low=0.001, best=0.001, high=0.001)
    found = compare(side("mlx", grouped(MLX)), side("mlx", grouped(MLX, defaults=[other])))
    assert changes(found) == [("measured default eps", "changed value")]
    unsaid = msgspec.structs.replace(other, signature=None)
    found = compare(side("mlx", grouped(MLX)), side("mlx", grouped(MLX, defaults=[unsaid])))
    assert [subject for subject, _ in changes(found)] == ["default eps", "measured default eps"]


# --- profiles -----------------------------------------------------------------------------------


def test_a_profile_says_what_its_result_file_says(tmp_path: Path) -> None:
    path = write(
        tmp_path / "mlx.jsonl",
        run(
            grouped(MLX, "interleaved", types={"output": "float32"}),
            judgement(
                MLX, "raises", requirement="GN-13", measured="ValueError", title="no samples", ground="robustness"
            ),
            judgement(MLX, "unsupported", requirement="GN-14", title="no positions"),
            framework="mlx",
        ),
    )
    made = profile_of([path])
    found = compare(side_of("a", "", read_records(path)), side_of("b", "", records_of(made)))
    assert changes(found) == []
    assert found.compared[0].same == {
        "semantics": 1,
        "default": 2,
        "requirement": 2,
        "type": 1,
        "statistics": 1,
        "dtype": 1,
    }
    assert made.results.keys() == {"mlx.jsonl"}


def test_a_profile_is_of_one_complete_release(tmp_path: Path) -> None:
    whole = run(grouped(MLX), framework="mlx")
    first = write(tmp_path / "1.jsonl", whole)
    other = write(tmp_path / "2.jsonl", [header("mlx", versions={"mlx": "9"}), *whole[1:]])
    with pytest.raises(BrokenResults, match="a profile is of one release"):
        profile_of([first, other])
    with pytest.raises(BrokenResults, match="did not finish"):
        profile_of([write(tmp_path / "3.jsonl", whole[:-1])])


def test_the_published_schema_of_profiles_is_that_of_the_classes() -> None:
    published = json.loads((PROJECT / "results" / "profile.schema.json").read_text(encoding="utf-8"))
    assert published == json.loads(json.dumps(profiles.schema())), (
        "write json.dumps(normgauge.results.profiles.schema(), indent=1) to results/profile.schema.json"
    )


NAMES = [path.stem for path in sorted(SHIPPED.glob("*.json"))]


def test_profiles_of_the_frameworks_are_shipped() -> None:
    assert {"torch", "mlx", "mlx-0.31.2"} <= {*NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_profile_is_small_and_valid(name: str) -> None:
    path = SHIPPED / f"{name}.json"
    jsonschema.Draft202012Validator(profiles.schema()).validate(json.loads(path.read_text(encoding="utf-8")))
    assert path.stat().st_size < 60_000
    assert profiles.text_of(profiles.read_profile(path)) == path.read_text(encoding="utf-8")


def why_stale(name: str, found: FrameworkProfile) -> str:
    """Why a shipped profile is not what would be measured now; empty where it is."""
    reasons = [staleness(found)]
    adapter = load_adapter(found.framework)
    plain = {one.class_path for one in adapter.implementations if one.identity.mode == EAGER}
    if missing := plain - {one.class_path for one in found.implementations.values()}:
        reasons.append(f"it does not have {', '.join(sorted(missing))}")
    groups = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    if name == found.framework:
        pins = [Requirement(one) for one in groups[name]]
        (pin,) = [one for one in pins if one.name == adapter.distribution and (not one.marker or one.marker.evaluate())]
        measured = Version(found.versions[adapter.distribution]).public
        if not pin.specifier.contains(measured):
            reasons.append(f"it is of {measured}, the pin is {pin}")
    return "; ".join(filter(None, reasons))


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_profile_is_what_is_measured_now_or_says_that_it_is_stale(name: str) -> None:
    found = shipped()[name]
    why = why_stale(name, found)
    remedy = f"normgauge run {found.framework}, then normgauge profile RESULTS --name {name} --out conformance/profiles"
    assert bool(why) == bool(found.stale), f"{name}: {why or 'not stale'}; to make it anew: {remedy}"


def test_a_profile_of_other_requirements_is_stale() -> None:
    found = shipped()["mlx"]
    assert staleness(found) == ""
    other = msgspec.structs.replace(found, catalogue=found.catalogue | {"requirements": "00000000"})
    assert "requirements" in staleness(other)


def test_records_of_a_profile_have_a_header_with_its_versions() -> None:
    first = measured()[0]
    assert isinstance(first, Header)
    assert first.versions == shipped()["mlx"].versions
