"""Answers from files: arrays by case, step and quantity, and what a file beside them says in words."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from normgauge.adapters.case import Array
from normgauge.adapters.lacks import Lack
from normgauge.conformance.subjects.messages import Exceptional, Name
from normgauge.conformance.vectors.manifest import BrokenVectors

#: The file with what is no array.
NOTES: Final = "answers.json"
#: The name of an answer's array.
_NAME: Final = re.compile(r"([0-9a-f]{12})/([1-9]\d*)/([a-z_]+)")
#: The types of safetensors that an answer may have, and what NumPy holds them in.
_DTYPES: Final = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_TYPES: Final = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class Notes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``answers.json`` may say: nothing of it is needed.

    ``framework`` is the name in the result file, ``implementations`` has the ids by layer. ``raised`` has the exception
    that ended a case, by the case's id. ``lacks`` are unsupported features, as in the hello of a worker.
    """

    framework: Name = "answers"
    versions: dict[str, str] = {}
    platform: str = ""
    device: str = "cpu"
    implementations: dict[str, Name] = {}
    raised: dict[str, Exceptional] = {}
    lacks: tuple[Lack, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Answered:
    """An array of an answer with its type, or what is wrong with it."""

    values: Array
    dtype: str
    fault: str = ""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The arrays by case, step and quantity; ``strange`` has the names that are none of an answer's."""

    notes: Notes
    arrays: Mapping[tuple[str, int, str], Answered]
    strange: tuple[str, ...] = ()
    ids: frozenset[str] = field(default_factory=frozenset)


def read_answers(folder: Path) -> Answers:
    """Every answer below ``folder``: .safetensors with names CASE/STEP/QUANTITY, or CASE/STEP/QUANTITY.npy.

    Raises:
        BrokenVectors: there is no such folder or no file of answers, or a file cannot be read.
    """
    if not folder.is_dir():
        raise BrokenVectors(f"there is no folder {folder}; give the folder with the answers")
    arrays: dict[tuple[str, int, str], Answered] = {}
    strange: list[str] = []
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix in _READERS and path.is_file()]
    for path in paths:
        for name, array in _read(folder, path):
            match = _NAME.fullmatch(name)
            if match is None:
                strange.append(f"{path}: {name!r}")
                continue
            key = (match[1], int(match[2]), match[3])
            if key in arrays:
                raise BrokenVectors(f"{path}: {name} is answered twice; give one answer")
            arrays[key] = array
    notes = _notes(folder / NOTES)
    if not arrays and not notes.raised:
        raise BrokenVectors(
            f"{folder} has no answers; write .safetensors with tensors CASE/STEP/QUANTITY, or CASE/STEP/QUANTITY.npy"
        )
    ids = frozenset(case for case, _, _ in arrays) | frozenset(notes.raised)
    return Answers(notes=notes, arrays=arrays, strange=tuple(strange), ids=ids)


def _notes(path: Path) -> Notes:
    if not path.exists():
        return Notes()
    try:
        return msgspec.json.decode(path.read_bytes(), type=Notes)
    except OSError as error:
        raise BrokenVectors(f"{path} cannot be read: {error.strerror}") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise BrokenVectors(f"{path} cannot be used: {error}; docs/vectors.md says what it has") from None


def _read(folder: Path, path: Path) -> Iterator[tuple[str, Answered]]:
    try:
        yield from _READERS[path.suffix](folder, path)
    except BrokenVectors:
        raise
    except Exception as error:  # what a file holds is anybody's
        raise BrokenVectors(
            f"{path} cannot be read as {path.suffix}: {(str(error) or type(error).__name__).splitlines()[0]}"
        ) from None


def _npy(folder: Path, path: Path) -> Iterator[tuple[str, Answered]]:
    values = np.load(path, allow_pickle=False)
    name = path.relative_to(folder).with_suffix("").as_posix()
    known = values.dtype.name in _TYPES.values()
    yield (
        name,
        Answered(
            values=values.astype(values.dtype.newbyteorder("=")),
            dtype=values.dtype.name,
            fault="" if known else _wrong_type(values.dtype.name),
        ),
    )


def _safetensors(folder: Path, path: Path) -> Iterator[tuple[str, Answered]]:
    if importlib.util.find_spec("safetensors") is None:
        raise BrokenVectors(f"{path} needs safetensors: python -m pip install 'normgauge[safetensors]'")
    import safetensors

    deserialize: Any = safetensors.deserialize
    for name, one in deserialize(path.read_bytes()):
        if one["dtype"] not in _DTYPES:
            yield name, Answered(values=np.empty(0), dtype=one["dtype"], fault=_wrong_type(one["dtype"]))
            continue
        values: Array = np.frombuffer(one["data"], dtype=_DTYPES[one["dtype"]]).reshape(one["shape"])
        if one["dtype"] == "BF16":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        yield name, Answered(values=values.astype(values.dtype.newbyteorder("=")), dtype=_TYPES[one["dtype"]])


def _wrong_type(dtype: str) -> str:
    return f"an array of type {dtype}; allowed: {', '.join(_TYPES.values())}"


_READERS: Final[Mapping[str, Callable[[Path, Path], Iterator[tuple[str, Answered]]]]] = {
    ".npy": _npy,
    ".safetensors": _safetensors,
}
