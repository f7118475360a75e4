"""A wrong argument is refused with what was given and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from normgauge.oracle import (
    AXES,
    CANONICAL,
    Arithmetic,
    Refusal,
    batch_norm,
    candidates,
    group_norm,
    initial_statistics,
    rounded,
    semantics,
)

X = np.zeros((2, 6, 3), dtype=np.float32)


def group(**changes: Any) -> Any:
    arguments: dict[str, Any] = {"x": X, "num_groups": 3}
    return group_norm(**(arguments | changes))


def batch(**changes: Any) -> Any:
    running = initial_statistics(np.zeros(6), np.ones(6))
    arguments: dict[str, Any] = {"x": X, "running": running, "training": True}
    return batch_norm(**(arguments | changes))


def raises(call: Callable[..., Any], words: list[str], kind: type[ValueError] = ValueError, /, **changes: Any) -> None:
    """``call`` raises exactly ``kind``, and its message has all of ``words``."""
    with pytest.raises(ValueError, match=re.escape(words[0])) as caught:
        call(**changes)
    assert type(caught.value) is kind
    for word in words:
        assert word in str(caught.value), (word, str(caught.value))


LAYERS = pytest.mark.parametrize("call", [group, batch], ids=["group_norm", "batch_norm"])


@LAYERS
@pytest.mark.parametrize("x", [np.float32(1.0), np.zeros(6)], ids=["rank 0", "rank 1"])
def test_x_without_a_channel_dimension_is_refused(call: Callable[..., Any], x: Any) -> None:
    raises(call, ["x must have shape (N, C, *spatial)", f"{np.ndim(x)} dimension"], x=x)


@LAYERS
@pytest.mark.parametrize(
    "dtype",
    [np.complex64, np.complex128, object, "U4", "M8[s]"],
)
@pytest.mark.parametrize("name", ["x", "weight", "bias"])
def test_arrays_that_are_not_real_numbers_are_refused(call: Callable[..., Any], name: str, dtype: Any) -> None:
    shape = X.shape if name == "x" else (6,)
    value = np.zeros(shape).astype(np.int64).astype(dtype)
    raises(call, [name, "real numbers", str(value.dtype)], **{name: value})


@LAYERS
@pytest.mark.parametrize("name", ["weight", "bias"])
@pytest.mark.parametrize("shape", [(), (1,), (5,), (6, 1), (1, 6, 1)])
def test_an_affine_parameter_of_another_shape_is_refused(
    call: Callable[..., Any], name: str, shape: tuple[int, ...]
) -> None:
    raises(call, [name, "(6,)", str(shape)], **{name: np.ones(shape)})


@LAYERS
@pytest.mark.parametrize(
    ("eps", "words"),
    [
        (float("nan"), ["finite", "nan"]),
        (float("inf"), ["finite", "inf"]),
        (float("-inf"), ["finite", "-inf"]),
        ("1e-5", ["number", "'1e-5'"]),
        (None, ["number", "None"]),
        (True, ["number", "True"]),
        (1e-5 + 0j, ["number", "j"]),
        ([1e-5], ["number", "[1e-05]"]),
    ],
)
def test_an_eps_that_is_no_finite_number_is_refused(call: Callable[..., Any], eps: Any, words: list[str]) -> None:
    raises(call, ["eps", *words], eps=eps)


@LAYERS
@pytest.mark.parametrize("eps", [0, 1, 0.0, -1e-5, np.float32(1e-5), np.int64(1)])
def test_every_kind_of_real_eps_is_accepted(call: Callable[..., Any], eps: Any) -> None:
    call(eps=eps)


@pytest.mark.parametrize("groups", [0, -1, 3.0, 2.5, "3", None, True, np.float64(3), [3]])
def test_num_groups_that_is_no_positive_integer_is_refused(groups: Any) -> None:
    raises(group, ["num_groups", "positive integer", repr(groups)], num_groups=groups)


@pytest.mark.parametrize("groups", [3, np.int32(3), np.uint8(6)])
def test_every_kind_of_integer_num_groups_is_accepted(groups: Any) -> None:
    group(num_groups=groups)


@pytest.mark.parametrize("groups", [4, 5, 7, 12])
def test_num_groups_that_does_not_divide_the_channels_is_a_refusal(groups: int) -> None:
    raises(group, ["divisible", "num_channels=6", f"num_groups={groups}"], Refusal, num_groups=groups)


def test_another_channel_count_than_the_layer_was_made_for_is_a_refusal() -> None:
    raises(group, ["num_channels=3", "6"], Refusal, num_channels=3)
    raises(group, ["num_channels=3", "6"], Refusal, num_channels=3, weight=np.ones(3))
    for channels in (1, 5, 12):
        statistics = initial_statistics(np.zeros(channels), np.ones(channels))
        for training in (True, False):
            raises(batch, [f"{channels} channels", "6"], Refusal, running=statistics, training=training)


@pytest.mark.parametrize(
    ("momentum", "words"),
    [
        ("0.1", ["number", "'0.1'"]),
        (float("nan"), ["finite", "nan"]),
        (float("inf"), ["finite", "inf"]),
        (True, ["number", "True"]),
        ([0.1], ["number", "[0.1]"]),
    ],
)
def test_a_momentum_that_is_no_finite_number_is_refused(momentum: Any, words: list[str]) -> None:
    raises(batch, ["momentum", *words], momentum=momentum)


def test_momentum_none_is_refused_only_by_the_semantics_that_refuse_it() -> None:
    refusing = semantics("batch_norm", momentum_none="refused")
    raises(batch, ["momentum=None"], Refusal, momentum=None, semantics=refusing)
    for axis_value in ("cumulative", "fixed"):
        batch(momentum=None, semantics=semantics("batch_norm", momentum_none=axis_value))


@pytest.mark.parametrize("shape", [(1, 6), (1, 6, 1), (1, 6, 1, 1)])
def test_training_with_one_value_per_channel_is_refused_only_by_the_semantics_that_refuse_it(
    shape: tuple[int, ...],
) -> None:
    x = np.zeros(shape)
    raises(batch, ["more than one value per channel", str(shape)], Refusal, x=x)
    for value in ("shift", "nan", "identity"):
        batch(x=x, semantics=semantics("batch_norm", single_value=value))
    batch(x=x, training=False)


@pytest.mark.parametrize("name", ["running mean", "running var"])
def test_running_statistics_that_are_not_real_numbers_are_refused(name: str) -> None:
    arrays: dict[str, Any] = {"running mean": np.zeros(6), "running var": np.ones(6)}
    arrays[name] = arrays[name] + 1j
    with pytest.raises(ValueError, match=f"{name} must be an array of real numbers, got dtype complex128"):
        initial_statistics(*arrays.values())


# --- semantics and arithmetic ------------------------------------------------------------------------


def test_an_unknown_layer_axis_or_value_is_refused_with_the_known_ones() -> None:
    raises(lambda: semantics("layer_norm"), ["'layer_norm'", "group_norm", "batch_norm"])
    for layer, axes in AXES.items():
        raises(lambda layer=layer: semantics(layer, colour="red"), ["'colour'", layer, *(a.name for a in axes)])
        for axis in axes:
            raises(
                lambda layer=layer, axis=axis: semantics(layer, **{axis.name: "sideways"}),
                ["'sideways'", axis.name, *axis.names],
            )


def test_a_semantics_with_a_set_learns_which_axes_were_read_and_a_shared_one_learns_nothing() -> None:
    read: set[str] = set()
    noting = replace(CANONICAL["group_norm"], read=read)
    group(semantics=noting)
    assert read == {axis.name for axis in AXES["group_norm"]} - {"affine_shape"}
    group(semantics=noting, weight=np.ones(6))
    assert read == {axis.name for axis in AXES["group_norm"]}
    assert noting == CANONICAL["group_norm"]
    assert CANONICAL["group_norm"].read is None


def test_every_candidate_is_a_point_of_the_product_and_the_canonical_one_is_first() -> None:
    for layer, axes in AXES.items():
        points = list(candidates(layer))
        assert len(points) == np.prod([len(axis.values) for axis in axes])
        assert not points[0].departures()
        assert len({tuple(point.choices.items()) for point in points}) == len(points)


@pytest.mark.parametrize("dtype", ["float8", "float128", "double", "", None, np.float32])
def test_an_arithmetic_of_an_unknown_type_is_refused(dtype: Any) -> None:
    names = [repr(dtype), "float16", "bfloat16", "float32", "float64"]
    raises(lambda: Arithmetic(dtype), names)
    raises(lambda: rounded([1.0], dtype), names)
    if dtype:
        raises(lambda: Arithmetic(storage=dtype), names)
        raises(lambda: initial_statistics([0.0], [1.0], dtype=dtype), names)


@pytest.mark.parametrize(
    ("dtype", "storage"), [("bfloat16", "float32"), ("float16", "bfloat16"), ("float32", "float64")]
)
def test_results_in_a_type_that_is_not_narrower_are_refused(dtype: str, storage: str) -> None:
    raises(lambda: Arithmetic(dtype, storage=storage), [repr(storage), repr(dtype), "allowed"])


@pytest.mark.parametrize("accuracy", ["three_pass", "Welford", "", None])
def test_an_arithmetic_of_an_unknown_class_is_refused(accuracy: Any) -> None:
    raises(lambda: Arithmetic("float32", accuracy), [repr(accuracy), "two_pass", "welford", "one_pass"])


# --- references --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (2, 6), (2, 6, 1), (2, 3, 6), (1, 2, 6, 3)])
def test_an_output_of_another_shape_is_refused_not_broadcast(shape: tuple[int, ...]) -> None:
    reference = group()
    raises(lambda: reference.ratio(np.zeros(shape)), [str(shape), str(X.shape)])
    raises(lambda: reference.excludes(np.zeros(shape)), [str(shape), str(X.shape)])


def test_a_nan_where_a_number_is_expected_is_infinitely_far_off() -> None:
    reference = group()
    got = reference.value.copy()
    got[0, 0, 0] = np.nan
    assert np.isposinf(reference.ratio(got)[0, 0, 0])
    assert reference.excludes(got)
