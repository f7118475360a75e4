"""The HTML report: one self-contained page from a folder of result files. It shows; it decides nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec
from markupsafe import Markup

from normgauge.reports import pictures
from normgauge.reports.grouping import Anchors, grouped, layer_titles, of_kind
from normgauge.reports.implementation_names import Names, names_on_page, told_apart
from normgauge.reports.page import (
    accuracy,
    ask,
    divergences,
    documentation,
    explored,
    hazards,
    illustrated,
    in_short,
    known,
    port_map,
    remarks,
    runs,
    sheets,
    tables,
)
from normgauge.reports.page.data import data_of
from normgauge.reports.page.section import LEGEND, PageData, RunShown, Section
from normgauge.reports.templating import environment
from normgauge.results.answers import Answers
from normgauge.results.file import BrokenResults
from normgauge.results.folder import read_what_can_be_read
from normgauge.results.records import Counterexample, Footer, Header, Judgement, NotRun, Profile, Record

#: The sections in the order of the page; those of the layers come between the two.
FIRST: Final[tuple[Section, ...]] = (ask.SECTION, port_map.SECTION, in_short.SECTION)
SECTIONS: Final[tuple[Section, ...]] = (
    sheets.SECTION,
    illustrated.SECTION,
    accuracy.SECTION,
    divergences.SECTION,
    documentation.SECTION,
    explored.SECTION,
    hazards.SECTION,
    remarks.SECTION,
    ask.PORTS,
    known.SECTION,
    runs.SECTION,
    runs.NOT_RUN,
)
#: Gives the answers for runs, whose implementations have on the page the name that the second argument gives.
AnswersOf = Callable[[Sequence[Sequence[Record]], Callable[[Header, str], str]], Answers]


def write_report(results: Path, target: Path, answers_of: AnswersOf | None = None) -> Path:
    """Write the report on every ``*.jsonl`` in ``results`` to ``target``, and return it.

    Beside the page, ``report.json`` has what it shows as data, and ``report.md`` the differences as Markdown.
    A file that cannot be read is named on the page with the reason; the others are shown.

    Raises:
        BrokenResults: some files cannot be read, or there is none; the page is written all the same.
        OSError: a file cannot be written.
    """
    folder = read_what_can_be_read(results)
    page = _data(list(folder.records.values()), folder.absent, answers_of, folder.broken)
    target.write_text(_rendered(page), encoding="utf-8")
    encoded = msgspec.json.encode(data_of(page))
    target.with_name("report.json").write_bytes(encoded)
    markdown = environment(autoescape=False).get_template("report.md").render(page=page)
    target.with_name("report.md").write_text(markdown, encoding="utf-8")
    if folder.broken:
        raise BrokenResults("\n".join(folder.broken.values()))
    return target


def render(runs: Iterable[Sequence[Record]], absent: Sequence[NotRun] = (), answers_of: AnswersOf | None = None) -> str:
    """The page for these runs, each a list of records that begins with its header.

    Without ``answers_of`` the page has no question box.
    """
    return _rendered(_data([*runs], absent, answers_of))


def _rendered(page: PageData) -> str:
    templates = environment()
    script = templates.get_template("report.js").render()
    templates.globals |= {"page": page, "legend": LEGEND}
    templates.filters["compact"] = lambda svg: Markup(pictures.compact(svg))
    shown = [
        (section, Markup(templates.get_template(section.template).render(content, section=section)))
        for section in (*FIRST, *tables.sections(page), *SECTIONS)
        if (content := section.content(page)) is not None
    ]
    by_framework = grouped(page.runs, lambda run: page.names.framework(run.header.framework))
    return templates.get_template("report.html").render(
        sections=shown,
        frameworks=[
            (framework, "; ".join(run.versions for run in own if run.versions))
            for framework, own in by_framework.items()
        ],
        has_modes=any(profile.mode != "eager" for profile in page.all(Profile)),
        data=ask.as_block(ask.data_of(page)),
        script=Markup(script),
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
    )


def _data(
    runs: Sequence[Sequence[Record]],
    absent: Sequence[NotRun],
    answers_of: AnswersOf | None,
    broken: Mapping[str, str] | None = None,
) -> PageData:
    ordered, releases = told_apart(runs)
    everything = [record for records in ordered for record in records]
    profiles = of_kind(everything, Profile)
    names = Names(profiles, releases)
    anchors = Anchors([*(section.id for section in (*FIRST, *SECTIONS)), *layer_titles(profiles).values()])
    page = PageData(
        runs=[_run(records) for records in ordered],
        records=everything,
        not_run=[*absent, *of_kind(everything, NotRun)],
        names=names,
        findings=divergences.findings_of(of_kind(everything, Judgement), profiles, names, anchors),
        contradictions=documentation.contradictions_of(profiles, names, anchors),
        found=explored.found_of(of_kind(everything, Counterexample), names, anchors),
        anchors=anchors,
        broken=broken or {},
        sheets=sheets.anchors_of(profiles, names, anchors),
        answers=answers_of(runs, names_on_page(runs)) if answers_of else Answers(),
    )
    return replace(page, ports=ask.popular(page))


def _run(records: Sequence[Record]) -> RunShown:
    header, footer = of_kind(records, Header)[0], next(iter(of_kind(records, Footer)), None)
    profiled = {one.implementation for one in of_kind(records, Profile)}
    missing = tuple(one for one in header.implementations if one not in profiled)
    return RunShown(header=header, footer=footer, missing=missing)
