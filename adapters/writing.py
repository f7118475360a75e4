"""How code for a layer is written, as texts with places: what a recipe puts together. No framework is needed here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

#: The two parameters that a switch of the constructor may leave out.
PARTS: Final = ("weight", "bias")
#: A switch for both of them.
AFFINE: Final[Mapping[str, tuple[str, ...]]] = {"affine": PARTS}


@dataclass(frozen=True, kw_only=True)
class Writing:
    """The code that constructs, fills, reads and calls one implementation.

    The code has the variables ``layer``, ``x``, ``y`` and ``training``. Places in the texts are written in braces.

    Attributes:
        class_name: the class as the code names it, after ``imports``; ``module`` is the object with its settings.
        environment: variables that must be set before the framework is imported.
        counted: whether the constructor takes the number of channels.
        flags: arguments of the constructor that leave out parameters, with the parameters that each has.
        options: further arguments, as code.
        made: lines after the construction, with the places ``channels`` and ``ndim``.
        ranks: numbers of axes that the layer takes, where the release takes fewer than its documentation says; empty
            where it takes all.
        fixes_rank: whether the layer is made for inputs of one number of axes.
        keys: by canonical name, the expression that names a parameter or running statistic in ``read`` and ``write``.
        read: the parameter ``name`` as a NumPy array; None where the layer does not have it.
        write: sets the parameter ``name`` to the NumPy array ``value``.
        call: lines that set y.
        moved: ``x`` with the axis ``a`` at ``b``. ``taken`` has the channels ``order`` along ``axis``, ``shaped`` the
            ``shape``, whose text is a tuple. ``native`` makes an array of NumPy one of the framework's, ``plain`` back.
    """

    imports: tuple[str, ...]
    class_name: str
    module: str = "layer"
    environment: Mapping[str, str] = field(default_factory=dict)
    counted: bool = True
    flags: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: AFFINE)
    options: Mapping[str, str] = field(default_factory=dict)
    made: tuple[str, ...] = ()
    ranks: tuple[int, ...] = ()
    fixes_rank: bool = False
    keys: Mapping[str, str]
    read: str = "getattr(layer, {name}, None)"
    write: str
    call: tuple[str, ...]
    moved: str
    taken: str
    shaped: str = "{x}.reshape({shape})"
    native: str
    plain: str


def quoted(names: Mapping[str, str]) -> dict[str, str]:
    """The attributes of parameters and running statistics, as expressions by canonical name."""
    return {name: repr(own) for name, own in names.items() if name in {*PARTS, "running_mean", "running_var"}}


def options_of(options: Mapping[str, Any]) -> dict[str, str]:
    """Arguments of a constructor as code."""
    return {name: repr(value) for name, value in options.items()}
