"""The tables of the page: requirements by implementation, axes, and facts beside them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from normgauge.reports.divergences import Finding
from normgauge.reports.grouping import LAYERS, grouped
from normgauge.reports.records import (
    DIVERGENT,
    DefaultMeasured,
    Footer,
    Header,
    Judgement,
    Profile,
)

_NO_AXIS: Final = "no known alternative; nearest: "


@dataclass(frozen=True)
class RunShown:
    """One result file. Without its footer it was interrupted; ``missing`` has no result in it."""

    header: Header
    footer: Footer | None
    missing: tuple[str, ...]

    @property
    def versions(self) -> str:
        return ", ".join(f"{name} {version}" for name, version in self.header.versions.items())


@dataclass(frozen=True)
class Column:
    """One implementation, under its framework; ``versions`` is empty where no header tells them."""

    implementation: str
    framework: str
    versions: str


@dataclass(frozen=True)
class Entry:
    """What a cell says, and for which dtypes: empty where it says it for all of the row's."""

    kind: str
    text: str
    dtypes: str


@dataclass(frozen=True)
class Cell:
    """One requirement or axis for one implementation: one entry where the dtypes agree."""

    entries: tuple[Entry, ...]
    target: str = ""
    title: str = ""


@dataclass(frozen=True)
class RequirementRow:
    """One line of the matrix."""

    judgement: Judgement
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class AxisRow:
    """One line of the axis table."""

    axis: str
    question: str
    canonical: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class FactsRow:
    """Names, layout, defaults and accuracy of one implementation; ``defaults`` by setting."""

    profile: Profile
    names: tuple[tuple[str, str], ...]
    defaults: dict[str, tuple[str, tuple[str, ...]]]
    statistics: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class LayerShown:
    """The tables of one layer kind."""

    name: str
    columns: tuple[Column, ...]
    rows: tuple[RequirementRow, ...]
    axes: tuple[AxisRow, ...]
    settings: tuple[str, ...]
    facts: tuple[FactsRow, ...]

    @property
    def groups(self) -> list[tuple[str, str, int]]:
        """The neighbouring columns of one framework: its name, its versions, how many."""
        runs = itertools.groupby(self.columns, key=lambda column: (column.framework, column.versions))
        return [(framework, versions, len(list(own))) for (framework, versions), own in runs]


def layers_of(
    judgements: Sequence[Judgement], profiles: Sequence[Profile], runs: Sequence[RunShown], findings: Sequence[Finding]
) -> list[LayerShown]:
    versions = {run.header.framework: run.versions for run in runs}
    targets: dict[tuple[str, str], str] = {}
    for finding in findings:
        for member in (member for one in finding.evidence for member in one.members):
            targets.setdefault((finding.judgement.requirement, member.judgement.implementation), member.anchor)
    layers = []
    for kind, name in LAYERS.items():
        own = grouped((p for p in profiles if p.layer == kind), lambda profile: profile.implementation)
        if not own:
            continue
        columns = (Column(one, at[0].framework, versions.get(at[0].framework, "")) for one, at in own.items())
        wanted = [judgement for judgement in judgements if judgement.implementation in own]
        settings = dict.fromkeys(default.setting for at in own.values() for p in at for default in p.defaults)
        layers.append(
            LayerShown(
                name,
                tuple(columns),
                tuple(
                    _requirement_row(same, list(own), targets)
                    for same in grouped(sorted(wanted, key=lambda j: j.requirement), lambda j: j.requirement).values()
                ),
                _axis_rows(own),
                tuple(settings),
                tuple(_facts(at) for at in own.values()),
            )
        )
    return layers


def _requirement_row(
    same: Sequence[Judgement], implementations: Sequence[str], targets: dict[tuple[str, str], str]
) -> RequirementRow:
    everywhere = {judgement.dtype for judgement in same}
    cells = []
    for one in implementations:
        own = [judgement for judgement in same if judgement.implementation == one]
        entries = _entries(((j.verdict, j.measured if j.verdict in DIVERGENT else ""), j.dtype) for j in own)
        said = dict.fromkeys(text for j in own for text in (j.sentence, *j.notes) if text)
        target = targets.get((same[0].requirement, one), "")
        cells.append(Cell(_unless_all(entries, everywhere), target, "\n".join(said)))
    return RequirementRow(same[0], tuple(cells))


def _axis_rows(own: dict[str, list[Profile]]) -> tuple[AxisRow, ...]:
    everywhere = {profile.dtype for profiles in own.values() for profile in profiles}
    axes = {axis.axis: axis for profiles in own.values() for profile in profiles for axis in profile.axes}
    rows = []
    for name, axis in axes.items():
        cells = []
        for profiles in own.values():
            found = (
                (_axis_value(profile.known, one.measured, one.canonical), profile.dtype)
                for profile in profiles
                for one in profile.axes
                if one.axis == name
            )
            cells.append(Cell(_unless_all(_entries(found), everywhere)))
        rows.append(AxisRow(name, axis.question, axis.canonical, tuple(cells)))
    return tuple(rows)


def _axis_value(known: bool, measured: Sequence[str], canonical: str) -> tuple[str, str]:
    values = ", ".join(measured)
    if not known:
        return "open", _NO_AXIS + values
    if len(measured) != 1:
        return "open", f"not told apart: {values}" if values else "nothing measured"
    return ("same" if values == canonical else "other"), values


def _entries(told: Iterable[tuple[tuple[str, str], str]]) -> dict[tuple[str, str], list[str]]:
    """What is said, each once, with the dtypes it is said of."""
    return {said: [dtype for _, dtype in own] for said, own in grouped(told, lambda pair: pair[0]).items()}


def _unless_all(entries: dict[tuple[str, str], list[str]], everywhere: set[str]) -> tuple[Entry, ...]:
    return tuple(
        Entry(kind, text, "" if set(dtypes) == everywhere else ", ".join(dtypes))
        for (kind, text), dtypes in entries.items()
    )


def _facts(profiles: Sequence[Profile]) -> FactsRow:
    first = profiles[0]
    names = tuple((canonical, own) for canonical, own in first.names.items() if canonical != own)
    defaults: dict[str, tuple[str, tuple[str, ...]]] = {}
    for profile in profiles:
        for default in profile.defaults:
            signature, measured = defaults.get(default.setting, (default.signature or "none", ()))
            said = f"{profile.dtype}: {_interval(default)}"
            defaults[default.setting] = (signature, (*measured, said))
    statistics = tuple(
        (
            f"{profile.dtype}: {(profile.accuracy or 'outside every class').replace('_', '-')}",
            "" if profile.computes_in == profile.dtype else f"computed in {profile.computes_in}",
        )
        for profile in profiles
    )
    return FactsRow(first, names, defaults, statistics)


def _interval(default: DefaultMeasured) -> str:
    if default.best is None:
        return "not measured"
    if default.low is None or default.high is None:
        return f"{default.best:.6g}"
    half = max(default.high - default.best, default.best - default.low)
    return f"{default.rounded()} ± {half:.1g}"
