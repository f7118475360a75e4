"""What a mode is: a way of running a layer, such as a memory layout of its inputs or a compiler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from normgauge.adapters.implementation_id import EAGER


@dataclass(frozen=True, kw_only=True)
class Mode:
    """A way of running a layer; ``about`` says what it means, in words that follow the layer's name.

    ``dtypes`` are those that it is for, where these are not all of the framework's. What ``compiles`` does so for every
    new shape, though its framework does not (:attr:`~normgauge.adapters.base.Adapter.compiles`). What is ``thorough``
    takes long, as a compiler does, and is run at a thorough budget alone, or when it is named. Where it ``promotes``,
    parameters and inputs are of different types, so that the output's type is the framework's choice. With
    ``equal_samples`` all samples of a batch are one in memory.
    """

    name: str
    about: str
    dtypes: tuple[str, ...] = ()
    compiles: bool = False
    thorough: bool = False
    promotes: bool = False
    equal_samples: bool = False


PLAIN: Final = Mode(name=EAGER, about="called as it is")
