"""The ways in which users run a torch layer, one small class each: how its input lies in memory, and who calls it.

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
import tempfile
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np

from normgauge.adapters.case import Array, Unsupported

HALF: Final = ("float16", "bfloat16")
#: What one call in a script looks like: lines, the last of which sets ``output``.
Lines = tuple[str, ...]


class Mode:
    """A plain call on a plain tensor; ``torch`` is the module, which is not imported here."""

    name: ClassVar[str] = "eager"
    #: The rank that the mode is for, where it is for one alone.
    rank: ClassVar[int | None] = None
    #: The dtypes that it differs in; empty: all.
    dtypes: ClassVar[tuple[str, ...]] = ()
    thorough: ClassVar[bool] = False
    #: The name in scripts of what :meth:`prepare` gives.
    callee: ClassVar[str] = "layer"
    remedies: ClassVar[Mapping[str, str]] = {}

    def missing(self) -> str | None:
        return None

    def parameter_dtype(self, dtype: str) -> str:
        """The dtype in which the layer is constructed for inputs of ``dtype``."""
        return dtype

    def prepare(self, torch: Any, layer: Any) -> Any:
        """What is called in place of the constructed layer."""
        return layer

    def native(self, torch: Any, plain: Any) -> Any:
        """The input in this mode, of a tensor in canonical layout."""
        return plain

    def upstream(self, torch: Any, plain: Any) -> Any:
        """The same for a gradient of the output."""
        return self.native(torch, plain)

    def canonical(self, value: Any) -> Any:
        """The inverse of :meth:`native`, for outputs."""
        return value

    def call(self, torch: Any, layer: Any, x: Any) -> Any:
        return layer(x)

    def gradients(self, torch: Any, layer: Any, x: Any, dy: Any) -> tuple[Any, Mapping[str, Any]]:
        """The output, and the gradients of sum(y * dy) by name."""
        wanted = {"dx": x.requires_grad_(), "dweight": layer.weight, "dbias": layer.bias}
        wanted = {name: value for name, value in wanted.items() if value is not None}
        y = self.call(torch, layer, x)
        found = torch.autograd.grad(y, list(wanted.values()), dy)
        return y.detach(), dict(zip(wanted, found, strict=True))

    def prepare_text(self) -> Lines:
        """The same as :meth:`prepare`, as text; so are the methods below."""
        return ()

    def native_text(self, name: str, plain: str) -> tuple[Lines, str]:
        """Lines that come first, and the expression for the native array of NumPy's array ``name``."""
        return (), plain

    def upstream_text(self, name: str, plain: str) -> tuple[Lines, str]:
        return self.native_text(name, plain)

    def call_text(self, x: str, dtype: str) -> Lines:
        return (f"output = {self.callee}({x})",)

    def gradients_text(self, x: str, dy: str, dtype: str) -> Lines:
        """Lines that set ``output`` and a mapping ``found`` of gradients by name."""
        return (
            f"x = {x}.requires_grad_()",
            *self.call_text("x", dtype),
            "wanted = {'dx': x, 'dweight': layer.weight, 'dbias': layer.bias}",
            "wanted = {name: value for name, value in wanted.items() if value is not None}",
            f"found = dict(zip(wanted, torch.autograd.grad(output, list(wanted.values()), {dy})))",
        )


class ChannelsLast(Mode):
    name = "channels_last"
    rank = 4
    remedies: ClassVar = {"accuracy=one_pass": "call x.contiguous() first"}

    def native(self, torch: Any, plain: Any) -> Any:
        if plain.ndim != self.rank:
            raise Unsupported(f"{self.name} is a format of {self.rank} dimensions; x has {plain.ndim}")
        return plain.to(memory_format=getattr(torch, self.name))

    def native_text(self, name: str, plain: str) -> tuple[Lines, str]:
        return (), f"{plain}.to(memory_format=torch.{self.name})"


class ChannelsLast3d(ChannelsLast):
    name = "channels_last_3d"
    rank = 5
    dtypes = ("float32", "float64")


class Strided(Mode):
    name = "strided"
    dtypes = ("float32", "float64")

    def native(self, torch: Any, plain: Any) -> Any:
        buffer = torch.full([2 * n for n in plain.shape], torch.nan, dtype=plain.dtype)
        return buffer[(slice(1, None, 2),) * plain.ndim].copy_(plain)

    def native_text(self, name: str, plain: str) -> tuple[Lines, str]:
        buffer = f"buffer = torch.full([2 * n for n in {name}.shape], torch.nan, dtype={plain}.dtype)"
        return (buffer,), f"buffer[(slice(1, None, 2),) * {name}.ndim].copy_({plain})"


