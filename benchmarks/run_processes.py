"""What `normgauge run` would cost on Dask: the same tasks in its own processes, and on a local cluster of Dask.

    python benchmarks/run_processes.py mlx --rounds 3

Both ways start as many processes, keep a worker of the framework in each, and begin with an empty cache. A round is one
run in each way; every second round begins with Dask. The table has the medians. Needs `normgauge[campaign]`.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from distributed import as_completed

from normgauge.adapters.dtypes import FULL
from normgauge.conformance.campaign.runner import Where, client_of
from normgauge.conformance.campaign.work import OF_HYPOTHESIS
from normgauge.conformance.exploration.budget import BUDGETS
from normgauge.conformance.run.engine import _measured, run_framework, tasks_of
from normgauge.conformance.run.parallel import Lane, Task
from normgauge.conformance.run.request import Wanted
from normgauge.conformance.subjects.subject import Launch

#: The lane of a process of Dask, by its framework.
_LANE: Final[dict[str, Lane]] = {}


@dataclass(frozen=True, kw_only=True)
class Cost:
    """``first`` are the seconds until the first record, ``processor`` those of all processes together."""

    records: int
    seconds: float
    first: float
    processor: float


def in_own_processes(launch: Launch, wanted: Wanted, jobs: int) -> Iterator[Any]:
    yield from run_framework(launch, wanted, jobs=jobs)


def on_dask(launch: Launch, wanted: Wanted, jobs: int) -> Iterator[Any]:
    """The same on the cluster that a campaign starts."""
    with client_of(Where(scheduler=None, jobs=jobs)) as client:
        client.run(warnings.filterwarnings, "ignore", message=OF_HYPOTHESIS)
        greeting = client.submit(_greeting, launch, wanted.dtypes[0]).result()
        yield greeting
        tasks = tasks_of(greeting, wanted, ())
        for future in as_completed([client.submit(_done, launch, wanted, task, pure=False) for task in tasks]):
            yield from future.result()
        client.run(_close)


def _greeting(launch: Launch, dtype: str) -> Any:
    return _LANE.setdefault(launch.framework, Lane(launch)).start(dtype).greeting


def _done(launch: Launch, wanted: Wanted, task: Task) -> list[Any]:
    lane = _LANE.setdefault(launch.framework, Lane(launch))

    def measure(*arguments: Any) -> Iterator[Any]:
        return _measured(wanted, *arguments)

    return list(lane.do(task, measure, lambda *_: None))


def _close() -> None:
    for lane in _LANE.values():
        lane.close()
    _LANE.clear()


def _processor() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def cost(way: Callable[[Launch, Wanted, int], Iterator[Any]], framework: str, jobs: int) -> Cost:
    """One run with an empty cache."""
    wanted = Wanted(dtypes=FULL, budget=BUDGETS["quick"])
    with tempfile.TemporaryDirectory() as cache:
        os.environ["NORMGAUGE_CACHE_DIR"] = cache
        begun, used, first, records = time.monotonic(), _processor(), 0.0, 0
        for _ in way(Launch(framework=framework), wanted, jobs):
            records += 1
            first = first or time.monotonic() - begun
        seconds = time.monotonic() - begun
    return Cost(records=records, seconds=seconds, first=first, processor=_processor() - used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("framework")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    ways = {"own processes": in_own_processes, "Dask": on_dask}
    found: dict[str, list[Cost]] = {name: [] for name in ways}
    for number in range(options.rounds):
        for name in list(ways)[:: -1 if number % 2 else 1]:
            found[name].append(cost(ways[name], options.framework, options.jobs))
            print(name, found[name][-1], flush=True)
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", "import distributed"], check=True)
    print(f"import distributed: {time.monotonic() - begun:.2f} s")
    for field in ("seconds", "first", "processor"):
        own, dask = (statistics.median(getattr(one, field) for one in found[name]) for name in ways)
        print(f"{field:10} {own:8.2f} {dask:8.2f}  ratio {dask / own:.2f}")


if __name__ == "__main__":
    main()
