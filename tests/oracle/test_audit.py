"""No honest form lies outside its bound: a short search, and the cases in which one did."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
import pytest
from audit import FORMS, RUNGS, Largest, Rung, Search, main, outside, reference, search
from audit_forms import Case, Data, Form, Settings
from audit_ncnn import NCNN
from honest import Array

from normgauge.oracle import Arithmetic

F32: Final = RUNGS["float32"]
SHORT: Final = Search(forms=FORMS, climbers=48, steps=12)


@pytest.fixture(autouse=True)
def _honest_arithmetic_may_overflow() -> Any:
    with np.errstate(all="ignore"):
        yield


def short_search(rungs: dict[str, Rung], rounds: int) -> Largest:
    return search(SHORT, rungs, 1, lambda number: number < rounds)[0]


@pytest.mark.parametrize("rung", RUNGS)
def test_a_short_search_finds_no_form_outside_its_bound(rung: str) -> None:
    largest = short_search({rung: RUNGS[rung]}, rounds=2 if rung == "float32" else 1)
    assert not outside(largest)
    assert sum(found.ratio > 0.1 for found in largest.values()) > 5  # it climbs


def test_a_search_finds_the_bounds_of_a_finer_type_too_tight(capsys: pytest.CaptureFixture[str]) -> None:
    planted = replace(F32, arithmetic=lambda accuracy: Arithmetic("float64", accuracy))
    largest = short_search({"planted": planted}, rounds=1)
    assert len(outside(largest)) == len(largest)
    assert main(["--rounds", "1", "--types", "float32", "--only", "running_mean: two_pass sequential"]) == 0
    assert "No form lies outside its bound." in capsys.readouterr().out


def test_the_same_seed_finds_the_same() -> None:
    name = "evaluation y: algorithm_2, inverse"
    first, again = (SHORT.climb(F32, name, (2, 3)) for _ in range(2))
    assert first.ratio == again.ratio > 0


def test_a_form_that_is_not_known_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "no such form"])
    assert "no form's name contains 'no such form'; the quantities are: y, evaluation y" in capsys.readouterr().err


# --- the cases in which a form lay outside: each is red under the bound that it had ------------------------


def held(case: Case, form: str, rung: Rung = F32, *, flush: bool = False) -> float:
    """The largest ratio of a form on a case."""
    return float(SHORT.ratios(rung, FORMS[form], rung.machine(flush), case).max())


def case(x: Array, *, eps: float = 1e-5, momentum: float = 0.1, placement: str = "inside_sqrt", **parts: Array) -> Case:
    """Weights of 1 and no bias, standard running statistics, where ``parts`` does not say otherwise."""
    one = np.ones((len(x), 1), dtype=x.dtype)
    data = {"x": x, "dy": 0 * x, "weight": one, "bias": 0 * one, "old_mean": 0 * one, "old_var": one} | parts
    settings = Settings(eps=eps, placement=placement, momentum=momentum, divisor="biased")
    return Case(settings=settings, data=Data(**data))


def normal(seed: int, shape: tuple[int, int]) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def evaluated(names: str) -> list[str]:
    return [name for name in FORMS if name.startswith(f"evaluation y: {names}")]


def far_mean() -> Case:
    """A mean of 16 deviations: where 1.5e-4 of ncnn's elements lay outside."""
    mean = 16 + normal(0, (2000, 1))
    x, var = mean + normal(1, (2000, 50)), 1 + 0.1 * np.abs(normal(2, (2000, 1)))
    return case(x, old_mean=mean, old_var=var, weight=normal(3, (2000, 1)))


def large_bias() -> Case:
    return case(
        normal(4, (400, 60)), bias=100 * normal(5, (400, 1)), weight=normal(6, (400, 1)), old_mean=normal(7, (400, 1))
    )


@pytest.mark.parametrize("form", ["algorithm_2", "separate", "difference_of_products", "bias_in_mean"])
def test_scales_and_biases_in_any_place_are_within_the_bound(form: str) -> None:
    for given in (far_mean(), large_bias()):
        assert max(held(given, name) for name in evaluated(form)) <= 1
    assert held(far_mean(), "evaluation y: algorithm_2, inverse") > 0.5


