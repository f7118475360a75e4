"""The tables of the page, an implementation a row: verdicts, axes, and facts beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from normgauge.reports.grouping import dtypes_of, grouped, layer_titles
from normgauge.reports.implementation_names import Names, Told
from normgauge.reports.page.section import PageData, Section
from normgauge.results.facts import class_name
from normgauge.results.grounds import word_for
from normgauge.results.records import DIVERGENT, AxisMeasured, DefaultMeasured, Judgement, Profile

#: What a pointer over a cell of the matrix shows, in letters; the difference's section has everything.
TITLE_SHOWN: Final = 160
_NO_AXIS: Final = "no known alternative; the nearest is "


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One text of a cell, with its ``dtypes`` (empty: all of the row); ``meaning`` has the words for an axis value."""

    kind: str
    text: str
    dtypes: str
    meaning: str = ""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One requirement or axis for one implementation: one entry where the dtypes agree."""

    entries: tuple[Entry, ...]
    target: str = ""
    title: str = ""

    @property
    def uniform(self) -> bool:
        """Whether there is one verdict for all dtypes of the layer."""
        return len(self.entries) == 1 and not self.entries[0].dtypes


@dataclass(frozen=True, kw_only=True)
class Row:
    """One implementation, its dtypes where others have more, its mode, and the anchor of its layer's section."""

    implementation: str
    dtypes: str
    mode: str
    constructed: str
    sheet: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class AxesRow:
    """Modes and releases of one layer for which the same values were measured."""

    members: list[Told]
    dtypes: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class FactsRow:
    """Names, layout, defaults and accuracy of implementations that have them alike; ``defaults`` by setting."""

    members: list[Told]
    profile: Profile
    names: tuple[tuple[str, str], ...]
    defaults: dict[str, tuple[str, tuple[str, ...]]]
    statistics: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class FrameworkShown:
    """The rows of one framework; ``versions`` has what its result files were made with."""

    name: str
    versions: tuple[str, ...]
    verdicts: tuple[Row, ...]
    axes: tuple[AxesRow, ...]
    facts: tuple[FactsRow, ...]


@dataclass(frozen=True, kw_only=True)
class LayerShown:
    """The tables of one layer kind: ``requirements`` head the rows of the matrix, ``axes`` the columns of theirs.

    ``targets`` has the anchor of each requirement with a difference; the rest is what the filters offer.
    """

    name: str
    targets: dict[str, str]
    dtypes: tuple[str, ...]
    modes: tuple[str, ...]
    layers: tuple[str, ...]
    requirements: tuple[Judgement, ...]
    axes: tuple[AxisMeasured, ...]
    settings: tuple[str, ...]
    frameworks: tuple[FrameworkShown, ...]


def layer_of(kind: str, title: str, page: PageData) -> LayerShown:
    """The tables of a kind of layer."""
    names = page.names
    measured = grouped((p for p in page.all(Profile) if p.layer == kind), lambda profile: profile.implementation)
    versions = grouped(page.runs, lambda run: names.framework(run.header.framework))
    judged = grouped((j for j in page.all(Judgement) if j.implementation in measured), lambda j: j.requirement)
    columns = [judged[requirement] for requirement in sorted(judged)]
    axes = {axis.axis: axis for own in measured.values() for profile in own for axis in profile.axes}
    dtypes = [*dict.fromkeys(profile.dtype for own in measured.values() for profile in own)]
    frameworks = []
    for framework, own in grouped(measured, lambda one: names.of(one).framework).items():
        verdicts, semantics = [], []
        for one in _siblings_together(own, names):
            has = [dtype for dtype in dtypes if dtype in {profile.dtype for profile in measured[one]}]
            only = ", ".join(has) if len(has) < len(dtypes) else ""
            cells = _verdicts(one, has, columns, page.evidence)
            identity, sheet = names.of(one), page.sheets.get(one, "")
            verdicts.append(
                Row(
                    implementation=one,
                    dtypes=only,
                    mode=identity.mode,
                    constructed=identity.constructed,
                    sheet=sheet,
                    cells=cells,
                )
            )
            semantics.append((names.of(one).layer, only, _semantics(measured[one], has, list(axes)), one))
        frameworks.append(
            FrameworkShown(
                name=framework,
                versions=tuple(run.versions for run in versions.get(framework, []) if run.versions),
                verdicts=tuple(verdicts),
                axes=tuple(
                    AxesRow(members=names.told((row[3], "") for row in alike), dtypes=only, cells=cells)
                    for (_, only, cells), alike in grouped(semantics, lambda row: row[:3]).items()
                ),
                facts=_facts([measured[row.implementation] for row in verdicts], names),
            )
        )
    settings = dict.fromkeys(default.setting for own in measured.values() for p in own for default in p.defaults)
    heads = tuple(column[0] for column in columns)
    return LayerShown(
        name=title,
        targets={finding.judgement.requirement: finding.anchor for finding in page.findings},
        dtypes=tuple(dtypes),
        modes=tuple(dict.fromkeys(names.of(one).mode for one in measured)),
        layers=tuple(dict.fromkeys(names.of(one).constructed for one in measured)),
        requirements=heads,
        axes=tuple(axes.values()),
        settings=tuple(settings),
        frameworks=tuple(frameworks),
    )


