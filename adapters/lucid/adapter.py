"""lucid.nn.GroupNorm and lucid.nn.BatchNorm1d, BatchNorm2d, BatchNorm3d, also in mode ``gpu``.

Release 2 computes with NumPy, in the dtypes of the arrays that it is given; its layers take no dtype. After
``layer.to("gpu")`` it computes with MLX, elsewhere than on a Mac on the CPU, too.
Release 3 is a different implementation, for macOS alone; its layers take a dtype, and a bias can be left out.
"""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from normgauge.adapters.base import Recipe
from normgauge.adapters.case import Array, Case, Implementation, Unsupported
from normgauge.adapters.layout import CHANNELS_FIRST
from normgauge.adapters.lucid.actions import LucidState
from normgauge.adapters.memory import buffer_of
from normgauge.adapters.script import arguments, literal

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
    return Implementation(f"lucid.nn.{name}", layer, CHANNELS_FIRST, names, f"{_DOCS}/{name}.html", ranks=ranks)


_GROUP_NORM = _implementation("GroupNorm", "group_norm", _GROUP_NAMES, 2, 3, 4, 5)
_BATCH_NORMS = (
    # Its page says (N, C, L), and has an example that feeds it what a linear layer returns.
    _implementation("BatchNorm1d", "batch_norm", _BATCH_NAMES, 2, 3),
    _implementation("BatchNorm2d", "batch_norm", _BATCH_NAMES, 4),
    _implementation("BatchNorm3d", "batch_norm", _BATCH_NAMES, 5),
)
#: One BatchNorm for all three, which share their kernel. A tensor of float64 becomes one of float32 on the way there.
_ON_GPU = tuple(
    replace(one, id=f"{one.id}[gpu]", mode="gpu", dtypes=("float16", "float32"))
    for one in (_GROUP_NORM, _BATCH_NORMS[1])
)


