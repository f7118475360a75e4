"""How inputs lie in memory, and what a call may not do to it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from faulty.adapter import FaultyAdapter
from faulty.group_norm import GroupNorm
from numpy.lib.stride_tricks import as_strided

from normgauge.adapters.case import Array, Case, Implementation, Observation, Step, StepResult
from normgauge.adapters.memory import buffer_of, overlaps_itself
from normgauge.adapters.memory_layouts import LAYOUTS, laid_out
from normgauge.conformance.layers.experiments import probes
from normgauge.conformance.requirements.requirement import CHANNELS

X = np.arange(16, dtype=np.float32).reshape(2, 4, 2)


class Strided(FaultyAdapter):
    """Every element of x apart in a larger buffer; the layer's output goes through ``after``."""

    after: Callable[[Any, Array, Array], Array] = staticmethod(lambda layer, x, y: y)

    def to_native(self, implementation: Implementation, x: Array) -> Any:
        view = np.full([2 * n for n in x.shape], np.nan, x.dtype)[(slice(1, None, 2),) * x.ndim]
        view[...] = x
        return view

    def forward(self, layer: Any, x: Any, *, training: bool) -> Any:
        return type(self).after(layer, x, super().forward(layer, x, training=training))


def observed(adapter: type[FaultyAdapter], x: Array = X) -> Observation:
    settings = {"num_channels": x.shape[1], "num_groups": 2, "eps": 1e-5}
    seen = adapter("float32").run(
        "group_norm.GroupNorm",
        Case(layer="group_norm", dtype="float32", settings=settings, parameters={}, steps=(Step("eval", x),)),
    )
    assert seen.raised is None
    return seen


def test_an_honest_layer_on_a_strided_input_changes_nothing_and_gives_memory_of_its_own() -> None:
    (step,) = observed(Strided).steps
    assert (step.modified, step.shares) == ((), ())
    assert np.array_equal(step.output, observed(FaultyAdapter).steps[0].output)


def test_a_layer_that_writes_between_the_elements_of_its_input_is_noticed() -> None:
    class Careless(Strided):
        @staticmethod
        def after(layer: GroupNorm, x: Array, y: Array) -> Array:
            x.base[0] = 0.0  # type: ignore[index]  # the view begins at 1
            return y

    assert observed(Careless).steps[0].modified == ("memory beside x",)


def test_a_layer_that_writes_into_its_input_is_noticed_wherever_the_input_lies() -> None:
    class InPlace(Strided):
        @staticmethod
        def after(layer: GroupNorm, x: Array, y: Array) -> Array:
            x[...] = y
            return y

    assert observed(InPlace).steps[0].modified == ("x",)


@pytest.mark.parametrize(
    ("shared", "handed_out"),
    [
        (["x"], lambda layer, x, y: x),
        (["x"], lambda layer, x, y: x[::-1, 1:]),
        (["weight", "itself"], lambda layer, x, y: np.broadcast_to(layer.weight[:, None], x.shape)),
        (["bias", "itself"], lambda layer, x, y: np.broadcast_to(layer.bias[:, None], x.shape)),
        ([], lambda layer, x, y: x.base[::2, ::2, ::2]),
    ],
)
def test_an_output_in_the_memory_of_something_else_is_noticed(
    shared: list[str], handed_out: Callable[[GroupNorm, Array, Array], Array]
) -> None:
    class Shares(Strided):
        after = staticmethod(handed_out)

    assert observed(Shares).steps[0].shares == tuple(shared)


class AfterTheGradients(Strided):
    """What is done to the layer, x, dy and the gradients behind the layer's back."""

    spoils: Callable[[Any, Array, Array, Mapping[str, Array]], None]

    def backward(self, layer: Any, x: Any, dy: Any, *, training: bool) -> tuple[Any, Mapping[str, Any]]:
        y, gradients = super().backward(layer, x, dy, training=training)
        type(self).spoils(layer, x, dy, gradients)
        return y, gradients


def _reuse(name: str) -> Callable[[Any, Array, Array, Mapping[str, Array]], None]:
    def spoil(layer: Any, x: Array, dy: Array, gradients: Mapping[str, Array]) -> None:
        vars(layer).setdefault("kept", gradients)[name][...] = gradients[name]

    return spoil


def _write(*arrays: Array) -> None:
    for array in arrays:
        array[...] = 7.0


