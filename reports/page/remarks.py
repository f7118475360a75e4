"""Why requirements could not be judged, and what is noted beside verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from normgauge.reports.grouping import grouped
from normgauge.reports.implementation_names import Told
from normgauge.reports.page.section import LEGEND, PageData, Section
from normgauge.results.records import DIVERGENT, Judgement


@dataclass(frozen=True, kw_only=True)
class Remark:
    """Why a requirement could not be judged, or what is noted beside a verdict."""

    judgement: Judgement
    text: str
    members: list[Told]


def _remarks(page: PageData) -> list[Remark]:
    """What is said beside the divergences, each text once; dtypes that say the same are one."""
    told = [
        (one, text)
        for one in page.all(Judgement)
        if one.verdict not in DIVERGENT
        for text in dict.fromkeys(one.notes or ([] if one.verdict == "conforms" else [one.nameless or one.sentence]))
    ]
    same = grouped(told, lambda pair: (pair[0].requirement, pair[0].verdict, pair[1].replace(pair[0].dtype, "")))
    remarks = [
        Remark(
            judgement=own[0][0],
            text=own[0][1],
            members=page.names.told(dict.fromkeys((judgement.implementation, "") for judgement, _ in own)),
        )
        for own in same.values()
    ]
    order = list(LEGEND)
    return sorted(remarks, key=lambda r: (-order.index(r.judgement.verdict), r.judgement.requirement))


def _content(page: PageData) -> Mapping[str, Any] | None:
    remarks = _remarks(page)
    return {"remarks": remarks} if remarks else None


SECTION: Final = Section(id="remarks", title="Unsupported and undecided", template="remarks.html", content=_content)
