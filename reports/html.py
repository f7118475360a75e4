"""The HTML report: one self-contained page from a folder of result files. It shows; it decides nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import jinja2

from normgauge.reports.records import (
    DIVERGENT,
    VERDICTS,
    BrokenResults,
    Footer,
    Header,
    Judgement,
    NotRun,
    Profile,
    Record,
    read_records,
)

SYMBOLS: Final = {"conforms": "✓", "diverges": "✗", "crashes": "☠", "unsupported": "–", "cannot tell": "?"}
LAYERS: Final = {"group_norm": "GroupNorm", "batch_norm": "BatchNorm"}
#: A folder of results may hold this list of what was asked for: framework name to the reason it is absent.
MANIFEST: Final = "manifest.json"


@dataclass(frozen=True)
class RunShown:
    """One result file: its header, and whether it has its footer."""

    header: Header
    seconds: float | None


@dataclass(frozen=True)
class Cell:
    """One requirement for one implementation: the verdicts by dtype, one entry where they agree."""

    entries: tuple[tuple[str, str], ...]
    target: str | None
    title: str

    @property
    def worst(self) -> str:
        order = ("crashes", "diverges", "cannot tell", "unsupported", "conforms")
        return min((verdict for verdict, _ in self.entries), key=order.index, default="not run")


@dataclass(frozen=True)
class Divergence:
    """One requirement that one implementation does not meet, at the dtypes that show it."""

    anchor: str
    judgement: Judgement
    dtypes: tuple[str, ...]
    documentation: str
    alone: bool


@dataclass
class LayerShown:
    """The matrix and the axis table of one layer kind."""

    name: str
    implementations: list[str]
    rows: list[tuple[Judgement, list[Cell]]] = field(default_factory=list)
    profiles: list[Profile] = field(default_factory=list)


def write_report(results: Path, target: Path) -> Path:
    """Write the report on every ``*.jsonl`` in ``results`` to ``target``, and return it.

    Raises:
        BrokenResults: a file that is no result file, or a folder without any.
        OSError: ``target`` cannot be written.
    """
    files = sorted(results.glob("*.jsonl"))
    absent = _absent(results, files)
    if not files and not absent:
        raise BrokenResults(
            f"{results} holds no result file (*.jsonl); make one with: normgauge run FRAMEWORK --out {results}"
        )
    records = {path: read_records(path) for path in files}
    target.write_text(render(list(records.values()), absent), encoding="utf-8")
    return target


def _absent(results: Path, files: Sequence[Path]) -> list[NotRun]:
    """What the manifest says was asked for and has no result file."""
    manifest = results / MANIFEST
    if not manifest.is_file():
        return []
    try:
        asked = json.loads(manifest.read_text(encoding="utf-8"))
        present = {path.stem for path in files}
        return [NotRun(str(name), str(reason)) for name, reason in sorted(asked.items()) if name not in present]
    except (ValueError, AttributeError) as error:
        raise BrokenResults(f"{manifest} is not a list of what was asked for: {error}; remove it") from None


def render(runs: Iterable[Sequence[Record]], absent: Sequence[NotRun] = ()) -> str:
    """The page for these runs, each a list of records that begins with its header."""
    shown: list[RunShown] = []
    everything: list[Record] = []
    for records in runs:
        header = next(r for r in records if isinstance(r, Header))
        footer = next((r for r in records if isinstance(r, Footer)), None)
        shown.append(RunShown(header, footer.seconds if footer else None))
        everything += records
    judgements = [r for r in everything if isinstance(r, Judgement)]
    profiles = [r for r in everything if isinstance(r, Profile)]
    divergences = _divergences(judgements, profiles)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("normgauge.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        runs=shown,
        layers=_layers(judgements, profiles, divergences),
        divergences=divergences,
        hazards=_hazards(profiles),
        not_run=[*absent, *(r for r in everything if isinstance(r, NotRun))],
        symbols=SYMBOLS,
        verdicts=VERDICTS,
    )


def _divergences(judgements: Sequence[Judgement], profiles: Sequence[Profile]) -> list[Divergence]:
    grouped: dict[tuple[str, str], list[Judgement]] = {}
    for judgement in judgements:
        if judgement.verdict in DIVERGENT:
            grouped.setdefault((judgement.requirement, judgement.implementation), []).append(judgement)
    pages = {profile.implementation: profile.documentation for profile in profiles}
    frameworks: dict[str, set[str]] = {}
    for requirement, _ in grouped:
        frameworks[requirement] = {g[0].framework for (r, _), g in grouped.items() if r == requirement}
    return [
        Divergence(
            f"{requirement}-{implementation}".replace(" ", ""),
            group[0],
            tuple(judgement.dtype for judgement in group),
            pages.get(implementation, ""),
            len(frameworks[requirement]) == 1,
        )
        for (requirement, implementation), group in sorted(grouped.items())
    ]


def _layers(
    judgements: Sequence[Judgement], profiles: Sequence[Profile], divergences: Sequence[Divergence]
) -> list[LayerShown]:
    anchors = {(d.judgement.requirement, d.judgement.implementation): d.anchor for d in divergences}
    layers = []
    for kind, name in LAYERS.items():
        own = [profile for profile in profiles if profile.layer == kind]
        implementations = list(dict.fromkeys(profile.implementation for profile in own))
        layer = LayerShown(name, implementations, profiles=own)
        wanted = [j for j in judgements if j.implementation in implementations]
        for requirement in dict.fromkeys(j.requirement for j in wanted):
            same = [j for j in wanted if j.requirement == requirement]
            cells = [
                _cell([j for j in same if j.implementation == one], anchors.get((requirement, one)))
                for one in implementations
            ]
            layer.rows.append((same[0], cells))
        if implementations:
            layers.append(layer)
    return layers


def _cell(judgements: Sequence[Judgement], target: str | None) -> Cell:
    by_dtype = [(j.verdict, j.dtype) for j in judgements]
    verdicts = {verdict for verdict, _ in by_dtype}
    entries = ((by_dtype[0][0], ""),) if len(verdicts) == 1 else tuple(by_dtype)
    said = dict.fromkeys(text for j in judgements for text in (j.sentence, *j.notes) if text)
    return Cell(entries, target, "\n".join(said))


def _hazards(profiles: Sequence[Profile]) -> list[tuple[str, str, str]]:
    return [(p.implementation, p.dtype, hazard) for p in profiles for hazard in p.hazards]
