"""What goes wrong from some size on, and nowhere below."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from faulty.faults.fault import GROUP, HONEST, STEPS, Mistake
from faulty.pipeline import Array

Layer = Any

FAMILY: Final = "sizes"


def _many(what: str) -> str:
    """The phrase of what begins at a size: which one is found depends on the sizes that were asked."""
    return rf"(more than|at least|from) [\d,]+ {what}|{what} from number [\d,]+ on"


def _full(layer: Layer, n: int) -> float:
    return float(layer.full)


def _untouched(places: Any) -> Any:
    """Elements that the kernel does not reach stay as the output was allocated, with zeros."""

    def call(layer: Layer, x: Array) -> Array:
        y: Array = STEPS["group_norm" if hasattr(layer, "groups") else "batch_norm"].__call__(layer, x)
        if x.size:
            y[places(x)] = 0
        return y

    return {"__call__": call}


def _elements(x: Array) -> Array:
    return (np.arange(x.size) >= 2**20).reshape(x.shape)


def _kept(count: Any) -> dict[str, Any]:
    """The first values of a set, as many as ``count`` says, enter its sums, which all values divide."""
    return {
        "counted": lambda layer, sets: sets[:, : count(sets.shape[1])],
        "divisor_of_mean": _full,
        "divisor": _full,
    }


def _block_twice(layer: Layer, sets: Array) -> Array:
    """Blocks of 1,024, the last of which is taken from the end on."""
    n = sets.shape[1]
    return np.concatenate([sets[:, : n - n % 1024], sets[:, -1024:]], axis=1) if n > 1024 and n % 1024 else sets


def _positions_of(layer: Layer) -> int:
    return int(np.prod(layer.shape[2:]))


def _parts_from(least: int) -> Any:
    """A variance a block of 1,024, averaged, where there are several whole blocks."""

    def about(layer: Layer, values: Array, mean: Array) -> Array:
        size = values.shape[1]
        if size < least or size % 1024:
            return mean[:, None]
        return np.repeat(values.reshape(len(values), -1, 1024).mean(axis=2), 1024, axis=1)

    return about


def _wraps(layer: Layer, values: Array, n: int) -> Array:
    """A count of 16 bits: from 65,536 values on it begins anew."""
    count = n % 65536 or 65536
    return values.mean(axis=1) * values.dtype.type(n / count)


def _shared_from_65_groups(layer: Layer, count: int) -> Array:
    """Shared memory for the statistics of 64 groups: those beyond use those of the first ones."""
    groups = getattr(layer, "groups", layer.channels)
    sets = np.arange(count)
    return sets // groups * groups + sets % groups % 64


def _parameter_sums(count: Any) -> dict[str, Any]:
    """dweight and dbias are sums of the first samples, as many as ``count`` says."""

    def gradients(layer: Layer, x: Array, dy: Array) -> dict[str, Array]:
        honest = HONEST["group_norm" if hasattr(layer, "groups") else "batch_norm"]
        found: dict[str, Array] = honest.gradients(layer, x, dy)
        if count(len(x)) >= len(x):
            return found
        cut = dy.copy()
        cut[count(len(x)) :] = 0
        return found | {name: value for name, value in honest.gradients(layer, x, cut).items() if name != "dx"}

    return {"gradients": gradients}


MISTAKES: Final = (
    Mistake(
        name="elements beyond a million",
        why="an index that overflows; imitated with 2^20 in place of 2^31",
        link="https://github.com/NVIDIA/apex/pull/1845",
        named=_many("elements"),
        change=_untouched(_elements),
    ),
    Mistake(
        name="samples from 8 on",
        why="a launch grid for 8 samples",
        link="https://github.com/NVIDIA/apex/issues/411",
        named=_many("samples"),
        change=_untouched(lambda x: np.s_[8:]),
    ),
    Mistake(
        name="channels from 32 on",
        why="a block of 32 threads, one a channel",
        named=_many("channels"),
        change=_untouched(lambda x: np.s_[:, 32:]),
    ),
    Mistake(
        name="positions above 1024",
        why="a block of 1,024 threads, one a position, and no loop around it",
        link="https://github.com/facebookresearch/xformers/issues/785",
        named=_many("positions"),
        change={
            "counted": lambda layer, sets: sets.reshape(len(sets), -1, _positions_of(layer))[:, :, :1024].reshape(
                len(sets), -1
            )
        },
    ),
    Mistake(
        name="odd tail dropped",
        why="pairs are loaded, and the last of an odd number is left out",
        named="odd number of values",
        change=_kept(lambda n: n - n % 2 or 1),
    ),
    Mistake(
        name="remainder of blocks of 256 dropped",
        why="a loop over whole blocks of 256, where there is more than one",
        named=f"{_many('values')}|multiple of 256",
        change=_kept(lambda n: n - n % 256 if n > 256 else n),
    ),
    Mistake(
        name="last block of 1024 counted twice",
        why="the last block is loaded from the end on",
        named=f"{_many('values')}|multiple of 1024",
        change={"counted": _block_twice, "divisor_of_mean": _full, "divisor": _full},
    ),
    Mistake(
        name="first 4096 values alone",
        why="one tile of a kernel",
        link="https://github.com/facebookresearch/xformers/issues/785",
        named=_many("values"),
        change={"counted": lambda layer, sets: sets[:, :4096]},
    ),
    Mistake(
        name="blocks of 1024 merged without their means",
        why="Welford's merge without the term of the means",
        named=f"{_many('values')}|multiple of 1024",
        change={"about": _parts_from(2048)},
    ),
    Mistake(
        name="a count of 16 bits",
        why="the number of values of a set in 16 bits",
        link="https://github.com/torch/cunn/issues/298",
        named=_many("values"),
        change={"mean": _wraps},
    ),
    Mistake(
        name="statistics of 64 groups",
        why="shared memory for 64 groups or channels; those beyond read the first ones",
        link="https://github.com/tenstorrent/tt-metal/issues/21149",
        named=_many("(groups|channels)"),
        change={"lender": _shared_from_65_groups},
    ),
    Mistake(
        name="single channel a group above 16",
        why="a fast path for one channel a group that ends after 16 positions",
        named=_many("(positions|values)"),
        kinds=(GROUP,),
        change={"counted": lambda layer, sets: sets[:, :16] if layer.channels == layer.groups else sets},
    ),
    Mistake(
        name="parameter gradients of 4 samples",
        why="a grid stride that covers 4 samples of the sums of dweight and dbias",
        named=_many("samples"),
        change=_parameter_sums(lambda n: 4),
        on=HONEST,
    ),
    Mistake(
        name="parameter gradients without the last block",
        why="a buffer of n // 8 rows for n / 8 blocks, rounded up",
        link="https://github.com/BobMcDear/attorch/issues/18",
        named=rf"{_many('samples')}|multiple of 8",
        change=_parameter_sums(lambda n: n - n % 8 if n > 8 else n),
        on=HONEST,
    ),
)
