"""A section for each layer: what is claimed, measured and canonical, and everything else that was measured of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from normgauge.reports.grouping import Anchors, dtypes_of, grouped
from normgauge.reports.implementation_names import EAGER, Names
from normgauge.reports.page.section import PageData, Section
from normgauge.results.facts import class_name
from normgauge.results.grounds import word_for
from normgauge.results.records import DIVERGENT, Judgement, Profile, Witness


@dataclass(frozen=True, kw_only=True)
class AxisShown:
    """One axis: the question, what the documentation says, the measured and the canonical value, what was excluded."""

    question: str
    claimed: str
    measured: str
    canonical: str
    same: bool
    witness: Witness | None


@dataclass(frozen=True, kw_only=True)
class TypeShown:
    """What was measured in one dtype: class, type of the sums, typical errors by n, types of results, hazards."""

    dtype: str
    accuracy: str
    inside: str
    typical: str
    types: str
    hazards: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One requirement with a word for its verdict, the dtypes where these are not all, and what is said."""

    requirement: str
    title: str
    word: str
    dtypes: str
    said: str
    target: str = ""


@dataclass(frozen=True, kw_only=True)
class SheetShown:
    """One layer of one release, in all its modes."""

    anchor: str
    implementation: str
    profile: Profile
    axes: tuple[AxisShown, ...]
    defaults: tuple[tuple[str, str, str], ...]
    types: tuple[TypeShown, ...]
    differences: tuple[Line, ...]
    undecided: tuple[Line, ...]
    modes: tuple[str, ...]
    beside: tuple[tuple[Line, tuple[str, ...]], ...]
    releases: tuple[tuple[str, str], ...]


def anchors_of(profiles: Sequence[Profile], names: Names, anchors: Anchors) -> dict[str, str]:
    """The anchor of its layer's section for each implementation."""
    found: dict[str, str] = {}
    for own in grouped(profiles, lambda one: names.of(one.implementation).without_mode).values():
        anchor = anchors.new(f"layer-{_plain(own, names)}")
        found |= {one.implementation: anchor for one in own}
    return found


def _plain(own: Iterable[Profile], names: Names) -> str:
    """The implementation without a mode, or the first one."""
    all_names = list(dict.fromkeys(one.implementation for one in own))
    return next((one for one in all_names if names.of(one).mode == EAGER), all_names[0])


def sheets_of(page: PageData) -> Iterator[SheetShown]:
    """A section for each layer of each release."""
    judged = grouped(page.all(Judgement), lambda one: one.implementation)
    profiles = page.all(Profile)
    by_layer = grouped(profiles, lambda one: page.names.of(one.implementation).without_mode)
    for (framework, layer, release), own in by_layer.items():
        name = _plain(own, page.names)
        plain = [one for one in own if one.implementation == name]
        modes = [one for one in dict.fromkeys(profile.implementation for profile in own) if one != name]
        lines = _lines(judged.get(name, []), page.evidence)
        elsewhere = {
            page.names.of(one.implementation).release: page.sheets[one.implementation]
            for one in profiles
            if page.names.of(one.implementation).without_mode[:2] == (framework, layer)
        }
        yield SheetShown(
            anchor=page.sheets[name],
            implementation=name,
            profile=plain[0],
            axes=tuple(_axes(plain, judged.get(name, []))),
            defaults=tuple(_defaults(plain)),
            types=tuple(map(_type, plain)),
            differences=tuple(one for one in lines if one.word not in {"conforms", "unsupported", "cannot tell"}),
            undecided=tuple(one for one in lines if one.word in {"unsupported", "cannot tell"}),
            modes=tuple(page.names.of(one).mode for one in modes),
            beside=tuple(_beside(lines, [_lines(judged.get(one, []), page.evidence) for one in modes])),
            releases=tuple((one, anchor) for one, anchor in elsewhere.items() if one != release),
        )


