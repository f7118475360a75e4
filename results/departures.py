"""What a record counts as in a summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from normgauge.results.grounds import sort_of
from normgauge.results.records import DIVERGENT, Judgement, Profile, Record


def sorts_in(record: Record) -> Iterator[str]:
    """The sorts of what is wrong or different by a record: one for each departure, contradicting claim and hazard."""
    if isinstance(record, Profile):
        yield from ["hazard"] * len(record.hazards)
        yield from ["documentation" for claim in record.claims if claim.verdict == "contradicts"]
    elif isinstance(record, Judgement) and record.verdict in DIVERGENT:
        yield sort_of(record.verdict, record.ground)


def counted(records: Iterable[Record]) -> Counter[str]:
    """How many of each sort there are in all."""
    return Counter(sort for record in records for sort in sorts_in(record))
