"""lucid.nn.GroupNorm and lucid.nn.BatchNorm1d, BatchNorm2d, BatchNorm3d, also in mode ``gpu``.

Release 2 computes with NumPy, in the dtypes of the arrays that it is given; its layers take no dtype. After
``layer.to("gpu")`` it computes with MLX, elsewhere than on a Mac on the CPU, too.
Release 3 is a different implementation, for macOS alone; its layers take a dtype, and a bias can be left out.
"""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from normgauge.adapters.case import Array, Case, Implementation, Unsupported
from normgauge.adapters.layout import CHANNELS_FIRST
from normgauge.adapters.lucid.modes import GPU
from normgauge.adapters.memory import buffer_of
from normgauge.adapters.operations import SWITCH, Name, Operation, Operations, ScriptedAdapter, actions_of, do

_DOCS = "https://chanlumerico.github.io/lucid/build/html/nn/modules/norm"
_NAMES = {"weight": "weight", "bias": "bias", "eps": "eps"}
_GROUP_NAMES = _NAMES | {"num_channels": "num_channels", "num_groups": "num_groups"}
_BATCH_NAMES = _NAMES | {
    "momentum": "momentum",
    "running_mean": "running_mean",
    "running_var": "running_var",
    "track": "track_running_stats",
    "num_channels": "num_features",
}


def _implementation(name: str, layer: str, names: Mapping[str, str], *ranks: int) -> Implementation:
    return Implementation(
        class_path=f"lucid.nn.{name}",
        layer=layer,
        layout=CHANNELS_FIRST,
        names=names,
        documentation=f"{_DOCS}/{name}.html",
        ranks=ranks,
    )


_GROUP_NORM = _implementation("GroupNorm", "group_norm", _GROUP_NAMES, 2, 3, 4, 5)
_BATCH_NORMS = (
    # Its page says (N, C, L), and has an example that feeds it what a linear layer returns.
    _implementation("BatchNorm1d", "batch_norm", _BATCH_NAMES, 2, 3),
    _implementation("BatchNorm2d", "batch_norm", _BATCH_NAMES, 4),
    _implementation("BatchNorm3d", "batch_norm", _BATCH_NAMES, 5),
)
#: One BatchNorm for all three, which share their kernel.
_ON_GPU = tuple(replace(one, way=GPU) for one in (_GROUP_NORM, _BATCH_NORMS[1]))


class LucidAdapter(ScriptedAdapter):
    framework = "lucid"
    distribution = "lucid-dl"
    dtypes_together = False  # it warns of a missing GPU once a process
    implementations = (_GROUP_NORM, *_BATCH_NORMS, *_ON_GPU)
    kin = (
        *(
            Implementation(
                class_path=f"lucid.nn.InstanceNorm{rank - 2}d",
                layer="instance_norm",
                layout=CHANNELS_FIRST,
                names=_NAMES | {"num_channels": "num_features"},
                documentation=f"{_DOCS}/InstanceNorm{rank - 2}d.html",
                ranks=(rank,),
            )
            for rank in (3, 4, 5)
        ),
        Implementation(
            class_path="lucid.nn.LayerNorm",
            layer="layer_norm",
            layout=CHANNELS_FIRST,
            names=_NAMES,
            documentation=f"{_DOCS}/LayerNorm.html",
        ),
    )

    @classmethod
    def dtypes(cls) -> tuple[str, ...]:
        return ("float16", "float32", "float64")

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype)
        import lucid

        from normgauge.adapters.lucid import functions

        self.lucid, self.module = lucid, functions

    def versions(self) -> dict[str, str]:
        versions = super().versions()
        with suppress(importlib.metadata.PackageNotFoundError):  # release 3 does without
            versions["mlx"] = importlib.metadata.version("mlx")
        return versions

    def layer_class(self, implementation: Implementation) -> Any:
        return getattr(self.lucid.nn, implementation.class_name)

    def _takes(self, implementation: Implementation, argument: str) -> bool:
        return argument in inspect.signature(self.layer_class(implementation)).parameters

    def _settings(self, implementation: Implementation, case: Case) -> dict[str, Any]:
        given, names = dict(case.settings), implementation.names
        weight, bias = given.pop("weight", True), given.pop("bias", True)
        if implementation in self.kin:
            given.pop("num_groups")
        if implementation.layer == "layer_norm":
            given.pop("num_channels")
            if weight or bias:
                raise Unsupported("the affine parts of LayerNorm hold one value for each element, not for each channel")
            shape = {"normalized_shape": case.steps[0].x.shape[1:], "elementwise_affine": False}
            return shape | {names[name]: value for name, value in given.items()}
        settings = {names[name]: value for name, value in given.items()}
        if implementation.layer == "instance_norm":
            if weight != bias:
                raise Unsupported("affine leaves out both parameters or none")
            # Release 2 has both on by default, release 3 off; GroupNorm keeps no statistics.
            return settings | {"affine": weight, "track_running_stats": False}
        if bias and not weight:
            raise Unsupported("affine=False leaves out both parameters; there is no bias without a weight")
        if not weight:
            settings["affine"] = False
        elif not bias:
            if not self._takes(implementation, "bias"):
                raise Unsupported("affine leaves out both parameters or none; this release has no bias argument")
            settings["bias"] = False
        return settings

    def construction(self, implementation: Implementation, case: Case) -> Iterator[Operation]:
        settings, f = self._settings(implementation, case), self.module
        typed = self._takes(implementation, "dtype")
        if typed:
            settings["dtype"] = Name(f"lucid.{self.dtype}")
        yield do(Name(implementation.class_path), "layer", **settings)
        if self.dtype == "float16" and not typed:  # there is no method for all tensors at once
            yield do(f.to_half)
        for name, value in case.parameters.items():
            yield do(f.set_parameter, name=name, value=value.copy())
        if implementation.mode == "gpu":
            yield do(f.to_gpu, "layer")

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

    def memory(self, value: Any) -> Array | None:
        return buffer_of(value.data) if isinstance(value.data, np.ndarray) else None  # MLX and release 3 have their own
