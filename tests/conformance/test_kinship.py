"""GroupNorm beside the framework's own InstanceNorm and LayerNorm: where they differ it is told, and once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from described import described

from normgauge.conformance.exploration.budget import BUDGETS
from normgauge.conformance.exploration.departure import Departure
from normgauge.conformance.exploration.search import Explorer
from normgauge.conformance.exploration.strategies import Space, settled_by
from normgauge.conformance.requirements.case_files import StoredCase, write_case
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.in_process import InProcess
from normgauge.conformance.subjects.messages import RelatedLayer
from normgauge.conformance.subjects.subject import Launch
from normgauge.conformance.verdicts.related_layers import kin_of
from normgauge.oracle import CANONICAL, Arithmetic, group_norm
from normgauge.results.records import DIVERGENT, Counterexample, Explored, Judgement, Record

HONEST = "group_norm.GroupNorm"
BESIDE = {"GN-22", "GN-23"}


def measured(
    adapter: str,
    identifier: str = HONEST,
    dtype: str = "float32",
    in_process: bool = True,
    budget: str = "none",
    store: Path | None = None,
) -> list[Record]:
    wanted = Wanted(
        dtypes=(dtype,), implementations=(identifier,), in_process=in_process, budget=BUDGETS[budget], store=store
    )
    return list(run_framework(Launch(framework=f"faulty.kin:{adapter}"), wanted))


def judged(*arguments: Any, **options: Any) -> dict[str, Judgement]:
    return {one.requirement: one for one in measured(*arguments, **options) if isinstance(one, Judgement)}


def verdicts(*arguments: Any, **options: Any) -> tuple[str, str]:
    found = judged(*arguments, **options)
    return found["GN-22"].verdict, found["GN-23"].verdict


def but_kin(found: dict[str, Judgement]) -> dict[str, Judgement]:
    return {number: one for number, one in found.items() if number not in BESIDE}


# --- one of the two is wrong --------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("adapter", "expected"),
    [
        ("Honest", ("conforms", "conforms")),
        ("UnbiasedInstanceNormAlone", ("diverges", "conforms")),
        ("UnbiasedLayerNormAlone", ("conforms", "diverges")),
    ],
)
def test_a_layer_that_differs_diverges_and_the_other_one_conforms(
    adapter: str, expected: tuple[str, str], dtype: str
) -> None:
    found = judged(adapter, dtype=dtype)
    assert (found["GN-22"].verdict, found["GN-23"].verdict) == expected
    assert {one.verdict for one in but_kin(found).values()} == {"conforms"}


@pytest.mark.parametrize(
    ("requirement", "kin"), [("GN-22", "kin.UnbiasedInstanceNorm"), ("GN-23", "kin.UnbiasedLayerNorm")]
)
def test_a_divergence_is_told_of_the_other_layer_in_its_numbers(requirement: str, kin: str) -> None:
    found = judged("Unbiased")[requirement]
    assert found.measured.startswith(f"{kin}: output ")
    assert found.sentence.startswith(f"{kin} departs, {HONEST} does not: groups = ")
    shown, instead = (float(word) for word in found.measured.split()[2::3])
    assert abs(shown) < abs(instead)  # it divides by the larger deviation
    assert found.witnesses
    assert {one.against for one in found.witnesses} == {f"{HONEST} on the same input"}

    example = found.example
    assert example is not None
    assert f"\n{kin}, measured with" in example.script
    (shape,) = example.shapes
    groups = example.settings["num_groups"]
    assert groups == (shape[1] if requirement == "GN-22" else 1)
    x, y, canonical = (
        np.array([float(number) for number in line.split()[skipped:]], np.float32).reshape(shape)
        for line, skipped in ((example.inputs[-1], 4), (example.observed[0], 3), (example.canonical[0], 3))
    )
    assert not example.inputs[:-1]  # weight and bias have no part in it
    exact = group_norm(x, groups, eps=example.settings["eps"])
    assert exact.excludes(y)
    assert not exact.excludes(canonical)


def test_a_layer_that_computes_in_float32_is_told_so_and_conforms_there() -> None:
    found = judged("SinglePrecision", dtype="float64")
    assert found["GN-22"].measured == "kin.SinglePrecisionInstanceNorm computes in float32"
    assert found["GN-23"].measured == "kin.SinglePrecisionLayerNorm computes in float32"
    assert found["GN-18"].verdict == "conforms"
    assert verdicts("SinglePrecision", dtype="float32") == ("conforms", "conforms")


def test_a_group_norm_that_computes_in_float32_is_held_to_that() -> None:
    assert verdicts("Honest", "group_norm.ComputesInSinglePrecision", "float64") == ("conforms", "conforms")


def test_a_pass_shows_where_it_was_closest_or_that_nothing_was_apart() -> None:
    same = judged("Honest")["GN-22"]
    assert same.sentence == f"{HONEST}: agrees with kin.InstanceNorm on 9 case(s), to the last digit"
    assert same.witnesses == []
    close = judged("Honest", "group_norm.ComputesInSinglePrecision", "float64")["GN-22"]
    (witness,) = close.witnesses
    assert witness.against == "the sum of both bounds, at its closest"
    assert (witness.step, witness.quantity) == (1, "output")
    assert witness.margin is not None
    assert 0 < witness.margin <= 1


# --- GroupNorm itself departs -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        ("group_norm.Interleaved", "9 case(s), to the last digit"),  # one group, or one a channel, is no grouping
        ("group_norm.EpsOutside", "3 case(s)"),  # a large mean hides it
        ("group_norm.EpsAsFloor", "3 case(s)"),
        ("group_norm.ChangesItsInput", "9 case(s), to the last digit"),
        ("group_norm.Unbiased", ""),
        ("group_norm.NoNormalization", ""),
    ],
)
def test_what_group_norm_itself_does_wrong_is_not_told_again(identifier: str, expected: str) -> None:
    found = judged("Honest", identifier)
    assert {one.verdict for one in but_kin(found).values()} & DIVERGENT
    told = found["GN-22"]
    if expected:
        assert told.verdict == "conforms"
        assert f"agrees with kin.InstanceNorm on {expected}" in told.sentence
    else:
        assert told.verdict == "cannot tell"
    assert found["GN-23"].verdict == told.verdict
    apart = 9 - int(expected[:1] or 0)
    assert [note.endswith(f": {identifier} itself departs") for note in told.notes] == [True] * apart


def test_a_group_norm_that_raises_says_nothing_of_the_other_layer() -> None:
    assert judged("Honest", "process.AlwaysRaises") == {}  # nothing was measured


def test_two_layers_that_depart_alike_agree() -> None:
    assert verdicts("Unbiased", "group_norm.Unbiased") == ("conforms", "conforms")


def test_a_group_norm_that_follows_nothing_is_held_beside_nothing() -> None:
    assert verdicts("Unbiased", "group_norm.NoNormalization") == ("cannot tell", "cannot tell")


def test_two_layers_that_depart_in_two_ways_differ_and_both_are_told() -> None:
    found = judged("Unbiased", "group_norm.EpsAsFloor")
    assert (found["GN-22"].verdict, found["GN-23"].verdict) == ("diverges", "diverges")
    both = "kin.UnbiasedInstanceNorm differs from group_norm.EpsAsFloor, and both depart from the canonical result: "
    assert found["GN-22"].sentence.startswith(both)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("identifier", "expected"), [("process.DiesInRankFive", "conforms"), ("process.AlwaysDies", "cannot tell")]
)
def test_a_group_norm_that_dies_says_nothing_of_the_other_layer(identifier: str, expected: str) -> None:
    found = judged("Honest", identifier, in_process=False)
    assert {found[number].verdict for number in BESIDE} == {expected}
    if expected == "conforms":
        assert "on 6 case(s)" in found["GN-22"].sentence  # those of rank five are missing


# --- the other layer cannot be held beside it ---------------------------------------------------


@pytest.mark.slow
def test_a_layer_that_ends_the_process_crashes_and_costs_group_norm_nothing() -> None:
    """Twenty-one deaths, and nine end a worker's restarts."""
    records = measured("Dies", "group_norm.Interleaved", in_process=False, budget="quick")
    found = {one.requirement: one for one in records if isinstance(one, Judgement)}
    for number, kin in (("GN-22", "kin.DyingInstanceNorm"), ("GN-23", "kin.DyingLayerNorm")):
        assert found[number].verdict == "crashes"
        assert found[number].measured == f"{kin}: the worker exited with code 5"
        example = found[number].example
        assert example is not None
        assert f"\n{kin}, measured with" in example.script
    honest = judged("Honest", "group_norm.Interleaved")
    assert but_kin(found) == but_kin(honest)
    (told,) = [one for one in records if isinstance(one, Explored)]
    assert told.cases > 200
    assert not [one for one in records if isinstance(one, Counterexample)]


