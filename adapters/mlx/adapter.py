"""mlx.nn.GroupNorm, with and without pytorch_compatible, and mlx.nn.BatchNorm.

Each also through ``mx.compile``, and ``mixed``: with parameters of float32 and inputs of half precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from normgauge.adapters.case import Array, Case, Implementation, Observation
from normgauge.adapters.functions import call, call_function, channels_first, set_parameter
from normgauge.adapters.implementations import EVERY_RANK, implementations_of
from normgauge.adapters.lacks import BIAS_ALONE, WEIGHT_ALONE, Lack, without
from normgauge.adapters.layout import CHANNELS_LAST
from normgauge.adapters.mlx.modes import MODES
from normgauge.adapters.mlx.writing import writing
from normgauge.adapters.operations import (
    SWITCH,
    Name,
    Operation,
    Operations,
    ScriptedAdapter,
    Steps,
    actions_of,
    do,
    once,
)
from normgauge.adapters.writing import Writing

_PAGE = "https://ml-explore.github.io/mlx/build/html/python/nn/_autosummary/mlx.nn.{}.html"
_GROUP_NAMES = {
    "weight": "weight",
    "bias": "bias",
    "eps": "eps",
    "num_channels": "dims",
    "num_groups": "num_groups",
}
_KIN_NAMES = {name: native for name, native in _GROUP_NAMES.items() if name != "num_groups"}
_BATCH_NAMES = {
    "weight": "weight",
    "bias": "bias",
    "running_mean": "running_mean",
    "running_var": "running_var",
    "eps": "eps",
    "momentum": "momentum",
    "num_channels": "num_features",
    "track": "track_running_stats",
}
_LAYERS = (
    ("GroupNorm", "group_norm", _GROUP_NAMES, EVERY_RANK),
    ("BatchNorm", "batch_norm", _BATCH_NAMES, (2, 3, 4)),
)
_KIN = (
    ("InstanceNorm", "instance_norm", _KIN_NAMES, (3, 4, 5)),
    # Over the last axis alone, which holds a whole group where there are no positions.
    ("LayerNorm", "layer_norm", _KIN_NAMES, (2,)),
)
_GROUP_NORM, _BATCH_NORM = implementations_of(_LAYERS, "mlx.nn", CHANNELS_LAST, _PAGE)
_EAGER = (
    _GROUP_NORM,
    replace(_GROUP_NORM, options={"pytorch_compatible": True}),
    _BATCH_NORM,
)
_IN_MODES = tuple(replace(one, way=mode) for mode in MODES for one in _EAGER)


class MlxAdapter(ScriptedAdapter):
    framework = "mlx"
    distribution = "mlx"
    dtypes_together = True
    implementations = (*_EAGER, *_IN_MODES)
    kin = implementations_of(_KIN, "mlx.nn", CHANNELS_LAST, _PAGE)

    @classmethod
    def writing(cls, implementation: Implementation) -> Writing | None:
        return writing(implementation)

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype)
        import mlx.core as mx

        from normgauge.adapters.mlx import functions

        self.mx, self.module = mx, functions
        self._default = mx.default_device()

    def device(self) -> str:
        return str(self.mx.Device(self.mx.cpu) if self.dtype == "float64" else self._default)

    def run(self, identifier: str, case: Case) -> Observation:
        try:
            return super().run(identifier, case)
        finally:
            self.mx.set_default_device(self._default)  # adapters of other dtypes may be in this process

    def lacks(self, implementation: Implementation) -> tuple[Lack, ...]:
        found, source = super().lacks(implementation), implementation.documentation
        found += without("affine leaves out both parameters or none", source, WEIGHT_ALONE, BIAS_ALONE)
        return (*found, *without("momentum is a number", source, {"momentum": None}))

    def _settings(self, implementation: Implementation, case: Case) -> dict[str, Any]:
        given = dict(case.settings)
        weight, _ = given.pop("weight", True), given.pop("bias", True)
        if implementation in self.kin:
            given.pop("num_groups")
            return implementation.named(given) | {"affine": weight}
        settings = implementation.named(given) | dict(implementation.options)
        return settings if weight else settings | {"affine": False}

    def construction(self, implementation: Implementation, case: Case) -> Iterator[Operation]:
        if self.dtype == "float64":  # the GPU has none
            yield do(self.module.use_cpu)
        yield do(Name(f"nn.{implementation.class_name}"), "layer", **self._settings(implementation, case))
        if self._stored_as(implementation) != "float32":
            yield do(self.module.set_dtype, dtype=Name(f"mx.{self._stored_as(implementation)}"))
        for name, value in case.parameters.items():
            yield self.parameter(implementation, case, name, value)

    def parameter(self, implementation: Implementation, case: Case, name: str, value: Array) -> Operation:
        native = self._array(value.size, value, case.dtypes.get(name, self._stored_as(implementation)))
        return do(set_parameter, name=implementation.names[name], value=native)

    def _stored_as(self, implementation: Implementation) -> str:
        """The type of parameters and running statistics."""
        return "float32" if implementation.mode == "mixed" else self.dtype

    def _array(self, size: int, value: Any, dtype: str) -> Operation:
        function = self.module.to_array if size else self.module.to_empty_array
        return do(function, value=value, dtype=Name(f"mx.{dtype}"))

    def native(self, implementation: Implementation, x: Array) -> Operation:
        return self._array(x.size, self.laid_out(implementation, x), self.dtype)

    def operations(self, implementation: Implementation) -> Operations:
        f, to_numpy = self.module, self.numpy_of_value()
        calls: dict[str, Steps] = {mode: (do(call, "y"),) for mode in SWITCH}
        gradients: dict[str, Steps] = {mode: (do(f.differentiate, "y, gradients"),) for mode in SWITCH}
        if implementation.mode == "compile":
            for mode in SWITCH:
                compiled, differentiated = Name(f"{mode}_call"), Name(f"{mode}_gradients")
                calls[mode] = once(f.compiled_call, compiled), do(call_function, "y", function=compiled)
                gradients[mode] = (
                    once(f.compiled_gradients, differentiated),
                    do(f.call_compiled, "y, gradients", compiled=differentiated),
                )
        return Operations(
            canonical=do(channels_first, value=to_numpy),
            vector=to_numpy,
            call={mode: (SWITCH[mode], *calls[mode], do(f.compute)) for mode in SWITCH},
            gradients={mode: (SWITCH[mode], *gradients[mode], do(f.compute_gradients)) for mode in SWITCH},
            derivatives={
                name: {mode: (SWITCH[mode], do(one, "y, gradients"), do(f.compute_gradients)) for mode in SWITCH}
                for name, one in (("second", f.differentiate_twice), ("forward", f.differentiate_forward))
                if implementation.mode == "eager"
            },
            actions=actions_of(f),
            trainable=do(f.trained),
        )
