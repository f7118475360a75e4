"""Divergences as the page tells them: one finding a requirement, like evidence told once."""

from __future__ import annotations

import itertools
import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from normgauge.reports.grouping import Anchors, dtypes_of, grouped, layer_titles
from normgauge.reports.implementation_names import Names, Told
from normgauge.reports.page.section import Section
from normgauge.results.grounds import GRAVEST_FIRST, SORTS_TOLD, Ground, Sort, sort_of, word_for
from normgauge.results.records import DIVERGENT, Example, Judgement, Profile
from normgauge.results.releases import age

#: Of a long row of numbers, this many are shown; the script prints them all.
VALUES_SHOWN: Final = 16
TEXT_SHOWN: Final = 400

_STEP = re.compile(r"(step \d+ \S+) (.*)", re.DOTALL)
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*(e[-+]?\d+)?|nan|inf)")


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """One quantity of an example: who says what; what is equal to the letter shares a row."""

    label: str
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Departing:
    """One implementation that does not meet a requirement."""

    anchor: str
    documentation: str
    judgement: Judgement


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One way of not meeting a requirement, with every implementation that shows the very same."""

    judgement: Judgement
    dtypes: str
    numbers: tuple[Numbers, ...]
    members: tuple[Departing, ...]

    @property
    def sentence(self) -> str:
        return self.judgement.nameless or self.judgement.sentence

    @property
    def word(self) -> str:
        """What the verdict is called beside this ground."""
        return word_for(self.judgement.verdict, self.judgement.ground)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One requirement with the implementations that do not meet it.

    ``on_axis`` says that the requirement is about an axis: another value of it stands behind a witness.
    ``only`` is the framework that is alone with this among ``measured``, the frameworks that were held
    against the requirement; ``values`` pairs each measured value, ``remedies`` each remedy with the
    implementations it is for; a remedy for all has none beside it. ``not_mended`` does so with each sentence on why
    there is no remedy. ``releases`` say in which releases a layer departs, where others of it do not. ``grounds`` are
    those of its judgements, in the order in which they come.
    """

    anchor: str
    judgement: Judgement
    evidence: tuple[Evidence, ...]
    on_axis: bool
    measured: tuple[str, ...]
    only: str
    values: tuple[tuple[str, list[Told]], ...]
    remedies: tuple[tuple[str, list[Told]], ...]
    not_mended: tuple[tuple[str, list[Told]], ...]
    conforming: list[Told]
    releases: tuple[str, ...]
    grounds: tuple[Ground, ...]

    @property
    def sort(self) -> Sort:
        """What it counts as: the gravest of what its implementations show."""
        sorts = {sort_of(one.judgement.verdict, one.judgement.ground) for one in self.evidence}
        return min(sorts, key=GRAVEST_FIRST.index)

    @property
    def by_convention(self) -> bool:
        """Whether the requirement is a convention for every implementation that was checked."""
        return self.grounds == ("convention",)

    @property
    def required_by(self) -> str:
        """What it rests on, in a few words; empty where it is a convention, or a file does not say."""
        grounds = [one for one in self.grounds if one != "convention"]
        if self.by_convention or not grounds:
            return ""
        if "convention" in self.grounds:
            return f"{grounds[0]}; a convention for frameworks that do not document it"
        return grounds[0]


def findings_of(
    judgements: Sequence[Judgement], profiles: Sequence[Profile], names: Names, anchors: Anchors
) -> list[Finding]:
    """By sort, errors first; in each departures on an axis first, and then in the catalogue's order."""
    layers = list(layer_titles(profiles))
    layer_of = {profile.implementation: layers.index(profile.layer) for profile in profiles}
    documentation = {profile.implementation: profile.documentation for profile in profiles}
    by_requirement = grouped(judgements, lambda judgement: judgement.requirement)

    found = [
        _finding(own, documentation, anchors, names)
        for own in by_requirement.values()
        if any(one.verdict in DIVERGENT for one in own)
    ]

    def place(finding: Finding) -> tuple[int, bool, int, str]:
        layer = layer_of.get(finding.judgement.implementation, len(layers))
        return SORTS_TOLD.index(finding.sort), not finding.on_axis, layer, finding.judgement.requirement

    return sorted(found, key=place)


def _finding(judgements: Sequence[Judgement], documentation: dict[str, str], anchors: Anchors, names: Names) -> Finding:
    anchor = anchors.new(judgements[0].requirement)
    departing = [one for one in judgements if one.verdict in DIVERGENT]
    by_implementation = grouped(judgements, lambda judgement: judgement.implementation)
    held = {one.framework for one in judgements if one.verdict in {*DIVERGENT, "conforms"}}
    frameworks = {one.framework for one in departing}
    evidence = _evidence(departing, by_implementation, documentation, anchors)
    return Finding(
        anchor=anchor,
        judgement=judgements[0],
        evidence=evidence,
        on_axis=any(witness.against_axis for one in judgements for witness in one.witnesses),
        measured=tuple(sorted(held)),
        only=frameworks.pop() if len(frameworks) == 1 and len(held) > 1 else "",
        values=_values(evidence, names),
        remedies=_said_to(((one.remedy, one) for one in departing), names),
        not_mended=_said_to(((one.not_mended, one) for one in departing), names),
        conforming=names.told(
            (name, "") for name, own in by_implementation.items() if all(one.verdict == "conforms" for one in own)
        ),
        releases=tuple(_releases(judgements, names)),
        grounds=tuple(dict.fromkeys(one.ground for one in judgements if one.ground)),
    )


