"""lucid.nn.GroupNorm and lucid.nn.BatchNorm1d, BatchNorm2d, BatchNorm3d, on the CPU.

Release 2 computes there with NumPy, in the dtypes of the arrays that it is given; its layers take no dtype.
Release 3 is a different implementation, for macOS alone; its layers take a dtype, and a bias can be left out.
"""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from normgauge.adapters.base import Adapter, Array, Case, Implementation, Recipe, Unsupported, buffer_of
from normgauge.adapters.layout import CHANNELS_FIRST
from normgauge.adapters.script import arguments, literal

_DOCS = "https://chanlumerico.github.io/lucid/build/html/nn/modules/norm"
_NAMES = {"weight": "weight", "bias": "bias", "eps": "eps"}
_BATCH_NAMES = _NAMES | {
    "momentum": "momentum",
    "running_mean": "running_mean",
    "running_var": "running_var",
    "track": "track_running_stats",
    "num_channels": "num_features",
}


def _batch_norm(name: str, *ranks: int) -> Implementation:
    return Implementation(
        f"lucid.nn.{name}",
        "batch_norm",
        CHANNELS_FIRST,
        _BATCH_NAMES,
        f"{_DOCS}/{name}.html",
        ranks=ranks,
    )


class LucidAdapter(Adapter):
    framework = "lucid"
    distribution = "lucid-dl"
    implementations = (
        Implementation(
            "lucid.nn.GroupNorm",
            "group_norm",
            CHANNELS_FIRST,
            _NAMES | {"num_channels": "num_channels", "num_groups": "num_groups"},
            f"{_DOCS}/GroupNorm.html",
        ),
        # Its page says (N, C, L), and has an example that feeds it what a linear layer returns.
        _batch_norm("BatchNorm1d", 2, 3),
        _batch_norm("BatchNorm2d", 4),
        _batch_norm("BatchNorm3d", 5),
    )
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

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype)
        import lucid

        self.lucid = lucid

    def versions(self) -> dict[str, str]:
        versions = super().versions()
        with suppress(importlib.metadata.PackageNotFoundError):  # release 3 does without
            versions["mlx"] = importlib.metadata.version("mlx")
        return versions

    def layer_class(self, implementation: Implementation) -> Any:
        return getattr(self.lucid.nn, implementation.id.rpartition(".")[2])

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
        for name, value in case.parameters.items():
            getattr(layer, name).data = self.lucid.tensor(value.copy()).data
        return layer

    def forward(self, layer: Any, x: Any, *, training: bool) -> Any:
        layer.train(training)
        with self.lucid.no_grad():
            return layer(x)

    def state(self, layer: Any) -> Mapping[str, Any]:
        names = ("weight", "bias", "running_mean", "running_var")
        return {name: value for name in names if (value := getattr(layer, name, None)) is not None}

    def vector(self, value: Any) -> Array:
        return value.numpy()  # type: ignore[no-any-return]

    def memory(self, value: Any) -> Array | None:
        return buffer_of(value.data) if isinstance(value.data, np.ndarray) else None  # release 3 has its own arrays

    def to_native(self, implementation: Implementation, x: Array) -> Any:
        return self.lucid.tensor(x)  # release 2 shares the array's memory, so a change of it would be seen

    def to_numpy(self, implementation: Implementation, value: Any) -> Array:
        return value.numpy()  # type: ignore[no-any-return]

    def recipe(self, implementation: Implementation, case: Case) -> Recipe:
        settings = arguments(self._settings(implementation, case))
        dtype = f", dtype=lucid.{case.dtype}" if self._takes(implementation, "dtype") else ""
        construct = [f"layer = {implementation.id}({settings}{dtype})"]
        for name, value in case.parameters.items():
            construct.append(f"layer.{name}.data = lucid.tensor({literal(value, case.dtype)}).data")
        track = implementation.layer == "batch_norm" and case.settings.get("track", True)
        return Recipe(
            ("import lucid",),
            tuple(construct),
            {mode: (f"y = layer.{mode}()(lucid.tensor(x)).numpy()",) for mode in ("train", "eval")},
            {name: f"layer.{name}.numpy()" for name in ("running_mean", "running_var") if track},
        )
