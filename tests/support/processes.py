"""Whether processes still run."""

from __future__ import annotations

from pathlib import Path


def alive(process: int) -> bool:
    """Whether the process runs; one that ended and waits for its parent to notice does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
