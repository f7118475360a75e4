"""The summary at the top of the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from normgauge.reports.grouping import grouped, layer_titles
from normgauge.reports.implementation_names import Told
from normgauge.reports.page.explored import KINDS
from normgauge.reports.page.hazards import hazards_of
from normgauge.reports.page.section import PageData, Section
from normgauge.results.departures import counted
from normgauge.results.grounds import ALWAYS_COUNTED, SORTS_TOLD, Sort, in_words
from normgauge.results.records import Profile

_HEADINGS: Final[Mapping[Sort, str]] = {
    "error": "Wrong by the formulas, or not robust",
    "difference": "Differences of convention",
    "documentation": "Behaviour that contradicts the framework's documentation",
    "departure": "Differences in older files, which have no ground",
}


def _different_defaults(page: PageData) -> list[tuple[str, str, list[tuple[str, list[Told]]]]]:
    """Layer, setting, and each default with who has it, where implementations differ; as their signatures have it."""
    titles = layer_titles(page.all(Profile))
    told = dict.fromkeys(
        (
            titles[profile.layer],
            default.setting,
            default.signature or default.rounded() or "unknown",
            profile.implementation,
        )
        for profile in page.all(Profile)
        for default in profile.defaults
    )
    found = []
    for (layer, setting), own in grouped(told, lambda row: row[:2]).items():
        by_value = grouped(own, lambda row: row[2])
        values = [(value, page.names.told((row[3], "") for row in same)) for value, same in by_value.items()]
        if len(values) > 1:
            found.append((layer, setting, values))
    return found


def _content(page: PageData) -> Mapping[str, Any]:
    by_sort = grouped(page.findings, lambda finding: finding.sort)
    return {
        "kinds": KINDS,
        "hazards": hazards_of(page),
        "defaults": _different_defaults(page),
        "counts": in_words(counted(page.records), ALWAYS_COUNTED),
        "departures": [(_HEADINGS[sort], by_sort[sort]) for sort in SORTS_TOLD if sort in by_sort],
    }


SECTION: Final = Section(id="in-short", title="In short", template="in_short.html", content=_content)
