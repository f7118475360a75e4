"""``normgauge.identify``: arrays that someone has, and the right answer about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import normgauge
from normgauge.conformance.identify.answer import CANONICAL, DEPARTS, LIKELY, UNKNOWN, Identified
from normgauge.conformance.identify.pair import Compared

Array = NDArray[Any]
RNG = np.random.default_rng(20261127)
C = 8
X = (RNG.standard_normal((4, C, 5, 6)) * 1.5 + RNG.standard_normal((1, C, 1, 1))).astype(np.float32)
WEIGHT = RNG.uniform(0.5, 2, C).astype(np.float32) * np.where(np.arange(C) % 3, 1, -1).astype(np.float32)
BIAS = RNG.standard_normal(C).astype(np.float32)
MEAN, VAR = RNG.standard_normal(C).astype(np.float32), RNG.uniform(0.25, 2, C).astype(np.float32)


def by_channel(values: Array) -> Array:
    return values[:, None, None]


def groups(x: Array, num_groups: int, weight: Array, bias: Array, eps: float = 1e-5, ddof: int = 0) -> Array:
    """GroupNorm in the arithmetic of ``x``."""
    sets = x.reshape(len(x), num_groups, -1)
    mean, var = sets.mean(axis=2, keepdims=True), sets.var(axis=2, keepdims=True, ddof=ddof)
    x_hat = ((sets - mean) / np.sqrt(var + x.dtype.type(eps))).reshape(x.shape)
    return x_hat * by_channel(weight) + by_channel(bias)


def identified(*args: Any, **known: Any) -> Identified:
    found = normgauge.identify(*args, **known)
    assert isinstance(found, Identified)
    return found


def compared(*args: Any, **known: Any) -> Compared:
    found = normgauge.identify(*args, **known)
    assert isinstance(found, Compared)
    return found


def meanings(found: Identified) -> list[str]:
    return [one.meaning for alternative in found.alternatives for one in alternative]


GIVEN = {"weight": WEIGHT, "bias": BIAS}


def test_an_honest_float32_result_is_canonical() -> None:
    found = identified(X, groups(X, 4, WEIGHT, BIAS), num_groups=4, eps=1e-5, **GIVEN)
    assert found.verdict == CANONICAL
    assert found.exit_code == 0
    assert found.differences[0].of_typical < 1
    assert "rounding" in str(found)


def test_groups_and_eps_that_are_not_given_are_found() -> None:
    found = identified(X, groups(X, 4, WEIGHT, BIAS, 1e-3), **GIVEN)
    assert found.verdict == CANONICAL
    values = {one.name: one.value for one in found.settings}
    assert values["num_groups"] == "4"
    assert values["eps"].startswith("0.001: 0.000")


def test_weight_and_bias_that_are_not_given_are_recovered() -> None:
    found = identified(X, groups(X, 2, WEIGHT, BIAS))
    assert found.verdict == CANONICAL
    assert "the layer has a weight, which was not given" in " ".join(found.causes)
    assert {one.name: one.value for one in found.settings}["num_groups"] == "2"


def test_the_groups_of_mlx_are_named() -> None:
    order = np.arange(C).reshape(-1, 4).T.ravel()
    x_hat = groups(np.ascontiguousarray(X[:, order]), 4, np.ones(C, np.float32), np.zeros(C, np.float32))
    y = x_hat[:, np.argsort(order)] * by_channel(WEIGHT) + by_channel(BIAS)
    found = identified(X, y, num_groups=4, eps=1e-5, **GIVEN)
    assert found.verdict == DEPARTS
    assert found.exit_code == 1
    assert meanings(found) == ["channel c belongs to group c mod G"]
    assert "permute the channels" in found.remedies[0]


def test_a_forgotten_eps_is_named_beside_what_does_the_same() -> None:
    found = identified(X / 100, groups(X / 100, 4, WEIGHT, BIAS, 0.0), num_groups=4, eps=1e-5, **GIVEN)
    assert "none: eps is ignored" in meanings(found)


def test_a_weight_in_another_order_is_told_with_its_order() -> None:
    order = np.array([3, 1, 0, 2, 7, 5, 6, 4])
    found = identified(X, groups(X, 4, WEIGHT[order], BIAS), num_groups=4, eps=1e-5, **GIVEN)
    assert found.verdict == DEPARTS
    assert "another order" in found.causes[0]
    assert "[3, 1, 0, 2, 7, 5, 6, 4]" in found.causes[0]


@pytest.mark.parametrize(
    ("made", "meaning"),
    [
        (lambda x: (x - by_channel(MEAN)) / (by_channel(VAR) + np.float32(1e-5)), "the root is forgotten"),
        (lambda x: (x - by_channel(MEAN)) / by_channel(VAR), "variance taken for a deviation"),
        (lambda x: x / np.sqrt(by_channel(VAR) + np.float32(1e-5)), "the mean is not subtracted"),
    ],
)
def test_statistics_that_eval_reads_wrongly_are_named(made: Callable[[Array], Array], meaning: str) -> None:
    y = made(X) * by_channel(WEIGHT) + by_channel(BIAS)
    found = identified(X, y, running_mean=MEAN, running_var=VAR, eps=1e-5, **GIVEN)
    assert any(meaning in one for one in meanings(found))
    assert {one.name: one.value for one in found.settings}["mode"] == "eval"


def test_the_momentum_of_keras_is_named() -> None:
    mean, var = X.mean(axis=(0, 2, 3)), X.var(axis=(0, 2, 3), ddof=1)
    after = {
        "running_mean_after": np.float32(0.99) * MEAN + np.float32(0.01) * mean,
        "running_var_after": np.float32(0.99) * VAR + np.float32(0.01) * var,
    }
    found = identified(X, running_mean=MEAN, running_var=VAR, momentum=0.99, eps=1e-5, **after)
    (meaning,) = meanings(found)
    assert "running = momentum * running + (1 - momentum) * batch" in meaning
    assert "pass 1 - momentum" in found.remedies[0]


def test_channels_last_is_recognised_where_it_alone_fits() -> None:
    x = RNG.standard_normal((3, C, 5, C)).astype(np.float32)
    moved = np.ascontiguousarray(np.moveaxis(x, -1, 1))
    y = np.moveaxis(groups(moved, 4, WEIGHT, BIAS), 1, -1)
    found = identified(x, y, num_groups=4, eps=1e-5, **GIVEN)
    assert found.verdict == CANONICAL
    assert "channels last" in found.arrays
    y = y.copy()
    y[2, 7, 3, 1] += 1
    assert identified(x, y, num_groups=4, eps=1e-5, **GIVEN).differences[-1].index == (2, 7, 3, 1)


def test_channels_last_that_are_read_as_channels_first_are_named() -> None:
    x = RNG.standard_normal((3, C, 5, C)).astype(np.float32)
    found = identified(x, groups(x, 4, WEIGHT, BIAS), num_groups=4, eps=1e-5, layout="channels_last", **GIVEN)
    assert found.verdict == DEPARTS
    assert found.causes[0] == "the channels stand first, not last"


def test_groups_cut_from_channels_last_without_a_transposition_are_named() -> None:
    x = np.ascontiguousarray(np.moveaxis(X, 1, -1))
    sets = x.reshape(4, 4, -1)
    x_hat = (sets - sets.mean(axis=2, keepdims=True)) / np.sqrt(sets.var(axis=2, keepdims=True) + np.float32(1e-5))
    found = identified(x, x_hat.reshape(x.shape) * WEIGHT + BIAS, num_groups=4, eps=1e-5, **GIVEN)
    assert ["cut from (positions x channels)" in one for one in meanings(found)] == [True]


def test_a_result_of_float16_is_canonical() -> None:
    x = X.astype(np.float16)
    y = groups(x.astype(np.float32), 4, WEIGHT, BIAS).astype(np.float16)
    found = identified(x, y, num_groups=4, eps=1e-5, **GIVEN)
    assert found.verdict == CANONICAL
    assert "results of float16" in found.arrays


@pytest.mark.slow
def test_what_nothing_explains_is_unknown_and_its_worst_element_is_told() -> None:
    y = groups(X, 4, WEIGHT, BIAS)
    y[2, 3, 1, 4] += 1
    found = identified(X, y, num_groups=4, eps=1e-5, **GIVEN)
    assert found.verdict == UNKNOWN
    assert found.exit_code == 1
    assert found.differences[-1].index == (2, 3, 1, 4)


def test_a_mistake_within_the_bound_of_a_long_sum_is_likely() -> None:
    x = RNG.standard_normal((1, 16, 64, 64)).astype(np.float32)
    sets = x.reshape(1, 1, -1)
    half = sets[:, :, ::2]
    centred = sets - half.mean(axis=2, keepdims=True)
    y = (centred / np.sqrt(half.var(axis=2, keepdims=True) + np.float32(1e-5))).reshape(x.shape)
    found = identified(x + 1, y, num_groups=1, eps=1e-5, layout="channels_first")
    assert found.verdict in {LIKELY, DEPARTS}
    assert any("every second value of a group" in one for one in meanings(found))


@pytest.mark.parametrize("seed", [6, 8])  # where the squares about zero come nearer to both channels by chance
def test_a_poor_order_of_summation_is_told_and_is_canonical(seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((32, 2, 64, 64)).astype(np.float32)
    rows = x.swapaxes(0, 1).reshape(2, -1)
    mean = np.cumsum(rows, axis=1, dtype=np.float32)[:, -1:] / np.float32(rows.shape[1])
    var = np.cumsum((rows - mean) ** 2, axis=1, dtype=np.float32)[:, -1:] / np.float32(rows.shape[1])
    y = ((rows - mean) / np.sqrt(var + np.float32(1e-5))).reshape(2, 32, 64, 64).swapaxes(0, 1)
    found = identified(x, np.ascontiguousarray(y), layer="batch_norm", eps=1e-5, layout="channels_first")
    assert found.verdict == CANONICAL
    assert "only a poor order of summation explains it" in str(found)


def test_half_a_million_values_of_honest_float32_are_rounding() -> None:
    x = RNG.standard_normal((1, 8, 256, 256)).astype(np.float32)
    ones, zeros = np.ones(8, np.float32), np.zeros(8, np.float32)
    found = identified(x, groups(x, 1, ones, zeros), num_groups=1, eps=1e-5, layout="channels_first")
    (difference,) = found.differences
    assert found.verdict == CANONICAL
    assert difference.words == "rounding"
    assert 1e-6 < difference.typical < 1e-4


def test_eleven_bits_on_the_way_are_told() -> None:
    def narrow(values: Array) -> Array:
        bits = np.asarray(values, dtype=np.float32).view(np.uint32)
        return ((bits + np.uint32(0x1000)) & ~np.uint32(0x1FFF)).view(np.float32)

    sets = X.reshape(4, 4, -1)
    mean, var = narrow(sets.mean(axis=2, keepdims=True)), narrow(sets.var(axis=2, keepdims=True))
    x_hat = narrow(sets - mean) * narrow(1 / np.sqrt(var + np.float32(1e-5)))
    found = identified(
        X, x_hat.reshape(X.shape) * by_channel(WEIGHT) + by_channel(BIAS), num_groups=4, eps=1e-5, **GIVEN
    )
    assert found.verdict == DEPARTS
    assert found.causes[0].startswith("11 bits are kept in intermediate results")


def test_an_input_that_says_nothing_about_eps_says_so_and_names_a_better_one() -> None:
    x = X * 100
    found = identified(x, groups(x, 4, WEIGHT, BIAS), num_groups=4, eps=1e-5, **GIVEN)
    told = " ".join(found.not_told_apart)
    assert "where does eps stand" in told
    assert "use an input whose standard deviation is about 0.003" in told


@pytest.mark.slow
def test_gradients_of_a_known_wrong_form_are_named() -> None:
    dy = RNG.standard_normal(X.shape).astype(np.float32)
    right = normgauge.group_norm_backward(X, dy, 4, WEIGHT, BIAS, eps=1e-5)
    known = {"dy": dy, "y": groups(X, 4, WEIGHT, BIAS), "num_groups": 4, "eps": 1e-5, **GIVEN}
    assert identified(X, dx=right.dx.value.astype(np.float32), **known).verdict == CANONICAL
    unweighted = normgauge.group_norm_backward(X, dy, 4, None, None, eps=1e-5)
    found = identified(X, dx=unweighted.dx.value.astype(np.float32), **known)
    assert found.verdict == UNKNOWN
    assert any("dx: " in one and "weight" in one for one in found.causes)


@pytest.mark.slow
@pytest.mark.parametrize("both", [True, False])
def test_an_exchange_of_gradients_is_named_only_if_both_show_it(both: bool) -> None:
    dy = RNG.standard_normal(X.shape).astype(np.float32)
    right = normgauge.group_norm_backward(X, dy, 4, WEIGHT, BIAS, eps=1e-5)
    assert right.dweight is not None
    assert right.dbias is not None
    dweight, dbias = (one.value.astype(np.float32) for one in (right.dweight, right.dbias))
    known = {"dy": dy, "y": groups(X, 4, WEIGHT, BIAS), "num_groups": 4, "eps": 1e-5, **GIVEN}
    found = identified(X, dweight=dbias if both else dweight, dbias=dweight, **known)
    assert found.verdict == UNKNOWN
    assert any("swapped" in one for one in found.causes) == both


@pytest.mark.slow
def test_where_a_part_is_wrong_it_is_told_which_and_by_what() -> None:
    y = groups(X, 4, WEIGHT, BIAS)
    y[2] *= 2
    found = identified(X, y, num_groups=4, eps=1e-5, **GIVEN)
    assert found.causes == ("y departs in sample 2 alone, by the factor 2",)


def test_the_answer_prints_in_a_notebook_and_as_json() -> None:
    found = identified(X, groups(X, 4, WEIGHT, BIAS), num_groups=4, eps=1e-5, **GIVEN)
    assert found._repr_html_().startswith("<p><b>canonical: GroupNorm")
    assert repr(found) == str(found)
    assert found.as_dict()["differences"][0]["of_bound"] < 1
    assert max(map(len, str(found).splitlines())) <= 110


def test_a_formula_that_says_nothing_of_most_elements_explains_nothing() -> None:
    """One value in a set has no unbiased variance, and with a tiny eps any number lies within the bound."""
    x = X[:, :, :1, :1]
    assert identified(x, RNG.standard_normal(x.shape).astype(np.float32), num_groups=C, eps=1e-5).verdict == UNKNOWN


def test_two_outputs_are_the_same_to_rounding_and_both_canonical() -> None:
    y = groups(X, 4, WEIGHT, BIAS)
    other = groups(X.astype(np.float64), 4, WEIGHT, BIAS).astype(np.float32)
    found = compared(X, y, other=other, num_groups=4, eps=1e-5, **GIVEN)
    assert found.headline == "the same to rounding: both are canonical"
    assert found.exit_code == 0


def test_of_two_outputs_that_differ_the_wrong_one_is_named() -> None:
    y, other = groups(X, 4, WEIGHT, BIAS), groups(X, 4, WEIGHT, BIAS, ddof=1)
    found = compared(X, y, other=other, num_groups=4, eps=1e-5, **GIVEN)
    assert found.headline == "not the same: y is canonical, other is not"
    assert "divided by n - 1" in str(found)


# --- what one pair of arrays shows, and what it does not ----------------------------------------------


def test_a_constant_eps_is_said_of_these_arrays_alone() -> None:
    x = (np.random.default_rng(0).standard_normal((2, 8, 3, 3)) * 0.02).astype(np.float32)
    found = identified(x, normgauge.group_norm(x, 4, eps=1e-3).value.astype(np.float32), num_groups=4, eps=1e-5)
    ((departure,),) = found.alternatives
    assert departure.meaning == "eps is 0.001 here, not the eps that is given"
    assert "do not show whether the layer always takes 0.001" in departure.remedy
    assert "always" not in str(found).replace("whether the layer always", "")


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_a_weight_along_another_axis_of_the_same_length_is_named(layout: str) -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, 8, 8, 8)).astype(np.float32), rng.uniform(0.5, 2, 8).astype(np.float32)
    y = (normgauge.group_norm(x, 4).value * weight).astype(np.float32)  # along the last axis, as NumPy broadcasts it
    axis, shape = (3, "(C, 1, 1)") if layout == "channels_first" else (2, "(C,)")
    if layout == "channels_last":
        x, y = (np.moveaxis(one, 1, -1) for one in (x, y))
    (cause,) = identified(x, y, weight=weight, num_groups=4, eps=1e-5, layout=layout).causes
    assert cause.startswith(f"weight and bias are applied along axis {axis} of x")
    assert f"reshape them to {shape}" in cause


def test_a_guessed_layout_names_the_one_that_does_not_fit_as_well() -> None:
    x = np.random.default_rng(0).standard_normal((2, 5, 5, 5)).astype(np.float32)
    found = identified(x, normgauge.group_norm(x, 5).value.astype(np.float32))
    (layout,) = [one for one in found.settings if one.name == "layout"]
    assert (layout.value, layout.known) == ("channels first", "not given; fits; channels last does not fit as well")


def test_a_length_that_is_that_of_the_other_layout_is_said() -> None:
    x = np.zeros((2, 8, 6, 6), np.float32)
    with pytest.raises(normgauge.CannotIdentify, match="the layout channels_first has as many channels"):
        normgauge.identify(x, x, weight=np.ones(8, np.float32), layout="channels_last")
    with pytest.raises(normgauge.CannotIdentify, match=r"6 channels \(channels last\), as weight has as many numbers"):
        normgauge.identify(x, x, weight=np.ones(6, np.float32), num_groups=4)
