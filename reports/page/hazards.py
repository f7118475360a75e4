"""What loses digits and is news for a port."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from normgauge.reports.grouping import grouped
from normgauge.reports.implementation_names import Told
from normgauge.reports.page.section import PageData, Section
from normgauge.results.records import Profile


def hazards_of(page: PageData) -> list[tuple[str, list[Told]]]:
    """Each hazard once, with the implementations that have it and at which dtypes."""
    told = [(hazard, profile) for profile in page.all(Profile) for hazard in profile.hazards]
    found = []
    for hazard, own in grouped(told, lambda pair: pair[0]).items():
        by_name = grouped(own, lambda pair: pair[1].implementation)
        members = ((name, ", ".join(profile.dtype for _, profile in at)) for name, at in by_name.items())
        found.append((hazard, page.names.told(members)))
    return found


def _content(page: PageData) -> Mapping[str, Any]:
    return {"hazards": hazards_of(page)}


SECTION: Final = Section(id="hazards", title="Hazards", template="hazards.html", content=_content)
