"""The HTML report: one self-contained page from a folder of result files. It shows; it decides nothing."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import jinja2
from markupsafe import Markup

from normgauge.reports.records import (
    DIVERGENT,
    BrokenResults,
    Example,
    Footer,
    Header,
    Judgement,
    NotRun,
    Profile,
    Record,
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
LAYERS: Final = {"group_norm": "GroupNorm", "batch_norm": "BatchNorm"}
#: The ids that the template itself gives.
FIXED_ANCHORS: Final = ("in-short", "divergences", "hazards", "remarks", "runs", "not-run", *LAYERS.values())
#: A folder of results may hold this list of what was asked for: framework name to the reason it is absent.
MANIFEST: Final = "manifest.json"
#: Of a long row of numbers, this many are shown; the script prints them all.
VALUES_SHOWN: Final = 16
TEXT_SHOWN: Final = 400

_NO_AXIS: Final = "no known alternative; nearest: "
_TERMINAL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
_STEP = re.compile(r"(step \d+ \S+) (.*)", re.DOTALL)
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*(e[-+]?\d+)?|nan|inf)")
_BREAK_AFTER = re.compile(r"(?<=[.(\[=_/])")

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


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


@dataclass(frozen=True)
class Numbers:
    """One quantity of an example: who says what; what is equal to the letter shares a row."""

    label: str
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Departing:
    """One implementation that does not meet a requirement."""

    anchor: str
    documentation: str
    judgement: Judgement


@dataclass(frozen=True)
class Evidence:
    """One way of not meeting a requirement, with every implementation that shows the very same."""

    judgement: Judgement
    dtypes: str
    sentence: str
    numbers: tuple[Numbers, ...]
    members: tuple[Departing, ...]


@dataclass(frozen=True)
class Finding:
    """One requirement with the implementations that do not meet it.

    ``on_axis`` says that the requirement is about an axis: another value of it stands behind a witness.
    ``only`` is the framework that is alone with this among ``measured``, the frameworks that were held
    against the requirement; ``remedies`` pairs each remedy with the implementations it is for, or with
    none where it is for all.
    """

    anchor: str
    judgement: Judgement
    evidence: tuple[Evidence, ...]
    on_axis: bool
    measured: tuple[str, ...]
    only: str
    remedies: tuple[tuple[str, tuple[str, ...]], ...]
    conforming: tuple[str, ...]

    @property
    def values(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """Each measured value with the implementations that have it, and the dtypes where these are not all."""
        found: dict[str, dict[str, list[str]]] = {}
        for one in self.evidence:
            own = found.setdefault(one.judgement.measured or one.judgement.verdict, {})
            for member in one.members:
                own.setdefault(member.judgement.implementation, []).append(one.dtypes)
        return [(said, [(name, ", ".join(at)) for name, at in own.items()]) for said, own in found.items()]


@dataclass(frozen=True)
class Remark:
    """Why a requirement could not be judged, or what is noted beside a verdict."""

    judgement: Judgement
    text: str
    implementations: tuple[str, ...]


class Anchors:
    """Gives each thing an id that is unique on the page and needs no escaping in a link."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)

    def new(self, text: str) -> str:
        wanted = re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-") or "item"
        number, anchor = 1, wanted
        while anchor in self._taken:
            number += 1
            anchor = f"{wanted}-{number}"
        self._taken.add(anchor)
        return anchor


def write_report(results: Path, target: Path) -> Path:
    """Write the report on every ``*.jsonl`` in ``results`` to ``target``, and return it.

    Raises:
        BrokenResults: a file that is no result file, a folder without any, or two runs of one implementation.
        OSError: ``target`` cannot be written.
    """
    files = sorted(results.glob("*.jsonl"))
    absent = _absent(results, files)
    if not files and not absent:
        raise BrokenResults(
            f"{results} holds no result file (*.jsonl); make one with: normgauge run FRAMEWORK --out {results}"
        )
    records = {path: read_records(path) for path in files}
    _refuse_two_runs(records)
    target.write_text(render(list(records.values()), absent), encoding="utf-8")
    return target


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
    seen: dict[tuple[str, str], Path] = {}
    for path, own in records.items():
        for one in own:
            if not isinstance(one, Profile):
                continue
            first = seen.setdefault((one.implementation, one.dtype), path)
            if first != path:
                raise BrokenResults(
                    f"{first} and {path} both hold {one.implementation} at {one.dtype}; "
                    "a report shows one run of each: move one file to a folder of its own"
                )


