"""How the layers of torch and Keras meet their inputs in memory, and what they may not do to it."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from frameworks import for_each, python_of

from normgauge.adapters.base import Adapter
from normgauge.adapters.case import Array, Case, Step, StepResult
from normgauge.adapters.lacks import lacking
from normgauge.adapters.registry import make_adapter


def memory_of(adapter: Adapter, native: Any) -> Array:
    """The whole buffer that a tensor of torch lies in, which torch always shows."""
    found = adapter.memory(native)
    assert found is not None
    return found


@for_each("torch")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(2, 8, 2, 3), (3, 1, 2, 2), (2, 8, 1, 1), (1, 8, 2, 2), (0, 8, 2, 2), (2, 8, 2, 0)])
def test_a_torch_layer_meets_its_input_in_the_layout_that_its_mode_names(
    framework: str, shape: tuple[int, ...], dtype: str
) -> None:
    torch = pytest.importorskip("torch")
    adapter = make_adapter(framework, dtype)
    shapes = {"channels_last_3d": (*shape[:3], 1, *shape[3:])}
    for mode in ("eager", "channels_last", "channels_last_3d", "strided", "expanded"):
        x = np.arange(math.prod(shape), dtype=dtype).reshape(shapes.get(mode, shape))
        x = np.repeat(x[:1], len(x), axis=0) if mode == "expanded" else x
        implementation = adapter.implementation("torch.nn.GroupNorm" + (f"[{mode}]" if mode != "eager" else ""))
        native = adapter.to_native(implementation, x)
        assert np.array_equal(adapter.to_numpy(implementation, native), x)
        samples, channels, *spatial = x.shape
        if mode == "eager":
            assert native.is_contiguous()
        elif mode == "strided":
            apart = [2 * math.prod(2 * n for n in x.shape[i + 1 :]) for i in range(x.ndim)]
            assert list(native.stride()) == apart or not x.size
            assert np.isnan(memory_of(adapter, native).view(dtype)).sum() == x.size * (2**x.ndim - 1)
        elif mode == "expanded":
            assert native.stride(0) == 0 or samples < 2
            assert memory_of(adapter, native).nbytes == x.nbytes // max(samples, 1)
        elif x.size:  # of a tensor without elements no layout shows
            assert native.is_contiguous(memory_format=getattr(torch, mode))
            inner = [channels * math.prod(spatial[i + 1 :]) for i in range(len(spatial))]
            assert native.stride() == (channels * math.prod(spatial), 1, *inner)


@for_each("torch")
def test_a_mode_that_cannot_hold_an_input_says_so(framework: str) -> None:
    pytest.importorskip("torch")
    adapter = make_adapter(framework, "float32")
    settings = {"num_channels": 2, "num_groups": 1}
    for mode, shape, reason in (
        ("channels_last", (2, 2), "channels_last is a format of 4 dimensions"),
        ("channels_last_3d", (2, 2, 1, 1), "channels_last_3d is a format of 5 dimensions"),
        ("expanded", (2, 2), "an expanded batch holds one sample N times; the samples of this one differ"),
    ):
        x = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
        lacks = adapter.lacks(adapter.implementation(f"torch.nn.GroupNorm[{mode}]"))
        case = Case(layer="group_norm", dtype="float32", settings=settings, parameters={}, steps=(Step("eval", x),))
        assert lacking(lacks, case) == reason


@for_each("torch")
@pytest.mark.parametrize("mode", ["", "[strided]", "[expanded]", "[channels_last]"])
def test_a_torch_layer_that_writes_or_returns_the_wrong_memory_is_noticed_in_every_mode(
    framework: str, mode: str
) -> None:
    torch = pytest.importorskip("torch")
    adapter = make_adapter(framework, "float32")
    x = np.repeat(np.arange(16, dtype=np.float32).reshape(1, 4, 2, 2), 2, axis=0)
    case = Case(
        layer="group_norm",
        dtype="float32",
        settings={"num_channels": 4, "num_groups": 2},
        parameters={},
        steps=(Step("eval", x),),
    )
    honest = adapter.forward

    def step(wrong: Callable[[Any, Any, Any], Any]) -> StepResult:
        def forward(layer: Any, x: Any, *, training: bool) -> Any:
            with torch.no_grad():
                return wrong(layer, x, honest(layer, x, training=training))

        adapter.forward = forward  # type: ignore[method-assign]
        (only,) = adapter.run(f"torch.nn.GroupNorm{mode}", case).steps
        return only

    def in_place(layer: Any, native: Any, y: Any) -> Any:
        native[0, 0, 0, 0] = 7.0
        return y

    def beside(layer: Any, native: Any, y: Any) -> Any:
        torch.empty(0).set_(native.untyped_storage())[0] = 7.0
        return y

    assert (step(lambda layer, native, y: y).modified, step(lambda layer, native, y: y).shares) == ((), ())
    assert step(in_place).modified == ("x",)
    assert step(beside).modified == (("memory beside x",) if mode == "[strided]" else ("x",))
    assert step(lambda layer, native, y: native[:, :1].expand(native.shape)).shares == ("x", "itself")
    assert step(lambda layer, native, y: layer["layer"].bias[:, None, None].expand(y.shape)).shares == (
        "bias",
        "itself",
    )


@for_each("torch")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("mode", ["", "[strided]", "[vmap]"])
def test_gradients_of_torch_that_lie_in_one_place_are_noticed(framework: str, mode: str, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    adapter = make_adapter(framework, dtype)
    x = np.arange(16, dtype=np.float32).reshape(2, 4, 2)
    settings = {"num_channels": 4, "num_groups": 2}
    case = Case(layer="group_norm", dtype=dtype, settings=settings, parameters={}, steps=(Step("train", x, x[::-1]),))
    honest = adapter.backward
    both = torch.zeros(8, dtype=getattr(torch, dtype))

    def shared(**spoilt: Any) -> tuple[str, ...]:
        def backward(layer: Any, x: Any, dy: Any, *, training: bool) -> Any:
            y, gradients = honest(layer, x, dy, training=training)
            return y, {**gradients, **spoilt}

        adapter.backward = backward  # type: ignore[method-assign]
        (step,) = adapter.run(f"torch.nn.GroupNorm{mode}", case).steps
        return step.shares

    assert shared() == ()
    assert shared(dweight=both[::2], dbias=both[1::2]) == ()
    assert shared(dweight=both[:4], dbias=both[:4]) == ("dweight and dbias",)
    assert shared(dbias=both[:1].expand(4)) == ("dbias and itself",)


@for_each("keras-torch", "keras-numpy")
def test_keras_s_arrays_that_can_be_written_to_are_known_by_their_memory(framework: str) -> None:
    """In a process of its own, since Keras reads its backend once."""
    python, backend = python_of(framework), framework.removeprefix("keras-")
    program = """if True:
        import sys
        import numpy as np
        from normgauge.adapters.case import Case, Step
        from normgauge.adapters.registry import make_adapter
        adapter = make_adapter(f"keras-{sys.argv[1]}", "float32")
        case = Case(layer="group_norm", dtype="float32", settings={"num_channels": 2, "num_groups": 1}, parameters={},
                    steps=(Step("eval", np.ones((2, 2), np.float32)),))
        for adapter.forward in (
            adapter.forward, lambda layer, x, training: x[:1], lambda layer, x, training: layer["layer"].gamma.value
        ):
            print(*adapter.run(f"keras.layers.GroupNormalization[{sys.argv[1]}]", case).steps[0].shares, ".")
    """
    done = subprocess.run([python, "-c", program, backend], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [".", "x .", "weight ."]
