"""The libraries whose arrays a function may take, one small class each; a library is imported when it is used."""

from __future__ import annotations

import contextlib
import importlib.metadata
import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Final

import numpy as np

from normgauge.adapters.callables.signature import BadFunction
from normgauge.adapters.case import Array
from normgauge.adapters.memory import elements_of, storage_of

#: Values with further results: what a differentiated function returns.
Forward = Callable[..., tuple[Any, Any]]


class Library(ABC):
    """A library of arrays: to and from NumPy, and a gradient.

    ``gradient(forward, values, dy)`` gives the output, what else ``forward`` returns, and the gradients of
    sum(y * dy) by each of ``values``. ``forward(*values)`` returns the output and anything else.
    """

    name: ClassVar[str]
    distribution: ClassVar[str]
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "float64", "float16", "bfloat16")
    #: Whether every new shape costs a compilation.
    compiles: ClassVar[bool] = False

    @abstractmethod
    def native(self, value: Array, dtype: str) -> Any: ...

    @abstractmethod
    def numpy(self, value: Any, dtype: str) -> Array: ...

    def gradient(self, forward: Forward, values: tuple[Any, ...], dy: Any) -> tuple[Any, Any, tuple[Any, ...]]:
        raise NotImplementedError

    def elements(self, value: Any) -> Array | None:
        """As :meth:`normgauge.adapters.base.Adapter.elements`."""
        return None

    def memory(self, value: Any) -> Array | None:
        """As :meth:`normgauge.adapters.base.Adapter.memory`; called where there are elements."""
        return None

    def scope(self, dtype: str) -> AbstractContextManager[Any]:
        """What must be set while arrays of this type are computed with."""
        return contextlib.nullcontext()

    @property
    def differentiates(self) -> bool:
        return type(self).gradient is not Library.gradient


class _Numpy(Library):
    name, distribution = "numpy", "numpy"
    dtypes = ("float32", "float64", "float16")

    def native(self, value: Array, dtype: str) -> Any:
        return value

    def numpy(self, value: Any, dtype: str) -> Array:
        return np.asarray(value)

    def elements(self, value: Any) -> Array | None:
        return np.asarray(value)


class _Torch(Library):
    name, distribution = "torch", "torch"

    def native(self, value: Array, dtype: str) -> Any:
        import torch

        found = torch.from_numpy(value)
        return found.to(torch.bfloat16) if dtype == "bfloat16" else found

    def numpy(self, value: Any, dtype: str) -> Array:
        found = value.detach().cpu()
        return np.asarray(found.float() if dtype == "bfloat16" else found)

    def gradient(self, forward: Forward, values: tuple[Any, ...], dy: Any) -> tuple[Any, Any, tuple[Any, ...]]:
        import torch

        leaves = tuple(one.detach().requires_grad_() for one in values)
        with torch.enable_grad():
            y, others = forward(*leaves)
        found = torch.autograd.grad(y, leaves, dy)
        return y.detach(), others, found

    def elements(self, value: Any) -> Array | None:
        return elements_of(value)

    def memory(self, value: Any) -> Array | None:
        return storage_of(value)


class _Jax(Library):
    name, distribution = "jax", "jax"
    compiles = True

    def native(self, value: Array, dtype: str) -> Any:
        import jax.numpy as jnp

        return jnp.asarray(value, dtype=jnp.bfloat16 if dtype == "bfloat16" else value.dtype)

    def numpy(self, value: Any, dtype: str) -> Array:
        return np.array(value.astype(np.float32) if dtype == "bfloat16" else value)

    def gradient(self, forward: Forward, values: tuple[Any, ...], dy: Any) -> tuple[Any, Any, tuple[Any, ...]]:
        import jax

        y, pull, others = jax.vjp(forward, *values, has_aux=True)
        return y, others, pull(dy.astype(y.dtype))

    def scope(self, dtype: str) -> AbstractContextManager[Any]:
        import jax

        return jax.enable_x64(True) if dtype == "float64" else contextlib.nullcontext()


