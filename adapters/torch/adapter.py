"""torch.nn.GroupNorm and torch.nn.BatchNorm1d, BatchNorm2d, BatchNorm3d, in the modes of ``modes.py``."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from normgauge.adapters.case import Array, Case, Implementation
from normgauge.adapters.implementations import implementations_of
from normgauge.adapters.lacks import Lack
from normgauge.adapters.layout import CHANNELS_FIRST
from normgauge.adapters.memory import elements_of, storage_of
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
from normgauge.adapters.torch.writing import writing
from normgauge.adapters.torch_interface import KIN, LAYERS, lacks_of, settings_of
from normgauge.adapters.writing import Writing

_PAGE = "https://docs.pytorch.org/docs/stable/generated/torch.nn.{}.html"


#: The modes whose derivatives above the first, and in forward mode, are asked for.
_DIFFERENTIATED_FURTHER: Final = ("eager", "channels_last")


class TorchAdapter(ScriptedAdapter):
    framework = "torch"
    distribution = "torch"
    dtypes_together = True
    cheap = True
    implementations = tuple(
        replace(one, ranks=one.ranks if mode.rank is None else (mode.rank,), way=mode)
        for one in implementations_of(LAYERS, "torch.nn", CHANNELS_FIRST, _PAGE)
        for mode in MODES.values()
        if (mode.rank is None or mode.rank in one.ranks) and (not mode.classes or one.class_name in mode.classes)
    )
    kin = implementations_of(KIN, "torch.nn", CHANNELS_FIRST, _PAGE)

    @classmethod
    def writing(cls, implementation: Implementation) -> Writing | None:
        return writing(implementation)

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

    def lacks(self, implementation: Implementation) -> tuple[Lack, ...]:
        parts = lacks_of(self.layer_class(implementation), implementation)
        return (*super().lacks(implementation), *parts, *MODES[implementation.mode].lacks())

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
        settings = settings_of(self.layer_class(implementation), implementation, case)
        mode, f = MODES[implementation.mode], self.module
        dtype = Name(f"torch.{'float32' if mode.promotes else self.dtype}")
        yield do(Name(implementation.class_path), "layer", **settings, dtype=dtype)
        for name, value in case.parameters.items():
            yield self.parameter(implementation, case, name, value)
        if mode.forward:
            lower = Name(f"torch.{self.dtype if self.dtype in HALF else 'bfloat16'}")
            yield do(getattr(f, mode.forward), "forward", **({"dtype": lower} if mode.name == "autocast" else {}))

    def parameter(self, implementation: Implementation, case: Case, name: str, value: Array) -> Operation:
        if name in case.dtypes:
            typed = Name(f"torch.{case.dtypes[name]}")
            return do(self.module.set_typed, name=name, value=do(self.module.to_tensor, value=value), dtype=typed)
        return do(self.module.set_parameter, name=name, value=do(self._to_tensor, value=value))

    def native(self, implementation: Implementation, x: Array) -> Operation:
        mode = MODES[implementation.mode]
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
        to_numpy = self.numpy_of_value()
        return Operations(
            canonical=do(to_numpy.function, value=do(f.first)) if mapped else to_numpy,
            vector=to_numpy,
            call={mode: (SWITCH[mode], do(f.call, "y", forward=forward)) for mode in SWITCH},
            gradients={mode: (SWITCH[mode], differentiate) for mode in SWITCH},
            derivatives={
                name: {mode: (SWITCH[mode], derive) for mode in SWITCH}
                for name, derive in (
                    ("second", do(f.differentiate_twice, "y, gradients", forward=forward)),
                    ("forward", do(f.differentiate_forward, "y, gradients")),
                )
                if implementation.mode in _DIFFERENTIATED_FURTHER
            },
            actions=actions_of(f),
            trainable=do(f.trained),
        )

    def elements(self, value: Any) -> Array | None:
        return elements_of(value)

    def memory(self, value: Any) -> Array | None:
        return storage_of(value)
