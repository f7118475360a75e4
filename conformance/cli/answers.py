"""What the commands hand to a report beside the records: answers for pairs of layers, and what is known."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import msgspec

from normgauge.conformance.gating.entries import BrokenExpectations
from normgauge.conformance.gating.expectations import load_expectations
from normgauge.conformance.gating.known import known_differences
from normgauge.conformance.illustrations.choices import illustrations_of
from normgauge.conformance.recipes.answers import Named, answers_of
from normgauge.results.answers import Answers, KnownDifference
from normgauge.results.records import Header, Record


def report_answers(runs: Sequence[Sequence[Record]], named: Named) -> Answers:
    """The answers for these runs, what is drawn of them, and the entry of the shipped list for each difference."""
    return msgspec.structs.replace(
        answers_of(runs, named), known=list(_known(runs, named)), illustrations=illustrations_of(runs, named)
    )


def _known(runs: Sequence[Sequence[Record]], named: Named) -> Iterator[KnownDifference]:
    expectations = load_expectations()
    for records in runs:
        header = next(one for one in records if isinstance(one, Header))
        try:
            yield from list(known_differences(records, expectations, functools.partial(named, header)))
        except BrokenExpectations:
            continue  # the shipped list does not fit a framework of this name with other packages