#: Where five roundings of a form go the same way: x, weight, bias, running mean and variance, found by climbing.
ATTAINED: Final = {
    "separate": (16.020112991333008, 0.9999511241912842, 0.007882128469645977, 16.020423889160156, 1.0000845193862915),
    "algorithm_2": (
        16.001035690307617,
        1.0027838945388794,
        0.007813453674316406,
        16.001026153564453,
        1.0000325441360474,
    ),
}


@pytest.mark.parametrize("form", ATTAINED)
def test_the_bound_of_separate_scales_is_attained(form: str) -> None:
    x, weight, bias, mean, var = (np.full((1, 1), number, dtype=np.float32) for number in ATTAINED[form])
    given = case(x, weight=weight, bias=bias, old_mean=mean, old_var=var)
    assert 0.97 < held(given, f"evaluation y: {form}, inverse") <= 1


@pytest.mark.parametrize("momentum", [0.001, 0.01, 0.1])
def test_a_step_back_from_the_new_value_is_within_the_bound(momentum: float) -> None:
    given = case(normal(8, (50_000, 2)), momentum=momentum, old_mean=1e-3 * normal(9, (50_000, 1)))
    assert held(given, "running_mean: two_pass sequential, step_back") <= 1


@pytest.mark.parametrize("ulps", [-2, -1, 0, 1, 2, 40])
@pytest.mark.parametrize("eps", [-0.1, -1e-3, -0.3])
def test_a_variance_and_an_eps_that_cancel_are_within_the_bound(eps: float, ulps: int) -> None:
    """No NaN is demanded where eps as it is rounded leaves a positive sum."""
    var = np.full((4, 1), -eps * (1 + ulps * 2.0**-23), dtype=np.float32)
    given = case(normal(10, (4, 5)), eps=eps, old_var=var)
    assert max(held(given, name) for name in evaluated("")) <= 1
    mirrored = case(normal(10, (4, 5)), eps=-eps, old_var=-var)
    assert max(held(mirrored, name) for name in evaluated("")) <= 1


def test_a_subnormal_running_variance_may_be_flushed() -> None:
    given = case(normal(11, (4, 5)), eps=1e-38, old_var=np.full((4, 1), 1e-38, dtype=np.float32))
    for eps in (0.0, 2e-38):
        tiny = replace(given, settings=replace(given.settings, eps=eps))
        for flush in (False, True):
            assert max(held(tiny, name, flush=flush) for name in evaluated("plain")) <= 1


@pytest.mark.parametrize("n", [2, 8, 33])
def test_products_with_a_reciprocal_length_may_be_flushed_one_by_one(n: int) -> None:
    x = np.full((4, n), np.finfo(np.float32).tiny * (n - 0.5), dtype=np.float32)
    given = case(x, momentum=1.0)
    assert held(given, "running_mean: two_pass sequential of products, weigh_new", flush=True) <= 1


@pytest.mark.parametrize("form", ["one_pass pairwise of sums", "youngs and cramer"])
@pytest.mark.parametrize("size", [2e16, 2e17, 2.5e17, 4.5e17, 1e18])
def test_squares_of_sums_that_overflow_are_out_of_range(form: str, size: float) -> None:
    for mean, spread in ((0, 1), (1, 1), (1, 0.01)):
        x = (mean + normal(12, (8, 64)) * np.float32(spread)) * np.float32(size)
        assert held(case(x), f"y: {form}, plain, inverse") <= 1


def test_an_eps_beyond_the_half_range_is_out_of_range() -> None:
    rung = RUNGS["float16, all in half"]
    x = rung.store(normal(13, (4, 5)))
    one = np.ones((4, 1), dtype=np.float16)
    given = case(x, eps=7e4, weight=one, bias=one, old_mean=0 * one, old_var=one)
    assert max(held(given, name, rung) for name in evaluated("")) <= 1


