"""The HTML report: one self-contained page from a folder of result files. It shows; it decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from markupsafe import Markup

from normgauge.reports.grouping import Anchors, grouped, layer_titles, of_kind
from normgauge.reports.implementation_names import Names, told_apart
from normgauge.reports.page import (
    accuracy,
    divergences,
    documentation,
    explored,
    hazards,
    in_short,
    remarks,
    runs,
    tables,
)
from normgauge.reports.page.section import LEGEND, PageData, RunShown, Section
from normgauge.reports.templating import environment
from normgauge.results.folder import read_folder
from normgauge.results.records import Counterexample, Footer, Header, Judgement, NotRun, Profile, Record

#: The sections in the order of the page; those of the layers come after the first.
SECTIONS: Final[tuple[Section, ...]] = (
    in_short.SECTION,
    accuracy.SECTION,
    divergences.SECTION,
    documentation.SECTION,
    explored.SECTION,
    hazards.SECTION,
    remarks.SECTION,
    runs.SECTION,
    runs.NOT_RUN,
)


def write_report(results: Path, target: Path) -> Path:
    """Write the report on every ``*.jsonl`` in ``results`` to ``target``, and return it.

    Raises:
        BrokenResults: a file that is no result file, a folder without any, or two runs of one implementation.
        OSError: ``target`` cannot be written.
    """
    records, absent = read_folder(results)
    target.write_text(render(list(records.values()), absent), encoding="utf-8")
    return target


def render(runs: Iterable[Sequence[Record]], absent: Sequence[NotRun] = ()) -> str:
    """The page for these runs, each a list of records that begins with its header."""
    page = _data([*runs], absent)
    templates = environment()
    templates.globals |= {"page": page, "legend": LEGEND}
    shown = [
        (section, Markup(templates.get_template(section.template).render(content, section=section)))
        for section in (SECTIONS[0], *tables.sections(page), *SECTIONS[1:])
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
    )


def _data(runs: Sequence[Sequence[Record]], absent: Sequence[NotRun]) -> PageData:
    ordered, releases = told_apart(runs)
    everything = [record for records in ordered for record in records]
    profiles = of_kind(everything, Profile)
    names = Names(profiles, releases)
    anchors = Anchors([*(section.id for section in SECTIONS), *layer_titles(profiles).values()])
    return PageData(
        runs=[_run(records) for records in ordered],
        records=everything,
        not_run=[*absent, *of_kind(everything, NotRun)],
        names=names,
        findings=divergences.findings_of(of_kind(everything, Judgement), profiles, names, anchors),
        contradictions=documentation.contradictions_of(profiles, names, anchors),
        found=explored.found_of(of_kind(everything, Counterexample), names, anchors),
    )


def _run(records: Sequence[Record]) -> RunShown:
    header, footer = of_kind(records, Header)[0], next(iter(of_kind(records, Footer)), None)
    profiled = {one.implementation for one in of_kind(records, Profile)}
    missing = tuple(one for one in header.implementations if one not in profiled)
    return RunShown(header=header, footer=footer, missing=missing)
