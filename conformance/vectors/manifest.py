"""The manifest of a set of vectors: its records, the names of tensors in it, and its JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from normgauge.results.grounds import Ground
from normgauge.results.schemas import schema_of

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
SCHEMA: Final = "manifest.schema.json"
#: The folder, in that of the set, with the explored cases as `normgauge run --cases` reads them.
CASES: Final = "cases"

Version = Literal[1]
Layer = str


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of the manifest."""


class Flag(Part, frozen=True, kw_only=True):
    """A requirement, or a bug.

    ``note`` says what holds, or what an implementation with the bug computes. ``sources`` are the places that say so or
    that have the bug, ``links`` the addresses among them.
    """

    kind: Literal["requirement", "bug"]
    layer: Layer
    title: str
    note: str
    ground: Ground | None = None
    sources: tuple[str, ...] = ()
    links: tuple[str, ...] = ()


class Arithmetic(Part, frozen=True, kw_only=True):
    """The arithmetic that a bound allows: the type of sums, and whether the rest is rounded to the case's type."""

    computes_in: str
    rounds_intermediates: bool = False


class Expected(Part, frozen=True, kw_only=True):
    """The tensors of an expected quantity; an element is right if it lies within value ± bound."""

    value: str
    bound: str


class Action(Part, frozen=True, kw_only=True):
    """What is done to the layer before a call; ``parameters`` are the tensors that ``set_parameters`` sets."""

    action: str
    value: float | None = None
    parameters: dict[str, str] = {}


class Call(Part, frozen=True, kw_only=True):
    """One call of the layer, in training or in eval.

    ``x`` and ``dy`` name tensors. With ``dy`` the gradients of sum(y * dy) are asked for. ``answer`` names the tensors
    that the answer to this call has, by quantity. ``expected`` has, for each semantics, a value and a bound for each of
    them; nothing for a semantics that refuses the call.
    """

    mode: Literal["train", "eval"]
    x: str
    dy: str | None = None
    before: tuple[Action, ...] = ()
    answer: dict[str, str]
    expected: dict[str, dict[str, Expected]] = {}


class Case(Part, frozen=True, kw_only=True):
    """A new layer and its calls.

    ``titles`` say what the case is about, ``flags`` name the requirements that it belongs to, ``catches`` the bugs with
    which an output leaves the bounds of the canonical semantics. ``parameters`` name the tensors that the layer is
    given; ``dtypes`` those of them that are of another type than ``dtype``.

    A ``refusal`` is an exception: it is ``required`` under every semantics, or ``allowed`` in place of the output.
    ``refused`` says, by semantics, why the layer must raise an exception. ``measures`` names a setting that the case
    leaves to the layer's default: nothing is expected then, and `normgauge vectors judge` measures the default.
    """

    id: str
    layer: Layer
    dtype: str
    file: str
    accuracy: str
    titles: tuple[str, ...]
    flags: tuple[str, ...]
    catches: tuple[str, ...] = ()
    settings: dict[str, Any]
    parameters: dict[str, str] = {}
    dtypes: dict[str, str] = {}
    steps: tuple[Call, ...]
    refusal: Literal["required", "allowed"] | None = None
    refused: dict[str, str] = {}
    measures: str | None = None


class LeftOut(Part, frozen=True, kw_only=True):
    """Cases that the set does not have, by requirement, and why."""

    why: str
    cases: dict[str, int]


class Manifest(Part, frozen=True, kw_only=True):
    """A set of vectors.

    ``semantics`` has, by name and layer, the axes on which it is not canonical. ``files`` has the SHA-256 of each file
    of tensors, ``arithmetic`` what the bounds allow at each dtype, ``largest`` the number of values that the inputs of
    a case have at most.
    """

    format: Version
    suite: str
    accuracy: str
    layers: tuple[Layer, ...]
    dtypes: tuple[str, ...]
    ranks: tuple[int, ...]
    largest: int
    arithmetic: dict[str, Arithmetic]
    semantics: dict[str, dict[Layer, dict[str, str]]]
    files: dict[str, str]
    left_out: tuple[LeftOut, ...]
    flags: dict[str, Flag]
    cases: tuple[Case, ...]


class BrokenVectors(ValueError):
    """A set of vectors, or a folder of answers, that cannot be read; the message names the file and the remedy."""


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the set in ``folder``.

    Raises:
        BrokenVectors: there is none, or it is of another format.
    """
    path = folder / MANIFEST
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except OSError as error:
        raise BrokenVectors(
            f"{path} cannot be read: {error.strerror}; write a set with: normgauge vectors export {folder}"
        ) from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BrokenVectors(f"{path} is no manifest of format {FORMAT}: {error}; export the set again") from None


def written(manifest: Manifest) -> str:
    """The manifest as text: a line for each case and each flag."""
    parts: Mapping[str, Any] = msgspec.to_builtins(manifest)
    lines = []
    for name, value in parts.items():
        if name in {"cases", "left_out"}:
            inner = ",\n".join(f"  {_json(one)}" for one in value)
            lines.append(f'"{name}": [\n{inner}\n ]' if value else f'"{name}": []')
        elif name == "flags":
            inner = ",\n".join(f"  {_json(key)}: {_json(one)}" for key, one in value.items())
            lines.append(f'"{name}": {{\n{inner}\n }}')
        else:
            lines.append(f'"{name}": {_json(value)}')
    return "{\n " + ",\n ".join(lines) + "\n}\n"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def schema() -> dict[str, Any]:
    """The JSON Schema of the manifest, generated from its records."""
    return schema_of(Manifest, "vectors", "the manifest of a set of vectors", FORMAT)
