"""The HTML report: one self-contained page from a folder of result files. It shows; it decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from normgauge.reports.grouping import FIXED_ANCHORS, LAYERS, Anchors, grouped
from normgauge.reports.implementation_names import Names, Told, told_apart
from normgauge.reports.page import accuracy, documentation, explored
from normgauge.reports.page.curves import PANEL
from normgauge.reports.page.divergences import findings_of
from normgauge.reports.page.tables import RunShown, layers_of
from normgauge.reports.templating import environment
from normgauge.results.folder import read_folder
from normgauge.results.records import (
    DIVERGENT,
    Counterexample,
    Explored,
    Footer,
    Header,
    Judgement,
    NotRun,
    Profile,
    Record,
    Series,
)

#: The sign of each verdict and what the verdict means, in the order of the legend.
LEGEND: Final = {
    "conforms": ("✓", "within every error bound; on an axis, every other value was excluded"),
    "diverges": ("✗", "what came out lies outside the error bound of what is required"),
    "crashes": ("☠", "it died, hung, gave the wrong shape or changed its input"),
    "unsupported": ("–", "the layer has no way to ask for it, or raised an exception"),
    "cannot tell": ("?", "the error bounds do not tell the alternatives apart"),
}


@dataclass(frozen=True)
class Remark:
    """Why a requirement could not be judged, or what is noted beside a verdict."""

    judgement: Judgement
    text: str
    members: list[Told]


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
    ordered, releases = told_apart([*runs])
    everything = [record for records in ordered for record in records]
    shown = [_run(records) for records in ordered]
    judgements = [r for r in everything if isinstance(r, Judgement)]
    profiles = [r for r in everything if isinstance(r, Profile)]
    names, anchors = Names(profiles, releases), Anchors(FIXED_ANCHORS)
    findings = findings_of(judgements, profiles, names, anchors)
    contradictions = documentation.contradictions_of(profiles, names, anchors)
    by_framework = grouped(shown, lambda run: names.framework(run.header.framework))
    template = environment().get_template("report.html")
    return template.render(
        runs=shown,
        frameworks=[
            (framework, "; ".join(run.versions for run in own if run.versions))
            for framework, own in by_framework.items()
        ],
        measured=bool(judgements),
        has_modes=any(profile.mode != "eager" for profile in profiles),
        layers=layers_of(judgements, profiles, shown, findings, names),
        findings=findings,
        contradictions=contradictions,
        claims=documentation.claims_of(profiles, contradictions, names),
        signs=documentation.SIGNS,
        found=explored.found_of([r for r in everything if isinstance(r, Counterexample)], names, anchors),
        tried=explored.tried_of([r for r in everything if isinstance(r, Explored)], names),
        kinds=explored.KINDS,
        accuracy=accuracy.accuracy_of(profiles, [r for r in everything if isinstance(r, Series)], names),
        size=PANEL,
        hazards=_hazards(profiles, names),
        defaults=_different_defaults(profiles, names),
        remarks=_remarks(judgements, names),
        not_run=[*absent, *(r for r in everything if isinstance(r, NotRun))],
        legend=LEGEND,
    )


def _run(records: Sequence[Record]) -> RunShown:
    header = next(r for r in records if isinstance(r, Header))
    footer = next((r for r in records if isinstance(r, Footer)), None)
    profiled = {r.implementation for r in records if isinstance(r, Profile)}
    return RunShown(header, footer, tuple(one for one in header.implementations if one not in profiled))


# --- findings -----------------------------------------------------------------------------------


def _hazards(profiles: Sequence[Profile], names: Names) -> list[tuple[str, list[Told]]]:
    """Each hazard once, with the implementations that have it and at which dtypes."""
    told = [(hazard, profile) for profile in profiles for hazard in profile.hazards]
    found = []
    for hazard, own in grouped(told, lambda pair: pair[0]).items():
        by_name = grouped(own, lambda pair: pair[1].implementation)
        members = ((name, ", ".join(profile.dtype for _, profile in at)) for name, at in by_name.items())
        found.append((hazard, names.told(members)))
    return found


def _different_defaults(
    profiles: Sequence[Profile], names: Names
) -> list[tuple[str, str, list[tuple[str, list[Told]]]]]:
    """Layer, setting, and each default with who has it, where implementations differ; as their signatures have it."""
    told = dict.fromkeys(
        (
            LAYERS[profile.layer],
            default.setting,
            default.signature or default.rounded() or "unknown",
            profile.implementation,
        )
        for profile in profiles
        for default in profile.defaults
    )
    found = []
    for (layer, setting), own in grouped(told, lambda row: row[:2]).items():
        by_value = grouped(own, lambda row: row[2])
        values = [(value, names.told((row[3], "") for row in same)) for value, same in by_value.items()]
        if len(values) > 1:
            found.append((layer, setting, values))
    return found


def _remarks(judgements: Sequence[Judgement], names: Names) -> list[Remark]:
    """What is said beside the divergences, each text once; dtypes that say the same are one."""
    told = [
        (judgement, text.removeprefix(f"{judgement.implementation}: "))
        for judgement in judgements
        if judgement.verdict not in DIVERGENT
        for text in dict.fromkeys(judgement.notes or ([] if judgement.verdict == "conforms" else [judgement.sentence]))
    ]
    same = grouped(told, lambda pair: (pair[0].requirement, pair[0].verdict, pair[1].replace(pair[0].dtype, "")))
    remarks = [
        Remark(own[0][0], own[0][1], names.told(dict.fromkeys((judgement.implementation, "") for judgement, _ in own)))
        for own in same.values()
    ]
    order = list(LEGEND)
    return sorted(remarks, key=lambda r: (-order.index(r.judgement.verdict), r.judgement.requirement))