def render(runs: Iterable[Sequence[Record]], absent: Sequence[NotRun] = ()) -> str:
    """The page for these runs, each a list of records that begins with its header."""
    everything: list[Record] = []
    shown: list[RunShown] = []
    for records in runs:
        everything += records
        shown.append(_run(records))
    judgements = [r for r in everything if isinstance(r, Judgement)]
    profiles = [r for r in everything if isinstance(r, Profile)]
    findings = _findings(judgements, profiles)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("normgauge.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    environment.tests["web_address"] = lambda text: text.startswith(("https://", "http://"))
    return environment.get_template("report.html").render(
        runs=shown,
        measured=bool(judgements),
        layers=_layers(judgements, profiles, shown, findings),
        findings=findings,
        hazards=_hazards(profiles),
        remarks=_remarks(judgements),
        not_run=[*absent, *(r for r in everything if isinstance(r, NotRun))],
        legend=LEGEND,
    )


def _run(records: Sequence[Record]) -> RunShown:
    header = next(r for r in records if isinstance(r, Header))
    footer = next((r for r in records if isinstance(r, Footer)), None)
    profiled = {r.implementation for r in records if isinstance(r, Profile)}
    return RunShown(header, footer, tuple(one for one in header.implementations if one not in profiled))


# --- findings -----------------------------------------------------------------------------------


def _findings(judgements: Sequence[Judgement], profiles: Sequence[Profile]) -> list[Finding]:
    """Departures on an axis first, the rest after, each in the catalogue's order."""
    layer_of = {profile.implementation: list(LAYERS).index(profile.layer) for profile in profiles}
    axes = {axis.axis for profile in profiles for axis in profile.axes}
    documentation = {profile.implementation: profile.documentation for profile in profiles}
    by_requirement = _grouped(judgements, lambda judgement: judgement.requirement)

    anchors = Anchors(FIXED_ANCHORS)
    found = [
        _finding(own, axes, documentation, anchors)
        for own in by_requirement.values()
        if any(one.verdict in DIVERGENT for one in own)
    ]

    def place(finding: Finding) -> tuple[bool, int, str]:
        layer = layer_of.get(finding.judgement.implementation, len(LAYERS))
        return not finding.on_axis, layer, finding.judgement.requirement

    return sorted(found, key=place)


def _finding(
    judgements: Sequence[Judgement], axes: set[str], documentation: dict[str, str], anchors: Anchors
) -> Finding:
    anchor = anchors.new(judgements[0].requirement)
    departing = [one for one in judgements if one.verdict in DIVERGENT]
    names = list(dict.fromkeys(one.implementation for one in departing))
    by_implementation = _grouped(judgements, lambda judgement: judgement.implementation)
    remedies: dict[str, dict[str, None]] = {}
    for one in departing:
        if one.remedy:
            remedies.setdefault(one.remedy, {})[one.implementation] = None
    for_all = len(remedies) == 1 and all(len(whom) == len(names) for whom in remedies.values())
    held = {one.framework for one in judgements if one.verdict in {*DIVERGENT, "conforms"}}
    frameworks = {one.framework for one in departing}
    return Finding(
        anchor,
        judgements[0],
        _evidence(departing, by_implementation, documentation, anchors),
        any(witness.against.partition("=")[0] in axes for one in judgements for witness in one.witnesses),
        tuple(sorted(held)),
        frameworks.pop() if len(frameworks) == 1 and len(held) > 1 else "",
        tuple((remedy, () if for_all else tuple(whom)) for remedy, whom in remedies.items()),
        tuple(name for name, own in by_implementation.items() if all(one.verdict == "conforms" for one in own)),
    )


def _evidence(
    departing: Sequence[Judgement],
    judged: dict[str, list[Judgement]],
    documentation: dict[str, str],
    anchors: Anchors,
) -> tuple[Evidence, ...]:
    same: dict[Hashable, list[tuple[Judgement, str]]] = {}
    for (name, *_), own in _grouped(departing, lambda one: (one.implementation, one.verdict, one.measured)).items():
        shown = next((one for one in own if one.example), own[0])
        everywhere = {one.dtype for one in own} == {one.dtype for one in judged[name]}
        dtypes = "" if everywhere else ", ".join(one.dtype for one in own)
        same.setdefault((dtypes, *_told(shown)), []).append((shown, dtypes))
    found = []
    for alike in same.values():
        shown, dtypes = alike[0]
        members = (
            Departing(
                anchors.new(f"{one.requirement}-{one.implementation}"), documentation.get(one.implementation, ""), one
            )
            for one, _ in alike
        )
        numbers = _numbers(shown.example) if shown.example else ()
        found.append(Evidence(shown, dtypes, _nameless(shown), numbers, tuple(members)))
    return tuple(found)


def _told(judgement: Judgement) -> tuple[Hashable, ...]:
    """All that a reader sees of a divergence without unfolding anything."""
    example = judgement.example
    shown = (example.settings, example.shapes, example.observed, example.canonical, example.followed) if example else ()
    return judgement.verdict, judgement.measured, judgement.dtype, _nameless(judgement), repr((judgement.notes, shown))


def _nameless(judgement: Judgement) -> str:
    """The sentence without the implementation, which stands above it."""
    text = judgement.sentence.removeprefix(judgement.implementation)
    return text.removeprefix(":").lstrip()


def _numbers(example: Example) -> tuple[Numbers, ...]:
    """The lines of an example by quantity, so that what is compared stands one under the other."""
    columns = {"came out": example.observed, "canonical": example.canonical, "as diagnosed": example.followed}
    told: dict[str, dict[str, str]] = {}
    for name, lines in columns.items():
        for line in lines:
            found = _STEP.fullmatch(line)
            label, text = (found[1], found[2]) if found else ("the call", line)
            own = told.setdefault(label, {})
            own[name] = f"{own[name]}\n{text}" if name in own else text
    shown = []
    for label, texts in told.items():
        same = _grouped(texts.items(), lambda pair: pair[1])
        names = (" = ".join(name for name, _ in own) for own in same.values())
        shown.append(Numbers(label, tuple(zip(names, _aligned(list(same)), strict=True))))
    return tuple(shown)


def _aligned(texts: Sequence[str]) -> list[str]:
    """Rows of numbers, one under the other and none of them endless; other text stays as it is."""
    rows = [text.split() for text in texts]
    numeric = [all(_NUMBER.fullmatch(value) for value in row) for row in rows]
    columns = itertools.zip_longest(*(row for row, number in zip(rows, numeric, strict=True) if number), fillvalue="")
    widths = [max(map(len, column)) for column in columns]
    aligned = []
    for text, row, number in zip(texts, rows, numeric, strict=True):
        if not number:
            aligned.append(text if len(text) <= TEXT_SHOWN else f"{text[:TEXT_SHOWN]}…")
            continue
        values = [value.rjust(width) for value, width in zip(row, widths, strict=False)]
        left = f"  … {len(values) - VALUES_SHOWN} more" if len(values) > VALUES_SHOWN else ""
        aligned.append("  ".join(values[:VALUES_SHOWN]) + left)
    return aligned


# --- tables -------------------------------------------------------------------------------------


def _layers(
    judgements: Sequence[Judgement], profiles: Sequence[Profile], runs: Sequence[RunShown], findings: Sequence[Finding]
) -> list[LayerShown]:
    versions = {run.header.framework: run.versions for run in runs}
    targets: dict[tuple[str, str], str] = {}
    for finding in findings:
        for member in (member for one in finding.evidence for member in one.members):
            targets.setdefault((finding.judgement.requirement, member.judgement.implementation), member.anchor)
    layers = []
    for kind, name in LAYERS.items():
        own = _grouped((p for p in profiles if p.layer == kind), lambda profile: profile.implementation)
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
                    for same in _grouped(sorted(wanted, key=lambda j: j.requirement), lambda j: j.requirement).values()
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
    return {said: [dtype for _, dtype in own] for said, own in _grouped(told, lambda pair: pair[0]).items()}


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
            said = f"{profile.dtype}: {_interval(default.low, default.best, default.high)}"
            defaults[default.setting] = (signature, (*measured, said))
    statistics = tuple(
        (
            f"{profile.dtype}: {(profile.accuracy or 'outside every class').replace('_', '-')}",
            "" if profile.computes_in == profile.dtype else f"computed in {profile.computes_in}",
        )
        for profile in profiles
    )
    return FactsRow(first, names, defaults, statistics)


def _interval(low: float | None, best: float | None, high: float | None) -> str:
    if best is None:
        return "not measured"
    if low is None or high is None:
        return f"{best:.6g}"
    return f"{best:.6g} ± {max(high - best, best - low):.1g}"


def _hazards(profiles: Sequence[Profile]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Each hazard once, with the implementations that have it and at which dtypes."""
    told = [(hazard, profile) for profile in profiles for hazard in profile.hazards]
    return [
        (
            hazard,
            [
                (implementation, ", ".join(profile.dtype for _, profile in at))
                for implementation, at in _grouped(own, lambda pair: pair[1].implementation).items()
            ],
        )
        for hazard, own in _grouped(told, lambda pair: pair[0]).items()
    ]


def _remarks(judgements: Sequence[Judgement]) -> list[Remark]:
    """What is said beside the divergences, each text once; dtypes that say the same are one."""
    told = [
        (judgement, text.removeprefix(f"{judgement.implementation}: "))
        for judgement in judgements
        if judgement.verdict not in DIVERGENT
        for text in dict.fromkeys(judgement.notes or ([] if judgement.verdict == "conforms" else [judgement.sentence]))
    ]
    same = _grouped(told, lambda pair: (pair[0].requirement, pair[0].verdict, pair[1].replace(pair[0].dtype, "")))
    remarks = [
        Remark(own[0][0], own[0][1], tuple(dict.fromkeys(judgement.implementation for judgement, _ in own)))
        for own in same.values()
    ]
    order = list(LEGEND)
    return sorted(remarks, key=lambda r: (-order.index(r.judgement.verdict), r.judgement.requirement))


# --- small things -------------------------------------------------------------------------------


def _grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """The items by key, keys and items in the order in which they come."""
    found: dict[K, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def _printable(value: object) -> object:
    """Text without the control characters that colour a terminal; anything else as it is."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _TERMINAL.sub("", value)
    return value


def _breakable(text: str) -> Markup:
    """A long dotted name that a narrow column may break."""
    return Markup("<wbr>").join(_BREAK_AFTER.split(text))
