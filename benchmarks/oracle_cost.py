"""What the oracle costs, as ratios measured side by side in one run, one thread.

Value and bounds of GroupNorm on (32, 64, 32, 32), forward and with backward, against NumPy's plain two-pass
formula in float64 and against torch in float64; then single calls on inputs as small as those of an experiment.
Run with ``nox -s benchmarks``, which keeps NumPy to one thread too.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from normgauge.oracle import (
    Arithmetic,
    batch_norm,
    batch_norm_backward,
    group_norm,
    group_norm_backward,
    initial_statistics,
)

SHAPE, GROUPS, EPS, ROUNDS = (32, 64, 32, 32), 8, 1e-5, 9
BASE = "NumPy, plain two-pass, float64"
#: Small inputs with their groups, and calls of each in one measurement.
SMALL, CALLS = (((2, 6, 3, 3), 3), ((1, 4, 1), 2), ((4, 8, 5, 5), 4)), 50


def plain(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The normalised sets and the reciprocal deviations."""
    sets = x.astype(np.float64).reshape(SHAPE[0], GROUPS, -1)
    deviation = sets - sets.mean(axis=-1, keepdims=True)
    variance = np.square(deviation).mean(axis=-1, keepdims=True)
    reciprocal = 1 / np.sqrt(variance + EPS)
    return deviation * reciprocal, reciprocal


def plain_with_backward(x: np.ndarray, dy: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, ...]:
    """The output, and the gradients of x, weight and bias."""
    x_hat, reciprocal = plain(x)
    y = x_hat.reshape(SHAPE) * weight[:, None, None]
    upstream = dy.astype(np.float64)
    g = (upstream * weight[:, None, None]).reshape(x_hat.shape)
    inner = g - g.mean(axis=-1, keepdims=True) - x_hat * (g * x_hat).mean(axis=-1, keepdims=True)
    dweight = (upstream * x_hat.reshape(SHAPE)).sum(axis=(0, 2, 3))
    return y, (reciprocal * inner).reshape(SHAPE), dweight, upstream.sum(axis=(0, 2, 3))


def torch_with_backward(x: torch.Tensor, dy: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> object:
    y = torch.nn.functional.group_norm(x, GROUPS, weight, bias, EPS)
    return torch.autograd.grad(y, (x, weight, bias), dy)


def seconds(call: Callable[[], object]) -> float:
    """Of this process's own time: other load on the machine changes it little."""
    start = time.process_time()
    call()
    return time.process_time() - start


def peak(call: Callable[[], object]) -> int:
    """Bytes that NumPy and Python had at most; torch's own memory is not seen."""
    tracemalloc.start()
    call()
    size = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return size


def show(title: str, calls: dict[str, Callable[[], object]], size: int) -> None:
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():  # in turn, so that a drift of the machine meets all alike
            times[name].append(seconds(call))
    print(f"{title + ' on ' + str(SHAPE):48} {'ms':>10} {'x plain':>8} {'peak / input':>13}")
    for name, call in calls.items():
        least = min(times[name])  # what other load adds is never negative
        memory = f"{peak(call) / size:13.1f}" if "torch" not in name else f"{'-':>13}"
        print(f"{name:48} {1e3 * least:10.1f} {least / min(times[BASE]):8.2f} {memory}")


def small_calls(shape: tuple[int, ...], groups: int, dtype: str) -> dict[str, Callable[[], object]]:
    """Both layers, forward and backward."""
    random, arithmetic = np.random.default_rng(0), Arithmetic(dtype)
    x, dy = (random.standard_normal(shape).astype(np.float32) for _ in range(2))
    weight, bias, mean = random.standard_normal((3, shape[1]))
    running, training = initial_statistics(mean, 1 + mean**2), x.size > shape[1]
    return {
        "group_norm": lambda: group_norm(x, groups, weight, bias, arithmetic=arithmetic),
        "its gradients": lambda: group_norm_backward(x, dy, groups, weight, arithmetic=arithmetic),
        "batch_norm": lambda: batch_norm(x, running, weight, bias, training=training, arithmetic=arithmetic),
        "and gradients": lambda: batch_norm_backward(x, dy, running, weight, training=training, arithmetic=arithmetic),
    }


def repeated(call: Callable[[], object]) -> None:
    for _ in range(CALLS):
        call()


def show_small() -> None:
    """Microseconds per call."""
    for number, (shape, groups) in enumerate(SMALL):
        for dtype in ("float32", "float64"):
            calls = small_calls(shape, groups, dtype)
            if number == 0 and dtype == "float32":
                print(f"{'microseconds per call':32}" + "".join(f"{name:>15}" for name in calls))
            least = [min(seconds(partial(repeated, call)) for _ in range(ROUNDS)) / CALLS for call in calls.values()]
            print(f"{f'{shape}, {dtype} subject':32}" + "".join(f"{1e6 * time:15.0f}" for time in least))


def main() -> None:
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    x, dy = (random.standard_normal(SHAPE).astype(np.float32) for _ in range(2))
    weight, bias = (random.standard_normal(SHAPE[1]).astype(np.float32) for _ in range(2))
    tensor, upstream, scale, shift = (torch.from_numpy(v.astype(np.float64)) for v in (x, dy, weight, bias))

    def forward(dtype: str) -> object:
        return group_norm(x, GROUPS, eps=EPS, arithmetic=Arithmetic(dtype))

    def both(dtype: str) -> object:
        arithmetic = Arithmetic(dtype)
        return (
            group_norm(x, GROUPS, weight, bias, eps=EPS, arithmetic=arithmetic),
            group_norm_backward(x, dy, GROUPS, weight, eps=EPS, arithmetic=arithmetic),
        )

    oracle = {f"oracle, {dtype} subject": dtype for dtype in ("float32", "float64")}
    calls: dict[str, Callable[[], object]] = {
        BASE: lambda: plain(x)[0].reshape(SHAPE),
        "torch, float64": lambda: torch.nn.functional.group_norm(tensor, GROUPS, eps=EPS),
        **{name: lambda dtype=dtype: forward(dtype) for name, dtype in oracle.items()},
    }
    show("group_norm", calls, x.nbytes)
    for leaf in (tensor, scale, shift):
        leaf.requires_grad_()
    calls = {
        BASE: lambda: plain_with_backward(x, dy, weight.astype(np.float64)),
        "torch, float64": lambda: torch_with_backward(tensor, upstream, scale, shift),
        **{name: lambda dtype=dtype: both(dtype) for name, dtype in oracle.items()},
    }
    show("group_norm and its gradients", calls, x.nbytes + dy.nbytes)
    show_small()


if __name__ == "__main__":
    main()
