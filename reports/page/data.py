"""Everything that the page shows as one JSON object, for dashboards; ``report.schema.json`` is its schema."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from normgauge.reports.page.section import PageData
from normgauge.results.answers import Answers
from normgauge.results.records import Counterexample, Header, Judgement, NotRun, Profile, Series

FORMAT: Final = 1


class ReportData(msgspec.Struct, frozen=True, kw_only=True):
    """The records of all runs, with the names of the page. A judgement that conforms has no witnesses.

    ``interrupted`` are the frameworks whose run did not finish. ``broken`` has the reason for each file that is not
    shown. ``standing`` has by framework and kind of layer the one in the map. ``anchors`` has by requirement and
    implementation the id of the difference on the page.
    """

    format: int
    runs: list[Header]
    interrupted: list[str]
    broken: dict[str, str]
    not_run: list[NotRun]
    implementations: list[Profile]
    judgements: list[Judgement]
    series: list[Series]
    counterexamples: list[Counterexample]
    standing: dict[str, dict[str, str]]
    anchors: dict[str, dict[str, str]]
    answers: Answers


def data_of(page: PageData) -> ReportData:
    """What the page shows."""
    return ReportData(
        format=FORMAT,
        runs=[run.header for run in page.runs],
        interrupted=[run.header.framework for run in page.runs if run.footer is None],
        broken=dict(page.broken),
        not_run=list(page.not_run),
        implementations=page.all(Profile),
        judgements=[
            msgspec.structs.replace(one, witnesses=[]) if one.verdict == "conforms" else one
            for one in page.all(Judgement)
        ],
        series=page.all(Series),
        counterexamples=page.all(Counterexample),
        standing=page.standing,
        anchors=page.evidence,
        answers=page.answers,
    )


def schema() -> dict[str, Any]:
    """The JSON Schema of the object."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"normgauge report, format {FORMAT}",
        **msgspec.json.schema(ReportData),
    }