@pytest.mark.slow
def test_a_layer_that_ends_the_process_beside_a_group_norm_that_does_costs_it_nothing() -> None:
    found = judged("Dies", "process.DiesInRankFive", in_process=False)
    honest = judged("Honest", "process.DiesInRankFive", in_process=False)
    assert but_kin(found) == but_kin(honest)
    assert "# no script" not in "".join(one.example.script for one in found.values() if one.example)


def test_a_layer_with_an_output_of_another_shape_crashes() -> None:
    found = judged("AnotherShape")["GN-22"]
    assert found.verdict == "crashes"
    assert found.measured.startswith("kin.AddsAnAxis: step 1: an output of shape (1, 2, 4, 4)")


@pytest.mark.parametrize(
    ("adapter", "verdict", "reason"),
    [
        ("Raises", "raises", "RuntimeError in step 1: not today"),
        ("NotToBeAsked", "unsupported", "there is no way to ask"),
    ],
)
def test_a_layer_that_raises_does_so_and_one_that_is_not_there_is_unsupported(
    adapter: str, verdict: str, reason: str
) -> None:
    found = judged(adapter)
    for number in BESIDE:
        assert found[number].verdict == verdict
        assert found[number].sentence.endswith(reason)
    assert {one.verdict for one in but_kin(found).values()} == {"conforms"}


