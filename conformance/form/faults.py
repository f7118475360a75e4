"""A message against the published schema: every fault with its place.

The decoder of ``messages.py`` stops at the first fault; this walk tells all of them. It knows the keywords that the
generated schema has and refuses others. The tests hold it against the package jsonschema.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from normgauge.conformance.subjects.schema import published

Schema = Mapping[str, Any]
#: Letters of a value that are shown.
_SHOWN: Final = 60


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something wrong at a ``place`` of a message, such as ``implementations[1].ranks[0]``; empty for all of it."""

    place: str
    what: str


def faults(kind: str, message: Any) -> Iterator[Fault]:
    """Every fault of ``message`` as one of this kind, a name in the ``$defs`` of the schema."""
    return _walk({"$ref": f"#/$defs/{kind}"}, message, "")


def shown(value: Any) -> str:
    """``value`` as JSON, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return cut(text, _SHOWN)


def cut(text: str, most: int) -> str:
    """``text``, or its first ``most`` letters and an ellipsis; it ends between words where it has any near there.

    >>> cut("the layer raises an exception", 20)
    'the layer raises an...'
    >>> cut("[1.0,2.0,3.0,4.0]", 8)
    '[1.0,2.0...'
    """
    if len(text) <= most:
        return text
    whole, blank, _ = text[: most + 1].rpartition(" ")
    return f"{whole.rstrip() if blank and len(whole) > most // 2 else text[:most]}..."


def inside(place: str, name: str) -> str:
    """The place of a field of the object at ``place``."""
    named = name if name.isidentifier() else f"[{shown(name)}]"
    return f"{place}.{named}" if place and name.isidentifier() else f"{place}{named}"


def listed(values: Iterable[Any]) -> str:
    return ", ".join(one if isinstance(one, str) else shown(one) for one in values)


def _walk(schema: Schema, value: Any, place: str) -> Iterator[Fault]:
    unknown = schema.keys() - _KEYWORDS.keys() - _NOTES
    if unknown:
        raise ValueError(f"the schema has {min(unknown)!r}; known are: {', '.join(_KEYWORDS)}")
    if "type" in schema and not _is(schema["type"], value):
        yield Fault(place=place, what=f"{shown(value)} is no {_WORDS[schema['type']]}")
        return
    for keyword, check in _KEYWORDS.items():
        if keyword in schema:
            yield from check(schema, value, place)


_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,), "number": (int, float),
    "boolean": (bool,), "null": (type(None),),
}  # fmt: skip
_WORDS: Final = {
    "object": "object", "array": "list", "string": "text", "integer": "whole number", "number": "number",
    "boolean": "true or false", "null": "null",
}  # fmt: skip


def _is(kind: str, value: Any) -> bool:
    """Whether a value is of this type, as the decoder takes it: 1.0 is no whole number, true is no number."""
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _properties(schema: Schema, value: Any, place: str) -> Iterator[Fault]:
    known = schema["properties"]
    for name, one in value.items():
        if name in known:
            yield from _walk(known[name], one, inside(place, name))
    absent = [name for name in known if name not in value]
    for name in set(value) - set(known):
        meant = difflib.get_close_matches(name, absent, 1, 0.8)
        if meant:
            yield Fault(place=inside(place, name), what=f"no field of the protocol; {meant[0]} is one")


def _required(schema: Schema, value: Any, place: str) -> Iterator[Fault]:
    for name in schema["required"]:
        if name not in value:
            yield Fault(place=inside(place, name), what="missing")


def _values(schema: Schema, value: Any, place: str) -> Iterator[Fault]:
    for name, one in value.items():
        yield from _walk(schema["additionalProperties"], one, inside(place, name))


def _items(schema: Schema, value: Any, place: str) -> Iterator[Fault]:
    for index, one in enumerate(value):
        yield from _walk(schema["items"], one, f"{place}[{index}]")


def _any_of(schema: Schema, value: Any, place: str) -> Iterator[Fault]:
    """The faults as the alternative that fits best: one whose type is right, where there is such."""
    told = [list(_walk(one, value, place)) for one in schema["anyOf"]]
    if all(told):
        yield from min(told, key=lambda found: any(fault.place == place for fault in found))


def _reference(schema: Schema, value: Any, place: str) -> Iterator[Fault]:
    return _walk(published()["$defs"][schema["$ref"].rpartition("/")[2]], value, place)


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _limit(holds: Callable[[Any, Any], bool], words: str) -> Callable[[Schema, Any, str], Iterator[Fault]]:
    """A keyword that ``holds`` of a value or does not."""
    keyword = words.partition(":")[0]

    def check(schema: Schema, value: Any, place: str) -> Iterator[Fault]:
        limit = schema[keyword]
        if not holds(value, limit):
            text = listed(limit) if isinstance(limit, list) else limit
            yield Fault(place=place, what=f"{shown(value)} {words.partition(': ')[2].format(text)}")

    return check


_KEYWORDS: Final[Mapping[str, Callable[[Schema, Any, str], Iterator[Fault]]]] = {
    "type": lambda schema, value, place: iter(()),  # checked before the others, which need it
    "enum": _limit(lambda value, limit: any(value == one and type(value) is type(one) for one in limit),
                   "enum: is none of {}"),
    "minimum": _limit(lambda value, limit: value >= limit, "minimum: is less than {}"),
    "maximum": _limit(lambda value, limit: value <= limit, "maximum: is more than {}"),
    "minLength": _limit(lambda value, limit: len(value) >= limit, "minLength: is shorter than {} letters"),
    "maxLength": _limit(lambda value, limit: len(value) <= limit, "maxLength: is longer than {} letters"),
    "minItems": _limit(lambda value, limit: len(value) >= limit, "minItems: has less than {} items"),
    "maxItems": _limit(lambda value, limit: len(value) <= limit, "maxItems: has more than {} items"),
    "pattern": _limit(lambda value, limit: re.search(limit, value) is not None, "pattern: does not match {}"),
    "contentEncoding": _limit(lambda value, _: _is_base64(value), "contentEncoding: is not {} with padding"),
    "properties": _properties,
    "required": _required,
    "additionalProperties": _values,
    "items": _items,
    "anyOf": _any_of,
    "$ref": _reference,
}  # fmt: skip
#: Keywords that say nothing about a value.
_NOTES: Final = {"title", "description", "default"}
