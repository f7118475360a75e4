"""torch.nn.GroupNorm and torch.nn.BatchNorm1d, BatchNorm2d, BatchNorm3d, in the modes of ``modes.py``."""

from __future__ import annotations

import functools
import inspect
import os
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from normgauge.adapters.case import Array, Case, Implementation, Unsupported
from normgauge.adapters.layout import CHANNELS_FIRST
from normgauge.adapters.memory import in_the_storage_of, storage_of
from normgauge.adapters.operations import (
    SWITCH,
    Name,
    Operation,
    Operations,
    ScriptedAdapter,
    Variables,
    actions_of,
    do,
)
from normgauge.adapters.torch.modes import HALF, MODES

_DOCS = "https://docs.pytorch.org/docs/stable/generated"
_NAMES = {"weight": "weight", "bias": "bias", "eps": "eps"}
_GROUP_NAMES = _NAMES | {"num_channels": "num_channels", "num_groups": "num_groups"}
_BATCH_NAMES = _NAMES | {
    "momentum": "momentum",
    "running_mean": "running_mean",
    "running_var": "running_var",
    "track": "track_running_stats",
    "num_channels": "num_features",
}
_KIN: Final = ("instance_norm", "layer_norm")


def _implementations(
    name: str, layer: str, names: Mapping[str, str], ranks: tuple[int, ...]
) -> tuple[Implementation, ...]:
    """The layer in each of the modes that are for it."""
    return tuple(
        Implementation(
            class_path=f"torch.nn.{name}",
            layer=layer,
            layout=CHANNELS_FIRST,
            names=names,
            documentation=f"{_DOCS}/torch.nn.{name}.html",
            ranks=ranks if mode.rank is None else (mode.rank,),
            remedies=mode.remedies,
            way=mode,
        )
        for mode in MODES.values()
        if (mode.rank is None or mode.rank in ranks) and (not mode.classes or name in mode.classes)
    )


