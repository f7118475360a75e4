"""The HTML report: one self-contained page from a folder of result files. It shows; it decides nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import jinja2
import msgspec
from markupsafe import Markup

from normgauge.reports.grouping import FIXED_ANCHORS, LAYERS, Anchors, grouped
from normgauge.reports.implementation_names import Names, Told, release_of, told_apart
from normgauge.reports.page import accuracy, documentation, explored
from normgauge.reports.page.curves import PANEL
from normgauge.reports.page.divergences import findings_of
from normgauge.reports.page.tables import RunShown, layers_of
from normgauge.results.records import (
    DIVERGENT,
    BrokenResults,
    Counterexample,
    Explored,
    Footer,
    Header,
    Judgement,
    NotRun,
    Profile,
    Record,
    Series,
    read_records,
)

#: The sign of each verdict and what the verdict means, in the order of the legend.
LEGEND: Final = {
    "conforms": ("✓", "within every error bound; on an axis, every other value was excluded"),
    "diverges": ("✗", "what came out lies outside the error bound of what is required"),
    "crashes": ("☠", "it died, hung, gave the wrong shape or changed its input"),
    "unsupported": ("–", "the layer has no way to ask for it, or raised an exception"),
    "cannot tell": ("?", "the error bounds do not tell the alternatives apart"),
}
#: A folder of results may hold this list of what was asked for: framework name to the reason it is absent.
MANIFEST: Final = "manifest.json"

_TERMINAL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
_BREAK_AFTER = re.compile(r"(?<=[.(\[=_/])(?!\d)")


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


def read_folder(results: Path) -> tuple[dict[Path, list[Record]], list[NotRun]]:
    """The records of every result file in a folder, and what its manifest says was asked for and has none.

    Raises:
        BrokenResults: as :func:`write_report`.
    """
    files = sorted(results.glob("*.jsonl"))
    absent = _absent(results, files)
    if not files and not absent:
        raise BrokenResults(
            f"{results} holds no result file (*.jsonl); make one with: normgauge run FRAMEWORK --out {results}"
        )
    records = {path: _named_like(path, read_records(path)) for path in files}
    _refuse_two_runs(records)
    return records, absent


def _named_like(path: Path, records: list[Record]) -> list[Record]:
    """The records; what never started, and so has no version, is called as its file is."""
    if any(isinstance(one, Header) and one.versions for one in records):
        return records
    return [msgspec.structs.replace(one, framework=path.stem) if isinstance(one, NotRun) else one for one in records]


def _absent(results: Path, files: Sequence[Path]) -> list[NotRun]:
    """What the manifest says was asked for and has no result file."""
    manifest = results / MANIFEST
    if not manifest.is_file():
        return []
    try:
        asked = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BrokenResults(f"{manifest} is no JSON: {error}; remove it") from None
    if not isinstance(asked, dict):
        raise BrokenResults(f"{manifest} is no object of framework names and reasons; remove it")
    present = {path.stem for path in files}
    return [NotRun(str(name), str(reason)) for name, reason in sorted(asked.items()) if name not in present]


def _refuse_two_runs(records: dict[Path, list[Record]]) -> None:
    """Releases of one framework may stand side by side; one release was measured twice by mistake."""
    headers = {path: next(one for one in own if isinstance(one, Header)) for path, own in records.items()}
    seen: dict[tuple[str, str, str], Path] = {}
    for path, own in records.items():
        siblings = [one for one in headers.values() if one.framework == headers[path].framework]
        release = release_of(headers[path], siblings)
        for one in own:
            if not isinstance(one, Profile):
                continue
            first = seen.setdefault((release, one.implementation, one.dtype), path)
            if first != path:
                raise BrokenResults(
                    f"{first} and {path} both hold {one.implementation} at {one.dtype}, of the same release; "
                    "a report shows one run of each: move one file to a folder of its own"
                )


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


def environment(*, autoescape: bool = True) -> jinja2.Environment:
    """The templates, with what they share; ``autoescape`` off for what is no markup."""
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("normgauge.reports"),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["breakable"] = _breakable
    found.tests["web_address"] = lambda text: text.startswith(("https://", "http://"))
    return found


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


# --- small things -------------------------------------------------------------------------------


def _printable(value: object) -> object:
    """Text without the control characters that colour a terminal; anything else as it is."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _TERMINAL.sub("", value)
    return value


def _breakable(text: str) -> Markup:
    """A long dotted name that a narrow column may break."""
    return Markup("<wbr>").join(_BREAK_AFTER.split(text))
