"""What a worker wrote, made wrong: edits of a message as a tree, of its arrays, and of the bytes of a whole stream."""

from __future__ import annotations

import contextlib
import json
import random
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

Place: TypeAlias = tuple[Any, Any]  # a list or an object, and the place in it
Edit: TypeAlias = Callable[[random.Random, Any], None]

#: Marks in texts that :func:`dumped` takes away: what stands between two is written as it is, one behind a key makes
#: the key another one until then.
_RAW: Final = "\ue001"
_AGAIN: Final = "\ue000"

LONG: Final = 2**20
#: Bytes of the longest stream: edits of what was edited may multiply.
LONGEST: Final = 12 * LONG
NUMBERS: Final = (
    0,
    -1,
    1,
    2,
    3,
    7,
    33,
    2**31,
    2**53,
    2**53 + 1,
    2**63,
    2**64,
    -(2**63) - 1,
    10**400,
    0.5,
    -0.0,
    1e308,
    2.0,
)
RAW: Final = (
    "NaN", "-Infinity", "1e999", "-1e-999", "1" * 5000, "01", "+1", "1.", ".5", "0x10", "tru", "", "'a'", "1 2",
    "[" * 900 + "]" * 900, "[" * 100_000 + "]" * 100_000, "[" * 5000, "]", "}", ",", "1e5", "2.0", "-0",
)  # fmt: skip
TEXTS: Final = (
    "", "x" * LONG, "\0", "\ud800", "\U0001f600" * 1000, "\n" * 1000, "\x1b[2J\x07", "a\nTraceback (most recent",
    "\u202e", "%s %d", "{}", "[red]", "<script>", "../..", "float32", "float99", "train", "step 1", "step 0",
    "construct", "weight", "running_var", "nan", "é" * 300,
)  # fmt: skip
#: Names of fields that a message may be without, and others.
FIELDS: Final = (
    "mood", "", "x" * 1000, "weight", "dx", "number", "\0", "cannot_import", "kin", "lacks", "serves", "actions",
    "dtypes", "longest_line", "unsupported", "raised", "trainable", "gradients", "missing", "promotes", "mode",
    "script",
)  # fmt: skip
OTHERS: Final[tuple[Any, ...]] = (None, True, False, [], {}, [None], [[]], {"": None}, {"a": {"a": {}}})


# --- a message as a tree --------------------------------------------------------------------------