class LucidAdapter(LucidState):
    framework = "lucid"
    distribution = "lucid-dl"
    dtypes_together = False  # it warns of a missing GPU once a process
    implementations = (_GROUP_NORM, *_BATCH_NORMS, *_ON_GPU)
    kin = (
        *(
            Implementation(
                f"lucid.nn.InstanceNorm{rank - 2}d",
                "instance_norm",
                CHANNELS_FIRST,
                _NAMES | {"num_channels": "num_features"},
                f"{_DOCS}/InstanceNorm{rank - 2}d.html",
                ranks=(rank,),
            )
            for rank in (3, 4, 5)
        ),
        Implementation("lucid.nn.LayerNorm", "layer_norm", CHANNELS_FIRST, _NAMES, f"{_DOCS}/LayerNorm.html"),
    )

    @classmethod
    def dtypes(cls) -> tuple[str, ...]:
        return ("float16", "float32", "float64")

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype)
        import lucid
        import lucid.autograd

        self.lucid = lucid

    def versions(self) -> dict[str, str]:
        versions = super().versions()
        with suppress(importlib.metadata.PackageNotFoundError):  # release 3 does without
            versions["mlx"] = importlib.metadata.version("mlx")
        return versions

    def layer_class(self, implementation: Implementation) -> Any:
        return getattr(self.lucid.nn, _class_path(implementation).rpartition(".")[2])

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

    def construct(self, implementation: Implementation, case: Case) -> Any:
        settings = self._settings(implementation, case)
        if self._takes(implementation, "dtype"):
            settings["dtype"] = getattr(self.lucid, self.dtype)
        layer = self.layer_class(implementation)(**settings)
        if self._converts(implementation, case):
            for value in (*layer.parameters(), *layer.buffers()):
                value.half()
        for name, value in case.parameters.items():
            getattr(layer, name).data = self.lucid.tensor(value.copy()).data
        return layer.to("gpu") if implementation.mode == "gpu" else layer

    def _converts(self, implementation: Implementation, case: Case) -> bool:
        """Whether a user has to convert the layer's tensors, one by one: it has no method for all, and no dtype."""
        return case.dtype == "float16" and not self._takes(implementation, "dtype")

    def forward(self, layer: Any, x: Any, *, training: bool) -> Any:
        layer.train(training)
        with self.lucid.no_grad():
            return layer(x)

    def backward(self, layer: Any, x: Any, dy: Any, *, training: bool) -> tuple[Any, Mapping[str, Any]]:
        layer.train(training)
        x.requires_grad = True
        y = layer(x)
        wanted = {"dx": x, "dweight": layer.weight, "dbias": layer.bias}
        wanted = {name: value for name, value in wanted.items() if value is not None}
        found = self.lucid.autograd.grad(y, list(wanted.values()), dy)
        found = found if isinstance(found, tuple) else (found,)  # of one input it is not in a tuple
        return y, dict(zip(wanted, found, strict=True))

    def state(self, layer: Any) -> Mapping[str, Any]:
        names = ("weight", "bias", "running_mean", "running_var")
        return {name: value for name in names if (value := getattr(layer, name, None)) is not None}

    def vector(self, value: Any) -> Array:
        return np.array(value.numpy() if hasattr(value, "numpy") else value)  # gradients are arrays, not tensors

    def native_dtype(self, value: Any) -> str:
        # A tensor's own dtype stays what it was when the array in it is replaced, as loading and training do.
        return super().native_dtype(value.data if hasattr(value, "numpy") else value)

    def memory(self, value: Any) -> Array | None:
        return buffer_of(value.data) if isinstance(value.data, np.ndarray) else None  # MLX and release 3 have their own

    def to_native(self, implementation: Implementation, x: Array) -> Any:
        # Release 2 shares the array's memory on the CPU, so a change of it would be seen.
        return self.lucid.tensor(x, **_device(implementation))

    def to_numpy(self, implementation: Implementation, value: Any) -> Array:
        return self.vector(value)

    def recipe(self, implementation: Implementation, case: Case) -> Recipe:
        settings = arguments(self._settings(implementation, case))
        dtype = f", dtype=lucid.{case.dtype}" if self._takes(implementation, "dtype") else ""
        construct = [f"layer = {_class_path(implementation)}({settings}{dtype})"]
        if self._converts(implementation, case):
            construct += ["for value in (*layer.parameters(), *layer.buffers()):", "    value.half()"]
        for name, value in case.parameters.items():
            construct.append(f"layer.{name}.data = lucid.tensor({literal(value, case.dtype)}).data")
        if implementation.mode == "gpu":
            construct.append('layer.to("gpu")')
        device = "".join(f", {name}={value!r}" for name, value in _device(implementation).items())
        track = implementation.layer == "batch_norm" and case.settings.get("track", True)
        affine = [name for name in ("weight", "bias") if case.settings.get(name, True)]
        wanted = ", ".join(["given", *(f"layer.{name}" for name in affine)])
        modes = ("train", "eval")
        return Recipe(
            ("import lucid", "import lucid.autograd"),
            tuple(construct),
            {mode: (f"y = layer.{mode}()(lucid.tensor(x{device})).numpy()",) for mode in modes},
            {name: f"layer.{name}.numpy()" for name in ("running_mean", "running_var") if track},
            {
                mode: (
                    f"given = lucid.tensor(x, requires_grad=True{device})",
                    f"output = layer.{mode}()(given)",
                    f"found = lucid.autograd.grad(output, [{wanted}], lucid.tensor(dy{device}))",
                    "y, gradients = output.numpy(), found if isinstance(found, tuple) else (found,)",
                    "dx = np.array(gradients[0])",
                )
                for mode in modes
            },
            {f"d{name}": f"np.array(gradients[{number}])" for number, name in enumerate(affine, start=1)},
        )


def _class_path(implementation: Implementation) -> str:
    return implementation.id.partition("[")[0]


def _device(implementation: Implementation) -> dict[str, str]:
    return {"device": "gpu"} if implementation.mode == "gpu" else {}
