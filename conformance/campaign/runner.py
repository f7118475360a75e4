"""A campaign on Dask distributed: every environment and every shard is a task, and each result file is kept."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import dask
import msgspec
from distributed import Client, Future, KilledWorker, LocalCluster, as_completed

from normgauge.conformance.campaign.environments import Environment, stem_of
from normgauge.conformance.campaign.events import (
    Begun,
    Event,
    of_environment,
    of_result,
    of_shard,
    without_result,
)
from normgauge.conformance.campaign.folder import Campaign, Place, Ready, write, write_records
from normgauge.conformance.campaign.merge import Contradiction, dropped, merged
from normgauge.conformance.campaign.shards import Shard, shards_of
from normgauge.conformance.campaign.work import Outcome, WrongWorker, measure_shard, prepare, write_lost
from normgauge.conformance.run.request import OwnSize
from normgauge.results.folder import MANIFEST
from normgauge.results.records import NotRun

#: Seconds that a campaign waits for a scheduler, and for the first worker of it.
PATIENCE: Final = 60.0
#: Without Dask's limit on threads (a run has none either), and each worker has one shard at a time.
_LOCAL: Final = {
    "distributed.nanny.pre-spawn-environ": {},
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.worker.memory.terminate": False,
}


class NoCluster(Exception):
    """A scheduler or its workers cannot be reached, or cannot take part; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where the tasks run: at the ``scheduler`` of this address, or in ``jobs`` processes of this machine."""

    scheduler: str | None
    jobs: int


@contextlib.contextmanager
def client_of(where: Where) -> Iterator[Client]:
    """A client of the scheduler, or of a cluster that is ended with it.

    Raises:
        NoCluster: the scheduler does not answer, or has no workers.
    """
    if where.scheduler is None:
        with dask.config.set(_LOCAL), _local(where.jobs) as cluster, Client(cluster) as client:
            yield client
        return
    try:
        client = Client(where.scheduler, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise NoCluster(
            f"no scheduler of Dask answers at {where.scheduler}: {error}; start one with: dask scheduler"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:
            raise NoCluster(
                f"the scheduler at {where.scheduler} has no workers; start one with: dask worker {where.scheduler} "
                "--nthreads 1"
            ) from None
        yield client


def _local(jobs: int) -> LocalCluster:
    """Processes of this machine; its dashboard is at a free port where the usual one is taken."""
    return LocalCluster(
        n_workers=jobs, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", silence_logs=50
    )


@dataclass(kw_only=True)
class Runner:
    """The tasks of one campaign. ``tell`` gets every event."""

    place: Place
    campaign: Campaign
    sizes: tuple[OwnSize, ...]
    client: Client
    tell: Callable[[Event], None]
    _ready: dict[str, Ready] = field(default_factory=dict)
    _tasks: dict[Any, Environment | Shard] = field(default_factory=dict)
    _tries: dict[str, int] = field(default_factory=dict)

    def run(self) -> bool:
        """Do what is not done yet, and merge; whether everything could be measured and agrees.

        Raises:
            NoCluster: a worker cannot take part.
        """
        workers = self.client.scheduler_info()["workers"]
        self.tell(
            Begun(
                folder=str(self.place.root),
                scheduler=self.client.scheduler.address if self.client.scheduler else "",
                dashboard=self.client.dashboard_link,
                workers=len(workers),
                environments=[one.name for one in self.campaign.environments],
            )
        )
        self.place.forget_beginnings()
        unknown = [one for one in self.campaign.environments if not self._is_done(one)]
        completed = as_completed([self._prepare(one) for one in unknown])
        try:
            for future in completed:
                for more in self._ended(future):
                    completed.add(more)
        except WrongWorker as error:
            raise NoCluster(str(error)) from None
        finally:
            self.client.cancel(list(self._futures()))
        return self.merge()

    def _is_done(self, environment: Environment) -> bool:
        """Whether nothing of an environment is left to measure: then it is not made again."""
        ready = self.place.ready(environment.name)
        if ready is None or ready.greeting is None:
            return False
        shards, rows = shards_of(environment, ready.greeting, self.campaign.plan, self.sizes)
        if not shards or not all(map(self.place.is_done, shards)):
            return False
        ready = msgspec.structs.replace(ready, shards=tuple(shards), rows=tuple(rows))
        self._ready[environment.name] = ready
        self.tell(of_environment(environment, ready, len(shards)))
        return True

    def _futures(self) -> Iterator[Future]:
        return (Future(key, self.client) for key in self._tasks)

    def _submit(self, task: Environment | Shard, function: Callable[..., Any], *given: Any, **options: Any) -> Future:
        name = task.name if isinstance(task, Environment) else task.key
        framework = task.framework if isinstance(task, Environment) else self._environment(task).framework
        self._tries[name] = self._tries.get(name, 0) + 1
        key = (framework, name, self._tries[name])  # the first is the name of the bar on Dask's page
        folder = str(self.place.root.absolute())
        future = self.client.submit(
            function, folder, self.campaign, *given, key=key, pure=False, retries=self.campaign.plan.retries, **options
        )
        self._tasks[future.key] = task
        return future

    def _prepare(self, environment: Environment) -> Future:
        return self._submit(environment, prepare, environment, self.sizes, priority=1)

    def _measure(self, shard: Shard, workers: Sequence[str]) -> Future:
        """A shard prefers the workers that have its environment; one without work takes it all the same."""
        near = {"workers": list(workers), "allow_other_workers": True} if workers else {}
        return self._submit(shard, measure_shard, self._environment(shard), shard, **near)

    def _environment(self, shard: Shard) -> Environment:
        return next(one for one in self.campaign.environments if one.name == shard.environment)

    def _ended(self, future: Future) -> list[Future]:
        """Tell what became of a task; the tasks that follow from it.

        Raises:
            NoCluster: the scheduler has ended.
            WrongWorker: a worker cannot take part.
        """
        if future.status == "cancelled":
            raise NoCluster("the scheduler of Dask has ended; start it, and run the campaign again to continue")
        task = self._tasks.pop(future.key)
        error = future.exception() if future.status != "finished" else None
        if isinstance(error, WrongWorker):
            raise error
        if isinstance(task, Environment):
            return self._ready_now(task, future.result() if error is None else _not_made(task, error))
        if error is None:
            self.tell(of_shard(future.result(), self._environment(task).framework))
            return []
        if isinstance(error, KilledWorker) and self.place.beginnings(task) <= self.campaign.plan.retries:
            return [self._measure(task, ())]  # other shards on the same workers ended them
        reason = "its workers ended" if isinstance(error, KilledWorker) else f"{type(error).__name__}: {error}"
        write_lost(self.place, task, self.campaign, reason)
        self.tell(of_shard(_lost(task, self.place.beginnings(task)), self._environment(task).framework))
        return []

    def _ready_now(self, environment: Environment, ready: Ready) -> list[Future]:
        self._ready[environment.name] = ready
        left = [shard for shard in ready.shards if not self.place.is_done(shard)]
        self.tell(of_environment(environment, ready, len(ready.shards) - len(left)))
        workers = self.client.scheduler_info()["workers"]
        near = [address for address, one in workers.items() if one["host"] == ready.host] if environment.install else []
        return [self._measure(shard, near) for shard in left]

    def merge(self) -> bool:
        """Write a result file for each environment; whether everything could be measured and agrees."""
        reasons = {name: ready.reason for name, ready in self._ready.items() if ready.reason}
        written: dict[str, Path] = {}
        whole = not reasons
        for environment in self.campaign.environments:
            ready = self._ready[environment.name]
            path = self.place.results / f"{environment.name}.jsonl"
            if ready.reason:
                path.unlink(missing_ok=True)
                self.tell(without_result(environment.name, ready.reason))
                continue
            try:
                records = merged(self.place, self.campaign, environment, ready)
            except Contradiction as error:
                reasons[environment.name], whole = str(error), False
                path.unlink(missing_ok=True)
                self.tell(without_result(environment.name, str(error)))
                continue
            write_records(path, records)
            self._forget(dropped(records, self.place, ready))
            written[environment.name] = path
            whole &= not any(isinstance(one, NotRun) and one.failed for one in records)
            self.tell(of_result(environment.name, path, records))
        write(self.place.results / MANIFEST, msgspec.json.format(msgspec.json.encode(reasons)))
        self._link_timelines(written)
        return whole

    def _forget(self, names: set[str]) -> None:
        """Delete counterexamples that were found in this campaign, and whose cause a smaller one shows."""
        store = Path(self.campaign.store)
        kept = {str(store / name) for name in self.campaign.replayed}
        for name in names - kept:
            Path(name).unlink(missing_ok=True)

    def _link_timelines(self, written: dict[str, Path]) -> None:
        """For each framework with several environments, a folder as `normgauge timeline` takes it."""
        for framework in {one.framework for one in self.campaign.environments}:
            own = [one.name for one in self.campaign.environments if one.framework == framework]
            folder = self.place.root / "timeline" / stem_of(framework)
            for old in folder.glob("*.jsonl"):
                old.unlink()
            for name in own if len(own) > 1 else ():
                if name in written:
                    write(folder / f"{name}.jsonl", written[name].read_bytes())


def _not_made(environment: Environment, error: BaseException) -> Ready:
    """What is known of an environment whose task failed."""
    how = "every worker that made it ended" if isinstance(error, KilledWorker) else f"{type(error).__name__}: {error}"
    return Ready(name=environment.name, reason=f"its environment could not be made: {how}")


def _lost(shard: Shard, attempts: int) -> Outcome:
    return Outcome(
        shard=shard, host="", seconds=0.0, measured=0.0, attempts=attempts, not_run=1, counterexamples=0, memory=0
    )