def places(value: Any) -> Iterator[Place]:
    """Every place of a tree below its root."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


def any_place(rng: random.Random, message: Any, wanted: Callable[[Any], bool] = lambda _: True) -> Place:
    """One of the places whose value is as wanted, those of little depth more often; of the root where there is none."""
    found = [(box, key) for box, key in places(message) if wanted(box[key])]
    return rng.choice(found[: rng.choice((12, 60, len(found)))] or found) if found else (message, next(iter(message)))


def raw(text: str) -> str:
    return f"{_RAW}{text}{_RAW}"


def other_value(rng: random.Random) -> Any:
    """A value of any type."""
    return rng.choice(
        (
            lambda: rng.choice(NUMBERS),
            lambda: raw(rng.choice(RAW)),
            lambda: rng.choice(TEXTS),
            lambda: json.loads(json.dumps(rng.choice(OTHERS))),
        )
    )()


def drop(rng: random.Random, message: Any) -> None:
    box, key = any_place(rng, message)
    del box[key]


def drop_of_many(rng: random.Random, message: Any) -> None:
    for _ in range(rng.randint(2, 6)):
        if message:
            drop(rng, message)


def retype(rng: random.Random, message: Any) -> None:
    box, key = any_place(rng, message)
    box[key] = other_value(rng)


def retype_text(rng: random.Random, message: Any) -> None:
    box, key = any_place(rng, message, lambda value: isinstance(value, str))
    box[key] = rng.choice(TEXTS)


def retype_number(rng: random.Random, message: Any) -> None:
    box, key = any_place(rng, message, lambda value: isinstance(value, int | float))
    box[key] = rng.choice((*NUMBERS, *map(raw, RAW)))


def nest(rng: random.Random, message: Any) -> None:
    box, key = any_place(rng, message)
    for _ in range(rng.choice((1, 1, 2, 30))):
        box[key] = [box[key]] if rng.random() < 0.5 else {"a": box[key]}


def unnest(rng: random.Random, message: Any) -> None:
    box, key = any_place(rng, message, lambda value: isinstance(value, list | dict) and bool(value))
    inside = box[key]
    if isinstance(inside, list | dict):
        box[key] = inside[next(iter(inside))] if isinstance(inside, dict) else inside[0]


def unknown_field(rng: random.Random, message: Any) -> None:
    box, key = any_place(rng, message, lambda value: isinstance(value, dict))
    inside = box[key] if isinstance(box[key], dict) else message
    inside[rng.choice(FIELDS)] = other_value(rng)


def repeat_field(rng: random.Random, message: Any) -> None:
    """A name twice in one object, with another value or the same."""
    box, key = any_place(rng, message)
    while not isinstance(box, dict):
        box, key = message, next(iter(message))
    box[f"{key}{_AGAIN}"] = other_value(rng) if rng.random() < 0.5 else box[key]


def rename_field(rng: random.Random, message: Any) -> None:
    box, key = any_place(rng, message)
    if isinstance(box, dict):
        box[rng.choice((str(key).upper(), f"{key}s", f" {key}", "x"))] = box.pop(key)


def repeat_item(rng: random.Random, message: Any) -> None:
    box, key = any_place(rng, message, lambda value: isinstance(value, list) and bool(value))
    if isinstance(box[key], list):
        box[key].extend(box[key][:1] * rng.choice((1, 2, 1000, 1000 if isinstance(box[key][0], dict) else 100_000)))


def copy_over(rng: random.Random, message: Any) -> None:
    """The value of one place in another."""
    there, name = any_place(rng, message)
    box, key = any_place(rng, message)
    box[key] = json.loads(json.dumps(there[name]))


def other_number(rng: random.Random, message: Any) -> None:
    name = "number" if "number" in message else "protocol"
    message[name] = rng.choice((0, 1, 2, 3, 4, 5, 99, -1, "2", 2.5, None, True, 2**53, 2**64, 10**400, raw("2.0")))


def is_array(value: Any) -> bool:
    return isinstance(value, dict) and {"shape", "data"} <= value.keys()


def any_array(rng: random.Random, message: Any) -> Any:
    box, key = any_place(rng, message, is_array)
    return box[key] if is_array(box[key]) else {"dtype": "", "shape": [1], "data": ""}


def other_shape(rng: random.Random, message: Any) -> None:
    array = any_array(rng, message)
    shape = array["shape"] if isinstance(array["shape"], list) else [1]
    array["shape"] = rng.choice(
        (
            shape[::-1], shape[1:], [*shape, 1], [1, *shape], [], [0], [0] * 40, [1] * 32, [1] * 33, [-1, *shape[1:]],
            [10**6, 10**6], [2**62, 4], [2**64, 0], [10**30], [0, 10**18], [1.0, *shape[1:]], [None], "2", 4,
            [*shape[:-1], raw("1e2")],
        )
    )  # fmt: skip


def other_data(rng: random.Random, message: Any) -> None:
    array = any_array(rng, message)
    data = array["data"] if isinstance(array["data"], str) else ""
    array["data"] = rng.choice(
        (
            data[:-1], data[1:], f"{data}=", f"{data}AAAA", data + "AAAA" * (LONG // 8), "", f"!{data[1:]}",
            f"{data}\n",
            data.replace("A", "-"), data.replace("=", ""), "A" * 7, "====", data[::-1], "é" * 4, data.lower(),
            "AADAfwAAgH8AAID/"[: len(data)] + data[16:],
        )
    )  # fmt: skip


def other_dtype(rng: random.Random, message: Any) -> None:
    names = ("float16", "float32", "float64", "bfloat16", "int32", "object", "", "<f4", "float128", "f4", "complex64")
    any_array(rng, message)["dtype"] = rng.choice(names)


TREE: Final[dict[str, Edit]] = {
    edit.__name__: edit
    for edit in (
        drop, drop_of_many, retype, retype_text, retype_number, nest, unnest, unknown_field, repeat_field, rename_field,
        repeat_item, copy_over, other_number, other_shape, other_data, other_dtype,
    )
}  # fmt: skip


def dumped(message: Any) -> bytes:
    """The message as a line, with what JSON does not have."""
    text = json.dumps(message).replace(json.dumps(_AGAIN)[1:-1], "")
    mark = re.escape(json.dumps(_RAW)[1:-1])
    return re.sub(f'"{mark}(.*?){mark}"', lambda found: found[1], text).encode() + b"\n"


# --- the bytes of a stream -------------------------------------------------------------------------


def somewhere(rng: random.Random, stream: bytes) -> int:
    return rng.randrange(len(stream) + 1)


def inserted(*texts: bytes) -> Callable[[random.Random, bytes], bytes]:
    def edit(rng: random.Random, stream: bytes) -> bytes:
        place = somewhere(rng, stream)
        return stream[:place] + rng.choice(texts) + stream[place:]

    return edit


def at_the_beginning_of_a_line(*texts: bytes) -> Callable[[random.Random, bytes], bytes]:
    def edit(rng: random.Random, stream: bytes) -> bytes:
        lines = stream.splitlines(keepends=True)
        place = rng.randrange(len(lines) + 1)
        return b"".join([*lines[:place], rng.choice(texts), *lines[place:]])

    return edit


def truncated(rng: random.Random, stream: bytes) -> bytes:
    return stream[: somewhere(rng, stream)]


def without_a_part(rng: random.Random, stream: bytes) -> bytes:
    place = somewhere(rng, stream)
    return stream[:place] + stream[place + rng.choice((1, 2, 10, 500)) :]


def other_bytes(rng: random.Random, stream: bytes) -> bytes:
    changed = bytearray(stream)
    for _ in range(rng.choice((1, 1, 3, 50))):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def other_order(rng: random.Random, stream: bytes) -> bytes:
    lines = stream.splitlines(keepends=True)
    rng.shuffle(lines)
    return b"".join(lines)


def a_line_twice(rng: random.Random, stream: bytes) -> bytes:
    lines = stream.splitlines(keepends=True)
    place = rng.randrange(len(lines))
    return b"".join([*lines[:place], *lines[place : place + 1] * rng.choice((1, 2, 1000)), *lines[place:]])


def without_a_line(rng: random.Random, stream: bytes) -> bytes:
    lines = stream.splitlines(keepends=True)
    del lines[rng.randrange(len(lines))]
    return b"".join(lines)


def joined_lines(rng: random.Random, stream: bytes) -> bytes:
    return stream.replace(
        b"\n", rng.choice((b"", b" ", b"\r", b"\r\n", b"\n\n", b"\0\n", b"\xe2\x80\xa8")), rng.randint(1, 3)
    )


def other_encoding(rng: random.Random, stream: bytes) -> bytes:
    return stream.decode().encode(rng.choice(("utf-16", "utf-32", "utf-8-sig", "utf-7", "cp037")))


BYTES: Final[dict[str, Callable[[random.Random, bytes], bytes]]] = {
    "several_lines": inserted(b"\n", b"\n\n\n", b"\r\n"),
    "invalid_utf8": inserted(b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf5\x80\x80\x80"),
    "null_byte": inserted(b"\0", b"\0" * 4096),
    "byte_order_mark": at_the_beginning_of_a_line(b"\xef\xbb\xbf", b"\xff\xfe"),
    "stray_line": at_the_beginning_of_a_line(b"\n", b"loading\n", b"{}\n", b"null\n", b"[]\n", b'{"number":1}\n'),
    "very_long": at_the_beginning_of_a_line(b" " * (5 * LONG), b"x" * (5 * LONG), b"[" * LONG, b"\n" * LONG),
    **{
        edit.__name__: edit
        for edit in (
            truncated, without_a_part, other_bytes, other_order, a_line_twice, without_a_line, joined_lines,
            other_encoding,
        )
    },
}  # fmt: skip


def edited(rng: random.Random, line: bytes, *names: str) -> bytes:
    """A line after these edits of the tree, of which one that finds nothing to edit, after the others, does nothing."""
    message = json.loads(line)
    for name in names:
        with contextlib.suppress(LookupError, StopIteration):
            TREE[name](rng, message)
    return dumped(message)


def mutant(rng: random.Random, lines: list[bytes]) -> tuple[str, bytes]:
    """A name and a stream: some lines edited once or more often, or the stream as bytes."""
    lines = list(lines)
    if rng.random() < 0.25:
        name = rng.choice(list(BYTES))
        return name, BYTES[name](rng, b"".join(lines))[:LONGEST]
    name = rng.choice(list(TREE))
    # The hello is one line of many, and stops all others.
    for place in (
        [0] if rng.random() < 0.3 else rng.sample(range(1, len(lines)), min(rng.randint(1, 3), len(lines) - 1))
    ):
        others = [one for one in rng.sample(list(TREE), rng.choice((0, 0, 0, 1, 3))) if one != "repeat_item"]
        lines[place] = edited(rng, lines[place], name, *others)
    return name, b"".join(lines)[:LONGEST]
