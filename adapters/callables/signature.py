"""How a function takes what a layer has: the names of its parameters, by words that people use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

#: The names that a parameter may have, by canonical name. The first parameter is the input, whatever its name.
USUAL: Final[Mapping[str, tuple[str, ...]]] = {
    "num_groups": ("num_groups", "groups", "group", "n_groups", "ngroups", "G", "g"),
    "weight": ("weight", "scale", "gamma", "w"),
    "bias": ("bias", "shift", "offset", "beta", "b"),
    "running_mean": ("running_mean", "moving_mean", "mean"),
    "running_var": ("running_var", "moving_variance", "moving_var", "running_variance", "var", "variance"),
    "training": ("training", "train", "is_training"),
    "momentum": ("momentum",),
    "eps": ("eps", "epsilon"),
}
_BY_POSITION: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class BadFunction(ValueError):
    """A function that cannot be called as a layer; the message says why, and what to write."""


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The parameters of ``function`` after the input, in order, each with its canonical name where it has one."""

    function: Callable[..., Any]
    parameters: tuple[tuple[str | None, inspect.Parameter], ...]

    def takes(self, name: str) -> bool:
        """Whether the function has a parameter of this canonical name."""
        return name in self.names

    @property
    def names(self) -> dict[str, str]:
        """The function's own names, by canonical ones."""
        return {canonical: one.name for canonical, one in self.parameters if canonical is not None}

    def needs(self, name: str) -> bool:
        """Whether the parameter has no default."""
        return any(canonical == name and one.default is one.empty for canonical, one in self.parameters)

    def may_be_none(self, name: str) -> bool:
        """Whether the default or the annotation of a parameter says that it may be None."""
        (one,) = (one for canonical, one in self.parameters if canonical == name)
        annotation = one.annotation if isinstance(one.annotation, str) else repr(one.annotation)
        return one.default is None or "None" in annotation or "Optional" in annotation

    def defaults(self) -> dict[str, Any]:
        """The defaults by canonical name."""
        return {
            canonical: one.default
            for canonical, one in self.parameters
            if canonical is not None and one.default is not one.empty
        }

    def call(self, x: Any, given: Mapping[str, Any]) -> Any:
        """What the function returns; of ``given``, by canonical names, it gets what it takes."""
        args, kwargs = [x], {}
        for canonical, one in self.parameters:
            is_given = canonical in given
            if one.kind is inspect.Parameter.POSITIONAL_ONLY:
                args.append(given[canonical] if canonical is not None and is_given else one.default)
            elif canonical is not None and is_given:
                kwargs[one.name] = given[canonical]
        return self.function(*args, **kwargs)


def signature_of(function: Callable[..., Any], names: Mapping[str, str] | None = None) -> Signature:
    """The signature; ``names`` has the function's own name of a parameter by canonical name, where it is unusual.

    Raises:
        BadFunction: it is not callable, its signature cannot be read, or a parameter without a default is not known.
    """
    names = names or {}
    unknown = [name for name in names if name not in USUAL]
    if unknown:
        raise BadFunction(f"names has {unknown[0]!r}; allowed: {', '.join(USUAL)}")
    if not callable(function):
        raise BadFunction(f"{function!r} is a {type(function).__name__}; give a function of the input x")
    try:
        parameters = [*inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):
        raise BadFunction(
            f"{function!r} does not show its parameters; wrap it: def layer(x, weight=None, bias=None, eps=1e-5): ..."
        ) from None
    if not parameters or parameters[0].kind not in _BY_POSITION:
        raise BadFunction(f"{_name(function)} takes no input by position; its first parameter must be the input x")
    return Signature(function=function, parameters=tuple(_named(function, parameters[1:], names)))


def _named(
    function: Callable[..., Any], parameters: list[inspect.Parameter], names: Mapping[str, str]
) -> Iterator[tuple[str | None, inspect.Parameter]]:
    own = {one.name for one in parameters}
    for canonical, name in names.items():
        if name not in own:
            raise BadFunction(f"names says that {canonical} is {name!r}; {_name(function)} takes {', '.join(own)}")
    usual = {name: canonical for canonical, every in USUAL.items() if canonical not in names for name in every}
    known = usual | {name: canonical for canonical, name in names.items()}
    seen: set[str] = set()
    for one in parameters:
        if one.kind in {one.VAR_POSITIONAL, one.VAR_KEYWORD}:
            continue
        own_name = known.get(one.name)
        of_it = None if own_name in seen else own_name
        if of_it is None and one.default is one.empty:
            raise BadFunction(
                f"{_name(function)} has a parameter {one.name!r} without a default, which is not known; name it, such "
                f"as names={{'weight': {one.name!r}}}, or give it a value with functools.partial"
            )
        seen |= {of_it} if of_it else set()
        yield of_it, one


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", type(function).__name__)
