"""Second gradients and forward mode against differences of the definition in 60 digits."""

from __future__ import annotations

from typing import Any, Final

import mpmath
import numpy as np
import pytest

from normgauge.oracle import Arithmetic, Reference, batch_norm_higher, group_norm_higher, initial_statistics, semantics

MP: Final = mpmath.mp.clone()
MP.dps = 60
EPS: Final = 0.125
SHAPE: Final = (2, 4, 3)
Array = np.ndarray[Any, np.dtype[Any]]


def exactly(values: Array) -> Array:
    return np.vectorize(MP.mpf, otypes=[object])(values)


def y_of(x: Array, weight: Array, sets: list[list[tuple[int, ...]]], given: tuple[Array, Array] | None) -> Array:
    """weight * x_hat, by its definition."""
    y = np.empty(x.shape, object)
    for places in sets:
        values = [x[place] for place in places]
        mean = MP.fsum(values) / len(values)
        var = MP.fsum((value - mean) ** 2 for value in values) / len(values)
        if given is not None:
            mean, var = (one[places[0][1]] for one in given)
        for place, value in zip(places, values, strict=True):
            y[place] = weight[place[1]] * (value - mean) / MP.sqrt(var + EPS)
    return y


def sets_of(kind: str) -> list[list[tuple[int, ...]]]:
    samples, channels, positions = (range(size) for size in SHAPE)
    if kind == "batch":
        return [[(n, c, p) for n in samples for p in positions] for c in channels]
    return [[(n, c, p) for c in (first, first + 1) for p in positions] for n in samples for first in (0, 2)]


def drawn() -> dict[str, Array]:
    random = np.random.default_rng(5)
    found = {name: np.round(8 * random.standard_normal(SHAPE)) / 8 + 0.5 for name in ("x", "dy", "u")}
    found |= {name: np.round(8 * random.standard_normal(4)) / 8 + 0.25 for name in ("weight", "mean")}
    return found | {"var": np.abs(found["mean"]) + 0.5}


def expected(kind: str, given: tuple[Array, Array] | None) -> dict[str, Array]:
    """By differences: of y along u, and of <dy, y along u> by each element of x and of the weight."""
    drawn_ = {name: exactly(values) for name, values in drawn().items()}
    x, dy, u, weight = (drawn_[name] for name in ("x", "dy", "u", "weight"))
    sets, h = sets_of(kind), MP.mpf(10) ** -15

    def along(x: Array, weight: Array) -> Array:
        return (y_of(x + h * u, weight, sets, given) - y_of(x - h * u, weight, sets, given)) / (2 * h)

    def by(values: Array, moved: Any) -> Array:
        found = np.empty(values.shape)
        for place in np.ndindex(values.shape):
            step = np.zeros(values.shape, object)
            step[place] = h
            found[place] = float(np.sum(dy * (moved(values + step) - moved(values - step))) / (2 * h))
        return found

    twice = (
        y_of(x + h * u, weight, sets, given) - 2 * y_of(x, weight, sets, given) + y_of(x - h * u, weight, sets, given)
    )
    first = along(x, weight).astype(float)
    return {
        "jvp": first,
        "jvp_of_jvp": (twice / h**2).astype(float),
        "second_dy": first,
        "second_x": by(x, lambda moved: along(moved, weight)),
        "second_weight": by(weight, lambda moved: along(x, moved)),
    }


def evaluated(kind: str, arithmetic: Arithmetic, given: tuple[Array, Array] | None) -> dict[str, Reference]:
    known = drawn()
    common: dict[str, Any] = {"eps": EPS, "arithmetic": arithmetic}
    if kind == "group":
        calls = [
            group_norm_higher(known["x"], known["u"], 2, known["weight"], dy=dy, **common) for dy in (None, known["dy"])
        ]
    else:
        running = initial_statistics(known["mean"], known["var"])
        common |= {"training": given is None}
        calls = [
            batch_norm_higher(known["x"], known["u"], running, known["weight"], dy=dy, **common)
            for dy in (None, known["dy"])
        ]
    return {**calls[0], **calls[1]}


@pytest.mark.parametrize("kind", ["group", "batch", "constants"])
def test_the_closed_forms_are_the_derivatives_of_the_definition(kind: str) -> None:
    given = (exactly(drawn()["mean"]), exactly(drawn()["var"])) if kind == "constants" else None
    wanted = expected("batch" if kind == "constants" else kind, given)
    for dtype in ("float32", "float64"):
        found = evaluated("batch" if kind == "constants" else kind, Arithmetic(dtype), given)
        assert set(found) == set(wanted)
        for name, reference in found.items():
            assert np.allclose(reference.value, wanted[name], rtol=1e-13, atol=1e-13), name
            assert np.all(reference.bound <= 0.02 * np.abs(wanted[name]).max()), name  # a wrong term is larger


@pytest.mark.parametrize("kind", ["group", "batch", "constants"])
def test_a_computation_in_float32_lies_within_the_bounds_of_float32(kind: str) -> None:
    """By automatic differentiation of no framework: differences of the gradients' closed form, rounded."""
    given = (exactly(drawn()["mean"]), exactly(drawn()["var"])) if kind == "constants" else None
    found = evaluated("batch" if kind == "constants" else kind, Arithmetic("float32"), given)
    tight = evaluated("batch" if kind == "constants" else kind, Arithmetic("float64"), given)
    for name, reference in found.items():
        rounded = tight[name].value.astype(np.float32)
        assert not reference.excludes(rounded), name
        if np.any(rounded):
            assert reference.excludes(rounded * np.float32(1.1) + np.float32(0.1)), name


def test_nothing_is_said_of_semantics_whose_derivatives_are_not_known() -> None:
    known = drawn()
    outside = semantics("group_norm", eps_placement="outside_sqrt")
    for one in group_norm_higher(known["x"], known["u"], 2, semantics=outside).values():
        assert not one.says_something().any()
    running = semantics("batch_norm", training_normalizes_with="running")
    for one in batch_norm_higher(known["x"], known["u"], training=True, dy=known["dy"], semantics=running).values():
        assert not one.says_something().any()
