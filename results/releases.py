"""Which release of its framework a run is about, and which release is older."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from typing import Final

from packaging.version import InvalidVersion, Version

from normgauge.results.records import Header

_VERSION: Final = re.compile(r"\d[^\s,]*")


def age(release: str) -> tuple[bool, Version, str]:
    """A key that sorts releases from old to new; what names no version comes last."""
    for word in _VERSION.findall(release):
        with contextlib.suppress(InvalidVersion):
            return False, Version(word), release
    return True, Version("0"), release


def release_of(header: Header, siblings: Sequence[Header]) -> str:
    """What tells a run from the others of its framework: the versions in which they differ, the device."""
    if not header.versions:  # it never started
        return ""
    others = [one for one in siblings if one.versions]
    differ = [
        (name, version)
        for name, version in header.versions.items()
        if any(one.versions.get(name) != version for one in others)
    ]
    said = [version if len(differ) == 1 else f"{name} {version}" for name, version in differ]
    if any(one.device != header.device for one in others):
        said.append(header.device)
    return ", ".join(said)
