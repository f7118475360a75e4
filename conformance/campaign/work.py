"""What a worker of Dask does: make an environment and describe its layers, or measure a shard."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import socket
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec
from distributed import get_worker
from distributed.comm import get_address_host

from normgauge.adapters.registry import NoAdapter, load_adapter
from normgauge.conformance.campaign.environments import Environment
from normgauge.conformance.campaign.folder import Campaign, Place, Ready, code_digest, write, write_records
from normgauge.conformance.campaign.provide import CannotProvide, Provided, provide
from normgauge.conformance.campaign.shards import Shard, shards_of, wanted_of
from normgauge.conformance.run.engine import header_of, run_framework
from normgauge.conformance.run.request import OwnSize
from normgauge.conformance.subjects.subject import CannotRun, Launch
from normgauge.conformance.subjects.worker_process import WorkerProcess
from normgauge.results.file import read_records
from normgauge.results.records import Counterexample, Footer, NotRun, Record

#: What Dask gives its workers, so that NumPy and others start no threads; a run measures without.
_OF_DASK: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
#: Hypothesis notices that Dask's own thread draws random numbers; what Hypothesis draws does not depend on them.
OF_HYPOTHESIS: Final = "Do not use the `random` module inside strategies"
#: Bytes in the unit of ``ru_maxrss``.
_UNIT: Final = 1 if sys.platform == "darwin" else 1024


class WrongWorker(Exception):
    """A worker that cannot take part in the campaign; the message says what helps."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a shard.

    ``seconds`` is all the time of the worker, ``measured`` that of the run alone, ``attempts`` counts from 1.
    ``not_run`` and ``counterexamples`` count records; ``memory`` is the largest of the worker, or of a process that it
    started, so far, in bytes.
    """

    shard: Shard
    host: str
    seconds: float
    measured: float
    attempts: int
    not_run: int
    counterexamples: int
    memory: int
    made: float = 0.0


def prepare(folder: str, campaign: Campaign, environment: Environment, sizes: tuple[OwnSize, ...]) -> Ready:
    """Make an environment, ask its worker what it has, and note the shards that follow.

    Raises:
        WrongWorker: this worker does not see the campaign's folder, or has other code.
    """
    place = _place(folder, campaign)
    try:
        provided = provide(environment, place.spare)
        worker = WorkerProcess(
            _launch(environment, provided, campaign), wanted_of(environment, campaign.plan).dtypes[0]
        )
    except (CannotProvide, CannotRun, NoAdapter) as error:
        ready = Ready(name=environment.name, reason=str(error))
    else:
        with contextlib.closing(worker):
            greeting = worker.greeting
        shards, rows = shards_of(environment, greeting, campaign.plan, sizes)
        ready = Ready(
            name=environment.name,
            host=_host(),
            greeting=greeting,
            provided=provided,
            shards=tuple(shards),
            rows=tuple(rows),
        )
    write(place.environment(environment.name), msgspec.json.encode(ready))
    return ready


def measure_shard(folder: str, campaign: Campaign, environment: Environment, shard: Shard) -> Outcome:
    """Measure a shard and write its result file; a shard that has ended its worker too often becomes a row.

    Raises:
        WrongWorker: this worker does not see the campaign's folder, or has other code.
    """
    begun = time.monotonic()
    warnings.filterwarnings("ignore", message=OF_HYPOTHESIS)
    place = _place(folder, campaign)
    if place.is_done(shard):  # the worker that measured it ended before anyone had its outcome
        return _outcome(shard, begun, place.beginnings(shard), read_records(place.shard(shard)), 0.0)
    attempts = place.begin(shard)
    if attempts > campaign.plan.retries + 1:
        reason = f"the worker ended each of the {attempts - 1} times that this was measured"
        write_lost(place, shard, campaign, reason)
        return _outcome(shard, begun, attempts - 1, [NotRun(framework=environment.framework, reason=reason)], 0.0)
    provided = provide(environment, place.spare)
    with tempfile.TemporaryDirectory(prefix="normgauge-") as scratch:
        store = Path(scratch, "counterexamples")
        _copy(Path(campaign.store), store, campaign.replayed)
        wanted = replace(shard.wanted(campaign.plan), store=store)
        found: list[Record] = []
        launch, shared = _launch(environment, provided, campaign), Path(campaign.store)
        try:
            found += (_kept(store, shared, record) for record in run_framework(launch, wanted))
        except CannotRun as error:  # its worker did not start
            found = list(_not_run_of(place, shard, campaign, str(error)))
        _publish(store, shared, campaign.replayed)
        write_records(place.shard(shard), found)
    return _outcome(shard, begun, attempts, found, provided.seconds if provided.made else 0.0)


def write_lost(place: Place, shard: Shard, campaign: Campaign, reason: str) -> None:
    """Write the result file of a shard that cannot be measured, with the reason."""
    write_records(place.shard(shard), _not_run_of(place, shard, campaign, reason))


def _place(folder: str, campaign: Campaign) -> Place:
    """The campaign's folder, which this worker must see.

    Raises:
        WrongWorker: it does not, or it has other code.
    """
    place, host = Place(Path(folder)), socket.gethostname()
    try:
        seen = place.read().token
    except ValueError:
        seen = ""
    if seen != campaign.token:
        raise WrongWorker(
            f"the worker on {host} does not see the folder {folder}; give a folder with --out that this machine and "
            "every worker share"
        )
    if code_digest() != campaign.code:
        raise WrongWorker(
            f"the worker on {host} has another normgauge, Python or NumPy; install the same on every worker"
        )
    for name in _OF_DASK:
        os.environ.pop(name, None)
    with contextlib.suppress(ValueError):  # this is no worker
        own = str(Path(get_worker().local_directory, "hypothesis"))  # it writes beside the user's files otherwise
        os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", own)
    return place


def _host() -> str:
    """Dask's name of this machine; empty outside of a worker."""
    try:
        return str(get_address_host(get_worker().address))
    except ValueError:
        return ""


