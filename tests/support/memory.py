"""How much memory this process has needed."""

from __future__ import annotations

import re
import resource
from pathlib import Path


def peak_memory() -> int:
    """KiB of the host at its largest since the last :func:`forget_peak`, or since it began."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.findall(r"VmHWM:\s+(\d+)", status.read_text())[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def forget_peak() -> None:
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")
