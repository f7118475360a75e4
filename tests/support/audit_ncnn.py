"""ncnn's own BatchNorm and GroupNorm as forms for the audit, where the package is installed (PyPI: ncnn)."""

from __future__ import annotations

import tempfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from audit_forms import Case, Form
from honest import Array, Machine

#: The type that ncnn computes in here, and the placement of eps that it has.
THERE: Final[dict[str, Any]] = {"rungs": ("float32",), "placements": ("inside_sqrt",)}


def batch_norm(_: Machine, case: Case) -> Array:
    """With running statistics; it has no training."""
    data = case.data
    parts = (data.weight, data.old_mean, data.old_var, data.bias)
    return ran(f"BatchNorm layer 1 1 x y 0={len(data.x)} 1={case.settings.eps!r}", data.x, parts)


def group_norm(_: Machine, case: Case) -> Array:
    """A group for each set."""
    data, sets = case.data, len(case.data.x)
    described = f"GroupNorm layer 1 1 x y 0={sets} 1={sets} 2={case.settings.eps!r} 3=1"
    return ran(described, data.x, (data.weight, data.bias))


def ran(layer: str, x: Array, parameters: tuple[Array, ...]) -> Array:
    """What a net of one layer makes of ``x`` of shape (channels, n); ncnn reads nets from two files."""
    ncnn = import_module("ncnn")
    net = ncnn.Net()
    for half in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, half, False)
    net.opt.num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        text, numbers = Path(folder, "net.param"), Path(folder, "net.bin")
        text.write_text(f"7767517\n2 2\nInput input 0 1 x\n{layer}\n", encoding="utf-8")
        numbers.write_bytes(np.concatenate([part.ravel() for part in parameters]).astype(np.float32).tobytes())
        if net.load_param(str(text)) or net.load_model(str(numbers)):
            raise RuntimeError(f"ncnn did not load {layer!r}")
    given = np.ascontiguousarray(x, dtype=np.float32)
    with net.create_extractor() as extractor:
        extractor.input("x", ncnn.Mat(given).clone())
        code, found = extractor.extract("y")
        if code:
            raise RuntimeError(f"ncnn did not run {layer!r}")
        return np.array(found).reshape(x.shape)


#: Empty where ncnn is not installed.
NCNN: Final[dict[str, Form]] = (
    {}
    if find_spec("ncnn") is None
    else {
        "evaluation y: ncnn": Form(quantity="evaluation y", accuracy="two_pass", evaluate=batch_norm, **THERE),
        "y: ncnn": Form(quantity="y", accuracy="two_pass", evaluate=group_norm, **THERE),
    }
)