def _double(array: Array) -> None:
    array *= 2


@pytest.mark.parametrize(
    ("named", "spoil"),
    [
        ([(), ()], lambda layer, x, dy, gradients: None),
        ([("dy",)] * 2, lambda layer, x, dy, gradients: _write(dy)),
        ([("memory beside dy",)] * 2, lambda layer, x, dy, gradients: _write(dy.base[0])),
        ([("x", "memory beside dy")] * 2, lambda layer, x, dy, gradients: _write(x, dy.base[0])),
        ([(), ("a gradient of an earlier call",)], _reuse("dx")),
        ([(), ("a gradient of an earlier call",)], _reuse("dbias")),
        ([("weight",), ("weight", "the array loaded as weight")], lambda layer, x, dy, _: _double(layer.weight)),
    ],
)
def test_a_call_with_gradients_names_what_it_changed_of_its_own_and_of_the_calls_before(
    named: list[tuple[str, ...]], spoil: Callable[[Any, Array, Array, Mapping[str, Array]], None]
) -> None:
    class Spoils(AfterTheGradients):
        spoils = staticmethod(spoil)

    steps = tuple(Step("train", X * n, X**n) for n in (1, 2))
    weight = np.array([1, 2, 3, 4], np.float32)
    case = Case(
        layer="group_norm",
        dtype="float32",
        settings={"num_channels": 4, "num_groups": 2, "eps": 1e-5},
        parameters={"weight": weight},
        steps=steps,
    )
    seen = Spoils("float32").run("group_norm.GroupNorm", case)
    assert seen.raised is None
    assert [step.modified for step in seen.steps] == named
    assert weight.tolist() == [1, 2, 3, 4]


def test_an_earlier_output_that_can_be_read_no_more_has_changed() -> None:
    class Donates(FaultyAdapter):
        """As a framework that takes the buffer of an earlier array for a later one."""

        gone: list[Any] = []  # noqa: RUF012

        def forward(self, layer: Any, x: Any, *, training: bool) -> Any:
            self.gone += vars(layer).get("last", [])
            layer.last = [super().forward(layer, x, training=training)]
            return layer.last[0]

        def to_numpy(self, implementation: Implementation, value: Any) -> Array:
            if any(value is one for one in self.gone):
                raise RuntimeError("the array has been deleted")
            return super().to_numpy(implementation, value)

    settings = {"num_channels": 4, "num_groups": 2, "eps": 1e-5}
    steps = (Step("eval", X), Step("eval", 2 * X), Step("eval", 3 * X))
    case = Case(layer="group_norm", dtype="float32", settings=settings, parameters={}, steps=steps)
    seen = Donates("float32").run("group_norm.GroupNorm", case)
    assert seen.raised is None
    assert [step.modified for step in seen.steps] == [(), (), ("the output of an earlier call",)]


def test_an_empty_output_shares_nothing() -> None:
    class Identity(Strided):
        @staticmethod
        def after(layer: GroupNorm, x: Array, y: Array) -> Array:
            return x

    assert observed(Identity, X[:0]).steps[0].shares == ()


def test_a_framework_whose_arrays_nobody_can_write_to_shares_nothing() -> None:
    class Immutable(Strided):
        after = staticmethod(lambda layer, x, y: x)

        def elements(self, value: Any) -> Array | None:
            return None

    (step,) = observed(Immutable).steps
    assert (step.modified, step.shares, step.read_only) == ((), (), ())


def _step_of(gives: Callable[[Any, Array, Mapping[str, Array]], Mapping[str, Array]]) -> StepResult:
    """What is seen of a layer whose gradients are those that ``gives`` makes of dy and its own."""

    class Gives(Strided):
        def backward(self, layer: Any, x: Any, dy: Any, *, training: bool) -> tuple[Any, Mapping[str, Any]]:
            y, gradients = super().backward(layer, x, dy, training=training)
            return y, {**gradients, **gives(y, dy, gradients)}

    settings = {"num_channels": 4, "num_groups": 2, "eps": 1e-5}
    case = Case(layer="group_norm", dtype="float32", settings=settings, parameters={}, steps=(Step("train", X, X**2),))
    seen = Gives("float32").run("group_norm.GroupNorm", case)
    assert seen.raised is None
    return seen.steps[0]


