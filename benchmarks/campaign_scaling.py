"""How a campaign scales: the measured times of its shards, replayed on 1 to 1,000 workers.

    python benchmarks/campaign_scaling.py build/campaign --overhead 0.05

A worker takes the next shard of the plan when it has none. Before its first shard of an environment it makes that
environment, if ``--own-disks`` says that workers share no disk. ``--overhead`` is Dask's time per shard, in seconds,
which the scheduler spends on one shard after the other. ``--copies`` replays the shards several times: more seeds.
"""

from __future__ import annotations

import argparse
import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from normgauge.conformance.campaign.folder import Place
from normgauge.results.file import read_records
from normgauge.results.records import Footer

WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A shard: its seconds, and its environment with the seconds that this takes to make."""

    seconds: float
    environment: str
    making: float


def measured(folder: Path) -> list[Timed]:
    """The finished shards of a campaign, in the order of its plan."""
    place, found = Place(folder), []
    for environment in place.read().environments:
        ready = place.ready(environment.name)
        for shard in ready.shards if ready else ():
            if place.is_done(shard):
                (footer,) = (one for one in read_records(place.shard(shard)) if isinstance(one, Footer))
                making = ready.provided.seconds if ready and ready.provided else 0.0
                found.append(Timed(seconds=footer.seconds, environment=environment.name, making=making))
    return found


def wall_time(shards: Sequence[Timed], workers: int, overhead: float, *, own_disks: bool) -> float:
    """Seconds until the last shard has ended."""
    free = [(0.0, number) for number in range(workers)]
    there: set[tuple[str, int]] = set()
    given = last = 0.0
    for shard in shards:
        at, worker = heapq.heappop(free)
        given = max(at, given) + overhead  # the scheduler gives out one after the other
        where = (shard.environment, worker if own_disks else 0)
        making = 0.0 if where in there else shard.making
        there.add(where)
        end = given + making + shard.seconds
        last = max(last, end)
        heapq.heappush(free, (end, worker))
    return last


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of a campaign")
    parser.add_argument("--overhead", type=float, default=0.05, help="seconds of Dask per shard")
    parser.add_argument("--copies", type=int, default=1, help="how often the shards are replayed")
    parser.add_argument("--own-disks", action="store_true", help="every worker makes its environments")
    given = parser.parse_args()
    shards = [one for one in measured(given.folder) for _ in range(given.copies)]
    longest, total = max(one.seconds for one in shards), sum(one.seconds for one in shards)
    print(
        f"{len(shards)} shards, {total:.0f} s in all, the longest {longest:.1f} s, the mean {total / len(shards):.1f} s"
    )
    alone = wall_time(shards, 1, given.overhead, own_disks=given.own_disks)
    print("workers  wall time, s  speed-up  busy")
    for workers in WORKERS:
        wall = wall_time(shards, workers, given.overhead, own_disks=given.own_disks)
        print(f"{workers:7}  {wall:12.1f}  {alone / wall:8.1f}  {total / wall / workers:4.0%}")


if __name__ == "__main__":
    main()
