"""How many cases exploration checks a second on one core, and where the time goes.

Run with: nox -s benchmarks
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator, Sequence
from typing import Any

from normgauge.adapters.case import Case, Observation
from normgauge.adapters.torch.adapter import TorchAdapter
from normgauge.conformance.exploration.plans import MANY_CASES_A_PLAN
from normgauge.conformance.exploration.search import Explorer, Tally
from normgauge.conformance.exploration.strategies import Space
from normgauge.conformance.subjects.subject import Launch
from normgauge.conformance.subjects.worker_process import WorkerProcess
from normgauge.oracle import CANONICAL, Arithmetic

FEW, MANY = 4096, 36864
LAYERS = {"torch.nn.GroupNorm": ("group_norm", (2, 3, 4, 5)), "torch.nn.BatchNorm2d": ("batch_norm", (4,))}


class TimedAdapter(TorchAdapter):
    """Adds up the seconds that torch itself takes to make a layer and to call it."""

    seconds = 0.0

    def construct(self, *arguments: Any) -> Any:
        begun = time.process_time()
        try:
            return super().construct(*arguments)
        finally:
            self.seconds += time.process_time() - begun

    def forward(self, layer: Any, x: Any, *, training: bool) -> Any:
        begun = time.process_time()
        try:
            return super().forward(layer, x, training=training)
        finally:
            self.seconds += time.process_time() - begun


class Timed:
    """The same in this process, with the seconds that running takes beside those of torch."""

    restarts, given_up = 0, False
    greeting: Any = None

    def __init__(self) -> None:
        self.adapter = TimedAdapter("float32")
        self.seconds = 0.0

    def begin(self) -> None: ...

    def run(self, implementation: str, cases: Sequence[Case]) -> Iterator[Observation]:
        begun = time.process_time()
        seen = [self.adapter.run(implementation, case) for case in cases]
        self.seconds += time.process_time() - begun
        yield from seen

    def script(self, implementation: str, case: Case, about: str) -> str:
        return ""

    def close(self) -> None: ...


def explored(subject: Any, implementation: str, cases: int) -> Tally:
    layer, ranks = LAYERS[implementation]
    explorer = Explorer(
        subject=subject,
        implementation=implementation,
        ranks=ranks,
        followed=[CANONICAL[layer]],
        arithmetic=Arithmetic("float32", "welford"),
    )
    space = Space(layer=layer, dtype="float32", ranks=ranks, cases=MANY_CASES_A_PLAN)
    list(explorer.search(space, cases, 0, lambda _: None))
    return explorer.tally


def through_a_worker(implementation: str, cases: int) -> tuple[int, float]:
    """Cases, and the processor seconds of both processes: other load on the machine changes them little."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.process_time()
    worker = WorkerProcess(Launch(framework="torch"), "float32")
    tally = explored(worker, implementation, cases)
    worker.close()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    children = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return tally.cases, time.process_time() - begun + children


def main() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    for implementation in LAYERS:
        few, many = through_a_worker(implementation, FEW), through_a_worker(implementation, MANY)
        each = (many[1] - few[1]) / (many[0] - few[0])  # without the start of the worker
        timed = Timed()
        explored(timed, implementation, FEW)
        timed.seconds = timed.adapter.seconds = 0.0
        begun = time.process_time()
        cases = explored(timed, implementation, MANY).cases
        alone = (time.process_time() - begun) / cases
        torch_itself, adapter = timed.adapter.seconds / cases, (timed.seconds - timed.adapter.seconds) / cases
        parts = {
            "torch itself": torch_itself,
            "the adapter": adapter,
            "drawing, oracle and comparison": alone - torch_itself - adapter,
            "the worker's protocol": each - alone,
        }
        shares = ", ".join(f"{part / each:.0%} {name}" for name, part in parts.items())
        print(f"{implementation}: {1 / each:,.0f} checked cases a second on one core; {shares}")


if __name__ == "__main__":
    main()
