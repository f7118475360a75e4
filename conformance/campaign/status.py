"""How far the campaign of a folder is, read from its files alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from normgauge.conformance.campaign.folder import Place
from normgauge.conformance.campaign.merge import by_cause
from normgauge.results.file import read_records
from normgauge.results.records import Counterexample, Footer, NotRun


@dataclass(frozen=True, kw_only=True)
class State:
    """One environment: ``shards`` is None while they are not known, ``core_seconds`` is what the done ones took.

    ``counterexamples`` counts causes. ``begun`` are the shards that a worker began and has not ended.
    """

    name: str
    framework: str
    reason: str
    shards: int | None
    done: int
    begun: tuple[str, ...]
    not_run: int
    counterexamples: int
    core_seconds: float
    environment_seconds: float


@dataclass(frozen=True, kw_only=True)
class Status:
    """A campaign: whether one works in the folder now, and every environment."""

    folder: str
    works: bool
    environments: tuple[State, ...]


def status_of(folder: Path) -> Status:
    """How far the campaign of a folder is.

    Raises:
        BrokenCampaign: the folder has none.
    """
    place = Place(folder)
    campaign = place.read()
    works = place.is_worked_in()
    return Status(
        folder=str(folder),
        works=works,
        environments=tuple(_state(place, one.name, one.framework, works=works) for one in campaign.environments),
    )


def _state(place: Place, name: str, framework: str, *, works: bool) -> State:
    ready = place.ready(name)
    shards = ready.shards if ready else ()
    done = [shard for shard in shards if place.is_done(shard)]
    records = [record for shard in done for record in read_records(place.shard(shard))]
    found = [one for one in records if isinstance(one, Counterexample)]
    layers = {(one.implementation, one.dtype) for one in found}
    causes = [by_cause([one for one in found if (one.implementation, one.dtype) == layer]) for layer in layers]
    left = [shard for shard in shards if shard not in done]
    return State(
        name=name,
        framework=framework,
        reason=ready.reason if ready else "",
        shards=None if ready is None else len(shards),
        done=len(done),
        begun=tuple(shard.label for shard in left if works and place.beginnings(shard)),
        not_run=sum(isinstance(one, NotRun) and one.failed for one in records),
        counterexamples=sum(map(len, causes)),
        core_seconds=round(sum(one.worker_seconds for one in records if isinstance(one, Footer)), 3),
        environment_seconds=ready.provided.seconds if ready and ready.provided else 0.0,
    )
