"""What a hello must have beyond the schema, and what of a faulty one can be gone on with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from normgauge.adapters.case import PARAMETERS, SETTINGS
from normgauge.adapters.lacks import ASKED, Lack
from normgauge.adapters.worker.protocol import PROTOCOL
from normgauge.conformance.form.faults import Fault, faults, inside, listed, shown
from normgauge.conformance.layers.registry import layer_kinds
from normgauge.conformance.subjects.messages import Hello

#: What stands for a required field that is faulty or missing, so that the cases can be asked all the same.
_IN_PLACE: Final[Mapping[str, Any]] = {
    "protocol": PROTOCOL, "framework": "worker", "versions": {}, "platform": "", "device": "", "implementations": [],
}  # fmt: skip
_IN_PLACE_OF_ONE: Final[Mapping[str, Any]] = {
    "layout": "", "names": {}, "documentation": "", "ranks": [2, 3, 4, 5], "remedies": {}, "signature_defaults": {},
}  # fmt: skip
#: The lists of a hello, with the layers that may be in each.
_LISTS: Final = ("implementations", "kin")
_KIN: Final = ("instance_norm", "layer_norm")
#: What the keys of an object may be.
_KEYS: Final[Mapping[str, Sequence[str]]] = {
    "names": (*SETTINGS, *PARAMETERS),
    "signature_defaults": SETTINGS,
}


def faults_of(message: Any, dtype: str) -> list[Fault]:
    """Everything that is wrong in the hello of a worker that was started for ``dtype``."""
    if isinstance(message, dict) and "cannot_import" in message:
        return list(faults("CannotImport", message))
    if isinstance(message, dict) and message.get("protocol", PROTOCOL) != PROTOCOL:
        return [Fault(place="protocol", what=f"{shown(message['protocol'])}, this is {PROTOCOL}; nothing else is read")]
    found = list(faults("Hello", message))
    if isinstance(message, dict):
        found += [fault for name in _LISTS for fault in _of_list(message.get(name), name)]
    hello = usable(message, dtype)
    return [*found, *_of_whole(hello, dtype, found)]


def usable(message: Any, dtype: str) -> Hello:
    """The hello without its faulty parts, which have something harmless in their place."""
    if not isinstance(message, dict):
        message = {}
    kept = _without(message, faults("Hello", {**message, **{name: [] for name in _LISTS}}))
    for name in _LISTS:
        named = (_usable_one(one) for one in _objects(message.get(name)) if _is_named(one, name))
        kept[name] = [one for one in named if "id" in one]  # an id with a fault is none
    return msgspec.convert({**_IN_PLACE, "dtypes": [dtype], **kept}, Hello)


def _without(message: Mapping[str, Any], found: Iterable[Fault]) -> dict[str, Any]:
    """``message`` without the fields that have a fault."""
    faulty = {fault.place.partition(".")[0].partition("[")[0] for fault in found}
    return {name: value for name, value in message.items() if name not in faulty}


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _is_named(one: Mapping[str, Any], name: str) -> bool:
    """Whether it can be asked for, and as what."""
    known: Iterable[str] = _KIN if name == "kin" else layer_kinds()
    return isinstance(one.get("id"), str) and one.get("layer") in list(known)


def _usable_one(one: Mapping[str, Any]) -> dict[str, Any]:
    lacks = [lack for lack in _objects(one.get("lacks")) if not any(faults("Lack", lack)) and not _wrong_lack(lack)]
    kept = _without(one, faults("Description", {**one, "lacks": []}))
    return {**_IN_PLACE_OF_ONE, **kept, "lacks": lacks}


def _wrong_lack(lack: Any) -> str | None:
    """What a declaration names that does not exist; None where nothing, or where the schema tells what is wrong."""
    if any(faults("Lack", lack)):
        return None
    try:
        msgspec.convert(lack, Lack)
    except msgspec.ValidationError as error:
        return str(error).removeprefix("lacks: ")
    return None


def _of_list(value: Any, name: str) -> Iterator[Fault]:
    """What is wrong in each of a list of implementations or of related layers, as far as each is of the right form."""
    for index, one in enumerate(value if isinstance(value, list) else ()):
        place = f"{name}[{index}]"
        if not isinstance(one, dict):
            continue
        allowed = _KIN if name == "kin" else tuple(layer_kinds())
        if isinstance(one.get("layer"), str) and one["layer"] not in allowed:
            yield Fault(place=f"{place}.layer", what=f"{shown(one['layer'])} is none of {listed(allowed)}")
        ranks = one.get("ranks")
        formed = not any(faults("RelatedLayer", {"id": "x", "layer": "", "ranks": ranks}))
        if formed and isinstance(ranks, list) and ranks != sorted(set(ranks)):
            yield Fault(place=f"{place}.ranks", what=f"{shown(ranks)} is not ascending")
        for field, keys in _KEYS.items():
            given = one.get(field)
            for key in given if isinstance(given, dict) else ():
                if key not in keys:
                    yield Fault(place=inside(f"{place}.{field}", key), what=f"no setting; allowed: {listed(keys)}")
        for number, lack in enumerate(_objects(one.get("lacks"))):
            if (wrong := _wrong_lack(lack)) is not None:
                yield Fault(place=f"{place}.lacks[{number}]", what=wrong)


def _of_whole(hello: Hello, dtype: str, found: Sequence[Fault]) -> Iterator[Fault]:
    """What is wrong between fields, as far as they are of the right form."""
    told = {fault.place for fault in found}
    if not hello.implementations and not any(place.startswith("implementations") for place in told):
        yield Fault(place="implementations", what="empty; name at least one")
    if not hello.dtypes:
        yield Fault(place="dtypes", what="empty; name at least one")
    for index, action in enumerate(hello.actions):
        if action not in ASKED:
            yield Fault(place=f"actions[{index}]", what=f"{shown(action)} is none of {listed(ASKED)}")
    if hello.serves and dtype in hello.dtypes and dtype not in hello.serves:
        yield Fault(place="serves", what=f"{dtype}, for which the worker was started, is not in it")
    yield from _not_of_the_framework([one for one in hello.serves if one != dtype], hello, "serves")
    ids = [*(one.id for one in hello.implementations), *(one.id for one in hello.kin)]
    for one in dict.fromkeys(ids):
        if ids.count(one) > 1:
            yield Fault(place="implementations", what=f"the id {shown(one)} stands in it {ids.count(one)} times")
    for described in hello.implementations:
        yield from _not_of_the_framework(described.dtypes, hello, f"implementations ({described.id}): dtypes")


def _not_of_the_framework(dtypes: Iterable[str], hello: Hello, place: str) -> Iterator[Fault]:
    for dtype in dtypes:
        if dtype not in hello.dtypes:
            yield Fault(place=place, what=f"{dtype} is not in the hello's dtypes: {listed(hello.dtypes)}")
