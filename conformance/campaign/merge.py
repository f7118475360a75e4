"""The shards of an environment as one result file: judgements checked with each other, a counterexample a cause."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from normgauge.conformance.campaign.environments import Environment
from normgauge.conformance.campaign.folder import Campaign, Place, Ready
from normgauge.conformance.campaign.shards import Shard, selected, wanted_of
from normgauge.conformance.requirements.signature import CALLS, ORDINARY, Signature, no_news, stored_signature
from normgauge.conformance.run.engine import Tally, Took, header_of
from normgauge.results.file import read_records
from normgauge.results.records import (
    Counterexample,
    Explored,
    Footer,
    Header,
    Judgement,
    NotRun,
    Profile,
    Record,
    Series,
)

#: A result file and its records.
Part = tuple[Path, Sequence[Record]]


class Contradiction(ValueError):
    """Two shards of one environment say different things; the message has both files."""


def merged(place: Place, campaign: Campaign, environment: Environment, ready: Ready) -> list[Record]:
    """The records of an environment whose shards are all done, in the order of a run's.

    Raises:
        Contradiction: two shards judge one layer differently, or ran with different versions.
    """
    assert ready.greeting is not None
    parts = {shard: (place.shard(shard), read_records(place.shard(shard))) for shard in ready.shards}
    headers = [(path, record) for path, own in parts.values() for record in own if isinstance(record, Header)]
    _check_versions(headers)
    hello = selected(environment, ready.greeting)
    header = header_of(hello.framework, wanted_of(environment, campaign.plan), hello)
    tally, found = Tally(), list[Record](ready.rows)
    for own in _by_layer(parts).values():
        found += _merged_layer(own)
    footers = [record for _, own in parts.values() for record in own if isinstance(record, Footer)]
    for one in footers:
        tally.took += Took(
            seconds=one.worker_seconds, explored_cases=one.explored_cases, explored_seconds=one.explored_seconds
        )
    started = min((one.started for _, one in headers), default=header.started)
    first = headers[0][1] if headers else header
    header = msgspec.structs.replace(header, started=started, versions=first.versions, numpy=first.numpy)
    seconds = round(sum(one.seconds for one in footers), 3)
    return [header, *map(tally.counted, found), tally.footer(seconds)]


def dropped(records: Sequence[Record], place: Place, ready: Ready) -> set[str]:
    """The stored counterexamples of the shards that have the cause of one among ``records``."""
    every = (record for shard in ready.shards for record in read_records(place.shard(shard)))
    stored = {one.stored for one in every if isinstance(one, Counterexample) and one.stored}
    return stored - {one.stored for one in records if isinstance(one, Counterexample)}


def _by_layer(parts: Mapping[Shard, Part]) -> dict[tuple[str, str], list[Part]]:
    """The parts about each implementation at each dtype, in the order of the shards."""
    found: dict[tuple[str, str], list[Part]] = {}
    for shard, part in parts.items():
        found.setdefault((shard.dtype, shard.implementation), []).append(part)
    return found


def _check_versions(headers: Sequence[tuple[Path, Header]]) -> None:
    """Reject shards that ran with other versions than the first."""
    for path, one in headers[1:]:
        first_path, first = headers[0]
        for name in ("framework", "versions", "python", "numpy", "device", "suite", "catalogue"):
            if (a := getattr(first, name)) != (b := getattr(one, name)):
                raise Contradiction(
                    f"{first_path} and {path} are of one environment, and their {name} differ: {a} and {b}; "
                    "remove both files and the environment, and run the campaign again"
                )


def _merged_layer(parts: Sequence[Part]) -> Iterator[Record]:
    """The records of one implementation at one dtype."""
    first: dict[Any, tuple[Path, Record]] = {}
    for path, own in parts:
        for record in own:
            if (subject := _subject(record)) is None:
                continue
            before, known = first.setdefault(subject, (path, record))
            if (one := _said(known)) != (other := _said(record)):
                raise Contradiction(
                    f"{before} and {path} contradict each other on {' '.join(subject)}: {one} and {other}; "
                    "the layer computes differently from time to time, or one file is damaged: remove it, and run "
                    "the campaign again"
                )
    every = [record for _, own in parts for record in own]
    yield from (record for _, record in first.values())
    yield from by_cause([one for one in every if isinstance(one, Counterexample)])
    if explored := [one for one in every if isinstance(one, Explored)]:
        yield _together(explored)
    yield from dict.fromkeys(one for one in every if isinstance(one, NotRun))


def _subject(record: Record) -> tuple[str, ...] | None:
    """What a record is about that every shard repeats; None for the others."""
    if isinstance(record, Profile):
        return record.implementation, record.dtype
    if isinstance(record, Series):
        return record.implementation, record.dtype, record.quantity, record.axis
    if isinstance(record, Judgement):
        return record.implementation, record.dtype, record.requirement
    return None


def _said(record: Record) -> tuple[Any, ...]:
    """What of it must be the same in every shard."""
    if isinstance(record, Profile):
        return record.known, record.accuracy, record.computes_in, [(one.axis, one.measured) for one in record.axes]
    if isinstance(record, Judgement):
        return record.verdict, record.measured, record.falls_with
    return ()


def by_cause(found: Sequence[Counterexample]) -> list[Counterexample]:
    """The smallest counterexample of each cause, in the order in which the causes were met."""
    causes: dict[str, list[Counterexample]] = {}
    for one in found:
        causes.setdefault(one.signature, []).append(one)
    signatures = {text: stored_signature(text) for text in causes}
    kept: set[Signature] = set()
    for _, signature in sorted(signatures.items(), key=lambda item: _generality(item[1])):
        if not no_news(signature, kept):
            kept.add(signature)
    return [_smallest(own) for text, own in causes.items() if signatures[text] in kept]


def _generality(signature: Signature) -> tuple[bool, int, str]:
    """A key that sorts a cause before those that it explains."""
    explains = signature.data in {ORDINARY, CALLS}
    return not explains, len(signature.causes) + len(signature.wider), str(signature)


def _smallest(own: Sequence[Counterexample]) -> Counterexample:
    best = min(own, key=_size)
    fresh = any(one.found == "explored" for one in own)
    return msgspec.structs.replace(best, found="explored" if fresh else "replayed")


def _size(one: Counterexample) -> tuple[int, int, int, str]:
    """A key that sorts counterexamples from small to large: elements, calls, letters of the inputs."""
    shapes = one.example.shapes
    return sum(map(math.prod, shapes)), len(shapes), sum(map(len, one.example.inputs)), one.sentence


def _together(explored: Sequence[Explored]) -> Explored:
    """The explorations of several seeds as one."""
    counts = ("plans", "cases", "refused", "known", "sequences", "steps")
    sums = {name: sum(getattr(one, name) for one in explored) for name in counts}
    return msgspec.structs.replace(explored[0], **sums)
