"""A correct port in NumPy, and the same with a part that raises: what an accidental green would let through."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from faulty.adapter import FaultyAdapter
from normgauge.adapters.actions import Acting
from normgauge.adapters.case import Case, Implementation


class Port(FaultyAdapter):
    framework = "port"
    implementations = tuple(
        one for one in FaultyAdapter.implementations if one.id in {"group_norm.GroupNorm", "batch_norm.BatchNorm"}
    )


class PortOfMlx(FaultyAdapter):
    """A port of MLX's GroupNorm: it groups channels as MLX does by default."""

    framework = "port"
    implementations = tuple(one for one in FaultyAdapter.implementations if one.id == "group_norm.Interleaved")


class RankFiveRaises(Port):
    def forward(self, layer: Any, x: Any, *, training: bool) -> Any:
        if x.ndim == 5:
            raise IndexError("tuple index out of range")
        return super().forward(layer, x, training=training)


class EvalRaises(Port):
    def forward(self, layer: Any, x: Any, *, training: bool) -> Any:
        if not training:
            raise AttributeError("'BatchNorm' object has no attribute 'runing_mean'")
        return super().forward(layer, x, training=training)


class BackwardRaises(Port):
    def backward(self, layer: Any, x: Any, dy: Any, *, training: bool) -> tuple[Any, Mapping[str, Any]]:
        raise TypeError("unsupported operand type(s) for *: 'float' and 'NoneType'")


class Unfinished(Port):
    """Its author has yet to write gradients and saving."""

    def backward(self, layer: Any, x: Any, dy: Any, *, training: bool) -> tuple[Any, Mapping[str, Any]]:
        raise NotImplementedError("later")

    save_load = Acting.save_load


class ConstructionUnfinished(Port):
    def construct(self, implementation: Implementation, case: Case) -> Any:
        raise NotImplementedError


def _kernel() -> tuple[Any, Mapping[str, Any]]:
    raise NotImplementedError("no kernel for backward")


class FrameworkWithoutBackward(Port):
    """Its framework raises what an unfinished adapter would."""

    def backward(self, layer: Any, x: Any, dy: Any, *, training: bool) -> tuple[Any, Mapping[str, Any]]:
        return _kernel()


class CompiledWithoutBackward(Port):
    """The same from compiled code, which has no frame of its own."""

    def backward(self, layer: Any, x: Any, dy: Any, *, training: bool) -> tuple[Any, Mapping[str, Any]]:
        return datetime.tzinfo().utcoffset(None), {}  # type: ignore[abstract]


class Misspelt(Port):
    def construct(self, implementation: Implementation, case: Case) -> Any:
        return super().constuct(implementation, case)  # type: ignore[misc]


class SettingsMustBeGiven(Port):
    """It has no defaults."""

    def construct(self, implementation: Implementation, case: Case) -> Any:
        for name in ("eps", *(["momentum"] if implementation.layer == "batch_norm" else [])):
            if name not in case.settings:
                raise TypeError(f"missing 1 required positional argument: '{name}'")
        return super().construct(implementation, case)


class DefaultEpsInDouble(Port):
    """Gives float64 where eps is left to it, and nowhere else."""

    def construct(self, implementation: Implementation, case: Case) -> Any:
        layer = super().construct(implementation, case)
        layer.wide = "eps" not in case.settings
        return layer

    def forward(self, layer: Any, x: Any, *, training: bool) -> Any:
        y = super().forward(layer, x, training=training)
        return y.astype("float64") if layer.wide else y


class ParameterGradientsInRows(Port):
    """Of shape (1, C)."""

    def backward(self, layer: Any, x: Any, dy: Any, *, training: bool) -> tuple[Any, Mapping[str, Any]]:
        y, gradients = super().backward(layer, x, dy, training=training)
        return y, {name: value if name == "dx" else value[None] for name, value in gradients.items()}


class FlatInputGradient(Port):
    def backward(self, layer: Any, x: Any, dy: Any, *, training: bool) -> tuple[Any, Mapping[str, Any]]:
        y, gradients = super().backward(layer, x, dy, training=training)
        return y, {name: value.ravel() if name == "dx" else value for name, value in gradients.items()}
