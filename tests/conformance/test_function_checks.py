"""``check_group_norm`` and the like: functions of NumPy, torch, JAX and MLX through the experiments of the suite."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pages import judgement

from normgauge.conformance.testing.checks import Checked
from normgauge.conformance.testing.parametrized import Check
from normgauge.testing import (
    check_batch_norm,
    check_group_norm,
    parametrize_with_batch_norm_checks,
    parametrize_with_group_norm_checks,
)

Array = NDArray[Any]
Statistics = tuple[Array, Array, Array]


def along(values: Array, x: Array) -> Array:
    return values.reshape(1, -1, *(1,) * (x.ndim - 2))


def affine(x_hat: Array, weight: Array | None, bias: Array | None) -> Array:
    y = x_hat if weight is None else x_hat * along(weight, x_hat)
    return y if bias is None else y + along(bias, y)


def group_norm(
    x: Array, num_groups: int, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5
) -> Array:
    """A correct one."""
    if x.shape[1] % num_groups:
        raise ValueError(f"{x.shape[1]} channels do not make {num_groups} groups")
    if not x.size:
        return np.empty_like(x)
    sets = x.reshape(len(x), num_groups, -1)
    mean, var = sets.mean(-1, keepdims=True), sets.var(-1, keepdims=True)
    return affine(((sets - mean) / np.sqrt(var + x.dtype.type(eps))).reshape(x.shape), weight, bias)


def interleaved(
    x: Array, groups: int, gamma: Array | None = None, beta: Array | None = None, epsilon: float = 1e-5
) -> Array:
    """MLX's grouping, with other names of the parameters."""
    if x.shape[1] % groups:
        raise ValueError(f"{x.shape[1]} channels do not make {groups} groups")
    order = np.arange(x.shape[1]).reshape(-1, groups).T.ravel()
    y = group_norm(x[:, order], groups, eps=epsilon)
    return affine(y[:, np.argsort(order)], gamma, beta)


def batch_norm(
    x: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None = None,
    bias: Array | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    old: bool = False,
) -> Statistics | Array:
    """A correct one, which returns new statistics; with ``old`` momentum weighs the old ones."""
    axes, n = (0, *range(2, x.ndim)), x.size // max(1, x.shape[1])
    if training and n == 1:
        raise ValueError("one value per channel has no variance")
    if training or running_mean is None or running_var is None:
        if not x.size:
            return (np.empty_like(x), running_mean, running_var) if running_mean is not None else np.empty_like(x)  # type: ignore[return-value]
        mean, var = x.mean(axes), x.var(axes)
    else:
        mean, var = running_mean, running_var
    y = affine((x - along(mean, x)) / np.sqrt(along(var, x) + x.dtype.type(eps)), weight, bias)
    if running_mean is None or running_var is None:
        return y
    if training:
        m = x.dtype.type(1 - momentum if old else momentum)
        running_mean = (1 - m) * running_mean + m * mean
        running_var = (1 - m) * running_var + m * (var * x.dtype.type(n / (n - 1)))
    return y, running_mean, running_var


def differences_of(check: Callable[..., Any], function: Callable[..., Any], **words: Any) -> str:
    with pytest.raises(AssertionError) as caught:
        check(function, **words)
    return " ".join(str(caught.value).split())


# --- NumPy ---------------------------------------------------------------------------------------------------------


def test_a_correct_numpy_group_norm_passes_and_says_what_it_computes() -> None:
    found = check_group_norm(group_norm, ranks=(2, 4))
    assert not found.differences
    assert "group_norm: canonical" in str(found)


def test_a_wrong_grouping_is_one_error_with_its_remedy() -> None:
    found = differences_of(check_group_norm, interleaved, ranks=(2, 4))
    assert "not canonical: channel c belongs to group c mod G" in found
    assert found.count("wrong GN-02 grouping (formula)") == 1
    assert "write sets = x.reshape(len(x), num_groups, -1); around a layer that you cannot change: permute the" in found


def test_a_correct_numpy_batch_norm_passes() -> None:
    assert not check_batch_norm(batch_norm, ranks=(2, 4)).differences


def test_keras_momentum_is_named() -> None:
    found = differences_of(check_batch_norm, functools.partial(batch_norm, old=True), ranks=(2,))
    assert "differs BN-04" in found
    assert "momentum weighs the old value" in found


def test_channels_last_read_as_channels_first_is_found() -> None:
    found = differences_of(check_group_norm, group_norm, layout="channels last", ranks=(4,))
    assert "likely cause: the function takes channels first, not channels last" in found


def test_a_forgotten_eps_is_named() -> None:
    def without(x: Array, num_groups: int, weight: Array, bias: Array, eps: float = 1e-5) -> Array:
        return group_norm(x, num_groups, weight, bias, 1e-30 * eps)

    assert "eps" in differences_of(check_group_norm, without, ranks=(4,))


def test_known_differences_pass_and_must_be_there() -> None:
    known = {"GN-02": "a port of MLX"}
    assert check_group_norm(interleaved, ranks=(2,), known_differences=known).differences
    found = differences_of(check_group_norm, interleaved, ranks=(2,), known_differences={**known, "GN-01": "why not"})
    assert "GN-01 is in known_differences and was not found; remove it" in found


def test_a_function_that_always_raises_is_no_pass() -> None:
    def broken(x: Array, num_groups: int, eps: float = 1e-5) -> Array:
        raise RuntimeError("no kernel image")

    found = differences_of(check_group_norm, broken, arrays="numpy", ranks=(2,))
    assert "nothing was measured" in found
    assert "no kernel image" in found