class TorchAdapter(ScriptedAdapter):
    framework = "torch"
    distribution = "torch"
    dtypes_together = True
    cheap = True
    implementations = (
        *_implementations("GroupNorm", "group_norm", _GROUP_NAMES, (2, 3, 4, 5)),
        *_implementations("BatchNorm1d", "batch_norm", _BATCH_NAMES, (2, 3)),
        *_implementations("BatchNorm2d", "batch_norm", _BATCH_NAMES, (4,)),
        *_implementations("BatchNorm3d", "batch_norm", _BATCH_NAMES, (5,)),
    )
    kin = (
        *(
            Implementation(
                class_path=f"torch.nn.InstanceNorm{rank - 2}d",
                layer="instance_norm",
                layout=CHANNELS_FIRST,
                names=_NAMES | {"num_channels": "num_features"},
                documentation=f"{_DOCS}/torch.nn.InstanceNorm{rank - 2}d.html",
                ranks=(rank,),
            )
            for rank in (3, 4, 5)
        ),
        Implementation(
            class_path="torch.nn.LayerNorm",
            layer="layer_norm",
            layout=CHANNELS_FIRST,
            names=_NAMES,
            documentation=f"{_DOCS}/torch.nn.LayerNorm.html",
        ),
    )

    @classmethod
    def dtypes(cls) -> tuple[str, ...]:
        return ("float16", "bfloat16", "float32", "float64")

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype)
        import torch

        from normgauge.adapters.torch import functions

        self.torch, self.module = torch, functions
        self._to_tensor = functions.to_bfloat16 if dtype == "bfloat16" else functions.to_tensor
        plain = do(self._to_tensor)
        self._natives = {
            name: do(getattr(functions, mode.lays_out), value=plain) if mode.lays_out else plain
            for name, mode in MODES.items()
        }

    def layer_class(self, implementation: Implementation) -> Any:
        return getattr(self.torch.nn, implementation.class_name)

    def _settings(self, implementation: Implementation, case: Case) -> dict[str, Any]:
        given, names = dict(case.settings), implementation.names
        weight, bias = given.pop("weight", True), given.pop("bias", True)
        if implementation.layer in _KIN:
            given.pop("num_groups")
        if implementation.layer == "layer_norm":
            if weight or bias:
                raise Unsupported("the affine parts of LayerNorm hold one value for each element, not for each channel")
            return {"normalized_shape": case.steps[0].x.shape[1:], "eps": given["eps"], "elementwise_affine": False}
        settings = {names[name]: value for name, value in given.items()}
        if implementation.layer == "instance_norm":
            if weight != bias:
                raise Unsupported("affine leaves out both parameters or none")
            return settings | {"affine": weight}
        if bias and not weight:
            raise Unsupported("affine=False leaves out both parameters; there is no bias without a weight")
        if not weight:
            settings["affine"] = False
        elif not bias:
            if "bias" not in _arguments(self.layer_class(implementation)):
                raise Unsupported("this release has no bias argument")
            settings["bias"] = False
        return settings

    def missing(self, implementation: Implementation) -> str | None:
        return MODES[implementation.mode].missing()

    def construct(self, implementation: Implementation, case: Case) -> Variables:
        """The layer; a compiled one is compiled afresh: torch goes on to compile for any shape what it has seen in two.

        ``fullgraph`` makes an exception of what would be run without the compiler otherwise, such as a layer
        compiled more often than torch's limit. ``layer.compile()`` will not do: it leaves torch's own layers as
        they are.
        """
        if MODES[implementation.mode].compiles:
            if "TORCHINDUCTOR_CACHE_DIR" not in os.environ:  # torch leaves what it compiles; this goes with the process
                self._folder = tempfile.TemporaryDirectory(prefix="normgauge-torch-compile-")
                os.environ["TORCHINDUCTOR_CACHE_DIR"] = self._folder.name
            self.torch.compiler.reset()
        return super().construct(implementation, case)

    def construction(self, implementation: Implementation, case: Case) -> Iterator[Operation]:
        settings, mode, f = self._settings(implementation, case), MODES[implementation.mode], self.module
        dtype = Name(f"torch.{'float32' if mode.promotes else self.dtype}")
        yield do(Name(implementation.class_path), "layer", **settings, dtype=dtype)
        for name, value in case.parameters.items():
            yield do(f.set_parameter, name=name, value=do(self._to_tensor, value=value.copy()))
        if mode.forward:
            lower = Name(f"torch.{self.dtype if self.dtype in HALF else 'bfloat16'}")
            yield do(getattr(f, mode.forward), "forward", **({"dtype": lower} if mode.name == "autocast" else {}))

    def native(self, implementation: Implementation, x: Array) -> Operation:
        mode = MODES[implementation.mode]
        if mode.lays_out == mode.name and mode.rank is not None and x.ndim != mode.rank:
            raise Unsupported(f"{mode.name} is a format of {mode.rank} dimensions; x has {x.ndim}")
        if mode.equal_samples and any(not np.array_equal(x[0], other, equal_nan=True) for other in x[1:]):
            raise Unsupported("an expanded batch holds one sample N times; the samples of this one differ")
        return self._natives[mode.name]

    def native_upstream(self, implementation: Implementation, dy: Array) -> Operation:
        if implementation.way.equal_samples:  # the samples are one, their gradients need not be
            return self._natives["eager"]
        return self.native(implementation, dy)

    def operations(self, implementation: Implementation) -> Operations:
        f, mapped = self.module, implementation.mode == "vmap"
        forward = Name("forward" if MODES[implementation.mode].forward else "layer")
        differentiate = do(f.differentiate, "y, gradients", forward=forward)
        if mapped:
            differentiate = do(f.differentiate_mapped, "y, gradients")
        to_numpy = f.bfloat16_to_numpy if self.dtype == "bfloat16" else f.to_numpy
        return Operations(
            canonical=do(to_numpy, value=do(f.first)) if mapped else do(to_numpy),
            vector=do(to_numpy),
            call={mode: (SWITCH[mode], do(f.call, "y", forward=forward)) for mode in SWITCH},
            gradients={mode: (SWITCH[mode], differentiate) for mode in SWITCH},
            actions=actions_of(f),
            trainable=do(f.trained),
        )

    def memory(self, value: Any) -> Array | None:
        return storage_of(value)

    def sharing(self, output: Any, others: Mapping[str, Any]) -> list[str]:
        return in_the_storage_of(output, others)


@functools.cache
def _arguments(layer_class: type) -> frozenset[str]:
    return frozenset(inspect.signature(layer_class).parameters)
