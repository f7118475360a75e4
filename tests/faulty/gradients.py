"""Layers that are right forward and wrong backward: one for each fault of ``backward.py``, and some without a name."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from faulty.adapter import _BATCH_NAMES, _GROUP_NAMES, FaultyAdapter
from faulty.backward import ELSEWHERE, FAULTS, Fault, Found, Parts
from faulty.batch_norm import BatchNorm
from faulty.group_norm import Array, GroupNorm
from normgauge.adapters.case import Implementation
from normgauge.oracle import rounded


class WrongGroupNorm(GroupNorm):
    fault: Fault

    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        found, order = super().gradients(x, dy), self.order()
        if not x.size:
            return found
        shape = (len(x), self.groups, self.channels // self.groups, x[0, 0].size)
        sets = x[:, order].reshape(*shape[:2], -1)
        mean = self.mean(sets)
        w = np.ones(self.channels, x.dtype) if self.weight is None else self.weight
        p = Parts(
            x=sets.reshape(shape), dy=dy[:, order].reshape(shape), w=w[order].reshape(1, *shape[1:3], 1),
            mean=mean[..., None], var=self.variance(sets, mean)[..., None], eps=x.dtype.type(self.eps), axes=(2, 3),
            row=_row(x), given=False, others={},
        )  # fmt: skip
        return _put(found, type(self).fault(p), x, np.argsort(order))


class WrongBatchNorm(BatchNorm):
    fault: Fault

    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        found = super().gradients(x, dy)
        if not x.size:
            return found
        shape = (len(x), self.channels, 1, x[0, 0].size)
        mean, var, share = self.statistics_in_use(np.moveaxis(x, 1, 0).reshape(self.channels, -1))
        w = np.ones(self.channels, x.dtype) if self.weight is None else self.weight
        each = (1, self.channels, 1, 1)
        p = Parts(
            x=x.reshape(shape), dy=dy.reshape(shape), w=w.reshape(each), mean=mean.reshape(each), var=var.reshape(each),
            eps=x.dtype.type(self.eps), axes=(0, 3), row=_row(x), given=not share,
            others={} if self.running_mean is None else self.calls(x),
        )  # fmt: skip
        return _put(found, type(self).fault(p), x, np.arange(self.channels))

    def calls(self, x: Array) -> dict[str, tuple[Array, Array]]:
        after, sets = copy.copy(self), np.moveaxis(x, 1, 0).reshape(self.channels, -1)
        after.update(sets, sets.mean(axis=-1))
        each = (1, self.channels, 1, 1)
        return {
            name: (one.running_mean.reshape(each), one.running_var.reshape(each))  # type: ignore[union-attr]
            for name, one in (("before", self), ("after", after))
        }


def _row(x: Array) -> int:
    """The positions of a row; 0 where there are none."""
    return int(x.shape[-1]) if x.ndim > 2 else 0


def _put(found: dict[str, Array], wrong: Found, x: Array, back: Array) -> dict[str, Array]:
    """The gradients that the layer has, where they are wrong in their place; ``back`` puts channels where they were."""
    placed = {name: value.reshape(x.shape)[:, back] if name == "dx" else value[back] for name, value in wrong.items()}
    return found | {name: value.astype(x.dtype) for name, value in placed.items() if name in found}


def identifier(name: str, kind: str) -> str:
    """The id of the layer with a fault."""
    words = re.findall("[a-z0-9]+", f"{name} of {kind}".lower())
    return "gradients." + "".join(word.capitalize() for word in words)


def implementation(name: str, kind: str) -> Implementation:
    names = _GROUP_NAMES if kind == "group_norm" else _BATCH_NAMES
    return Implementation(
        class_path=identifier(name, kind), layer=kind, layout="N, C, *", names=names, documentation=""
    )


def _layer(name: str, fault: Fault, *bases: type[Any]) -> type[Any]:
    return type(name.partition(".")[2], bases, {"fault": staticmethod(fault)})


_BASES: Final = {"group_norm": WrongGroupNorm, "batch_norm": WrongBatchNorm}
_LAYERS: Final[Mapping[str, type[Any]]] = {
    **{identifier(*key): _layer(identifier(*key), fault, _BASES[key[1]]) for key, fault in FAULTS.items()},
    **{
        identifier(name, "group_norm"): _layer(identifier(name, "group_norm"), fault, WrongGroupNorm, base)
        for name, (base, _, fault) in ELSEWHERE.items()
    },
}


class Gradients(FaultyAdapter):
    """The layers of this module."""

    implementations = tuple(implementation(*key) for key in (*FAULTS, *((name, "group_norm") for name in ELSEWHERE)))

    def layer_class(self, implementation: Implementation) -> Any:
        return _LAYERS[implementation.id]


class BackwardRaises(GroupNorm):
    """Forward at every rank; backward it takes the last axis for all positions, and so raises from rank 4 on."""

    def gradients(self, x: Array, dy: Array) -> dict[str, Array]:
        if x.ndim > 3 and x.size:
            dy[..., 0].reshape(x.shape[0], self.channels, -1).sum(axis=-1).reshape(x.shape)
        return super().gradients(x, dy)


class HalvesDx(GroupNorm):
    def input_gradient(self, g: Array, x_hat: Array, r: Array, through_variance: Array) -> Array:
        return super().input_gradient(g, x_hat, r, through_variance) / 2


class ShiftsDxBySet(GroupNorm):
    def input_gradient(self, g: Array, x_hat: Array, r: Array, through_variance: Array) -> Array:
        return super().input_gradient(g, x_hat, r, through_variance) + r * np.abs(g).max(axis=-1, keepdims=True)


class MovesDxAlongXHat(GroupNorm):
    def input_gradient(self, g: Array, x_hat: Array, r: Array, through_variance: Array) -> Array:
        return super().input_gradient(g, x_hat, r, through_variance) + r * x_hat * np.abs(g).max(axis=-1, keepdims=True)


class LeavesTheLastSample(GroupNorm):
    def input_gradient(self, g: Array, x_hat: Array, r: Array, through_variance: Array) -> Array:
        dx = super().input_gradient(g, x_hat, r, through_variance)
        dx[-1] = 0
        return dx


class SumsOfDxInHalfPrecision(GroupNorm):
    """The two means of dx are sums in float16."""

    def input_gradient(self, g: Array, x_hat: Array, r: Array, through_variance: Array) -> Array:
        m1, m2 = (v.astype(np.float16).mean(axis=-1, keepdims=True).astype(g.dtype) for v in (g, g * x_hat))
        return np.asarray(r * (g - m1 - x_hat * m2 * through_variance))


class SumsInHalf(GroupNorm):
    """Adds one element after the other in bfloat16."""

    def weight_gradient(self, products: Array) -> Array:
        terms = np.moveaxis(products, 1, -1).reshape(-1, products.shape[1])
        total = np.zeros(products.shape[1])
        for one in terms:
            total = rounded(total + rounded(one, "bfloat16"), "bfloat16")
        return total.astype(products.dtype)


class Unknown(FaultyAdapter):
    """A layer whose gradients are wrong in a way that has no name."""

    layer: type[GroupNorm]
    implementations = (implementation("unknown", "group_norm"),)

    def layer_class(self, implementation: Implementation) -> Any:
        return self.layer


class Raises(Unknown):
    layer = BackwardRaises
    implementations = (implementation("raises", "group_norm"),)


class Halved(Unknown):
    layer = HalvesDx


class ShiftedBySet(Unknown):
    layer = ShiftsDxBySet


class AlongXHat(Unknown):
    layer = MovesDxAlongXHat


class LastSampleUntouched(Unknown):
    layer = LeavesTheLastSample


class SumsOfDxInHalf(Unknown):
    layer = SumsOfDxInHalfPrecision


class SumsInBfloat16(Unknown):
    layer = SumsInHalf