class _Mlx(Library):
    name, distribution = "mlx", "mlx"
    dtypes = ("float32", "float16", "bfloat16")

    def native(self, value: Array, dtype: str) -> Any:
        import mlx.core as mx

        own = getattr(mx, dtype if dtype == "bfloat16" else value.dtype.name)
        # A reduction over an empty array that came from NumPy may never return; over MLX's own it does.
        return mx.array(value, dtype=own) if value.size else mx.zeros(value.shape, dtype=own)

    def numpy(self, value: Any, dtype: str) -> Array:
        import mlx.core as mx

        return np.array(value.astype(mx.float32) if dtype == "bfloat16" else value)

    def gradient(self, forward: Forward, values: tuple[Any, ...], dy: Any) -> tuple[Any, Any, tuple[Any, ...]]:
        import mlx.core as mx

        def weighted(*values: Any) -> Any:
            y, others = forward(*values)
            return (y * dy).sum(), (y, others)

        (_, (y, others)), found = mx.value_and_grad(weighted, argnums=tuple(range(len(values))))(*values)
        mx.eval(y, *found)
        return y, others, tuple(found)


LIBRARIES: Final[Mapping[str, Library]] = {one.name: one for one in (_Numpy(), _Torch(), _Jax(), _Mlx())}
#: The modules of each library, as annotations, modules and their variables have them.
_MODULES: Final = {"torch": ("torch",), "jax": ("jax", "jaxlib"), "mlx": ("mlx",), "numpy": ("numpy",)}


def library_of(function: Callable[..., Any], name: str | None = None) -> Library:
    """The library of that name; without one, that which the function shows by annotations, its module or its imports.

    Raises:
        BadFunction: no such library, or it cannot be said which one.
    """
    if name is not None:
        if name not in LIBRARIES:
            raise BadFunction(f"arrays is {name!r}; allowed: {', '.join(LIBRARIES)}")
        return LIBRARIES[name]
    found = [*_of_annotations(function), *_of_its_module(function)] or [*_of_imports(function)]
    several = dict.fromkeys(found)
    if len(several) > 1:
        several.pop("numpy", None)
    if len(several) != 1:
        raise BadFunction(
            f"it cannot be said of which library the arrays of {function!r} are; give arrays= one of "
            f"{', '.join(LIBRARIES)}"
        )
    return LIBRARIES[next(iter(several))]


def version_of(library: Library) -> dict[str, str]:
    """The release of the library, by its distribution."""
    return {library.distribution: importlib.metadata.version(library.distribution)}


def _of_annotations(function: Callable[..., Any]) -> list[str]:
    try:
        written = " ".join(str(one.annotation) for one in inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []
    words = {"torch": ("torch.",), "jax": ("jax.", "jnp."), "mlx": ("mx.", "mlx."), "numpy": ("np.", "numpy.")}
    return [name for name, starts in words.items() if any(start in written for start in starts)]


def _of_its_module(function: Callable[..., Any]) -> list[str]:
    own = _plain(function)
    top = (getattr(own, "__module__", None) or type(own).__module__).partition(".")[0]
    return [name for name, tops in _MODULES.items() if top in tops]


def _of_imports(function: Callable[..., Any]) -> list[str]:
    """The libraries among the names that the function's code uses, else among those that its module imports."""
    own = _plain(function)
    code = getattr(own, "__code__", None)
    if code is None:
        own = type(own).__call__ if callable(own) else None
        code = getattr(own, "__code__", None)
    if code is None:
        return []
    used = {name: getattr(own, "__globals__", {}).get(name) for name in code.co_names}
    closed = inspect.getclosurevars(own).nonlocals if inspect.isfunction(own) else {}
    tops = {_top(value) for value in (*used.values(), *closed.values()) if value is not None}
    local = {name for name in code.co_names if name in sys.modules}  # imported within the function
    found = [name for name, known in _MODULES.items() if {*known} & (tops | local)]
    if found:
        return found
    beside = {_top(value) for value in getattr(own, "__globals__", {}).values() if inspect.ismodule(value)}
    return [name for name, known in _MODULES.items() if {*known} & beside]


def _top(value: Any) -> str:
    name = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None)
    return name.partition(".")[0] if isinstance(name, str) else ""


def _plain(function: Callable[..., Any]) -> Any:
    """The function within ``functools.partial``, a method or a decorator."""
    while hasattr(function, "func"):
        function = function.func
    return inspect.unwrap(getattr(function, "__func__", function))