def _launch(environment: Environment, provided: Provided, campaign: Campaign) -> Launch:
    load_adapter(environment.framework)
    return Launch(framework=environment.framework, python=provided.python, time_limit=campaign.plan.time_limit)


def _not_run_of(place: Place, shard: Shard, campaign: Campaign, reason: str) -> Iterator[Record]:
    """The records of a shard that cannot be measured."""
    ready = place.ready(shard.environment)
    assert ready is not None
    assert ready.greeting is not None  # there would be no shard
    framework = ready.greeting.framework
    yield header_of(framework, shard.wanted(campaign.plan), ready.greeting)
    yield NotRun(framework=framework, reason=reason, implementation=shard.implementation, dtype=shard.dtype)
    yield Footer(counts={"not run": 1}, seconds=0.0)


def _copy(store: Path, own: Path, names: Iterable[str]) -> None:
    """Copy the counterexamples that were there when the campaign began: what is found meanwhile changes no shard."""
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            (own / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(store / name, own / name)


def _publish(own: Path, store: Path, before: Iterable[str]) -> None:
    """Give what was found to the store that all workers share."""
    known = set(before)
    for path in sorted(own.rglob("*.json")):
        name = path.relative_to(own)
        if name.as_posix() not in known:
            write(store / name, path.read_bytes())


def _kept(own: Path, store: Path, record: Record) -> Record:
    """The record, which names the shared store in place of the shard's own."""
    if isinstance(record, Counterexample) and record.stored is not None:
        return msgspec.structs.replace(record, stored=str(store / Path(record.stored).relative_to(own)))
    return record


def _outcome(shard: Shard, begun: float, attempts: int, records: Iterable[Record], made: float) -> Outcome:
    found = list(records)
    used = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return Outcome(
        shard=shard,
        host=socket.gethostname(),
        seconds=round(time.monotonic() - begun, 3),
        measured=sum(one.seconds for one in found if isinstance(one, Footer)),
        attempts=attempts,
        not_run=sum(isinstance(one, NotRun) and one.failed for one in found),
        counterexamples=sum(isinstance(one, Counterexample) for one in found),
        memory=max(used) * _UNIT,
        made=made,
    )
