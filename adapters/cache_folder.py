"""Where normgauge keeps what it can make again: references of the oracle, what a framework has compiled."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

#: Names a folder in place of the platform's own; empty keeps nothing.
VARIABLE: Final = "NORMGAUGE_CACHE_DIR"


def cache_folder(name: str) -> Path | None:
    """The folder for what is kept under ``name``; it need not exist. None where nothing is to be kept.

    It lies in ``$NORMGAUGE_CACHE_DIR`` where that is set, else in the user's folder for caches: ``$XDG_CACHE_HOME`` or
    ``~/.cache``, ``~/Library/Caches`` on macOS, ``%LOCALAPPDATA%`` on Windows.
    """
    given = os.environ.get(VARIABLE)
    if given is not None:
        return Path(given) / name if given else None
    return _of_the_user() / "normgauge" / name


def _of_the_user() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
