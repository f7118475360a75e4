"""A section for each layer: what is claimed, measured and canonical, and everything else that was measured of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from normgauge.reports.grouping import Anchors, dtypes_of, grouped
from normgauge.reports.implementation_names import EAGER, Names
from normgauge.reports.page.alone import Alone, Line, answers_alone, lines_of
from normgauge.reports.page.section import PageData, Section
from normgauge.results.facts import class_name
from normgauge.results.records import Judgement, Profile, Witness


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
class ModeShown:
    """A mode of a layer. ``types`` are empty where exactness and hazards are those of the plain call.

    ``other`` are the lines of the mode for the requirements with another verdict than the plain call.
    """

    anchor: str
    name: str
    alone: Alone
    types: tuple[TypeShown, ...]
    other: tuple[Line, ...]


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
    alone: Alone
    modes: tuple[ModeShown, ...]
    beside: tuple[tuple[Line, tuple[str, ...]], ...]
    releases: tuple[tuple[str, str], ...]


def anchors_of(profiles: Sequence[Profile], names: Names, anchors: Anchors) -> dict[str, str]:
    """For each implementation the anchor of its layer's section; a mode has its own part of the section."""
    found: dict[str, str] = {}
    for own in grouped(profiles, lambda one: names.of(one.implementation).without_mode).values():
        for name in dict.fromkeys([_plain(own, names), *(one.implementation for one in own)]):
            found[name] = anchors.new(f"layer-{name}")
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
    answers = answers_alone(page)
    for (framework, layer, release), own in by_layer.items():
        name = _plain(own, page.names)
        plain = [one for one in own if one.implementation == name]
        modes = [one for one in dict.fromkeys(profile.implementation for profile in own) if one != name]
        lines = lines_of(judged.get(name, []), page.evidence)
        lines_of_modes = [lines_of(judged.get(one, []), page.evidence) for one in modes]
        beside = tuple(_beside(lines, lines_of_modes))
        elsewhere = {
            page.names.of(other.implementation).release: page.sheets[_plain(others, page.names)]
            for others in by_layer.values()
            if page.names.of((other := others[0]).implementation).without_mode[:2] == (framework, layer)
        }
        types = tuple(map(_type, plain))
        differing = [
            {line.requirement for line, words in beside if words[n] not in {words[0], "not measured"}}
            for n in range(1, 1 + len(modes))
        ]
        yield SheetShown(
            anchor=page.sheets[name],
            implementation=name,
            profile=plain[0],
            axes=tuple(_axes(plain, judged.get(name, []))),
            defaults=tuple(_defaults(plain)),
            types=types,
            differences=tuple(one for one in lines if one.word not in {"conforms", "unsupported", "cannot tell"}),
            undecided=tuple(one for one in lines if one.word in {"unsupported", "cannot tell"}),
            alone=answers[name],
            modes=tuple(
                ModeShown(
                    anchor=page.sheets[mode],
                    name=page.names.of(mode).mode,
                    alone=answers[mode],
                    types=_other_types([one for one in own if one.implementation == mode], types),
                    other=tuple(line for line in told if line.requirement in others),
                )
                for mode, told, others in zip(modes, lines_of_modes, differing, strict=True)
            ),
            beside=beside,
            releases=tuple((one, anchor) for one, anchor in elsewhere.items() if one != release),
        )


def _other_types(mode: Sequence[Profile], plain: Sequence[TypeShown]) -> tuple[TypeShown, ...]:
    """What was measured of a mode, if it has another class, type or hazard than the ``plain`` call."""
    shown = tuple(map(_type, mode))
    alike = {replace(one, typical="") for one in plain}
    return shown if {replace(one, typical="") for one in shown} - alike else ()


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