def test_a_layer_that_raises_somewhere_is_told_so() -> None:
    found = judged("RaisesInOneRank")["GN-22"]
    assert found.verdict == "raises"
    assert found.measured.endswith(" in 3 of 9 cases")
    assert found.sentence.endswith("not in five dimensions")


# --- which layer stands beside which ------------------------------------------------------------


def test_a_framework_without_such_layers_has_no_such_judgement() -> None:
    wanted = Wanted(dtypes=("float32",), implementations=(HONEST,), in_process=True)
    records = run_framework(Launch(framework="faulty.adapter:FaultyAdapter"), wanted)
    found = {one.requirement for one in records if isinstance(one, Judgement)}
    assert "GN-20" in found
    assert not BESIDE & found


def test_both_layers_are_asked_in_the_ranks_that_both_take() -> None:
    found = judged("InstanceNormInRankFourAlone")
    assert "agrees with kin.InstanceNorm on 3 case(s)" in found["GN-22"].sentence
    assert "GN-23" not in found
    found = judged("GroupNormInRankFourAlone")
    assert "agrees with kin.InstanceNorm on 3 case(s)" in found["GN-22"].sentence
    assert "agrees with kin.LayerNorm on 3 case(s)" in found["GN-23"].sentence


def test_batch_norm_and_other_modes_have_no_kin() -> None:
    wanted = Wanted(dtypes=("float32",), implementations=("batch_norm.BatchNorm",), in_process=True)
    found = {
        one.requirement
        for one in run_framework(Launch(framework="faulty.kin:Honest"), wanted)
        if isinstance(one, Judgement)
    }
    assert not BESIDE & found
    kin = [{"id": "a.InstanceNorm", "layer": "instance_norm", "ranks": [3]}]
    assert beside(kin, "a.GroupNorm") == {"instance_norm": {3: "a.InstanceNorm"}}
    assert beside(kin, "a.GroupNorm[strided]", mode="strided") == {}
    assert beside(kin, "a.BatchNorm", layer="batch_norm") == {}


def beside(kin: list[dict[str, Any]], identifier: str, **description: Any) -> dict[str, dict[int, str]]:
    related = msgspec.convert(kin, list[RelatedLayer])
    subject: Any = SimpleNamespace(greeting=SimpleNamespace(kin=related))
    return kin_of(subject, described(identifier, **description))


