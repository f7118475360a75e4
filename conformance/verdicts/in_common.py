"""What the calls of one implementation that depart have in common: a decision rule, over all of its cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from normgauge.adapters.case import StepResult
from normgauge.conformance.diagnosis.call_features import Call
from normgauge.conformance.diagnosis.candidates import Seen
from normgauge.conformance.diagnosis.common_features import LIKENESS, Rule, common_rule
from normgauge.conformance.diagnosis.predictions import Prediction
from normgauge.conformance.layers.registry import kind_of, requirements
from normgauge.conformance.requirements.probe import GRADIENTS, QUANTITIES
from normgauge.conformance.verdicts.evidence import Evidence, Judged, foreseen
from normgauge.oracle import Arithmetic, Semantics

#: The rules of requirements by which a refusal is an answer.
MAY_RAISE: Final = frozenset({"refusal", "answer", "parameter_types", "beyond_half", "sizes"})
#: What a call in training shows does not depend on earlier calls.
_OF_THE_CALL: Final = ("output", *GRADIENTS)
#: The name under which the rule of the calls that raise is kept.
_RAISED: Final = "raised"


@dataclass(kw_only=True)
class _Answers:
    """Calls; whether each departs, how far relative to what it shows, and how far it might unseen."""

    calls: list[Call] = field(default_factory=list)
    departs: list[bool] = field(default_factory=list)
    distances: list[float] = field(default_factory=list)
    bounds: list[float] = field(default_factory=list)

    def telling(self) -> tuple[list[Call], list[bool]]:
        """Without the calls that would not show a departure as large as half of those are that were seen."""
        seen = [size for size, departs in zip(self.distances, self.departs, strict=True) if departs]
        usual = float(np.median(seen)) if seen else 0.0
        kept = [n for n, departs in enumerate(self.departs) if departs or self.bounds[n] < usual]
        return [self.calls[n] for n in kept], [self.departs[n] for n in kept]


def what_they_share(evidence: Evidence, quantity: str = "") -> str:
    """What the calls have in common whose ``quantity`` departs from what is followed, with the counts.

    By default of the first quantity that departs. Where no semantics is followed, it is what departs from the canonical
    one, or from the nearest if fewer calls do. Empty where nothing departs.
    """
    for name in (quantity,) if quantity else QUANTITIES:
        answers, what = _answers(evidence, name)
        if any(answers.departs):
            rule = rule_of(evidence, name)
            if rule is not None:
                return f"{name} departs{what} in {rule}"
            departing, asked = answers.departs.count(True), len(answers.departs)
            return f"{name} departs{what} in {departing} of {asked} calls, which have nothing in common"
    return ""


def notes_on(evidence: Evidence, quantity: str) -> tuple[str, tuple[str, ...]]:
    """The rule of a departing quantity as the end of a sentence, where it separates the calls wholly, and as notes.

    Both are empty where no rule describes the calls.
    """
    rule = rule_of(evidence, quantity)
    if rule is None:
        return "", ()
    told = f"{quantity} departs in {rule}"
    alike = (f"the same calls are those {' and those '.join(rule.alike)}",) if rule.alike else ()
    return (f"; {told}", alike) if rule.separates else ("", (told, *alike))


def with_rule_of_raising(judged: Judged, evidence: Evidence) -> Judged:
    """A verdict ``raises`` with the rule of all calls that raise, where one separates them wholly."""
    rule = rule_of_raising(evidence)
    if rule is None or not rule.separates:
        return judged
    sentence = replace(judged.sentence, text=f"{judged.sentence.text}; raises in {rule}")
    return replace(judged, sentence=sentence)


def rule_of(evidence: Evidence, quantity: str) -> Rule | None:
    """The rule of the calls whose ``quantity`` departs; None where no rule describes them."""
    if quantity not in evidence.rules:  # it is looked for once: many requirements ask for it
        evidence.rules[quantity] = common_rule(*_answers(evidence, quantity)[0].telling())
    return evidence.rules[quantity]


def departing_calls(evidence: Evidence, quantity: str) -> tuple[list[Call], list[bool]]:
    """The calls that show a quantity, and whether it departs."""
    answers, _ = _answers(evidence, quantity)
    return answers.calls, answers.departs


def departs_in_most(evidence: Evidence, quantity: str) -> bool:
    """Whether the rule *all calls* describes those whose ``quantity`` departs, of all that would show it."""
    _, departs = _answers(evidence, quantity)[0].telling()
    return departs.count(True) > LIKENESS * len(departs)


def rule_of_raising(evidence: Evidence) -> Rule | None:
    """The rule of the calls that raise and must not; None where no rule describes them."""
    if _RAISED not in evidence.rules:
        evidence.rules[_RAISED] = common_rule(*raising_calls(evidence))
    return evidence.rules[_RAISED]


def ordinary_cases(evidence: Evidence) -> Iterator[Seen]:
    """Every case once, without those that rest on a case which follows nothing, or that have no reference."""
    misfits = {one.probe.requirement for one in evidence.diagnosis.misfits}
    misfits = {name for name in misfits if requirements()[name].rule == "axis"}
    met = set()
    for one in evidence.seen:
        probe = one.probe
        left_out = probe.measures is not None or {probe.requirement, probe.needs} & misfits
        if not left_out and probe.case.digest not in met:
            met.add(probe.case.digest)
            yield one


def _answers(evidence: Evidence, quantity: str) -> tuple[_Answers, str]:
    """Which calls depart, and from what, in words."""
    if quantity not in evidence.answers:
        evidence.answers[quantity] = _answered(evidence, quantity)
    found: tuple[_Answers, str] = evidence.answers[quantity]
    return found


def _answered(evidence: Evidence, quantity: str) -> tuple[_Answers, str]:
    if evidence.diagnosis.known:
        return _held_to(evidence.followed, quantity, evidence), ""
    canonical = _held_to([kind_of(evidence.diagnosis.layer).canonical], quantity, evidence)
    nearest = _held_to(evidence.followed, quantity, evidence)
    if canonical.departs.count(True) <= nearest.departs.count(True):
        return canonical, " from canonical"
    return nearest, " from the nearest"


def _held_to(followed: Sequence[Semantics], quantity: str, evidence: Evidence) -> _Answers:
    found = _Answers()
    for one in ordinary_cases(evidence):
        case, before = one.probe.case, False
        for number, (distance, bound, ratio) in _best(one, followed, quantity, evidence):
            on_its_own = quantity in _OF_THE_CALL and (
                case.steps[number].mode == "train" or not kind_of(case.layer).tracks
            )
            if on_its_own or not before:  # what follows from an earlier departure is none of its own
                found.calls.append(Call(case=case, number=number))
                found.departs.append(ratio > 1)
                found.distances.append(distance)
                found.bounds.append(bound)
            before = before or ratio > 1
    return found


_Sizes = list[tuple[int, tuple[float, float, float]]]


def _best(one: Seen, followed: Sequence[Semantics], quantity: str, evidence: Evidence) -> _Sizes:
    """The sizes of each step under what explains most steps, in the tightest arithmetic that does."""
    best: _Sizes | None = None
    for arithmetic in evidence.precisions:
        for semantics in followed:
            found = _sizes(one, semantics, arithmetic, quantity, evidence)
            if best is None or _outside(found) < _outside(best):
                best = found
        if best is not None and not _outside(best):
            break
    return best or []


def _outside(sizes: _Sizes) -> int:
    return sum(ratio > 1 for _, (_, _, ratio) in sizes)


def _sizes(one: Seen, semantics: Semantics, arithmetic: Arithmetic, quantity: str, evidence: Evidence) -> _Sizes:
    """For each step that says something the distance, the bound and their ratio, the first two by the largest value."""
    prediction: Prediction = evidence.expected(one.probe.case, semantics, arithmetic)
    found: _Sizes = []
    steps: Sequence[StepResult] = one.observation.steps
    for number, (seen, expected) in enumerate(zip(steps, prediction.steps, strict=False)):
        actual, reference = seen.quantities.get(quantity), expected.get(quantity)
        if actual is None or reference is None or not reference.says_something().any():
            continue
        if actual.shape != reference.value.shape:
            found.append((number, (np.inf, 0.0, np.inf)))
            continue
        ratio = float(np.max(reference.ratio(actual), initial=0.0))
        with np.errstate(all="ignore"):
            told = np.isfinite(reference.value) & np.isfinite(reference.bound)
            unit = float(np.max(np.abs(reference.value[told]), initial=0.0)) or 1.0
            distance = float(np.max(np.abs(actual[told] - reference.value[told]), initial=0.0)) / unit
            bound = float(np.max(reference.bound[told], initial=0.0)) / unit
        found.append((number, (distance if np.isfinite(distance) else np.inf, bound, ratio)))
    return found


def raising_calls(evidence: Evidence) -> tuple[list[Call], list[bool]]:
    """The calls that must not raise, and whether each does."""
    calls: list[Call] = []
    raised: list[bool] = []
    for one in ordinary_cases(evidence):
        observation = one.observation
        may = requirements()[one.probe.requirement].rule in MAY_RAISE or foreseen(one, evidence)
        if may or observation.died or observation.unsupported:
            continue
        for number in range(min(len(observation.steps) + bool(observation.raised), len(one.probe.case.steps))):
            calls.append(Call(case=one.probe.case, number=number))
            raised.append(number == len(observation.steps))
    return calls, raised