class Expanded(Mode):
    name = "expanded"
    dtypes = ("float32", "float64")

    def native(self, torch: Any, plain: Any) -> Any:
        samples: Array = plain.numpy()
        if any(not np.array_equal(samples[0], other, equal_nan=True) for other in samples[1:]):
            raise Unsupported("an expanded batch holds one sample N times; the samples of this one differ")
        return plain[:1].clone().expand(plain.shape)  # no other sample lies behind it

    def upstream(self, torch: Any, plain: Any) -> Any:
        return plain  # the samples are one, their gradients need not be

    def native_text(self, name: str, plain: str) -> tuple[Lines, str]:
        return (), f"{plain}[:1].clone().expand({name}.shape)"

    def upstream_text(self, name: str, plain: str) -> tuple[Lines, str]:
        return (), plain


class Mixed(Mode):
    name = "mixed"
    dtypes: ClassVar[tuple[str, ...]] = HALF

    def parameter_dtype(self, dtype: str) -> str:
        return "float32"


class Autocast(Mixed):
    name = "autocast"
    dtypes = (*HALF, "float32")

    def call(self, torch: Any, layer: Any, x: Any) -> Any:
        with torch.autocast("cpu", dtype=x.dtype if x.dtype in (torch.float16, torch.bfloat16) else torch.bfloat16):
            return layer(x)

    def call_text(self, x: str, dtype: str) -> Lines:
        lower = dtype if dtype in HALF else "bfloat16"
        return f"with torch.autocast('cpu', dtype=torch.{lower}):", f"    output = layer({x})"


class Compile(Mode):
    name = "compile"
    thorough = True
    callee = "compiled"

    def missing(self) -> str | None:
        compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
        if sys.platform == "win32" or shutil.which(compiler):
            return None
        return f"torch.compile needs a C++ compiler; there is no {compiler} here (the variable CXX names another)"

    def prepare(self, torch: Any, layer: Any) -> Any:
        """The compiled layer, compiled afresh: torch goes on to compile for any shape what it has seen in two.

        ``fullgraph`` makes an exception of what would be run without the compiler otherwise, such as a layer
        compiled more often than torch's limit. ``layer.compile()`` will not do: it leaves torch's own layers as
        they are.
        """
        if "TORCHINDUCTOR_CACHE_DIR" not in os.environ:  # torch leaves what it compiles; this goes with the process
            self._folder = tempfile.TemporaryDirectory(prefix="normgauge-torch-compile-")
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = self._folder.name
        torch.compiler.reset()
        return torch.compile(layer, fullgraph=True)

    def prepare_text(self) -> Lines:
        return (f"{self.callee} = torch.compile(layer, fullgraph=True)",)


class MixedCompile(Compile):
    name = "mixed_compile"
    dtypes: ClassVar[tuple[str, ...]] = HALF

    def parameter_dtype(self, dtype: str) -> str:
        return "float32"


class Vmap(Mode):
    name = "vmap"
    dtypes = ("float32",)

    def native(self, torch: Any, plain: Any) -> Any:
        return torch.stack([plain, -plain])

    def canonical(self, value: Any) -> Any:
        return value[0]

    def call(self, torch: Any, layer: Any, x: Any) -> Any:
        return torch.func.vmap(layer)(x)

    def gradients(self, torch: Any, layer: Any, x: Any, dy: Any) -> tuple[Any, Mapping[str, Any]]:
        """Those of every entry for itself, as for the gradients of single samples."""

        def one(parameters: Any, x: Any, dy: Any) -> Any:
            y, pull_back = torch.func.vjp(lambda p, x: torch.func.functional_call(layer, p, (x,)), parameters, x)
            return y, *pull_back(dy)

        parameters = {name: value.detach() for name, value in layer.named_parameters()}
        y, of_parameters, dx = torch.func.vmap(one, in_dims=(None, 0, 0))(parameters, x, dy)
        return y, {"dx": dx} | {f"d{name}": value[0] for name, value in of_parameters.items()}

    def native_text(self, name: str, plain: str) -> tuple[Lines, str]:
        return (), f"torch.stack([{plain}, -{plain}])"

    def call_text(self, x: str, dtype: str) -> Lines:
        return (f"output = torch.func.vmap(layer)({x})[0]",)

    def gradients_text(self, x: str, dy: str, dtype: str) -> Lines:
        return (
            "def one(parameters, x, dy):",
            "    call = lambda p, x: torch.func.functional_call(layer, p, (x,))",
            "    output, pull_back = torch.func.vjp(call, parameters, x)",
            "    return output, *pull_back(dy)",
            "parameters = {name: value.detach() for name, value in layer.named_parameters()}",
            "every = torch.func.vmap(one, in_dims=(None, 0, 0))",
            f"output, of_parameters, dx = every(parameters, {x}, {dy})",
            "output, found = output[0], {'dx': dx[0], **{f'd{n}': v[0] for n, v in of_parameters.items()}}",
        )


#: Every mode by its name, the plain one first.
MODES: Final[Mapping[str, Mode]] = {
    one.name: one
    for one in (
        Mode(),
        ChannelsLast(),
        ChannelsLast3d(),
        Strided(),
        Expanded(),
        Mixed(),
        Autocast(),
        Vmap(),
        Compile(),
        MixedCompile(),
    )
}
