"""Arrays from files: npy, npz, safetensors, and torch's checkpoints where torch is installed. Nothing is unpickled."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from normgauge.conformance.identify.arrays import CannotIdentify

#: Arrays of a file by their names; of a file that holds one without a name, by the empty name.
Arrays = Mapping[str, Any]
_SHOWN: Final = 12


def read(words: str) -> Any:
    """The array that ``FILE`` or ``FILE:KEY`` names.

    Raises:
        CannotIdentify: there is no such file or key, or it is of another format.
    """
    path, key = _split(words)
    arrays = read_all(path)
    if key is None and len(arrays) == 1:
        return next(iter(arrays.values()))
    if key is None:
        raise CannotIdentify(f"{path} has several arrays; name one, such as {path}:{_names(arrays)[0]}")
    if key not in arrays:
        raise CannotIdentify(f"{path} has no array {key!r}; it has: {', '.join(_names(arrays))}")
    return arrays[key]


def bundle(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """The arrays of a file whose names are among ``names``, such as x, y and weight.

    Raises:
        CannotIdentify: no array has such a name.
    """
    arrays = read_all(path)
    found = {name: arrays[name] for name in names if name in arrays}
    if not found:
        raise CannotIdentify(
            f"{path} has no array by one of these names: {', '.join(names)}; it has: {', '.join(_names(arrays))}; "
            f"give them one by one, such as --x {path}:{_names(arrays)[0]}"
        )
    return found


def _split(words: str) -> tuple[Path, str | None]:
    """FILE:KEY in its parts; a file of that whole name comes first."""
    file, colon, key = words.rpartition(":")
    if not colon or Path(words).exists() or not Path(file).suffix:
        return Path(words), None
    return Path(file), key


def _names(arrays: Arrays) -> list[str]:
    names = list(arrays)
    return [*names[:_SHOWN], f"and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else names


def read_all(path: Path) -> Arrays:
    """Every array of a file by its name.

    Raises:
        CannotIdentify: the file cannot be read, or is of another format.
    """
    if path.suffix not in READERS:
        raise CannotIdentify(f"{path} is of no known format; allowed: {', '.join(READERS)}")
    if not path.is_file():
        raise CannotIdentify(f"{path} is no file; give the path of an array in {', '.join(READERS)}")
    try:
        found = READERS[path.suffix](path)
    except CannotIdentify:
        raise
    except Exception as error:  # what a file holds is anybody's
        raise CannotIdentify(f"{path} cannot be read as {path.suffix}: {str(error).splitlines()[0]}") from None
    if not found:
        raise CannotIdentify(f"{path} has no arrays")
    return found


def _npy(path: Path) -> Arrays:
    try:
        return {"": np.load(path, allow_pickle=False)}
    except ValueError as error:
        raise _pickled(path, error) from None


def _npz(path: Path) -> Arrays:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except ValueError as error:
        raise _pickled(path, error) from None


def _pickled(path: Path, error: ValueError) -> CannotIdentify:
    if "pickle" not in str(error):
        return CannotIdentify(f"{path} cannot be read: {error}")
    return CannotIdentify(
        f"{path} has an array of Python objects, which could run code when it is read; save it as an array of numbers, "
        "such as with np.save(path, np.asarray(values, dtype=np.float32))"
    )


def _safetensors(path: Path) -> Arrays:
    if importlib.util.find_spec("safetensors") is None:
        raise CannotIdentify(f"{path} needs safetensors: python -m pip install 'normgauge[safetensors]'")
    import safetensors

    deserialize: Any = safetensors.deserialize
    known = ((name, one) for name, one in deserialize(path.read_bytes()) if one["dtype"] in {"BF16", *_DTYPES})
    return {name: _of_bytes(one) for name, one in known}


def _of_bytes(one: Mapping[str, Any]) -> Any:
    """An array of safetensors; one of bfloat16, which NumPy does not have, is held in float32."""
    if one["dtype"] == "BF16":
        wide = np.frombuffer(one["data"], dtype="<u2").astype(np.uint32) << 16
        return Bfloat16(wide.view(np.float32).reshape(one["shape"]))
    return np.frombuffer(one["data"], dtype=_DTYPES[one["dtype"]]).reshape(one["shape"])


#: The types of safetensors that NumPy has.
_DTYPES: Final = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1",
    "BOOL": "?",
}  # fmt: skip


class Bfloat16:
    """Numbers of bfloat16, held in float32."""

    dtype = "bfloat16"

    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        self._values = values

    def astype(self, dtype: Any) -> np.ndarray[Any, Any]:
        return self._values.astype(dtype)


def _torch(path: Path) -> Arrays:
    if importlib.util.find_spec("torch") is None:
        raise CannotIdentify(f"{path} is a checkpoint of torch, which is not installed; save its arrays as .npz")
    import torch

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        first = str(error).splitlines()[0]
        raise CannotIdentify(
            f"{path} has more than arrays, and is not read: {first}; save its state_dict() or tensors alone"
        ) from None
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if isinstance(found, torch.Tensor):
        return {"": found}
    if not isinstance(found, Mapping):
        raise CannotIdentify(f"{path} holds a {type(found).__name__}; allowed: a tensor, or tensors by name")
    return {str(name): one for name, one in found.items() if isinstance(one, torch.Tensor)}


#: How each format is read, by the suffix of its files.
READERS: Final[Mapping[str, Callable[[Path], Arrays]]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".pt": _torch,
    ".pth": _torch,
    ".ckpt": _torch,
}