@pytest.mark.parametrize("backwards", [False, True])
def test_of_two_libraries_each_stands_beside_its_own(backwards: bool) -> None:
    names = [f"flax.{library}.{name}" for library in ("linen", "nnx") for name in ("InstanceNorm", "LayerNorm")]
    kin = [
        {"id": name, "layer": "instance_norm" if "Instance" in name else "layer_norm", "ranks": [2, 3]}
        for name in (reversed(names) if backwards else names)
    ]
    for library in ("linen", "nnx"):
        for identifier in (f"flax.{library}.GroupNorm", f"flax.{library}.GroupNorm(eps=0.1)[strided]"):
            assert beside(kin, identifier) == {
                "instance_norm": dict.fromkeys((2, 3), f"flax.{library}.InstanceNorm"),
                "layer_norm": dict.fromkeys((2, 3), f"flax.{library}.LayerNorm"),
            }


def test_a_layer_of_another_module_will_do_and_one_of_an_unknown_kind_will_not() -> None:
    kin = [
        {"id": "a.instances.InstanceNorm", "layer": "instance_norm", "ranks": [4]},
        {"id": "a.RMSNorm", "layer": "rms_norm", "ranks": [4]},
    ]
    assert beside(kin, "a.groups.GroupNorm") == {"instance_norm": {4: "a.instances.InstanceNorm"}}


# --- beyond the experiments ---------------------------------------------------------------------

#: Where both relations apply to many plans: three channels, alone in their groups or all in one.
THREE_CHANNELS = (((2, 3, 2), 3), ((2, 3, 2), 1))


def departures(adapter: str, dtype: str = "float32", diverging: tuple[str, ...] = ()) -> dict[str, Departure]:
    subject = InProcess(Launch(framework=f"faulty.kin:{adapter}"), dtype)
    kin = kin_of(subject, described(HONEST))
    space = Space(layer="group_norm", dtype=dtype, ranks=(3,), pool=THREE_CHANNELS, settled=settled_by(diverging))
    explorer = Explorer(
        subject=subject,
        implementation=HONEST,
        ranks=(3,),
        followed=[CANONICAL["group_norm"]],
        arithmetic=Arithmetic(dtype, "two_pass"),
        wider=(Arithmetic(dtype),),
        kin=kin,
    )
    return {str(one.signature): one for one in explorer.search(space, 2048, 0, lambda _: None)}


@pytest.mark.slow
def test_a_search_finds_a_layer_that_differs_beyond_the_experiments() -> None:
    assert verdicts("ThreeChannelsOff") == ("conforms", "conforms")
    found = departures("ThreeChannelsOff")
    assert set(found) == {"relation: groups = C", "relation: groups = 1"}
    for one in found.values():
        assert one.kind == "relation"
        assert one.deviation.ratio > 1
        assert one.case.settings["num_channels"] == 3
    assert not found["relation: groups = 1"].case.parameters


@pytest.mark.slow
def test_a_search_tells_nothing_of_honest_layers_nor_of_what_a_requirement_tells() -> None:
    assert departures("Honest") == {}
    assert departures("Honest", "float64") == {}
    assert set(departures("ThreeChannelsOff", diverging=("GN-22",))) == {"relation: groups = 1"}
    assert departures("ThreeChannelsOff", diverging=("GN-22", "GN-23")) == {}


@pytest.mark.slow
def test_a_layer_that_cannot_be_held_beside_it_is_no_departure() -> None:
    for adapter in ("Raises", "NotToBeAsked"):
        assert departures(adapter) == {}


@pytest.mark.slow
def test_what_was_found_is_kept_and_found_again(tmp_path: Path) -> None:
    identifier, framework = HONEST, "faulty"
    one = departures("ThreeChannelsOff")["relation: groups = C"]
    assert one.relation is not None
    stored = StoredCase(
        implementation=identifier,
        dtype="float32",
        signature=one.signature,
        plan=one.plan,
        sentence="it differs",
        relation=one.relation.name,
        case=one.case,
    )
    write_case(tmp_path / framework, stored)
    for adapter, expected in (("ThreeChannelsOff", [("replayed", str(one.signature))]), ("Honest", [])):
        records = measured(adapter, budget="quick", store=tmp_path)
        found = [(r.found, r.signature) for r in records if isinstance(r, Counterexample)]
        assert [pair for pair in found if pair[1] == str(one.signature)] == expected


@pytest.mark.slow
def test_what_diverges_is_not_explored() -> None:
    records = measured("ToldAlready", budget="default")
    assert {one.requirement for one in records if isinstance(one, Judgement) and one.verdict in DIVERGENT} == {"GN-22"}
    assert not [one for one in records if isinstance(one, Counterexample)]
