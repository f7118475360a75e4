"""What JAX has compiled, kept on disk for the next process: the part of an adapter whose framework is JAX.

JAX compiles every operation for every new shape, which takes most of a worker's time. Its own persistent cache gives
the same machine code back, so results stay the same byte for byte. It is set by environment variables, and left
alone where the user's environment names a cache.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from normgauge.adapters.base import Adapter
from normgauge.adapters.cache_folder import cache_folder, keep_within, usable
from normgauge.adapters.case import Case, Observation

#: Bytes of all files together; the experiments of flax and of keras-jax at four dtypes write about 13 MB.
MOST_BYTES: Final = 512 * 2**20
_VARIABLE: Final = "JAX_COMPILATION_CACHE_DIR"
#: JAX keeps only what took a second to compile, unless it is told otherwise; here hardly anything does.
_KEEP_ALL: Final = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    # By default a GPU's compiler gets a cache, too, and its path is then a part of what JAX looks up.
    "JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES": "none",
}
#: What JAX says of an entry that it could not read or write; then it compiles, as without a cache.
_DAMAGED: Final = re.compile("UserWarning: Error (reading|writing) persistent compilation cache entry")


class OnJax(Adapter):
    """An adapter whose framework computes with JAX. Its ``__init__`` is called before anything is compiled."""

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype)
        import jax

        self.jax = jax
        folder = _folder()
        if folder is not None and getattr(jax.config, "jax_compilation_cache_dir", None) == str(folder):
            if usable(folder):
                keep_within(folder.parent, MOST_BYTES)
            else:
                jax.config.update("jax_compilation_cache_dir", None)

    @classmethod
    def environment(cls, dtype: str) -> Mapping[str, str]:
        wide = {"JAX_ENABLE_X64": "1"} if dtype == "float64" else {}
        return {**super().environment(dtype), **wide}

    @classmethod
    def caching(cls) -> Mapping[str, str]:
        folder = _folder()
        ours = str(folder)
        free = folder is not None and os.environ.get(_VARIABLE, ours) == ours
        return {_VARIABLE: ours, **_KEEP_ALL} if free else {}

    def device(self) -> str:
        return str(self.jax.devices()[0].platform)

    def run(self, identifier: str, case: Case) -> Observation:
        """As for every adapter. What JAX says about its cache says nothing about the layer, and is left out."""
        seen = super().run(identifier, case)
        about_cache = [text for text in seen.warnings if _DAMAGED.match(text)]
        if not about_cache:
            return seen
        if any("Error reading" in text for text in about_cache):
            _throw_away()
        return replace(seen, warnings=tuple(text for text in seen.warnings if text not in about_cache))


def _throw_away() -> None:
    """Delete everything that this machine has kept: JAX does not say which entry is damaged, and keeps it."""
    folder = _folder()
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
        usable(folder)


def _folder() -> Path | None:
    """Several machines may share the folder; code is compiled for one processor, so each kind has a part of it."""
    folder = cache_folder("jax")
    return None if folder is None else folder / _processor()


@functools.cache
def _processor() -> str:
    """A few hexadecimal digits that stand for the processor, its features and the number of its cores."""
    known: list[Any] = [platform.system(), platform.machine(), platform.processor(), os.cpu_count()]
    with contextlib.suppress(OSError):  # Linux alone has it
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        known += sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
    return hashlib.sha256(repr(known).encode()).hexdigest()[:12]
