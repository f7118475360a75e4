"""A framework's profile: what result files say of it, in a few kilobytes, so that a package can carry it.

``profile.schema.json`` beside this file is generated from these classes. A profile has no evidence: the result files
that made it have, and ``results`` names them with their digests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from normgauge.results.file import BrokenResults
from normgauge.results.records import Verdict

FORMAT: Final = 1


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of an implementation's id, its layout, and the ranks of its inputs."""

    layer: str
    class_path: str
    layout: str
    ranks: list[int]
    options: str = ""
    backend: str = ""
    mode: str = "eager"


class Sheet(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was measured alike for the dtypes of some implementations, ``members``.

    ``axes`` has the values of each axis that no case excluded. ``defaults`` has for each setting its text in the
    signature and the measured number, with the digits that are supported, or null. ``measured`` has the words for the
    verdicts of requirements that are not about an axis, where there are any.
    """

    members: dict[str, list[str]]
    known: bool = True
    axes: dict[str, list[str]]
    defaults: dict[str, list[str | None]] = {}
    computes_in: str
    accuracy: str | None
    types: dict[str, str] = {}
    verdicts: dict[Verdict, list[str]] = {}
    measured: dict[str, str] = {}


class FrameworkProfile(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was measured of one release of a framework.

    ``catalogue`` has the digests of the requirements and axes that were asked. ``absent`` has the dtypes that the
    framework does not have, with the reason. ``results`` has the SHA-256 of each result file by its name. ``stale``
    says why the profile is no longer what would be measured now; empty where it is.
    """

    format: int
    framework: str
    versions: dict[str, str]
    suite: str
    python: str
    platform: str
    numpy: str
    device: str
    started: str
    budget: str
    catalogue: dict[str, str]
    results: dict[str, str]
    absent: dict[str, str]
    implementations: dict[str, Identity]
    sheets: list[Sheet]
    stale: str = ""


def read_profile(path: Path) -> FrameworkProfile:
    """The profile in a file.

    Raises:
        BrokenResults: the file is no profile of this format.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=FrameworkProfile)
    except OSError as error:
        raise BrokenResults(f"{path} cannot be read: {error.strerror}; give a profile of `normgauge profile`") from None
    except msgspec.DecodeError as error:
        raise BrokenResults(
            f"{path} is not a profile: {error}; write it with: normgauge profile FILE --out FOLDER"
        ) from None
    if found.format != FORMAT:
        raise BrokenResults(
            f"{path}: format {found.format} is not known, this release reads {FORMAT}; "
            "write it again with: normgauge profile FILE --out FOLDER"
        )
    return found


def text_of(profile: FrameworkProfile) -> str:
    """The profile as JSON, with a line for each implementation and each sheet."""
    fields = msgspec.to_builtins(profile)
    lines = [f"{_json(name)}: {_value(value)}" for name, value in fields.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _value(value: Any) -> str:
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(map(_json, value)) + "\n]"
    if isinstance(value, dict) and any(isinstance(one, dict) for one in value.values()):
        return "{\n" + ",\n".join(f"{_json(name)}: {_json(one)}" for name, one in value.items()) + "\n}"
    return _json(value)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def schema() -> dict[str, Any]:
    """The JSON Schema of a profile."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"normgauge profile, format {FORMAT}",
        **msgspec.json.schema(FrameworkProfile),
    }
