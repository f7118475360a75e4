"""The ways in which users run a torch layer: how its input lies in memory, and who calls it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from normgauge.adapters.dtypes import FULL
from normgauge.adapters.lacks import Lack
from normgauge.adapters.mode import PLAIN, Mode

_MEMORY_FORMATS: Final = "https://docs.pytorch.org/docs/2.13/tensor_attributes.html#torch-memory-format"
_EXPAND: Final = "https://docs.pytorch.org/docs/2.13/generated/torch.Tensor.expand.html"
HALF: Final = ("float16", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class TorchMode(Mode):
    """A mode of torch. ``lays_out`` and ``forward`` are names of functions: what is made of a tensor in canonical
    layout, and of the layer, before the one is given to the other. Where it promotes, parameters are of float32.
    """

    #: The rank and the classes that the mode is for, where it is not for all.
    rank: int | None = None
    classes: tuple[str, ...] = ()
    lays_out: str = ""
    forward: str = ""

    def lacks(self) -> tuple[Lack, ...]:
        """The inputs that have no such layout in memory."""
        found = []
        if self.lays_out == self.name and self.rank is not None:
            others = tuple(rank for rank in range(1, 6) if rank != self.rank)
            why = f"{self.name} is a format of {self.rank} dimensions"
            found.append(Lack(why=why, source=_MEMORY_FORMATS, ranks=others))
        if self.equal_samples:
            why = "an expanded batch holds one sample N times; the samples of this one differ"
            found.append(Lack(why=why, source=_EXPAND, shapes=("unequal samples",)))
        return tuple(found)

    def missing(self) -> str | None:
        compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
        if not self.compiles or sys.platform == "win32" or shutil.which(compiler):
            return None
        return f"torch.compile needs a C++ compiler; there is no {compiler} here (the variable CXX names another)"


#: Who calls a layer does not depend on its rank: one BatchNorm of the three stands for all.
_CALLED: Final = ("GroupNorm", "BatchNorm2d")
#: Every mode by its name, the plain one first.
MODES: Final[Mapping[str, TorchMode]] = {
    one.name: one
    for one in (
        TorchMode(name=PLAIN.name, about=PLAIN.about),
        TorchMode(
            name="channels_last",
            about="on an input of torch's memory format channels_last",
            rank=4,
            lays_out="channels_last",
        ),
        TorchMode(
            name="channels_last_3d",
            about="on an input of torch's memory format channels_last_3d",
            rank=5,
            dtypes=FULL,
            lays_out="channels_last_3d",
        ),
        TorchMode(
            name="strided",
            about="on a view of every second element of a buffer whose other elements are NaN",
            dtypes=FULL,
            lays_out="strided",
        ),
        TorchMode(
            name="expanded",
            about="on one sample in memory that is all samples of the batch",
            dtypes=FULL,
            equal_samples=True,
            lays_out="expanded",
        ),
        TorchMode(
            name="mixed",
            about="with parameters of float32 and an input of half precision",
            classes=_CALLED,
            dtypes=HALF,
            promotes=True,
        ),
        TorchMode(
            name="autocast",
            about="with parameters of float32, inside torch.autocast, on an input that a layer before it has made",
            classes=_CALLED,
            dtypes=(*HALF, "float32"),
            promotes=True,
            forward="under_autocast",
        ),
        TorchMode(
            name="compile",
            about="called through torch.compile",
            classes=_CALLED,
            compiles=True,
            thorough=True,
            forward="compiled",
        ),
        TorchMode(
            name="mixed_compile",
            about="with parameters of float32, called through torch.compile on an input of half precision",
            classes=_CALLED,
            dtypes=HALF,
            compiles=True,
            thorough=True,
            promotes=True,
            forward="compiled",
        ),
        TorchMode(
            name="vmap",
            about="mapped over one more axis, of two: the input and its negative",
            classes=("GroupNorm",),
            dtypes=("float32",),
            lays_out="with_negative",
            forward="mapped",
        ),
    )
}