def _rows(apart: int) -> Mapping[str, Array]:
    """dweight and dbias in one buffer, each with an element between two of its own, ``apart`` elements from there."""
    buffer = np.zeros(16, np.float32)
    return {"dweight": buffer[:8:2], "dbias": buffer[apart : apart + 8 : 2]}


@pytest.mark.parametrize(
    ("shared", "gives"),
    [
        ((), lambda y, dy, own: own),
        (("dweight and dbias",), lambda y, dy, own: {"dweight": own["dbias"]}),
        (("dweight and dbias",), lambda y, dy, own: _rows(6)),
        ((), lambda y, dy, own: _rows(1)),
        ((), lambda y, dy, own: _rows(8)),
        (("dx",), lambda y, dy, own: {"dx": y}),
        (("dx and dy",), lambda y, dy, own: {"dx": dy}),
        (("dbias and dy",), lambda y, dy, own: {"dbias": dy[0, :, 0]}),
        (("dbias and itself",), lambda y, dy, own: {"dbias": as_strided(np.zeros(1, np.float32), (4,), (0,))}),
    ],
)
def test_gradients_that_lie_where_another_array_does_are_named_with_it(
    shared: tuple[str, ...], gives: Callable[[Any, Array, Mapping[str, Array]], Mapping[str, Array]]
) -> None:
    step = _step_of(gives)
    assert (step.shares, step.read_only, step.modified) == (shared, (), ())


def test_what_cannot_be_written_to_is_named() -> None:
    fixed = as_strided(np.zeros(4, np.float32), writeable=False)
    assert _step_of(lambda y, dy, own: {"dbias": fixed}).read_only == ("dbias",)


@pytest.mark.parametrize(
    ("one", "shape", "strides"),
    [
        (False, (), ()),
        (False, (3, 4), (32, 8)),
        (False, (3, 4), (8, 24)),
        (False, (3, 4), (-64, 8)),
        (False, (1, 4), (0, 8)),
        (False, (0, 4), (0, 8)),
        (False, (3, 3), (16, 24)),  # 0, 16, 32; 24, 40, 56; 48, 64, 80
        (True, (4, 3), (16, 24)),  # 48 both ways
        (True, (3, 4), (0, 8)),
        (True, (3, 4), (8, 8)),
        (True, (3,), (4,)),
    ],
)
def test_an_array_with_two_elements_in_one_place_is_known(
    one: bool, shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    assert overlaps_itself(as_strided(np.zeros(64)[20:], shape, strides)) == one


def test_the_buffer_of_a_view_is_all_of_it_in_either_order() -> None:
    for whole in (np.zeros((3, 4)), np.zeros((3, 4), order="F"), np.zeros(())):
        assert buffer_of(whole[..., None][:1]).nbytes == whole.nbytes
        assert np.shares_memory(buffer_of(whole), whole)


@pytest.mark.parametrize("layout", ["", *LAYOUTS])
@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 3), (3, 1, 2, 2), (2, 4, 1, 2, 3), (0, 4, 2), (2, 4, 0)])
def test_an_input_lies_in_memory_as_its_layout_says_and_has_the_same_values(
    layout: str, shape: tuple[int, ...]
) -> None:
    x = np.arange(1, 1 + math.prod(shape), dtype=np.float32).reshape(shape)
    x = np.repeat(x[:1], len(x), axis=0) if layout == "expanded" else x
    found = laid_out(x, layout)
    assert np.array_equal(found, x)
    assert found.dtype == x.dtype
    assert not np.shares_memory(found, x)
    assert found.flags.writeable
    beside = buffer_of(found).view(x.dtype)
    if not x.size:
        return
    assert {
        "": found.flags.c_contiguous,
        "strided": np.isnan(beside).sum() == x.size * (2**x.ndim - 1),
        "offset": found.flags.c_contiguous and np.isnan(beside).tolist() == [True] * 3 + [False] * x.size,
        "channels_last": np.moveaxis(found, 1, -1).flags.c_contiguous and beside.size == x.size,
        "expanded": found.strides[0] == 0 and beside.size == x[:1].size,
    }[layout]


def test_unequal_samples_cannot_be_one_in_memory() -> None:
    with pytest.raises(ValueError, match="an expanded batch holds one sample N times; the samples of this one differ"):
        laid_out(X, "expanded")