def _siblings_together(implementations: Sequence[str], names: Names) -> list[str]:
    """The releases and modes of one layer next to each other."""
    return [one for own in grouped(implementations, lambda one: names.of(one).layer).values() for one in own]


def _verdicts(
    implementation: str,
    dtypes: Sequence[str],
    columns: Sequence[Sequence[Judgement]],
    evidence: Mapping[str, Mapping[str, str]],
) -> tuple[Cell, ...]:
    cells = []
    for column in columns:
        own = [judgement for judgement in column if judgement.implementation == implementation]
        asked = {judgement.dtype for judgement in column} & set(dtypes)
        entries = _entries(
            ((word_for(j.verdict, j.ground), j.measured if j.verdict in DIVERGENT else ""), j.dtype) for j in own
        )
        told = (j for j in own if j.verdict != "conforms")
        said = dict.fromkeys(text for j in told for text in (j.nameless or j.sentence, *j.notes) if text)
        target = evidence.get(column[0].requirement, {}).get(implementation, "")
        cells.append(Cell(entries=_unless_all(entries, asked), target=target, title=_short("\n".join(said))))
    return tuple(cells)


def _short(text: str) -> str:
    return text if len(text) <= TITLE_SHOWN else f"{text[:TITLE_SHOWN]}…"


def _semantics(profiles: Sequence[Profile], dtypes: Sequence[str], axes: Sequence[str]) -> tuple[Cell, ...]:
    cells = []
    for axis in axes:
        own = [(profile, one) for profile in profiles for one in profile.axes if one.axis == axis]
        found = ((_axis_value(profile.known, one.measured, one.canonical), profile.dtype) for profile, one in own)
        meanings = {name: words for _, one in own for name, words in one.meanings.items()}
        entries = _unless_all(_entries(found), set(dtypes))
        cells.append(Cell(entries=tuple(replace(one, meaning=meanings.get(one.text, "")) for one in entries)))
    return tuple(cells)


def _axis_value(known: bool, measured: Sequence[str], canonical: str) -> tuple[str, str]:
    values = ", ".join(measured)
    if not known:
        return "open", _NO_AXIS + values
    if len(measured) != 1:
        return "open", f"not distinguished: {values}" if values else "nothing measured"
    return ("same" if values == canonical else "other"), values


def _entries(told: Iterable[tuple[tuple[str, str], str]]) -> dict[tuple[str, str], list[str]]:
    """What is said, each once, with the dtypes it is said of."""
    return {said: [dtype for _, dtype in own] for said, own in grouped(told, lambda pair: pair[0]).items()}


def _unless_all(entries: dict[tuple[str, str], list[str]], everywhere: set[str]) -> tuple[Entry, ...]:
    return tuple(
        Entry(kind=kind, text=text, dtypes=dtypes_of(dtypes, everywhere)) for (kind, text), dtypes in entries.items()
    )


def _facts(measured: Sequence[Sequence[Profile]], names: Names) -> tuple[FactsRow, ...]:
    """A row for each implementation; what a page would show alike shares it."""
    rows = [_facts_of(profiles) for profiles in measured]

    def shown(row: FactsRow) -> str:
        return repr((row.profile.layout, row.profile.ranks, row.names, row.defaults, row.statistics))

    return tuple(
        replace(alike[0], members=names.told((row.profile.implementation, "") for row in alike))
        for alike in grouped(rows, shown).values()
    )


def _facts_of(profiles: Sequence[Profile]) -> FactsRow:
    first = profiles[0]
    names = tuple((canonical, own) for canonical, own in first.names.items() if canonical != own)
    defaults: dict[str, tuple[str, tuple[str, ...]]] = {}
    for profile in profiles:
        for default in profile.defaults:
            signature, measured = defaults.get(default.setting, (default.signature or "none", ()))
            said = f"{profile.dtype}: {_interval(default)}"
            defaults[default.setting] = (signature, (*measured, said))
    statistics = []
    for profile in profiles:
        computed = "" if profile.computes_in == profile.dtype else f"computed in {profile.computes_in}"
        statistics.append((f"{profile.dtype}: {class_name(profile.accuracy)}", computed))
    return FactsRow(members=[], profile=first, names=names, defaults=defaults, statistics=tuple(statistics))


def _interval(default: DefaultMeasured) -> str:
    if default.best is None:
        return "not measured"
    if default.low is None or default.high is None:
        return f"{default.best:.6g}"
    half = max(default.high - default.best, default.best - default.low)
    return f"{default.rounded()} ± {half:.1g}"


def sections(page: PageData) -> Iterator[Section]:
    """A section for each kind of layer that was measured."""
    for number, (kind, title) in enumerate(layer_titles(page.all(Profile)).items()):
        yield _section(title, {"layer": layer_of(kind, title, page), "first": number == 0})


def _section(title: str, shown: Mapping[str, Any]) -> Section:
    return Section(id=title, title=title, template="layer.html", content=lambda page: shown)
