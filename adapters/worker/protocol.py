"""The line protocol's encoding: one JSON object a line, arrays as base64 of little-endian bytes.

docs/protocol.md describes the messages for authors of workers in other languages.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from normgauge.adapters.case import Action, Array, Case, Element, Observation, Raised, Step, StepResult

PROTOCOL = 2


#: Of every message: an encoder is made once.
_JSON: Final = json.JSONEncoder(separators=(",", ":"), default=str, allow_nan=False)


@functools.cache
def _little_endian(dtype: str | np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(dtype).newbyteorder("<")


@functools.cache
def _name(dtype: np.dtype[Any]) -> str:
    return dtype.name


def encode_array(array: Array) -> dict[str, Any]:
    little = array.astype(_little_endian(array.dtype), copy=False)
    return {
        "dtype": _name(array.dtype),
        "shape": list(array.shape),
        "data": binascii.b2a_base64(little.tobytes(), newline=False).decode("ascii"),
    }


def decode_array(message: Mapping[str, Any]) -> Array:
    dtype = _little_endian(message["dtype"])
    if dtype.kind != "f" or any(n < 0 for n in message["shape"]):
        raise ValueError(f"no array of real numbers: dtype {message['dtype']!r}, shape {message['shape']!r}")
    flat = np.frombuffer(base64.b64decode(message["data"]), dtype=dtype)
    return flat.reshape(message["shape"]).astype(np.dtype(message["dtype"]))


def encode_case(case: Case) -> dict[str, Any]:
    return {
        "layer": case.layer,
        "dtype": case.dtype,
        "settings": dict(sorted(case.settings.items())),
        "parameters": {name: encode_array(value) for name, value in sorted(case.parameters.items())},
        "steps": [_encode_step(step) for step in case.steps],
        **({"dtypes": dict(sorted(case.dtypes.items()))} if case.dtypes else {}),
    }


def _encode_step(step: Step) -> dict[str, Any]:
    message: dict[str, Any] = {"mode": step.mode, "x": encode_array(step.x)}
    if step.dy is not None:
        message["dy"] = encode_array(step.dy)
    if step.before:
        message["before"] = [_encode_action(action) for action in step.before]
    message |= {name: layout for name, layout in (("layout", step.layout), ("dy_layout", step.dy_layout)) if layout}
    message |= {"derivative": step.derivative} if step.derivative else {}
    return message | {"inspect": True} if step.inspect else message


def _encode_action(action: Action) -> dict[str, Any]:
    message: dict[str, Any] = {"action": action.name}
    if action.name == "momentum":
        message["value"] = action.value
    if action.name == "set_parameters":
        message["parameters"] = {name: encode_array(value) for name, value in sorted(action.parameters.items())}
    return message


def _decode_action(message: Mapping[str, Any]) -> Action:
    parameters = {name: decode_array(value) for name, value in message.get("parameters", {}).items()}
    return Action(message["action"], message.get("value"), parameters)


def _decode_step(message: Mapping[str, Any]) -> Step:
    dy = decode_array(message["dy"]) if "dy" in message else None
    before = tuple(map(_decode_action, message.get("before", ())))
    return Step(
        message["mode"],
        decode_array(message["x"]),
        dy,
        before,
        inspect=message.get("inspect", False),
        layout=message.get("layout", ""),
        dy_layout=message.get("dy_layout", ""),
        derivative=message.get("derivative", ""),
    )


def decode_case(message: Mapping[str, Any]) -> Case:
    return Case(
        layer=message["layer"],
        dtype=message["dtype"],
        settings=message["settings"],
        parameters={name: decode_array(value) for name, value in message["parameters"].items()},
        steps=tuple(_decode_step(step) for step in message["steps"]),
        dtypes=message.get("dtypes", {}),
    )


def encode_element(element: Element | None) -> dict[str, Any]:
    """The field of a request for a script, where there is an element."""
    if element is None:
        return {}
    return {"element": {"step": element.step, "quantity": element.quantity, "index": list(element.index)}}


def decode_element(message: Mapping[str, Any]) -> Element | None:
    told = message.get("element")
    return Element(step=told["step"], quantity=told["quantity"], index=tuple(told["index"])) if told else None


#: The ids of cases, by digest. Many layers have the same cases, and a large case takes long to encode.
_IDS: Final[dict[bytes, str]] = {}
_MOST_IDS: Final = 4096


def case_id(case: Case) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of the encoded case."""
    if case.digest not in _IDS:
        if len(_IDS) >= _MOST_IDS:
            _IDS.clear()
        text = json.dumps(encode_case(case), sort_keys=True, separators=(",", ":"))
        _IDS[case.digest] = hashlib.sha256(text.encode()).hexdigest()[:12]
    return _IDS[case.digest]


def encode_observation(seen: Observation) -> dict[str, Any]:
    message: dict[str, Any] = {
        "steps": [_encode_result(step) for step in seen.steps],
        "warnings": list(seen.warnings),
    }
    if seen.raised is not None:
        message["raised"] = {
            "where": seen.raised.where,
            "type": seen.raised.type,
            "message": seen.raised.message,
        }
    return message


def _encode_result(step: StepResult) -> dict[str, Any]:
    message = {
        "output": encode_array(step.output),
        "dtype": step.dtype,
        "state": {name: encode_array(value) for name, value in step.state.items()},
        "modified": list(step.modified),
        "shares": list(step.shares),
        "read_only": list(step.read_only),
        "gradients": {name: encode_array(value) for name, value in step.gradients.items()},
        "dtypes": dict(step.dtypes),
    }
    return message if step.trainable is None else message | {"trainable": list(step.trainable)}


def _decode_raised(message: Mapping[str, Any]) -> Raised:
    return Raised(where=str(message["where"]), type=str(message["type"]), message=str(message["message"]))


def decode_observation(message: Mapping[str, Any]) -> Observation:
    raised = message.get("raised")
    return Observation(
        steps=tuple(
            StepResult(
                output=decode_array(step["output"]),
                dtype=step["dtype"],
                state={name: decode_array(value) for name, value in step["state"].items()},
                modified=tuple(step["modified"]),
                shares=tuple(step.get("shares", ())),
                read_only=tuple(step.get("read_only", ())),
                gradients={name: decode_array(value) for name, value in step.get("gradients", {}).items()},
                dtypes=dict(step.get("dtypes", {})),
                trainable=tuple(map(str, step["trainable"])) if "trainable" in step else None,
            )
            for step in message["steps"]
        ),
        raised=_decode_raised(raised) if raised else None,
        died=None,
        warnings=tuple(message["warnings"]),
    )


def dump_line(message: Mapping[str, Any]) -> bytes:
    """``message`` as one line; what JSON has no form for travels as its text."""
    return _JSON.encode(message).encode() + b"\n"