def _axes(profiles: Sequence[Profile], judgements: Sequence[Judgement]) -> Iterator[AxisShown]:
    first = profiles[0]
    claims = {one.subject: one for one in first.claims if one.claimed}
    witnesses = [one for judged in judgements if judged.dtype == first.dtype for one in judged.witnesses]
    for axis in first.axes:
        claimed = claims.get(axis.axis)
        measured = " or ".join(map(axis.worded, axis.measured)) or "nothing measured"
        yield AxisShown(
            question=axis.question,
            claimed=first.worded(axis.axis, claimed.claimed) if claimed and claimed.claimed else "",
            measured=measured if first.known else f"no known alternative; the nearest is {measured}",
            canonical=axis.worded(axis.canonical),
            same=first.known and axis.measured == [axis.canonical],
            witness=next((one for one in witnesses if one.against_axis == axis.axis), None),
        )


def _defaults(profiles: Sequence[Profile]) -> Iterator[tuple[str, str, str]]:
    """Setting, text of the signature, and the measured numbers with their dtypes."""
    by_setting = grouped(
        ((default, profile.dtype) for profile in profiles for default in profile.defaults), lambda one: one[0].setting
    )
    for setting, own in by_setting.items():
        by_value = grouped(own, lambda one: one[0].rounded() or "not measured")
        everywhere = {dtype for _, dtype in own}
        told = []
        for value, alike in by_value.items():
            dtypes = dtypes_of([dtype for _, dtype in alike], everywhere)
            told.append(f"{value} ({dtypes})" if dtypes else value)
        yield setting, own[0][0].signature or "none", "; ".join(told)


def _type(profile: Profile) -> TypeShown:
    lengths = sorted(profile.typical, key=int)
    return TypeShown(
        dtype=profile.dtype,
        accuracy=class_name(profile.accuracy) if profile.known else "no known semantics",
        inside=profile.computes_in,
        typical=" · ".join(f"{profile.typical[n]:.2g} at n = {int(n):,}" for n in lengths[-1:] + lengths[:1]),
        types=", ".join(f"{name} {native}" for name, native in profile.types.items() if native != profile.dtype),
        hazards=tuple(profile.hazards),
    )


def _lines(judgements: Sequence[Judgement], evidence: Mapping[str, Mapping[str, str]]) -> list[Line]:
    """A line for each requirement and verdict."""
    asked = {
        requirement: {one.dtype for one in own}
        for requirement, own in grouped(judgements, lambda one: one.requirement).items()
    }
    found = []
    for (requirement, word), own in grouped(
        judgements, lambda one: (one.requirement, word_for(one.verdict, one.ground))
    ).items():
        first = own[0]
        said = first.worded if first.verdict in DIVERGENT else (first.notes or [first.nameless or first.sentence])[0]
        found.append(
            Line(
                requirement=requirement,
                title=first.title,
                word=word,
                dtypes=dtypes_of([one.dtype for one in own], asked[requirement]),
                said="" if word == "conforms" else said,
                target=evidence.get(requirement, {}).get(first.implementation, "")
                if first.verdict in DIVERGENT
                else "",
            )
        )
    return found


def _beside(plain: Sequence[Line], modes: Sequence[Sequence[Line]]) -> Iterator[tuple[Line, tuple[str, ...]]]:
    """The requirements on which a mode has another verdict than the plain call, with the words of all."""
    tables = [_words(one) for one in (plain, *modes)]
    first = {one.requirement: one for own in (plain, *modes) for one in reversed(own)}
    for requirement in sorted(first):
        words = tuple(table.get(requirement, "not measured") for table in tables)
        if len({one for one in words if one != "not measured"}) > 1:
            yield first[requirement], words


def _words(lines: Sequence[Line]) -> dict[str, str]:
    by_requirement = grouped(lines, lambda one: one.requirement)
    return {
        requirement: ", ".join(f"{one.word} ({one.dtypes})" if one.dtypes else one.word for one in own)
        for requirement, own in by_requirement.items()
    }


def _content(page: PageData) -> Mapping[str, Any] | None:
    shown = list(sheets_of(page))
    return {"sheets": shown} if shown else None


SECTION: Final = Section(id="layers", title="Each layer", template="sheets.html", content=_content)
