"""How a verdict is known, on one short page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from normgauge.reports.page import suite
from normgauge.reports.page.section import PageData, Section
from normgauge.results.records import Explored, Judgement


def _content(page: PageData) -> Mapping[str, Any] | None:
    if not page.measured:
        return None
    judgements = page.all(Judgement)
    return {
        "judgements": len(judgements),
        "requirements": len({one.requirement for one in judgements}),
        "witnesses": sum(len(one.witnesses) for one in judgements),
        "explored": sum(one.cases for one in page.all(Explored)),
        **suite.shown(),
    }


SECTION: Final = Section(id="known", title="How it is known", template="known.html", content=_content)
