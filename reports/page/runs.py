"""What was run, and what could not be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from normgauge.reports.page.section import PageData, Section


def _where_not_run(page: PageData) -> Mapping[str, Any] | None:
    return {} if page.not_run else None


SECTION: Final = Section(id="runs", title="What was run", template="runs.html")
NOT_RUN: Final = Section(
    id="not-run", title="What could not be run", template="not_run.html", content=_where_not_run, listed=False
)
