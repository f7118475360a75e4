"""The arrays that a user gives, checked: real floating-point numbers, finite, of one shape."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from normgauge.oracle import digits_of

Array = NDArray[Any]
#: The binary digits of the types that are known.
DIGITS: Final = {"bfloat16": 8, "float16": 11, "float32": 24, "float64": 53}


class CannotIdentify(ValueError):
    """The arrays or settings make no sense: one sentence that names the value, what is allowed, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """An array and the type that it is of; those of bfloat16 are held as float32."""

    values: Array
    dtype: str

    def astype(self, dtype: Any) -> Array:
        return self.values.astype(dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.values if dtype is None else self.values.astype(dtype)


def given(name: str, value: Any, *, finite: bool = True) -> Given:
    """``value`` as a NumPy array: of NumPy, or of a framework whose arrays NumPy can read.

    Raises:
        CannotIdentify: no array of floating-point numbers, which must be ``finite`` if that is asked for.
    """
    raw, dtype = _as_numpy(name, value)
    if dtype not in DIGITS:
        raise CannotIdentify(
            f"{name} has dtype {dtype}; allowed: {', '.join(DIGITS)}; convert it to the type that the layer "
            "computed in, such as with .astype(np.float32)"
        )
    values = raw.astype(np.float32) if dtype == "bfloat16" else np.ascontiguousarray(raw)
    if finite:
        _check_finite(name, values)
    return Given(values=values, dtype=dtype)


def _as_numpy(name: str, value: Any) -> tuple[Array, str]:
    """The array, and the name of its type, which NumPy may not have."""
    if hasattr(value, "detach"):  # torch: what is part of a graph, or lies on a device, is no NumPy array
        value = value.detach().cpu()
    dtype = str(getattr(value, "dtype", "")).rpartition(".")[2]
    try:
        array = _read(_widened(value) if dtype == "bfloat16" else value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CannotIdentify(
            f"{name} is a {type(value).__name__} that NumPy cannot read ({error}); give a NumPy array"
        ) from None
    return array, dtype if dtype == "bfloat16" else array.dtype.name


def _read(value: Any) -> Array:
    by_dlpack = hasattr(value, "__dlpack__") and not hasattr(value, "__array__")
    return np.from_dlpack(value) if by_dlpack else np.asarray(value)


def _widened(value: Any) -> Any:
    """An array of bfloat16 as float32, by the framework that it is of: NumPy has no such type."""
    framework = type(value).__module__.partition(".")[0]
    if framework == "torch":
        return value.float()
    return value.astype(sys.modules["mlx.core"].float32 if framework == "mlx" else np.float32)


def _check_finite(name: str, values: Array) -> None:
    if np.isfinite(values).all():
        return
    wrong = ~np.isfinite(values)
    first = tuple(int(i) for i in np.argwhere(wrong)[0])
    raise CannotIdentify(
        f"{name}{list(first)} is {values[first]}, one of {int(wrong.sum()):,} elements that are no finite numbers; "
        "give finite ones: leave those samples out"
    )


def held_in(one: Given) -> str:
    """The narrowest type whose digits suffice for the values: float16 for an array of float32 made from it."""
    narrower = [name for name, digits in DIGITS.items() if digits < DIGITS[one.dtype]]
    values = one.values.ravel()
    few = digits_of(values[:: max(1, values.size // _LOOKED_AT)])
    if values.size < _ENOUGH or not narrower or few > DIGITS[narrower[-1]]:
        return one.dtype
    needed = digits_of(values)
    return next((name for name in narrower if DIGITS[name] >= needed), one.dtype)


#: Elements that are looked at first, and how many say something: few numbers have few digits by chance.
_LOOKED_AT: Final = 4096
_ENOUGH: Final = 32