@pytest.mark.parametrize(
    ("function", "words", "message"),
    [
        (lambda x, groups, w, colour: x, {}, "parameter 'colour' without a default"),
        (eval("lambda x, num_groups=1: x", {}), {}, "give arrays= one of numpy, torch, jax, mlx"),
        (lambda x, weight=None: x, {"arrays": "numpy"}, "takes no number of groups"),
        (group_norm, {"layout": "NHWC"}, "allowed: channels first or channels last"),
        (group_norm, {"dtypes": ("bfloat16",)}, "allowed: float32, float64, float16"),
        (group_norm, {"names": {"weight": "kernel"}}, "names says that weight is 'kernel'"),
        (group_norm, {"known_differences": {"GN-999": "x"}}, "known_differences has 'GN-999'"),
        (group_norm, {"ranks": (7,)}, "allowed: numbers from 2 to 5"),
        (3, {}, "give a function of the input x"),
    ],
)
def test_a_mistake_in_the_words_is_a_value_error(function: Any, words: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        check_group_norm(function, **words)


# --- pytest --------------------------------------------------------------------------------------------------------


@parametrize_with_group_norm_checks(interleaved, ranks=(2,), known_differences={"GN-02": "as MLX has it"})
def test_each_requirement_is_a_test_and_a_known_difference_an_expected_failure(check: Callable[[], None]) -> None:
    check()


def outcomes(mark: pytest.MarkDecorator) -> dict[str, str]:
    """What each check of a parametrisation does: passed, skipped or failed."""
    found = {}
    for parameter in mark.args[1]:
        try:
            parameter.values[0]()
        except AssertionError:
            found[parameter.id] = "failed"
        except pytest.skip.Exception:
            found[parameter.id] = "skipped"
        else:
            found[parameter.id] = "passed"
    return found


def test_the_checks_of_a_wrong_function_fail_where_it_is_wrong_and_nowhere_else() -> None:
    found = outcomes(parametrize_with_batch_norm_checks(functools.partial(batch_norm, old=True), ranks=(2,)))
    assert [name for name, outcome in found.items() if outcome == "failed"] == ["BN-04 momentum weighs the new value"]
    assert sum(outcome == "passed" for outcome in found.values()) > 20


@pytest.mark.parametrize(
    ("verdicts", "outcome"),
    [
        (("unsupported", "conforms"), "passed"),
        (("unsupported", "cannot tell"), "skipped"),
        (("unsupported", "unsupported"), "skipped"),
        (("conforms", "cannot tell"), "skipped"),
        (("unsupported", "diverges"), "failed"),
        ((), "skipped"),
    ],
)
def test_a_check_passes_if_every_type_that_the_function_has_conforms(verdicts: tuple[str, ...], outcome: str) -> None:
    measured = Checked(name="", profiles=(), judgements=tuple(judgement(verdict=one) for one in verdicts))
    check = Check(requirement="GN-02", title="grouping", measured=lambda: measured)
    assert outcomes(pytest.mark.parametrize("check", [pytest.param(check, id="check")])) == {"check": outcome}


# --- the frameworks ------------------------------------------------------------------------------------------------


@pytest.mark.frameworks
@pytest.mark.slow
def test_torch_s_functions_have_their_known_differences_alone_also_in_gradients() -> None:
    torch = pytest.importorskip("torch")
    found = check_group_norm(
        torch.nn.functional.group_norm,
        ranks=(4,),
        known_differences={"GN-11": "torch refuses one value per group", "GN-31": "dweight of no values is NaN"},
    )
    verdicts = {one.requirement: one.verdict for one in found.judgements}
    assert {verdicts[one] for one in ("GN-25", "GN-26", "GN-27")} == {"conforms"}


@pytest.mark.frameworks
@pytest.mark.slow
def test_an_mlx_function_passes_and_one_that_forgets_the_root_does_not() -> None:
    pytest.importorskip("mlx.core")
    mx = importlib.import_module("mlx.core")

    def normalised(x: Any, num_groups: int, weight: Any, bias: Any, eps: float, *, root: bool = True) -> Any:
        if x.shape[1] % num_groups:
            raise ValueError("groups")
        if not x.size:
            return x + 0
        sets = x.reshape(x.shape[0], num_groups, -1)
        var = sets.var(-1, keepdims=True) + eps
        x_hat = ((sets - sets.mean(-1, keepdims=True)) / (mx.sqrt(var) if root else var)).reshape(x.shape)
        along = (1, -1, *(1,) * (x.ndim - 2))
        return x_hat * weight.reshape(along) + bias.reshape(along)

    words: dict[str, Any] = {"arrays": "mlx", "ranks": (4,)}
    assert not check_group_norm(normalised, **words).differences
    wrong = functools.partial(normalised, root=False)
    assert "not canonical: y = (x - mean) / (var + eps)" in differences_of(check_group_norm, wrong, **words)


@pytest.mark.frameworks
@pytest.mark.slow
def test_a_jax_function_with_channels_last_passes() -> None:
    jax = pytest.importorskip("jax")
    jnp = jax.numpy

    @functools.partial(jax.jit, static_argnames="num_groups")
    def normalised(x: Any, num_groups: int, scale: Any, offset: Any, eps: float = 1e-5) -> Any:
        if x.shape[-1] % num_groups:
            raise ValueError("groups")
        if not x.size:
            return x
        sets = x.reshape(x.shape[0], -1, num_groups, x.shape[-1] // num_groups)
        mean, var = sets.mean((1, 3), keepdims=True), sets.var((1, 3), keepdims=True)
        return ((sets - mean) / jnp.sqrt(var + eps)).reshape(x.shape) * scale + offset

    found = check_group_norm(normalised, layout="channels last", ranks=(3,), gradients=False)
    assert not found.differences