def test_shading_languages_have_a_class_of_their_own() -> None:
    """Eight unit roundoffs an operation: what they promise is outside of float32's bound, and inside of theirs."""
    given, name = case(normal(15, (500, 20)), weight=normal(16, (500, 1))), "evaluation y: plain, inverse"
    shading = RUNGS["float32, shading"]
    assert held(given, name, shading) <= 1 < held(given, name, replace(shading, arithmetic=F32.arithmetic))
    ieee, theirs = (reference(given, rung.arithmetic("two_pass"), "evaluation y") for rung in (F32, shading))
    assert np.all(theirs.bound > 7.9 * ieee.bound)
    assert np.all(theirs.bound < 8.1 * ieee.bound)
    with pytest.raises(ValueError, match="shading with dtype 'float64'; allowed: float32"):
        Arithmetic("float64", shading=True)


#: Neighbours of which sums with errors of several units make a mean outside of them, so that squares come out negative.
NEIGHBOURS: Final = {
    "y: welford, difference_of_products, inverse": (1e-5, "outside_sqrt", [-0.25, -0.25000003]),
    "y: welford in lanes, plain, inverse": (1e-5, "inside_sqrt", 8 * [262144.03] + 8 * [262144.0]),
    "dx: welford times 1/k, backward, closed_sums_over_n": (1e-5, "inside_sqrt", [262144.03, 262144.0]),
    "dweight: welford times 1/k, pairwise, differentiated plain": (
        0.5,
        "outside_sqrt",
        [4.2896924, 4.2896914, 4.2896905, 4.28969],
    ),
}


@pytest.mark.parametrize("form", NEIGHBOURS)
def test_squares_of_welford_are_not_negative_in_a_shading_language(form: str) -> None:
    eps, placement, row = NEIGHBOURS[form]
    x = np.array([row], dtype=np.float32)
    given = case(x, eps=eps, placement=placement, dy=normal(17, x.shape))
    assert held(given, form, RUNGS["float32, shading"]) <= 1


@pytest.mark.parametrize(
    ("rung", "form", "x"),
    [
        ("float16, float32 computes", "y: welford in a tree, fused, two_ulp_high", [-0.172, np.inf]),
        ("float16, stored", "y: welford in a tree, plain, two_ulp_high", [1, 1, np.inf]),
        ("float16, all in half", "y: youngs and cramer, bias_in_mean, two_ulp_high", [np.inf, -0.674]),
    ],
)
def test_the_reciprocal_root_of_an_infinity_is_zero_so_that_an_output_is_nan(rung: str, form: str, x: Any) -> None:
    given = case(np.array([x], dtype=np.float16), bias=np.ones((1, 1), dtype=np.float16))
    assert held(given, form, RUNGS[rung]) == 0


@pytest.mark.parametrize("summed", ["any order 31", "closed_shares"])
def test_products_with_a_reciprocal_length_in_gradients_are_of_the_type_of_sums(summed: str) -> None:
    """Held in float16 each would be flushed; a layer that holds them is within the bound of all in half."""
    rung, n = RUNGS["float16, stored"], 17
    x, dy = rung.store(normal(18, (64, n))), rung.store(-0.00094 + 1e-6 * normal(19, (64, n)))
    x[:, -1] = -4
    given, form = case(x, dy=dy), f"dx: two_pass pairwise times 1/n, pairwise, {summed}"
    assert held(given, form, rung, flush=True) <= 1
    in_half = replace(RUNGS["float16, all in half"], store=rung.store)
    assert held(given, form, in_half, flush=True) <= 1


def test_what_ncnn_computes_is_within_the_bound() -> None:
    pytest.importorskip("ncnn")
    assert held(far_mean(), "evaluation y: ncnn") > 0.3
    found = search(replace(SHORT, forms=NCNN), {"float32": F32}, 3, lambda number: number < 3)[0]
    assert not outside(found)
    assert held(far_mean(), "evaluation y: ncnn") <= 1


def test_a_form_computes_in_all_types_unless_it_names_some() -> None:
    form = Form(quantity="y", accuracy="welford", evaluate=lambda _, given: given.data.x)
    assert form.is_in("float64", "y", "welford")
    assert not replace(form, rungs=("float32",)).is_in("float64", "y", "welford")
    assert not form.is_in("float64", "y", "one_pass")
