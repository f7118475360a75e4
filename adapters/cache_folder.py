"""Where normgauge keeps what it can make again, and how such a folder stays small. The standard library is enough."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Final

#: The environment variable that names another folder for everything that is kept; empty, it keeps nothing.
VARIABLE: Final = "NORMGAUGE_CACHE_DIR"


def cache_folder(name: str) -> Path | None:
    """The folder for one kind of kept files, which need not exist yet; None where nothing is to be kept.

    It is ``name`` inside of the folder that :data:`VARIABLE` names, else inside of ``normgauge`` in the user's
    cache folder: ``$XDG_CACHE_HOME`` or ``~/.cache``, on macOS ``~/Library/Caches``, on Windows ``%LOCALAPPDATA%``.
    """
    named = os.environ.get(VARIABLE)
    if named is not None:
        return Path(named).absolute() / name if named else None
    if sys.platform == "darwin":
        users = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        users = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return users / "normgauge" / name


def usable(folder: Path) -> bool:
    """Whether files can be written into ``folder``, which is made where it is missing, for this user alone."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def keep_within(folder: Path, most: int) -> None:
    """Delete the files of ``folder`` that were used longest ago, until all together have at most ``most`` bytes.

    Other processes may read, write and delete there meanwhile. A file was used when it was last read, as far as
    the file system notes that, or written.
    """
    files: list[tuple[float, int, Path]] = []
    for place, _, names in os.walk(folder):
        for path in (Path(place, name) for name in names):
            with contextlib.suppress(OSError):  # deleted by another process
                found = path.stat()
                files.append((max(found.st_atime, found.st_mtime), found.st_size, path))
    size = sum(bytes_of_one for _, bytes_of_one, _ in files)
    for _, bytes_of_one, path in sorted(files):
        if size <= most:
            break
        with contextlib.suppress(OSError):
            path.unlink()
        size -= bytes_of_one
