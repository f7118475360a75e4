"""torch.nn.GroupNorm and torch.nn.BatchNorm1d, BatchNorm2d, BatchNorm3d."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from normgauge.adapters.base import Adapter, Array, Case, Implementation, Recipe, Unsupported
from normgauge.adapters.layout import CHANNELS_FIRST
from normgauge.adapters.script import arguments, literal

_DOCS = "https://docs.pytorch.org/docs/stable/generated"
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
        f"torch.nn.{name}",
        "batch_norm",
        CHANNELS_FIRST,
        _BATCH_NAMES,
        f"{_DOCS}/torch.nn.{name}.html",
        ranks=ranks,
    )


class TorchAdapter(Adapter):
    framework = "torch"
    distribution = "torch"
    implementations = (
        Implementation(
            "torch.nn.GroupNorm",
            "group_norm",
            CHANNELS_FIRST,
            _NAMES | {"num_channels": "num_channels", "num_groups": "num_groups"},
            f"{_DOCS}/torch.nn.GroupNorm.html",
        ),
        _batch_norm("BatchNorm1d", 2, 3),
        _batch_norm("BatchNorm2d", 4),
        _batch_norm("BatchNorm3d", 5),
    )

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype)
        import torch

        self.torch = torch

    def layer_class(self, implementation: Implementation) -> Any:
        return getattr(self.torch.nn, implementation.id.rpartition(".")[2])

    def _settings(self, implementation: Implementation, case: Case) -> dict[str, Any]:
        given, names = dict(case.settings), implementation.names
        weight, bias = given.pop("weight", True), given.pop("bias", True)
        settings = {names[name]: value for name, value in given.items()}
        if bias and not weight:
            raise Unsupported("affine=False leaves out both parameters; there is no bias without a weight")
        if not weight:
            settings["affine"] = False
        elif not bias:
            if "bias" not in inspect.signature(self.layer_class(implementation)).parameters:
                raise Unsupported("this release has no bias argument")
            settings["bias"] = False
        return settings

    def construct(self, implementation: Implementation, case: Case) -> Any:
        settings = self._settings(implementation, case)
        layer = self.layer_class(implementation)(**settings, dtype=getattr(self.torch, self.dtype))
        with self.torch.no_grad():
            for name, value in case.parameters.items():
                getattr(layer, name).copy_(self.torch.from_numpy(value.copy()))
        return layer

    def forward(self, layer: Any, x: Any, *, training: bool) -> Any:
        layer.train(training)
        with self.torch.no_grad():
            return layer(x)

    def state(self, layer: Any) -> Mapping[str, Any]:
        names = ("weight", "bias", "running_mean", "running_var")
        return {name: value for name in names if (value := getattr(layer, name, None)) is not None}

    def vector(self, value: Any) -> Array:
        return value.detach().numpy()  # type: ignore[no-any-return]

    def to_native(self, implementation: Implementation, x: Array) -> Any:
        return self.torch.from_numpy(x)

    def to_numpy(self, implementation: Implementation, value: Any) -> Array:
        return value.detach().numpy()  # type: ignore[no-any-return]

    def recipe(self, implementation: Implementation, case: Case) -> Recipe:
        settings = arguments(self._settings(implementation, case))
        construct = [f"layer = {implementation.id}({settings}, dtype=torch.{case.dtype})"]
        for name, value in case.parameters.items():
            construct.append(f"layer.{name}.data.copy_(torch.from_numpy({literal(value, case.dtype)}))")
        call = "(torch.from_numpy(x)).detach().numpy()"
        track = implementation.layer == "batch_norm" and case.settings.get("track", True)
        return Recipe(
            ("import torch",),
            tuple(construct),
            {mode: (f"y = layer.{mode}(){call}",) for mode in ("train", "eval")},
            {name: f"layer.{name}" for name in ("running_mean", "running_var") if track},
        )
