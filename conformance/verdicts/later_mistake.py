"""A mistake that the cases of the diagnosis do not show, and that explains every departure of the others.

A count that overflows, a cap on the number of groups or a weight that depends on the number of samples shows in few
inputs. Where the diagnosis found a semantics and other cases depart from it, every single mistake is tried on these
cases. The smallest case comes first and excludes most mistakes with one reference. A mistake becomes the diagnosis if
it explains all departing cases and all others: one mistake is one difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from normgauge.conformance.diagnosis.candidates import Candidates, Diagnosis, Seen, compare, fitting
from normgauge.conformance.diagnosis.diagnose import beside
from normgauge.conformance.layers.registry import kind_of, requirements
from normgauge.conformance.verdicts.evidence import Evidence, Judged
from normgauge.conformance.verdicts.held_bits import FORWARD, LARGE
from normgauge.conformance.verdicts.in_common import ordinary_cases
from normgauge.oracle import Semantics


def with_later_mistake(evidence: Evidence, judged: Mapping[str, Judged]) -> Evidence:
    """The evidence with a diagnosis that explains every departure; the same where nothing departs, or nothing does.

    Args:
        evidence: by which the requirements were judged.
        judged: the verdicts on them by their ids; without a difference nothing is looked for.
    """
    if not any(one.verdict == "diverges" for one in judged.values()):
        return evidence
    diagnosis = evidence.diagnosis
    if not diagnosis.known or diagnosis.arithmetic.intermediates is not None:
        return evidence
    cases = sorted(_cases(evidence), key=_size)
    none: Mapping[str, str] = {}
    for beside_these in (none, diagnosis.mistakes) if diagnosis.mistakes else (none,):
        shows, found = _explaining(_mistakes(evidence, beside_these), cases, evidence)
        explained = [own for one in found if (own := _diagnosis(one, shows, evidence)) is not None]
        if explained:
            first, *rest = explained
            with_others = replace(first, also=tuple(one.followed()[0] for one in rest))
            return replace(evidence, diagnosis=with_others, followed=tuple(with_others.followed()))
    return evidence


def _explaining(
    candidates: Iterator[dict[str, str]], cases: Sequence[Seen], evidence: Evidence
) -> tuple[list[Seen], list[dict[str, str]]]:
    """The first case that departs, and which mistakes explain every one; the large cases are left to those that do.

    A large case costs as much as all small ones. What a small case of the diagnosis excludes is not tried on it.
    """
    left, holding, departing = list(candidates), list[Seen](), list[Seen]()
    for one in cases:
        if evidence.best(one.probe.case, one.observation, FORWARD)[0].ratio <= 1:
            holding.append(one)
            continue
        if not departing and _size(one) > LARGE:
            telling = [seen for seen in holding if seen.probe.diagnoses]
            left = [mistakes for mistakes in left if all(_explains(mistakes, seen, evidence) for seen in telling)]
        departing.append(one)
        left = [mistakes for mistakes in left if _explains(mistakes, one, evidence)]
        if not left:
            break
    explained = [one for one in left if departing and all(_explains(one, seen, evidence) for seen in holding)]
    return departing[:1], explained


def _cases(evidence: Evidence) -> Iterator[Seen]:
    """Every ordinary case that must not be refused."""
    return (one for one in ordinary_cases(evidence) if requirements()[one.probe.requirement].rule != "refusal")


def _size(one: Seen) -> int:
    return sum(step.x.size for step in one.probe.case.steps)


def _mistakes(evidence: Evidence, beside_these: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Every mistake by its axis, with ``beside_these`` on other axes."""
    for axis in kind_of(evidence.diagnosis.layer).axes:
        if axis.name not in beside_these:
            for mistake in (*axis.mistakes, *axis.rare):
                yield {**beside_these, axis.name: mistake.name}


def _explains(mistakes: Mapping[str, str], one: Seen, evidence: Evidence) -> bool:
    """Whether a case lies within the bounds of the semantics with these mistakes in place of any others."""
    kind = kind_of(evidence.diagnosis.layer)
    right = {axis: kind.axis(axis).canonical for axis in evidence.diagnosis.mistakes}
    choices = {**evidence.followed[0].choices, **right, **mistakes}
    semantics = Semantics(layer=kind.name, choices=choices)
    return any(
        compare(one.observation, evidence.expected(one.probe.case, semantics, arithmetic), FORWARD).ratio <= 1
        for arithmetic in evidence.precisions
    )


def _diagnosis(mistakes: Mapping[str, str], shows: Sequence[Seen], evidence: Evidence) -> Diagnosis | None:
    """The diagnosis with these mistakes, of the diagnosing cases and one that shows them; None where it is excluded."""
    kind = kind_of(evidence.diagnosis.layer)
    asked = [*(one for one in evidence.seen if one.probe.diagnoses), *shows]
    among = Candidates(mistakes=mistakes, excluded=beside(kind, mistakes, len(kind.axes)))
    return fitting(kind.name, asked, evidence.arithmetic, evidence.references, among)
