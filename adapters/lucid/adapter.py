"""lucid.nn.GroupNorm and lucid.nn.BatchNorm1d, BatchNorm2d, BatchNorm3d, also in mode ``gpu``.

Release 2 computes with NumPy, in the dtypes of the arrays that it is given; its layers take no dtype. After
``layer.to("gpu")`` it computes with MLX, elsewhere than on a Mac on the CPU, too.
Release 3 is a different implementation, for macOS alone; its layers take a dtype, and a bias can be left out.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from normgauge.adapters.case import Array, Case, Implementation
from normgauge.adapters.implementations import implementations_of
from normgauge.adapters.lacks import Lack
from normgauge.adapters.layout import CHANNELS_FIRST
from normgauge.adapters.lucid.modes import GPU
from normgauge.adapters.lucid.writing import writing
from normgauge.adapters.operations import SWITCH, Name, Operation, Operations, ScriptedAdapter, actions_of, do
from normgauge.adapters.torch_interface import KIN, LAYERS, lacks_of, settings_of, takes
from normgauge.adapters.writing import Writing

_PAGE = "https://chanlumerico.github.io/lucid/build/html/nn/modules/norm/{}.html"
#: BatchNorm1d says (N, C, L) on its page, and has an example that feeds it what a linear layer returns.
_EAGER = implementations_of(LAYERS, "lucid.nn", CHANNELS_FIRST, _PAGE)
#: One BatchNorm for all three, which share their kernel.
_ON_GPU = tuple(replace(one, way=GPU) for one in _EAGER if one.class_name in {"GroupNorm", "BatchNorm2d"})


class LucidAdapter(ScriptedAdapter):
    framework = "lucid"
    distribution = "lucid-dl"
    dtypes_together = False  # it warns of a missing GPU once a process
    implementations = (*_EAGER, *_ON_GPU)
    kin = implementations_of(KIN, "lucid.nn", CHANNELS_FIRST, _PAGE)

    @classmethod
    def dtypes(cls) -> tuple[str, ...]:
        return ("float16", "float32", "float64")

    @classmethod
    def writing(cls, implementation: Implementation) -> Writing | None:
        return writing(implementation)

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype)
        from normgauge.adapters.lucid import functions

        self.module = functions

    def versions(self) -> dict[str, str]:
        versions = super().versions()
        with suppress(importlib.metadata.PackageNotFoundError):  # release 3 does without
            versions["mlx"] = importlib.metadata.version("mlx")
        return versions

    def lacks(self, implementation: Implementation) -> tuple[Lack, ...]:
        return (*super().lacks(implementation), *lacks_of(self.layer_class(implementation), implementation))

    def construction(self, implementation: Implementation, case: Case) -> Iterator[Operation]:
        layer_class, f = self.layer_class(implementation), self.module
        settings, typed = settings_of(layer_class, implementation, case), takes(layer_class, "dtype")
        if implementation.layer == "instance_norm":
            # Release 2 has it on by default, release 3 off; GroupNorm keeps no statistics.
            settings["track_running_stats"] = False
        if typed:
            settings["dtype"] = Name(f"lucid.{self.dtype}")
        yield do(Name(implementation.class_path), "layer", **settings)
        if self.dtype == "float16" and not typed:  # there is no method for all tensors at once
            yield do(f.to_half)
        if implementation.mode == "gpu":
            yield do(f.to_gpu, "layer")
        for name, value in case.parameters.items():
            yield self.parameter(implementation, case, name, value)

    def parameter(self, implementation: Implementation, case: Case, name: str, value: Array) -> Operation:
        tensor = do(self.module.to_gpu_tensor if implementation.mode == "gpu" else self.module.to_tensor, value=value)
        return do(self.module.set_parameter, name=name, value=tensor)

    def native(self, implementation: Implementation, x: Array) -> Operation:
        # Release 2 shares the array's memory on the CPU, so a change of it would be seen.
        return do(self.module.to_gpu_tensor if implementation.mode == "gpu" else self.module.to_tensor)

    def operations(self, implementation: Implementation) -> Operations:
        f = self.module
        return Operations(
            canonical=do(f.to_numpy),
            vector=do(f.to_numpy),
            gradient=do(f.gradient_to_numpy),
            call={mode: (SWITCH[mode], do(f.call, "y")) for mode in SWITCH},
            gradients={mode: (SWITCH[mode], do(f.differentiate, "y, gradients")) for mode in SWITCH},
            actions=actions_of(f),
            trainable=do(f.trained),
        )

    def vector(self, value: Any) -> Array:
        f = self.module
        return np.array(f.to_numpy(value) if hasattr(value, "numpy") else f.gradient_to_numpy(value))

    def to_numpy(self, implementation: Implementation, value: Any) -> Array:
        return self.vector(value)

    def native_dtype(self, value: Any) -> str:
        # A tensor's own dtype stays what it was when the array in it is replaced, as loading and training do.
        return super().native_dtype(value.data if hasattr(value, "numpy") else value)

    def elements(self, value: Any) -> Array | None:
        array = value if isinstance(value, np.ndarray) else getattr(value, "data", None)  # gradients are arrays
        return array if isinstance(array, np.ndarray) else None  # MLX and release 3 have their own
