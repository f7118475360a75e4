"""The ways in which users run a torch layer: how its input lies in memory, and who calls it.

- ``channels_last`` and ``channels_last_3d`` are torch's memory formats.
- ``strided`` is a view of every second element of a buffer whose other elements are NaN.
- ``expanded`` is one sample in memory that is all samples of the batch.
- ``mixed`` has parameters of float32 and an input of half precision; ``autocast`` has parameters of float32,
  calls the layer inside ``torch.autocast`` and takes the input as it is, which a layer before it has made.
- ``compile`` calls the layer through ``torch.compile``, ``mixed_compile`` one with parameters of float32.
- ``vmap`` maps the layer over one more axis, of two: the input and its negative.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

HALF: Final = ("float16", "bfloat16")
_DOUBLE: Final = ("float32", "float64")


@dataclass(frozen=True, kw_only=True)
class Mode:
    """A way of running a layer. ``lays_out`` and ``forward`` are names of functions: what is made of a tensor in
    canonical layout, and of the layer, before the one is given to the other.
    """

    name: str
    #: The rank that the mode is for, where it is for one alone.
    rank: int | None = None
    #: The dtypes that it differs in; empty: all.
    dtypes: tuple[str, ...] = ()
    #: Whether the layer has parameters of float32, whatever its input is of.
    wide: bool = False
    compiles: bool = False
    lays_out: str = ""
    forward: str = ""
    remedies: Mapping[str, str] = field(default_factory=dict)

    def missing(self) -> str | None:
        compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
        if not self.compiles or sys.platform == "win32" or shutil.which(compiler):
            return None
        return f"torch.compile needs a C++ compiler; there is no {compiler} here (the variable CXX names another)"


_CONTIGUOUS: Final = {"accuracy=one_pass": "call x.contiguous() first"}
#: Every mode by its name, the plain one first.
MODES: Final[Mapping[str, Mode]] = {
    one.name: one
    for one in (
        Mode(name="eager"),
        Mode(name="channels_last", rank=4, lays_out="channels_last", remedies=_CONTIGUOUS),
        Mode(name="channels_last_3d", rank=5, dtypes=_DOUBLE, lays_out="channels_last_3d", remedies=_CONTIGUOUS),
        Mode(name="strided", dtypes=_DOUBLE, lays_out="strided"),
        Mode(name="expanded", dtypes=_DOUBLE, lays_out="expanded"),
        Mode(name="mixed", dtypes=HALF, wide=True),
        Mode(name="autocast", dtypes=(*HALF, "float32"), wide=True, forward="under_autocast"),
        Mode(name="vmap", dtypes=("float32",), lays_out="with_negative", forward="mapped"),
        Mode(name="compile", compiles=True, forward="compiled"),
        Mode(name="mixed_compile", dtypes=HALF, wide=True, compiles=True, forward="compiled"),
    )
}
