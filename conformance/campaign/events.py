"""The events of a campaign, as a terminal and `--json` print them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec

from normgauge.conformance.campaign.environments import Environment
from normgauge.conformance.campaign.folder import Ready
from normgauge.conformance.campaign.work import Outcome
from normgauge.results.records import Counterexample, Footer, NotRun, Record


class Begun(msgspec.Struct, frozen=True, kw_only=True, tag="begun", tag_field="event"):
    """The first event: ``workers`` are there now, ``dashboard`` is the address of Dask's page."""

    folder: str
    scheduler: str
    dashboard: str
    workers: int
    environments: list[str]


class EnvironmentReady(msgspec.Struct, frozen=True, kw_only=True, tag="environment", tag_field="event"):
    """An environment that is ready, or the ``reason`` why it cannot be made.

    ``made`` says whether this campaign made it, ``seconds`` how long that took. ``shards`` is the number of its shards,
    ``done`` the number of those that were measured before.
    """

    name: str
    framework: str
    reason: str
    seconds: float
    made: bool
    installed: list[str]
    shards: int
    done: int


class ShardDone(msgspec.Struct, frozen=True, kw_only=True, tag="shard", tag_field="event"):
    """A shard whose result file is written. Times are in seconds, ``memory`` in bytes."""

    environment: str
    framework: str
    implementation: str
    dtype: str
    seed: int
    seeds: int
    host: str
    seconds: float
    measured: float
    attempts: int
    not_run: int
    counterexamples: int
    memory: int


class Merged(msgspec.Struct, frozen=True, kw_only=True, tag="result", tag_field="event"):
    """A result file that all shards of an environment are in, or why there is none."""

    name: str
    file: str
    reason: str
    counts: dict[str, int]
    departures: dict[str, int]
    counterexamples: int
    not_run: int
    core_seconds: float


Event: TypeAlias = Begun | EnvironmentReady | ShardDone | Merged


def of_shard(outcome: Outcome, framework: str) -> ShardDone:
    """The event of a shard whose result file is written."""
    shard = outcome.shard
    return ShardDone(
        environment=shard.environment,
        framework=framework,
        implementation=shard.implementation,
        dtype=shard.dtype,
        seed=shard.seed,
        seeds=shard.seeds,
        host=outcome.host,
        seconds=outcome.seconds,
        measured=outcome.measured,
        attempts=outcome.attempts,
        not_run=outcome.not_run,
        counterexamples=outcome.counterexamples,
        memory=outcome.memory,
    )


def without_result(name: str, reason: str) -> Merged:
    """The event of an environment that has no result file."""
    return Merged(
        name=name, file="", reason=reason, counts={}, departures={}, counterexamples=0, not_run=1, core_seconds=0.0
    )


def of_result(name: str, path: Path, records: Sequence[Record]) -> Merged:
    """The event of a result file that is written."""
    (footer,) = (one for one in records if isinstance(one, Footer))
    return Merged(
        name=name,
        file=str(path),
        reason="",
        counts=footer.counts,
        departures=footer.departures,
        counterexamples=sum(isinstance(one, Counterexample) for one in records),
        not_run=sum(isinstance(one, NotRun) and one.failed for one in records),
        core_seconds=footer.worker_seconds,
    )


def of_environment(environment: Environment, ready: Ready, done: int) -> EnvironmentReady:
    """The event of an environment, ``done`` of whose shards were measured before."""
    provided = ready.provided
    return EnvironmentReady(
        name=environment.name,
        framework=environment.framework,
        reason=ready.reason,
        seconds=provided.seconds if provided else 0.0,
        made=provided.made if provided else False,
        installed=list(provided.installed) if provided else [],
        shards=len(ready.shards),
        done=done,
    )
