"""Faults of form, one at a time: each is told with its place, by the schema as the package jsonschema does."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import jsonschema
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from normgauge.adapters.case import Action, Case, Step
from normgauge.adapters.worker.main import Adapters, answers, hello
from normgauge.adapters.worker.protocol import dump_line, encode_case
from normgauge.conformance.form import answers as of_answers
from normgauge.conformance.form import hello as of_hello
from normgauge.conformance.form.cases import Question, questions
from normgauge.conformance.form.faults import faults, inside
from normgauge.conformance.subjects.messages import Answer, hello_of
from normgauge.conformance.subjects.schema import published

X: Final = np.array([[1, 3], [2, 5], [4, 4]], np.float32)
QUESTION: Final = Question(
    label="everything",
    case=Case(
        layer="batch_norm",
        dtype="float32",
        settings={"num_channels": 2},
        parameters={},
        steps=(Step("train", X, X), Step("eval", X, before=(Action("freeze"),), inspect=True)),
    ),
)
Message = dict[str, Any]


@functools.cache
def adapters() -> Adapters:
    return Adapters("faulty.ports:Port", "float32")


def greeting() -> Message:
    """A hello with nothing wrong in it."""
    return dict(json.loads(dump_line(hello(adapters()))))


def answer() -> Message:
    """The answer to the question, with nothing wrong in it."""
    asked = {"op": "run", "implementation": "batch_norm.BatchNorm"}
    (one,) = answers(adapters(), {**asked, "cases": [{"number": 7, **encode_case(QUESTION.case)}]})
    return dict(json.loads(dump_line(one)))


GOOD: Final[dict[str, Callable[[], Message]]] = {"Hello": greeting, "Answer": answer}


def told(message: Any) -> list[str]:
    found = of_hello.faults_of(message, "float32") if "protocol" in message else of_answers.faults_of(message, QUESTION)
    return [f"{one.place}: {one.what}" for one in found]


def set_at(message: Any, path: str, value: Any) -> Any:
    """The message with another value at a path such as ``steps/0/state``; without it where the value is ``...``."""
    changed = copy.deepcopy(message)
    *parents, last = [int(one) if one.isdigit() else one for one in path.split("/")]
    inner = changed
    for one in parents:
        inner = inner[one]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return changed


def test_a_good_hello_and_a_good_answer_have_no_fault() -> None:
    assert told(greeting()) == []
    assert told(answer()) == []


LACK: Final = {"why": "", "source": ""}


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("protocol", 1, "protocol: 1, this is 2; nothing else is read"),
        ("versions/torch", 2, "versions.torch: 2 is no text"),
        ("dtypes", ["float8"], 'dtypes[0]: "float8" is none of bfloat16, float16, float32, float64'),
        ("dtypes", [], "dtypes: empty; name at least one"),
        ("serves", ["float64"], "serves: float32, for which the worker was started, is not in it"),
        ("serves", ["float32", "float16"], "serves: float16 is not in the hello's dtypes: float32, float64"),
        ("actions", ["dance"], 'actions[0]: "dance" is none of reset, save_load, freeze, unfreeze, freeze_model, '
         "unfreeze_model, momentum, another_layer, set_parameters, inspect, layouts, parameter_dtypes"),
        ("longest_line", 100, "longest_line: 100 is less than 65536"),
        ("implementations", [], "implementations: empty; name at least one"),
        ("implementations/1/id", "group_norm.GroupNorm",
         'implementations: the id "group_norm.GroupNorm" stands in it 2 times'),
        ("implementations/0/layer", "rms_norm",
         'implementations[0].layer: "rms_norm" is none of group_norm, batch_norm'),
        ("implementations/0/ranks", [3, 2], "implementations[0].ranks: [3, 2] is not ascending"),
        ("implementations/0/ranks", [], "implementations[0].ranks: [] has less than 1 items"),
        ("implementations/0/slow", 0, "implementations[0].slow: 0 is no true or false"),
        ("implementations/0/names", {"epsilon": "eps"}, "implementations[0].names.epsilon: no setting; allowed: "
         "num_channels, num_groups, eps, momentum, weight, bias, track, weight, bias, running_mean, running_var"),
        ("implementations/0/dtypes", ["float16"], "implementations (group_norm.GroupNorm): dtypes: float16 is not in "
         "the hello's dtypes: float32, float64"),
        ("implementations/0/lacks", [LACK], "implementations[0].lacks[0]: '' has no condition; give one of settings, "
         "given, left_out, ranks, dtypes, modes, actions, shapes or gradients"),
        ("implementations/0/lacks", [{**LACK, "ranks": [7]}],
         "implementations[0].lacks[0]: ranks has 7; allowed: 1, 2, 3, 4, 5"),
        ("implementations/0/lacks", [{"why": ""}], "implementations[0].lacks[0].source: missing"),
        ("kin", [{"id": "a", "layer": "rms_norm", "ranks": [2]}],
         'kin[0].layer: "rms_norm" is none of instance_norm, layer_norm'),
        ("implementations/0/mod", "eager", None),  # a field of tomorrow; `mode` is there
        ("number", "7", 'number: "7" is no whole number'),
        ("steps", [], "steps: 0 results for 2 steps"),
        ("steps/0/output/shape", [2, 3], "steps[0].output.shape: [2, 3] where [3, 2] is due"),
        ("steps/0/output/data", "AAAA", "steps[0].output.data: 3 bytes; [3, 2] in float32 has 24"),
        ("steps/0/output/data", "AA", 'steps[0].output.data: "AA" is not base64 with padding'),
        ("steps/0/output/dtype", "bfloat16", 'steps[0].output.dtype: "bfloat16" is none of float16, float32, float64'),
        ("steps/0/dtype", "float64", "steps[0].output.dtype: float32; values of float64 travel as float64"),
        ("steps/0/state/running_var", ..., "steps[0].state.running_var: missing; give it, or declare it in the hello's "
         "lacks"),
        ("steps/0/state/mean", {"dtype": "float32", "shape": [0], "data": ""},
         "steps[0].state.mean: not asked for, or not of this layer; allowed: running_mean, running_var"),
        ("steps/1/state/weight", ..., "steps[1].state.weight: missing; give it, or declare it in the hello's lacks"),
        ("steps/0/gradients/dweight", ..., "steps[0].gradients.dweight: missing; give it, or declare it in the hello's "
         "lacks"),
        ("steps/0/gradients/dx/shape", [6], "steps[0].gradients.dx.shape: [6] where [3, 2] is due"),
        ("steps/0/gradients", ..., "steps[0].gradients.dx: missing; give it, or declare it in the hello's lacks"),
        ("steps/0/dtypes/dy", "float32", "steps[0].dtypes.dy: neither in state nor in gradients"),
        ("steps/0/modified", ["x", "dy", "dy"], 'steps[0].modified[2]: "dy" stands there twice'),
        ("steps/0/shares", ["x", "x"], 'steps[0].shares[1]: "x" stands there twice'),
        ("steps/0/shares", ["dbias", "dweight and dbias", "dx and itself"], None),
        ("steps/0/read_only", ["dx", "dx"], 'steps[0].read_only[1]: "dx" stands there twice'),
        ("steps/1/trainable", ["eps"],
         'steps[1].trainable[0]: "eps" is none of weight, bias, running_mean, running_var'),
        ("steps/1/trainable", ..., "steps[1].trainable: missing, though the step has inspect; give it, or declare it "
         "in the hello's lacks"),
        ("warnings", ["a", "a"], "warnings: has a text twice"),
        ("unsupported", "no", 'unsupported: "no" is not declared; declare it in the hello\'s lacks'),
        ("raised", {"where": "step 0", "type": "", "message": ""},
         'raised.where: "step 0" does not match ^(construct|step [1-9][0-9]*)$(?!\\n)'),
        ("raised", {"where": "step 1", "type": "E", "message": "no"}, 'raised.where: "step 1" after 2 results'),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_its_place(path: str, value: Any, fault: str | None) -> None:
    first = path.partition("/")[0]
    good = answer() if first in {"number", "steps", "warnings", "unsupported", "raised"} else greeting()
    found = told(set_at(good, path, value))
    assert (fault in found) if fault is not None else (found == [])


@pytest.mark.parametrize("layer", ["group_norm", "batch_norm"])
@pytest.mark.parametrize("rank", [2, 3, 4, 5])
def test_every_layer_of_one_rank_is_asked_something_of_every_kind(layer: str, rank: int) -> None:
    described = {"id": "one", "layer": layer, "ranks": [rank], "layout": "", "names": {}, "documentation": "",
                 "remedies": {}, "signature_defaults": {}}  # fmt: skip
    said = hello_of({**greeting(), "implementations": [described]}, "float32")
    made = questions(said, said.implementations[0], "float32")
    shapes = {one.label: one.case.steps[0].x.shape for one in made}
    assert len(made) > 10
    assert {len(shape) for shape in shapes.values()} == {rank}
    assert shapes["one value per channel"] == (1, 4, *(1 for _ in range(rank - 2)))
    assert shapes["no samples"][0] == 0
    assert any(step.dy is not None for one in made for step in one.case.steps)


def test_faults_in_several_places_are_told_together() -> None:
    broken = set_at(set_at(set_at(greeting(), "device", ...), "versions", 3), "implementations/1/ranks/0", 6)
    assert set(told(broken)) == {
        "device: missing",
        "versions: 3 is no object",
        "implementations[1].ranks[0]: 6 is none of 2, 3, 4, 5",
    }


def paths(message: Any, before: str = "") -> Iterator[str]:
    inner = message.items() if isinstance(message, dict) else enumerate(message) if isinstance(message, list) else ()
    for key, value in inner:
        if "/" not in str(key):
            yield f"{before}{key}"
            yield from paths(value, f"{before}{key}/")


NONSENSE: Final[tuple[Any, ...]] = (
    ...,
    None,
    True,
    0,
    -1,
    3,
    1.5,
    "",
    "x",
    "float32",
    [],
    ["x"],
    [1],
    {},
    {"x": 1},
    {"data": "!"},
)


@functools.cache
def validator(kind: str) -> Any:
    return jsonschema.Draft202012Validator({**published(), "anyOf": [{}], "$ref": f"#/$defs/{kind}"})


def place_of(path: Iterable[str | int]) -> str:
    return functools.reduce(
        lambda place, one: f"{place}[{one}]" if isinstance(one, int) else inside(place, one), path, ""
    )


def spoilt(data: st.DataObject, kind: str) -> Message:
    """A message of this kind with nonsense in one to three places."""
    message = GOOD[kind]()
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(paths(message))))
        message = set_at(message, path, data.draw(st.sampled_from(NONSENSE)))
    return message


def test_what_is_said_of_the_memory_of_results_reaches_the_host() -> None:
    message = answer()
    message["steps"][0] |= {"shares": ["dweight and dbias"], "read_only": ["dx"]}
    seen = msgspec.convert(message, Answer).observation()
    assert [(step.shares, step.read_only) for step in seen.steps] == [(("dweight and dbias",), ("dx",)), ((), ())]
    del message["steps"][0]["read_only"]  # as programs do that know nothing of it
    assert msgspec.convert(message, Answer).observation().steps[0].read_only == ()


def test_an_implementation_with_an_empty_id_is_a_fault_and_no_traceback() -> None:
    message = set_at(GOOD["Hello"](), "implementations/0/id", "")
    assert "implementations[0].id" in {one.place for one in of_hello.faults_of(message, "float32")}


@settings(max_examples=100, deadline=None)
@given(data=st.data(), kind=st.sampled_from(sorted(GOOD)))
def test_a_message_without_a_fault_is_one_that_the_host_takes(data: st.DataObject, kind: str) -> None:
    message = spoilt(data, kind)
    found = of_hello.faults_of(message, "float32") if kind == "Hello" else of_answers.faults_of(message, QUESTION)
    if not found and kind == "Hello":
        hello_of(message, "float32")
    if not found and kind == "Answer":
        msgspec.convert(message, Answer).observation()


@settings(max_examples=100, deadline=None)
@given(data=st.data(), kind=st.sampled_from(sorted(GOOD)))
def test_the_walk_over_the_schema_finds_faults_where_jsonschema_does(data: st.DataObject, kind: str) -> None:
    message = spoilt(data, kind)
    theirs = {place_of(error.absolute_path) for error in validator(kind).iter_errors(message)}
    own = [one for one in faults(kind, message) if "base64" not in one.what and "no field of" not in one.what]
    places = {one.place.rpartition(".")[0] if one.what == "missing" else one.place for one in own}
    assert {one for one in places if not any(is_below(one, other) for other in theirs)} == set()
    assert {one for one in theirs if not any(is_below(other, one) for other in places)} == set()


def is_below(place: str, other: str) -> bool:
    return other in {place, ""} or place.startswith((f"{other}.", f"{other}["))
