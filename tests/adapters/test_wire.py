"""The encoding of the line protocol: everything that goes through JSON text comes back as it was."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from normgauge.adapters.case import ACTIONS, Action, Array, Case, Observation, Raised, Step, StepResult
from normgauge.adapters.memory_layouts import LAYOUTS
from normgauge.adapters.worker.protocol import (
    case_id,
    decode_array,
    decode_case,
    decode_observation,
    dump_line,
    encode_array,
    encode_case,
    encode_observation,
)

#: Subnormal, negative zero, infinities, and a NaN with a payload, as bit patterns.
ODD_BITS: dict[str, Array] = {
    "float32": np.array([0x00000001, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00001, 0x3F800000], np.uint32),
    "float64": np.array([1, 1 << 63, 0x7FF << 52, 0xFFF << 52, (0x7FF8 << 48) + 1, 0x3FF << 52], np.uint64),
}

DTYPES = st.sampled_from(["float32", "float64"])
#: Of a machine that does other things meanwhile nothing is learned about the code.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def arrays(dtype: str, *, least: int = 0, most: int = 4) -> st.SearchStrategy[Array]:
    shapes = hnp.array_shapes(min_dims=least, max_dims=most, min_side=0, max_side=3)
    return hnp.arrays(dtype, shapes, elements={"allow_nan": True, "allow_infinity": True})


@st.composite
def cases(draw: st.DrawFn) -> Case:
    dtype = draw(DTYPES)
    vectors = arrays(dtype, least=1, most=1)
    number = st.floats(allow_nan=False, allow_infinity=False)
    given_settings = st.fixed_dictionaries(
        {"num_channels": st.integers(1, 512)},
        optional={
            "num_groups": st.integers(1, 512),
            "eps": number,
            "momentum": st.none() | number,
            "weight": st.booleans(),
            "bias": st.booleans(),
            "track": st.booleans(),
        },
    )
    parameters = st.dictionaries(st.sampled_from(["weight", "bias", "running_mean", "running_var"]), vectors)
    actions = st.builds(Action, name=st.sampled_from(ACTIONS)) | st.builds(
        Action, name=st.just("momentum"), value=st.none() | number
    )
    actions |= st.builds(Action, name=st.just("set_parameters"), parameters=parameters)
    step = st.builds(
        Step,
        mode=st.sampled_from(["train", "eval"]),
        x=arrays(dtype, least=2),
        before=st.lists(actions, max_size=2).map(tuple),
        inspect=st.booleans(),
        layout=st.sampled_from(["", *LAYOUTS]),
        dy_layout=st.sampled_from(["", *LAYOUTS]),
    )
    steps = st.lists(step, max_size=3)
    layer = st.sampled_from(["group_norm", "batch_norm"])
    return Case(
        layer=draw(layer),
        dtype=dtype,
        settings=draw(given_settings),
        parameters=draw(parameters),
        steps=tuple(draw(steps)),
        dtypes=draw(st.dictionaries(st.sampled_from(["weight", "running_var"]), DTYPES)),
    )


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    dtype = draw(DTYPES)
    state = st.dictionaries(st.sampled_from(["running_mean", "running_var"]), arrays(dtype, least=1, most=1))
    modified = st.lists(st.sampled_from(["x", "weight", "bias"]), unique=True).map(tuple)
    dtypes = st.sampled_from([dtype, "bfloat16"])
    trainable = st.none() | st.lists(st.sampled_from(["weight", "bias", "running_var"]), unique=True).map(tuple)
    step = st.builds(
        StepResult, output=arrays(dtype, least=2), dtype=dtypes, state=state, modified=modified, shares=modified,
        read_only=modified, trainable=trainable,
    )  # fmt: skip
    return Observation(
        steps=tuple(draw(st.lists(step, max_size=3))),
        raised=draw(
            st.none()
            | st.builds(Raised, where=st.sampled_from(["construct", "step 1"]), type=st.text(), message=st.text())
        ),
        died=None,
        warnings=tuple(draw(st.lists(st.text(), max_size=2))),
    )


def through_text(message: Mapping[str, Any]) -> Any:
    line = dump_line(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    return json.loads(line)


def assert_same_bits(a: Array, b: Array) -> None:
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    assert a.tobytes() == b.tobytes()


def assert_same_arrays(a: Mapping[str, Array], b: Mapping[str, Array]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert_same_bits(a[name], b[name])


# --- arrays -------------------------------------------------------------------------------------


@unhurried
@given(DTYPES.flatmap(arrays))
def test_every_array_comes_back_with_the_same_bits(array: Array) -> None:
    assert_same_bits(decode_array(through_text(encode_array(array))), array)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_signed_zero_infinities_and_the_payload_of_a_nan_survive(dtype: str) -> None:
    array = ODD_BITS[dtype].view(dtype)
    assert_same_bits(decode_array(through_text(encode_array(array))), array)


@pytest.mark.parametrize("shape", [(), (0,), (0, 8), (2, 8, 2, 0), (1, 1, 1, 1, 1)])
def test_the_shape_survives_where_there_is_nothing_or_one_value(shape: tuple[int, ...]) -> None:
    assert_same_bits(decode_array(through_text(encode_array(np.ones(shape)))), np.ones(shape))


def test_an_array_that_is_not_contiguous_is_sent_in_the_order_of_its_indices() -> None:
    base = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    for view in (base[:, ::2, ::-1], base.transpose(2, 0, 1), np.asfortranarray(base)):
        assert_same_bits(decode_array(through_text(encode_array(view))), np.ascontiguousarray(view))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_big_endian_array_is_sent_little_endian_with_equal_values(dtype: str) -> None:
    native = np.array([1.5, -2.25, 1e-30], dtype)
    swapped = native.astype(native.dtype.newbyteorder(">"))
    assert encode_array(swapped) == encode_array(native)
    assert_same_bits(decode_array(through_text(encode_array(swapped))), native)


def test_an_array_is_encoded_as_the_documentation_says() -> None:
    # 1.0f is 00 00 80 3F and 3.0f is 00 00 40 40, least significant byte first.
    assert encode_array(np.array([[1, 3]], np.float32)) == {
        "dtype": "float32",
        "shape": [1, 2],
        "data": "AACAPwAAQEA=",
    }


def test_a_decoded_array_may_be_written_to() -> None:
    decoded = decode_array(encode_array(np.zeros(2)))
    decoded[0] = 1.0
    assert decoded.tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    "broken",
    [
        {"dtype": "float32", "shape": [2], "data": "AACAPw=="},
        {"dtype": "float32", "shape": [1], "data": "AACA"},
        {"dtype": "float33", "shape": [1], "data": "AACAPw=="},
        {"dtype": "float32", "shape": [1], "data": "AACAPw"},
        {"dtype": "float32", "data": "AACAPw=="},
    ],
    ids=["too few values", "half a value", "no such dtype", "no padding", "no shape"],
)
def test_an_array_that_contradicts_itself_is_not_decoded(broken: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        decode_array(broken)


# --- cases and observations ---------------------------------------------------------------------


@unhurried
@given(cases())
def test_every_case_comes_back_as_it_was(case: Case) -> None:
    back = decode_case(through_text(encode_case(case)))
    assert (back.layer, back.dtype) == (case.layer, case.dtype)
    assert back.settings == case.settings
    assert back.dtypes == case.dtypes
    assert {name: type(value) for name, value in back.settings.items()} == {
        name: type(value) for name, value in case.settings.items()
    }
    assert_same_arrays(back.parameters, case.parameters)
    assert [step.mode for step in back.steps] == [step.mode for step in case.steps]
    for ours, theirs in zip(back.steps, case.steps, strict=True):
        assert_same_bits(ours.x, theirs.x)
        assert ours.inspect == theirs.inspect
        for own, sent in zip(ours.before, theirs.before, strict=True):
            assert (own.name, own.value) == (sent.name, sent.value)
            assert_same_arrays(own.parameters, sent.parameters)


@pytest.mark.slow
@unhurried
@given(observations())
def test_every_observation_comes_back_as_it_was(seen: Observation) -> None:
    back = decode_observation(through_text(encode_observation(seen)))
    assert (back.raised, back.unsupported, back.died) == (seen.raised, None, None)
    assert back.warnings == seen.warnings
    for ours, theirs in zip(back.steps, seen.steps, strict=True):
        assert_same_bits(ours.output, theirs.output)
        assert (ours.dtype, ours.modified, ours.shares) == (theirs.dtype, theirs.modified, theirs.shares)
        assert ours.read_only == theirs.read_only
        assert ours.trainable == theirs.trainable
        assert_same_arrays(ours.state, theirs.state)


def test_text_with_line_breaks_stays_on_one_line() -> None:
    message = "one\ntwo\r\nthree\u2028four\u0085five"
    seen = Observation(raised=Raised(where="construct", type="ValueError", message=message))
    assert decode_observation(through_text(encode_observation(seen))) == seen


def test_a_default_that_json_lacks_travels_as_its_text() -> None:
    assert through_text({"default": np.float32, "place": frozenset({1})}) == {
        "default": "<class 'numpy.float32'>",
        "place": "frozenset({1})",
    }


# --- the identity of a case ---------------------------------------------------------------------

SMALL = Case(
    layer="batch_norm",
    dtype="float32",
    settings={"num_channels": 2, "eps": 0.5, "momentum": None, "track": True},
    parameters={"weight": np.array([1, 2], np.float32), "bias": np.array([0, 1], np.float32)},
    steps=(Step("train", np.array([[1, 3]], np.float32)),),
)
#: SMALL, written by hand after docs/protocol.md: keys sorted, no spaces.
SMALL_TEXT = (
    '{"dtype":"float32","layer":"batch_norm",'
    '"parameters":{"bias":{"data":"AAAAAAAAgD8=","dtype":"float32","shape":[2]},'
    '"weight":{"data":"AACAPwAAAEA=","dtype":"float32","shape":[2]}},'
    '"settings":{"eps":0.5,"momentum":null,"num_channels":2,"track":true},'
    '"steps":[{"mode":"train","x":{"data":"AACAPwAAQEA=","dtype":"float32","shape":[1,2]}}]}'
)
#: printf '%s' "$SMALL_TEXT" | sha256sum | cut -c1-12
SMALL_ID = "9131e70828f1"


def test_a_case_has_the_identity_that_its_documented_encoding_gives() -> None:
    assert hashlib.sha256(SMALL_TEXT.encode()).hexdigest()[:12] == SMALL_ID
    assert case_id(SMALL) == SMALL_ID


def test_the_identity_does_not_change_on_the_way_to_a_worker() -> None:
    assert case_id(decode_case(through_text(encode_case(SMALL)))) == SMALL_ID


def with_bits(step: Step, index: tuple[int, ...], value: float) -> Step:
    x = step.x.copy()
    x[index] = value
    return Step(step.mode, x)


STEP = SMALL.steps[0]
CHANGES: dict[str, dict[str, Any]] = {
    "layer": {"layer": "group_norm"},
    "dtype": {"dtype": "float64"},
    "value of a setting": {"settings": {**SMALL.settings, "eps": 0.25}},
    "momentum as a number": {"settings": {**SMALL.settings, "momentum": 0.0}},
    "setting left out": {"settings": {name: v for name, v in SMALL.settings.items() if name != "momentum"}},
    "setting more": {"settings": {**SMALL.settings, "weight": True}},
    "value of a parameter": {"parameters": {**SMALL.parameters, "bias": np.array([0, 2], np.float32)}},
    "parameter left out": {"parameters": {"weight": SMALL.parameters["weight"]}},
    "name of a parameter": {"parameters": {"weight": SMALL.parameters["weight"], "shift": SMALL.parameters["bias"]}},
    "an action": {"steps": (replace(STEP, before=(Action("reset"),)),)},
    "another action": {"steps": (replace(STEP, before=(Action("momentum", 0.5),)),)},
    "value of an action": {"steps": (replace(STEP, before=(Action("momentum", 0.25),)),)},
    "inspect": {"steps": (replace(STEP, inspect=True),)},
    "mode": {"steps": (Step("eval", STEP.x),)},
    "last bit of x": {"steps": (with_bits(STEP, (0, 1), float(np.nextafter(np.float32(3), np.float32(4)))),)},
    "sign of zero in x": {"steps": (with_bits(STEP, (0, 0), -0.0),)},
    "zero in x": {"steps": (with_bits(STEP, (0, 0), 0.0),)},
    "shape of x": {"steps": (Step("train", STEP.x.reshape(2, 1)),)},
    "dtype of x": {"steps": (Step("train", STEP.x.astype(np.float64)),)},
    "number of steps": {"steps": (STEP, STEP)},
    "no steps": {"steps": ()},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_the_identity_changes_with_any_field(change: dict[str, Any]) -> None:
    assert case_id(replace(SMALL, **change)) != SMALL_ID


def test_all_those_changes_give_different_identities() -> None:
    found = {name: case_id(replace(SMALL, **change)) for name, change in CHANGES.items()}
    assert len(set(found.values())) == len(CHANGES), found


@unhurried
@given(cases(), st.integers())
def test_the_identity_does_not_depend_on_the_order_of_settings_and_parameters(case: Case, seed: int) -> None:
    def shuffled(mapping: Mapping[str, Any]) -> dict[str, Any]:
        names = sorted(mapping)
        random.Random(seed).shuffle(names)
        return {name: mapping[name] for name in names}

    other = replace(case, settings=shuffled(case.settings), parameters=shuffled(case.parameters))
    assert case_id(other) == case_id(case)


def test_the_identity_depends_on_the_order_of_the_steps() -> None:
    twice = replace(SMALL, steps=(STEP, Step("eval", STEP.x)))
    assert case_id(twice) != case_id(replace(twice, steps=twice.steps[::-1]))


def test_the_identity_does_not_depend_on_memory_layout_or_byte_order() -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    variants = (x, np.asfortranarray(x), x.astype(">f4"), np.repeat(x, 2, axis=1)[:, ::2])
    assert len({case_id(replace(SMALL, steps=(Step("train", variant),))) for variant in variants}) == 1
