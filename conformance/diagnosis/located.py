"""Where a result departs from a reference, and by what: a sentence for what no known form explains.

A constant per set in dx is the mean's term, a multiple of x_hat per set the variance's; a factor per channel is that of
the weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from normgauge.oracle import Reference

Float = NDArray[np.float64]
Labels = NDArray[np.intp]

#: Of the elements within the ranges that are named, the part that departs at least: less is scattered.
_FILLED: Final = 0.5
_SCATTERED: Final = "scattered"
#: Numbers of samples, channels, rows or positions that are listed one by one.
_LISTED: Final = 4


@dataclass(frozen=True, kw_only=True)
class SetsOf:
    """The set of each element of a result of shape (N, C, *spatial), as a number, and its normalised input x_hat."""

    sets: Labels
    x_hat: Float


def located(
    observed: NDArray[Any],
    expected: Reference,
    half: float,
    layout: SetsOf | None = None,
    weight: NDArray[Any] | None = None,
) -> str:
    """Where ``observed`` lies outside value ± bound, and by what, as "in the last sample alone, by a constant per set".

    Args:
        observed: an output or a dx of shape (N, C, *spatial), or a value of each channel, of shape (C,).
        expected: the reference, of the same shape.
        half: the relative error at which half of the digits are gone; what is said of the amount holds to that.
        layout: the sets of an output or of dx; None where nothing is known of them, and for values of channels.
        weight: the weight of each channel, of shape (C,); None without one.

    Returns:
        Words that follow "departs"; empty where every element lies within the bound.

    Raises:
        ValueError: ``observed`` has another shape than the reference.
    """
    departs = expected.ratio(observed) > 1
    if not departs.any():
        return ""
    where, got = _where(departs, weight), np.asarray(observed, dtype=np.float64)
    everywhere = np.ones_like(departs)  # what lies within the bound may lie there by chance
    if where.endswith(_SCATTERED) and (amount := _amount(got, expected, everywhere, half, layout)):
        return f"everywhere {amount}"
    amount = _amount(got, expected, departs, half, layout)
    if not where:
        return f"everywhere {amount}".rstrip()
    return f"{where}, {amount}" if amount else where


# --- where ---------------------------------------------------------------------------------------------------------


def _where(departs: NDArray[np.bool_], weight: NDArray[Any] | None) -> str:
    """The samples, channels, rows and positions outside; empty where that is everywhere."""
    found, box = [], np.ones(departs.shape, dtype=bool)
    for axis, name in enumerate(_axes(departs.ndim)):
        others = tuple(i for i in range(departs.ndim) if i != axis)
        outside = np.asarray(departs.any(axis=others))
        box &= outside.reshape(-1, *(1,) * (departs.ndim - axis - 1))
        if outside.all():
            continue
        if name == "channel" and weight is not None and np.array_equal(outside, weight == 0):
            found.append("the channels where the weight is 0")
        else:
            found.append(_ranges(name, np.flatnonzero(outside), len(outside)))
    count = int(departs.sum())
    if count < _FILLED * box.sum():
        return f"in {count} of {departs.size} elements, {_SCATTERED}"
    return "in " + ", ".join(found) if found else ""


def _axes(rank: int) -> Sequence[str]:
    """What the axes of a result are called."""
    if rank < 2:
        return ("channel",) * rank
    spatial = ("plane", "row", "column")[-(rank - 2) :] if rank > 3 else ("position",) * (rank - 2)
    return ("sample", "channel", *(f"{i}th axis, index" for i in range(2, rank - 1 - len(spatial))), *spatial)


def _ranges(name: str, places: NDArray[np.intp], size: int) -> str:
    """Some of the ``size`` places along an axis: the first, the last, a range, every second one or a list."""
    first, last, count = int(places[0]), int(places[-1]), len(places)
    if count == 1:
        ends = {0: "the first", size - 1: "the last"}
        return f"{ends[first]} {name} alone" if first in ends else f"{name} {first} alone"
    steps = np.unique(np.diff(places))
    if len(steps) == 1 and steps[0] == 1:
        return f"{name}s from {first} on" if last == size - 1 else f"{name}s {first} to {last}"
    if len(steps) == 1 and count > 2:
        return (
            f"every {_NTH.get(int(steps[0]), f'{steps[0]}th')} {name} from {first} on"
            if last + steps[0] >= size
            else _listed(name, places)
        )
    return _listed(name, places)


_NTH: Final = {2: "second", 3: "third"}


def _listed(name: str, places: NDArray[np.intp]) -> str:
    shown = ", ".join(map(str, places[:_LISTED]))
    rest = len(places) - _LISTED
    return f"{name}s {shown}" + (f" and {rest} more" if rest > 0 else "")


# --- by what -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Departure:
    """The elements outside, flat, with what their labels are among those of the whole result."""

    observed: Float
    expected: Float
    tolerance: Float
    labels: dict[str, Labels]
    x_hat: Float | None

    @property
    def apart(self) -> Float:
        return self.observed - self.expected

    def fits(self, model: Float) -> bool:
        """Whether observed minus expected is ``model``."""
        return bool(np.all(np.abs(self.apart - model) <= self.tolerance))


def _amount(
    observed: Float, expected: Reference, departs: NDArray[np.bool_], half: float, layout: SetsOf | None
) -> str:
    if not np.isfinite(observed[departs]).all():
        kind = "as NaN" if np.isnan(observed[departs]).any() else "as infinity"
        return kind if not np.isfinite(observed[departs]).any() else f"{kind} in a part of it"
    if not np.isfinite(expected.value[departs]).all():
        return "as a number where NaN is expected"
    bound = np.where(np.isfinite(expected.bound), expected.bound, np.inf)[departs]
    apart = np.abs(observed - expected.value)[departs]
    one = _Departure(
        observed=observed[departs],
        expected=expected.value[departs],
        tolerance=2 * bound + half * float(apart.max()),
        labels={name: labels[departs] for name, labels in _labels(observed.shape, layout).items()},
        x_hat=None if layout is None else layout.x_hat[departs],
    )
    return next((words for words in _explanations(one) if words), "")


def _labels(shape: tuple[int, ...], layout: SetsOf | None) -> dict[str, Labels]:
    """What elements may have in common, by its name: from the fewest numbers to the most."""
    whole = {"": np.zeros(shape, dtype=np.intp)}
    if len(shape) < 2:
        return whole
    places = np.indices(shape)
    per_channel = places[0] * shape[1] + places[1]
    own = {} if layout is None else {"set": layout.sets}
    parts = own | {"sample": places[0], "channel": places[1], "channel and sample": per_channel}
    return whole | dict(sorted(parts.items(), key=lambda pair: len(np.unique(pair[1]))))


def _explanations(one: _Departure) -> Iterator[str]:
    """Every way to explain the amount, from the simplest on; empty where it does not."""
    if one.fits(-one.expected):
        yield "with 0 in place of it"
    if one.fits(-2 * one.expected):
        yield "with its sign flipped"
    for name, labels in one.labels.items():
        per = f" per {name}" if name else ""
        for words, basis in _BASES.items():
            columns = basis(one)
            if columns is not None and (numbers := _fitted(one, labels, columns)) is not None:
                yield (
                    f"by the factor {_factor(1 + numbers[0])}"
                    if not name and words == "a factor"
                    else f"by {words}{per}"
                )


#: What observed minus expected may be a multiple of, by its name; None where it is not known.
_BASES: Final[dict[str, Callable[[_Departure], list[Float] | None]]] = {
    "a factor": lambda one: [one.expected],
    "a constant": lambda one: [np.ones_like(one.expected)],
    "a multiple of x_hat": lambda one: None if one.x_hat is None else [one.x_hat],
    "a constant and a multiple of x_hat": lambda one: (
        None if one.x_hat is None else [np.ones_like(one.expected), one.x_hat]
    ),
}


def _fitted(one: _Departure, labels: Labels, columns: list[Float]) -> Float | None:
    """The numbers by which the columns are multiplied, for each label, where that explains the amount.

    None where it does not, or where there are not at least twice as many elements as numbers.
    """
    _, labels = np.unique(labels, return_inverse=True)
    groups, size = int(labels.max()) + 1, len(columns)
    if np.bincount(labels).min() <= size or len(one.expected) < 2 * groups * size:
        return None
    normal, right = np.empty((groups, size, size)), np.empty((groups, size))
    for i, column in enumerate(columns):
        right[:, i] = np.bincount(labels, column * one.apart, minlength=groups)
        for j, other in enumerate(columns):
            normal[:, i, j] = np.bincount(labels, column * other, minlength=groups)
    numbers = (np.linalg.pinv(normal) @ right[..., None])[..., 0]
    model = sum((numbers[labels, i] * column for i, column in enumerate(columns)), np.zeros_like(one.expected))
    return np.asarray(numbers.ravel()) if one.fits(np.asarray(model)) else None


def _factor(value: float) -> str:
    """A factor in four digits, as a fraction of 1 where it is one."""
    inverse = 1 / value if value else 0.0
    if abs(round(inverse)) > 2 and abs(inverse - round(inverse)) < 1e-3 * abs(inverse):
        return f"1 / {round(inverse)}" if inverse > 0 else f"-1 / {-round(inverse)}"
    return f"{value:.4g}"
