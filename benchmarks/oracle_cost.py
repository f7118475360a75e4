"""What the oracle costs, as ratios measured side by side in one run, one thread.

Value and bounds of GroupNorm on (32, 64, 32, 32), against NumPy's plain two-pass formula in float64 and against
torch in float64. Run with ``nox -s benchmarks``, which keeps NumPy to one thread too.
"""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import torch

from normgauge.oracle import Arithmetic, group_norm

SHAPE, GROUPS, EPS, ROUNDS = (32, 64, 32, 32), 8, 1e-5, 7


def plain(x: np.ndarray) -> np.ndarray:
    sets = x.astype(np.float64).reshape(SHAPE[0], GROUPS, -1)
    deviation = sets - sets.mean(axis=-1, keepdims=True)
    variance = np.square(deviation).mean(axis=-1, keepdims=True)
    return (deviation / np.sqrt(variance + EPS)).reshape(SHAPE)


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def peak(call: Callable[[], object]) -> int:
    tracemalloc.start()
    call()
    size = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return size


def main() -> None:
    torch.set_num_threads(1)
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    tensor = torch.from_numpy(x.astype(np.float64))
    calls: dict[str, Callable[[], object]] = {
        "NumPy, plain two-pass, float64": lambda: plain(x),
        "torch, float64": lambda: torch.nn.functional.group_norm(tensor, GROUPS, eps=EPS),
        "oracle, float32 subject": lambda: group_norm(x, GROUPS, eps=EPS, arithmetic=Arithmetic("float32")),
        "oracle, float64 subject": lambda: group_norm(x, GROUPS, eps=EPS, arithmetic=Arithmetic("float64")),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():  # in turn, so that a drift of the machine meets all alike
            times[name].append(seconds(call))
    base = times["NumPy, plain two-pass, float64"]
    print(f"{'group_norm on ' + str(SHAPE):34} {'median ms':>10} {'x plain':>8} {'peak / input':>13}")
    for name, call in calls.items():
        ratio = statistics.median(own / first for own, first in zip(times[name], base, strict=True))
        print(f"{name:34} {1e3 * statistics.median(times[name]):10.1f} {ratio:8.2f} {peak(call) / x.nbytes:13.1f}")


if __name__ == "__main__":
    main()