@pytest.mark.parametrize(
    ("layout", "dy_layout"), [*itertools.product(["", "strided", "offset", "channels_last"], repeat=2)]
)
def test_a_layer_meets_x_and_dy_each_in_the_layout_of_the_step(layout: str, dy_layout: str) -> None:
    met: list[tuple[int, ...]] = []

    class Notes(FaultyAdapter):
        def backward(self, layer: Any, x: Any, dy: Any, *, training: bool) -> tuple[Any, Mapping[str, Any]]:
            met.extend((x.strides, dy.strides))
            return super().backward(layer, x, dy, training=training)

    settings = {"num_channels": 4, "num_groups": 2, "eps": 1e-5}
    step = Step("train", X, X + 1, layout=layout, dy_layout=dy_layout)
    case = Case(layer="group_norm", dtype="float32", settings=settings, parameters={}, steps=(step,))
    (seen,) = Notes("float32").run("group_norm.GroupNorm", case).steps
    assert met == [laid_out(X, layout).strides, laid_out(X, dy_layout).strides]
    assert seen.modified == ()
    dense = replace(case, steps=(Step("train", X, X + 1),))
    (alike,) = FaultyAdapter("float32").run("group_norm.GroupNorm", dense).steps
    for name, value in alike.quantities.items():
        np.testing.assert_allclose(seen.quantities[name], value, rtol=1e-5, atol=1e-6)


# --- which cases exist in which mode --------------------------------------------------------------


@pytest.mark.parametrize("layer", ["group_norm", "batch_norm"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_expanded_batch_is_asked_with_equal_samples_and_every_other_mode_as_usual(layer: str, dtype: str) -> None:
    usual = probes(layer, dtype, (3, 4))
    expanded = {(probe.requirement, probe.label): probe for probe in probes(layer, dtype, (3, 4), equal_samples=True)}
    for probe in usual:
        if probe.requirement == "GN-10":  # there is no other sample
            assert (probe.requirement, probe.label) not in expanded
            continue
        for step, own in zip(probe.case.steps, expanded[probe.requirement, probe.label].case.steps, strict=True):
            assert own.x.shape == step.x.shape
            assert np.array_equal(own.x[:1], step.x[:1], equal_nan=True)
            assert all(np.array_equal(own.x[0], sample, equal_nan=True) for sample in own.x[1:])
    again = probes(layer, dtype, (3, 4))
    assert [probe.label for probe in again] == [probe.label for probe in usual]


@pytest.mark.parametrize("layer", ["group_norm", "batch_norm"])
@pytest.mark.parametrize("ranks", [(2,), (3,), (4,), (5,), (2, 3), (2, 3, 4, 5)])
def test_other_ranks_than_an_implementation_takes_are_asked_by_one_requirement_only(
    layer: str, ranks: tuple[int, ...]
) -> None:
    asked_of: dict[bool, set[int]] = {True: set(), False: set()}
    for probe in probes(layer, "float32", ranks):
        asked_of[probe.requirement in {"GN-34", "BN-43"}] |= {step.x.ndim for step in probe.case.steps}
    assert asked_of == {True: {1, 2, 3, 4, 5} - set(ranks), False: set(ranks)}


@pytest.mark.parametrize("ranks", [(2,), (3,), (4,), (5,), (2, 3), (2, 3, 4, 5)])
def test_group_norm_is_asked_with_shapes_that_an_implementation_takes(ranks: tuple[int, ...]) -> None:
    asked = probes("group_norm", "float32", ranks)
    shapes = {probe.requirement: probe.case.steps[0].x.shape for probe in asked}
    assert shapes["GN-11"][:2] == (2, CHANNELS)
    assert shapes["GN-13"][0] == 0
    assert ("GN-14" in shapes) == (ranks != (2,))


class TellsWhereItLies(FaultyAdapter):
    def forward(self, layer: Any, x: Any, *, training: bool) -> Any:
        raise ValueError(f"no kernel for {object()!r}")


def test_where_an_object_lies_in_memory_is_not_told() -> None:
    x = np.ones((2, 4), np.float32)
    case = Case(
        layer="group_norm",
        dtype="float32",
        settings={"num_channels": 4, "num_groups": 2},
        parameters={},
        steps=(Step("train", x),),
    )
    raised = TellsWhereItLies("float32").run("group_norm.GroupNorm", case).raised
    assert raised is not None
    assert raised.message == "no kernel for <object object at 0x...>"
