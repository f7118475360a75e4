"""The map: each framework's layers against the few things that break ports, with modes folded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from normgauge.reports.grouping import grouped, layer_titles
from normgauge.reports.page.section import LEGEND, PageData, Section
from normgauge.results.facts import number
from normgauge.results.grounds import word_for
from normgauge.results.records import DIVERGENT, Judgement, Profile

#: What breaks ports, and the requirements that say so; an id is never used again.
TOPICS: Final[Mapping[str, tuple[str, ...]]] = {
    "grouping": ("GN-02", "GN-06", "GN-10", "GN-15", "GN-42", "BN-63"),
    "eps": ("GN-01", "GN-05", "BN-01", "BN-10"),
    "defaults": (),
    "momentum": ("BN-04", "BN-05", "BN-11", "BN-30"),
    "running variance": ("BN-03",),
    "single value": ("GN-11", "BN-06"),
    "empty batch": ("GN-13", "GN-14", "GN-31", "BN-18", "BN-19", "BN-40", "BN-48"),
    "half precision": (),
    "large mean": ("GN-12", "BN-17"),
    "gradients": ("GN-25", "GN-26", "GN-27", "GN-40", "GN-47", "GN-48",
                  "BN-33", "BN-34", "BN-35", "BN-36", "BN-51", "BN-58", "BN-59"),
    "compiled": (),
}  # fmt: skip
_HALF: Final = frozenset({"float16", "bfloat16"})
#: A mode that compiles or traces a call has one of these in its name.
_COMPILES: Final = ("compile", "jit", "script", "graph", "function", "trace")
#: From best to worst. Beside what was decided, what is not supported says nothing.
_WORST_LAST: Final = (
    "unsupported", "conforms", "cannot tell", "hazard", "differs", "raises", "diverges", "wrong", "crashes",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MapCell:
    """The worst of a topic: a word, what is said beside it, the anchor of the evidence, and modes that are worse."""

    word: str
    sign: str
    note: str
    target: str
    modes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MapRow:
    """A layer that stands for its framework, with the anchor of its own section."""

    framework: str
    layer: str
    implementation: str
    sheet: str
    cells: tuple[MapCell, ...]


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """One layer in all its modes; ``lossy`` are those with a variance of one pass, or outside every class."""

    implementation: str
    profile: Profile
    plain: Sequence[Judgement]
    modes: Mapping[str, Sequence[Judgement]]
    lossy: frozenset[str]
    sheet: str
    evidence: Mapping[str, Mapping[str, str]]


def rows_of(page: PageData) -> Iterator[MapRow]:
    """A row for each framework and kind of layer."""
    titles = layer_titles(page.all(Profile))
    judged = grouped(page.all(Judgement), lambda one: one.implementation)
    profiles = grouped(page.all(Profile), lambda one: one.implementation)
    usual = page.standing.get(page.usual, {})
    for kind, title in titles.items():
        for framework, standing in page.standing.items():
            name = standing.get(kind)
            if name is None:
                continue
            modes_of = {
                other: page.names.of(other).mode
                for other in profiles
                if other != name and page.names.of(other).without_mode == page.names.of(name).without_mode
            }
            lossy = {other for other in modes_of if any(map(_loses_digits, profiles[other]))}
            layer = _Layer(
                implementation=name,
                profile=profiles[name][0],
                plain=judged.get(name, []),
                modes={mode: judged.get(other, []) for other, mode in modes_of.items()},
                lossy=frozenset(modes_of[other] for other in lossy),
                sheet=page.sheets.get(name, ""),
                evidence=page.evidence,
            )
            standard = profiles[usual[kind]][0] if kind in usual else None
            yield MapRow(
                framework=framework,
                layer=title,
                implementation=name,
                sheet=layer.sheet,
                cells=tuple(_cell(topic, layer, standard) for topic in TOPICS),
            )


def _cell(topic: str, layer: _Layer, standard: Profile | None) -> MapCell:
    if topic == "defaults":
        return _defaults(layer, standard)
    if topic == "half precision":
        return _worst(layer, _only_in_half(layer.plain))
    if topic == "compiled":
        compiled = {name: own for name, own in layer.modes.items() if any(one in name for one in _COMPILES)}
        return _worst(layer, [one for own in compiled.values() for one in own], other=layer.plain)
    chapters = {one.requirement.partition("-")[0] for one in layer.plain}
    if chapters and not chapters & {requirement.partition("-")[0] for requirement in TOPICS[topic]}:
        return MapCell(word="does not apply", sign="·", note="", target="")
    own = [one for one in layer.plain if one.requirement in TOPICS[topic] and one.dtype not in _HALF]
    cell = _worst(layer, own)
    if topic == "large mean" and _loses_digits(layer.profile) and cell.word == "conforms":
        for told in layer.profile.hazards[-1:]:
            return _made("hazard", told, layer.sheet)
    worse = tuple(
        mode
        for mode, judgements in layer.modes.items()
        if _rank(one for one in judgements if one.requirement in TOPICS[topic] and one.dtype not in _HALF)
        > max(_rank(own), _WORST_LAST.index("cannot tell"))
        or (topic == "large mean" and cell.word == "conforms" and mode in layer.lossy)
    )
    return MapCell(word=cell.word, sign=cell.sign, note=cell.note, target=cell.target, modes=worse)


def _loses_digits(profile: Profile) -> bool:
    return profile.accuracy == "one_pass" or (profile.accuracy is None and bool(profile.hazards))


def _only_in_half(judgements: Sequence[Judgement]) -> list[Judgement]:
    """The verdicts in half precision, without the differences that the other types have, too."""
    everywhere = {one.requirement for one in judgements if one.verdict in DIVERGENT and one.dtype not in _HALF}
    return [one for one in judgements if one.dtype in _HALF and one.requirement not in everywhere]


def _word(one: Judgement) -> str:
    return word_for(one.verdict, one.ground)


def _rank(judgements: Iterable[Judgement]) -> int:
    return max((_WORST_LAST.index(_word(one)) for one in judgements), default=-1)


def _worst(layer: _Layer, judgements: Sequence[Judgement], other: Sequence[Judgement] = ()) -> MapCell:
    """The cell of the worst judgement; where ``other`` are given, of those that they do not have."""
    has = {one.requirement for one in other if one.verdict in DIVERGENT}
    judgements = [one for one in judgements if one.requirement not in has]
    if not judgements:
        return MapCell(word="not measured", sign="·", note="", target="")
    worst = max(judgements, key=lambda one: _WORST_LAST.index(_word(one)))
    target = layer.evidence.get(worst.requirement, {}).get(worst.implementation, layer.sheet)
    note = f"{worst.requirement} {worst.title}" if worst.verdict in DIVERGENT else ""
    return _made(_word(worst), note, target)


def _made(word: str, note: str, target: str) -> MapCell:
    sign = "⚠" if word == "hazard" else LEGEND[word][0]
    return MapCell(word=word, sign=sign, note=note, target=target)


def _defaults(layer: _Layer, standard: Profile | None) -> MapCell:
    """The measured defaults beside those of the usual framework."""
    own, usual = (_values(one) if one else {} for one in (layer.profile, standard))
    note = ", ".join(f"{setting} {value}" for setting, value in own.items())
    if not own:
        return MapCell(word="not measured", sign="·", note="", target="")
    other = [setting for setting, value in own.items() if setting in usual and number(usual[setting]) != number(value)]
    return _made("differs" if other else "conforms", note, layer.sheet)


def _values(profile: Profile) -> dict[str, str]:
    """The defaults that are numbers, by setting: measured, else of the signature."""
    every = ((one.setting, str(one.rounded() or one.signature)) for one in profile.defaults)
    return {setting: value for setting, value in every if number(value) is not None}


def _content(page: PageData) -> Mapping[str, Any] | None:
    rows = list(rows_of(page))
    return (
        {"rows": list(grouped(rows, lambda one: one.layer).items()), "topics": list(TOPICS), "usual": page.usual}
        if rows
        else None
    )


SECTION: Final = Section(id="map", title="The map: what breaks ports", template="map.html", content=_content)
