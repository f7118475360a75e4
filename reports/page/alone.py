"""One implementation by itself: is it safe, its errors, its hazards, and its differences of convention."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from normgauge.reports.grouping import dtypes_of, grouped
from normgauge.reports.page.section import PageData
from normgauge.results.grounds import Sort, in_words, sort_of, word_for
from normgauge.results.records import DIVERGENT, Judgement, Profile


@dataclass(frozen=True, kw_only=True)
class Line:
    """One requirement with a word for its verdict, the dtypes where these are not all, and what is said.

    ``sort`` is what a difference counts as, None where there is none. ``on_axis`` says that a formula was measured, as
    on ordinary inputs. ``target`` is the anchor of the evidence.
    """

    requirement: str
    title: str
    word: str
    dtypes: str
    said: str
    sort: Sort | None = None
    on_axis: bool = False
    target: str = ""
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class Alone:
    """The answer on one implementation. ``hazards`` have the dtypes where these are not all."""

    sentence: str
    errors: tuple[Line, ...]
    hazards: tuple[tuple[str, str], ...]
    others: tuple[Line, ...]


def answers_alone(page: PageData) -> dict[str, Alone]:
    """The answer on each implementation with a profile."""
    judged = grouped(page.all(Judgement), lambda one: one.implementation)
    profiles = grouped(page.all(Profile), lambda one: one.implementation)
    return {name: _alone(own, lines_of(judged.get(name, []), page.evidence)) for name, own in profiles.items()}


def _alone(profiles: Sequence[Profile], lines: Sequence[Line]) -> Alone:
    errors = tuple(one for one in lines if one.sort in {"error", "departure"})
    others = tuple(one for one in lines if one.sort in {"difference", "documentation"})
    told = grouped(((text, one.dtype) for one in profiles for text in one.hazards), lambda pair: pair[0])
    everywhere = {one.dtype for one in profiles}
    hazards = tuple((text, dtypes_of([dtype for _, dtype in own], everywhere)) for text, own in told.items())
    known = all(one.known for one in profiles)
    return Alone(sentence=_sentence(lines, len(hazards), known=known), errors=errors, hazards=hazards, others=others)


def _sentence(lines: Sequence[Line], hazards: int, *, known: bool) -> str:
    """Whether it is safe, with the number of requirements by sort."""
    sorts = (sort for sort, _ in {(one.sort, one.requirement) for one in lines if one.sort})
    counts: dict[str, int] = {**Counter(sorts), "hazard": hazards}
    told = in_words(counts)
    formulas = [one.title for one in lines if one.on_axis and one.sort in {"error", "departure"}]
    if all(one.word in {"unsupported", "cannot tell"} for one in lines):
        return "Nothing was measured."
    if not known:
        return f"Not safe: the output follows no known formula; {told}."
    if formulas:
        return f"Not safe: the output is another on ordinary inputs, by {', '.join(dict.fromkeys(formulas))}; {told}."
    if counts.get("error") or counts.get("departure"):
        return f"The output is right on ordinary inputs; not safe for every input and type: {told}."
    if hazards:
        return f"No error was measured, but some inputs are not safe: {told}."
    return f"Safe as far as it was measured: no error, no hazard{f'; {told}' if told else ''}."


def lines_of(judgements: Sequence[Judgement], evidence: Mapping[str, Mapping[str, str]]) -> list[Line]:
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
        departs = first.verdict in DIVERGENT
        said = first.worded if departs else (first.notes or [first.nameless or first.sentence])[0]
        found.append(
            Line(
                requirement=requirement,
                title=first.title,
                word=word,
                dtypes=dtypes_of([one.dtype for one in own], asked[requirement]),
                said="" if word == "conforms" else said,
                on_axis=bool(first.meaning) or any(one.against_axis for one in first.witnesses),
                sort=sort_of(first.verdict, first.ground) if departs else None,
                target=evidence.get(requirement, {}).get(first.implementation, "") if departs else "",
                remedy=first.remedy or "" if departs else "",
            )
        )
    return found
