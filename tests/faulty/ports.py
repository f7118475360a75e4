"""A correct port in NumPy, and the same with a part that raises: what an accidental green would let through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from faulty.adapter import FaultyAdapter
from normgauge.adapters.case import Case, Implementation


class Port(FaultyAdapter):
    framework = "port"
    implementations = tuple(
        one for one in FaultyAdapter.implementations if one.id in {"group_norm.GroupNorm", "batch_norm.BatchNorm"}
    )


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


class Misspelt(Port):
    def construct(self, implementation: Implementation, case: Case) -> Any:
        return super().constuct(implementation, case)  # type: ignore[misc]