def _releases(judgements: Sequence[Judgement], names: Names) -> Iterator[str]:
    """For each layer that departs in some releases and in others not: from which one on, up to which one, or in which.

    A layer departs in a release if it does in any mode or type.
    """
    decided = (one for one in judgements if one.verdict in {*DIVERGENT, "conforms"})
    by_layer = grouped(
        decided, lambda one: (names.of(one.implementation).framework, names.of(one.implementation).layer)
    )
    for (_, layer), own in by_layer.items():
        every = sorted({names.of(one.implementation).release for one in own}, key=age)
        departs = {names.of(one.implementation).release for one in own if one.verdict in DIVERGENT}
        count = len(departs)
        if not 0 < count < len(every):
            continue
        if departs == set(every[-count:]):
            yield f"{layer} differs from {every[-count]} on, not up to {every[-count - 1]}"
        elif departs == set(every[:count]):
            yield f"{layer} differs up to {every[count - 1]}, not from {every[count]} on"
        else:
            yield f"{layer} differs in {', '.join(one for one in every if one in departs)} alone"


def _said_to(said: Iterable[tuple[str | None, Judgement]], names: Names) -> tuple[tuple[str, list[Told]], ...]:
    """Each sentence with the implementations that it is for, with their types where it is not for all of these.

    One for all of them has none beside it.
    """
    dtypes: dict[str, dict[str, None]] = {}
    found: dict[str, dict[str, dict[str, None]]] = {}
    for sentence, of in said:
        dtypes.setdefault(of.implementation, {})[of.dtype] = None
        if sentence:
            found.setdefault(sentence, {}).setdefault(of.implementation, {})[of.dtype] = None
    if list(found.values()) == [dtypes]:
        return tuple((sentence, []) for sentence in found)
    return tuple(
        (sentence, names.told((name, "" if own == dtypes[name] else ", ".join(own)) for name, own in whom.items()))
        for sentence, whom in found.items()
    )


def _values(evidence: Sequence[Evidence], names: Names) -> tuple[tuple[str, list[Told]], ...]:
    """Each measured value with the implementations that have it, and the dtypes where these are not all."""
    found: dict[str, dict[str, list[str]]] = {}
    for one in evidence:
        own = found.setdefault(one.judgement.worded or one.judgement.verdict, {})
        for member in one.members:
            own.setdefault(member.judgement.implementation, []).append(one.dtypes)
    return tuple((said, names.told((name, ", ".join(at)) for name, at in own.items())) for said, own in found.items())


def _evidence(
    departing: Sequence[Judgement], judged: dict[str, list[Judgement]], documentation: dict[str, str], anchors: Anchors
) -> tuple[Evidence, ...]:
    same: dict[Hashable, list[tuple[Judgement, str]]] = {}
    for (name, *_), own in grouped(departing, lambda one: (one.implementation, one.verdict, one.measured)).items():
        shown = next((one for one in own if one.example), own[0])
        dtypes = dtypes_of([one.dtype for one in own], {one.dtype for one in judged[name]})
        same.setdefault((dtypes, *_told(shown)), []).append((shown, dtypes))
    found = []
    for alike in same.values():
        shown, dtypes = alike[0]
        members = []
        for one, _ in alike:
            anchor = anchors.new(f"{one.requirement}-{one.implementation}")
            own_words = documentation.get(one.implementation, "")
            members.append(Departing(anchor=anchor, documentation=own_words, judgement=one))
        numbers = numbers_of(shown.example) if shown.example else ()
        found.append(Evidence(judgement=shown, dtypes=dtypes, numbers=numbers, members=tuple(members)))
    return tuple(found)


def _told(judgement: Judgement) -> tuple[Hashable, ...]:
    """All that a reader sees of a divergence without unfolding anything."""
    example = judgement.example
    shown = (example.settings, example.shapes, example.rows) if example else ()
    said = judgement.nameless or judgement.sentence
    told = (judgement.verdict, judgement.ground, judgement.measured, judgement.falls_with, judgement.dtype, said)
    return (*told, repr((judgement.notes, shown)))


def numbers_of(example: Example) -> tuple[Numbers, ...]:
    """The lines of an example by quantity, so that what is compared stands one under the other."""
    told: dict[str, dict[str, str]] = {}
    for name, lines in example.rows.items():
        for line in lines:
            found = _STEP.fullmatch(line)
            label, text = (found[1], found[2]) if found else ("the call", line)
            own = told.setdefault(label, {})
            own[name] = f"{own[name]}\n{text}" if name in own else text
    shown = []
    for label, texts in told.items():
        same = grouped(texts.items(), lambda pair: pair[1])
        names = (" = ".join(name for name, _ in own) for own in same.values())
        shown.append(Numbers(label=label, rows=tuple(zip(names, _aligned(list(same)), strict=True))))
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


SECTION: Final = Section(id="divergences", title="Differences", template="divergences.html")
