"""The published schema of the protocol: it is current, and what is said in either direction satisfies it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import jsonschema
import numpy as np
import pytest

from normgauge.adapters.case import ACTIONS, SETTINGS, Action, Case, Step
from normgauge.adapters.worker.main import Adapters, answers, hello
from normgauge.adapters.worker.protocol import PROTOCOL, dump_line, encode_case
from normgauge.conformance.exploration.budget import BUDGETS
from normgauge.conformance.run.engine import run_framework
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.line_pipes import Lines
from normgauge.conformance.subjects.requests import Settings
from normgauge.conformance.subjects.schema import published, schema
from normgauge.conformance.subjects.subject import Launch

X: Final = np.array([[1, 3]], np.float32)
EVERYTHING: Final = Case(
    layer="batch_norm",
    dtype="float32",
    settings={"num_channels": 2, "eps": 0.0, "momentum": None, "weight": True, "bias": False, "track": True},
    parameters={"running_var": np.ones(2, np.float32), "weight": np.ones(2, np.float16)},
    dtypes={"weight": "float16"},
    steps=(
        Step("train", X, X),
        Step("eval", X, before=tuple(Action(name, 0.5 if name == "momentum" else None) for name in ACTIONS)),
        Step("eval", X, before=(Action("set_parameters", parameters={"bias": np.ones(2, np.float32)}),)),
        Step("eval", X, inspect=True),
    ),
)


def validator(kind: str) -> Any:
    return jsonschema.Draft202012Validator({**published(), "anyOf": [{"$ref": f"#/$defs/{kind}"}]})


def faults(kind: str, line: bytes) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator(kind).iter_errors(json.loads(line))]


def test_the_published_schema_is_the_one_by_which_messages_are_decoded() -> None:
    assert json.loads(json.dumps(schema())) == published(), (
        "write it anew: python -m normgauge.conformance.subjects.schema > conformance/subjects/protocol.schema.json"
    )
    jsonschema.Draft202012Validator.check_schema(published())


def test_it_says_of_which_version_it_is() -> None:
    assert published()["$id"] == f"urn:normgauge:worker-protocol:{PROTOCOL}"
    assert not validator("CannotImport").is_valid({"protocol": PROTOCOL + 1, "cannot_import": "no libfoo"})
    assert validator("CannotImport").is_valid({"protocol": PROTOCOL, "cannot_import": "no libfoo"})


def test_what_our_own_worker_writes_satisfies_it() -> None:
    adapters = Adapters("faulty.adapter:FaultyAdapter", "float32")
    case = encode_case(EVERYTHING)
    asked = {"implementation": "batch_norm.BatchNorm", "number": 7, "about": "one sentence", "case": case}
    run = {"op": "run", "implementation": "batch_norm.BatchNorm", "cases": [{"number": 7, **case}]}
    written: Iterator[tuple[str, Any]] = iter(
        [
            ("Hello", hello(adapters)),
            *(("Answer", one) for one in answers(adapters, run)),
            *(("ScriptAnswer", one) for one in answers(adapters, {"op": "script", **asked})),
            *(("ErrorAnswer", one) for one in answers(adapters, {"op": "dance", "number": 7})),
        ]
    )
    for kind, message in written:
        assert faults(kind, dump_line(message)) == []
        assert not validator(kind).is_valid({"protocol": PROTOCOL})


def request(case: dict[str, Any]) -> bytes:
    return dump_line({"op": "run", "implementation": "one", "cases": [{"number": 1, **case}]})


def test_a_request_with_everything_in_it_satisfies_it_and_one_with_a_wrong_part_does_not() -> None:
    good = encode_case(EVERYTHING)
    assert faults("RunRequest", request(good)) == []
    for broken in (
        {"dtype": "float8"},
        {"settings": {"eps": 1e-5}},
        {"settings": {"num_channels": 2, "momentum": "none"}},
        {"parameters": {"weight": [1, 2]}},
        {"steps": [{"mode": "test", "x": good["steps"][0]["x"]}]},
        {"steps": [{"mode": "train"}]},
        {"steps": [{**good["steps"][0], "before": [{"value": 1.0}]}]},
        {"steps": [{**good["steps"][0], "before": [{"action": "dance"}]}]},
    ):
        assert len(faults("RunRequest", request({**good, **broken}))) == 1, broken


def test_every_setting_that_a_case_may_have_is_in_it() -> None:
    assert Settings.__struct_fields__ == SETTINGS


@pytest.mark.slow
def test_everything_that_the_host_writes_in_a_whole_run_satisfies_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []
    send = Lines.send

    def noted(self: Lines, line: bytes) -> None:
        sent.append(line)
        send(self, line)

    monkeypatch.setattr(Lines, "send", noted)
    layers = ("group_norm.Interleaved", "batch_norm.BatchNorm")
    wanted = Wanted(dtypes=("float32",), implementations=layers, budget=BUDGETS["quick"])
    list(run_framework(Launch(framework="faulty.adapter:FaultyAdapter"), wanted))
    kinds = {"run": "RunRequest", "script": "ScriptRequest"}
    seen = {kind: [line for line in sent if json.loads(line)["op"] == op] for op, kind in kinds.items()}
    assert len(seen["RunRequest"]) > 50
    assert seen["ScriptRequest"]
    for kind, lines in seen.items():
        checked = validator(kind)
        assert [error.message for line in lines for error in checked.iter_errors(json.loads(line))] == []
