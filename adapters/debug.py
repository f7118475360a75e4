"""The traceback of what a case raised, on standard error, where somebody looks for a mistake (`--debug`)."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Final

#: The environment variable that asks for it.
DEBUG: Final = "NORMGAUGE_DEBUG"


class Tracebacks:
    """Each exception of an implementation once: of a type, raised at a place."""

    def __init__(self) -> None:
        self._wanted = bool(os.environ.get(DEBUG))
        self._shown: set[tuple[str, str, str, int]] = set()

    def show(self, implementation: str, dtype: str, where: str, error: Exception) -> None:
        """Write the traceback of ``error`` if it is wanted and was not written before."""
        if not self._wanted:
            return
        *_, last = traceback.extract_tb(error.__traceback__)
        key = (implementation, type(error).__name__, last.filename, last.lineno or 0)
        if key not in self._shown:
            self._shown.add(key)
            lines = traceback.format_exception(type(error), error, error.__traceback__)
            print(f"{implementation} {dtype}, {where}:\n{''.join(lines)}", file=sys.stderr, flush=True)
